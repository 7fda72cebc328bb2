//! `skep policy apply`: puts policies in place, and holds them until they end.

use super::check::{Files, open};
use super::flows::{self, Form};
use crate::args::Cli;
use crate::list::put;
use crate::run::{catalog, show};
use clap::ArgMatches;
use serde_json::{Value as Json, json};
use skep_runtime::audit::entry::hash;
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::kernel::signals;
use skep_runtime::policy::check::{Checked, Report};
use skep_runtime::policy::enforcer::Options;
use skep_runtime::policy::flows::Witness;
use skep_runtime::policy::inventory::Inventory;
use skep_runtime::policy::model::{Policy, Treatment};
use skep_runtime::policy::resolve::View;
use skep_runtime::policy::rollout::{self, Ended, Past, Rollout};
use skep_runtime::policy::rules::Rules;
use skep_runtime::policy::site::{Site, sites, stage_audits};
use skep_runtime::policy::{form, guard, pinned, status};
use skep_runtime::report;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    what: What,
    enforce: bool,
    confirm_within: Option<Duration>,
    ttl: Option<Duration>,
    pin: bool,
    tracks: Option<bool>,
    guard: Vec<IpAddr>,
    no_guard: bool,
    /// Verdicts on single packets, as they come.
    flows: Option<String>,
}

/// What is to be put in place, and what is known of it.
#[derive(Default)]
pub struct Found {
    pub sites: Vec<Site>,
    policies: Vec<Policy>,
    inventory: Inventory,
}

/// What is put where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Policies, at all places that they select.
    Policies {
        files: Files,
        partial: bool,
    },
    Rules {
        place: String,
        path: PathBuf,
    },
}

impl What {
    pub fn of(matches: &ArgMatches) -> What {
        match matches.get_one::<PathBuf>("rules").cloned() {
            Some(path) => {
                let place = matches.get_one::<PathBuf>("files").map(|place| place.display().to_string());
                What::Rules { place: place.unwrap_or_default(), path }
            }
            None => What::Policies { files: Files::of(matches), partial: matches.get_flag("partial") },
        }
    }

    /// Its files and their hashes, as the audit log has them.
    pub fn noted(&self) -> Json {
        let files = match self {
            What::Policies { files, .. } => files.files.as_slice(),
            What::Rules { path, .. } => std::slice::from_ref(path),
        };
        let one = |path: &PathBuf| {
            let hash = std::fs::read(path).ok().map(|text| hash(&text));
            json!({ "name": path.display().to_string(), "sha256": hash })
        };
        files.iter().map(one).collect()
    }

    /// # Errors
    /// What is wrong with the policies: as [`Files::read`], [`sites`], what they ask for and nothing here enforces.
    pub fn find(&self, cli: &Cli) -> Result<Found, Diagnostic> {
        match self {
            What::Rules { place, path } => {
                let view = View { rules: rules(path)?, ..View::default() };
                Ok(Found { sites: vec![Site::at(place, view)], ..Found::default() })
            }
            What::Policies { files, partial } => {
                let mut suite = files.read()?;
                let inventory = suite.inventory.clone().unwrap_or_default();
                suite.cases.iter_mut().for_each(|case| stage_audits(&mut case.policies));
                let report = Report::of(suite);
                let found = report.errors.iter().chain(report.cases.iter().flat_map(|case| &case.errors));
                let errors: Vec<&Diagnostic> = found.collect();
                if let [first, others @ ..] = errors.as_slice() {
                    // The last one is told by who gets it.
                    for error in others {
                        show(error, None);
                    }
                    return Err((*first).clone());
                }
                let mut found = Found { inventory, ..Found::default() };
                for case in report.cases.into_iter().filter(|case| !case.policies.is_empty()) {
                    if !case.name.is_empty() {
                        let message = format!("the case `{}` is there to be checked, not to be applied", case.name);
                        return Err(Diagnostic::script(message).help("skep policy check"));
                    }
                    elements(cli, &case, *partial)?;
                    if case.tests.iter().any(|test| !test.passed) {
                        let message = "the policies do not do what the tests beside them expect";
                        return Err(Diagnostic::script(message).help(format!("skep policy check {files}")));
                    }
                    found.sites = sites(&case)?;
                    found.policies = case.policies;
                }
                match found.sites.is_empty() {
                    true => Err(Diagnostic::script("no policy selects anything: nothing would be enforced")),
                    false => Ok(found),
                }
            }
        }
    }
}

/// Tells what is not enforced as it is written.
fn elements(cli: &Cli, case: &Checked, partial: bool) -> Result<(), Diagnostic> {
    for policy in &case.policies {
        for element in policy.elements.iter().filter(|element| element.treatment != Treatment::Enforced) {
            if !cli.quiet {
                tell(&report::policy::element(policy, element));
            }
        }
    }
    let refused = case.policies.iter().find(|policy| policy.is_refused() && !partial);
    refused.map_or(Ok(()), |policy| {
        let message = format!("`{}` asks for what nothing here enforces", policy.id);
        let error = Diagnostic::script(message).at(policy.position);
        Err(policy.locate(error.help("--partial      (the rest of it is enforced)")))
    })
}

impl Wish {
    pub fn of(matches: &ArgMatches) -> Wish {
        let time = |name: &str| matches.get_one::<Duration>(name).copied();
        let choice = (matches.get_flag("stateful"), matches.get_flag("stateless"));
        Wish {
            what: What::of(matches),
            enforce: matches.get_flag("enforce"),
            confirm_within: time("confirm-within"),
            ttl: time("ttl"),
            pin: matches.get_flag("pin"),
            tracks: (choice.0 || choice.1).then_some(choice.0),
            guard: matches.get_many::<IpAddr>("guard").into_iter().flatten().copied().collect(),
            no_guard: matches.get_flag("no-guard"),
            flows: flows::wanted(matches),
        }
    }

    /// What it puts in place, as the audit log has it.
    pub fn put(&self) -> Json {
        let mode = if self.enforce { "enforce" } else { "audit" };
        json!({ "what": "policy apply", "files": self.what.noted(), "mode": mode, "pinned": self.pin })
    }
}

/// The rules of a file.
///
/// # Errors
/// A script diagnostic: no such file, or what is wrong in it.
pub fn rules(path: &Path) -> Result<Rules, Diagnostic> {
    form::read(&open(path)?.text)
}

/// Puts policies in place, and holds them until each has ended; prints what they have done.
///
/// # Errors
/// As [`What::find`] and [`Rollout::start`].
pub fn apply(cli: &Cli, wish: &Wish) -> Result<u8, Diagnostic> {
    let form = wish.flows.as_deref().map(Form::named).transpose()?;
    let Found { sites, policies, inventory } = wish.what.find(cli)?;
    pinned::clean_up();
    let mut guarded: BTreeSet<IpAddr> = wish.guard.iter().copied().collect();
    if !wish.no_guard {
        guarded.extend(guard::session());
    }
    let print = |form: Form| form.print(Witness::new(&inventory, &policies, &sites)?);
    let printing = form.map(print).transpose()?;
    let (denials, printing) = printing.unzip();
    let wanted = rollout::Wish {
        enforce: wish.enforce,
        confirm_within: wish.confirm_within,
        ttl: wish.ttl,
        guarded,
        options: Options { tracks: wish.tracks, shows_passing: denials.is_some(), ..Options::default() },
        denials,
        ..rollout::Wish::default()
    };
    let tell: fn(&str) = if cli.quiet { |_| {} } else { tell };
    let mut rollout = Rollout::start(sites, &wanted, &catalog(cli)?, tell)?;
    // The threads have the channel now, and end it.
    drop(wanted);
    rollout.enforce();
    let mode = if wish.enforce { "enforces" } else { "audits" };
    let places: Vec<String> = rollout.places().map(|(name, place)| shown(name, place)).collect();
    if !wish.pin {
        tell(&format!("attached: {mode} {}; Ctrl-C to end", places.join(", ")));
    }
    let past = if wish.pin { rollout.pin() } else { rollout.hold() };
    let (mut status_of_all, mut text) = (0, String::new());
    for Past { name, place, ended } in past {
        match ended {
            Ok(Ended::Over(_, last)) if cli.json => text += &format!("{last}\n"),
            Ok(Ended::Over(_, last)) => text += &status::table(&last),
            Ok(Ended::Pinned(folder)) => {
                let place = shown(&name, &place);
                tell(&format!("attached: {mode} {place} without this process; pinned below {}", folder.display()));
            }
            Err(error) => status_of_all = status_of_all.max(show(&error.nowhere(), None)),
        }
    }
    let printed = match printing {
        // What it has done stands apart from the flows, which others may read.
        Some(printing) => {
            let printed = printing.join().unwrap_or_default();
            tell(text.trim_end());
            printed.max(status_of_all)
        }
        None => put(&text).max(status_of_all),
    };
    Ok(signals::take().map_or(printed, |signal| printed.max(signals::status(signal) as u8)))
}

fn shown(name: &str, place: &str) -> String {
    if name == place { format!("`{place}`") } else { format!("`{name}` at `{place}`") }
}

fn tell(line: &str) {
    // Standard error may be closed; then nobody wants to know.
    let _nobody = writeln!(std::io::stderr(), "{line}");
}
