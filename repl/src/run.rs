//! `skep run`, `skep -e`: a script to its end.

use crate::args::{Cli, Job, Source};
use crate::audit;
use crate::command::Held;
use crate::helper::client;
use skep_runtime::baseline::series::{Measured, Series};
use skep_runtime::budget::Allowance;
use skep_runtime::confine::{self, outputs};
use skep_runtime::diagnostic::{Diagnostic, Kind};
use skep_runtime::kernel::cgroup;
use skep_runtime::kernel::load::text;
use skep_runtime::library::{Library, Script};
use skep_runtime::machine::Machine;
use skep_runtime::network::time::Time;
use skep_runtime::node::Node;
use skep_runtime::permit::gate::Gate;
use skep_runtime::prepare::Restrict;
use skep_runtime::recording::Tape;
use skep_runtime::recording::player::Player;
use skep_runtime::report::columns;
use skep_runtime::report::document::{self, Document};
use skep_runtime::report::graph::Target;
use skep_runtime::report::summary::Found;
use skep_runtime::report::text::Style;
use skep_runtime::script::engine::Runner;
use skep_runtime::script::host::{Command, Host, Mode, Settings};
use skep_runtime::script::output::{Format, Output};
use skep_runtime::script::params::Params;
use skep_runtime::session::Sizes;
use skep_runtime::trust::Trust;
use skep_templates::catalog::Catalog;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Instant;

/// Exit status when events were lost and `--strict` was given.
pub const LOST: u8 = 3;

pub fn run(cli: &Cli, source: &Source, words: &[String]) -> u8 {
    if asks_for_help(words)
        && let Source::Named(name) = source
    {
        return crate::list::doc(cli, name);
    }
    let script = match open(source) {
        Ok(script) => script,
        Err(diagnostic) => return show(&diagnostic, None),
    };
    if let Some(socket) = client::socket() {
        return client::run(cli, &script, words, &socket);
    }
    if let Source::Named(name) = source
        && !Path::new(name).is_file()
        && !cli.quiet
        && let Some((folder, other)) = library().hides(name)
    {
        eprintln!("`{name}` of {} runs; {other} has one of this name too", folder.display());
    }
    match held(cli) {
        Ok(held) => run_held(cli, &script, words, held, Tape::Off),
        Err(diagnostic) => show(&diagnostic, None),
    }
}

/// The command of `-c`, started and held.
pub fn held(cli: &Cli) -> Result<Option<Held>, Diagnostic> {
    let line = cli.command.as_deref();
    let failed = |error: std::io::Error| {
        Diagnostic::script(format!("failed to start `{}`: {}", line.unwrap_or_default(), text(&error)))
    };
    line.map(Held::start).transpose().map_err(failed)
}

/// The rest of [`run`], once its command is there.
pub fn run_held(cli: &Cli, script: &Script, words: &[String], held: Option<Held>, tape: Tape) -> u8 {
    run_shown(cli, script, words, held, Some(script), tape, None)
}

/// A script that errors do not point into: nobody wrote it.
pub fn run_unshown(cli: &Cli, script: &Script) -> u8 {
    run_shown(cli, script, &[], None, None, Tape::Off, None)
}

/// A script that the helper runs for somebody.
pub fn run_for(cli: &Cli, script: &Script, words: &[String], gate: Gate) -> u8 {
    run_shown(cli, script, words, None, Some(script), Tape::Off, Some(gate))
}

fn run_shown(
    cli: &Cli,
    script: &Script,
    words: &[String],
    held: Option<Held>,
    shown: Option<&Script>,
    tape: Tape,
    gate: Option<Gate>,
) -> u8 {
    let report = cli.report.as_deref().map(document::Target::new).transpose();
    let audit = match &tape {
        Tape::Replaying(_) => None,
        // The helper has a log of its own.
        _ if gate.is_some() => None,
        _ => audit::of_script(cli, script, words),
    };
    audit.iter().for_each(|audit| outputs::keep(audit.path()));
    if !matches!(tape, Tape::Replaying(_)) {
        cli.output.iter().chain(&cli.report).for_each(|path| outputs::name(path));
        outputs::name_those_of(&script.text);
        confine::begin();
    }
    let (mut runner, report) = match (made(cli, script, words, held, tape, output(cli)), report) {
        (Ok(runner), Ok(report)) => (runner, report),
        (Err(diagnostic), _) | (_, Err(diagnostic)) => return show(&diagnostic, None),
    };
    if let Some(gate) = gate {
        // It is the first: the runner was made a moment ago.
        let _first = runner.host.gate.set(gate);
    }
    if report.is_some() {
        runner.host.output.borrow_mut().keep();
    }
    runner.host.note_in(audit);
    let began = (Time::now(), Instant::now());
    let outcome = runner.run(script);
    let host = &runner.host;
    let trust = host.trust.get();
    let attached = host.chains.borrow().iter().any(|chain| chain.state == skep_runtime::script::host::State::Done);
    let mut output = host.output.borrow_mut();
    match &*host.profile.borrow() {
        Some(profile) => output.found(&Found::new(profile, &trust)),
        None if attached && !cli.output.is_empty() && outcome.is_ok() => {
            output.tell("no graph was written: no table of this script has call chains (.by(comm, kstack, ustack))");
        }
        None => {}
    }
    if attached {
        output.trust(&trust);
    }
    output.flush();
    let outcome = outcome.and(output.written());
    drop(output);
    let status = match &outcome {
        Err(diagnostic) => status_of(diagnostic),
        Ok(()) if cli.strict && !trust.is_complete() => LOST,
        Ok(()) => host.status() as u8,
    };
    audit::ended(host, status, outcome.as_ref().err());
    if let (Some(report), Ok(())) = (report, &outcome)
        && let Err(diagnostic) = report.write(&document(cli, host, began, attached.then(|| trust.line())))
    {
        return show(&diagnostic, None);
    }
    #[cfg(feature = "pyroscope")]
    if let (Job::Flame(wish), Some(profile)) = (&cli.job, &*host.profile.borrow())
        && let Err(diagnostic) = wish.push(profile)
    {
        return show(&diagnostic, None);
    }
    match outcome {
        Err(diagnostic) => show(&diagnostic, shown),
        Ok(()) => status,
    }
}

/// What the report says; of a replay, about the machine of then.
fn document(cli: &Cli, host: &Host, began: (Time, Instant), trust: Option<String>) -> Document {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    let (machine, kernel, since) = match host.tape.player() {
        Some(player) => {
            let header = &player.header;
            (player.path().display().to_string(), header.machine.kernel.clone(), Time(header.began))
        }
        None => (read("hostname"), read("osrelease"), began.0),
    };
    Document {
        title: format!("{}{}", host.script.borrow(), title_of(cli)),
        host: machine,
        kernel,
        began: since,
        took: began.1.elapsed(),
        findings: host.findings.borrow().clone(),
        printed: host.output.borrow().kept(),
        trust,
    }
}

/// What a run measured, instead of what it prints.
pub struct Measurement {
    pub series: Vec<Series>,
    pub trust: Trust,
    /// The run's own exit status.
    pub status: u8,
}

/// Runs a script for the distributions that it measures. An exit status where it fails: why was said.
pub fn measure(
    cli: &Cli,
    script: &Script,
    words: &[String],
    held: Option<Held>,
    tape: Tape,
) -> Result<Measurement, u8> {
    let mut output = Output::new(Box::new(std::io::sink()), Format::Text, Style::default());
    output.talk = !cli.quiet;
    let audit = match &tape {
        Tape::Replaying(_) => None,
        _ => audit::of_script(cli, script, words),
    };
    let mut runner = made(cli, script, words, held, tape, output).map_err(|diagnostic| show(&diagnostic, None))?;
    let host = runner.host.clone();
    host.note_in(audit);
    host.measured.replace(Some(Measured::default()));
    let outcome = runner.run(script);
    audit::ended(&host, outcome.as_ref().map_or_else(status_of, |()| host.status() as u8), outcome.as_ref().err());
    outcome.map_err(|diagnostic| show(&diagnostic, Some(script)))?;
    let trust = host.trust.get();
    host.output.borrow_mut().trust(&trust);
    let status = match cli.strict && !trust.is_complete() {
        true => LOST,
        false => host.exit.get().or(host.ended.get()).unwrap_or(0) as u8,
    };
    let series = host.measured.take().unwrap_or_default().series;
    Ok(Measurement { series, trust, status })
}

fn made(
    cli: &Cli,
    script: &Script,
    words: &[String],
    held: Option<Held>,
    tape: Tape,
    output: Output,
) -> Result<Runner, Diagnostic> {
    let pid = held.as_ref().map(|held| held.pid);
    let command = held.map(|held| Command { release: Some(Box::new(move || held.release())) });
    match &tape {
        Tape::Replaying(player) => replayer(cli, words, player, &script.name, output),
        _ => runner_on(cli, words, Mode::Run, pid, command, output, tape),
    }
}

fn asks_for_help(words: &[String]) -> bool {
    words.iter().any(|word| word == "--help")
}

/// The script that the command line names.
pub fn open(source: &Source) -> Result<Script, Diagnostic> {
    match source {
        Source::Inline(text) => Ok(Script { name: "-e".into(), text: text.clone().into() }),
        Source::Named(name) => library().open(name),
    }
}

/// The files of `-o`, which must be writable before anything is measured.
fn graphs(cli: &Cli, mode: Mode) -> Result<Vec<Target>, Diagnostic> {
    let options = match &cli.job {
        Job::Flame(wish) => wish.options.clone(),
        _ => Default::default(),
    };
    let target = |path: &PathBuf| {
        let target = Target::new(&path.to_string_lossy(), None, options.clone())?;
        if mode == Mode::Run {
            target.check()?;
        }
        Ok(target)
    };
    cli.output.iter().map(target).collect::<Result<_, Diagnostic>>().map_err(Diagnostic::nowhere)
}

/// What a graph is called: what was looked at.
fn title(cli: &Cli) -> String {
    let of = title_of(cli);
    match &cli.job {
        Job::Flame(wish) => format!("{}{of}", wish.what()),
        Job::Run { script: Source::Named(name), .. } => format!("{name}{of}"),
        _ => format!("call chains{of}"),
    }
}

/// Whom the command line restricts a run to, for titles.
fn title_of(cli: &Cli) -> String {
    match (&cli.job, cli.pid, &cli.command, &cli.cgroup, &cli.comm) {
        (_, Some(pid), ..) => {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!(" of {} (pid {pid})", comm.trim())
        }
        (_, _, Some(command), ..) => format!(" of `{command}`"),
        (_, _, _, Some(cgroup), _) => format!(" of cgroup {cgroup}"),
        (_, _, _, _, Some(comm)) => format!(" of {comm}"),
        _ => String::new(),
    }
}

/// The program of `-c`: its first word.
fn command_name(cli: &Cli) -> Option<String> {
    cli.command.as_ref()?.split_whitespace().next().map(str::to_owned)
}

/// The library that this process sees.
pub fn library() -> Library {
    Library::new(own_scripts())
}

/// The user's folders for scripts: those of SKEP_PATH, then `skep/scripts` where configurations are.
pub fn own_scripts() -> Vec<PathBuf> {
    let said = std::env::var_os("SKEP_PATH");
    let said = said.as_ref().map(|path| std::env::split_paths(path).filter(|folder| !folder.as_os_str().is_empty()));
    let home = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = home("XDG_CONFIG_HOME").or_else(|| Some(home("HOME")?.join(".config")));
    said.into_iter().flatten().chain(own.map(|own| own.join("skep/scripts"))).collect()
}

/// An engine with everything that the command line says.
pub fn runner(
    cli: &Cli,
    words: &[String],
    mode: Mode,
    pid: Option<u32>,
    command: Option<Command>,
) -> Result<Runner, Diagnostic> {
    runner_on(cli, words, mode, pid, command, output(cli), Tape::Off)
}

fn output(cli: &Cli) -> Output {
    let mut output = Output::new(Box::new(std::io::stdout()), cli.format(), style(cli));
    output.talk = !cli.quiet;
    output
}

/// An engine for a recording: nothing of this machine is asked for.
fn replayer(
    cli: &Cli,
    words: &[String],
    player: &Rc<Player>,
    name: &str,
    output: Output,
) -> Result<Runner, Diagnostic> {
    let settings = Settings {
        mode: Mode::Run,
        catalog: catalog(cli)?,
        machine: Machine::live(),
        restrict: Restrict::default(),
        sizes: Sizes::default(),
        longest: None,
        budget: Allowance::Off,
        limits: cli.limits,
        asks: false,
        graphs: graphs(cli, Mode::Run)?,
        title: format!("{name} of {}", player.path().display()),
        inlines: cli.inlines,
        progress: false,
        enforce: false,
        node: Node::live(),
    };
    // A run that began with the command began without chains, too.
    let command = player
        .header
        .command
        .then(|| Command { release: Some(Box::new(|| Err(std::io::Error::other("it ran then")))) });
    let tape = Tape::Replaying(player.clone());
    Runner::new(Host::with_tape(settings, Params::parse(words)?, output, command, tape), library())
}

/// What standard output can show.
pub fn style(cli: &Cli) -> Style {
    let terminal = std::io::stdout().is_terminal();
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let width = || terminal.then(size).flatten().map_or(columns::USUAL, |(columns, _)| columns);
    Style { colour, width: (!cli.wide).then(width) }
}

/// The same as [`runner`], with an output that is there already.
pub fn runner_on(
    cli: &Cli,
    words: &[String],
    mode: Mode,
    pid: Option<u32>,
    command: Option<Command>,
    mut output: Output,
    tape: Tape,
) -> Result<Runner, Diagnostic> {
    let cgroup = match &cli.cgroup {
        None => None,
        Some(path) => match cgroup::find(path) {
            Ok(found) => Some((found.id, found.level)),
            Err(error) => {
                return Err(
                    Diagnostic::script(format!("no cgroup `{path}`: {error}")).help("a path below /sys/fs/cgroup")
                );
            }
        },
    };
    if mode != Mode::Plan && (cli.machine.is_some() || cli.btf.is_some()) {
        let option = if cli.btf.is_some() { "--btf" } else { "--machine" };
        return Err(Diagnostic::script(format!("`{option}` is for plans: a script runs on the kernel that is here"))
            .help("skep plan SCRIPT"));
    }
    // For the machine that a plan is made for nobody knows its processes.
    if let Some(pid) =
        cli.pid.filter(|pid| cli.machine.is_none() && cli.btf.is_none() && !Path::new(&format!("/proc/{pid}")).exists())
    {
        return Err(Diagnostic::machine(format!("there is no process {pid}")).help("pgrep -a NAME"));
    }
    let mut machine = machine(cli)?;
    machine.assume_fields = mode == Mode::Plan;
    // What a command starts is the command's, where the kernel's types tell how to find it.
    let of_command = cli.pid.is_none() && cli.command.is_some();
    if of_command && !machine.has_btf() {
        output.tell("only the command itself is watched, not its children: this kernel has no type information");
    }
    let restrict = Restrict {
        pid: cli.pid.or(pid),
        follow: cli.follow_forks || of_command && machine.has_btf(),
        program: command_name(cli),
        comm: cli.comm.clone(),
        cgroup,
        cgroup_path: cli.cgroup.clone(),
        owner: None,
        unwind: cli.unwind,
    };
    let sizes = Sizes::default();
    let settings = Settings {
        mode,
        catalog: catalog(cli)?,
        machine,
        restrict,
        sizes: Sizes { ring: cli.ring.unwrap_or(sizes.ring), stacks: cli.stacks.unwrap_or(sizes.stacks) },
        longest: cli.longest,
        budget: budget(cli),
        limits: cli.limits,
        asks: asks(cli),
        graphs: graphs(cli, mode)?,
        title: title(cli),
        inlines: cli.inlines,
        progress: matches!(cli.job, Job::Flame(_)) && !cli.quiet && std::io::stderr().is_terminal(),
        enforce: cli.enforce,
        node: Node::live(),
    };
    let host = Host::with_tape(settings, Params::parse(words)?, output, command, tape);
    Runner::new(host, library())
}

/// What was asked for; else, where no script of the user's own knows better, the usual one.
fn budget(cli: &Cli) -> Allowance {
    let own = match &cli.job {
        Job::Repl { .. } => false,
        Job::Run { script: Source::Named(name), .. } => {
            Path::new(name).is_file() || !library().find(name).is_some_and(|script| script.is_embedded())
        }
        _ => true,
    };
    match cli.max_overhead {
        Allowance::Unsaid if !own => Allowance::Usual,
        said => said,
    }
}

/// Does somebody sit there who can be asked? In a session they type something else.
fn asks(cli: &Cli) -> bool {
    let session = matches!(cli.job, Job::Repl { .. });
    !cli.yes && !session && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// The machine that is asked about: this one, unless an option names another.
pub fn machine(cli: &Cli) -> Result<Machine, Diagnostic> {
    match (&cli.btf, &cli.machine) {
        (Some(file), _) => Machine::with_types(file),
        (None, Some(folder)) => Ok(Machine::captured(folder)),
        (None, None) => Ok(Machine::live()),
    }
}

/// The embedded templates and those of `--templates`.
pub fn catalog(cli: &Cli) -> Result<Catalog, Diagnostic> {
    let mut catalog = Catalog::embedded();
    for folder in &cli.templates {
        let failed =
            |error| Diagnostic::script(format!("failed to read templates from `{}`: {error}", folder.display()));
        catalog.add_folder(folder).map_err(failed)?;
    }
    Ok(catalog)
}

/// Columns and rows of the terminal.
pub fn size() -> Option<(usize, usize)> {
    // SAFETY: plain data, filled by the call.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the request writes one `winsize`.
    let known = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &mut size) } == 0;
    (known && size.ws_col > 0).then_some((size.ws_col.into(), size.ws_row.into()))
}

/// Prints a diagnostic and gives the exit status for it.
pub fn show(diagnostic: &Diagnostic, script: Option<&Script>) -> u8 {
    let (name, text) = script.map_or(("", ""), |script| (script.name.as_str(), &*script.text));
    // Standard error may be closed; then nobody wants to know.
    let _nobody = write!(std::io::stderr(), "{}", diagnostic.render(name, text));
    status_of(diagnostic)
}

/// The exit status of what went wrong.
fn status_of(diagnostic: &Diagnostic) -> u8 {
    if diagnostic.kind == Kind::Bug { 70 } else { 1 }
}
