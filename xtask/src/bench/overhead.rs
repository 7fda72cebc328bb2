//! What an event costs the process that is traced: CPU time a call with a tracer attached, less the time without.
//!
//! The base is measured before and after, and the smaller one is subtracted. Also for uprobes.

use super::case::{Case, columns};
use super::load::{Load, TRACER_CPU};
use super::programs::Programs;
use super::table::{Cell, Row};
use super::tools::Tool;
use super::tracer::Tracer;
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
    let tools = columns(cases);
    let blank = |case: &Case| tools.iter().map(|tool| (*tool, case.cell(programs, *tool))).collect();
    let mut rows: Vec<BTreeMap<Tool, Cell>> = cases.iter().map(blank).collect();
    for repetition in 0..repetitions {
        for (case, cells) in cases.iter().zip(&mut rows) {
            let Some(load) = loads.get_mut(case.kind.as_str()) else { continue };
            for tool in Tool::in_turn(&tools, repetition) {
                let (Some(Cell::Measured(samples)), Some(command)) =
                    (cells.get_mut(&tool), case.command(programs, tool, load.pid, true))
                else {
                    continue;
                };
                if samples.is_given_up() {
                    continue;
                }
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
            }
        }
        eprintln!("{area}: repetition {} of {repetitions}", repetition + 1);
    }
    let rows = cases.iter().zip(rows).map(|(case, cells)| Row {
        area,
        what: case.name.to_owned(),
        unit: "ns added per event",
        cells: cells.into_iter().collect(),
        goals: case.goals.clone(),
    });
    Ok(rows.collect())
}
