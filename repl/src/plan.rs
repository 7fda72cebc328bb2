//! `skep plan`: what a script would do. Nothing is loaded unless its cost is asked for; no privilege is needed.

use crate::args::{Cli, Detail, Source};
use crate::run::{open, runner, show};
use skep_runtime::budget::forecast::Forecast;
use skep_runtime::confine::needs;
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::kernel::sys;
use skep_runtime::library::Script;
use skep_runtime::plan::{Output, Then};
use skep_runtime::prepare::Prepared;
use skep_runtime::report;
use skep_runtime::script::host::{Host, Mode};
use skep_runtime::script::params::Param;
use skep_runtime::session::{Session, Shared};

/// A script that was evaluated, and not run.
pub struct Planned {
    /// All of its plan, as it is printed.
    pub text: String,
    pub params: Vec<Param>,
}

pub fn plan(cli: &Cli, source: &Source, words: &[String], detail: Detail) -> u8 {
    let script = match open(source) {
        Ok(script) => script,
        Err(diagnostic) => return show(&diagnostic, None),
    };
    match planned_with(cli, &script, words, detail) {
        Ok(planned) => crate::list::put(&planned.text),
        Err(diagnostic) => show(&diagnostic, Some(&script)),
    }
}

/// The plan of a script, without the instructions of its slots.
///
/// # Errors
/// What is wrong with it, or what this machine has not.
pub fn planned(cli: &Cli, script: &Script, words: &[String]) -> Result<Planned, Diagnostic> {
    planned_with(cli, script, words, Detail::default())
}

fn planned_with(cli: &Cli, script: &Script, words: &[String], detail: Detail) -> Result<Planned, Diagnostic> {
    let mut runner = runner(cli, words, Mode::Plan, None, None)?;
    // What the script would print is no part of its plan.
    runner.host.output.borrow_mut().mute();
    runner.run(script)?;
    let host = &runner.host;
    let restrict = &host.settings.restrict;
    let cpus = sys::possible_cpus().unwrap_or(1);
    let mut text = String::new();
    let all = (0..host.chains.borrow().len()).map(|n| host.prepare(n)).collect::<Result<Vec<_>, _>>()?;
    for (n, prepared) in all.iter().enumerate() {
        let forecast = if detail.measure { forecast(host, n, prepared)? } else { None };
        let chains = host.chains.borrow();
        let entry = &chains[n].entry;
        if cli.json {
            let mut plan = report::plan::json(n + 1, entry, prepared, restrict, cpus);
            if let Some(forecast) = forecast {
                plan["cost"] = forecast.json();
            }
            text += &format!("{plan}\n");
        } else {
            text += &report::plan::text(n + 1, entry, prepared, restrict, cpus, detail.code);
            if let Some(forecast) = forecast {
                text += &report::plan::cost(&forecast);
            }
        }
    }
    let needs = needs::of(&all);
    if !cli.json && !needs.is_empty() {
        text += &format!("   needs   {}\n", needs::line(&needs));
    }
    let policies = host.policies.borrow();
    for (n, said) in policies.iter().enumerate() {
        text += &report::rules::plan(said, host.chains.borrow().len() + n + 1, cli.json)?;
    }
    let params = host.params.borrow().asked().to_vec();
    if !cli.json {
        for (period, _) in host.timers.borrow().iter() {
            text += &format!("   here    every {}, a closure\n", report::units::duration(period.as_nanos() as i128));
        }
        for param in &params {
            text += &format!("   param   --{} {}   {}\n", param.name, param.preset, param.help);
        }
    }
    Ok(Planned { text, params })
}

/// What a chain would cost, by attaching it as it is; `None`: an iterator runs once, as long as it takes.
///
/// # Errors
/// As a run's; the kernel's where it does not count.
fn forecast(host: &Host, n: usize, prepared: &Prepared) -> Result<Option<Forecast>, Diagnostic> {
    let (chains, settings) = (host.chains.borrow(), &host.settings);
    let entry = &chains[n].entry;
    settings
        .limits
        .check(&[(entry, prepared)], settings.sizes, sys::possible_cpus().unwrap_or(1), |option| host.again(option))?;
    let shared = Shared { following: None, stacks: host.stacks(std::slice::from_ref(prepared))? };
    let session = Session::start_with(&[(entry, prepared)], &settings.machine, settings.sizes, shared)?;
    let streams = matches!(entry.output, Output::Stream { .. });
    Forecast::of(&session, streams)
}

/// Why a script is never recorded; `None`: it can be, as far as it can be looked at here.
pub fn not_recorded(cli: &Cli, script: &Script) -> Option<&'static str> {
    let mut runner = runner(cli, &[], Mode::Plan, None, None).ok()?;
    runner.host.output.borrow_mut().mute();
    // What this machine does not have is no matter: what it had said by then is enough.
    let _planned = runner.run(script);
    let packets = |output: &Output| matches!(output, Output::Stream { then: Then::Packets(_), .. });
    if !runner.host.policies.borrow().is_empty() {
        return Some("its policies act on packets as they come");
    }
    let chains = runner.host.chains.borrow();
    chains.iter().any(|chain| packets(&chain.entry.output)).then_some("what its packets are written to is a recording")
}
