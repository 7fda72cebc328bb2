//! Running: chains into the kernel, happenings to closures, values back. The loop between a script and the session.

mod consumer;
mod driver;
mod recorded;
mod running;

pub use running::Running;

use super::called;
use super::held::{Held, sites_of};
use super::host::{Closure, Fallible, Host, Mode, State, arranged, raise};
use super::intervals;
use super::policies::{Handle, Said};
use super::probe::Probe;
use super::verdicts::Verdicts;
use super::{errors, values};
use crate::aggregate::table::Table;
use crate::attach_point::AttachPoint;
use crate::confine::{self, capabilities};
use crate::diagnostic::Diagnostic;
use crate::plan::{Output, Source};
use crate::recording::Tape;
use crate::session;
use driver::Driver;
use rhai::{Dynamic, NativeCallContext};
use std::rc::Rc;
use std::time::Duration;

/// Runs one chain and gives its value.
pub fn one(context: &NativeCallContext, probe: &Probe, time: Option<Duration>) -> Fallible<Dynamic> {
    let host = &probe.host;
    host.chains.borrow_mut()[probe.chain].whole = Some(None);
    run(context, host, vec![probe.chain], Vec::new(), time)?;
    let mut chains = host.chains.borrow_mut();
    let chain = &mut chains[probe.chain];
    let whole = match (chain.whole.take().flatten(), &chain.table) {
        (Some(mut whole), Some(rest)) => {
            whole.merge(rest.clone());
            Some(whole)
        }
        (_, rest) => rest.clone(),
    };
    match whole {
        Some(table) => match arranged(table, &chain.entry, None) {
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

/// Runs every chain and policy that did not run yet, and the timers. A called script leaves that to the one that called
/// it, and its `at_end` closures have their say behind the run.
pub fn all(context: &NativeCallContext, host: &Rc<Host>, time: Option<Duration>) -> Fallible<()> {
    if let Some(callee) = host.speaking() {
        callee.wish.set(time.or(Some(Duration::ZERO)));
        return Ok(());
    }
    let waiting = |(n, state): (usize, State)| (state == State::Waiting).then_some(n);
    let chains = host.chains.borrow().iter().map(|chain| chain.state).enumerate().filter_map(waiting).collect();
    let policies = host.policies.borrow().iter().map(|said| said.state).enumerate().filter_map(waiting).collect();
    let chains = called::without_missing(host, chains);
    run(context, host, chains, policies, time)?;
    for closure in called::closures(host) {
        let _value = call(context, host, &closure, [])?;
    }
    Ok(())
}

/// The end of a script: what still waits is run, `at_end` is called, what nobody took is printed.
pub fn finish(context: &NativeCallContext, host: &Rc<Host>) -> Fallible<()> {
    if let Some(unknown) = host.params.borrow().unknown() {
        return raise(unknown.nowhere(), context.call_position());
    }
    intervals::check(host).or_else(|wrong| raise(wrong, context.call_position()))?;
    if host.exit.get().or(host.ended.get()).is_none() {
        // A called script that was to run for a time does so, whoever forgot to say it.
        let wish = called::wish(host).filter(|_| !host.ran.get());
        let waiting = wish.is_some()
            || host.chains.borrow().iter().any(|chain| chain.state == State::Waiting)
            || host.policies.borrow().iter().any(|said| said.state == State::Waiting);
        let command = host.command.borrow().as_ref().is_some_and(|command| command.release.is_some());
        // Timers alone keep a script alive, unless it ran already as long as it wanted to.
        let timers = !host.timers.borrow().is_empty() && !host.ran.get();
        if waiting || command || timers {
            // Closures of the end may run more chains.
            host.last.set(host.at_end.borrow().is_empty());
            all(context, host, wish.filter(|time| !time.is_zero()))?;
        }
    }
    end(context, host)
}

/// The last part of [`finish`]; also after `exit()`.
pub fn end(context: &NativeCallContext, host: &Rc<Host>) -> Fallible<()> {
    for closure in host.at_end.take() {
        let _value = call(context, host, &closure, [])?;
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
    let mut first = !intervals::rest(host, &mut host.chains.borrow_mut())?;
    let top = intervals::top(&host.params.borrow())?;
    let mut output = host.output.borrow_mut();
    for chain in host.chains.borrow_mut().iter_mut() {
        let Some(table) = chain.table.take().filter(|_| !chain.taken.get()) else { continue };
        if !first {
            output.gap();
        }
        first = false;
        output.table(&arranged(table, &chain.entry, top)?, &host.names);
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
pub fn call(
    context: &NativeCallContext,
    host: &Host,
    closure: &Closure,
    mut arguments: impl AsMut<[Dynamic]>,
) -> Fallible<Dynamic> {
    host.computes();
    host.asked_to_end.set(None);
    let called = match &closure.callee {
        Some(callee) => {
            let _speaking = host.speaks(callee);
            callee.call(context, closure, arguments.as_mut().iter_mut().map(std::mem::take).collect())
        }
        None => closure.function.call_raw(context, None, arguments),
    };
    match called {
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
    intervals::check(host).or_else(fail)?;
    // A signal came, or the command ended: no further run begins, and the script is over. A last look at what is there, which
    // takes no time, may say what came of it all.
    if host.is_ended() && (host.looked_back.replace(true) || !policies.is_empty() || !takes_no_time(host, &chains)) {
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
    capabilities::raise();
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
    // Policies are enforced, exchanged and taken back by whoever holds them.
    if driver.held.is_none() && host.settings.mode == Mode::Run {
        confine::attached(host, &driver.running.active.prepared, host.last.get());
    }
    let outcome = if began.is_ok() { driver.drive() } else { Ok(()) };
    capabilities::raise();
    let (told, ended) = driver.held.take().map_or((Ok(()), Ok(())), |held| held.end(context, host));
    let closed = driver.running.close(context, host).map(drop);
    outcome.and(told).and(closed).and(began.and(ended).or_else(fail))
}

/// Do these chains read what is there, and wait for nothing?
fn takes_no_time(host: &Host, chains: &[usize]) -> bool {
    let all = host.chains.borrow();
    let mut sources = chains.iter().map(|n| &all[*n].entry.source);
    !chains.is_empty()
        && sources.all(|source| match source {
            Source::Probe(points) => points.iter().all(|(_, point)| matches!(point, AttachPoint::Iterator { .. })),
            _ => false,
        })
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

#[cfg(test)]
mod tests;
