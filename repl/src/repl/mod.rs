//! `skep repl`, or `skep` alone on a terminal: a session. The terminal and the lines of JSON are fronts of the same thing,
//! `skep_runtime::interactive`.

mod helper;
mod history;
mod json;
mod terminal;

use crate::args::Cli;
use crate::audit;
use crate::run::{self, catalog, library, runner_on, show, style};
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::interactive::Interactive;
use skep_runtime::interactive::console::Console;
use skep_runtime::interactive::knowledge::Known;
use skep_runtime::interactive::request::Request;
use skep_runtime::interactive::screen::{Front, Screen};
use skep_runtime::kernel::load::text;
use skep_runtime::kernel::privilege;
use skep_runtime::recording::Tape;
use skep_runtime::report::text::Style;
use skep_runtime::script::host::Mode;
use skep_runtime::script::output::{Format, Output};
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

pub fn repl(cli: &Cli, json: bool, vi: bool) -> u8 {
    if let Some((option, help)) = out_of_place(cli) {
        let error = Diagnostic::script(format!("`{option}` is for scripts, and nothing in a session"));
        return show(&error.help(help), None);
    }
    let (sender, requests) = unbounded_channel::<Request>();
    let known = Arc::new(Mutex::new(Known::default()));
    let outcome = if json || cli.json {
        start(cli, Box::new(json::Lines), Format::Json, Style::default(), requests, &known).map(|mut console| {
            json::read(sender);
            ended(&mut console)
        })
    } else {
        let (front, printer) = terminal::front();
        start(cli, front, Format::Text, style(cli), requests, &known).and_then(|mut console| {
            greet(&console);
            let catalog = catalog(cli)?;
            let restored = terminal::keep();
            terminal::read(terminal::Typing { sender, known: known.clone(), catalog, vi, printer });
            let status = ended(&mut console);
            restored.restore();
            Ok(status)
        })
    };
    match outcome {
        // The thread that reads may wait for a key still; its time is over.
        Ok(status) => std::process::exit(status),
        Err(diagnostic) => show(&diagnostic, None),
    }
}

/// An option that means nothing where somebody types, and what does instead.
fn out_of_place(cli: &Cli) -> Option<(&'static str, &'static str)> {
    match () {
        () if cli.command.is_some() => Some(("--command", "start it in another terminal, and skep repl -p PID")),
        () if !cli.output.is_empty() => Some(("--output", "flame(t), or t.value().flamegraph(\"cpu.svg\")")),
        () if cli.machine.is_some() || cli.btf.is_some() => Some(("--btf", "skep plan SCRIPT --btf FILE")),
        () => None,
    }
}

fn start(
    cli: &Cli,
    front: Box<dyn Front>,
    format: Format,
    style: Style,
    requests: UnboundedReceiver<Request>,
    known: &Arc<Mutex<Known>>,
) -> Result<Console, Diagnostic> {
    let screen = Screen::new(front);
    let output = Output::on_screen(&screen, format, style);
    let runner = runner_on(cli, &[], Mode::Interactive, None, None, output, Tape::Off)?;
    let failed =
        |error: std::io::Error| Diagnostic::machine(format!("failed to start the event loop: {}", text(&error)));
    runner.host.note_in(audit::chosen(cli, audit::of("skep repl")));
    let interactive = Interactive::new(screen, requests).map_err(failed)?;
    // Nobody else has it yet.
    let _new = runner.host.interactive.set(interactive);
    let mut console = Console::new(runner, library(), known.clone());
    let again = cli.clone();
    console.planner = Some(Box::new(move |script| {
        let mut runner = run::runner(&again, &[], Mode::Plan, None, None)?;
        runner.host.output.borrow_mut().mute();
        runner.run(script)
    }));
    Ok(console)
}

/// The whole session, and its end in the audit log.
fn ended(console: &mut Console) -> i32 {
    let status = console.run();
    audit::ended(console.host(), status as u8, None);
    status
}

fn greet(console: &Console) {
    let version = env!("CARGO_PKG_VERSION");
    console.tell(&format!("skep {version}: :help, :tutorial; Tab completes; Ctrl-D detaches everything and leaves"));
    let missing = privilege::missing(&["CAP_BPF", "CAP_PERFMON"]);
    if !missing.is_empty() {
        console.tell(&format!("nothing can be attached: {} missing   (sudo skep)", missing.join(" and ")));
    }
}
