//! `skep doctor`: what of skep works on this machine, and what would help where something does not.

use crate::args::Cli;
use crate::list::put;
use crate::list::put_as_is;
use crate::run::{catalog, show};
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::doctor::{sources, units};
use skep_runtime::report::text::Style;
use std::io::IsTerminal;

pub fn doctor(cli: &Cli, json: bool, with_units: bool) -> u8 {
    if with_units {
        return match std::env::current_exe() {
            Ok(program) => put(&units::text(&program)),
            Err(error) => show(&Diagnostic::machine(format!("failed to find skep itself: {error}")), None),
        };
    }
    if cli.machine.is_some() || cli.btf.is_some() {
        let error =
            Diagnostic::script("`--machine` and `--btf` are for plans: the doctor tries the kernel that runs here");
        return show(&error.help("skep doctor"), None);
    }
    let report = match catalog(cli).and_then(sources::examine) {
        Ok(report) => report,
        Err(diagnostic) => return show(&diagnostic, None),
    };
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let style = Style { colour: std::io::stdout().is_terminal() && !plain, width: None };
    let text = if json || cli.json { format!("{}\n", report.json()) } else { report.text(&style) };
    put_as_is(&text).max(u8::from(!report.is_healthy()))
}
