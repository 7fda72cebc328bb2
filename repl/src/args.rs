//! Arguments: what was asked for, from the command line.

mod definition;

pub use definition::{bytes, command, common, duration, inline, script, words};

use clap::{Arg, ArgMatches, Command};
use definition::{ENFORCE, TTL};
use skep_runtime::budget::Allowance;
use skep_runtime::budget::limits::Limits;
use skep_runtime::script::intervals::COMMON;
use skep_runtime::script::output::Format;
use skep_runtime::unwind::way::Way;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

/// Where a script comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, or a name of the library.
    Named(String),
    /// `-e`
    Inline(String),
}

/// What a plan tells beyond the usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    /// The instructions of slots.
    pub code: bool,
    /// What its programs would cost.
    pub measure: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    Run { script: Source, words: Vec<String> },
    Plan { script: Source, words: Vec<String>, detail: Detail },
    List { pattern: Option<String>, verbose: bool },
    Doc { name: String },
    Doctor { json: bool, units: bool },
    Repl { json: bool, vi: bool },
    Flame(crate::flame::Wish),
    Compare(crate::flame::Comparison),
    Capture(crate::capture::Wish),
    Observe(Box<crate::observe::Wish>),
    Policy(crate::policy::Wish),
    Library(crate::library::Wish),
    Audit(crate::audit::Wish),
    Baseline(crate::baseline::Wish),
    Record(crate::record::Recording),
    Replay(crate::record::Replay),
    Completion(crate::completion::Wish),
    Helper(crate::helper::Wish),
    Manual { command: Vec<String> },
}

#[derive(Clone, Debug)]
pub struct Cli {
    pub job: Job,
    pub json: bool,
    pub csv: bool,
    /// Texts are not shortened.
    pub wide: bool,
    pub pid: Option<u32>,
    pub follow_forks: bool,
    pub comm: Option<String>,
    pub cgroup: Option<String>,
    pub command: Option<String>,
    pub longest: Option<Duration>,
    pub max_overhead: Allowance,
    pub limits: Limits,
    /// Nobody is to be asked.
    pub yes: bool,
    /// Ends everything after this time.
    pub ttl: Option<Duration>,
    pub templates: Vec<PathBuf>,
    pub machine: Option<PathBuf>,
    pub btf: Option<PathBuf>,
    pub ring: Option<u64>,
    pub stacks: Option<u32>,
    pub output: Vec<PathBuf>,
    /// Where the report of a run is written.
    pub report: Option<PathBuf>,
    pub inlines: bool,
    pub unwind: Way,
    pub strict: bool,
    pub quiet: bool,
    /// The audit log that was asked for.
    pub audit: Option<PathBuf>,
    /// Policies of the script may drop packets.
    pub enforce: bool,
}

/// The same as words of the script.
fn common_words(matches: &ArgMatches) -> Vec<String> {
    let given = |name: &&'static str| matches.try_get_one::<String>(name).ok().flatten().map(|value| (*name, value));
    COMMON.iter().filter_map(given).flat_map(|(name, value)| [format!("--{name}"), value.clone()]).collect()
}

/// Parses the command line. Global options are found anywhere, behind a script's name too.
///
/// # Errors
/// clap's, which print themselves.
pub fn parse(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    // Built as far as it is needed: to hand all options down to all commands takes a ms and half a MB.
    let mut named = definition::command_with(|name| words.iter().any(|word| word == name || word == "help"));
    let words = globals_first(&named, words);
    let mut behind_run = words.iter().skip_while(|word| *word != "run").skip(1);
    if let Some(script) = behind_run.next().and_then(|word| word.to_str()).filter(|word| !word.starts_with('-'))
        && behind_run.any(|word| word == "--help")
    {
        // The help of a script is its header.
        let front = words.iter().take_while(|word| *word != "run").cloned();
        return parse(front.chain(["doc".into(), script.into()]).collect());
    }
    // What help and errors say is of the whole.
    let matches = named.try_get_matches_from_mut(&words).or_else(|_| command().try_get_matches_from(&words))?;
    let text = |matches: &ArgMatches, name: &str| matches.get_one::<String>(name).cloned();
    let list =
        |matches: &ArgMatches| matches.get_many::<String>("words").into_iter().flatten().cloned().collect::<Vec<_>>();
    let source = |matches: &ArgMatches| match text(matches, "inline") {
        Some(script) => Source::Inline(script),
        None => Source::Named(text(matches, "script").unwrap_or_default()),
    };
    let (mut job, inner) = match matches.subcommand() {
        Some(("run", inner)) => (Job::Run { script: source_named(inner), words: list(inner) }, inner),
        Some(("plan", inner)) => {
            let mut words = list(inner);
            // With -e the first word is no script's name.
            if text(inner, "inline").is_some() {
                words.splice(0..0, text(inner, "script"));
            }
            let detail = Detail { code: inner.get_flag("code"), measure: inner.get_flag("measure") };
            (Job::Plan { script: source(inner), words, detail }, inner)
        }
        Some(("list", inner)) => {
            (Job::List { pattern: text(inner, "pattern"), verbose: inner.get_flag("verbose") }, inner)
        }
        Some(("repl", inner)) => (Job::Repl { json: inner.get_flag("json"), vi: inner.get_flag("vi") }, inner),
        Some(("doctor", inner)) => {
            (Job::Doctor { json: inner.get_flag("json"), units: inner.get_flag("units") }, inner)
        }
        Some(("helper", inner)) => (Job::Helper(crate::helper::Wish::of(inner)), inner),
        Some(("permit", inner)) => {
            let (wish, inner) = crate::helper::Wish::of_permits(inner);
            (Job::Helper(wish), inner)
        }
        Some(("flame", inner)) => match inner.subcommand() {
            Some(("diff", inner)) => (Job::Compare(crate::flame::Comparison::of(inner)), inner),
            Some(("render", inner)) => (Job::Compare(crate::flame::Comparison::of(inner)), inner),
            _ => (Job::Flame(crate::flame::Wish::of(inner)), inner),
        },
        Some(("capture", inner)) => (Job::Capture(crate::capture::Wish::of(inner)), inner),
        Some(("observe", inner)) => (Job::Observe(Box::new(crate::observe::Wish::of(inner))), inner),
        Some(("record", inner)) => {
            let (recording, inner) = crate::record::Recording::of(inner);
            (Job::Record(recording), inner)
        }
        Some(("replay", inner)) => (Job::Replay(crate::record::Replay::of(inner)), inner),
        Some(("policy", inner)) => {
            let (wish, inner) = crate::policy::Wish::of(inner);
            (Job::Policy(wish), inner)
        }
        Some(("lib", inner)) => {
            let (wish, inner) = crate::library::Wish::of(inner);
            (Job::Library(wish), inner)
        }
        Some(("baseline", inner)) => {
            let (wish, inner) = crate::baseline::Wish::of(inner);
            (Job::Baseline(wish), inner)
        }
        Some(("audit", inner)) => {
            let (wish, inner) = crate::audit::Wish::of(inner);
            (Job::Audit(wish), inner)
        }
        Some(("completion", inner)) => (Job::Completion(crate::completion::Wish::of(inner)), inner),
        Some(("manual", inner)) => (Job::Manual { command: crate::manual::names(inner) }, inner),
        Some(("doc", inner)) => (Job::Doc { name: text(inner, "name").unwrap_or_default() }, inner),
        _ => match text(&matches, "inline") {
            Some(script) => (Job::Run { script: Source::Inline(script), words: list(&matches) }, &matches),
            None => {
                if let Some(word) = list(&matches).first() {
                    let (kind, text) = (clap::error::ErrorKind::InvalidSubcommand, format!("unknown command `{word}`"));
                    return Err(command().error(kind, text));
                }
                if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
                    return Ok(cli(Job::Repl { json: false, vi: false }, &matches));
                }
                return Err(command()
                    .error(clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, command().render_help()));
            }
        },
    };
    if let Some(words) = job.words() {
        let behind = if std::ptr::eq(inner, &matches) { Vec::new() } else { common_words(inner) };
        words.splice(0..0, common_words(&matches).into_iter().chain(behind));
    }
    // Of the nearest that has it: `skep --ttl 1m run …`, `skep run --ttl 1m …`.
    let said = |matches: &ArgMatches| matches.try_get_one::<Duration>(TTL).ok().flatten().copied();
    let below = matches.subcommand().filter(|(name, _)| *name != "policy").and_then(|(_, inner)| said(inner));
    let cli = Cli { enforce: matches.get_flag(ENFORCE), ttl: below.or(said(&matches)), ..cli(job, inner) };
    if cli.csv && !cli.job.has_tables() {
        let message = "`--format csv` is for what scripts print: run, -e, record, replay, flame, baseline compare\n";
        return Err(command().error(clap::error::ErrorKind::InvalidValue, message));
    }
    Ok(cli)
}

impl Job {
    /// What stands behind the script's name.
    fn words(&mut self) -> Option<&mut Vec<String>> {
        match self {
            Job::Run { words, .. } | Job::Plan { words, .. } => Some(words),
            Job::Record(crate::record::Recording::Script { words, .. }) => Some(words),
            Job::Replay(wish) => Some(&mut wish.words),
            _ => None,
        }
    }

    /// Does it print what a script prints?
    fn has_tables(&self) -> bool {
        match self {
            Job::Run { .. } | Job::Record(_) | Job::Flame(_) => true,
            Job::Replay(wish) => !wish.info,
            Job::Baseline(wish) => wish.has_tables(),
            _ => false,
        }
    }
}

impl Cli {
    pub fn format(&self) -> Format {
        match (self.json, self.csv) {
            (true, _) => Format::Json,
            (_, true) => Format::Csv,
            _ => Format::Text,
        }
    }
}

/// A job with the options that all have.
fn cli(job: Job, inner: &ArgMatches) -> Cli {
    let text = |matches: &ArgMatches, name: &str| matches.get_one::<String>(name).cloned();
    let usual = Limits::default();
    Cli {
        job,
        json: text(inner, "format").is_some_and(|format| format == "json"),
        csv: text(inner, "format").is_some_and(|format| format == "csv"),
        wide: inner.get_flag("wide"),
        pid: inner.get_one::<u32>("pid").copied(),
        follow_forks: inner.get_flag("follow-forks"),
        comm: text(inner, "comm"),
        cgroup: text(inner, "cgroup"),
        command: text(inner, "command"),
        longest: inner.get_one::<Duration>("for").copied(),
        max_overhead: inner.get_one::<Allowance>("max-overhead").copied().unwrap_or_default(),
        limits: Limits {
            probes: inner.get_one::<u32>("max-probes").map_or(usual.probes, |probes| *probes as usize),
            memory: inner.get_one::<u64>("max-memory").copied(),
            events: inner.get_one::<u64>("max-events").copied(),
        },
        yes: inner.get_flag("yes"),
        // Policies have one of their own.
        ttl: None,
        templates: inner.get_many::<PathBuf>("templates").into_iter().flatten().cloned().collect(),
        machine: inner.get_one::<PathBuf>("machine").cloned(),
        btf: inner.get_one::<PathBuf>("btf").cloned(),
        ring: inner.get_one::<u64>("ring").copied(),
        stacks: inner.get_one::<u32>("stacks").copied(),
        output: inner.get_many::<PathBuf>("output").into_iter().flatten().cloned().collect(),
        report: inner.get_one::<PathBuf>("report").cloned(),
        inlines: inner.get_flag("inlines"),
        unwind: inner.get_one::<Way>("unwind").copied().unwrap_or_default(),
        strict: inner.get_flag("strict"),
        quiet: inner.get_flag("quiet"),
        audit: inner.get_one::<PathBuf>("audit").cloned(),
        enforce: false,
    }
}

fn source_named(matches: &ArgMatches) -> Source {
    Source::Named(matches.get_one::<String>("script").cloned().unwrap_or_default())
}

/// Words behind a script belong to it, except our own options: those are moved to the front.
fn globals_first(command: &Command, words: Vec<OsString>) -> Vec<OsString> {
    let named = words.iter().filter_map(|word| word.to_str()).find(|word| command.find_subcommand(word).is_some());
    let own = |arg: &&Arg| arg.is_global_set() || arg.get_id() == ENFORCE && named != Some("policy");
    let globals: Vec<&Arg> = command.get_arguments().filter(own).collect();
    let find = |word: &str| {
        let (name, inline) = word.split_once('=').map_or((word, false), |(name, _)| (name, true));
        let long = name.strip_prefix("--");
        let short = name.strip_prefix('-').and_then(|rest| rest.chars().next().filter(|_| rest.len() == 1));
        let arg = globals.iter().find(|arg| {
            long.is_some_and(|long| arg.get_long() == Some(long))
                || short.is_some_and(|short| arg.get_short() == Some(short))
        })?;
        Some(!inline && arg.get_action().takes_values())
    };
    let mut words = words.into_iter();
    let mut front: Vec<OsString> = words.next().into_iter().collect();
    let mut rest = Vec::new();
    while let Some(word) = words.next() {
        if word == "--" {
            rest.push(word);
            rest.extend(words);
            break;
        }
        match word.to_str().and_then(find) {
            Some(takes_value) => {
                front.push(word);
                front.extend(takes_value.then(|| words.next()).flatten());
            }
            // The script of -e is no option, whatever it begins with.
            None if word == "-e" => {
                rest.push(word);
                rest.extend(words.next());
            }
            None => rest.push(word),
        }
    }
    front.extend(rest);
    front
}

#[cfg(test)]
mod tests;
