//! `skep flame`: a flame graph by one command. What measures is a script of the library.

use crate::args::{Cli, Source};
use crate::run;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use skep_flamegraphs::format::{self, Format};
use skep_flamegraphs::{diff, svg};
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::kernel::load::text;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a graph is asked to show.
#[derive(Clone, Debug)]
pub struct Wish {
    kind: Kind,
    all: bool,
    hertz: Option<u64>,
    /// Waits shorter than this do not count.
    least: Option<Duration>,
    pub options: svg::Options,
    /// A Pyroscope server, and what the profile is called there.
    #[cfg(feature = "pyroscope")]
    push: Option<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Cpu,
    OffCpu,
    Wakeup,
    Probe(String),
    Alloc,
}

/// Graphs of profiles that were written before.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// One, or two to compare: the earlier one first.
    files: Vec<PathBuf>,
    normalise: bool,
    options: svg::Options,
}

impl PartialEq for Wish {
    fn eq(&self, other: &Wish) -> bool {
        (&self.kind, self.all, self.hertz, self.least) == (&other.kind, other.all, other.hertz, other.least)
    }
}

impl Eq for Wish {}

impl PartialEq for Comparison {
    fn eq(&self, other: &Comparison) -> bool {
        (&self.files, self.normalise) == (&other.files, other.normalise)
    }
}

impl Eq for Comparison {}

/// How long is sampled where nothing says so.
const USUAL: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  sudo skep flame -p 812 -o cpu.svg                 where a process spends its CPU time, for 10 s
  sudo skep flame -c 'make -j4' -o cpu.pb.gz        a command from its start to its end, for `go tool pprof`
  sudo skep flame --off-cpu -p 812 -o waits.svg     where it waits, and how long
  sudo skep flame --probe k:vfs_read --all -o r.svg who reads files
  skep flame diff before.folded after.folded -o d.svg";

/// Its part of the command line.
pub fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help).action(ArgAction::SetTrue);
    let kinds = ["off-cpu", "wakeup", "probe", "alloc"];
    let exclusive = |arg: Arg| {
        let own = arg.get_id().clone();
        arg.conflicts_with_all(kinds.into_iter().filter(|name| own != *name))
    };
    let looks = || {
        [
            Arg::new("title").long("title").value_name("TEXT").help("title of the graph"),
            flag("icicle", "the root on top, growing down"),
            Arg::new("width")
                .long("width")
                .value_name("PIXELS")
                .help("width of the graph; else the window's")
                .value_parser(value_parser!(u32).range(200..)),
        ]
    };
    let file = |name: &'static str, help: &'static str| {
        Arg::new(name).value_name("FILE").help(help).required(true).value_parser(value_parser!(PathBuf))
    };
    let command = Command::new("flame");
    #[cfg(feature = "pyroscope")]
    let command = command
        .arg(Arg::new("push").long("push").value_name("URL").help("send the profile to this Pyroscope server, too"))
        .arg(
            Arg::new("app")
                .long("app")
                .value_name("NAME")
                .help("what it is called there (default skep)")
                .requires("push"),
        );
    command
        .about("Write a flame graph of a process (-p), a command (-c), a cgroup or the machine (--all)")
        .after_help(EXAMPLES)
        .args_conflicts_with_subcommands(true)
        .arg(flag("all", "the whole machine"))
        .arg(
            Arg::new("hz")
                .long("hz")
                .value_name("N")
                .help("samples a second on each CPU (default 99)")
                .value_parser(value_parser!(u64).range(1..=10_000)),
        )
        .arg(exclusive(flag("off-cpu", "time spent waiting, by where it waits")))
        .arg(exclusive(flag("wakeup", "time spent waiting, by who ended the wait")))
        .arg(exclusive(
            Arg::new("probe")
                .long("probe")
                .value_name("ATTACH_POINT")
                .help("how often an attach point is hit, by who calls it"),
        ))
        .arg(exclusive(flag("alloc", "bytes asked of malloc, by who asks")))
        .arg(
            Arg::new("min")
                .long("min")
                .value_name("TIME")
                .help("with --off-cpu, --wakeup: only waits of at least this time, such as 100us")
                .value_parser(crate::args::duration),
        )
        .args(looks())
        .subcommand(
            Command::new("diff")
                .about("What changed from one profile to another: red grew, blue shrank")
                .arg(file("before", "folded text or pprof"))
                .arg(file("after", "the same, measured later"))
                .arg(flag("absolute", "compare totals too, not only shares"))
                .args(looks()),
        )
        .subcommand(
            Command::new("render")
                .about("A graph, or another format, of a profile that was written before")
                .arg(file("before", "folded text or pprof"))
                .args(looks()),
        )
}

fn options(matches: &ArgMatches) -> svg::Options {
    svg::Options {
        title: matches.get_one::<String>("title").cloned(),
        icicle: matches.get_flag("icicle"),
        width: matches.get_one::<u32>("width").map(|width| *width as usize),
        ..Default::default()
    }
}

impl Wish {
    pub fn of(matches: &ArgMatches) -> Wish {
        let kind = match matches.get_one::<String>("probe") {
            Some(point) => Kind::Probe(point.clone()),
            None if matches.get_flag("off-cpu") => Kind::OffCpu,
            None if matches.get_flag("wakeup") => Kind::Wakeup,
            None if matches.get_flag("alloc") => Kind::Alloc,
            None => Kind::Cpu,
        };
        Wish {
            kind,
            all: matches.get_flag("all"),
            hertz: matches.get_one::<u64>("hz").copied(),
            least: matches.get_one::<Duration>("min").copied(),
            options: options(matches),
            #[cfg(feature = "pyroscope")]
            push: matches.get_one::<String>("push").map(|url| {
                let app = matches.get_one::<String>("app").cloned();
                (url.clone(), app.unwrap_or_else(|| "skep".into()))
            }),
        }
    }

    /// Sends the profile to where it was asked for.
    ///
    /// # Errors
    /// A machine diagnostic: the server did not take it.
    #[cfg(feature = "pyroscope")]
    pub fn push(&self, profile: &skep_flamegraphs::profile::Profile) -> Result<(), Diagnostic> {
        use skep_flamegraphs::push::{Body, Target, send};
        let Some((url, app)) = &self.push else { return Ok(()) };
        send(profile, Body::Pprof, &Target::new(url, app))
            .map_err(|error| Diagnostic::machine(format!("failed to send the profile to `{url}`: {error}")).nowhere())
    }

    /// For the graph's title.
    pub fn what(&self) -> String {
        match &self.kind {
            Kind::Cpu => "CPU time".into(),
            Kind::OffCpu => "time off the CPU".into(),
            Kind::Wakeup => "waits, by who ended them".into(),
            Kind::Probe(point) => point.clone(),
            Kind::Alloc => "bytes of malloc".into(),
        }
    }

    /// The script of the library that measures it, and its parameters.
    fn script(&self) -> (&'static str, Vec<String>) {
        let mut words: Vec<String> = vec!["--labels".into()];
        let mut set = |name: &str, value: String| words.extend([format!("--{name}"), value]);
        let name = match &self.kind {
            Kind::Cpu => "profile",
            Kind::OffCpu => "offcputime",
            Kind::Wakeup => "wakeuptime",
            Kind::Probe(_) => "stackcount",
            Kind::Alloc => "mallocstacks",
        };
        if let Kind::Probe(point) = &self.kind {
            set("probe", point.clone());
        }
        if let (Kind::Cpu, Some(hertz)) = (&self.kind, self.hertz) {
            set("hz", hertz.to_string());
        }
        if let (Kind::OffCpu | Kind::Wakeup, Some(least)) = (&self.kind, self.least) {
            set("min_us", least.as_micros().to_string());
        }
        (name, words)
    }
}

/// Measures, and writes the graphs.
pub fn flame(cli: &Cli, wish: &Wish) -> u8 {
    let scoped = cli.pid.is_some() || cli.command.is_some() || cli.cgroup.is_some() || cli.comm.is_some();
    if !scoped && !wish.all {
        let error = Diagnostic::script("a graph of what? -p PID, -c 'COMMAND', --cgroup PATH, or --all of the machine");
        return run::show(&error.help("sudo skep flame --all -o cpu.svg").nowhere(), None);
    }
    let unused = match &wish.kind {
        Kind::Cpu if wish.least.is_some() => Some("`--min` is for waits: --off-cpu or --wakeup"),
        kind if *kind != Kind::Cpu && wish.hertz.is_some() => Some("`--hz` is for CPU time: nothing is sampled here"),
        _ => None,
    };
    if let Some(message) = unused {
        return run::show(&Diagnostic::script(message).nowhere(), None);
    }
    let mut cli = cli.clone();
    if cli.output.is_empty() {
        cli.output.push(PathBuf::from("flame.svg"));
    }
    // A command ends its run; a machine goes on for ever.
    if cli.longest.is_none() && cli.command.is_none() {
        cli.longest = Some(USUAL);
    }
    let (name, words) = wish.script();
    let status = run::run(&cli, &Source::Named(name.into()), &words);
    if status == 0 && !cli.quiet {
        for path in &cli.output {
            tell(&format!("wrote {}", path.display()));
        }
    }
    status
}

impl Comparison {
    pub fn of(matches: &ArgMatches) -> Comparison {
        let file = |name: &str| matches.try_get_one::<PathBuf>(name).ok().flatten().cloned();
        Comparison {
            files: ["before", "after"].into_iter().filter_map(file).collect(),
            normalise: !matches.try_get_one::<bool>("absolute").ok().flatten().copied().unwrap_or(false),
            options: options(matches),
        }
    }
}

/// Draws profiles of files. No privilege.
pub fn compare(cli: &Cli, files: &Comparison) -> u8 {
    match drawn(cli, files) {
        Ok(()) => 0,
        Err(diagnostic) => run::show(&diagnostic.nowhere(), None),
    }
}

fn drawn(cli: &Cli, files: &Comparison) -> Result<(), Diagnostic> {
    let mut profiles = Vec::new();
    for path in &files.files {
        profiles.push(read(path)?);
    }
    let usual = [PathBuf::from(if profiles.len() > 1 { "diff.svg" } else { "flame.svg" })];
    let outputs = if cli.output.is_empty() { &usual[..] } else { &cli.output };
    for path in outputs {
        let format = Format::of(path).map_err(|error| Diagnostic::script(error.to_string()))?;
        let mut bytes = Vec::new();
        let written = match profiles.as_slice() {
            [before, after] => {
                if format != Format::Svg {
                    let error = Diagnostic::script(format!("`{}`: a difference is drawn as SVG", path.display()));
                    return Err(error.help("-o diff.svg"));
                }
                let options =
                    diff::Options { svg: files.options.clone(), normalise: files.normalise, ..Default::default() };
                diff::write(before, after, &options, &mut bytes)
            }
            [profile, ..] => format::write(profile, format, &files.options, &mut bytes),
            [] => Ok(()),
        };
        written.map_err(|error| Diagnostic::script(error.to_string()))?;
        fs::write(path, bytes)
            .map_err(|error| Diagnostic::machine(format!("failed to write `{}`: {}", path.display(), text(&error))))?;
        if !cli.quiet {
            tell(&format!("wrote {}", path.display()));
        }
    }
    Ok(())
}

fn tell(text: &str) {
    // Standard error may be closed; then nobody wants to know.
    let _nobody = writeln!(io::stderr(), "{text}");
}

fn read(path: &Path) -> Result<skep_flamegraphs::profile::Profile, Diagnostic> {
    let name = path.display().to_string();
    let bytes =
        fs::read(path).map_err(|error| Diagnostic::script(format!("failed to read `{name}`: {}", text(&error))))?;
    let read = format::read(&bytes, &name).map_err(|error| Diagnostic::script(error.to_string()))?;
    if read.bad > 0 {
        let lines: Vec<String> = read.first_bad.iter().map(ToString::to_string).collect();
        let s = if read.bad == 1 { "" } else { "s" };
        tell(&format!("warning: `{name}`: {} line{s} hold no stack (line {}): left out", read.bad, lines.join(", ")));
    }
    Ok(read.profile)
}
