//! `skep policy apply`: holds a policy until it ends.

use crate::args::Cli;
use crate::list::put;
use crate::run::catalog;
use clap::ArgMatches;
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::kernel::load::text;
use skep_runtime::kernel::signals;
use skep_runtime::policy::enforcer::Options;
use skep_runtime::policy::holder::{self, End, Holder};
use skep_runtime::policy::place::Place;
use skep_runtime::policy::rules::Rules;
use skep_runtime::policy::{form, guard, pinned, status};
use std::collections::BTreeSet;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    place: String,
    rules: PathBuf,
    enforce: bool,
    confirm_within: Option<Duration>,
    ttl: Option<Duration>,
    pin: bool,
    tracks: Option<bool>,
    guard: Vec<IpAddr>,
    no_guard: bool,
}

impl Wish {
    pub fn of(place: String, matches: &ArgMatches) -> Wish {
        let time = |name: &str| matches.get_one::<Duration>(name).copied();
        let choice = (matches.get_flag("stateful"), matches.get_flag("stateless"));
        Wish {
            place,
            rules: matches.get_one::<PathBuf>("rules").cloned().unwrap_or_default(),
            enforce: matches.get_flag("enforce"),
            confirm_within: time("confirm-within"),
            ttl: time("ttl"),
            pin: matches.get_flag("pin"),
            tracks: (choice.0 || choice.1).then_some(choice.0),
            guard: matches.get_many::<IpAddr>("guard").into_iter().flatten().copied().collect(),
            no_guard: matches.get_flag("no-guard"),
        }
    }
}

/// The rules of a file.
///
/// # Errors
/// A script diagnostic: no such file, or what is wrong in it.
pub fn rules(path: &Path) -> Result<Rules, Diagnostic> {
    let failed = |error| Diagnostic::script(format!("failed to read `{}`: {}", path.display(), text(&error)));
    form::read(&std::fs::read_to_string(path).map_err(failed)?)
}

/// Puts a policy in place, and holds it until it ends; prints what it has done.
///
/// # Errors
/// As [`Holder::start`] and [`Holder::hold`].
pub fn apply(cli: &Cli, wish: &Wish) -> Result<u8, Diagnostic> {
    let rules = rules(&wish.rules)?;
    let place = Place::find(&wish.place)?;
    pinned::clean_up();
    let mut guarded: BTreeSet<IpAddr> = wish.guard.iter().copied().collect();
    if !wish.no_guard {
        guarded.extend(guard::session());
    }
    let wanted = holder::Wish {
        rules,
        enforce: wish.enforce,
        confirm_within: wish.confirm_within,
        ttl: wish.ttl,
        guarded,
        options: Options { tracks: wish.tracks, ..Options::default() },
    };
    let tell: fn(&str) = if cli.quiet { |_| {} } else { tell };
    let mut holder = Holder::start(place, wanted, &catalog(cli)?, tell)?;
    let mode = if wish.enforce { "enforces" } else { "audits" };
    if wish.pin {
        let kept = pinned::keep(&mut holder)?;
        tell(&format!("attached: {mode} `{}` without this process; pinned below {}", wish.place, kept.display()));
        return Ok(0);
    }
    tell(&format!("attached: {mode} `{}`; Ctrl-C to end", wish.place));
    let end = holder.hold()?;
    let last = holder.status()?;
    // What it has done is shown when it does nothing any more.
    drop(holder);
    let printed = put(&if cli.json { format!("{last}\n") } else { status::table(&last) });
    Ok(match end {
        End::Signal(signal) => printed.max(signals::status(signal) as u8),
        End::RolledBack | End::TimeToLive => printed,
    })
}

fn tell(line: &str) {
    // Standard error may be closed; then nobody wants to know.
    let _nobody = writeln!(std::io::stderr(), "{line}");
}
