//! The audit log of the command line: which one, what is noted of a run; `skep audit verify`, `skep audit show`.

use crate::args::{Cli, Job};
use crate::list::put;
use crate::run::show;
use clap::{Arg, ArgMatches, Command, value_parser};
use serde_json::{Map, Value as Json};
use skep_runtime::audit::log::USUAL;
use skep_runtime::audit::run::{Audit, Outcome, kept, script as noted};
use skep_runtime::audit::{runs, verify};
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::library::Script;
use skep_runtime::script::host::Host;
use std::io::Write;
use std::path::PathBuf;

/// Names the log where the command line does not.
const VARIABLE: &str = "SKEP_AUDIT";

/// What is asked of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    Verify { file: Option<PathBuf>, head: Option<String> },
    Show { file: Option<PathBuf>, last: usize },
}

const EXAMPLES: &str = "\
Examples:
  sudo skep audit show                       who ran what, what it cost, how it ended
  sudo skep audit verify                     was a line altered, removed or moved?
  sudo skep audit verify --head 9f86d081…    and is all there that was there when this hash was noted?
  sudo skep --audit /srv/audit.jsonl run syscount --for 5s
See docs/audit.md.";

pub fn command() -> Command {
    let file = || Arg::new("file").value_name("FILE").value_parser(value_parser!(PathBuf)).help("of the log");
    Command::new("audit")
        .about("The log of who attached what: read it, and verify that nobody changed it")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("verify").about("Name the first line that was altered, removed or moved").arg(file()).arg(
                Arg::new("head")
                    .long("head")
                    .value_name("HASH")
                    .help("of an entry, noted earlier: it must be there still"),
            ),
        )
        .subcommand(
            Command::new("show").about("A line for each of the newest runs").arg(file()).arg(
                Arg::new("last")
                    .long("last")
                    .value_name("N")
                    .help("runs to show (default 20)")
                    .value_parser(value_parser!(u32).range(1..)),
            ),
        )
}

impl Wish {
    /// What is asked for, and the arguments that it has.
    pub fn of(matches: &ArgMatches) -> (Wish, &ArgMatches) {
        let (verb, matches) = matches.subcommand().unwrap_or(("show", matches));
        let file = matches.get_one::<PathBuf>("file").cloned();
        let wish = match verb {
            "verify" => Wish::Verify { file, head: matches.get_one::<String>("head").cloned() },
            _ => Wish::Show { file, last: matches.get_one::<u32>("last").map_or(20, |last| *last as usize) },
        };
        (wish, matches)
    }
}

pub fn audit(cli: &Cli, wish: &Wish) -> u8 {
    let path = |file: &Option<PathBuf>| file.clone().or_else(|| asked(cli)).unwrap_or_else(|| USUAL.into());
    let text = match wish {
        Wish::Verify { file, head } => verify::verify(&path(file), head.as_deref()).map(|verdict| match cli.json {
            true => format!("{}\n", verdict.json()),
            false => verdict.text(),
        }),
        Wish::Show { file, last } => runs::runs(&path(file), *last).map(|runs| match cli.json {
            true => runs.iter().map(|run| format!("{}\n", run.json())).collect(),
            false => runs::table(&runs),
        }),
    };
    text.map_or_else(|diagnostic| show(&diagnostic, None), |text| put(&text))
}

fn asked(cli: &Cli) -> Option<PathBuf> {
    let variable = || std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    cli.audit.clone().or_else(variable)
}

/// The log that this process keeps, for a run that is described so.
pub fn chosen(cli: &Cli, subject: Map<String, Json>) -> Option<Audit> {
    Audit::chosen(asked(cli), subject)
}

/// What every run says of itself: which command it is of, as it was given, and by which skep.
pub fn of(command: &str) -> Map<String, Json> {
    let words: Json = std::env::args_os().map(|word| kept(&word.to_string_lossy())).collect();
    Map::from_iter([
        ("skep".to_owned(), env!("CARGO_PKG_VERSION").into()),
        ("command".to_owned(), command.into()),
        ("arguments".to_owned(), words),
    ])
}

/// The log of a script's run.
pub fn of_script(cli: &Cli, script: &Script, words: &[String]) -> Option<Audit> {
    let command = match &cli.job {
        Job::Flame(_) => "skep flame",
        Job::Capture(_) => "skep capture",
        Job::Record(_) => "skep record",
        Job::Baseline(_) => "skep baseline",
        _ => "skep run",
    };
    let mut subject = of(command);
    subject.insert("script".into(), noted(script));
    subject.insert("parameters".into(), words.into());
    chosen(cli, subject)
}

/// Notes the end of a script's run.
pub fn ended(host: &Host, status: u8, error: Option<&Diagnostic>) {
    let Some(audit) = host.audit.get() else { return };
    let (trust, findings) = (host.trust.get(), host.findings.borrow());
    let warning = audit.ended(&Outcome { status, error, trust: Some(&trust), findings: &findings });
    warning.into_iter().for_each(|warning| host.output.borrow_mut().tell(&warning));
}

/// Notes the beginning of what is no script.
///
/// # Errors
/// As [`Audit::attaches`].
pub fn begun(cli: &Cli, what: Json) -> Result<Option<Audit>, Diagnostic> {
    let command = what["what"].as_str().unwrap_or_default();
    let Some(audit) = chosen(cli, of(&format!("skep {command}"))) else { return Ok(None) };
    let warning = audit.attaches(Json::Array(vec![what]))?;
    warning.into_iter().filter(|_| !cli.quiet).for_each(|warning| tell(&warning));
    Ok(Some(audit))
}

/// Notes its end.
pub fn done(audit: Option<&Audit>, done: &Result<u8, Diagnostic>) {
    let Some(audit) = audit else { return };
    let outcome = Outcome { status: *done.as_ref().unwrap_or(&1), error: done.as_ref().err(), ..Outcome::default() };
    audit.ended(&outcome).into_iter().for_each(|warning| tell(&warning));
}

fn tell(line: &str) {
    // Standard error may be closed; then nobody wants to know.
    let _nobody = writeln!(std::io::stderr(), "{line}");
}
