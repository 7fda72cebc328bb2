//! `skep record`, `skep replay`: what a script was told, kept and told again.

use crate::args::{Cli, Source};
use crate::run::{self, catalog, show};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use skep_runtime::budget::Allowance;
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::recording::Tape;
use skep_runtime::recording::header::Header;
use skep_runtime::recording::info::Info;
use skep_runtime::recording::merge::merge;
use skep_runtime::recording::player::{Player, Rest};
use skep_runtime::recording::recorder::{DEFAULT_SIZE, Recorder};
use skep_runtime::report::units::{bytes, grouped};
use skep_runtime::script::engine::names;
use skep_runtime::script::intervals::Intervals;
use skep_runtime::script::params::Params;
use skep_templates::catalog::Catalog;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What is to be recorded, or merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recording {
    Script { script: Source, words: Vec<String>, limit: u64 },
    Merge { files: Vec<PathBuf> },
}

/// What is to be replayed, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    pub file: PathBuf,
    pub script: Option<Source>,
    pub words: Vec<String>,
    pub speed: Option<f64>,
    pub info: bool,
}

const RECORD_EXAMPLES: &str = "\
Examples:
  sudo skep record -o slow.skep biolatency --for 10s    run it, and keep what it was told
  skep replay slow.skep                                 the same output again, anywhere
  skep replay slow.skep other.rhai                      another script on the same events
  skep record merge a.skep b.skep -o both.skep          the same script on two machines, as one";

pub fn record() -> Command {
    Command::new("record")
        .about("Run a script and keep what it was told, for `skep replay`; -o FILE says where")
        .after_help(RECORD_EXAMPLES)
        .args_conflicts_with_subcommands(true)
        .subcommand_negates_reqs(true)
        .arg(crate::args::script("the script").required_unless_present("inline").allow_hyphen_values(true))
        .arg(crate::args::inline())
        .args(crate::args::common())
        .arg(
            Arg::new("max-size")
                .long("max-size")
                .value_name("SIZE")
                .help("the recording stops when it is so large, the run goes on (default 64M)")
                .value_parser(size),
        )
        .arg(crate::args::words())
        .subcommand(
            Command::new("merge").about("One recording of two, by time; -o FILE says where").arg(
                Arg::new("files")
                    .value_name("FILE")
                    .num_args(2..)
                    .required(true)
                    .help("recordings of the same script")
                    .value_parser(value_parser!(PathBuf)),
            ),
        )
}

pub fn replay() -> Command {
    Command::new("replay")
        .about("Run a script on what was recorded: no privilege, no machine, the same output")
        .arg(Arg::new("file").value_name("RECORDING").required(true).value_parser(value_parser!(PathBuf)))
        .arg(crate::args::script("another script; without it, the one that was recorded").allow_hyphen_values(true))
        .arg(crate::args::inline())
        .args(crate::args::common())
        .arg(
            Arg::new("speed")
                .long("speed")
                .value_name("N")
                .help("so many times as fast as it was: 1, 0.5, 10 (default: at once)")
                .value_parser(speed),
        )
        .arg(
            Arg::new("info")
                .long("info")
                .help("only say what the recording is: machine, script, events")
                .action(ArgAction::SetTrue),
        )
        .arg(crate::args::words())
}

fn size(text: &str) -> Result<u64, String> {
    crate::args::bytes(text).and_then(|size| match size {
        0..65_536 => Err("64K is the least".to_owned()),
        size => Ok(size),
    })
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed: &f64| speed.is_finite() && (1e-3..=1e6).contains(speed));
    speed.ok_or_else(|| "such as 1, 0.5, 10".to_owned())
}

fn words(matches: &ArgMatches) -> Vec<String> {
    matches.get_many::<String>("words").into_iter().flatten().cloned().collect()
}

/// The script that was named, and the words behind it: with -e the first of them is no script's name.
pub fn script(matches: &ArgMatches) -> (Option<Source>, Vec<String>) {
    let text = |name: &str| matches.get_one::<String>(name).cloned();
    let mut words = words(matches);
    match text("inline") {
        Some(inline) => {
            words.splice(0..0, text("script"));
            (Some(Source::Inline(inline)), words)
        }
        // A script's parameter is no script.
        None => match text("script") {
            Some(word) if word.starts_with('-') => {
                words.insert(0, word);
                (None, words)
            }
            named => (named.map(Source::Named), words),
        },
    }
}

impl Recording {
    pub fn of(matches: &ArgMatches) -> (Recording, &ArgMatches) {
        if let Some(("merge", inner)) = matches.subcommand() {
            let files = inner.get_many::<PathBuf>("files").into_iter().flatten().cloned().collect();
            return (Recording::Merge { files }, inner);
        }
        let (source, words) = script(matches);
        let limit = matches.get_one::<u64>("max-size").copied().unwrap_or(DEFAULT_SIZE);
        let script = source.unwrap_or_else(|| Source::Named(String::new()));
        (Recording::Script { script, words, limit }, matches)
    }
}

impl Replay {
    pub fn of(matches: &ArgMatches) -> Replay {
        let (script, words) = script(matches);
        Replay {
            file: matches.get_one::<PathBuf>("file").cloned().unwrap_or_default(),
            script,
            words,
            speed: matches.get_one::<f64>("speed").copied(),
            info: matches.get_flag("info"),
        }
    }
}

/// `skep record`.
pub fn run(cli: &Cli, wish: &Recording) -> u8 {
    let outcome = target(cli, wish).and_then(|file| match wish {
        Recording::Merge { files } => {
            let written = merge(files, file)?;
            Ok(tell_merged(cli, file, written.events))
        }
        Recording::Script { script, words, limit } => start(cli, script, words, file, *limit),
    });
    outcome.unwrap_or_else(|diagnostic| show(&diagnostic, None))
}

/// The file of `-o`.
fn target<'a>(cli: &'a Cli, wish: &Recording) -> Result<&'a Path, Diagnostic> {
    let help = match wish {
        Recording::Script { .. } => "skep record -o FILE SCRIPT",
        Recording::Merge { .. } => "skep record merge A B -o C",
    };
    match cli.output.as_slice() {
        [file] => Ok(file),
        [] => Err(Diagnostic::script("where to? `-o` names the recording's file").help(help)),
        _ => {
            Err(Diagnostic::script("one `-o` names the recording's file; graphs are made when it is replayed")
                .help(help))
        }
    }
}

fn tell_merged(cli: &Cli, file: &Path, events: u64) -> u8 {
    if !cli.quiet {
        eprintln!("{} events in {}", grouped(events), file.display());
    }
    0
}

fn start(cli: &Cli, source: &Source, words: &[String], file: &Path, limit: u64) -> Result<u8, Diagnostic> {
    whole(cli)?;
    let script = run::open(source)?;
    let held = run::held(cli)?;
    let header = Header::new(&script, words, held.is_some(), own_fields(cli)?);
    let recorder = Rc::new(Recorder::create(file, &header, limit)?);
    // The recording's file is no graph.
    let live = Cli { output: Vec::new(), ..cli.clone() };
    let status = run::run_held(&live, &script, words, held, Tape::Recording(recorder.clone()));
    let written = recorder.finish()?;
    if !cli.quiet {
        let (events, tables) = (grouped(written.events), grouped(written.tables));
        let s = if written.tables == 1 { "" } else { "s" };
        eprintln!("recorded {events} events and {tables} table{s} in {}, {}", file.display(), bytes(written.bytes));
    }
    Ok(status)
}

/// Fields of templates that are not in every skep.
fn own_fields(cli: &Cli) -> Result<Vec<String>, Diagnostic> {
    if cli.templates.is_empty() {
        return Ok(Vec::new());
    }
    let everybodys = names(&Catalog::embedded());
    Ok(names(&catalog(cli)?).into_iter().filter(|name| !everybodys.contains(name)).collect())
}

/// `skep replay`.
pub fn replayed(cli: &Cli, wish: &Replay) -> u8 {
    let outcome = if wish.info { info(cli, wish) } else { again(cli, wish) };
    outcome.unwrap_or_else(|diagnostic| show(&diagnostic, None))
}

fn info(cli: &Cli, wish: &Replay) -> Result<u8, Diagnostic> {
    let info = Info::of(&wish.file)?;
    match cli.json {
        true => println!("{}", info.json()),
        false => print!("{}", info.text()),
    }
    Ok(if cli.strict && !info.is_whole() { run::LOST } else { 0 })
}

fn again(cli: &Cli, wish: &Replay) -> Result<u8, Diagnostic> {
    only_recorded(cli)?;
    let player = Rc::new(Player::open(&wish.file, wish.speed)?);
    let script = match &wish.script {
        Some(source) => run::open(source)?,
        None => player.header.script.clone(),
    };
    let words = words_again(wish, &player.header.words);
    let status = run::run_held(cli, &script, &words, None, Tape::Replaying(player.clone()));
    if status != 0 && status != run::LOST && player.is_unread() {
        return Ok(status);
    }
    match player.finish() {
        Rest::Missing(why) => {
            if !cli.quiet {
                eprintln!("warning: {why}");
            }
            Ok(if cli.strict && status == 0 { run::LOST } else { status })
        }
        Rest::Whole => Ok(status),
    }
}

/// What is behind the script's name this time: what was there then, and what is given now, which holds. Parameters that
/// are given for another script are all of its parameters; its values are none the less those of the same intervals.
fn words_again(wish: &Replay, recorded: &[String]) -> Vec<String> {
    let then = match wish.script {
        Some(_) if !wish.words.is_empty() => {
            let has_intervals = |params: &Params| matches!(Intervals::of(params, None), Ok(Some(_)));
            let params = Params::parse(recorded).ok().filter(has_intervals);
            let given = |name: &str| Some([format!("--{name}"), params.as_ref()?.common(name)?.to_owned()]);
            ["interval", "count"].into_iter().filter_map(given).flatten().collect()
        }
        _ => recorded.to_vec(),
    };
    then.into_iter().chain(wish.words.iter().cloned()).collect()
}

/// # Errors
/// A script diagnostic: something is asked for that a recording cannot give.
pub fn only_recorded(cli: &Cli) -> Result<(), Diagnostic> {
    whole(cli)?;
    match live_option(cli) {
        None => Ok(()),
        Some(option) => Err(Diagnostic::script(format!("`{option}` is for live runs: a replay has what was recorded"))
            .help(format!("skep record {option} … -o FILE SCRIPT"))),
    }
}

/// A recording has all events of its run, and tells all of them.
///
/// # Errors
/// A script diagnostic: only some are asked for.
fn whole(cli: &Cli) -> Result<(), Diagnostic> {
    match cli.limits.events {
        None => Ok(()),
        Some(_) => Err(Diagnostic::script("`--max-events` is not for recordings: they have every event of their run")
            .help("skep record --for 10s --max-size 1M -o FILE SCRIPT")
            .nowhere()),
    }
}

/// An option that only the kernel could obey.
fn live_option(cli: &Cli) -> Option<&'static str> {
    [
        ("--pid", cli.pid.is_some()),
        ("--comm", cli.comm.is_some()),
        ("--cgroup", cli.cgroup.is_some()),
        ("-c", cli.command.is_some()),
        ("--for", cli.longest.is_some()),
        ("--ring", cli.ring.is_some()),
        ("--stacks", cli.stacks.is_some()),
        ("--btf", cli.btf.is_some()),
        ("--machine", cli.machine.is_some()),
        ("--max-overhead", cli.max_overhead != Allowance::Unsaid),
    ]
    .into_iter()
    .find_map(|(option, given)| given.then_some(option))
}
