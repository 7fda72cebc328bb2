//! Files that a run may write: those that the command line names, and those that the script spells out. Landlock holds
//! the script's thread to them once nothing is loaded any more; kernels without it (before 5.13) do not.

use crate::diagnostic::Diagnostic;
use crate::kernel::load;
use crate::threads;
use landlock::{
    ABI, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, path_beneath_rules,
};
use regex_lite::Regex;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Access rights of Linux 6.2: writing, making, removing, renaming, cutting short.
const RIGHTS: ABI = ABI::V3;
/// Functions of scripts that write a file.
const WRITERS: &str = r"\b(csv|flamegraph|folded|pprof|speedscope|flamediff|pcapng)\s*\(";

static NAMED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// Our own files, for which no privilege is kept.
static OWN: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

type Tell = Box<dyn Fn(&str) + Send + Sync>;

/// Told what was refused; without it nothing is.
static CLOSED: OnceLock<Tell> = OnceLock::new();

/// This file, or what is below this folder, is to be written.
pub fn name(path: &Path) {
    NAMED.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
}

/// A file of our own that is written to the end, such as a log.
pub fn keep(path: &Path) {
    OWN.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_owned());
}

/// What a script spells out. One that writes files whose names it makes up may do so below the current folder.
pub fn name_those_of(script: &str) {
    if are_closed() {
        return;
    }
    let (Ok(writers), Ok(literal)) = (Regex::new(WRITERS), Regex::new(r#"^[^()"]*"([^"$]+)"\s*[,)]"#)) else { return };
    for writer in writers.find_iter(script) {
        name(Path::new("."));
        if let Some(path) = literal.captures(&script[writer.end()..]).and_then(|found| found.get(1)) {
            name(Path::new(path.as_str()));
        }
    }
}

/// Is anything to be written?
pub fn are_named() -> bool {
    !NAMED.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
}

/// From now on no function of a script touches a file: somebody else's privilege runs it. `tell` hears of those that try.
pub fn close(tell: impl Fn(&str) + Send + Sync + 'static) {
    // Closed twice is closed.
    let _twice = CLOSED.set(Box::new(tell));
}

pub fn are_closed() -> bool {
    CLOSED.get().is_some()
}

/// May a script write or read this file?
///
/// # Errors
/// A script diagnostic: it is run for somebody else.
pub fn may(what: &str, path: &str) -> Result<(), Diagnostic> {
    let Some(tell) = CLOSED.get() else { return Ok(()) };
    let message = format!("may not {what} `{path}`: a script that the helper runs has no files");
    tell(&message);
    Err(Diagnostic::script(message).help("print it, and redirect what skep prints: skep run … > FILE").span(path))
}

/// Holds this thread, and those that it starts, to the files that are named. What is open stays open.
pub fn only() {
    // A kernel that cannot is no reason to stop.
    let _without = restrict();
}

fn restrict() -> Result<RulesetStatus, landlock::RulesetError> {
    let writing = AccessFs::from_write(RIGHTS);
    let [named, own] = [&NAMED, &OWN].map(|paths| paths.lock().unwrap_or_else(PoisonError::into_inner));
    // A graph is written beside its place first, and renamed.
    let folders = named.iter().chain(own.iter()).map(|path| match path.is_dir() {
        true => path.as_path(),
        false => path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")),
    });
    // Who names a file at the root has not named everything.
    let paths: Vec<&Path> = folders.filter(|folder| *folder != Path::new("/")).chain([Path::new("/dev")]).collect();
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(writing)?.create()?;
    Ok(ruleset.add_rules(path_beneath_rules(paths, writing))?.restrict_self()?.ruleset)
}

/// What this kernel makes of it, for the doctor.
pub fn state() -> String {
    let tried = threads::start(restrict).ok().and_then(|thread| thread.join().ok());
    match tried {
        Some(Ok(RulesetStatus::FullyEnforced)) => "yes".to_owned(),
        Some(Ok(RulesetStatus::PartiallyEnforced)) => {
            "in part: files may be cut short (Linux 6.2 has all of it)".to_owned()
        }
        Some(Ok(RulesetStatus::NotEnforced)) => "no (Linux 5.13, CONFIG_SECURITY_LANDLOCK, lsm=…,landlock)".to_owned(),
        Some(Err(error)) => format!("no: {}", load::text(&std::io::Error::other(error))),
        None => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_script_are_those_that_it_spells_out() {
        name_those_of(
            "probe(\"x\").by(kstack).count().flamegraph(\"out/cpu.svg\"); t.csv(`${name}.csv`); t.csv(\"/tmp/\" + name);",
        );
        let named = NAMED.lock().unwrap();
        let said: Vec<&str> = named.iter().filter_map(|path| path.to_str()).collect();
        assert_eq!(said, [".", "out/cpu.svg", ".", "."]);
    }
}
