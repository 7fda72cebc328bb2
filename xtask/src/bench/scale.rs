//! Scale: how long it takes to attach many probes, and to print many keys.

use super::cases::{self, Case};
use super::load::Load;
use super::programs::{Programs, Tool};
use super::stats::Samples;
use super::table::{Cell, Goal, Row};
use super::tracer::Tracer;
use std::fmt::Write;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

const PROBES: [u32; 4] = [1, 10, 100, 1_000];
const KEYS: [u32; 4] = [1, 1_000, 100_000, 1_000_000];
const TOOLS: [Tool; 2] = [Tool::Skep, Tool::Bpftrace];
/// bpftrace forgets a SIGINT that comes before it waits for events.
const HOLD: Duration = Duration::from_millis(300);

/// Rows by the number of probes, then by that of keys.
///
/// # Errors
/// The load or a library does not compile; a tracer that fails only has no figure.
pub fn measure(programs: &Programs, repetitions: u32, quick: bool) -> Result<Vec<Row>, String> {
    let most = if quick { 3 } else { 4 };
    let mut rows = Vec::new();
    for probes in &PROBES[..most] {
        let library = library(programs, *probes)?;
        let case = cases::all_functions(&library, "many_0");
        let [starts, ends] = timed(programs, &case, repetitions, || Ok(()))?;
        let goals = if *probes == 1_000 { vec![Goal::AtMost(0.3, Tool::Bpftrace)] } else { Vec::new() };
        rows.push(row(format!("{probes} uprobes: start to attached"), starts, goals));
        rows.push(row(format!("{probes} uprobes: SIGINT to exit"), ends, Vec::new()));
    }
    for keys in &KEYS[..most] {
        let case = cases::keys(*keys);
        let mut load = Load::batches(programs, &case.kind, 1, *keys)?;
        let [_, ends] = timed(programs, &case, repetitions, || load.cost().map(drop))?;
        let goals = if *keys == 100_000 { vec![Goal::AtMost(0.15, Tool::Bpftrace)] } else { Vec::new() };
        rows.push(row(format!("{keys} keys: SIGINT to exit, all printed"), ends, goals));
    }
    Ok(rows)
}

/// Start and end of each tool, in milliseconds; `work` is what happens in between.
fn timed(
    programs: &Programs,
    case: &Case,
    repetitions: u32,
    mut work: impl FnMut() -> Result<(), String>,
) -> Result<[Vec<(Tool, Cell)>; 2], String> {
    let mut cells = [Vec::new(), Vec::new()];
    for tool in TOOLS {
        let (mut starts, mut ends) = (Samples::default(), Samples::default());
        for _ in 0..repetitions {
            let Some(command) = case.command(programs, tool, std::process::id(), true) else { continue };
            if starts.is_given_up() {
                continue;
            }
            match Tracer::start(programs, &case.kind, None, &command) {
                Ok(tracer) => {
                    sleep(HOLD);
                    work()?;
                    starts.push(tracer.first_ms);
                    ends.push(tracer.end()?.exit_ms);
                }
                Err(message) => starts.fail(tool.name(), &message),
            }
        }
        for (cells, samples) in cells.iter_mut().zip([starts, ends]) {
            cells.push((tool, if programs.has(tool) { Cell::Measured(samples) } else { Cell::NotInstalled }));
        }
        eprintln!("scale: {} of {}", tool.name(), case.kind);
    }
    Ok(cells)
}

fn row(what: String, cells: Vec<(Tool, Cell)>, goals: Vec<Goal>) -> Row {
    Row { area: "scale", what, unit: "ms", cells, goals }
}

/// A library of so many functions.
fn library(programs: &Programs, functions: u32) -> Result<String, String> {
    let mut source = String::new();
    for n in 0..functions {
        // Writing to a string cannot fail.
        let _infallible = writeln!(source, "int many_{n}(const void *a) {{ return a == __builtin_frame_address(0); }}");
    }
    let (file, library) = (programs.scratch("many.c"), programs.built(&format!("libmany{functions}.so")));
    fs::write(&file, source).map_err(|error| format!("{}: {error}", file.display()))?;
    programs.compile_library(&file, &library)?;
    Ok(library.display().to_string())
}
