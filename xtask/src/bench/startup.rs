//! Start, memory and end: from spawning a tracer until its first program has run, its peak memory, from SIGINT to exit.

use super::case::{Case, columns};
use super::programs::Programs;
use super::stats::Samples;
use super::table::{Cell, Goal, Row};
use super::tools::Tool;
use super::tracer::Tracer;
use std::collections::BTreeMap;
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

/// Four rows a case.
pub fn measure(programs: &Programs, cases: &[Case], repetitions: u32) -> Vec<Row> {
    let tools = columns(cases);
    let mut measured: BTreeMap<(usize, Tool), Figures> = BTreeMap::new();
    for repetition in 0..repetitions {
        for (n, case) in cases.iter().enumerate() {
            for tool in Tool::in_turn(&tools, repetition) {
                let figures = measured.entry((n, tool)).or_default();
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
    let rows = cases.iter().enumerate().map(|(n, case)| {
        let row = |what: &str, unit, of: fn(&Figures) -> &Samples, goals| {
            let cell = |tool: Tool| match (case.cell(programs, tool), measured.get(&(n, tool))) {
                (Cell::Measured(_), Some(figures)) => Cell::Measured(of(figures).clone()),
                (cell, _) => cell,
            };
            let cells = tools.iter().map(|tool| (*tool, cell(*tool))).collect();
            Row { area: "startup", what: format!("{}: {what}", case.name), unit, cells, goals }
        };
        let mut start = vec![Goal::AtMost(0.04, Tool::Bpftrace)];
        if case.cell(programs, Tool::LibbpfTools) != Cell::NotMeasured {
            start.push(Goal::AtMost(0.5, Tool::LibbpfTools));
        }
        [
            row("start to attached", "ms", |figures| &figures.first_ms, start),
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
