//! The client: what somebody without privilege runs, run by the helper.

use crate::args::Cli;
use crate::run::show;
use skep_runtime::budget::Allowance;
use skep_runtime::budget::limits::Limits;
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::helper::SOCKET;
use skep_runtime::helper::frames::{self, Kind};
use skep_runtime::helper::request::{Asked, Request};
use skep_runtime::kernel::{load::text, privilege, signals};
use skep_runtime::library::Script;
use skep_runtime::script::output::Format;
use skep_runtime::unwind::way::Way;
use std::io::{self, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Where the helper's socket is, unless it is where it usually is.
const VARIABLE: &str = "SKEP_HELPER";
/// How often it is looked for a signal.
const LOOK: Duration = Duration::from_millis(50);

/// The helper's socket, where this process cannot do without it and one is there.
pub fn socket() -> Option<PathBuf> {
    if privilege::missing(&["CAP_BPF", "CAP_PERFMON"]).is_empty() {
        return None;
    }
    let path = std::env::var_os(VARIABLE).map_or_else(|| SOCKET.into(), PathBuf::from);
    std::fs::metadata(&path).is_ok_and(|found| found.file_type().is_socket()).then_some(path)
}

pub fn run(cli: &Cli, script: &Script, words: &[String], socket: &Path) -> u8 {
    let done = request(cli, script, words).and_then(|request| {
        if !cli.quiet {
            eprintln!("through the helper at {}", socket.display());
        }
        let failed = |error: io::Error| {
            Diagnostic::machine(format!("failed to reach the helper at `{}`: {}", socket.display(), text(&error)))
                .help("sudo systemctl status skep-helper.socket")
        };
        exchange(&request, socket).map_err(failed)
    });
    done.unwrap_or_else(|error| show(&error, Some(script)))
}

/// What the command line says, as far as it may go through.
fn request(cli: &Cli, script: &Script, words: &[String]) -> Result<Request, Diagnostic> {
    let stays = [
        ("-c", cli.command.is_some(), "start it, and give its pid: --pid PID"),
        ("-o", !cli.output.is_empty(), "print call chains, and draw them: skep flame render"),
        ("--report", cli.report.is_some(), "skep run … > FILE"),
        ("--templates", !cli.templates.is_empty(), "run it with sudo"),
        ("--machine", cli.machine.is_some(), "skep plan SCRIPT"),
        ("--btf", cli.btf.is_some(), "skep plan SCRIPT"),
        ("--stacks", cli.stacks.is_some(), "run it with sudo"),
    ];
    if let Some((option, _, help)) = stays.iter().find(|(_, given, _)| *given) {
        let error = Diagnostic::script(format!("`{option}` does not go through the helper"));
        return Err(error.help(*help).nowhere());
    }
    let mut options: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: String| options.push((name.to_owned(), value));
    let usual = Limits::default();
    let nanos = |time: Duration| format!("{}ns", time.as_nanos());
    cli.pid.iter().for_each(|pid| add("pid", pid.to_string()));
    cli.comm.iter().for_each(|comm| add("comm", comm.clone()));
    cli.cgroup.iter().for_each(|cgroup| add("cgroup", cgroup.clone()));
    cli.longest.iter().for_each(|time| add("for", nanos(*time)));
    cli.ttl.iter().for_each(|time| add("ttl", nanos(*time)));
    match cli.max_overhead {
        Allowance::Is(budget) => add("max-overhead", budget.to_string()),
        Allowance::Off => add("max-overhead", "off".to_owned()),
        Allowance::Unsaid | Allowance::Usual => {}
    }
    if cli.limits.probes != usual.probes {
        add("max-probes", cli.limits.probes.to_string());
    }
    cli.limits.memory.iter().for_each(|size| add("max-memory", size.to_string()));
    cli.limits.events.iter().for_each(|count| add("max-events", count.to_string()));
    cli.ring.iter().for_each(|size| add("ring", size.to_string()));
    match cli.format() {
        Format::Text => {}
        Format::Json => add("format", "json".to_owned()),
        Format::Csv => add("format", "csv".to_owned()),
    }
    if let Way::Copies { longest } = cli.unwind {
        add("unwind", format!("dwarf,{longest}"));
    }
    let flags = [
        ("follow-forks", cli.follow_forks),
        ("yes", cli.yes),
        ("strict", cli.strict),
        ("quiet", cli.quiet),
        ("inlines", cli.inlines),
        ("enforce", cli.enforce),
    ];
    flags.iter().filter(|(_, given)| *given).for_each(|(name, _)| add(name, String::new()));
    let script = match script.is_embedded() {
        true => Asked::Library(script.name.clone()),
        false => Asked::Text { called: script.name.clone(), text: script.text.to_string() },
    };
    Ok(Request { script, words: words.to_vec(), options })
}

/// The exit status of the run.
fn exchange(request: &Request, socket: &Path) -> io::Result<u8> {
    let mut stream = UnixStream::connect(socket)?;
    // A refusal may come before all of it was read.
    let _early = stream.write_all(format!("{}\n", request.written()).as_bytes());
    signals::watch()?;
    let (frames, shown) = sync_channel(16);
    let from = stream.try_clone()?;
    std::thread::Builder::new().spawn(move || {
        let mut from = BufReader::new(from);
        loop {
            let frame = frames::read(&mut from);
            let last = !matches!(frame, Ok(Some(_)));
            if frames.send(frame).is_err() || last {
                return;
            }
        }
    })?;
    loop {
        if signals::take().is_some() {
            // The run ends, and says what it has.
            stream.shutdown(Shutdown::Write)?;
        }
        match shown.recv_timeout(LOOK) {
            Ok(Ok(Some((Kind::Output, bytes)))) => {
                let mut out = io::stdout().lock();
                if out.write_all(&bytes).and_then(|()| out.flush()).is_err() {
                    // Nobody reads any more: as for everybody whose pipe is closed.
                    return Ok(0);
                }
            }
            // Nobody may read it.
            Ok(Ok(Some((Kind::Error, bytes)))) => drop(io::stderr().write_all(&bytes)),
            Ok(Ok(Some((Kind::Status, bytes)))) => return Ok(bytes.first().copied().unwrap_or(1)),
            Ok(Ok(None)) => return Err(io::Error::other("it went away")),
            Ok(Err(error)) => return Err(error),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("it went away")),
        }
    }
}
