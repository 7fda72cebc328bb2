//! What an event costs the process that is traced: CPU time a call with a tracer attached, less the time without.
//!
//! The base is measured before and after, and the smaller one is subtracted. Also for uprobes.

use super::case::Case;
use super::load::{Load, TRACER_CPU};
use super::programs::Programs;
use super::table::Row;
use super::tracer::Tracer;
use super::turns;
use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

/// Between attaching and measuring: the tracer does its last chores, and the kernel stops counting runs.
const SETTLE: Duration = Duration::from_millis(100);

/// Batches and calls of one measurement.
#[derive(Clone, Copy)]
pub struct Batches {
    pub count: u32,
    pub calls: u32,
}

/// A row a case.
///
/// # Errors
/// The load fails; a tracer that fails only has no figure.
pub fn measure(
    programs: &Programs,
    area: &'static str,
    cases: &[Case],
    repetitions: u32,
    batches: Batches,
) -> Result<Vec<Row>, String> {
    let mut loads: BTreeMap<&str, Load> = BTreeMap::new();
    for case in cases {
        if !loads.contains_key(case.kind.as_str()) {
            loads.insert(&case.kind, Load::batches(programs, &case.kind, batches.count, batches.calls)?);
        }
    }
    turns::measure(programs, (area, "ns added per event"), cases, repetitions, |case, tool, samples| {
        let load = loads.get_mut(case.kind.as_str()).ok_or("no load")?;
        let Some(command) = case.command(programs, tool, load.pid, true) else { return Ok(()) };
        let before = load.cost()?;
        let with = match Tracer::start(programs, &case.kind, Some(TRACER_CPU), &command) {
            Ok(tracer) => {
                sleep(SETTLE);
                let with = load.cost()?;
                tracer.end().map(|_ended| with)
            }
            Err(message) => Err(message),
        };
        let after = load.cost()?;
        match with {
            Ok(with) => samples.push(with - before.min(after)),
            Err(message) => samples.fail(&format!("{} {}", tool.name(), case.name), &message),
        }
        Ok(())
    })
}
