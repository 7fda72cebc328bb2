//! `skep policy check` and `suggest`: policies as people write them, before anything is enforced.

use crate::args::Cli;
use crate::list::put;
use crate::run::show;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::library::Script;
use skep_runtime::policy::check::Report;
use skep_runtime::policy::inventory::Inventory;
use skep_runtime::policy::suggest::{Form, Suggestion, observed, suggest};
use skep_runtime::policy::suite::Suite;
use skep_runtime::report;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

/// One of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Check(Files),
    Suggest { flows: PathBuf, inventory: Option<PathBuf>, form: Form },
}

/// Policies, and what their labels mean here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub files: Vec<PathBuf>,
    inventory: Option<PathBuf>,
    json: bool,
}

/// Their part of the command line.
pub fn commands() -> [Command; 2] {
    let check = Command::new("check")
        .about("Say what is enforced, observed or refused, and run the tests; needs no privilege")
        .arg(file("files", "policies, tests").num_args(1..))
        .arg(inventory())
        .arg(Arg::new("json").long("json").help("the same as --format json").action(ArgAction::SetTrue));
    let suggest = Command::new("suggest")
        .about("Write policies that let exactly the flows of a log pass (Hubble's JSON lines)")
        .arg(file("flows", "flows, one JSON object a line"))
        .arg(inventory())
        .arg(
            Arg::new("kind")
                .long("kind")
                .value_name("KIND")
                .help("what is written")
                .value_parser(["cilium", "kubernetes"])
                .default_value("cilium"),
        );
    [check, suggest]
}

pub fn file(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).value_name("FILE").help(help).required(true).value_parser(value_parser!(PathBuf))
}

pub fn inventory() -> Arg {
    Arg::new("inventory")
        .long("inventory")
        .value_name("FILE")
        .help("endpoints, and what their labels are")
        .value_parser(value_parser!(PathBuf))
}

impl Wish {
    pub fn of(verb: &str, matches: &ArgMatches) -> Wish {
        if verb == "check" {
            return Wish::Check(Files::of(matches));
        }
        let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
        let kubernetes = matches.get_one::<String>("kind").is_some_and(|kind| kind == "kubernetes");
        let form = if kubernetes { Form::Kubernetes } else { Form::Cilium };
        Wish::Suggest { flows: path("flows").unwrap_or_default(), inventory: path("inventory"), form }
    }
}

impl Files {
    pub fn of(matches: &ArgMatches) -> Files {
        Files {
            files: matches.get_many::<PathBuf>("files").into_iter().flatten().cloned().collect(),
            inventory: matches.get_one::<PathBuf>("inventory").cloned(),
            json: matches.try_get_one("json").ok().flatten().copied().unwrap_or(false),
        }
    }

    /// All that they hold.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&self) -> Result<Suite, Diagnostic> {
        let mut suite = Suite::new();
        if let Some(path) = &self.inventory {
            suite.add_inventory(&open(path)?);
        }
        for path in &self.files {
            suite.add(open(path)?);
        }
        Ok(suite)
    }
}

/// As they are written on a command line.
impl fmt::Display for Files {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        out.write_str(&files.join(" "))?;
        self.inventory.as_ref().map_or(Ok(()), |file| write!(out, " --inventory {}", file.display()))
    }
}

/// # Errors
/// A script diagnostic: it cannot be read.
pub fn open(path: &Path) -> Result<Script, Diagnostic> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Script { name, text: text.into() }),
        Err(error) => {
            let error = skep_runtime::kernel::load::text(&error);
            Err(Diagnostic::script(format!("failed to open `{name}`: {error}")))
        }
    }
}

pub fn run(cli: &Cli, wish: &Wish) -> u8 {
    match wish {
        Wish::Check(files) => check(cli, files),
        Wish::Suggest { flows, inventory, form } => match suggestion(flows, inventory.as_deref(), *form) {
            Ok(suggestion) => {
                for note in suggestion.notes.iter().filter(|_| !cli.quiet) {
                    // Standard error may be closed; then nobody wants to know.
                    let _nobody = writeln!(std::io::stderr(), "note: {note}");
                }
                put(&suggestion.yaml)
            }
            Err(diagnostic) => show(&diagnostic, None),
        },
    }
}

fn suggestion(flows: &Path, inventory: Option<&Path>, form: Form) -> Result<Suggestion, Diagnostic> {
    let log = open(flows)?;
    let observed = observed::read(&log.text).map_err(|error| error.within(&log))?;
    let known = inventory.map(|path| {
        let file = open(path)?;
        Inventory::parse(&file.text).map_err(|error| error.within(&file))
    });
    let suggestion = suggest(&observed, known.transpose()?.as_ref(), form);
    if suggestion.yaml.is_empty() {
        let error =
            Diagnostic::script(format!("no flow of `{}` is of an endpoint that a policy could select", log.name));
        return Err(error.help("--inventory endpoints.yaml      (or flows with the labels of pods)"));
    }
    Ok(suggestion)
}

fn check(cli: &Cli, files: &Files) -> u8 {
    let suite = match files.read() {
        Ok(suite) => suite,
        Err(diagnostic) => return show(&diagnostic, None),
    };
    let report = Report::of(suite);
    let json = files.json || cli.json;
    if !json {
        for error in report.errors.iter().chain(report.cases.iter().flat_map(|case| &case.errors)) {
            show(error, None);
        }
    }
    let text = if json { report::policy::json(&report) } else { report::policy::text(&report) };
    put(&text).max(u8::from(!report.is_good()))
}
