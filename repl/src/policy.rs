//! `skep policy`: policies as people write them, checked before anything is enforced.

use crate::args::Cli;
use crate::list::put;
use crate::run::show;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::library::Script;
use skep_runtime::policy::check::Report;
use skep_runtime::policy::suite::Suite;
use skep_runtime::report;
use std::path::{Path, PathBuf};

/// One of its subcommands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Check(Files),
}

/// Policies, and what their labels mean here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    files: Vec<PathBuf>,
    inventory: Option<PathBuf>,
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  skep policy check web.yaml --inventory endpoints.yaml      what it would do, and the tests written in it";

/// Its part of the command line.
pub fn command() -> Command {
    Command::new("policy")
        .about("Check network policies: NetworkPolicy, CiliumNetworkPolicy and skep's own")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(files(
            Command::new("check")
                .about("Say what is enforced, observed or refused, and run the tests; needs no privilege"),
        ))
}

fn files(command: Command) -> Command {
    let path = value_parser!(PathBuf);
    command
        .arg(
            Arg::new("files")
                .value_name("FILE")
                .help("policies, tests")
                .required(true)
                .num_args(1..)
                .value_parser(path.clone()),
        )
        .arg(
            Arg::new("inventory")
                .long("inventory")
                .value_name("FILE")
                .help("endpoints and what their labels are")
                .value_parser(path),
        )
        .arg(Arg::new("json").long("json").help("the same as --format json").action(ArgAction::SetTrue))
}

impl Wish {
    pub fn of(matches: &ArgMatches) -> (Wish, &ArgMatches) {
        match matches.subcommand() {
            Some((_, inner)) => (Wish::Check(Files::of(inner)), inner),
            None => (Wish::Check(Files { files: Vec::new(), inventory: None, json: false }), matches),
        }
    }
}

impl Files {
    fn of(matches: &ArgMatches) -> Files {
        Files {
            files: matches.get_many::<PathBuf>("files").into_iter().flatten().cloned().collect(),
            inventory: matches.get_one::<PathBuf>("inventory").cloned(),
            json: matches.get_flag("json"),
        }
    }

    /// All that they hold.
    fn read(&self) -> Result<Suite, Diagnostic> {
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

fn open(path: &Path) -> Result<Script, Diagnostic> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Script { name, text: text.into() }),
        Err(error) => {
            let error = skep_runtime::kernel::load::text(&error);
            Err(Diagnostic::script(format!("failed to open `{name}`: {error}")))
        }
    }
}

pub fn policy(cli: &Cli, wish: &Wish) -> u8 {
    match wish {
        Wish::Check(files) => check(cli, files),
    }
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
