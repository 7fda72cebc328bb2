//! A session: prepared entries in the kernel, from load to detach. Dropping it detaches everything.

use crate::aggregate::cell::Kind;
use crate::aggregate::column::ColumnType;
use crate::aggregate::entries::Entries;
use crate::aggregate::table::{Spec, Table};
use crate::attach_point::AttachPoint;
use crate::budget::meter::Programs;
use crate::diagnostic::Diagnostic;
use crate::following::Following;
use crate::kernel::cost::Cost;
use crate::kernel::load;
use crate::kernel::map::{self, Map, Shape};
use crate::kernel::missed;
use crate::kernel::perf::Every;
use crate::kernel::ring::Ring;
use crate::machine::Machine;
use crate::plan::{Entry, Output, Source};
use crate::prepare::{Prepared, Program, RECORD_HEADER};
use crate::span::{self, Spans};
use crate::stacks::Stacks;
use crate::trust::{self, Trust};
use crate::unwind::samples::Samples;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

mod aggregation;
pub mod attached;
mod functions;
mod links;
mod packets;
mod programs;

use aggregation::Aggregation;
use attached::{Attached, Begun, Counted};
pub use functions::Refused;

/// Sizes that the command line may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Bytes of the ring buffer that all streams of a session share.
    pub ring: u64,
    /// Call chains that the kernel keeps.
    pub stacks: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes { ring: 8 << 20, stacks: 8192 }
    }
}

/// The table of exchange.bpf.h.
const EXCHANGES: &str = "exchanges";
/// Whom ports belong to: nothing that ends.
const OWNERS: &str = "listeners";
/// Where capture.bpf.c counts what was beyond its rate.
const LIMITED: &str = "limited";

/// Entries that run in the kernel.
pub struct Session {
    running: Vec<Running>,
    ring: Option<Map>,
    refused: Vec<Refused>,
    stacks: Option<Rc<Stacks>>,
}

/// What entries share beyond their session.
#[derive(Clone, Default)]
pub struct Shared<'a> {
    /// Processes that are followed.
    pub following: Option<&'a Following>,
    /// Where entries that ask for call chains keep them.
    pub stacks: Option<Rc<Stacks>>,
}

/// One entry, loaded and attached. Its maps outlive its links, so that values can be read at the end.
struct Running {
    attached: Arc<Mutex<Attached>>,
    /// Where programs count what they missed, on kernels that do not.
    runs: Vec<Map>,
    aggregate: Option<Aggregation>,
    spans: Vec<Map>,
    trust: Map,
    limited: Option<Map>,
    spec: Option<Spec>,
    /// Counted here in place of `aggregate`.
    samples: Option<Samples>,
}

impl Running {
    fn attached(&self) -> MutexGuard<'_, Attached> {
        // Links and descriptors are what they are, whoever panicked beside them.
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// Loads and attaches; all or nothing.
    ///
    /// # Errors
    /// A machine diagnostic: no privilege, a kernel that refuses, an attach point that is gone.
    pub fn start(entries: &[(&Entry, &Prepared)], machine: &Machine, sizes: Sizes) -> Result<Session, Diagnostic> {
        Self::start_with(entries, machine, sizes, Shared::default())
    }

    /// The same, of entries that ask for what they share.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn start_with(
        entries: &[(&Entry, &Prepared)],
        machine: &Machine,
        sizes: Sizes,
        shared: Shared<'_>,
    ) -> Result<Session, Diagnostic> {
        let streams =
            entries.iter().any(|(entry, one)| matches!(entry.output, Output::Stream { .. }) || one.copies.is_some());
        let refused = |error: io::Error| load::refused("events", &error);
        let ring = if streams { Some(Ring::create(sizes.ring).map_err(refused)?) } else { None };
        let mut session = Session { running: Vec::new(), ring, refused: Vec::new(), stacks: shared.stacks };
        let mut loaded = Vec::new();
        for (entry, prepared) in entries {
            loaded.push(
                session.load(entry, prepared, machine, shared.following).map_err(|error| error.at(entry.position))?,
            );
        }
        // Attached only when all are loaded: the first events of all entries are then of about the same moment.
        for ((running, programs), (entry, _)) in loaded.into_iter().zip(entries) {
            let running: Running = running;
            for (program, fd) in programs {
                let many = functions::are_many(entry, &program);
                let attached = running.attached().attach(program, fd, many, &mut session.refused);
                attached.map_err(|error| error.at(entry.position))?;
            }
            let links = running.attached().links();
            if let (0, Some(first)) = (links, session.refused.first()) {
                return Err(first.reason.clone().at(entry.position));
            }
            session.running.push(running);
        }
        Ok(session)
    }

    /// Loads one entry and lets it go: would the kernel take it? It may not ask for call chains.
    ///
    /// # Errors
    /// As [`Session::start`].
    #[cfg(any(test, feature = "fuzz"))]
    pub fn try_load(entry: &Entry, prepared: &Prepared, machine: &Machine, sizes: Sizes) -> Result<(), Diagnostic> {
        let streams = matches!(entry.output, Output::Stream { .. });
        let ring = streams.then(|| Ring::create(sizes.ring)).transpose();
        let ring = ring.map_err(|error| load::refused("events", &error))?;
        let mut session = Session { running: Vec::new(), ring, refused: Vec::new(), stacks: None };
        session.load(entry, prepared, machine, None).map(drop)
    }

    #[allow(clippy::type_complexity, reason = "programs wait for their attachment, with what they attach to")]
    fn load(
        &mut self,
        entry: &Entry,
        prepared: &Prepared,
        machine: &Machine,
        following: Option<&Following>,
    ) -> Result<(Running, Vec<(Program, OwnedFd)>), Diagnostic> {
        let refused = |error: io::Error| load::refused(&entry.source_text(), &error);
        let trust = Map::create("trust", trust::shape()).map_err(refused)?;
        let too_long = |shape: Shape| move |error| load::refused_table(&entry.source_text(), shape.key_size, &error);
        let aggregate =
            prepared.aggregate.map(|shape| Aggregation::create(shape).map_err(too_long(shape))).transpose()?;
        let shapes = prepared.span.iter().flat_map(Spans::shapes);
        let spans = shapes.map(|(name, shape)| Ok((name, Map::create(name, shape).map_err(too_long(shape))?)));
        let spans = spans.collect::<Result<Vec<_>, Diagnostic>>()?;
        let (mut programs, mut runs, mut limited, mut begun) = (Vec::new(), Vec::new(), None, Vec::new());
        let mut waiting = Vec::new();
        for (_, map) in &spans {
            waiting.push(map.try_clone().map_err(refused)?);
            begun.push(Begun { map: map.try_clone().map_err(refused)?, counted: Counted::Spans });
        }
        // Ends are attached before their starts: what starts in between would never be ended.
        for unit in prepared.units.iter().chain(prepared.span.iter().flat_map(|span| &span.units)) {
            let mut maps = HashMap::from([("trust".to_owned(), trust.try_clone().map_err(refused)?)]);
            for (name, map) in aggregate.iter().flat_map(Aggregation::maps) {
                maps.insert(name.into(), map.try_clone().map_err(refused)?);
            }
            for (name, map) in &spans {
                maps.insert((*name).into(), map.try_clone().map_err(refused)?);
            }
            if let Some(following) = following {
                maps.insert("followed".into(), following.processes().try_clone().map_err(refused)?);
            }
            for (name, map) in self.stacks.iter().flat_map(|stacks| stacks.maps()) {
                maps.insert(name.into(), map.try_clone().map_err(refused)?);
            }
            if let Some(ring) = &self.ring {
                maps.insert("events".into(), ring.try_clone().map_err(refused)?);
            }
            if unit.is_guarded() {
                let map = missed::runs().map_err(refused)?;
                maps.insert(missed::RUNS.into(), map.try_clone().map_err(refused)?);
                runs.push(map);
            }
            let many = prepared.units.len() > 1 && unit.programs.iter().all(|one| functions::are_many(entry, one));
            let loaded = match programs::load(unit, maps, machine, self.ring.as_ref()) {
                Err(reason) if many => {
                    self.refused.extend(unit.programs.iter().flat_map(|one| functions::refused(one, &reason)));
                    continue;
                }
                loaded => loaded?,
            };
            // Questions that wait for their answers are as good as spans: those that wait at the end are counted.
            if let Some(map) = loaded.maps.get(EXCHANGES) {
                waiting.push(map.try_clone().map_err(refused)?);
            }
            let own =
                |(name, map): &(&String, &Map)| name.as_str() != span::SPANS && map.shape.map_type == map::LRU_HASH;
            for (name, map) in loaded.maps.iter().filter(own) {
                let counted = if name == OWNERS { Counted::Nothing } else { Counted::Entries };
                begun.push(Begun { map: map.try_clone().map_err(refused)?, counted });
            }
            if let Some(map) = loaded.maps.get(LIMITED) {
                limited = Some(map.try_clone().map_err(refused)?);
            }
            programs.extend(unit.programs.iter().cloned().zip(loaded.programs));
        }
        let spec = counts(prepared).then(|| spec(entry, prepared));
        let size = (prepared.record_size - RECORD_HEADER) as usize;
        let samples = spec.as_ref().zip(prepared.copies);
        let samples = samples.map(|(spec, longest)| Samples::new(spec, size, longest, entry.room()));
        let running = Running {
            attached: Arc::new(Mutex::new(Attached::new(begun))),
            runs,
            aggregate,
            spans: waiting,
            trust,
            limited,
            spec,
            samples,
        };
        Ok((running, programs))
    }

    /// Functions of globs that the kernel would not let us watch.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// The reading end of the ring buffer; `None` where nothing streams.
    ///
    /// # Errors
    /// It cannot be mapped.
    pub fn events(&self) -> Result<Option<Ring>, Diagnostic> {
        let open = |map| {
            Ring::open(map)
                .map_err(|error| Diagnostic::machine(format!("failed to map the ring buffer: {}", load::text(&error))))
        };
        self.ring.as_ref().map(open).transpose()
    }

    /// What entry `n` has aggregated so far; `None` for streams.
    ///
    /// # Errors
    /// The kernel's.
    pub fn table(&self, n: usize) -> io::Result<Option<Table>> {
        match self.running.get(n).map(|running| (&running.aggregate, &running.spec)) {
            // Numbers of call chains get their names together, once all are there.
            Some((Some(aggregate), Some(spec))) if !spec.key.iter().any(ColumnType::is_stack) => {
                aggregate.table(spec).map(Some)
            }
            _ => Ok(self.entries(n)?.map(|(spec, entries)| table(spec, &entries, self.stacks()))),
        }
    }

    /// The same, as the kernel has it: keys, and the words of their values.
    ///
    /// # Errors
    /// The kernel's.
    pub fn entries(&self, n: usize) -> io::Result<Option<(&Spec, Entries)>> {
        let Some(running) = self.running.get(n) else { return Ok(None) };
        let Some(spec) = &running.spec else { return Ok(None) };
        let entries = match (&running.aggregate, &running.samples) {
            (Some(aggregate), _) => aggregate.entries(spec)?,
            (None, Some(samples)) => samples.entries(),
            (None, None) => return Ok(None),
        };
        Ok(Some((spec, entries)))
    }

    /// Where call chains are kept.
    pub fn stacks(&self) -> Option<&Stacks> {
        self.stacks.as_deref()
    }

    /// Takes records of entry `n` that are samples with copied stacks: what follows their headers.
    pub fn take(&self, n: usize, records: &[&[u8]]) {
        let samples = self.running.get(n).and_then(|running| running.samples.as_ref());
        if let (Some(samples), Some(stacks)) = (samples, &self.stacks) {
            samples.take(records, stacks);
        }
    }

    /// Begins entry `n` anew.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear(&self, n: usize) -> io::Result<()> {
        if let Some(samples) = self.running.get(n).and_then(|running| running.samples.as_ref()) {
            samples.clear();
        }
        self.running.get(n).and_then(|running| running.aggregate.as_ref()).map_or(Ok(()), Aggregation::clear)
    }

    /// Counters of entry `n`.
    ///
    /// # Errors
    /// The kernel's.
    pub fn trust(&self, n: usize) -> io::Result<Trust> {
        let Some(running) = self.running.get(n) else { return Ok(Trust::default()) };
        let trust = Trust::read(&running.trust, running.aggregate.is_none())?;
        let open = running.spans.iter().map(span::open).sum::<io::Result<u64>>()?;
        let attached = running.attached();
        let of_programs: u64 = attached.programs().map(missed::by_program).sum();
        let guarded = running.runs.iter().map(missed::in_runs).sum::<io::Result<u64>>()?;
        let limited = running.limited.as_ref().map_or(Ok(0), trust::sum)?;
        // Counted before anybody knew that they were not.
        let counted = trust.counted.saturating_sub(limited);
        let trust = Trust { limited, counted, ..trust }.still_there(attached.waiting()?);
        let trust = Trust { open, missed: of_programs + guarded + attached.missed(), ..trust };
        Ok(running.samples.as_ref().map_or(trust, |samples| samples.counters.get().added_to(trust)))
    }

    /// Frames that were shown, and those without a name among them; `None` where nothing asks for call chains.
    pub fn frames(&self) -> Option<(u64, u64)> {
        self.stacks.as_ref().map(|stacks| stacks.counts())
    }

    /// What is attached, entry by entry; `None` where nothing stays attached: iterators have run.
    pub fn attached(&self) -> Option<Programs> {
        let stay = self.running.iter().any(|running| !running.attached().is_over());
        stay.then(|| self.running.iter().map(|running| running.attached.clone()).collect())
    }

    /// What the programs cost so far, while the kernel counts it.
    pub fn cost(&self) -> Cost {
        let costs = self.running.iter().flat_map(|running| running.attached().costs());
        costs.fold(Cost::default(), |sum, (one, _)| Cost { nanos: sum.nanos + one.nanos, runs: sum.runs + one.runs })
    }

    /// How many attachments there are.
    pub fn links(&self) -> usize {
        self.running.iter().map(|running| running.attached().links()).sum()
    }

    /// Takes every program off its attach point; values can still be read.
    pub fn detach(&mut self) {
        attached::drop_together(self.running.iter().flat_map(|running| running.attached().take_links()).collect());
    }
}

/// The rows of entries; numbers of call chains become the chains themselves.
pub fn table(spec: &Spec, entries: &Entries, stacks: Option<&Stacks>) -> Table {
    if let Some(stacks) = stacks {
        let columns: Vec<_> = spec.key_offsets().zip(&spec.key).collect();
        stacks.expect(&columns, entries.iter().map(|(key, _)| key));
    }
    let named = |column: &ColumnType, value| match stacks {
        Some(stacks) => stacks.value(column, value),
        None => value,
    };
    Table::from_entries_with(spec.clone(), entries.iter(), named)
}

/// Has it a table, of the kernel's or of ours?
pub fn counts(prepared: &Prepared) -> bool {
    prepared.aggregate.is_some() || prepared.copies.is_some()
}

/// What the entry's map holds.
pub fn spec(entry: &Entry, prepared: &Prepared) -> Spec {
    let kind = match &entry.output {
        Output::Aggregate { kind, .. } => *kind,
        _ => Kind::Count,
    };
    Spec {
        name: entry.name.clone().unwrap_or_default(),
        key: prepared.columns.clone(),
        kind,
        unsigned: prepared.value_unsigned,
        show: prepared.value_show,
        unit: None,
        period: period(entry),
    }
}

/// Nanoseconds between two samples, where one clock is the source.
fn period(entry: &Entry) -> Option<u64> {
    match &entry.source {
        Source::Probe(points) => match points.as_slice() {
            [(_, AttachPoint::Profile { every: Every::Hertz(hertz), .. })] => 1_000_000_000u64.checked_div(*hertz),
            [(_, AttachPoint::Profile { every: Every::Period(period), .. })] => Some(*period),
            _ => None,
        },
        _ => None,
    }
}
