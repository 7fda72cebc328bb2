//! `finding(level, text, evidence, next)`: what a runbook concludes. Printed at once; the worst one is the exit status.

use super::fields::{self, Field};
use super::host::{Fallible, Host, raise};
use super::values::{HistogramValue, RowValue, TableValue, Unsigned, drawn};
use crate::diagnostic::{Diagnostic, nearest};
use crate::report;
use crate::report::finding::{Evidence, Finding, INDENT, Level};
use crate::report::text::Style;
use rhai::{Array, Dynamic, Engine, FLOAT, INT, ImmutableString, Map, NativeCallContext};
use serde_json::{Value as Json, json};
use std::rc::Rc;

/// Findings of one script: a loop that finds something in each row is a table.
const MOST: usize = 1000;

pub fn register(engine: &mut Engine, host: &Rc<Host>) {
    let own = host.clone();
    engine.register_fn("finding", move |context: NativeCallContext, level: ImmutableString, text: ImmutableString| {
        found(&context, &own, &level, &text, &Dynamic::UNIT, None)
    });
    let own = host.clone();
    engine.register_fn(
        "finding",
        move |context: NativeCallContext, level: ImmutableString, text: ImmutableString, evidence: Dynamic| {
            found(&context, &own, &level, &text, &evidence, None)
        },
    );
    let own = host.clone();
    engine.register_fn(
        "finding",
        move |context: NativeCallContext,
              level: ImmutableString,
              text: ImmutableString,
              evidence: Dynamic,
              next: ImmutableString| { found(&context, &own, &level, &text, &evidence, Some(&next)) },
    );
    let own = host.clone();
    engine.register_fn("findings", move || -> Array { own.findings.borrow().iter().map(value).collect() });
}

fn found(
    context: &NativeCallContext,
    host: &Host,
    level: &str,
    text: &str,
    evidence: &Dynamic,
    next: Option<&str>,
) -> Fallible<()> {
    let position = context.call_position();
    let Some(known) = Level::ALL.into_iter().find(|one| one.name() == level) else {
        let names = Level::ALL.map(Level::name);
        let error = Diagnostic::script(format!("`{level}` is no level of a finding")).span(level);
        return raise(
            match nearest(level, names) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help(format!("one of {}", names.join(", "))),
            },
            position,
        );
    };
    if let Some(field) = evidence.read_lock::<Field>() {
        return raise(fields::no_value(&field, position), position);
    }
    let script = match host.speaking() {
        Some(callee) => callee.name().to_owned(),
        None => host.script.borrow().clone(),
    };
    let whole = Style::default();
    let own = host.output.borrow().style();
    let fitted = Style { width: own.width.map(|width| width.saturating_sub(INDENT)), ..whole };
    let finding = Finding {
        level: known,
        text: text.to_owned(),
        script,
        evidence: Evidence { text: shown(evidence, &whole), fitted: shown(evidence, &fitted), json: object(evidence) },
        next: next.map(str::to_owned).filter(|next| !next.trim().is_empty()),
    };
    let mut findings = host.findings.borrow_mut();
    if findings.len() >= MOST {
        let error = Diagnostic::script(format!("{MOST} findings are the most: what repeats itself is evidence of one"));
        return raise(error.help("finding(\"warn\", \"…\", rows)"), position);
    }
    host.output.borrow_mut().finding(&finding);
    findings.push(finding);
    Ok(())
}

/// A finding as a script sees it.
fn value(finding: &Finding) -> Dynamic {
    let entries = [
        ("level", finding.level.name().into()),
        ("text", finding.text.clone().into()),
        ("script", finding.script.clone().into()),
        ("next", finding.next.clone().map_or(Dynamic::UNIT, Dynamic::from)),
    ];
    entries.into_iter().map(|(name, value)| (name.into(), value)).collect::<Map>().into()
}

/// Evidence as text: tables as they are printed, a line for each entry of a map or an array.
fn shown(value: &Dynamic, style: &Style) -> String {
    if value.is_unit() {
        return String::new();
    }
    if let Some(map) = value.read_lock::<Map>() {
        let widest = map.keys().map(|key| key.chars().count()).max().unwrap_or(0);
        let line = |(key, value): (&_, &Dynamic)| match shown(value, style) {
            // What has lines of its own stands below its name.
            text if text.contains('\n') => format!("{key}:\n{text}"),
            text => format!("{key:<widest$}  {text}"),
        };
        return map.iter().filter(|(_, value)| !value.is_unit()).map(line).collect::<Vec<_>>().join("\n");
    }
    if let Some(array) = value.read_lock::<Array>() {
        return array
            .iter()
            .map(|value| shown(value, style))
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join("\n");
    }
    if let Some(table) = value.read_lock::<TableValue>() {
        return super::values::text(&table.table, &table.names, style);
    }
    if let Some(histogram) = value.read_lock::<HistogramValue>() {
        return drawn(&histogram, style);
    }
    if let Some(row) = value.read_lock::<RowValue>() {
        return row.text();
    }
    match value.as_float() {
        Ok(float) => report::units::decimal(float),
        Err(_) => value.to_string(),
    }
}

/// Evidence as programs read it.
fn object(value: &Dynamic) -> Json {
    if let Some(map) = value.read_lock::<Map>() {
        return map
            .iter()
            .map(|(key, value)| (key.to_string(), object(value)))
            .collect::<serde_json::Map<_, _>>()
            .into();
    }
    if let Some(array) = value.read_lock::<Array>() {
        return array.iter().map(object).collect();
    }
    if let Some(table) = value.read_lock::<TableValue>() {
        return report::json::table(&table.table, &*table.names);
    }
    if let Some(histogram) = value.read_lock::<HistogramValue>() {
        return report::json::buckets(&histogram.histogram);
    }
    match value {
        unit if unit.is_unit() => Json::Null,
        int if int.is::<INT>() => json!(int.as_int().unwrap_or_default()),
        float if float.is::<FLOAT>() => json!(float.as_float().unwrap_or_default()),
        flag if flag.is::<bool>() => json!(flag.as_bool().unwrap_or_default()),
        unsigned if unsigned.is::<Unsigned>() => json!(unsigned.clone_cast::<Unsigned>().0),
        other => shown(other, &Style::default()).into(),
    }
}
