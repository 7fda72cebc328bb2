//! The source: a session whose records are flows, until its time is over, a signal comes, or nothing is left to look at.
//! Needs CAP_BPF, CAP_NET_ADMIN, and CAP_PERFMON for drops.

use super::asked::{Asked, Drops};
use super::neighbours::Neighbours;
use super::pushdown::Kind;
use super::rows::{Meanings, Rows, Told};
use crate::diagnostic::Diagnostic;
use crate::kernel::clock::Offset;
use crate::kernel::network::Interface;
use crate::kernel::symbols::Symbols;
use crate::kernel::{load, ring, signals};
use crate::machine::Machine;
use crate::network::connections::Connections;
use crate::network::flow::{Direction, LossSource, LostEvents};
use crate::network::hubble::Response;
use crate::network::life::Life;
use crate::network::message::Text;
use crate::network::source::{Seen, Source};
use crate::network::stamp::Stamp;
use crate::network::time::Time;
use crate::plan::Entry;
use crate::points::{Mechanism, packets};
use crate::prepare::{Here, Prepared, RECORD_HEADER, prepare};
use crate::pump::{Happening, Pump, Watch};
use crate::report;
use crate::session::{Session, Sizes};
use crate::template::packets::Place;
use crate::trust::Trust;
use std::collections::VecDeque;
use std::time::Duration;

/// How often losses and interfaces are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Where lines about the run go.
pub type Tell = Box<dyn Fn(&str)>;

/// Flows of this machine.
pub struct Live {
    session: Session,
    pump: Pump,
    rows: Vec<Rows>,
    meanings: Meanings,
    connections: Connections,
    stamp: Stamp,
    ready: VecDeque<Seen>,
    /// Interfaces that are looked at; empty where it is a cgroup.
    attached: Vec<Interface>,
    /// When losses were looked for the last time.
    checked: Time,
    state: State,
    /// Losses whose lines nobody read.
    untold: u64,
    status: u8,
    tell: Tell,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// Nothing is attached any more; what is in the ring buffer comes still.
    Emptying,
    Over,
}

impl Live {
    /// Attaches, and says so. `longest`: ends by itself after this time.
    ///
    /// # Errors
    /// What [`Asked::entries`], preparing and [`Session::start`] say.
    pub fn start(
        asked: &Asked,
        here: Here<'_>,
        sizes: Sizes,
        longest: Option<Duration>,
        neighbours: Neighbours,
        tell: Tell,
    ) -> Result<Live, Diagnostic> {
        let mut entries = asked.entries()?;
        let mut prepared = ready(&mut entries, here, asked.drops, &tell)?;
        // Before anything is attached: reading them takes a while.
        let symbols = entries.iter().any(|(kind, _)| *kind == Kind::Drop).then(Symbols::read);
        let session = match start(&entries, &prepared, here.machine, sizes) {
            Err(refused) if asked.drops != Drops::Always && entries.len() > 1 => {
                // Packets come first.
                let left_out = entries.split_off(1);
                prepared.truncate(1);
                let session = start(&entries, &prepared, here.machine, sizes)?;
                left_out.iter().for_each(|(kind, _)| tell(&without(*kind, &refused)));
                session
            }
            started => started?,
        };
        let ring = session.events()?;
        let watch = Watch { ring, timers: vec![TICK], intervals: None, deadline: longest, process: None };
        let pump = Pump::start(watch)
            .map_err(|error| Diagnostic::machine(format!("failed to start the event loop: {}", load::text(&error))))?;
        let until = longest.map_or_else(
            || "Ctrl-C to end".to_owned(),
            |time| format!("for {}", report::units::duration(time.as_nanos() as i128)),
        );
        let pairs: Vec<(&Entry, &Prepared)> = entries.iter().map(|(_, entry)| entry).zip(&prepared).collect();
        report::plan::attached(&pairs, here.restrict, &until).iter().for_each(|line| tell(line));
        let rows = entries.iter().zip(&prepared).map(|((kind, _), one)| Rows::new(*kind, one.columns.clone()));
        let stamp = Stamp::new(None)
            .map_err(|error| Diagnostic::machine(format!("no random numbers: {}", load::text(&error))))?;
        let meanings = Meanings { interfaces: packets::interfaces()?, neighbours, symbols, clock: Offset::sample() };
        Ok(Live {
            session,
            pump,
            rows: rows.collect(),
            meanings,
            connections: Connections::default(),
            stamp,
            ready: VecDeque::new(),
            attached: interfaces(&prepared),
            checked: Time::now(),
            state: State::Running,
            untold: 0,
            status: 0,
            tell,
        })
    }

    /// What became of everything that was seen.
    ///
    /// # Errors
    /// The kernel's counters cannot be read.
    fn trust(&self) -> Result<Trust, Diagnostic> {
        let mut total = Trust::default();
        for (n, rows) in self.rows.iter().enumerate() {
            let trust = self.session.trust(n).map_err(|error| unread(&error))?;
            total.add(&Trust { delivered: rows.delivered, ..trust });
        }
        Ok(total)
    }

    /// Makes flows of a batch of records.
    fn take(&mut self, batch: &[u8]) -> Result<(), Diagnostic> {
        for record in ring::records(batch) {
            let Some((header, columns)) = record.split_at_checked(RECORD_HEADER as usize) else { continue };
            let number = header.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes) as usize);
            let Some(rows) = number.and_then(|number| self.rows.get_mut(number)) else { continue };
            let mut flow = match rows.told(columns, &self.meanings) {
                Told::Flow(flow) => flow,
                Told::Life(life) => {
                    self.lived(life);
                    continue;
                }
            };
            self.connections.meet(&mut flow);
            self.meanings.neighbours.name(&mut flow);
            self.stamp
                .put(&mut flow)
                .map_err(|error| Diagnostic::machine(format!("no random numbers: {}", load::text(&error))))?;
            self.ready.push_back(Seen { response: (*flow).into(), ..Seen::default() });
        }
        Ok(())
    }

    /// Tells of a connection whose packets were seen; where both of its ends are here, as the client has it.
    fn lived(&mut self, mut life: Box<Life>) {
        let neighbours = &mut self.meanings.neighbours;
        let flow = &mut life.flow;
        let told_twice = flow.traffic_direction == Direction::Ingress
            && flow.source_address().is_some_and(|client| neighbours.is_local(client));
        if !told_twice && self.connections.knows(flow) {
            neighbours.name(flow);
            self.ready.push_back(Seen { life: Some(life), ..Seen::default() });
        }
    }

    /// Tells of what was lost since the last time.
    fn losses(&mut self) -> Result<(), Diagnostic> {
        let now = Time::now();
        let mut count = 0;
        for (n, rows) in self.rows.iter_mut().enumerate() {
            let lost = self.session.trust(n).map_err(|error| unread(&error))?.lost();
            count += lost - rows.lost;
            rows.lost = lost;
        }
        if count > 0 {
            let (first, last) = (Text(Some(self.checked)), Text(Some(now)));
            let source = LossSource::PerfEventRingBuffer;
            let lost = LostEvents { source, count, first, last, ..LostEvents::default() };
            self.ready.push_back(Seen { response: Response::lost(lost, self.stamp.node()), ..Seen::default() });
        }
        self.checked = now;
        Ok(())
    }

    /// Tells of interfaces that are gone; without any nothing more can come.
    fn look_around(&mut self) -> Result<(), Diagnostic> {
        if self.attached.is_empty() {
            return Ok(());
        }
        let there = packets::interfaces()?;
        let gone = self.attached.extract_if(.., |one| !there.iter().any(|other| other.index == one.index));
        let gone: Vec<Interface> = gone.collect();
        for interface in &gone {
            (self.tell)(&format!("interface `{}` is gone", interface.name));
        }
        if self.attached.is_empty() {
            self.detach();
        }
        Ok(())
    }

    fn detach(&mut self) {
        if self.state == State::Running {
            self.state = State::Emptying;
            self.session.detach();
            self.pump.finish();
        }
    }
}

impl Source for Live {
    fn next(&mut self) -> Result<Option<Seen>, Diagnostic> {
        loop {
            if let Some(seen) = self.ready.pop_front() {
                return Ok(Some(seen));
            }
            if self.state == State::Over {
                return Ok(None);
            }
            match self.pump.happenings.blocking_recv() {
                Some(Happening::Events(batch)) => self.take(&batch)?,
                Some(Happening::Tick(_)) => {
                    self.losses()?;
                    self.look_around()?;
                    self.ready.push_back(Seen::default());
                }
                Some(Happening::Signal) => {
                    self.status = signals::take().map_or(0, |signal| signals::status(signal) as u8);
                    self.detach();
                }
                Some(Happening::Deadline) => self.detach(),
                // There is no command, no process and no policy here.
                Some(
                    Happening::CommandEnded
                    | Happening::ProcessEnded
                    | Happening::Denied
                    | Happening::PoliciesEnded
                    | Happening::Said(_),
                ) => {}
                None => {
                    self.state = State::Over;
                    self.losses()?;
                    (self.tell)(&self.trust()?.line());
                }
            }
        }
    }

    fn waits(&self) -> bool {
        self.ready.is_empty()
    }

    fn close(&mut self) -> Result<(), Diagnostic> {
        self.detach();
        while let Some(seen) = self.next()? {
            self.untold += seen.response.lost_events.map_or(0, |lost| lost.count);
        }
        Ok(())
    }

    fn is_live(&self) -> bool {
        true
    }

    fn status(&self) -> u8 {
        self.status
    }

    /// Losses have lines of their own.
    fn missing(&self) -> u64 {
        self.untold + self.trust().map_or(0, |trust| trust.missed + trust.unaccounted())
    }
}

fn unread(error: &std::io::Error) -> Diagnostic {
    Diagnostic::machine(format!("failed to read counters: {}", load::text(error)))
}

fn without(kind: Kind, refused: &Diagnostic) -> String {
    let what = if kind == Kind::Life { "how connections went" } else { "what the kernel throws away" };
    format!("{what} is not looked at: {}", refused.message)
}

/// Prepares entries. A filter that is too large for the kernel is asked here alone; what cannot be had and need not be is
/// left out.
fn ready(
    entries: &mut Vec<(Kind, Entry)>,
    here: Here<'_>,
    drops: Drops,
    tell: &Tell,
) -> Result<Vec<Prepared>, Diagnostic> {
    let mut prepared = Vec::new();
    let mut kept = Vec::new();
    for (kind, mut entry) in std::mem::take(entries) {
        let one = |entry: &Entry| prepare(entry, kept.len(), here.catalog, here.machine, here.restrict);
        let made = match one(&entry) {
            Err(_) if entry.filter.is_some() => {
                entry.filter = None;
                one(&entry)
            }
            made => made,
        };
        match made {
            Ok(one) => {
                prepared.push(one);
                kept.push((kind, entry));
            }
            Err(refused) if !kept.is_empty() && (kind == Kind::Life || kind == Kind::Drop && drops == Drops::Auto) => {
                tell(&without(kind, &refused));
            }
            Err(refused) => return Err(refused),
        }
    }
    *entries = kept;
    Ok(prepared)
}

fn start(
    entries: &[(Kind, Entry)],
    prepared: &[Prepared],
    machine: &Machine,
    sizes: Sizes,
) -> Result<Session, Diagnostic> {
    let pairs: Vec<(&Entry, &Prepared)> = entries.iter().map(|(_, entry)| entry).zip(prepared).collect();
    Session::start(&pairs, machine, sizes)
}

/// Those that programs are attached to, each once.
fn interfaces(prepared: &[Prepared]) -> Vec<Interface> {
    let programs = prepared.iter().flat_map(|one| &one.units).flat_map(|unit| &unit.programs);
    let mut found: Vec<Interface> = programs
        .flat_map(|program| &program.attach)
        .filter_map(|one| match &one.mechanism {
            Mechanism::Packets { place: Place::Interface(interface), .. } => Some(interface.clone()),
            _ => None,
        })
        .collect();
    found.sort_by_key(|interface| interface.index);
    found.dedup();
    found
}
