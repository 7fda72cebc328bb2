//! The verbs that ask a policy at work.

use super::apply::What;
use crate::args::Cli;
use crate::list::put;
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::policy::control::{self, Request};
use skep_runtime::policy::exchange::exchange;
use skep_runtime::policy::pinned::{self, Pinned};
use skep_runtime::policy::{form, status};
use std::time::Duration;

/// # Errors
/// No policy is at work there.
pub fn status(cli: &Cli, place: Option<&str>) -> Result<u8, Diagnostic> {
    pinned::clean_up();
    let pinned = pinned::meant(place.unwrap_or("all"));
    let sockets = match place {
        Some(place) if pinned.is_empty() => control::meant(place)?,
        Some(place) => control::meant(place).unwrap_or_default(),
        None => control::all(),
    };
    let mut answers = Vec::new();
    for (name, socket) in sockets {
        match control::ask(&name, &socket, &Request::Status) {
            Ok(answer) => answers.push(answer),
            // One that was killed leaves its socket behind; that is none.
            Err(_) if place.is_none() => {}
            Err(error) => return Err(error),
        }
    }
    answers.extend(pinned.iter().map(Pinned::status));
    let mut text = String::new();
    for answer in answers {
        text += &if cli.json { format!("{answer}\n") } else { status::table(&answer) };
    }
    if text.is_empty() && !cli.json {
        text = "no policy is at work\n".into();
    }
    Ok(put(&text))
}

/// # Errors
/// As [`control::ask`]; of a pinned policy anything but its removal.
pub fn ask(cli: &Cli, place: &str, request: &Request) -> Result<u8, Diagnostic> {
    let pinned = pinned::meant(place);
    if let (false, Some(one)) = (matches!(request, Request::Rollback { .. }), pinned.first()) {
        let message = format!("the policy of `{}` is pinned: no process holds it that could be asked", one.place());
        return Err(Diagnostic::machine(message).help(format!("skep policy rollback {place}")));
    }
    pinned.iter().try_for_each(Pinned::remove)?;
    let sockets = match control::meant(place) {
        Err(_) if !pinned.is_empty() => return Ok(0),
        sockets => sockets?,
    };
    let mut text = String::new();
    for (place, socket) in sockets {
        let answer = control::ask(&place, &socket, request)?;
        text += &if cli.json { format!("{answer}\n") } else { String::new() };
    }
    Ok(put(&text))
}

/// # Errors
/// As [`control::ask`] and [`exchange`], and what is wrong with the rules or policies.
pub fn swap(cli: &Cli, what: &What, within: Option<Duration>) -> Result<u8, Diagnostic> {
    if let What::Rules { place, path } = what {
        let rules = form::written(&super::apply::rules(path)?);
        return ask(cli, place, &Request::Swap { rules, within });
    }
    let mut text = String::new();
    for (_, answer) in exchange(&what.find(cli)?.sites, within)? {
        text += &if cli.json { format!("{answer}\n") } else { String::new() };
    }
    Ok(put(&text))
}
