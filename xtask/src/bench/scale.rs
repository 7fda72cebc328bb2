//! Scale: how long it takes to attach many probes, to print many keys, and many call chains by their functions' names.

use super::case::Case;
use super::cases;
use super::load::Load;
use super::programs::Programs;
use super::stats::Samples;
use super::table::{Cell, Goal, Row};
use super::tools::Tool;
use super::tracer::Tracer;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

const PROBES: [u32; 4] = [1, 10, 100, 1_000];
const KEYS: [u32; 4] = [1, 1_000, 100_000, 1_000_000];
const CHAINS: [u32; 4] = [1, 100, 1_000, 4_000];
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
        let library = library(programs, "many", *probes, &many(*probes))?;
        let case = cases::all_functions(&library, "many_0");
        let [starts, ends] = timed(programs, &case, None, repetitions, || Ok(()))?;
        let goals = if *probes == 1_000 { vec![Goal::AtMost(0.3, Tool::Bpftrace)] } else { Vec::new() };
        rows.push(row(format!("{probes} uprobes: start to attached"), starts, goals));
        rows.push(row(format!("{probes} uprobes: SIGINT to exit"), ends, Vec::new()));
    }
    for keys in &KEYS[..most] {
        let case = cases::keys(*keys);
        let mut load = Load::batches(programs, &case.kind, 1, *keys)?;
        let [_, ends] = timed(programs, &case, None, repetitions, || load.cost().map(drop))?;
        let goals = if *keys == 100_000 { vec![Goal::AtMost(0.15, Tool::Bpftrace)] } else { Vec::new() };
        rows.push(row(format!("{keys} keys: SIGINT to exit, all printed"), ends, goals));
    }
    for chains in &CHAINS[..most] {
        let library = library(programs, "steps", *chains, &steps(*chains))?;
        let case = cases::chains(&library, "all");
        let mut load = Load::batches(programs, &case.kind, 1, 1)?;
        let pid = load.pid;
        let [_, ends] = timed(programs, &case, Some(pid), repetitions, || load.cost().map(drop))?;
        rows.push(row(format!("{chains} call chains: SIGINT to exit, all printed by name"), ends, Vec::new()));
    }
    Ok(rows)
}

/// Start and end of each tool, in milliseconds; `work` is what happens in between, by `pid` if that matters.
fn timed(
    programs: &Programs,
    case: &Case,
    pid: Option<u32>,
    repetitions: u32,
    mut work: impl FnMut() -> Result<(), String>,
) -> Result<[Vec<(Tool, Cell)>; 2], String> {
    let mut cells = [Vec::new(), Vec::new()];
    for tool in TOOLS {
        let (mut starts, mut ends) = (Samples::default(), Samples::default());
        for _ in 0..repetitions {
            let Some(command) = case.command(programs, tool, pid.unwrap_or_else(std::process::id), true) else {
                continue;
            };
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

/// Functions for probes.
fn many(count: u32) -> String {
    let function = |n| format!("int many_{n}(const void *a) {{ return a == __builtin_frame_address(0); }}\n");
    (0..count).map(function).collect()
}

/// Functions that `all` calls in turn, each of which makes a system call. They have frames: what makes it is not they
/// themselves, and not the last thing that they do.
fn steps(count: u32) -> String {
    let step = |n| format!("int step_{n}(void) {{ return enter() + {n}; }}\n");
    let calls: String = (0..count).map(|n| format!("\tsum += step_{n}();\n")).collect();
    let steps: String = (0..count).map(step).collect();
    format!(
        "#include <sys/syscall.h>\n#include <unistd.h>\n\
         static __attribute__((noinline)) int enter(void) {{ return (int)syscall(SYS_getpgid, 0) + 1; }}\n\
         {steps}int all(void)\n{{\n\tint sum = 0;\n{calls}\treturn sum;\n}}\n"
    )
}

fn library(programs: &Programs, name: &str, functions: u32, source: &str) -> Result<String, String> {
    let (file, library) = (programs.scratch("many.c"), programs.built(&format!("lib{name}{functions}.so")));
    fs::write(&file, source).map_err(|error| format!("{}: {error}", file.display()))?;
    programs.compile_library(&file, &library)?;
    Ok(library.display().to_string())
}
