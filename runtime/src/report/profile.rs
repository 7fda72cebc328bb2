//! Profiles of tables with call chains: what flame graphs and pprof are made of.

use super::{text, units};
use crate::aggregate::cell::Kind;
use crate::aggregate::column::{ColumnType, Names, Value};
use crate::aggregate::{Measure, Row, Table};
use crate::report::units::Shown;
use skep_flamegraphs::profile::{Frame, Label, Profile, Stack, ValueType};
use std::sync::Arc;

/// Columns that mark a stack, and would only cut a graph to pieces.
const MARKS: [&str; 5] = ["pid", "tid", "cpu", "cgroup", "uid"];

/// A table's rows as stacks: its other columns become labels, and those that people group by (`comm`) the frames at the
/// root. Under them a process's functions, and the kernel's on top of those. Values are counts, or what was summed up.
pub fn of(table: &Table, title: &str, names: &dyn Names) -> Profile {
    let spec = &table.spec;
    let mut profile = Profile::new(title, vec![value_type(table)]);
    if let (Kind::Count, Some(period)) = (spec.kind, spec.period) {
        let cpu = ValueType::new("cpu", "nanoseconds");
        profile.types.push(cpu.clone());
        profile.period = Some((cpu, period));
    }
    if let Some((started, duration)) = table.ran {
        (profile.started, profile.duration) = (Some(started), duration);
    }
    for row in table.rows() {
        let value = value(&row.value);
        if value == 0 {
            continue;
        }
        let values = [value].into_iter().chain(profile.period.iter().map(|(_, period)| value * period)).collect();
        let labels = marks(row, &spec.key).map(|(column, value)| (column.name.clone(), label(value, column, names)));
        let labels = labels.collect();
        profile.stacks.push(Stack { frames: frames(row, &spec.key, names), values, labels });
    }
    profile
}

/// Has its key a call chain?
pub fn has_stacks(table: &Table) -> bool {
    table.spec.key.iter().any(ColumnType::is_stack)
}

fn marks<'a>(row: &'a Row, columns: &'a [ColumnType]) -> impl Iterator<Item = (&'a ColumnType, &'a Value)> {
    columns.iter().zip(&row.key).filter(|(column, _)| !column.is_stack())
}

/// The root first. A process's functions stand below the kernel's; where there are more chains, in the key's order. A
/// group behind a chain is who comes to meet it, such as a waker: its chain stands on its head, as drawn by B. Gregg's
/// off-wake graphs.
fn frames(row: &Row, columns: &[ColumnType], names: &dyn Names) -> Vec<Arc<Frame>> {
    let mut both: Vec<(&ColumnType, &Value)> = columns.iter().zip(&row.key).collect();
    if columns.iter().filter(|column| column.is_stack()).count() <= 2 {
        // Groups, the process, the kernel: a stable sort.
        both.sort_by_key(|(column, _)| (column.is_stack(), column.is_stack() && !column.is_user_stack()));
    }
    let (mut frames, mut chains, mut meets) = (Vec::new(), 0, false);
    for (column, value) in both {
        match value {
            Value::Stack(chain) if meets => frames.extend(chain.iter().cloned()),
            Value::Stack(chain) => {
                chains += 1;
                frames.extend(chain.iter().rev().cloned());
            }
            _ if MARKS.contains(&column.name.as_str()) => {}
            _ => {
                meets = chains > 0;
                frames.push(Arc::new(Frame::group(&text::value(value, column, names))));
            }
        }
    }
    frames
}

fn label(value: &Value, column: &ColumnType, names: &dyn Names) -> Label {
    match units::show(value, Some(column), names) {
        Shown::Integer(number) => i64::try_from(number).map_or_else(|_| Label::Text(number.to_string()), Label::Number),
        Shown::Float(number) => Label::Text(number.to_string()),
        Shown::Text(text) => Label::Text(text.into_owned()),
    }
}

/// What a row weighs: negative sums have no place in a graph.
fn value(measure: &Measure) -> u64 {
    match measure {
        Measure::Count(n) => *n,
        Measure::Sum(value) | Measure::Min(value) | Measure::Max(value) => u64::try_from(*value).unwrap_or(0),
        Measure::Avg { sum, .. } | Measure::Stats { sum, .. } => u64::try_from(*sum).unwrap_or(0),
        Measure::Histogram(histogram) => histogram.count(),
    }
}

pub(super) fn value_type(table: &Table) -> ValueType {
    let spec = &table.spec;
    if spec.kind == Kind::Count || spec.kind.has_buckets() {
        return ValueType::new(if spec.period.is_some() { "samples" } else { "events" }, "count");
    }
    match spec.name.as_str() {
        "ns" | "nsecs" => ValueType::new("time", "nanoseconds"),
        "us" | "usecs" => ValueType::new("time", "microseconds"),
        "ms" | "msecs" => ValueType::new("time", "milliseconds"),
        "bytes" => ValueType::new("space", "bytes"),
        "" => ValueType::new(spec.kind.name(), "count"),
        name => ValueType::new(name, "count"),
    }
}
