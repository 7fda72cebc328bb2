//! `skep baseline`: what a script measures, kept, and compared with what it measures later.

mod shown;

use crate::args::{self, Cli, Source};
use crate::list::put;
use crate::run::{self, Measurement, show};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use skep_runtime::baseline::comparison::{Comparison, Rules};
use skep_runtime::baseline::file::{Baseline, Folder, RUNS};
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::recording::Tape;
use skep_runtime::recording::header::Machine;
use skep_runtime::recording::player::Player;
use skep_runtime::report::{baseline as report, units};
use std::path::PathBuf;
use std::rc::Rc;

/// Exit status when something got worse.
pub const WORSE: u8 = 4;
/// Exit status when a quantile could be judged nowhere, and nothing that could be got worse.
pub const TOO_FEW: u8 = 5;

/// What is asked of baselines.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    folder: Option<PathBuf>,
    verb: Verb,
}

#[derive(Clone, Debug, PartialEq)]
enum Verb {
    Save { name: String, run: Run, kept: Kept },
    Compare { name: String, run: Run, rules: Rules },
    List,
    Show { name: String },
    Remove { name: String },
}

/// What becomes of a baseline of this name that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Untouched,
    Replaced,
    /// It gets another run.
    Grown,
}

/// What measures.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    script: Option<Source>,
    words: Vec<String>,
    recording: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  sudo skep baseline save api-v2 syslat --for 30s --comm api     measure, and keep
  sudo skep baseline save api-v2 --add                           another run of the same
  sudo skep baseline compare api-v2                              the same again: exit status 4 if it got worse
  skep baseline save api-v2 --replay before.skep                 of a recording; needs no privilege
  skep baseline compare api-v2 --replay after.skep --format json";

/// Its part of the command line.
pub fn command() -> Command {
    let name = || Arg::new("name").value_name("NAME").help("of the baseline").required(true);
    let folder = || {
        let help = "where baselines are (default ~/.local/share/skep/baselines)";
        Arg::new("dir").long("dir").value_name("DIR").help(help).value_parser(value_parser!(PathBuf))
    };
    let measures = |command: Command| {
        let replay =
            Arg::new("replay").long("replay").value_name("RECORDING").help("of a recording, not of a live run");
        command
            .arg(name())
            .arg(args::script("the script, or the one of then").allow_hyphen_values(true))
            .arg(args::inline())
            .arg(folder())
            .args([replay.value_parser(value_parser!(PathBuf)), args::words()])
    };
    let share = |name: &'static str, preset: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name("SHARE").help(help).default_value(preset).value_parser(share)
    };
    Command::new("baseline")
        .about("Keep what a script measures, and say whether its quantiles got worse; docs/baselines.md")
        .after_help(EXAMPLES)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            measures(Command::new("save").about("Run a script and keep the distributions that it measures"))
                .arg(Arg::new("force").long("force").help("in place of one of this name").action(ArgAction::SetTrue))
                .arg(
                    Arg::new("add")
                        .long("add")
                        .help("as another run of it: worse is then what is worse than each run")
                        .action(ArgAction::SetTrue)
                        .conflicts_with("force"),
                ),
        )
        .subcommand(
            measures(Command::new("compare").about(
                "Run the script again, or another one: exit status 4 if a quantile got worse, 5 for too few samples",
            ))
            .arg(share("tolerance", "5%", "changes up to this share do not matter"))
            .arg(share("alpha", "1%", "how probable a false alarm may be, all quantiles together")),
        )
        .subcommand(Command::new("list").about("List baselines").arg(folder()))
        .subcommand(Command::new("show").about("What a baseline is of").arg(name()).arg(folder()))
        .subcommand(Command::new("remove").about("Remove a baseline").arg(name()).arg(folder()))
}

fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').map(|number| number.trim().parse().map(|percent: f64| percent / 100.0));
    let share = percent.unwrap_or_else(|| text.parse()).ok().filter(|share| share.is_finite() && *share >= 0.0);
    share.ok_or_else(|| "such as 5%, 0.05".to_owned())
}

impl Wish {
    pub fn of(matches: &ArgMatches) -> (Wish, &ArgMatches) {
        let (verb, inner) = matches.subcommand().unwrap_or(("list", matches));
        let name = || inner.get_one::<String>("name").cloned().unwrap_or_default();
        let share = |name: &str| inner.get_one::<f64>(name).copied().unwrap_or_default();
        let verb = match verb {
            "save" => {
                let kept = match (inner.get_flag("force"), inner.get_flag("add")) {
                    (true, _) => Kept::Replaced,
                    (_, true) => Kept::Grown,
                    _ => Kept::Untouched,
                };
                Verb::Save { name: name(), run: Run::of(inner), kept }
            }
            "compare" => {
                let rules = Rules { alpha: share("alpha"), tolerance: share("tolerance") };
                Verb::Compare { name: name(), run: Run::of(inner), rules }
            }
            "show" => Verb::Show { name: name() },
            "remove" => Verb::Remove { name: name() },
            _ => Verb::List,
        };
        (Wish { folder: inner.get_one::<PathBuf>("dir").cloned(), verb }, inner)
    }

    /// Does it print a table?
    pub fn has_tables(&self) -> bool {
        matches!(self.verb, Verb::Compare { .. })
    }

    fn folder(&self) -> Result<Folder, Diagnostic> {
        let home = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let own = || home("XDG_DATA_HOME").or_else(|| Some(home("HOME")?.join(".local/share")));
        let folder = self.folder.clone().or_else(|| Some(own()?.join("skep/baselines")));
        let unknown = || Diagnostic::script("no folder for baselines is known: HOME is not set").help("--dir DIR");
        folder.map(Folder).ok_or_else(|| unknown().nowhere())
    }
}

impl Run {
    fn of(matches: &ArgMatches) -> Run {
        let (script, words) = crate::record::script(matches);
        Run { script, words, recording: matches.get_one::<PathBuf>("replay").cloned() }
    }
}

pub fn baseline(cli: &Cli, wish: &Wish) -> u8 {
    let done = wish.folder().and_then(|folder| match &wish.verb {
        Verb::Save { name, run, kept } => save(cli, &folder, name, run, *kept),
        Verb::Compare { name, run, rules } => compare(cli, &folder, name, run, *rules),
        Verb::List => shown::list(cli, &folder),
        Verb::Show { name } => shown::describe(cli, &folder.load(name)?),
        Verb::Remove { name } => folder.remove(name).map(|()| 0),
    });
    done.unwrap_or_else(|diagnostic| show(&diagnostic, None))
}

/// Options of the command line that say what is measured.
fn options(cli: &Cli) -> Vec<(String, String)> {
    let time = cli.longest.map(|time| units::duration(time.as_nanos() as i128));
    let given = [("for", time), ("comm", cli.comm.clone()), ("cgroup", cli.cgroup.clone())];
    given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// What was measured, by what, and of which machine; an exit status where there is nothing.
type Outcome = Result<(Baseline, Measurement), u8>;

/// Runs what is to be run. `known`: what is done again where nothing else is said.
fn measure(cli: &Cli, name: &str, run: &Run, known: Option<&Baseline>) -> Result<Outcome, Diagnostic> {
    if run.recording.is_some() {
        crate::record::only_recorded(cli)?;
    }
    let recording = run.recording.as_ref().map(|path| Player::open(path, None).map(Rc::new)).transpose()?;
    let recorded = recording.as_ref().map(|player| &player.header);
    let (script, usual) = match (&run.script, known, recorded) {
        (Some(source), ..) => (run::open(source)?, Vec::new()),
        (None, Some(known), _) => (known.script.clone(), known.words.clone()),
        (None, None, Some(header)) => (header.script.clone(), header.words.clone()),
        (None, None, None) => {
            let error = Diagnostic::script("a baseline of what? a script measures").nowhere();
            return Err(error.help(format!("skep baseline save {name} syslat --for 30s")));
        }
    };
    let words = if run.words.is_empty() { usual } else { run.words.clone() };
    let machine = recorded.map_or_else(Machine::here, |header| header.machine.clone());
    let host = match recorded {
        Some(_) => String::new(),
        None => std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned(),
    };
    let held = run::held(cli)?;
    let tape = recording.map_or(Tape::Off, Tape::Replaying);
    let measured = run::measure(cli, &script, &words, held, tape);
    let measured = match measured {
        Ok(measured) => measured,
        Err(status) => return Ok(Err(status)),
    };
    if measured.series.is_empty() {
        let error = Diagnostic::script(format!("`{}` measured no distribution", script.name)).nowhere();
        return Err(error.help("a script with .quantiles(elapsed) or .hist(…), or that streams `elapsed`: syslat"));
    }
    let mut baseline = Baseline::new(name, &script, &words, &machine, &host);
    baseline.options = options(cli);
    (baseline.seen, baseline.lost) = (measured.trust.seen, measured.trust.lost() + measured.trust.missed);
    Ok(Ok((baseline, measured)))
}

fn save(cli: &Cli, folder: &Folder, name: &str, run: &Run, kept: Kept) -> Result<u8, Diagnostic> {
    let is_there = folder.path(name)?.exists();
    if is_there && kept == Kept::Untouched {
        let error = Diagnostic::script(format!("there is a baseline `{name}` already")).nowhere();
        return Err(error.help("--add gives it another run, --force replaces it"));
    }
    let known = if is_there && kept == Kept::Grown { Some(folder.load(name)?) } else { None };
    let cli = &known.as_ref().map_or_else(|| cli.clone(), |known| again(cli, known, run.recording.is_some()));
    let (baseline, measured) = match measure(cli, name, run, known.as_ref())? {
        Ok(done) => done,
        Err(status) => return Ok(status),
    };
    let mut baseline = grown(known, baseline)?;
    baseline.runs.push(measured.series);
    let path = folder.save(&baseline)?;
    if !cli.quiet {
        let s = if baseline.runs.len() == 1 { "" } else { "s" };
        let samples = units::grouped(baseline.samples());
        eprintln!("saved {samples} samples of {} run{s} in {}", baseline.runs.len(), path.display());
    }
    Ok(measured.status)
}

/// The baseline with room for another run: what there is of it must be of the same.
fn grown(known: Option<Baseline>, new: Baseline) -> Result<Baseline, Diagnostic> {
    let Some(known) = known else { return Ok(new) };
    if !known.is_of(&new.script) || known.words != new.words || known.options != new.options {
        let error =
            Diagnostic::script(format!("the baseline `{}` is of another script, or of other parameters", known.name));
        return Err(error.help(format!("skep baseline show {}", known.name)).nowhere());
    }
    if known.runs.len() as u64 >= RUNS {
        return Err(Diagnostic::script(format!("the baseline `{}` has {RUNS} runs", known.name)).nowhere());
    }
    Ok(Baseline { seen: known.seen + new.seen, lost: known.lost + new.lost, saved: new.saved, ..known })
}

fn compare(cli: &Cli, folder: &Folder, name: &str, run: &Run, rules: Rules) -> Result<u8, Diagnostic> {
    let known = folder.load(name)?;
    let cli = again(cli, &known, run.recording.is_some());
    let (baseline, measured) = match measure(&cli, name, run, Some(&known))? {
        Ok(done) => done,
        Err(status) => return Ok(status),
    };
    if !cli.quiet {
        differences(&known, &baseline).iter().for_each(|line| eprintln!("warning: {line}"));
    }
    let comparison = Comparison::with_all(&known.runs, &measured.series, rules);
    let text = match (cli.json, cli.csv) {
        (true, _) => format!("{}\n", report::json(&comparison, name)),
        (_, true) => report::csv(&comparison),
        _ => report::text(&comparison, &run::style(&cli)),
    };
    let status = match () {
        () if measured.status != 0 => measured.status,
        () if comparison.is_worse() => WORSE,
        () if !comparison.unjudged().is_empty() => TOO_FEW,
        () => 0,
    };
    Ok(put(&text).max(status))
}

/// The command line with what the baseline was measured with, where nothing else is said.
fn again(cli: &Cli, known: &Baseline, is_replay: bool) -> Cli {
    let option = |name: &str| known.options.iter().find(|(one, _)| one == name).map(|(_, value)| value.clone());
    let mut cli = cli.clone();
    if !is_replay {
        let time = || option("for").and_then(|text| args::duration(&text).ok());
        // A command has its own end.
        cli.longest = cli.longest.or_else(|| time().filter(|_| cli.command.is_none()));
        cli.comm = cli.comm.or_else(|| option("comm"));
        cli.cgroup = cli.cgroup.or_else(|| option("cgroup"));
    }
    cli
}

/// What is not as it was, and may be why.
fn differences(known: &Baseline, now: &Baseline) -> Vec<String> {
    let mut lines = Vec::new();
    let mut differs = |what: &str, before: &str, now: &str| {
        if before != now {
            lines.push(format!("{what} was `{before}`, and is `{now}`"));
        }
    };
    differs("the kernel", &known.kernel, &now.kernel);
    differs("the architecture", &known.arch, &now.arch);
    differs("the number of processors", &known.cpus.to_string(), &now.cpus.to_string());
    differs("what is behind the script's name", &known.words.join(" "), &now.words.join(" "));
    if !known.is_of(&now.script) {
        lines.push(format!("the script `{}` is not what it was", now.script.name));
    }
    for (what, baseline) in [("the baseline", known), ("this run", now)] {
        if baseline.lost > 0 {
            let lost = units::grouped(baseline.lost);
            lines.push(format!("{what} lost {lost} of {} events", units::grouped(baseline.seen)));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_runtime::library::Script;
    use std::time::Duration;

    #[test]
    fn shares_are_percents_or_fractions() {
        assert_eq!((share("5%"), share("0.05"), share("0")), (Ok(0.05), Ok(0.05), Ok(0.0)));
        assert!(share("five").is_err() && share("-1%").is_err() && share("nan").is_err());
    }

    #[test]
    fn what_was_measured_with_an_option_is_compared_with_it() {
        let words = ["skep", "baseline", "compare", "a", "--comm", "other"].map(std::ffi::OsString::from);
        let cli = args::parse(words.to_vec()).unwrap();
        let script = Script { name: "s".into(), text: String::new().into() };
        let mut known = Baseline::new("a", &script, &[], &Machine::default(), "");
        known.options = [("for", "1.50s"), ("comm", "api")].map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec();
        let live = again(&cli, &known, false);
        assert_eq!((live.longest, live.comm.as_deref()), (Some(Duration::from_millis(1_500)), Some("other")));
        assert_eq!(again(&cli, &known, true).longest, None);
    }
}
