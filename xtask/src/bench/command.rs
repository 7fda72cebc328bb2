//! Arguments, areas in their order, and where the result goes.

use super::overhead::Batches;
use super::programs::Programs;
use super::table::{Row, markdown};
use super::tools::Tool;
use super::{budget, cases, compiler, flame, machine, overhead, places, policy, replay, scale, sinks, startup, stream};
use crate::dist;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

pub const USAGE: &str = "       cargo xtask bench [AREA...]      compare with bpftrace and C; as root. Areas: startup overhead span sched uprobe stream flame policy replay budget scale compiler
         --quick                 3 short repetitions, not 7
         --skep PATH             this skep, not a release build
         --write                 the result also to docs/benchmarks.md
       environment: BPFTRACE     command line of another bpftrace
                    LIBBPF_SYSCOUNT, LIBBPF_PROFILE     of libbpf-tools' syscount and profile
                    BCC_ARGDIST  of BCC's argdist";

const AREAS: [&str; 12] = [
    "startup", "overhead", "span", "sched", "uprobe", "stream", "flame", "policy", "replay", "budget", "scale",
    "compiler",
];

struct Arguments {
    areas: Vec<String>,
    quick: bool,
    skep: Option<PathBuf>,
    write: bool,
}

/// Measures, prints a table, and with `--write` writes it, before what people said of the one before.
///
/// # Errors
/// Wrong arguments, no privilege, no C compiler, or a load that fails; goals that are missed are no error.
pub fn run(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let arguments = parse(arguments)?;
    let uid = fs::metadata("/proc/self").map_or(1, |metadata| metadata.uid());
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    if uid != 0 || cpus < 2 {
        return Err("bench: needs root, and two CPUs".to_owned());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let skep = match &arguments.skep {
        Some(path) => path.clone(),
        None => dist::build(root, &target)?,
    };
    let programs = Programs::prepare(root, &target, skep)?;
    let (rows, notes) = measure(root, &target, &programs, &arguments)?;
    let text = document(&machine::describe(&programs), &rows, &notes, arguments.quick);
    println!("{text}");
    if arguments.write {
        let path = root.join("docs/benchmarks.md");
        let written = fs::read_to_string(&path).unwrap_or_default();
        fs::write(&path, text + said(&written))
            .map_err(|error| format!("failed to write {}: {error}", path.display()))?;
    }
    Ok(())
}

fn parse(words: &[&str]) -> Result<Arguments, String> {
    let mut arguments = Arguments { areas: Vec::new(), quick: false, skep: None, write: false };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--quick" => arguments.quick = true,
            "--write" => arguments.write = true,
            "--skep" => arguments.skep = Some(words.next().ok_or(USAGE)?.into()),
            area if AREAS.contains(&area) => arguments.areas.push(area.to_owned()),
            other => return Err(format!("bench: what is `{other}`?\nusage:\n{USAGE}")),
        }
    }
    if arguments.areas.is_empty() {
        arguments.areas = AREAS.map(str::to_owned).to_vec();
    }
    Ok(arguments)
}

fn measure(
    root: &Path,
    target: &Path,
    programs: &Programs,
    arguments: &Arguments,
) -> Result<(Vec<Row>, Vec<String>), String> {
    let quick = arguments.quick;
    let repetitions = if quick { 3 } else { 7 };
    let (mut rows, mut notes) = (Vec::new(), Vec::new());
    for area in AREAS.iter().filter(|area| arguments.areas.iter().any(|wanted| wanted == *area)) {
        match *area {
            "startup" => {
                let cases = [cases::count_by_pid(), cases::histogram()];
                rows.extend(startup::measure(programs, &cases, repetitions));
            }
            "overhead" | "span" | "sched" => {
                let cases = match *area {
                    "span" => vec![cases::span()],
                    "sched" => places::switches(),
                    _ => cases::counted(),
                };
                let batches =
                    if quick { Batches { count: 5, calls: 20_000 } } else { Batches { count: 15, calls: 40_000 } };
                rows.extend(overhead::measure(programs, area, &cases, repetitions, batches)?);
            }
            "uprobe" => {
                let batches =
                    if quick { Batches { count: 5, calls: 2_000 } } else { Batches { count: 15, calls: 5_000 } };
                rows.extend(overhead::measure(programs, "uprobe", &places::functions(programs), repetitions, batches)?);
            }
            "flame" => {
                let (graphs, alike) = flame::measure(programs, repetitions);
                rows.extend(graphs);
                notes.extend(alike);
            }
            "replay" => rows.extend(replay::measure(programs, repetitions, if quick { 0.5 } else { 1.0 })?),
            "budget" => rows.extend(budget::measure(programs, quick)?),
            "compiler" => rows.extend(compiler::measure(programs)?),
            "scale" => rows.extend(scale::measure(programs, repetitions, quick)?),
            "policy" => {
                let example = policy::build(root, target)?;
                rows.extend(policy::measure(programs, &example, repetitions)?);
            }
            _ => {
                let (rates, seconds) = if quick { (stream::FEW_RATES, 0.5) } else { (stream::RATES, 1.0) };
                let (streams, lost) = stream::measure(programs, rates, repetitions, seconds)?;
                rows.extend(streams);
                rows.extend(sinks::measure(programs, rates, repetitions, seconds)?);
                notes.extend(lost.into_iter().chain([sinks::CLOSURES.to_owned()]));
            }
        }
    }
    if rows.iter().any(|row| row.cells.iter().any(|(tool, _)| matches!(tool, Tool::LibbpfTools | Tool::Bcc))) {
        notes.insert(0, cases::OTHERS.to_owned());
    }
    Ok((rows, notes))
}

/// What people say of the figures: from the first heading below the title on.
fn said(written: &str) -> &str {
    written.find("\n## ").map_or("", |at| &written[at..])
}

fn document(machine: &str, rows: &[Row], notes: &[String], quick: bool) -> String {
    let repetitions =
        if quick { "3 short repetitions: a check that it runs, not a measurement" } else { "7 repetitions" };
    let mut text = format!(
        "# Benchmarks\n\n\
         Written by `cargo xtask bench --write`. {machine}\n\n\
         Medians of {repetitions}; smallest and largest in brackets; the tools take turns within each repetition. C is\n\
         written by hand with libbpf (tests/bench). Costs are CPU time of the traced thread, less the time without a\n\
         tracer. Streams are printed to a file in memory and its lines counted; rates are what the load really made, and a\n\
         tracer that is woken for every event slows the load. Ratios are of medians. Other machines give other figures.\n\n{}",
        markdown(rows)
    );
    for (n, note) in notes.iter().enumerate() {
        text += if n == 0 { "\n" } else { "" };
        text += &format!("- {note}\n");
    }
    text
}
