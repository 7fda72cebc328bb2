//! Chains that are in the kernel: attached, told of their events, closed.

use super::call;
use super::consumer::Consumer;
use super::recorded;
use crate::aggregate::column::{ColumnKind, Value};
use crate::aggregate::table::Table;
use crate::audit;
use crate::budget::keeper::{Keeper, Word};
use crate::budget::{Allowance, hot};
use crate::diagnostic::Diagnostic;
use crate::feed::{Happenings, Lag, Values};
use crate::following::Following;
use crate::kernel::{load, ring, sys};
use crate::plan::{Entry, Output, Then};
use crate::points::Mechanism;
use crate::prepare::{Prepared, RECORD_HEADER};
use crate::pump::{Happening, Pump, Watch};
use crate::recording::Tape;
use crate::report::packets::Packets;
use crate::script::event::Event;
use crate::script::graphs;
use crate::script::host::{Active, Chain, Fallible, Host, State, raise};
use crate::script::output::Format;
use crate::session::{Session, Shared};
use crate::stacks::Stacks;
use crate::trust::Trust;
use rhai::{Dynamic, NativeCallContext};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Chains that are in the kernel, and what becomes of their events here.
pub struct Running {
    pub active: Rc<Active>,
    pub happenings: RefCell<Happenings>,
    pub(super) consumers: RefCell<Vec<Consumer>>,
    pub began: (SystemTime, Instant),
    /// Keeps these chains within their budget.
    keeper: Cell<Option<Keeper>>,
    /// Events that may still reach the script or the output.
    left: Cell<u64>,
    /// How many are over.
    pub(super) intervals: Cell<u64>,
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
        let hot = allowed(host, &chains, &prepared)?;
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
        let keeper = keeper(host, &active, &pump, hot);
        if host.gate.get().is_some() && keeper.is_none() && active.session.borrow().attached().is_some() {
            host.active.borrow_mut().clear();
            return Err(Diagnostic::machine("what programs cost is not counted here, and a permit takes a budget")
                .help("skep doctor"));
        }
        let happenings = Happenings::Live { pump, recorder: host.tape.recorder().cloned(), lag: Lag::default() };
        let left = Cell::new(host.settings.limits.events.unwrap_or(u64::MAX));
        Ok(Running { keeper: Cell::new(keeper), left, ..Running::new(active, happenings, consumers) })
    }

    pub(super) fn new(active: Rc<Active>, happenings: Happenings, consumers: Vec<Consumer>) -> Running {
        let began = (SystemTime::now(), Instant::now());
        Running {
            active,
            happenings: RefCell::new(happenings),
            consumers: RefCell::new(consumers),
            began,
            keeper: Cell::default(),
            left: Cell::new(u64::MAX),
            intervals: Cell::new(0),
        }
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
    host.audited(|| audit::run::attached(&entries, &settings.restrict))?;
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
    // Where somebody types, values are looked at when they ask.
    let intervals = match host.interactive.get().is_some() || snapshot(&prepared) {
        true => None,
        false => host.intervals()?,
    };
    let last = intervals.and_then(|intervals| intervals.last(deadline));
    let counted = intervals.and_then(|one| Some((one.period, one.count?)));
    let until = match (deadline, counted) {
        (None, Some((period, count))) => {
            let s = if count == 1 { "" } else { "s" };
            format!("for {count} interval{s} of {}", crate::report::units::duration(period.as_nanos() as i128))
        }
        (None, None) => until.unwrap_or("Ctrl-C to end").to_owned(),
        (Some(Duration::ZERO), _) if time.is_some() && snapshot(&prepared) => "once".to_owned(),
        (Some(time), _) => format!("for {}", crate::report::units::duration(time.as_nanos() as i128)),
    };
    // Nothing more can come of one process that is gone. What it started may go on, a command has its own end.
    let alone = settings.restrict.pid.filter(|_| !settings.restrict.follow && host.command.borrow().is_none());
    // One that is gone already is as one without a descriptor: the run ends at its time.
    let process = alone.and_then(|pid| sys::open_process(pid).ok());
    // The last interval ends such a run, after its values were shown.
    let deadline = deadline.filter(|_| last.is_none());
    let intervals = intervals.map(|intervals| (intervals.period, last));
    let pump = Pump::start(Watch { ring, timers, intervals, deadline, process })
        .map_err(|error| Diagnostic::machine(format!("failed to start the event loop: {}", load::text(&error))))?;
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

/// Are these chains within the limits, and does somebody want what is hot? `true`: something is.
///
/// # Errors
/// A script diagnostic at the chain that is not.
fn allowed(host: &Host, numbers: &[usize], prepared: &[Prepared]) -> Result<bool, Diagnostic> {
    let chains = host.chains.borrow();
    let entries: Vec<_> = numbers.iter().zip(prepared).map(|(n, prepared)| (&chains[*n].entry, prepared)).collect();
    let settings = &host.settings;
    let cpus = sys::possible_cpus().unwrap_or(1);
    settings.limits.check(&entries, settings.sizes, cpus, |option| host.again(option))?;
    let found = |(entry, _): &(&Entry, &Prepared)| {
        hot::source(entry, settings.restrict.pid.is_some()).map(|text| (text.to_owned(), entry.position))
    };
    let Some((text, position)) = entries.iter().find_map(found) else { return Ok(false) };
    let question = format!("`{text}` is hit so often that every program feels it. attach?");
    if settings.asks && !host.output.borrow_mut().ask(&question) {
        return Err(Diagnostic::script(format!("`{text}` is not attached")).help(host.again("--yes")).at(position));
    }
    Ok(true)
}

/// Keeps what was attached within the budget, if there is one. Without it the run goes on, and says so.
fn keeper(host: &Host, active: &Active, pump: &Pump, hot: bool) -> Option<Keeper> {
    let kept = host.settings.budget.budget(hot)?;
    let programs = active.session.borrow().attached()?;
    let sender = pump.sender().clone();
    let say = move |word| {
        let (line, over) = match word {
            Word::Tell(line) => (line, false),
            Word::Over(line) => (line, true),
        };
        // Not a place to wait: the script's thread may wait for the keeper. Nobody listens when the run is over.
        let room = if over { 2 } else { 1 };
        if sender.capacity() < room && !sender.is_closed() {
            return false;
        }
        let _gone = sender.try_send(Happening::Said(line));
        if over {
            let _gone = sender.try_send(Happening::Deadline);
        }
        true
    };
    match Keeper::start(programs, kept, say) {
        Ok(keeper) => Some(keeper),
        Err(error) => {
            // Who did not ask for a budget, and may not have it measured, is not bothered.
            if matches!(host.settings.budget, Allowance::Is(_)) {
                let reason = load::text(&error);
                host.tell(&format!(
                    "warning: no budget is kept (--max-overhead): the kernel does not count what programs cost: {reason}"
                ));
            }
            None
        }
    }
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
            if self.left.get() == 0 {
                consumer.beyond += 1;
                continue;
            }
            self.left.set(self.left.get() - 1);
            consumer.delivered += 1;
            if let Some(streamed) = &mut consumer.streamed {
                streamed.take(&consumer.schema, columns);
            }
            if let Some(closure) = &consumer.each {
                // After `exit()` events are still counted, so that the trust line holds.
                if host.exit.get().is_none() {
                    let event = Event { schema: consumer.schema.clone(), record: columns.into() };
                    drop(call(context, host, closure, [Dynamic::from(event)])?);
                }
                continue;
            }
            if host.output.borrow().skips() {
                continue;
            }
            consumer.schema.values(columns, &mut values);
            let mut output = host.output.borrow_mut();
            if consumer.aside.is_some() {
                output.aside(consumer.aside.clone());
            }
            match &consumer.format {
                Some(format) => output.formatted(source, format, &consumer.schema.columns, &values, &host.names),
                None => {
                    if !consumer.headed.replace(true) {
                        output.heading(source, &consumer.schema.columns, &consumer.widths);
                    }
                    output.event(source, &consumer.schema.columns, &values, &consumer.widths, &host.names);
                }
            }
            if consumer.aside.is_some() {
                output.aside(None);
            }
        }
        for packets in consumers.iter_mut().filter_map(|consumer| consumer.packets.as_mut()) {
            show(host, packets.put()).or_else(|error| raise(error, context.call_position()))?;
        }
        Ok(())
    }

    /// Is there nothing more that a chain waits for?
    pub fn is_enough(&self) -> bool {
        if self.left.get() == 0 {
            return true;
        }
        let consumers = self.consumers.borrow();
        !consumers.is_empty() && consumers.iter().all(|one| one.packets.as_ref().is_some_and(Packets::is_enough))
    }

    /// Detaches, delivers what is left, reads the values, and adds up the counters: those of these chains are given.
    ///
    /// # Errors
    /// What a closure fails with; values that cannot be read or written to their files.
    pub fn close(&self, context: &NativeCallContext, host: &Rc<Host>) -> Fallible<Trust> {
        let active = &self.active;
        let account = self.keeper.take().map(Keeper::finish);
        active.session.borrow_mut().detach();
        let began = self.began;
        host.output.borrow_mut().progress("");
        let mut happenings = self.happenings.borrow_mut();
        happenings.finish();
        let mut failed = Ok(());
        while let Some(happening) = happenings.next(|| true) {
            if let Happening::Events(batch) = happening
                && failed.is_ok()
            {
                failed = self.deliver(context, host, &batch);
            }
        }
        host.active.borrow_mut().retain(|one| !Rc::ptr_eq(one, active));
        let position = context.call_position();
        let mut total = Trust::default();
        let (tables, closed) = match recorded::read(host, active, began, account) {
            Ok(read) => read,
            Err(error) => return raise(error, position),
        };
        let ran = (UNIX_EPOCH + Duration::from_nanos(closed.began), Duration::from_nanos(closed.took));
        let timed = |mut table: Table| {
            table.ran = Some(ran);
            table
        };
        let mut consumers = self.consumers.borrow_mut();
        for (n, ((number, consumer), table)) in active.chains.iter().zip(&mut *consumers).zip(tables).enumerate() {
            let trust = closed.trust.get(n).copied().unwrap_or_default();
            let mut output = host.output.borrow_mut();
            if output.format == Format::Csv && consumer.prints && consumer.delivered == 0 {
                // Programs want to know the columns of nothing, too.
                output.heading(*number, &consumer.schema.columns, &consumer.widths);
            }
            drop(output);
            let mut chains = host.chains.borrow_mut();
            let number = *number;
            let chain = &mut chains[number];
            let mut trust = Trust { delivered: consumer.delivered, limited: trust.limited + consumer.beyond, ..trust };
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
            (chain.trust, chain.ran) = (trust, ran.1);
            chain.table = table.map(timed);
            if let Some(measured) = &mut *host.measured.borrow_mut() {
                chain.table.iter().for_each(|table| measured.add_table(number, table, &*host.names));
                consumer.streamed.take().into_iter().for_each(|streamed| measured.add_stream(number, streamed));
            }
            total.add(&trust);
            if let Err(error) = graphs::write_chain(host, chain) {
                failed = failed.and(raise(error.at(chain.entry.position), position));
            }
        }
        // A replay does not know it, and prints what the run has printed.
        if matches!(host.tape, Tape::Off) {
            total.lag = u64::try_from(happenings.lag().as_nanos()).unwrap_or(u64::MAX);
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
            grouped(chain.entry.room()),
            u64::from(chain.entry.room()) * 10
        ),
    }
}
