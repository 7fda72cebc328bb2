//! Chains that are in the kernel: attached, told of their events, closed.

use super::call;
use super::consumer::Consumer;
use super::recorded;
use crate::aggregate::column::{ColumnKind, Value};
use crate::aggregate::table::Table;
use crate::diagnostic::Diagnostic;
use crate::feed::{Happenings, Values};
use crate::following::Following;
use crate::kernel::{ring, sys};
use crate::plan::{Output, Then};
use crate::points::Mechanism;
use crate::prepare::{Prepared, RECORD_HEADER};
use crate::pump::{Happening, Pump, Watch};
use crate::recording::Tape;
use crate::report::packets::Packets;
use crate::script::event::Event;
use crate::script::graphs;
use crate::script::host::{Active, Chain, Fallible, Host, State, raise};
use crate::session::{Session, Shared};
use crate::stacks::Stacks;
use crate::trust::Trust;
use rhai::{Dynamic, NativeCallContext};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Chains that are in the kernel, and what becomes of their events here.
pub struct Running {
    pub active: Rc<Active>,
    pub happenings: RefCell<Happenings>,
    pub(super) consumers: RefCell<Vec<Consumer>>,
    pub began: (SystemTime, Instant),
}

impl Running {
    /// Brings chains into the kernel. `until` is what ends them, where neither a time nor Ctrl-C does.
    ///
    /// # Errors
    /// As preparing and [`Session::start`].
    pub fn start(
        host: &Rc<Host>,
        chains: Vec<usize>,
        time: Option<Duration>,
        until: Option<&str>,
    ) -> Result<Running, Diagnostic> {
        if let Tape::Replaying(player) = &host.tape {
            return Running::replay(host, chains, player);
        }
        let prepared = chains.iter().map(|chain| host.prepare(*chain)).collect::<Result<Vec<_>, _>>()?;
        if host.tape.recorder().is_some() {
            recorded::check(&host.chains.borrow(), &chains)?;
        }
        let stacks = host.stacks(&prepared)?;
        let mut consumers = Vec::with_capacity(chains.len());
        for (chain, prepared) in chains.iter().zip(&prepared) {
            host.names.add_probes(&prepared.probes);
            if prepared.columns.iter().any(|column| column.kind == ColumnKind::USER_SYMBOL) {
                host.names.watch(host.settings.restrict.pid);
            }
            consumers.push(Consumer::new(&host.chains.borrow()[*chain], prepared, host, stacks.as_ref())?);
        }
        let (active, pump) = attach(host, chains, prepared, stacks.as_ref(), time, until)?;
        let happenings = Happenings::Live { pump, recorder: host.tape.recorder().cloned() };
        Ok(Running::new(active, happenings, consumers))
    }

    pub(super) fn new(active: Rc<Active>, happenings: Happenings, consumers: Vec<Consumer>) -> Running {
        let began = (SystemTime::now(), Instant::now());
        Running { active, happenings: RefCell::new(happenings), consumers: RefCell::new(consumers), began }
    }
}

fn attach(
    host: &Rc<Host>,
    numbers: Vec<usize>,
    prepared: Vec<Prepared>,
    stacks: Option<&Rc<Stacks>>,
    time: Option<Duration>,
    until: Option<&str>,
) -> Result<(Rc<Active>, Pump), Diagnostic> {
    let settings = &host.settings;
    let mut chains = host.chains.borrow_mut();
    let entries: Vec<_> = numbers.iter().zip(&prepared).map(|(n, prepared)| (&chains[*n].entry, prepared)).collect();
    let mut following = host.following.borrow_mut();
    if let (true, Some(pid), None) = (settings.restrict.follow, settings.restrict.pid, &*following) {
        *following = Some(Following::start(pid, &settings.catalog, &settings.machine)?);
    }
    let session = {
        let shared = Shared { following: following.as_ref(), stacks: stacks.cloned() };
        Session::start_with(&entries, &settings.machine, settings.sizes, shared)?
    };
    let ring = session.events()?;
    let mut timers: Vec<Duration> = host.timers.borrow().iter().map(|(period, _)| *period).collect();
    // The one behind the script's own.
    timers.extend(settings.progress.then_some(Duration::from_secs(1)));
    // A look at what is there is over when it was taken.
    let time = if snapshot(&prepared) { Some(Duration::ZERO) } else { time };
    let deadline = match (time, settings.longest) {
        (Some(time), Some(longest)) => Some(time.min(longest)),
        (time, longest) => time.or(longest),
    };
    let until = match deadline {
        None => until.unwrap_or("Ctrl-C to end").to_owned(),
        Some(Duration::ZERO) if time.is_some() && snapshot(&prepared) => "once".to_owned(),
        Some(time) => format!("for {}", crate::report::units::duration(time.as_nanos() as i128)),
    };
    // Nothing more can come of one process that is gone. What it started may go on, a command has its own end.
    let alone = settings.restrict.pid.filter(|_| !settings.restrict.follow && host.command.borrow().is_none());
    // One that is gone already is as one without a descriptor: the run ends at its time.
    let process = alone.and_then(|pid| sys::open_process(pid).ok());
    let pump = Pump::start(Watch { ring, timers, deadline, process })
        .map_err(|error| Diagnostic::machine(format!("failed to start the event loop: {error}")))?;
    let recorder = host.tape.recorder().cloned();
    if let Some(recorder) = &recorder {
        recorder.run(&numbers, &entries);
    }
    let attached = crate::report::plan::attached(&entries, &settings.restrict, &until);
    attached.iter().chain(&crate::report::plan::refused(session.refused())).for_each(|line| host.tell(line));
    drop(entries);
    for n in &numbers {
        chains[*n].state = State::Running;
    }
    let session = RefCell::new(Values::Live { session, recorder });
    let active = Rc::new(Active { session, chains: numbers, prepared });
    host.active.borrow_mut().push(active.clone());
    Ok((active, pump))
}

/// Are there iterators only?
fn snapshot(prepared: &[Prepared]) -> bool {
    let mut attached =
        prepared.iter().flat_map(|one| &one.units).flat_map(|unit| &unit.programs).flat_map(|one| &one.attach);
    !prepared.is_empty() && attached.all(|one| matches!(one.mechanism, Mechanism::Iterator { .. }))
}

/// Hands samples with copied stacks to the entries that count them.
fn samples(active: &Active, batch: &[u8]) {
    for (n, (chain, prepared)) in active.chains.iter().zip(&active.prepared).enumerate() {
        if prepared.copies.is_some() {
            let own = |record: &&[u8]| source(record) == Some(*chain);
            let records: Vec<&[u8]> = ring::records(batch).filter(own).collect();
            let behind = records.iter().filter_map(|record| record.get(RECORD_HEADER as usize..)).collect::<Vec<_>>();
            active.session.borrow().take(n, &behind);
        }
    }
}

/// Which chain a record belongs to.
fn source(record: &[u8]) -> Option<usize> {
    record.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes) as usize)
}

impl Running {
    /// Hands a batch of records to closures and to the output.
    ///
    /// # Errors
    /// What a closure fails with.
    pub fn deliver(&self, context: &NativeCallContext, host: &Rc<Host>, batch: &[u8]) -> Fallible<()> {
        let numbers = &self.active.chains;
        let mut consumers = self.consumers.borrow_mut();
        let mut values: Vec<Value> = Vec::new();
        samples(&self.active, batch);
        for record in ring::records(batch) {
            let Some((header, columns)) = record.split_at_checked(RECORD_HEADER as usize) else { continue };
            let source = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
            let Some(consumer) = numbers.iter().position(|n| *n == source).map(|n| &mut consumers[n]) else { continue };
            if consumer.counts {
                continue;
            }
            if let Some(packets) = &mut consumer.packets {
                packets.take(columns);
                continue;
            }
            consumer.delivered += 1;
            if let Some(closure) = &consumer.each {
                // After `exit()` events are still counted, so that the trust line holds.
                if host.exit.get().is_none() {
                    let event = Event { schema: consumer.schema.clone(), record: columns.into() };
                    drop(call(context, host, closure, vec![Dynamic::from(event)])?);
                }
                continue;
            }
            if host.output.borrow().skips() {
                continue;
            }
            consumer.schema.values(columns, &mut values);
            let mut output = host.output.borrow_mut();
            match &consumer.format {
                Some(format) => output.formatted(format, &consumer.schema.columns, &values, &host.names),
                None => {
                    if !consumer.headed.replace(true) {
                        output.heading(&consumer.schema.columns, &consumer.widths);
                    }
                    output.event(&consumer.schema.columns, &values, &consumer.widths, &host.names);
                }
            }
        }
        for packets in consumers.iter_mut().filter_map(|consumer| consumer.packets.as_mut()) {
            show(host, packets.put()).or_else(|error| raise(error, context.call_position()))?;
        }
        Ok(())
    }

    /// Is there nothing more that a chain waits for?
    pub fn is_enough(&self) -> bool {
        let consumers = self.consumers.borrow();
        !consumers.is_empty() && consumers.iter().all(|one| one.packets.as_ref().is_some_and(Packets::is_enough))
    }

    /// Detaches, delivers what is left, reads the values, and adds up the counters: those of these chains are given.
    ///
    /// # Errors
    /// What a closure fails with; values that cannot be read or written to their files.
    pub fn close(&self, context: &NativeCallContext, host: &Rc<Host>) -> Fallible<Trust> {
        let active = &self.active;
        active.session.borrow_mut().detach();
        let began = self.began;
        host.output.borrow_mut().progress("");
        let mut happenings = self.happenings.borrow_mut();
        happenings.finish();
        let mut failed = Ok(());
        while let Some(happening) = happenings.next(|| {}) {
            if let Happening::Events(batch) = happening
                && failed.is_ok()
            {
                failed = self.deliver(context, host, &batch);
            }
        }
        host.active.borrow_mut().retain(|one| !Rc::ptr_eq(one, active));
        let position = context.call_position();
        let mut total = Trust::default();
        let (tables, closed) = match recorded::read(host, active, began) {
            Ok(read) => read,
            Err(error) => return raise(error, position),
        };
        let ran = (UNIX_EPOCH + Duration::from_nanos(closed.began), Duration::from_nanos(closed.took));
        let timed = |mut table: Table| {
            table.ran = Some(ran);
            table
        };
        let mut consumers = self.consumers.borrow_mut();
        for (n, ((chain, consumer), table)) in active.chains.iter().zip(&mut *consumers).zip(tables).enumerate() {
            let trust = closed.trust.get(n).copied().unwrap_or_default();
            let mut chains = host.chains.borrow_mut();
            let chain = &mut chains[*chain];
            let mut trust = Trust { delivered: consumer.delivered, ..trust };
            if let Some(packets) = consumer.packets.take() {
                trust.delivered = packets.kept;
                trust.limited += packets.beyond;
                let shown = show(host, packets.end(&trust));
                failed = failed.and(shown.or_else(|error| raise(error, position)));
            }
            if trust.lost() > 0 {
                host.output.borrow_mut().tell(&behind(chain, &trust));
            }
            chain.state = State::Done;
            chain.table = table.map(timed);
            total.add(&trust);
            if let Err(error) = graphs::write_chain(host, chain) {
                failed = failed.and(raise(error.at(chain.entry.position), position));
            }
        }
        total.left_out = closed.left_out.unwrap_or(total.left_out);
        if let Some((frames, unresolved)) = closed.frames {
            total.frames += frames;
            total.unresolved += unresolved;
        }
        // Who found no room is counted from the beginning.
        let mut all = Trust { left_out: 0, ..host.trust.get() };
        all.add(&total);
        host.trust.set(all);
        failed.map(|()| total)
    }
}

/// Lines to where a script prints; none where whoever read has gone.
fn show(host: &Host, lines: Result<Option<String>, Diagnostic>) -> Result<(), Diagnostic> {
    let mut output = host.output.borrow_mut();
    match lines? {
        Some(lines) => output.lines(&lines),
        None => output.close(),
    }
    Ok(())
}

/// What a loss means and what helps.
fn behind(chain: &Chain, trust: &Trust) -> String {
    use crate::report::units::grouped;
    let at = chain.entry.position.map(|at| format!(" at {}:{}", at.line, at.column)).unwrap_or_default();
    let seen = trust.seen.saturating_sub(trust.filtered);
    match &chain.entry.output {
        Output::Aggregate { .. } | Output::None if trust.lost_ring > 0 => format!(
            "warning: {} of {} samples dropped: unwinding falls behind (sample less often, or a larger --ring)",
            grouped(trust.lost_ring),
            grouped(seen)
        ),
        Output::Stream { then, .. } => {
            let what = match then {
                Then::Each => "`each`",
                Then::Packets(_) => "writing",
                _ => "printing",
            };
            format!(
                "warning: {} of {} events dropped: {what}{at} falls behind (filter, aggregate, or a larger --ring)",
                grouped(trust.lost_ring),
                grouped(seen)
            )
        }
        _ => format!(
            "warning: {} of {} events not counted: the table{at} is full with {} keys (.entries({}), or fewer columns)",
            grouped(trust.lost_map),
            grouped(seen),
            grouped(chain.entry.entries),
            u64::from(chain.entry.entries) * 10
        ),
    }
}
