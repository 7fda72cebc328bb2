//! What is asked for, held against a permit before anything is started: whose script, which options, how much of the
//! machine. What it attaches to is looked at when it is about to: [`super::gate`].

use super::{Permit, Person};
use crate::budget::{Allowance, Budget};
use crate::diagnostic::Diagnostic;
use crate::glob;
use crate::helper::request::{Asked, Request};
use crate::library::{Library, Script};
use crate::report::units;
use std::fs;
use std::time::Duration;

/// A run within its permit.
#[derive(Clone, Debug, PartialEq)]
pub struct Granted {
    pub script: Script,
    /// The script is not one of the library.
    pub own_script: bool,
    /// Parameters of the script.
    pub words: Vec<String>,
    /// Options for the command line, with the ceilings among them.
    pub options: Vec<String>,
    /// Its end, whatever it does.
    pub time: Duration,
}

/// # Errors
/// A script diagnostic at what goes beyond the permit, with the line that an administrator would write.
pub fn check(permit: &Permit, person: &Person, request: &Request) -> Result<Granted, Diagnostic> {
    let (script, own_script) = script(permit, &request.script)?;
    let said = |name: &str| request.options.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    if said("enforce").is_some() && !permit.enforcement {
        return Err(beyond("--enforce", "policies for packets", "enforcement = true"));
    }
    if let Some(pid) = said("pid")
        && permit.own_processes
        && !is_of(pid, person.uid)
    {
        return Err(beyond(&format!("--pid {pid}"), "your processes", "own_processes = false"));
    }
    let time = |name: &str| -> Result<Option<Duration>, Diagnostic> {
        let Some(text) = said(name) else { return Ok(None) };
        let time = units::parse_duration(text).map(Duration::from_nanos).ok_or_else(|| unreadable(name, text))?;
        if time > permit.max_time {
            let most = units::duration(permit.max_time.as_nanos() as i128);
            return Err(beyond(
                &format!("--{name} {text}"),
                &format!("{most}, at most"),
                &format!("max_time = {text:?}"),
            ));
        }
        Ok(Some(time))
    };
    time("for")?;
    let time = time("ttl")?.unwrap_or(permit.max_time);
    let overhead = match said("max-overhead") {
        None => permit.max_overhead,
        Some(text) => overhead(permit.max_overhead, text)?,
    };
    let memory = match said("max-memory") {
        None => permit.max_memory,
        Some(text) => units::parse_bytes(text)
            .ok_or_else(|| unreadable("max-memory", text))
            .and_then(|size| at_most(size, permit.max_memory, "max-memory", text, "max_memory"))?,
    };
    let probes = match said("max-probes") {
        None => permit.max_probes as u64,
        Some(text) => text
            .parse()
            .map_err(|_| unreadable("max-probes", text))
            .and_then(|number| at_most(number, permit.max_probes as u64, "max-probes", text, "max_probes"))?,
    };
    const CEILINGS: [&str; 4] = ["ttl", "max-overhead", "max-memory", "max-probes"];
    let others = request.options.iter().filter(|(name, _)| !CEILINGS.contains(&name.as_str()));
    let mut options: Vec<String> = others.map(|(name, value)| Request::word(name, value)).collect();
    options.extend([
        format!("--ttl={}ns", time.as_nanos()),
        format!("--max-overhead={overhead}"),
        format!("--max-memory={memory}"),
        format!("--max-probes={probes}"),
    ]);
    Ok(Granted { script, own_script, words: request.words.clone(), options, time })
}

fn script(permit: &Permit, asked: &Asked) -> Result<(Script, bool), Diagnostic> {
    match asked {
        Asked::Library(name) => {
            // Of the binary: no folder is somebody's whom a permit is about.
            let found = Library::new(Vec::new()).find(name);
            let found = found.ok_or_else(|| Diagnostic::script(format!("no script `{name}` in the library")))?;
            let short = found.name.rsplit('/').next().unwrap_or_default();
            let named = |pattern: &String| glob::matches(pattern, &found.name) || glob::matches(pattern, short);
            match permit.scripts.iter().any(named) {
                true => Ok((found, false)),
                false => Err(beyond(&format!("script `{name}`"), "", &format!("scripts = [{short:?}]"))),
            }
        }
        Asked::Text { .. } if !permit.own_scripts => {
            Err(beyond("a script of your own", "scripts of the library", "own_scripts = true"))
        }
        Asked::Text { called, text } => Ok((Script { name: called.clone(), text: text.clone().into() }, true)),
    }
}

fn overhead(most: Budget, text: &str) -> Result<Budget, Diagnostic> {
    match Allowance::parse(text) {
        Ok(Allowance::Is(budget)) if budget <= most => Ok(budget),
        Ok(_) => Err(beyond(
            &format!("--max-overhead {text}"),
            &format!("{most} of a processor, at most"),
            &format!("max_overhead = {text:?}"),
        )),
        Err(_) => Err(unreadable("max-overhead", text)),
    }
}

fn at_most(value: u64, most: u64, option: &str, text: &str, word: &str) -> Result<u64, Diagnostic> {
    match value <= most {
        true => Ok(value),
        false => {
            let ceiling = if word == "max_memory" { units::bytes(most) } else { most.to_string() };
            let line = if word == "max_memory" { format!("{word} = {text:?}") } else { format!("{word} = {text}") };
            Err(beyond(&format!("--{option} {text}"), &format!("{ceiling}, at most"), &line))
        }
    }
}

/// Has this process no user but `uid`? The real, effective, saved and file system's one.
fn is_of(pid: &str, uid: u32) -> bool {
    let Ok(pid) = pid.parse::<u32>() else { return false };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    users.is_some_and(|users| users.split_whitespace().all(|user| user.parse() == Ok(uid)))
}

/// `permitted` is what there is instead; `line` what would permit it.
pub(super) fn beyond(what: &str, permitted: &str, line: &str) -> Diagnostic {
    let instead = if permitted.is_empty() { String::new() } else { format!(" ({permitted})") };
    Diagnostic::script(format!("{what} is not permitted{instead}"))
        .help(format!("an administrator may permit it in {}: {line}", super::FILE))
        .nowhere()
}

fn unreadable(option: &str, text: &str) -> Diagnostic {
    Diagnostic::script(format!("`--{option} {text}` cannot be read"))
        .help(format!("skep run --help | grep {option}"))
        .nowhere()
}
