//! Plans as people read them: what will be attached, what runs in the kernel and what here, and what it takes.

use super::units::{bytes, grouped};
use crate::aggregate::column::{ColumnKind, ColumnType};
use crate::kernel::map::{PERCPU_ARRAY, Shape};
use crate::plan::{Entry, Output, Source, Then};
use crate::prepare::{Prepared, Restrict, Unit};
use crate::session::Refused;
use crate::slot::listing;
use serde_json::{Value as Json, json};
use std::fmt::Write;

/// One line for each entry, when it starts: `attached 25 probes with template `tracepoint` (filter `pid == 7` in kernel)`.
pub fn attached(entries: &[(&Entry, &Prepared)], restrict: &Restrict, until: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (n, (entry, prepared)) in entries.iter().enumerate() {
        let points = points(prepared);
        let mut templates: Vec<&str> = prepared.units.iter().map(|unit| unit.template.name.as_str()).collect();
        templates.dedup();
        let what = match &entry.source {
            Source::Template { name, .. } => format!("template `{name}` to {points} attach point{}", plural(points)),
            Source::Probe(_) if points == 1 => {
                format!("`{}` with template `{}`", entry.source_text(), templates.join("`, `"))
            }
            Source::Probe(_) => format!("{} probes with template `{}`", grouped(points as u64), templates.join("`, `")),
        };
        let filter = filters(entry, restrict);
        let filter = if filter.is_empty() { String::new() } else { format!(" (filter `{filter}` in kernel)") };
        let until = if n + 1 == entries.len() { format!("; {until}") } else { String::new() };
        lines.push(format!("attached {what}{filter}{until}"));
    }
    lines
}

/// What matched a glob and is not attached, a line each.
pub fn refused(functions: &[Refused]) -> Vec<String> {
    const SHOWN: usize = 5;
    let line = |one: &Refused| match one.reason.message.strip_prefix("failed to attach to ") {
        Some(reason) => format!("not attached: {reason}"),
        None => format!("not attached: `{}`: {}", one.shown, one.reason.message),
    };
    let mut lines: Vec<String> = functions.iter().take(SHOWN).map(line).collect();
    if functions.len() > SHOWN {
        lines.push(format!("not attached: {} more", functions.len() - SHOWN));
    }
    lines
}

/// How many places an entry attaches to.
pub fn points(prepared: &Prepared) -> usize {
    prepared.units.iter().flat_map(|unit| &unit.programs).map(|program| program.attach.len()).sum()
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

fn filters(entry: &Entry, restrict: &Restrict) -> String {
    let pid = restrict.pid.map(|pid| format!("pid == {pid}"));
    let cgroup = restrict.cgroup.map(|(id, _)| format!("cgroup {id} or below"));
    let comm = restrict.comm.as_ref().map(|comm| format!("comm == {comm:?}"));
    let own = entry.filter.as_ref().map(ToString::to_string);
    pid.into_iter().chain(cgroup).chain(comm).chain(own).collect::<Vec<_>>().join(" and ")
}

/// The whole plan of one entry. `code`: with the instructions of the slots.
pub fn text(number: usize, entry: &Entry, prepared: &Prepared, restrict: &Restrict, cpus: usize, code: bool) -> String {
    let mut out = String::new();
    let at = entry.position.map(|at| format!("   {}:{}", at.line, at.column)).unwrap_or_default();
    // Writing to a string cannot fail.
    let _infallible = writeln!(out, "{number}. {}{at}", entry.source_text());
    for unit in &prepared.units {
        unit_text(&mut out, unit, code);
    }
    let filter = filters(entry, restrict);
    let size = |slot: fn(&Unit) -> Option<usize>| prepared.units.iter().filter_map(slot).max().unwrap_or(0);
    if !filter.is_empty() {
        let code = size(|unit| unit.slots.filter.as_ref().map(Vec::len));
        line(&mut out, "kernel", &format!("filter {filter}   {code} instructions"));
    }
    match &entry.output {
        Output::Stream { columns, then } => {
            let code = size(|unit| unit.slots.columns.as_ref().map(Vec::len));
            let list: Vec<String> = columns
                .iter()
                .zip(&prepared.columns)
                .map(|(column, kind)| shown(&column.expr.to_string(), kind))
                .collect();
            line(&mut out, "kernel", &format!("fields {}   {code} instructions", list.join(", ")));
            line(&mut out, "ring", &format!("{} B a record, in the ring buffer of the session", prepared.record_size));
            let here = match then {
                Then::Each => "each event to the closure",
                Then::Print => "each event printed, columns aligned",
                Then::Printf(_) => "each event printed by its format",
            };
            line(&mut out, "here", here);
        }
        output => {
            if !entry.key.is_empty() {
                let code = size(|unit| unit.slots.columns.as_ref().map(Vec::len));
                let list: Vec<String> = entry
                    .key
                    .iter()
                    .zip(&prepared.columns)
                    .map(|(column, kind)| shown(&column.expr.to_string(), kind))
                    .collect();
                line(&mut out, "kernel", &format!("key {}   {code} instructions", list.join(", ")));
            }
            let what = match output {
                Output::Aggregate { kind, value: Some(value) } => format!("{} of {value}", kind.name()),
                Output::Aggregate { kind, value: None } => kind.name().to_owned(),
                _ => "count".to_owned(),
            };
            line(&mut out, "kernel", &what);
            if let Some(shape) = prepared.aggregate {
                line(&mut out, "map", &map_text(shape, cpus));
            }
            line(&mut out, "here", "the table, at the end");
        }
    }
    out
}

fn unit_text(out: &mut String, unit: &Unit, code: bool) {
    const SHOWN: usize = 5;
    for program in &unit.programs {
        let names: Vec<&str> = program.attach.iter().map(|attach| attach.shown.as_str()).collect();
        line(out, "attach", names.first().unwrap_or(&"nothing"));
        for name in names.iter().skip(1).take(SHOWN - 1) {
            line(out, "", name);
        }
        if names.len() > SHOWN {
            line(out, "", &format!("… and {} more", names.len() - SHOWN));
        }
        line(out, "by", &format!("template {}, program {}", unit.template.name, program.name));
    }
    line(out, "why", &unit.reason);
    if code {
        for (name, slot) in
            [("filter", &unit.slots.filter), ("value", &unit.slots.value), ("columns", &unit.slots.columns)]
        {
            let Some(slot) = slot else { continue };
            line(out, "code", &format!("{name}, {} instructions", slot.len()));
            for instruction in listing::listing(slot).lines() {
                line(out, "", instruction);
            }
        }
    }
}

fn line(out: &mut String, label: &str, text: &str) {
    // Writing to a string cannot fail.
    let _infallible = writeln!(out, "   {label:<8}{text}");
}

fn shown(expr: &str, column: &ColumnType) -> String {
    let kind = match column.kind {
        ColumnKind::Int { signed: true, .. } => "s64".to_owned(),
        ColumnKind::Int { .. } => "u64".to_owned(),
        ColumnKind::Text { size } => format!("text of {size} B"),
        ColumnKind::Bytes { size, .. } => format!("{size} B"),
    };
    format!("{expr} ({kind})")
}

fn map_text(shape: Shape, cpus: usize) -> String {
    let kind = if shape.map_type == PERCPU_ARRAY { "per-CPU array" } else { "per-CPU hash" };
    format!(
        "{kind}, {} entries of {} + {} B: {} on {cpus} CPU{}",
        grouped(shape.max_entries),
        shape.key_size,
        shape.value_size,
        bytes(shape.memory(cpus)),
        plural(cpus)
    )
}

/// The same for machines.
pub fn json(number: usize, entry: &Entry, prepared: &Prepared, restrict: &Restrict, cpus: usize) -> Json {
    let unit = |unit: &Unit| {
        let points: Vec<&str> =
            unit.programs.iter().flat_map(|program| &program.attach).map(|attach| attach.shown.as_str()).collect();
        let programs: Vec<&str> = unit.programs.iter().map(|program| program.name.as_str()).collect();
        json!({"template": unit.template.name, "programs": programs, "attach_points": points, "why": unit.reason})
    };
    let columns: Vec<&str> = prepared.columns.iter().map(|column| column.name.as_str()).collect();
    let map = prepared.aggregate.map(|shape| {
        json!({"entries": shape.max_entries, "key_bytes": shape.key_size, "value_bytes": shape.value_size, "memory_bytes": shape.memory(cpus)})
    });
    json!({
        "v": 1, "type": "plan", "entry": number, "source": entry.source_text(),
        "line": entry.position.map(|at| at.line), "column": entry.position.map(|at| at.column),
        "units": prepared.units.iter().map(unit).collect::<Vec<_>>(),
        "filter": filters(entry, restrict), "columns": columns, "map": map,
        "record_bytes": prepared.aggregate.is_none().then_some(prepared.record_size),
    })
}
