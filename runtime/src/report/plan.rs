//! Plans as people read them: what will be attached, what runs in the kernel and what here, and what it takes.

use super::packets;
use super::units::{bytes, grouped};
use crate::aggregate::column::{ColumnKind, ColumnType};
use crate::aggregate::near;
use crate::budget::forecast::Forecast;
use crate::confine::needs::{self, Need};
use crate::expr::{Expr, Node, Operator};
use crate::kernel::map::{PERCPU_ARRAY, Shape};
use crate::plan::{self, Entry, Output, Setting, Source, Then};
use crate::prepare::{Prepared, Restrict, Unit};
use crate::session::Refused;
use crate::slot::listing;
use crate::span::{Pairing, Spans};
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
            Source::Span(_) => format!("`{}` to {points} attach points", entry.source_text()),
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
    let starts = prepared.span.iter().flat_map(|span| &span.units);
    prepared.units.iter().chain(starts).flat_map(|unit| &unit.programs).map(|program| program.attach.len()).sum()
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// What restricts an entry, all of it.
pub fn filters(entry: &Entry, restrict: &Restrict) -> String {
    let pid = match (restrict.pid, &restrict.program) {
        (Some(pid), _) if restrict.follow => Some(format!("pid {pid} or its children")),
        (Some(pid), _) => Some(format!("pid == {pid}")),
        // A plan starts no command.
        (None, Some(program)) if restrict.follow => Some(format!("`{program}` or its children")),
        (None, Some(program)) => Some(format!("`{program}`")),
        (None, None) => None,
    };
    let cgroup = restrict.cgroup.map(|(id, _)| format!("cgroup {id} or below"));
    let comm = restrict.comm.as_ref().map(|comm| format!("comm == {comm:?}"));
    let others: Vec<String> = pid.into_iter().chain(cgroup).chain(comm).collect();
    let own = entry.filter.as_ref().map(|own| match &*own.node {
        Node::Binary(Operator::Or, ..) if !others.is_empty() => format!("({own})"),
        _ => own.to_string(),
    });
    others.into_iter().chain(own).collect::<Vec<_>>().join(" and ")
}

/// The whole plan of one entry. `code`: with the instructions of the slots.
pub fn text(number: usize, entry: &Entry, prepared: &Prepared, restrict: &Restrict, cpus: usize, code: bool) -> String {
    let mut out = String::new();
    let at = entry.position.map(|at| format!("   {}:{}", at.line, at.column)).unwrap_or_default();
    // Writing to a string cannot fail.
    let _infallible = writeln!(out, "{number}. {}{at}", entry.source_text());
    if let Some(span) = &prepared.span {
        span.units.iter().for_each(|unit| unit_text(&mut out, "start", unit, code));
    }
    let label = if prepared.span.is_some() { "end" } else { "attach" };
    prepared.units.iter().for_each(|unit| unit_text(&mut out, label, unit, code));
    if let (Some(span), Source::Span(asked)) = (&prepared.span, &entry.source) {
        span_text(&mut out, asked, span);
    }
    parameters(&mut out, entry, prepared);
    let filter = filters(entry, restrict);
    let size = |slot: fn(&Unit) -> Option<usize>| prepared.units.iter().filter_map(slot).max().unwrap_or(0);
    if !filter.is_empty() {
        let starts = prepared.span.iter().flat_map(|span| &span.units);
        let guards = prepared.units.iter().chain(starts).filter_map(|unit| unit.slots.guard.as_ref().map(Vec::len));
        let code = guards.max().unwrap_or(0) + size(|unit| unit.slots.filter.as_ref().map(Vec::len));
        let code = if code > 0 { format!("   {code} instructions") } else { String::new() };
        line(&mut out, "kernel", &format!("filter {filter}{code}"));
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
            let behind = if matches!(then, Then::Packets(_)) { " and the packet behind it" } else { "" };
            let ring = format!("{} B a record{behind}, in the ring buffer of the session", prepared.record_size);
            line(&mut out, "ring", &ring);
            let here = match then {
                Then::Each => "each event to the closure".to_owned(),
                Then::Print => "each event printed, columns aligned".to_owned(),
                Then::Printf(_) => "each event printed by its format".to_owned(),
                Then::Packets(packets::Wish { file: Some(file), .. }) => format!("packets to `{file}`, in pcapng"),
                Then::Packets(_) => "each packet printed as a flow".to_owned(),
            };
            line(&mut out, "here", &here);
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
                let near = near::memory(prepared.aggregate, cpus);
                if near > 0 {
                    let places = near::PLACES;
                    let text = format!("the first {places} keys of each CPU in places of their own: {}", bytes(near));
                    line(&mut out, "near", &text);
                }
            }
            line(&mut out, "here", "the table, at the end");
        }
    }
    out
}

/// What a template's parameters are, set or not.
fn parameters(out: &mut String, entry: &Entry, prepared: &Prepared) {
    let Source::Template { parameters: given, .. } = &entry.source else { return };
    let manifest = prepared.units.first().and_then(|unit| unit.template.manifest().ok());
    for known in manifest.into_iter().flat_map(|manifest| manifest.parameters) {
        let value = match given.iter().find(|(name, ..)| *name == known.name) {
            Some((_, Setting::Int(value), _)) => value.to_string(),
            Some((_, Setting::Bool(value), _)) => value.to_string(),
            Some((_, Setting::Text(value), _)) => format!("{value:?}"),
            None => "not set".to_owned(),
        };
        line(out, "set", &format!("{} {value}   {}", known.name, known.help));
    }
}

/// How ends find their starts, what a start keeps, and where it waits.
fn span_text(out: &mut String, asked: &plan::Span, span: &Spans) {
    let list = |key: &[Expr]| key.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let pair = match (span.pairing, &asked.on) {
        (Pairing::Given, Some((start, end))) => format!("{} at the start = {} at the end", list(start), list(end)),
        (Pairing::Frame | Pairing::Trampoline, _) => "thread and frame of the function: calls may be nested".to_owned(),
        _ => "thread, one span at a time".to_owned(),
    };
    line(out, "pair", &pair);
    if let Some((start, end)) = &asked.when {
        line(out, "", &format!("starts when {start}, ends when {end}"));
    }
    if span.pairing == Pairing::Given && span.units.iter().any(|unit| unit.slots.guard.is_some()) {
        line(out, "", "restrictions of the command line hold at the start: any task may end a span");
    }
    if !span.kept.is_empty() {
        let kept: Vec<String> = span.kept.iter().map(|(expr, kind)| shown(&expr.to_string(), kind)).collect();
        line(out, "keep", &kept.join(", "));
    }
    let shape = span.shape;
    line(
        out,
        "map",
        &format!(
            "LRU hash, {} starts of {} + {} B, the oldest gives way: {}",
            grouped(shape.max_entries),
            shape.key_size,
            shape.value_size,
            bytes(shape.memory(1))
        ),
    );
    if let Some(near) = span.near {
        let places = grouped(near.max_entries);
        line(out, "near", &format!("{places} threads in places of their own: {}", bytes(near.memory(1))));
    }
}

fn unit_text(out: &mut String, label: &str, unit: &Unit, code: bool) {
    const SHOWN: usize = 5;
    for program in &unit.programs {
        let mut names: Vec<&str> = program.attach.iter().map(|attach| attach.shown.as_str()).collect();
        // Sites of one usdt probe.
        names.dedup();
        line(out, label, names.first().unwrap_or(&"nothing"));
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
        for (name, slot) in unit.slots.written() {
            let name = name.trim_start_matches("slot_");
            line(out, "code", &format!("{name}, {} instructions", slot.len()));
            for instruction in listing::listing(slot).lines() {
                line(out, "", instruction);
            }
        }
    }
}

/// The line of what an entry would cost.
pub fn cost(forecast: &Forecast) -> String {
    let mut out = String::new();
    line(&mut out, "cost", &forecast.text());
    out
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
        ColumnKind::Called(_) => "call chain".into(),
        ColumnKind::Path { size } => format!("path of {size} B"),
    };
    format!("{expr} ({kind})")
}

fn map_text(shape: Shape, cpus: usize) -> String {
    let kind = if shape.map_type == PERCPU_ARRAY { "per-CPU array" } else { "per-CPU hash" };
    format!(
        "{kind}, {} {} of {} + {} B: {} on {cpus} CPU{}",
        grouped(shape.max_entries),
        if shape.max_entries == 1 { "entry" } else { "entries" },
        shape.key_size,
        shape.value_size,
        bytes(shape.memory(cpus)),
        plural(cpus)
    )
}

fn setting(value: &Setting) -> Json {
    match value {
        Setting::Int(value) => i64::try_from(*value).map_or_else(|_| value.to_string().into(), Json::from),
        Setting::Bool(value) => (*value).into(),
        Setting::Text(value) => value.clone().into(),
    }
}

/// The same for machines.
pub fn json(number: usize, entry: &Entry, prepared: &Prepared, restrict: &Restrict, cpus: usize) -> Json {
    let unit = |unit: &Unit| {
        let points: Vec<&str> =
            unit.programs.iter().flat_map(|program| &program.attach).map(|attach| attach.shown.as_str()).collect();
        let programs: Vec<&str> = unit.programs.iter().map(|program| program.name.as_str()).collect();
        json!({"template": unit.template.name, "programs": programs, "attach_points": points, "why": unit.reason})
    };
    let need =
        |need: &Need| json!({"capability": need.capability.to_string(), "required": need.required, "why": need.why});
    let columns: Vec<&str> = prepared.columns.iter().map(|column| column.name.as_str()).collect();
    let map = prepared.aggregate.map(|shape| {
        json!({
            "entries": shape.max_entries, "key_bytes": shape.key_size, "value_bytes": shape.value_size, "memory_bytes": shape.memory(cpus),
            "near_bytes": near::memory(Some(shape), cpus),
        })
    });
    let parameters: serde_json::Map<String, Json> = match &entry.source {
        Source::Template { parameters, .. } => {
            parameters.iter().map(|(name, value, _)| (name.clone(), setting(value))).collect()
        }
        Source::Probe(_) | Source::Span(_) => serde_json::Map::new(),
    };
    json!({
        "v": 1, "type": "plan", "entry": number, "source": entry.source_text(),
        "line": entry.position.map(|at| at.line), "column": entry.position.map(|at| at.column),
        "units": prepared.units.iter().map(unit).collect::<Vec<_>>(),
        "parameters": parameters, "filter": filters(entry, restrict), "columns": columns, "map": map,
        "starts": prepared.span.as_ref().map(|span| json!({
            "units": span.units.iter().map(unit).collect::<Vec<_>>(), "entries": span.shape.max_entries,
            "key_bytes": span.shape.key_size, "value_bytes": span.shape.value_size, "memory_bytes": span.shape.memory(cpus),
            "near_bytes": span.near.map_or(0, |near| near.memory(cpus)),
        })),
        "record_bytes": prepared.aggregate.is_none().then_some(prepared.record_size),
        "needs": needs::of(std::slice::from_ref(prepared)).iter().map(need).collect::<Vec<_>>(),
    })
}
