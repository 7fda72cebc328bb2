//! Sinks: what an event costs a tracer by where it goes, at a rate that all of them keep up with, and how many skep keeps up
//! with there.

use super::case::Case;
use super::cases;
use super::flow::Flow;
use super::load::Load;
use super::programs::Programs;
use super::stats::Samples;
use super::stream::COMMON_RATE;
use super::table::{Cell, Row};
use super::tools::Tool;
use super::turns;
use std::path::Path;

/// What is beside a closure.
pub const CLOSURES: &str = "bpftrace knows no closures: beside skep's it prints.";

/// Two rows a sink.
///
/// # Errors
/// The load fails; a tracer that fails, or says that it lost events, only has no figure.
pub fn measure(programs: &Programs, rates: &[u32], repetitions: u32, seconds: f64) -> Result<Vec<Row>, String> {
    let sinks = [cases::print_to_nobody(), cases::print_as_json(), cases::each_to_closure()];
    let mut rows = Vec::new();
    for case in &sinks {
        let mut best = Samples::default();
        for _ in 0..repetitions {
            best.push(lossless(programs, case, rates, seconds)?);
        }
        let others = [Tool::Bpftrace, Tool::C].map(|tool| (tool, Cell::NotMeasured));
        let cells = [(Tool::Skep, Cell::Measured(best))].into_iter().chain(others).collect();
        let what = format!("highest rate that loses nothing, {}", case.name);
        rows.push(Row { area: "stream", what, unit: "events/s", cells, goals: Vec::new() });
        eprintln!("stream: rates {}", case.name);
    }
    let mut load = Load::paced(programs, &sinks[0].kind, COMMON_RATE, seconds)?;
    let costs = turns::measure(programs, ("stream", "us per event"), &sinks, repetitions, |case, tool, samples| {
        match flow(programs, case, tool, &mut load) {
            // bpftrace does not tell; what it may have lost makes its figure smaller.
            Ok(flow) if tool == Tool::Bpftrace || has_all(&flow) => samples.push(flow.cost_us()),
            Ok(flow) => samples.fail(&format!("{} {}", tool.name(), case.name), &flow.ended.errors),
            Err(message) => samples.fail(&format!("{} {}", tool.name(), case.name), &message),
        }
        Ok(())
    });
    rows.extend(costs?.into_iter().map(|row| {
        let what = format!("CPU time of the tracer at 50,000 events/s, {}", row.what);
        Row { what, ..row }
    }));
    Ok(rows)
}

/// The highest rate that skep delivers all events at. Two losses in a row end the search: one may be an accident.
fn lossless(programs: &Programs, case: &Case, rates: &[u32], seconds: f64) -> Result<f64, String> {
    let (mut best, mut losses) = (0.0f64, 0);
    for rate in rates {
        let mut load = Load::paced(programs, &case.kind, *rate, seconds)?;
        let flow = flow(programs, case, Tool::Skep, &mut load)?;
        losses = if has_all(&flow) { 0 } else { losses + 1 };
        match losses {
            0 => best = best.max(flow.produced as f64 / flow.seconds),
            1 => (),
            _ => break,
        }
    }
    Ok(best)
}

fn flow(programs: &Programs, case: &Case, tool: Tool, load: &mut Load) -> Result<Flow, String> {
    let command = case.command(programs, tool, load.pid, false).ok_or("not installed")?;
    let output = case.is_discarded.then_some(Path::new("/dev/null"));
    Flow::of(programs, &case.kind, load, &command, output)
}

/// skep says `0 lost`, tests/bench/tracer.c `lost 0`.
fn has_all(flow: &Flow) -> bool {
    flow.ended.errors.ends_with("lost 0") || flow.ended.errors.contains(" 0 lost")
}
