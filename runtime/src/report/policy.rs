//! What a check of policies found, as text and as JSON.

use crate::diagnostic::{Diagnostic, Position};
use crate::policy::check::{Checked, Report, Tested};
use crate::policy::model::{Element, Policy};
use serde_json::{Value as Json, json};
use std::fmt::Write;

/// How many names of selected places are shown.
const SHOWN: usize = 5;

/// The table of what each policy asks for, warnings, tests, and a line that sums up.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    for case in &report.cases {
        if !case.name.is_empty() {
            let _infallible = writeln!(out, "case: {}", case.name);
        }
        for (policy, selected) in case.policies.iter().zip(&case.selected) {
            out += &table(policy, selected);
        }
        for warning in &case.warnings {
            let help = warning.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
            let _infallible = writeln!(out, "warning: {}{}{help}", placed(warning), warning.message);
        }
        for test in &case.tests {
            out += &tested(test);
        }
        if !out.is_empty() {
            out.push('\n');
        }
    }
    out += &summary(report);
    out
}

fn table(policy: &Policy, selected: &[String]) -> String {
    let file = policy.source.as_ref().map_or("", |source| source.name.as_str());
    let mut out = format!("{file}{} {} {}", colons(policy.position), policy.id.kind.name(), policy.id);
    if policy.staged {
        out += " (staged)";
    }
    let names: Vec<&str> = selected.iter().take(SHOWN).map(String::as_str).collect();
    let more = selected.len() - names.len();
    out += &match (names.is_empty(), more) {
        (true, _) => " selects nothing\n".to_owned(),
        (false, 0) => format!(" selects {}\n", names.join(", ")),
        (false, more) => format!(" selects {} and {more} more\n", names.join(", ")),
    };
    let width = policy.elements.iter().map(|element| place(element.position).len()).max().unwrap_or(0);
    let mut elements: Vec<&Element> = policy.elements.iter().collect();
    elements.sort_by_key(|element| element.position);
    for element in elements {
        let note = element.note.as_ref().map(|note| format!("   {note}")).unwrap_or_default();
        let (place, treatment) = (place(element.position), element.treatment.name());
        let _infallible = writeln!(out, "  {place:<width$}  {treatment:<12}  {}{note}", element.path);
    }
    out
}

/// What becomes of one element, as `skep policy apply` tells it.
pub fn element(policy: &Policy, element: &Element) -> String {
    let file = policy.source.as_ref().map_or("", |source| source.name.as_str());
    let note = element.note.as_ref().map(|note| format!("   {note}")).unwrap_or_default();
    format!("{}: {file}{} {}{note}", element.treatment.name(), colons(element.position), element.path)
}

fn tested(tested: &Tested) -> String {
    let Tested { test, outcome, passed } = tested;
    if *passed {
        return format!("  ok    {test}: {outcome}\n");
    }
    let mut wanted = test.expect.name().to_owned();
    wanted.extend(test.reason.map(|reason| format!(" {}", reason.name())));
    wanted.extend(test.match_type.map(|matched| format!(" ({})", matched.name())));
    let ends = match (outcome.from, outcome.to) {
        (Some(from), Some(to)) => format!(" [{from} -> {to}]"),
        _ => String::new(),
    };
    let file = &test.source.name;
    format!("  FAIL  {file}{} {test}{ends}: {outcome}, expected {wanted}\n", colons(test.position))
}

fn summary(report: &Report) -> String {
    let policies = report.cases.iter().flat_map(|case| &case.policies);
    let refused = policies.clone().filter(|policy| policy.is_refused()).count();
    let warnings: usize = report.cases.iter().map(|case| case.warnings.len()).sum();
    let errors = report.errors.len() + report.cases.iter().map(|case| case.errors.len()).sum::<usize>();
    let (passed, tests) = report.tests();
    let mut parts = vec![count(policies.count(), "policy", "policies")];
    if refused > 0 {
        parts.push(format!("{refused} refused"));
    }
    if errors > 0 {
        parts.push(count(errors, "error", "errors"));
    }
    parts.push(count(warnings, "warning", "warnings"));
    parts.push(format!("{passed} of {} passed", count(tests, "test", "tests")));
    parts.join(", ") + "\n"
}

fn count(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

fn place(position: Option<Position>) -> String {
    position.map(|place| format!("{}:{}", place.line, place.column)).unwrap_or_default()
}

fn colons(position: Option<Position>) -> String {
    position.map(|place| format!(":{}:{}", place.line, place.column)).unwrap_or_default()
}

/// `file:line:column: `
fn placed(diagnostic: &Diagnostic) -> String {
    match &diagnostic.script {
        Some(script) => format!("{}{}: ", script.name, colons(diagnostic.position)),
        None => String::new(),
    }
}

/// A line for each policy, warning, error and test, and one that sums up.
pub fn json(report: &Report) -> String {
    let mut lines: Vec<Json> = report.errors.iter().map(|error| finding("error", "", error)).collect();
    for case in &report.cases {
        let selected = case.policies.iter().zip(&case.selected);
        lines.extend(selected.map(|(policy, selected)| of_policy(&case.name, policy, selected)));
        lines.extend(case.errors.iter().map(|error| finding("error", &case.name, error)));
        lines.extend(case.warnings.iter().map(|warning| finding("warning", &case.name, warning)));
        lines.extend(case.tests.iter().map(|test| of_test(case, test)));
    }
    let (passed, tests) = report.tests();
    lines.push(json!({ "v": 1, "type": "checked", "good": report.is_good(), "tests": tests, "passed": passed }));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn of_policy(case: &str, policy: &Policy, selected: &[String]) -> Json {
    let elements = policy.elements.iter().map(|element| {
        let place = element.position;
        json!({
            "path": element.path,
            "line": place.map(|place| place.line),
            "column": place.map(|place| place.column),
            "treatment": element.treatment.name(),
            "note": element.note,
        })
    });
    json!({
        "v": 1,
        "type": "policy",
        "case": case,
        "file": policy.source.as_ref().map(|source| &source.name),
        "kind": policy.id.kind.name(),
        "name": &*policy.id.name,
        "namespace": policy.id.namespace,
        "staged": policy.staged,
        "selects": selected,
        "elements": elements.collect::<Vec<_>>(),
    })
}

fn finding(kind: &str, case: &str, diagnostic: &Diagnostic) -> Json {
    json!({
        "v": 1,
        "type": kind,
        "case": case,
        "file": diagnostic.script.as_ref().map(|script| &script.name),
        "line": diagnostic.position.map(|place| place.line),
        "column": diagnostic.position.map(|place| place.column),
        "message": diagnostic.message,
        "help": diagnostic.help,
    })
}

fn of_test(case: &Checked, tested: &Tested) -> Json {
    let Tested { test, outcome, passed } = tested;
    let verdict = outcome.verdict;
    json!({
        "v": 1,
        "type": "test",
        "case": case.name,
        "file": test.source.name,
        "line": test.position.map(|place| place.line),
        "from": test.from,
        "to": test.to,
        "proto": test.protocol.to_string(),
        "port": test.port,
        "expected": test.expect.name(),
        "found": outcome.expect.name(),
        "reason": verdict.and_then(|verdict| verdict.reason).map(|reason| reason.name()),
        "match": verdict.map(|verdict| verdict.match_type.name()),
        "direction": verdict.map(|verdict| verdict.direction.name()),
        "rule": outcome.by.as_ref().and_then(|(_, rule)| rule.as_deref()),
        "passed": passed,
    })
}
