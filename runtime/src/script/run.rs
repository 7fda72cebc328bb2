//! Running: chains into the kernel, happenings to closures, values back. The loop between a script and the session.

mod recorded;

use super::event::{Event, Schema};
use super::held::{Held, sites_of};
use super::host::{Active, Chain, Closure, Fallible, Host, Mode, State, arranged, raise};
use super::policies::{Handle, Said};
use super::probe::Probe;
use super::verdicts::Verdicts;
use super::{errors, graphs, output, values};
use crate::aggregate::column::{BytesShow, ColumnKind, ColumnType, Value};
use crate::aggregate::table::Table;
use crate::diagnostic::Diagnostic;
use crate::feed::{Happenings, Values};
use crate::following::Following;
use crate::kernel::network::Interface;
use crate::kernel::{ring, sys};
use crate::plan::{Output, Then};
use crate::points::Mechanism;
use crate::prepare::{Prepared, RECORD_HEADER};
use crate::pump::{Happening, Pump, Watch};
use crate::recording::Tape;
use crate::report::packets::Packets;
use crate::report::printf::Format;
use crate::session::{self, Session, Shared};
use crate::stacks::Stacks;
use crate::template::packets::Place;
use crate::trust::Trust;
use rhai::{Dynamic, NativeCallContext};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Runs one chain and gives its value.
pub fn one(context: &NativeCallContext, probe: &Probe, time: Option<Duration>) -> Fallible<Dynamic> {
    let host = &probe.host;
    run(context, host, vec![probe.chain], Vec::new(), time)?;
    let chains = host.chains.borrow();
    let chain = &chains[probe.chain];
    match &chain.table {
        Some(table) => match arranged(table.clone(), &chain.entry) {
            Ok(table) => Ok(values::result(table, &chain.taken, &host.names)),
            Err(diagnostic) => raise(diagnostic, context.call_position()),
        },
        None => Ok(Dynamic::UNIT),
    }
}

/// Runs one policy and gives what it has done.
pub fn policy(context: &NativeCallContext, policy: &Handle, time: Option<Duration>) -> Fallible<Dynamic> {
    let host = &policy.host;
    run(context, host, Vec::new(), vec![policy.number], time)?;
    let policies = host.policies.borrow();
    let said = &policies[policy.number];
    let done = said.done.clone().unwrap_or_default();
    Ok(Dynamic::from(Verdicts::new(done, said.taken.clone())))
}

/// Runs every chain and policy that did not run yet, and the timers.
pub fn all(context: &NativeCallContext, host: &Rc<Host>, time: Option<Duration>) -> Fallible<()> {
    let waiting = |(n, state): (usize, State)| (state == State::Waiting).then_some(n);
    let chains = host.chains.borrow().iter().map(|chain| chain.state).enumerate().filter_map(waiting).collect();
    let policies = host.policies.borrow().iter().map(|said| said.state).enumerate().filter_map(waiting).collect();
    run(context, host, chains, policies, time)
}

/// The end of a script: what still waits is run, `at_end` is called, what nobody took is printed.
pub fn finish(context: &NativeCallContext, host: &Rc<Host>) -> Fallible<()> {
    if let Some(unknown) = host.params.borrow().unknown() {
        return raise(unknown.nowhere(), context.call_position());
    }
    if host.exit.get().or(host.ended.get()).is_none() {
        let waiting = host.chains.borrow().iter().any(|chain| chain.state == State::Waiting)
            || host.policies.borrow().iter().any(|said| said.state == State::Waiting);
        let command = host.command.borrow().as_ref().is_some_and(|command| command.release.is_some());
        // Timers alone keep a script alive, unless it ran already as long as it wanted to.
        let timers = !host.timers.borrow().is_empty() && !host.ran.get();
        if waiting || command || timers {
            all(context, host, None)?;
        }
    }
    end(context, host)
}

/// The last part of [`finish`]; also after `exit()`.
pub fn end(context: &NativeCallContext, host: &Rc<Host>) -> Fallible<()> {
    for closure in host.at_end.take() {
        let _value = call(context, host, &closure, Vec::new())?;
    }
    // After a signal that is for both of them, it is about to end.
    if let (None, Some(pid)) = (host.ended.get(), host.command_end.still_runs()) {
        host.tell(&format!("the command goes on as process {pid}"));
    }
    if let Some(player) = host.tape.player() {
        player.told().iter().for_each(|line| host.output.borrow_mut().tell(line));
    }
    if host.interactive.get().is_some() {
        // Whoever typed has looked at what there was to see.
        return Ok(());
    }
    print_rest(host).or_else(|diagnostic| raise(diagnostic, context.call_position()))
}

fn print_rest(host: &Host) -> Result<(), Diagnostic> {
    let mut output = host.output.borrow_mut();
    let mut first = true;
    for chain in host.chains.borrow_mut().iter_mut() {
        let Some(table) = chain.table.take().filter(|_| !chain.taken.get()) else { continue };
        if !first {
            output.gap();
        }
        first = false;
        output.table(&arranged(table, &chain.entry)?, &host.names);
    }
    let mut policies = host.policies.borrow_mut();
    while let Some(said) = policies.iter_mut().find(|said| said.done.is_some()) {
        let (Some(done), mut taken) = (said.done.take(), said.taken.get()) else { break };
        // Those that ran together have one report.
        for other in policies.iter_mut().filter(|other| other.done.as_ref().is_some_and(|its| Rc::ptr_eq(its, &done))) {
            other.done = None;
            taken |= other.taken.get();
        }
        if !taken && !done.is_empty() {
            if !first {
                output.gap();
            }
            first = false;
            output.verdicts(&Verdicts::new(done, Rc::default()));
        }
    }
    Ok(())
}

/// Calls a closure and gives its value; `exit()` inside ends the run and is no error.
pub fn call(context: &NativeCallContext, host: &Host, closure: &Closure, arguments: Vec<Dynamic>) -> Fallible<Dynamic> {
    host.busy_since.set(Instant::now());
    host.asked_to_end.set(None);
    match closure.function.call_raw(context, None, arguments) {
        Ok(value) => Ok(value),
        Err(error) => match error.unwrap_inner() {
            rhai::EvalAltResult::ErrorTerminated(..) if host.exit.get().is_some() => Ok(Dynamic::UNIT),
            // Rhai forgets where: the closure is the nearest that is known.
            rhai::EvalAltResult::ErrorTerminated(value, _) if value.is_unit() => {
                let error = errors::endless().label("its closure does not end").at(closure.position);
                raise(error, context.call_position())
            }
            rhai::EvalAltResult::ErrorFunctionNotFound(name, _) if name.starts_with(errors::ANONYMOUS) => {
                raise(errors::other_parameters().at(closure.position), context.call_position())
            }
            _ => Err(error),
        },
    }
}

fn run(
    context: &NativeCallContext,
    host: &Rc<Host>,
    chains: Vec<usize>,
    policies: Vec<usize>,
    time: Option<Duration>,
) -> Fallible<()> {
    let position = context.call_position();
    let fail = |diagnostic: Diagnostic| raise::<()>(diagnostic, position);
    if let Some(interactive) = host.interactive.get() {
        return interactive.foreground(context, host, chains, time);
    }
    if !host.active.borrow().is_empty() {
        return fail(inside_a_run());
    }
    if let Some(unknown) = host.params.borrow().unknown() {
        return fail(unknown);
    }
    if host.is_ended() {
        // A signal came, or the command ended: no further run begins, and the script is over.
        return Err(Box::new(rhai::EvalAltResult::ErrorTerminated(Dynamic::UNIT, position)));
    }
    host.ran.set(true);
    if host.settings.mode == Mode::Plan {
        for chain in chains {
            let prepared = match host.prepare(chain) {
                Ok(prepared) => prepared,
                Err(diagnostic) => return fail(diagnostic),
            };
            let chain = &mut host.chains.borrow_mut()[chain];
            chain.state = State::Done;
            let streams = matches!(chain.entry.output, Output::Stream { .. });
            chain.table = (!streams).then(|| {
                Table::from_entries(session::spec(&chain.entry, &prepared), Vec::<(Vec<u8>, Vec<u64>)>::new())
            });
        }
        return planned(host, &policies).or_else(fail);
    }
    if let (Some(policy), true) = (policies.first(), !matches!(host.tape, Tape::Off)) {
        let error = Diagnostic::script("policies are neither recorded nor replayed: they act on packets as they come");
        return fail(error.help("skep run SCRIPT").at(host.policies.borrow()[*policy].position));
    }
    let held = match policies.is_empty() {
        true => None,
        false => match Held::start(host, policies, time) {
            Ok(held) => Some(held),
            Err(diagnostic) => return fail(diagnostic),
        },
    };
    let mut driver = match Running::start(host, chains, time, None) {
        Ok(running) => Driver { context, host, running, held },
        Err(diagnostic) => return fail(diagnostic),
    };
    let began = driver.begin();
    let outcome = if began.is_ok() { driver.drive() } else { Ok(()) };
    let ended = driver.held.take().map_or(Ok(()), |held| held.end(host));
    let closed = driver.running.close(context, host).map(drop);
    outcome.and(closed).and(began.and(ended).or_else(fail))
}

/// Policies that a plan has seen: what would be put where is known, and nothing was done.
fn planned(host: &Host, policies: &[usize]) -> Result<(), Diagnostic> {
    let mut said = host.policies.borrow_mut();
    sites_of(&policies.iter().map(|number| &said[*number]).collect::<Vec<&Said>>())?;
    for number in policies {
        said[*number].state = State::Done;
    }
    Ok(())
}

pub fn inside_a_run() -> Diagnostic {
    Diagnostic::script("`run` inside a run: closures may read values, not wait for others")
        .help("run the chains one after the other")
}

/// Chains that are in the kernel, and what becomes of their events here.
pub struct Running {
    pub active: Rc<Active>,
    pub happenings: RefCell<Happenings>,
    consumers: RefCell<Vec<Consumer>>,
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

    fn new(active: Rc<Active>, happenings: Happenings, consumers: Vec<Consumer>) -> Running {
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

/// What happens to one chain's events.
struct Consumer {
    each: Option<Closure>,
    format: Option<Format>,
    schema: Rc<Schema>,
    widths: Vec<usize>,
    headed: Cell<bool>,
    delivered: u64,
    /// Its records are samples that the session counts.
    counts: bool,
    /// Its records are packets.
    packets: Option<Packets>,
}

impl Consumer {
    fn new(
        chain: &Chain,
        prepared: &Prepared,
        host: &Host,
        stacks: Option<&Rc<Stacks>>,
    ) -> Result<Consumer, Diagnostic> {
        let (names, json) = (&host.names, host.output.borrow().format == output::Format::Json);
        let colour = host.output.borrow().style().colour;
        let packets = match &chain.entry.output {
            Output::Stream { then: Then::Packets(wish), .. } => Some(
                Packets::new(wish, &interfaces(prepared), json, colour)
                    .map_err(|error| error.at(chain.entry.position))?,
            ),
            _ => None,
        };
        let format = match &chain.entry.output {
            Output::Stream { then: Then::Printf(text), .. } => Format::parse(text).ok(),
            _ => None,
        };
        let schema = Rc::new(Schema::new(prepared.columns.clone(), names.clone(), stacks.cloned()));
        let widths = schema.columns.iter().map(width).collect();
        Ok(Consumer {
            each: chain.each.clone(),
            format,
            schema,
            widths,
            headed: Cell::new(false),
            delivered: 0,
            counts: prepared.copies.is_some(),
            packets,
        })
    }
}

/// How wide a streamed column is: its widest value is not known yet.
fn width(column: &ColumnType) -> usize {
    let usual = match column.kind {
        ColumnKind::Int { .. } if column.name == "nsecs" => 15,
        ColumnKind::Int { show: crate::aggregate::column::Show::Hex, .. } => 18,
        ColumnKind::Int { show: crate::aggregate::column::Show::Probe, .. } => 22,
        ColumnKind::Int { .. } => 7,
        ColumnKind::Text { size } => usize::from(size).min(16),
        ColumnKind::Bytes { show: BytesShow::UserSymbol, .. } => 22,
        ColumnKind::Bytes { .. } => 15,
        ColumnKind::Path { .. } | ColumnKind::Called(_) => 32,
    };
    usual.max(column.name.chars().count())
}

struct Driver<'a> {
    context: &'a NativeCallContext<'a>,
    host: &'a Rc<Host>,
    running: Running,
    held: Option<Held>,
}

impl Driver<'_> {
    /// Everything is attached: policies that ask for it enforce, and the command is let go.
    fn begin(&mut self) -> Result<(), Diagnostic> {
        // What is recorded has no command and no policies.
        let Happenings::Live { pump, .. } = self.running.happenings.get_mut() else { return Ok(()) };
        let sender = pump.sender();
        if let Some(held) = &mut self.held {
            held.hold(self.host, sender);
        }
        self.host.command_end.tell(sender);
        if let Some(release) = self.host.command.borrow_mut().as_mut().and_then(|command| command.release.take()) {
            let child = release().map_err(|error| Diagnostic::script(error.to_string()).nowhere())?;
            self.host.command_end.of(child);
        }
        Ok(())
    }

    /// Until the time is over, a signal comes, the command ends, or the script says so.
    fn drive(&mut self) -> Fallible<()> {
        // What came while programs were loaded has woken nobody.
        if self.host.is_ended() {
            return Ok(());
        }
        loop {
            // Nothing waits: time to show what was written so far.
            let idle = || self.host.output.borrow_mut().flush();
            let Some(happening) = self.running.happenings.get_mut().next(idle) else { return Ok(()) };
            self.host.busy_since.set(Instant::now());
            match happening {
                Happening::Events(batch) => self.running.deliver(self.context, self.host, &batch)?,
                Happening::Tick(n) => {
                    let timer = self.host.timers.borrow().get(n).map(|(_, closure)| closure.clone());
                    match timer {
                        Some(closure) => drop(call(self.context, self.host, &closure, Vec::new())?),
                        None if self.host.settings.progress => self.progress(),
                        None => {}
                    }
                }
                Happening::Deadline => return Ok(()),
                Happening::ProcessEnded => {
                    self.host.output.borrow_mut().progress("");
                    self.host.output.borrow_mut().tell("the process has ended");
                    return Ok(());
                }
                Happening::Signal | Happening::CommandEnded => {
                    self.host.is_ended();
                    return Ok(());
                }
                Happening::Denied(denial) => {
                    if let Some(held) = &self.held {
                        held.denied(self.context, self.host, &denial)?;
                    }
                }
                Happening::PoliciesEnded => {
                    // By a signal perhaps, which they see too.
                    if self.host.is_ended() || self.running.active.chains.is_empty() {
                        return Ok(());
                    }
                }
            }
            if self.host.exit.get().is_some() || self.host.output.borrow().closed() || self.running.is_enough() {
                return Ok(());
            }
            if let Some(recorder) = self.host.tape.recorder().filter(|recorder| recorder.is_full()) {
                self.running.stop_recording(self.context, self.host, recorder)?;
            }
        }
    }

    /// How far the run is, on the terminal's last line.
    fn progress(&self) {
        let Running { active, began, .. } = &self.running;
        let session = active.session.borrow();
        // What cannot be read now is read at the end, and an error then.
        let counters = (0..active.chains.len()).filter_map(|n| session.trust(n).ok());
        let passed: u64 = counters.map(|trust| trust.seen - trust.filtered).sum();
        let time = crate::report::units::duration(began.1.elapsed().as_nanos() as i128);
        self.host.output.borrow_mut().progress(&format!("{time}: {} events", crate::report::units::grouped(passed)));
    }
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

/// The interfaces whose packets a chain meets.
fn interfaces(prepared: &Prepared) -> Vec<Interface> {
    let attached =
        prepared.units.iter().flat_map(|unit| &unit.programs).flat_map(|program| &program.attach).filter_map(
            |attach| match &attach.mechanism {
                Mechanism::Packets { place: Place::Interface(interface), .. } => Some(interface.clone()),
                _ => None,
            },
        );
    let mut all: Vec<Interface> = attached.collect();
    all.sort_by_key(|interface| interface.index);
    all.dedup();
    all
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
