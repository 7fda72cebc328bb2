//! Cases and tools in turn, over and over: whatever else the machine does meets all of them alike.

use super::case::{Case, columns};
use super::programs::Programs;
use super::stats::Samples;
use super::table::{Cell, Row};
use super::tools::Tool;
use std::collections::BTreeMap;

/// A row a case, of what `once` measures of it by one tool. A tool that failed too often is left alone.
///
/// # Errors
/// Those of `once`; what only a tool is to blame for is noted in its samples.
pub fn measure(
    programs: &Programs,
    (area, unit): (&'static str, &'static str),
    cases: &[Case],
    repetitions: u32,
    mut once: impl FnMut(&Case, Tool, &mut Samples) -> Result<(), String>,
) -> Result<Vec<Row>, String> {
    let tools = columns(cases);
    let blank = |case: &Case| tools.iter().map(|tool| (*tool, case.cell(programs, *tool))).collect();
    let mut rows: Vec<BTreeMap<Tool, Cell>> = cases.iter().map(blank).collect();
    for repetition in 0..repetitions {
        for (case, cells) in cases.iter().zip(&mut rows) {
            for tool in Tool::in_turn(&tools, repetition) {
                match cells.get_mut(&tool) {
                    Some(Cell::Measured(samples)) if !samples.is_given_up() => once(case, tool, samples)?,
                    _ => (),
                }
            }
        }
        eprintln!("{area}: repetition {} of {repetitions}", repetition + 1);
    }
    let row = |(case, cells): (&Case, BTreeMap<Tool, Cell>)| Row {
        area,
        what: case.name.to_owned(),
        unit,
        cells: cells.into_iter().collect(),
        goals: case.goals.clone(),
    };
    Ok(cases.iter().zip(rows).map(row).collect())
}
