//! Arguments: one definition for parsing, `--help` and, later, completion and the manual page.

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
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

#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    Run { script: Source, words: Vec<String> },
    Plan { script: Source, words: Vec<String>, code: bool },
    List { pattern: Option<String>, verbose: bool },
    Doc { name: String },
    Doctor { json: bool },
    Repl { json: bool, vi: bool },
    Flame(crate::flame::Wish),
    Compare(crate::flame::Comparison),
    Capture(crate::capture::Wish),
    Observe(Box<crate::observe::Wish>),
    Policy(crate::policy::Wish),
    Library(crate::library::Wish),
    Record(crate::record::Recording),
    Replay(crate::record::Replay),
}

#[derive(Clone, Debug)]
pub struct Cli {
    pub job: Job,
    pub json: bool,
    pub pid: Option<u32>,
    pub follow_forks: bool,
    pub comm: Option<String>,
    pub cgroup: Option<String>,
    pub command: Option<String>,
    pub longest: Option<Duration>,
    pub templates: Vec<PathBuf>,
    pub machine: Option<PathBuf>,
    pub btf: Option<PathBuf>,
    pub ring: Option<u64>,
    pub stacks: Option<u32>,
    pub output: Vec<PathBuf>,
    pub inlines: bool,
    pub unwind: Way,
    pub strict: bool,
    pub quiet: bool,
    /// Policies of the script may drop packets.
    pub enforce: bool,
}

const EXAMPLES: &str = "\
Examples:
  sudo skep run syscount --for 5s                    a script of the library
  sudo skep -e 'probe(\"tracepoint:raw_syscalls:sys_enter\").by(comm).count().run(\"5s\")'
  skep list 'tracepoint:syscalls:*open*' -v          attach points with their fields
  skep plan syscount                                 what would be attached; needs no privilege";

/// Given twice, the last one holds: an alias may be corrected behind it.
fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    list_option(name, value, help).overrides_with(name)
}

fn list_option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help).global(true)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).global(true).action(ArgAction::SetTrue).overrides_with(name)
}

pub fn words() -> Arg {
    Arg::new("words")
        .help("parameters of the script, --name value")
        .num_args(0..)
        .trailing_var_arg(true)
        .allow_hyphen_values(true)
}

pub fn script(help: &'static str) -> Arg {
    Arg::new("script").value_name("FILE|NAME").help(help)
}

pub fn inline() -> Arg {
    Arg::new("inline").short('e').value_name("SCRIPT").help("a script, given here")
}

/// Not of every command: `skep policy` has its own.
const ENFORCE: &str = "enforce";

fn enforce() -> Arg {
    let help = "drop what policies of the script deny, where they say so: .mode(\"enforce\")";
    Arg::new(ENFORCE).long(ENFORCE).help(help).action(ArgAction::SetTrue).overrides_with(ENFORCE)
}

/// The whole command line.
pub fn command() -> Command {
    Command::new("skep")
        .about("Ad-hoc eBPF tracing with Rhai scripts on precompiled templates")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(EXAMPLES)
        .arg(inline())
        .arg(words().hide(true))
        .arg(
            option("format", "FORMAT", "how results are printed: text, or json (one object a line)")
                .value_parser(["text", "json"]),
        )
        .arg(option("pid", "PID", "only this process").short('p').value_parser(value_parser!(u32).range(1..)))
        .arg(flag("follow-forks", "with --pid: also the processes that it starts, and theirs").requires("pid"))
        .arg(option("comm", "NAME", "only threads of this name"))
        .arg(option("cgroup", "PATH", "only this cgroup (v2) and those below it"))
        .arg(
            option(
                "command",
                "CMD",
                "start this command, attach before it runs, only it and its children, end with it",
            )
            .short('c'),
        )
        .arg(option("for", "TIME", "end each run after this time, such as 10s").value_parser(duration))
        .arg(
            list_option("templates", "DIR", "more templates: every NAME.bpf.o of this folder")
                .value_parser(value_parser!(PathBuf))
                .action(ArgAction::Append),
        )
        .arg(
            option("machine", "DIR", "plan for the machine whose tracefs was copied to DIR/tracing")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(
            option("btf", "FILE", "plan for the kernel whose /sys/kernel/btf/vmlinux was copied to FILE")
                .value_parser(value_parser!(PathBuf))
                .conflicts_with("machine"),
        )
        .arg(option("ring", "SIZE", "ring buffer for streamed events, such as 32M (default 8M)").value_parser(bytes))
        .arg(
            option("stacks", "N", "room for about N different call chains (default 8192)")
                .value_parser(value_parser!(u32).range(1..=1 << 20)),
        )
        .arg(
            list_option(
                "output",
                "FILE",
                "write call chains to FILE: a graph.svg, .folded, .pb.gz (pprof), .json (speedscope)",
            )
            .short('o')
            .value_parser(value_parser!(PathBuf))
            .action(ArgAction::Append),
        )
        .arg(flag("inlines", "inlined functions, files and lines of call chains, from debug information: slower"))
        .arg(
            option(
                "unwind",
                "WAY",
                "how user stacks of sampled CPU time are followed: fp, by frame pointers; dwarf[,BYTES], by the unwind \
                 information of programs, from copies of their stacks: dearer (docs/stacks.md)",
            )
            .value_parser(Way::parse),
        )
        .arg(flag("strict", "exit with status 3 if any event was lost"))
        .arg(flag("quiet", "nothing about the run itself on standard error").short('q'))
        .arg(enforce())
        .subcommand(
            Command::new("run")
                .about("Run a script: a file, or one of the library by its name")
                .arg(script("the script").required(true))
                .arg(words()),
        )
        .subcommand(
            Command::new("plan")
                .about("Say what a script would attach, what runs in the kernel and what here; needs no privilege")
                .arg(script("the script").required_unless_present("inline"))
                .arg(inline())
                .arg(
                    Arg::new("code")
                        .long("code")
                        .help("with the instructions of every slot")
                        .action(ArgAction::SetTrue),
                )
                .arg(words()),
        )
        .subcommand(
            Command::new("list")
                .about("List attach points, templates (`list templates`) and scripts (`list scripts`)")
                .arg(Arg::new("pattern").value_name("GLOB").help("such as 'tracepoint:sched:*' or 'uprobe:libc:mall*'"))
                .arg(
                    Arg::new("verbose")
                        .short('v')
                        .long("verbose")
                        .help("with their fields and types")
                        .action(ArgAction::SetTrue),
                ),
        )
        .subcommand(
            Command::new("doc")
                .about("Print what a script or a template is for, its parameters and fields")
                .arg(Arg::new("name").value_name("NAME").required(true)),
        )
        .subcommand(crate::record::record())
        .subcommand(crate::record::replay())
        .subcommand(crate::flame::command())
        .subcommand(crate::capture::command())
        .subcommand(crate::observe::command())
        .subcommand(crate::policy::command())
        .subcommand(crate::library::command())
        .subcommand(
            Command::new("repl")
                .about("A session: probes run while you type (what `skep` alone is on a terminal)")
                .arg(
                    Arg::new("json")
                        .long("json")
                        .help("for front ends: requests and answers as JSON lines (docs/repl.md)")
                        .action(ArgAction::SetTrue),
                )
                .arg(Arg::new("vi").long("vi").help("keys as in vi").action(ArgAction::SetTrue)),
        )
        .subcommand(
            Command::new("doctor")
                .about("Try what works on this machine, and say what would help where something does not")
                .arg(Arg::new("json").long("json").help("the same as --format json").action(ArgAction::SetTrue)),
        )
}

pub fn duration(text: &str) -> Result<Duration, String> {
    let nanos = skep_runtime::report::units::parse_duration(text);
    nanos.map(Duration::from_nanos).ok_or_else(|| "such as 10s, 500ms, 2m".to_owned())
}

pub fn bytes(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(digits) => (digits, 1u64 << (10 * (1 + "KMG".find(&text[digits.len()..]).unwrap_or(0)))),
        None => (text, 1),
    };
    let count = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(factor));
    count.filter(|count| *count > 0).ok_or_else(|| "such as 512K, 8M".to_owned())
}

/// Parses the command line. Global options are found anywhere, behind a script's name too.
///
/// # Errors
/// clap's, which print themselves.
pub fn parse(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    let mut command = command();
    command.build();
    let words = globals_first(&command, words);
    let mut behind_run = words.iter().skip_while(|word| *word != "run").skip(1);
    if let Some(script) = behind_run.next().and_then(|word| word.to_str()).filter(|word| !word.starts_with('-'))
        && behind_run.any(|word| word == "--help")
    {
        // The help of a script is its header.
        let front = words.iter().take_while(|word| *word != "run").cloned();
        return parse(front.chain(["doc".into(), script.into()]).collect());
    }
    let matches = command.clone().try_get_matches_from(words)?;
    let text = |matches: &ArgMatches, name: &str| matches.get_one::<String>(name).cloned();
    let list =
        |matches: &ArgMatches| matches.get_many::<String>("words").into_iter().flatten().cloned().collect::<Vec<_>>();
    let source = |matches: &ArgMatches| match text(matches, "inline") {
        Some(script) => Source::Inline(script),
        None => Source::Named(text(matches, "script").unwrap_or_default()),
    };
    let (job, inner) = match matches.subcommand() {
        Some(("run", inner)) => (Job::Run { script: source_named(inner), words: list(inner) }, inner),
        Some(("plan", inner)) => {
            let mut words = list(inner);
            // With -e the first word is no script's name.
            if text(inner, "inline").is_some() {
                words.splice(0..0, text(inner, "script"));
            }
            (Job::Plan { script: source(inner), words, code: inner.get_flag("code") }, inner)
        }
        Some(("list", inner)) => {
            (Job::List { pattern: text(inner, "pattern"), verbose: inner.get_flag("verbose") }, inner)
        }
        Some(("repl", inner)) => (Job::Repl { json: inner.get_flag("json"), vi: inner.get_flag("vi") }, inner),
        Some(("doctor", inner)) => (Job::Doctor { json: inner.get_flag("json") }, inner),
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
        Some(("doc", inner)) => (Job::Doc { name: text(inner, "name").unwrap_or_default() }, inner),
        _ => match text(&matches, "inline") {
            Some(script) => (Job::Run { script: Source::Inline(script), words: list(&matches) }, &matches),
            None => {
                if let Some(word) = list(&matches).first() {
                    let (kind, text) = (clap::error::ErrorKind::InvalidSubcommand, format!("unknown command `{word}`"));
                    return Err(command.error(kind, text));
                }
                if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
                    return Ok(cli(Job::Repl { json: false, vi: false }, &matches));
                }
                return Err(command.error(
                    clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                    command.clone().render_help(),
                ));
            }
        },
    };
    Ok(Cli { enforce: matches.get_flag(ENFORCE), ..cli(job, inner) })
}

/// A job with the options that all have.
fn cli(job: Job, inner: &ArgMatches) -> Cli {
    let text = |matches: &ArgMatches, name: &str| matches.get_one::<String>(name).cloned();
    Cli {
        job,
        json: text(inner, "format").is_some_and(|format| format == "json"),
        pid: inner.get_one::<u32>("pid").copied(),
        follow_forks: inner.get_flag("follow-forks"),
        comm: text(inner, "comm"),
        cgroup: text(inner, "cgroup"),
        command: text(inner, "command"),
        longest: inner.get_one::<Duration>("for").copied(),
        templates: inner.get_many::<PathBuf>("templates").into_iter().flatten().cloned().collect(),
        machine: inner.get_one::<PathBuf>("machine").cloned(),
        btf: inner.get_one::<PathBuf>("btf").cloned(),
        ring: inner.get_one::<u64>("ring").copied(),
        stacks: inner.get_one::<u32>("stacks").copied(),
        output: inner.get_many::<PathBuf>("output").into_iter().flatten().cloned().collect(),
        inlines: inner.get_flag("inlines"),
        unwind: inner.get_one::<Way>("unwind").copied().unwrap_or_default(),
        strict: inner.get_flag("strict"),
        quiet: inner.get_flag("quiet"),
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
mod tests {
    use super::*;

    fn cli(line: &str) -> Cli {
        parse(line.split_whitespace().map(OsString::from).collect()).unwrap()
    }

    #[test]
    fn global_options_are_found_behind_a_scripts_name() {
        let parsed = cli("skep run syscount --top 5 --format json --pid 7 --all");
        assert!(parsed.json);
        assert_eq!(parsed.pid, Some(7));
        let words = ["--top", "5", "--all"].map(str::to_owned).to_vec();
        assert_eq!(parsed.job, Job::Run { script: Source::Named("syscount".into()), words });
    }

    #[test]
    fn enforce_is_found_behind_a_scripts_name_and_is_a_policys_own_elsewhere() {
        assert!(cli("skep run denywatch --cidr 10.0.0.0/8 --enforce").enforce);
        assert!(cli("skep --enforce -e exit()").enforce && cli("skep -e exit() --enforce").enforce);
        let parsed = cli("skep policy apply tc:eth0 --rules a.json --enforce --confirm-within 5s");
        assert!(!parsed.enforce);
    }

    #[test]
    fn inline_script_takes_parameters() {
        let parsed = cli("skep -e exit() --top 5");
        assert_eq!(
            parsed.job,
            Job::Run { script: Source::Inline("exit()".into()), words: vec!["--top".into(), "5".into()] }
        );
        let parsed = cli("skep plan -e exit() --code");
        assert_eq!(parsed.job, Job::Plan { script: Source::Inline("exit()".into()), words: vec![], code: true });
    }

    #[test]
    fn last_of_two_options_holds_and_folders_add_up() {
        let parsed = cli("skep --for 5s --quiet run syscount --for 6s --quiet --templates a --templates b");
        assert_eq!(parsed.longest, Some(Duration::from_secs(6)));
        assert_eq!(parsed.templates, ["a", "b"].map(PathBuf::from));
    }

    #[test]
    fn sizes_and_times_are_checked() {
        assert_eq!(bytes("32M"), Ok(32 << 20));
        assert!(bytes("0").is_err() && bytes("M").is_err());
        assert!(parse(["skep", "--for", "soon", "list"].map(OsString::from).to_vec()).is_err());
    }
}
