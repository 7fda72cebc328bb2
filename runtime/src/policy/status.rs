//! What a policy has done: as JSON, which the control socket speaks, and as a table.

use super::enforcer::{Counted, Enforcer};
use super::life::Life;
use super::programs::Traffic;
use super::rules::Direction;
use crate::diagnostic::Diagnostic;
use crate::kernel::sys;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Everything that is known of a policy at work.
///
/// # Errors
/// The kernel's.
pub fn of(enforcer: &Enforcer, life: &Life, guarded: &BTreeSet<IpAddr>) -> Result<Value, Diagnostic> {
    let now = sys::monotonic();
    let left = |time: Option<u64>| life.state().and(time).map(|time| time.saturating_sub(now) / 1_000_000);
    let counts = enforcer.counts()?;
    Ok(json!({
        "place": enforcer.place().to_string(),
        "mode": match life.state() {
            Some(state) if state.is_enforced => "enforce",
            Some(_) => "audit",
            None => "ended",
        },
        "pid": std::process::id(),
        "steps": life.steps(),
        "connections": enforcer.tracks(),
        "confirm_within_ms": left(life.unconfirmed_until()),
        "ttl_ms": left(life.ends_at()),
        "guarded": guarded.iter().map(IpAddr::to_string).collect::<Vec<_>>(),
        "rules": rules(&counts),
    }))
}

/// What was counted, by rule and direction; what is no rule's only where there was something.
pub fn rules(counts: &[Counted]) -> Vec<Value> {
    let shown = counts.iter().filter(|one| !one.outcomes.is_empty() || !one.rule.starts_with('('));
    let traffic = |traffic: Traffic| json!({ "packets": traffic.packets, "bytes": traffic.bytes });
    let rule = |one: &Counted| {
        json!({
            "rule": *one.rule,
            "direction": if one.direction == Direction::Ingress { "ingress" } else { "egress" },
            "passed": traffic(one.outcomes.passed),
            "dropped": traffic(one.outcomes.dropped),
            "would_drop": traffic(one.outcomes.would_drop),
            "refused": one.outcomes.refused.packets,
        })
    };
    shown.map(rule).collect()
}

/// A status as text.
pub fn table(status: &Value) -> String {
    let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    let seconds = |key: &str| status[key].as_u64().map(|ms| format!("{:.1}s", ms as f64 / 1000.0));
    let mut out = text("place");
    if let Some(name) = status["name"].as_str() {
        out += &format!(" ({name})");
    }
    out += &format!(": {}", text("mode"));
    if let Some(left) = seconds("confirm_within_ms") {
        out += &format!(", goes back in {left} unless confirmed");
    }
    if let Some(left) = seconds("ttl_ms") {
        out += &format!(", ends in {left}");
    }
    let guarded: Vec<&str> = status["guarded"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !guarded.is_empty() {
        out += &format!("; never drops {}", guarded.join(", "));
    }
    if let Some(folder) = status["pinned"].as_str() {
        out += &format!("; pinned below {folder}");
    }
    out.push('\n');
    let head = ["rule", "direction", "passed", "bytes", "dropped", "bytes", "would drop", "bytes", "refused"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let listed = |key: &str| status[key].as_array().cloned().unwrap_or_default();
    // Of staged policies only what they alone deny is news.
    let staged = listed("staged").into_iter().filter(|rule| rule["would_drop"]["packets"] != 0).map(|mut rule| {
        rule["rule"] = format!("{} (staged)", rule["rule"].as_str().unwrap_or_default()).into();
        rule
    });
    for rule in listed("rules").into_iter().chain(staged) {
        let number = |value: &Value| value.as_u64().unwrap_or(0).to_string();
        let pair = |key: &str| [number(&rule[key]["packets"]), number(&rule[key]["bytes"])];
        let word = |key: &str| rule[key].as_str().unwrap_or_default().to_owned();
        let [passed, dropped, would] = ["passed", "dropped", "would_drop"].map(pair);
        let ([a, b], [c, d], [e, f]) = (passed, dropped, would);
        rows.push(vec![word("rule"), word("direction"), a, b, c, d, e, f, number(&rule["refused"])]);
    }
    // Whose counters nobody has.
    if rows.len() == 1 {
        return out;
    }
    out.push_str(&aligned(&rows, 2));
    out
}

/// Rows of as many cells each, the first `texts` of which are no numbers.
pub fn aligned(rows: &[Vec<String>], texts: usize) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widths: Vec<usize> =
        (0..columns).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).enumerate().map(|(at, (cell, width))| match at < texts {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        format!("  {}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
