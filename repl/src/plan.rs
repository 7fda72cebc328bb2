//! `skep plan`: what a script would do. Nothing is loaded; no privilege is needed.

use crate::args::{Cli, Source};
use crate::run::{open, runner, show};
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::kernel::sys;
use skep_runtime::library::Script;
use skep_runtime::report;
use skep_runtime::script::host::Mode;
use skep_runtime::script::params::Param;

/// A script that was evaluated, and not run.
pub struct Planned {
    /// All of its plan, as it is printed.
    pub text: String,
    pub params: Vec<Param>,
}

pub fn plan(cli: &Cli, source: &Source, words: &[String], code: bool) -> u8 {
    let script = match open(source) {
        Ok(script) => script,
        Err(diagnostic) => return show(&diagnostic, None),
    };
    match planned_with(cli, &script, words, code) {
        Ok(planned) => crate::list::put(&planned.text),
        Err(diagnostic) => show(&diagnostic, Some(&script)),
    }
}

/// The plan of a script, without the instructions of its slots.
///
/// # Errors
/// What is wrong with it, or what this machine has not.
pub fn planned(cli: &Cli, script: &Script, words: &[String]) -> Result<Planned, Diagnostic> {
    planned_with(cli, script, words, false)
}

fn planned_with(cli: &Cli, script: &Script, words: &[String], code: bool) -> Result<Planned, Diagnostic> {
    let mut runner = runner(cli, words, Mode::Plan, None, None)?;
    // What the script would print is no part of its plan.
    runner.host.output.borrow_mut().mute();
    runner.run(script)?;
    let host = &runner.host;
    let restrict = &host.settings.restrict;
    let cpus = sys::possible_cpus().unwrap_or(1);
    let mut text = String::new();
    for n in 0..host.chains.borrow().len() {
        let prepared = host.prepare(n)?;
        let chains = host.chains.borrow();
        let entry = &chains[n].entry;
        if cli.json {
            text += &format!("{}\n", report::plan::json(n + 1, entry, &prepared, restrict, cpus));
        } else {
            text += &report::plan::text(n + 1, entry, &prepared, restrict, cpus, code);
        }
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
