//! Tables with call chains: each row's other columns in a line, its functions below it, the innermost first.

use super::text::{self, Style};
use super::{columns, profile, units};
use crate::aggregate::column::{ColumnType, Names, Value};
use crate::aggregate::{Measure, Row, Table};
use skep_flamegraphs::profile::Frame;
use skep_flamegraphs::unit;
use std::io::{self, Write};

/// Has the key a call chain in it?
pub fn has_chains(table: &Table) -> bool {
    let columns = &table.spec.key;
    columns.iter().any(ColumnType::is_stack) && table.rows().iter().any(|row| row.key.iter().any(is_chain))
}

fn is_chain(value: &Value) -> bool {
    matches!(value, Value::Stack(_))
}

/// Writes the rows; of a histogram what fits a line.
///
/// # Errors
/// Those of `out`.
pub fn rows(out: &mut impl Write, table: &Table, names: &dyn Names, style: &Style) -> io::Result<()> {
    for (n, row) in table.rows().iter().enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{}", head(table, row, names, style))?;
        let chains = row.key.iter().filter_map(|value| match value {
            Value::Stack(frames) if !frames.is_empty() => Some(frames),
            _ => None,
        });
        for (n, frames) in chains.enumerate() {
            // The kernel's functions end, the process's begin.
            if n > 0 {
                writeln!(out, "    --")?;
            }
            for frame in frames.iter() {
                writeln!(out, "    {}", shown(frame, style))?;
            }
        }
        if row.key.iter().all(|value| matches!(value, Value::Stack(frames) if frames.is_empty()) || !is_chain(value)) {
            writeln!(out, "    (no functions)")?;
        }
    }
    Ok(())
}

fn head(table: &Table, row: &Row, names: &dyn Names, style: &Style) -> String {
    const GAP: &str = "  ";
    let key = row.key.iter().zip(&table.spec.key).filter(|(value, _)| !is_chain(value));
    let parts: Vec<_> = key.map(|(value, column)| (&*column.name, text::value(value, column, names))).collect();
    let value = text::measured(&row.value, table.spec.show);
    let unit = profile::value_type(table).unit;
    let value = match row.value {
        Measure::Sum(sum) if unit != "count" => {
            format!("sum={}", unit::show(u64::try_from(sum).unwrap_or(0), &unit))
        }
        Measure::Count(_) | Measure::Sum(_) | Measure::Min(_) | Measure::Max(_) => {
            format!("{}={value}", table.spec.kind.name())
        }
        _ => value,
    };
    match parts.is_empty() {
        true => value,
        false => {
            let taken = GAP.len() + value.chars().count();
            format!("{}{GAP}{value}", text::pairs(parts, GAP, taken, style))
        }
    }
}

/// `vfs_read`, `main  (nginx, server.c:812)`: where room is short, the name gives way.
fn shown(frame: &Frame, style: &Style) -> String {
    let file = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let module = frame.module.as_ref().map(|module| file(&module.path)).filter(|name| name != "[kernel]");
    let line = frame.line.as_ref().map(|(path, line)| format!("{}:{line}", file(path)));
    // What has no name shows its module there.
    let module = module.filter(|_| frame.unresolved.is_none());
    let reason = frame.unresolved.map(str::to_owned);
    let inlined = frame.inlined.then(|| "inlined".to_owned());
    let notes: Vec<String> = [module, line, inlined, reason].into_iter().flatten().collect();
    let notes = if notes.is_empty() { String::new() } else { format!("  ({})", notes.join(", ")) };
    let (mut name, notes) = ([units::escape(&frame.name).into_owned()], units::escape(&notes));
    columns::fit(&mut name, "    ".len() + notes.chars().count(), style.width);
    format!("{}{notes}", name.concat())
}
