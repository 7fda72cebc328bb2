//! Start, memory and end: from spawning a tracer until its first program has run, its peak memory, from SIGINT to exit.

use super::cases::Case;
use super::programs::{Programs, Tool};
use super::stats::Samples;
use super::table::{Cell, Goal, Row};
use super::tracer::Tracer;
use std::thread::sleep;
use std::time::Duration;

/// How long each tracer runs once it is attached: bpftrace forgets a SIGINT that comes before it waits for events.
const HOLD: Duration = Duration::from_millis(300);

/// Figures of one tool for one case.
#[derive(Default)]
struct Figures {
    first_ms: Samples,
    peak_mb: Samples,
    exit_ms: Samples,
    cpu_ms: Samples,
}

/// Three rows a case.
pub fn measure(programs: &Programs, cases: &[Case], repetitions: u32) -> Vec<Row> {
    let mut figures: Vec<[Figures; 3]> = cases.iter().map(|_| Default::default()).collect();
    for repetition in 0..repetitions {
        for (case, figures) in cases.iter().zip(&mut figures) {
            for tool in Tool::in_turn(repetition) {
                let figures = &mut figures[tool as usize];
                let Some(command) = case.command(programs, tool, std::process::id(), true) else { continue };
                if figures.first_ms.is_given_up() {
                    continue;
                }
                if let Err(message) = once(programs, &case.kind, &command, figures) {
                    figures.first_ms.fail(&format!("{} {}", tool.name(), case.name), &message);
                }
            }
        }
        eprintln!("start: repetition {} of {repetitions}", repetition + 1);
    }
    let rows = cases.iter().zip(&figures).map(|(case, figures)| {
        let row = |what: &str, unit, of: fn(&Figures) -> &Samples, goals| {
            let cell = |tool: Tool| match &figures[tool as usize] {
                _ if !programs.has(tool) => Cell::NotInstalled,
                figures => Cell::Measured(of(figures).clone()),
            };
            let cells = Tool::ALL.map(|tool| (tool, cell(tool))).to_vec();
            Row { area: "startup", what: format!("{}: {what}", case.name), unit, cells, goals }
        };
        [
            row("start to attached", "ms", |figures| &figures.first_ms, vec![Goal::AtMost(0.04, Tool::Bpftrace)]),
            row("peak memory", "MB", |figures| &figures.peak_mb, vec![Goal::AtMost(0.07, Tool::Bpftrace)]),
            row("CPU time, start to exit", "ms", |figures| &figures.cpu_ms, vec![Goal::AtMost(0.06, Tool::Bpftrace)]),
            row("SIGINT to exit", "ms", |figures| &figures.exit_ms, vec![Goal::AtMost(0.1, Tool::Bpftrace)]),
        ]
    });
    rows.flatten().collect()
}

fn once(programs: &Programs, kind: &str, command: &[String], figures: &mut Figures) -> Result<(), String> {
    let tracer = Tracer::start(programs, kind, None, command)?;
    sleep(HOLD);
    let first_ms = tracer.first_ms;
    let ended = tracer.end()?;
    figures.first_ms.push(first_ms);
    figures.peak_mb.push(ended.peak_kb / 1024.0);
    figures.exit_ms.push(ended.exit_ms);
    figures.cpu_ms.push(ended.cpu_ms);
    Ok(())
}
