//! `skep lib test`: does a script still print what it printed? Beside NAME.rhai lie NAME.skep, what `skep record` kept of a
//! real run, and NAME.txt, what it printed then. SKEP_BLESS=1 writes the latter anew.

use crate::args::{Cli, Source};
use crate::list::put;
use crate::plan::not_recorded;
use crate::run::{open, own_scripts};
use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::json;
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::kernel::load::text;
use skep_runtime::library::below;
use std::path::{Path, PathBuf};

pub fn command() -> Command {
    Command::new("test")
        .about("Replay the recording beside each script, and compare with what it printed; no privilege")
        .arg(
            Arg::new("paths")
                .value_name("FILE|FOLDER")
                .help("your folders, unless given")
                .num_args(0..)
                .value_parser(value_parser!(PathBuf)),
        )
}

pub fn paths(matches: &ArgMatches) -> Vec<PathBuf> {
    matches.get_many::<PathBuf>("paths").into_iter().flatten().cloned().collect()
}

/// What became of one test.
enum Outcome {
    Same,
    /// SKEP_BLESS=1: it was written.
    Blessed,
    /// With the first line that differs, as it should be and as it is.
    Differs(String, String),
    /// There is a recording, and nothing that it should print.
    NoGolden,
    NoRecording,
    /// There is none of such a script; why.
    NotRecorded(&'static str),
}

pub fn test(cli: &Cli, paths: &[PathBuf]) -> Result<u8, Diagnostic> {
    let own = own_scripts();
    let paths = if paths.is_empty() { &own[..] } else { paths };
    let mut scripts = Vec::new();
    for path in paths {
        match path.is_file() {
            true => scripts.push(path.clone()),
            false => scripts.extend(below(path).into_iter().map(|name| path.join(format!("{name}.rhai")))),
        }
    }
    if scripts.is_empty() {
        return Err(Diagnostic::script("no scripts to test").nowhere().help("skep lib test FOLDER"));
    }
    scripts.sort();
    let (mut out, mut failed, mut untested) = (String::new(), 0, 0);
    for script in &scripts {
        let outcome = tried(cli, script)?;
        let (state, lines) = match &outcome {
            Outcome::Same => ("ok", Vec::new()),
            Outcome::Blessed => ("written", Vec::new()),
            Outcome::Differs(wanted, found) => ("differs", vec![format!("- {wanted}"), format!("+ {found}")]),
            Outcome::NoGolden => ("no text", vec![format!("SKEP_BLESS=1 skep lib test {}", script.display())]),
            Outcome::NoRecording => ("untested", Vec::new()),
            Outcome::NotRecorded(reason) => ("none", vec![format!("cannot be recorded: {reason}")]),
        };
        failed += usize::from(matches!(outcome, Outcome::Differs(..) | Outcome::NoGolden));
        untested += usize::from(matches!(outcome, Outcome::NoRecording));
        if cli.json {
            out +=
                &format!("{}\n", json!({ "v": 1, "type": "test", "script": script, "state": state, "lines": lines }));
            continue;
        }
        out += &format!("{state:<8} {}\n", script.display());
        lines.iter().for_each(|line| out += &format!("         {line}\n"));
    }
    if !cli.json {
        out += &format!("{}, {failed} failed, {untested} without a recording\n", super::counted(scripts.len()));
    }
    Ok(put(&out).max(u8::from(failed > 0)))
}

fn tried(cli: &Cli, script: &Path) -> Result<Outcome, Diagnostic> {
    let (recording, golden) = (script.with_extension("skep"), script.with_extension("txt"));
    if !recording.is_file() {
        let reason = not_recorded(cli, &open(&Source::Named(script.display().to_string()))?);
        return Ok(reason.map_or(Outcome::NoRecording, Outcome::NotRecorded));
    }
    let failed = |what: &str, path: &Path, error: &std::io::Error| {
        Diagnostic::machine(format!("failed to {what} `{}`: {}", path.display(), text(error)))
    };
    let own = std::env::current_exe().map_err(|error| failed("find", Path::new("skep"), &error))?;
    // A process of its own, as a user runs it: a script that ends by `exit` ends that one.
    let mut replay = std::process::Command::new(&own);
    replay.arg("replay").args([&recording, script]).env("NO_COLOR", "1");
    let output = replay.output().map_err(|error| failed("start", &own, &error))?;
    let mut printed = String::from_utf8_lossy(&output.stdout).into_owned();
    printed += "--- standard error\n";
    printed += &String::from_utf8_lossy(&output.stderr);
    if std::env::var_os("SKEP_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&golden, &printed).map_err(|error| failed("write", &golden, &error))?;
        return Ok(Outcome::Blessed);
    }
    let wanted = match std::fs::read_to_string(&golden) {
        Ok(wanted) => wanted,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Outcome::NoGolden),
        Err(error) => return Err(failed("read", &golden, &error)),
    };
    if wanted == printed {
        return Ok(Outcome::Same);
    }
    let (mut one, mut other) = (wanted.lines(), printed.lines());
    loop {
        match (one.next(), other.next()) {
            (Some(wanted), Some(found)) if wanted == found => {}
            (wanted, found) => {
                let line = |line: Option<&str>| line.unwrap_or("(the end)").to_owned();
                return Ok(Outcome::Differs(line(wanted), line(found)));
            }
        }
    }
}
