//! `skep plan`: what a script would do. Nothing is loaded; no privilege is needed.

use crate::args::{Cli, Source};
use crate::run::{open, runner, show};
use skep_runtime::kernel::sys;
use skep_runtime::report;
use skep_runtime::script::host::Mode;

pub fn plan(cli: &Cli, source: &Source, words: &[String], code: bool) -> u8 {
    let script = match open(source) {
        Ok(script) => script,
        Err(diagnostic) => return show(&diagnostic, None),
    };
    let mut runner = match runner(cli, words, Mode::Plan, None, None) {
        Ok(runner) => runner,
        Err(diagnostic) => return show(&diagnostic, None),
    };
    // What the script would print is no part of its plan.
    runner.host.output.borrow_mut().mute();
    if let Err(diagnostic) = runner.run(&script) {
        return show(&diagnostic, Some(&script));
    }
    let host = &runner.host;
    let restrict = &host.settings.restrict;
    let cpus = sys::possible_cpus().unwrap_or(1);
    let mut out = String::new();
    for n in 0..host.chains.borrow().len() {
        let prepared = match host.prepare(n) {
            Ok(prepared) => prepared,
            Err(diagnostic) => return show(&diagnostic, Some(&script)),
        };
        let chains = host.chains.borrow();
        let entry = &chains[n].entry;
        if cli.json {
            out += &format!("{}\n", report::plan::json(n + 1, entry, &prepared, restrict, cpus));
        } else {
            out += &report::plan::text(n + 1, entry, &prepared, restrict, cpus, code);
        }
    }
    let policies = host.policies.borrow();
    for (n, said) in policies.iter().enumerate() {
        match report::rules::plan(said, host.chains.borrow().len() + n + 1, cli.json) {
            Ok(text) => out += &text,
            Err(diagnostic) => return show(&diagnostic, Some(&script)),
        }
    }
    if !cli.json {
        for (period, _) in host.timers.borrow().iter() {
            out += &format!("   here    every {}, a closure\n", report::units::duration(period.as_nanos() as i128));
        }
        for param in host.params.borrow().asked() {
            out += &format!("   param   --{} {}   {}\n", param.name, param.preset, param.help);
        }
    }
    crate::list::put(&out)
}
