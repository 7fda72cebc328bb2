//! Sinks: what an event costs a tracer by where it goes, at a rate that all of them keep up with.

use super::cases;
use super::flow::Flow;
use super::load::Load;
use super::programs::Programs;
use super::stream::COMMON_RATE;
use super::table::Row;
use super::tools::Tool;
use super::turns;
use std::path::Path;

/// A row a sink.
///
/// # Errors
/// The load fails; a tracer that fails, or says that it lost events, only has no figure.
pub fn measure(programs: &Programs, repetitions: u32, seconds: f64) -> Result<Vec<Row>, String> {
    let sinks = [cases::print_to_nobody(), cases::print_as_json(), cases::each_to_closure()];
    let mut load = Load::paced(programs, &sinks[0].kind, COMMON_RATE, seconds)?;
    turns::measure(programs, ("stream", "us per event"), &sinks, repetitions, |case, tool, samples| {
        let Some(command) = case.command(programs, tool, load.pid, false) else { return Ok(()) };
        let output = case.is_discarded.then_some(Path::new("/dev/null"));
        match Flow::of(programs, &case.kind, &mut load, &command, output) {
            // bpftrace does not tell; what it may have lost makes its figure smaller.
            Ok(flow) if tool == Tool::Bpftrace || has_all(&flow.ended.errors) => samples.push(flow.cost_us()),
            Ok(flow) => samples.fail(&format!("{} {}", tool.name(), case.name), &flow.ended.errors),
            Err(message) => samples.fail(&format!("{} {}", tool.name(), case.name), &message),
        }
        Ok(())
    })
}

/// skep says `0 lost`, tests/bench/tracer.c `lost 0`.
fn has_all(errors: &str) -> bool {
    errors.ends_with("lost 0") || errors.lines().any(|line| line.contains(" 0 lost"))
}
