//! The verbs that ask a policy at work.

use crate::args::Cli;
use crate::list::put;
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::policy::control::{self, Request};
use skep_runtime::policy::{form, pinned, status};
use std::path::Path;
use std::time::Duration;

/// # Errors
/// No policy is at work there.
pub fn status(cli: &Cli, place: Option<&str>) -> Result<u8, Diagnostic> {
    pinned::clean_up();
    let sockets = match place {
        Some(place) if pinned::status(place).is_some() => vec![(place.to_owned(), control::path(place))],
        Some(place) => control::meant(place)?,
        None => control::all(),
    };
    let mut text = String::new();
    for (name, socket) in sockets {
        let answer = match control::ask(&name, &socket, &Request::Status) {
            Ok(answer) => answer,
            // One that was killed leaves its socket behind; that is none.
            Err(_) if place.is_none() => continue,
            Err(error) => match pinned::status(&name) {
                Some(answer) => answer,
                None => return Err(error),
            },
        };
        text += &if cli.json { format!("{answer}\n") } else { status::table(&answer) };
    }
    for answer in pinned::all().into_iter().filter(|_| place.is_none()) {
        text += &if cli.json { format!("{answer}\n") } else { status::table(&answer) };
    }
    if text.is_empty() && !cli.json {
        text = "no policy is at work\n".into();
    }
    Ok(put(&text))
}

/// # Errors
/// As [`control::ask`].
pub fn ask(cli: &Cli, place: &str, request: &Request) -> Result<u8, Diagnostic> {
    if matches!(request, Request::Rollback { .. }) && pinned::remove(place)? {
        return Ok(0);
    }
    let mut text = String::new();
    for (place, socket) in control::meant(place)? {
        let answer = control::ask(&place, &socket, request)?;
        text += &if cli.json { format!("{answer}\n") } else { String::new() };
    }
    Ok(put(&text))
}

/// # Errors
/// As [`control::ask`], and what is wrong with the rules.
pub fn swap(cli: &Cli, place: &str, rules: &Path, within: Option<Duration>) -> Result<u8, Diagnostic> {
    let rules = form::written(&super::apply::rules(rules)?);
    ask(cli, place, &Request::Swap { rules, within })
}
