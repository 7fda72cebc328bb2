//! The command line as clap knows it: every command, its options and their help. Completion and manual pages come from it.

use clap::{Arg, ArgAction, Command, value_parser};
use skep_runtime::budget::Allowance;
use skep_runtime::unwind::way::Way;
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  sudo skep run syscount --for 5s                    a script of the library
  sudo skep -e 'probe(\"tracepoint:raw_syscalls:sys_enter\").by(comm).count().run(\"5s\")'
  skep list 'tracepoint:syscalls:*open*' -v          attach points with their fields
  skep plan syscount                                 what would be attached; needs no privilege";

const STATUS: &str = "\
Exit status:
  0    it ended well, and found nothing or what is good to know (`info`)
  1    an error of the script, the command line or this machine
  2    the command line cannot be read
  3    with --strict: events were lost
  10   the worst finding is of level `warn`
  20   the worst finding is of level `critical`
  130  Ctrl-C ended it, 143 a SIGTERM
A script that says `exit(n)` ends with n.";

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

/// What every script takes: of its words, unless it stands in front of its name.
pub fn common() -> [Arg; 3] {
    // A script may have a parameter of this name that is true or false.
    let arg = |name: &'static str, value: &'static str, help: &'static str| {
        let arg = Arg::new(name).long(name).value_name(value).help(help).num_args(0..=1);
        arg.default_missing_value("true").overrides_with(name)
    };
    [
        arg("interval", "TIME", "print all results each time, such as 1s, and begin anew"),
        arg("count", "N", "end after so many intervals"),
        arg("top", "N", "rows to print of each table"),
    ]
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
pub(super) const ENFORCE: &str = "enforce";

/// Nor is this.
pub(super) const TTL: &str = "ttl";

fn ttl() -> Arg {
    let help = "end everything after this time, whatever it does, as SIGTERM would end it";
    Arg::new(TTL).long(TTL).value_name("TIME").help(help).value_parser(duration).overrides_with(TTL)
}

fn enforce() -> Arg {
    let help = "drop what policies of the script deny, where they say so: .mode(\"enforce\")";
    Arg::new(ENFORCE).long(ENFORCE).help(help).action(ArgAction::SetTrue).overrides_with(ENFORCE)
}

/// The whole command line.
pub fn command() -> Command {
    command_with(|_| true)
}

/// The command line with those commands below it that are wanted.
pub(super) fn command_with(wanted: impl Fn(&str) -> bool) -> Command {
    let below = COMMANDS.iter().filter(|(name, _)| wanted(name)).map(|(name, command)| {
        let command = command();
        // It has its own.
        if *name == "policy" { command } else { command.arg(ttl()) }
    });
    options().subcommands(below)
}

type Named = (&'static str, fn() -> Command);

/// Every command and its definition. None is made before it is asked for: an option has 600 bytes, and every command has
/// all of those that stand anywhere.
pub(super) const COMMANDS: [Named; 19] = [
    ("run", run),
    ("plan", plan),
    ("list", list),
    ("doc", doc),
    ("record", crate::record::record),
    ("replay", crate::record::replay),
    ("flame", crate::flame::command),
    ("capture", crate::capture::command),
    ("observe", crate::observe::command),
    ("policy", crate::policy::command),
    ("lib", crate::library::command),
    ("baseline", crate::baseline::command),
    ("audit", crate::audit::command),
    ("repl", repl),
    ("doctor", doctor),
    ("helper", crate::helper::helper),
    ("permit", crate::helper::permit),
    ("completion", crate::completion::completion),
    ("manual", crate::manual::manual),
];

fn options() -> Command {
    Command::new("skep")
        .about("Ad-hoc eBPF tracing with Rhai scripts on precompiled templates")
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(EXAMPLES)
        .arg(inline())
        .args(common())
        .arg(words().hide(true))
        .arg(
            option("format", "FORMAT", "how results are printed: text, json (one object a line), or csv for tables")
                .value_parser(["text", "json", "csv"]),
        )
        .arg(flag("wide", "shorten no text to the width of the terminal (80 columns in files and pipes)"))
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
            option(
                "max-overhead",
                "SHARE",
                "of one processor, such as 1%: a run that takes more is attached a part of the time only, or ended; off: no \
                 limit (default off; in sessions and for scripts of the library 25% of all processors)",
            )
            .value_parser(Allowance::parse),
        )
        .arg(
            option("max-probes", "N", "refuse to attach to more points than these (default 4096)")
                .value_parser(value_parser!(u32).range(1..)),
        )
        .arg(
            option("max-memory", "SIZE", "of the tables in the kernel, and of skep itself: a run that takes more is refused")
                .value_parser(bytes),
        )
        .arg(
            option("max-events", "N", "end each run after so many events have been printed or handed to closures")
                .value_parser(value_parser!(u64).range(1..)),
        )
        .arg(flag("yes", "attach to what is hit all the time without asking"))
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
        .arg(
            option("report", "FILE", "write findings and what was printed as a report: FILE.md, FILE.html")
                .value_parser(value_parser!(PathBuf)),
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
        .arg(
            option("audit", "FILE", "note this run in FILE, and attach nothing where that cannot be done (docs/audit.md)")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(flag("strict", "exit with status 3 if any event was lost"))
        .arg(flag("quiet", "nothing about the run itself on standard error").short('q'))
        .arg(enforce())
        .arg(ttl())
}

fn run() -> Command {
    Command::new("run")
        .about("Run a script: a file, or one of the library by its name")
        .after_help(STATUS)
        .arg(script("the script").required(true))
        .args(common())
        .arg(words())
}

fn plan() -> Command {
    Command::new("plan")
        .about("Say what a script would attach, what runs in the kernel and what here; needs no privilege")
        .arg(script("the script").required_unless_present("inline"))
        .arg(inline())
        .args(common())
        .arg(
            Arg::new("code")
                .long("code")
                .help("with the instructions of every slot")
                .action(ArgAction::SetTrue),
        )
        .arg(
            Arg::new("measure")
                .long("measure")
                .help("with what it would cost: attaches each of its programs for a second; needs the privileges of a run")
                .action(ArgAction::SetTrue),
        )
        .arg(words())
}

fn list() -> Command {
    Command::new("list")
        .about("List attach points, templates (`list templates`) and scripts (`list scripts`)")
        .arg(Arg::new("pattern").value_name("GLOB").help("such as 'tracepoint:sched:*' or 'uprobe:libc:mall*'"))
        .arg(
            Arg::new("verbose")
                .short('v')
                .long("verbose")
                .help("with their fields and types")
                .action(ArgAction::SetTrue),
        )
}

fn doc() -> Command {
    Command::new("doc")
        .about("Print what a script or a template is for, its parameters and fields")
        .arg(Arg::new("name").value_name("NAME").required(true))
}

fn repl() -> Command {
    Command::new("repl")
        .about("A session: probes run while you type (what `skep` alone is on a terminal)")
        .arg(
            Arg::new("json")
                .long("json")
                .help("for front ends: requests and answers as JSON lines (docs/repl.md)")
                .action(ArgAction::SetTrue),
        )
        .arg(Arg::new("vi").long("vi").help("keys as in vi").action(ArgAction::SetTrue))
}

fn doctor() -> Command {
    Command::new("doctor")
        .about("Try what works on this machine, and say what would help where something does not")
        .arg(Arg::new("json").long("json").help("the same as --format json").action(ArgAction::SetTrue))
        .arg(
            Arg::new("units")
                .long("units")
                .help("print what lets others trace: a setcap line, and the helper's units for systemd")
                .action(ArgAction::SetTrue),
        )
}

pub fn duration(text: &str) -> Result<Duration, String> {
    let nanos = skep_runtime::report::units::parse_duration(text);
    nanos.map(Duration::from_nanos).ok_or_else(|| "such as 10s, 500ms, 2m".to_owned())
}

pub fn bytes(text: &str) -> Result<u64, String> {
    skep_runtime::report::units::parse_bytes(text).ok_or_else(|| "such as 512K, 8M".to_owned())
}
