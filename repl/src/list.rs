//! `skep list`, `skep doc`: what there is to probe, to use and to run.

use crate::args::Cli;
use crate::run::{catalog, library, machine, show};
use skep_runtime::library::Library;
use skep_runtime::listing;
use skep_runtime::report::{json, units};
use std::io::Write;

pub fn list(cli: &Cli, pattern: &Option<String>, verbose: bool) -> u8 {
    let catalog = match catalog(cli) {
        Ok(catalog) => catalog,
        Err(diagnostic) => return show(&diagnostic, None),
    };
    let listed = match pattern.as_deref() {
        Some("templates") => Ok(listing::templates(&catalog, verbose)),
        Some("scripts") => Ok(listing::scripts(Library::embedded())),
        pattern => machine(cli).and_then(|machine| listing::attach_points(pattern, cli.pid, &machine, verbose)),
    };
    match listed {
        Ok(text) => put(&text),
        Err(diagnostic) => show(&diagnostic, None),
    }
}

pub fn doc(cli: &Cli, name: &str) -> u8 {
    let catalog = match catalog(cli) {
        Ok(catalog) => catalog,
        Err(diagnostic) => return show(&diagnostic, None),
    };
    match listing::doc(name, &catalog, &library()) {
        Ok(text) => put(&text),
        Err(diagnostic) => show(&diagnostic, None),
    }
}

/// Writes to standard output, and nothing that a terminal acts on: names of files, functions and processes are in it.
pub fn put(text: &str) -> u8 {
    // Objects, one a line, have their own way to spell such signs.
    put_as_is(&if text.starts_with('{') { json::spelled(text) } else { units::lines(text) })
}

/// The same of a text whose colours are meant. A reader that has seen enough is no error.
pub fn put_as_is(text: &str) -> u8 {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => 1,
        _ => 0,
    }
}
