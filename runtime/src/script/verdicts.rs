//! Verdicts: what policies have done, as a report in a script's hands.

use super::host::{Fallible, State, raise};
use super::policies::Handle;
use super::{csv, values};
use crate::diagnostic::{Diagnostic, nearest};
use crate::policy::control::{self, Request};
use crate::policy::status;
use crate::report;
use rhai::{Array, Dynamic, Engine, INT, ImmutableString, Map, NativeCallContext};
use serde_json::{Value as Json, json};
use std::cell::Cell;
use std::rc::Rc;

/// What one rule did in one direction: packets that met the same end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    place: String,
    rule: String,
    direction: String,
    verdict: &'static str,
    packets: u64,
    bytes: u64,
}

/// A report. Looking into it marks it as taken: it is not printed at the end.
#[derive(Clone)]
pub struct Verdicts {
    statuses: Rc<Vec<Json>>,
    rows: Rc<Vec<Row>>,
    /// Sorted or cut: rows are what is shown.
    is_view: bool,
    taken: Rc<Cell<bool>>,
}

const COLUMNS: [&str; 6] = ["place", "rule", "direction", "verdict", "packets", "bytes"];
/// As a status calls them, and as they are shown.
const ENDS: [(&str, &str); 3] = [("passed", "passed"), ("dropped", "dropped"), ("would_drop", "would drop")];

impl Verdicts {
    pub fn new(statuses: Rc<Vec<Json>>, taken: Rc<Cell<bool>>) -> Verdicts {
        let rows = statuses.iter().flat_map(rows).collect();
        Verdicts { statuses, rows: Rc::new(rows), is_view: false, taken }
    }

    fn with(&self, rows: Vec<Row>) -> Verdicts {
        Verdicts { rows: Rc::new(rows), is_view: true, ..self.clone() }
    }

    /// As `skep policy status` prints it; sorted or cut, a line for each row.
    pub fn text(&self) -> String {
        if !self.is_view {
            return self.statuses.iter().map(status::table).collect();
        }
        let places: Vec<&str> = self.statuses.iter().filter_map(|status| status["place"].as_str()).collect();
        let columns = if places.len() > 1 { &COLUMNS[..] } else { &COLUMNS[1..] };
        let mut lines = vec![columns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()];
        lines.extend(self.rows.iter().map(|row| columns.iter().map(|name| row.cell(name)).collect()));
        status::aligned(&lines, columns.len() - 2)
    }

    /// The line of names, and a line for each row.
    pub fn csv(&self) -> (String, String) {
        let cells = |row: &Row| COLUMNS.map(|column| report::csv::guarded(&row.cell(column)).into_owned());
        let rows = self.rows.iter().map(|row| report::csv::line(cells(row).into_iter())).collect();
        (report::csv::heading(COLUMNS), rows)
    }

    pub fn json(&self) -> Json {
        let rows: Vec<Json> = self.rows.iter().map(Row::json).collect();
        json!({ "v": 1, "type": "verdicts", "rows": rows })
    }
}

/// Of a rule that met nothing one row, so that it is seen.
fn rows(status: &Json) -> Vec<Row> {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Json| value.as_u64().unwrap_or(0);
    let of = |rule: &Json| {
        let row = |verdict, packets, bytes| Row {
            place: text(&status["place"]),
            rule: text(&rule["rule"]),
            direction: text(&rule["direction"]),
            verdict,
            packets,
            bytes,
        };
        let ends = ENDS.map(|(key, verdict)| row(verdict, number(&rule[key]["packets"]), number(&rule[key]["bytes"])));
        let refused = row("refused", number(&rule["refused"]), 0);
        let mut met: Vec<Row> = ends.into_iter().chain([refused]).filter(|row| row.packets > 0).collect();
        if met.is_empty() {
            met.push(row("none", 0, 0));
        }
        met
    };
    let listed = |key: &str| status[key].as_array().cloned().unwrap_or_default();
    let staged = listed("staged").into_iter().filter(|rule| rule["would_drop"]["packets"] != 0);
    listed("rules").iter().chain(&staged.collect::<Vec<_>>()).flat_map(of).collect()
}

impl Row {
    fn cell(&self, column: &str) -> String {
        match column {
            "place" => self.place.clone(),
            "rule" => self.rule.clone(),
            "direction" => self.direction.clone(),
            "verdict" => self.verdict.to_owned(),
            "packets" => self.packets.to_string(),
            _ => self.bytes.to_string(),
        }
    }

    fn json(&self) -> Json {
        json!({
            "place": self.place,
            "rule": self.rule,
            "direction": self.direction,
            "verdict": self.verdict,
            "packets": self.packets,
            "bytes": self.bytes,
        })
    }

    fn map(&self) -> Dynamic {
        let value = |column: &str| match column {
            "packets" => values::number(self.packets.into()),
            "bytes" => values::number(self.bytes.into()),
            other => self.cell(other).into(),
        };
        COLUMNS.iter().map(|column| ((*column).into(), value(column))).collect::<Map>().into()
    }
}

impl IntoIterator for Verdicts {
    type Item = Dynamic;
    type IntoIter = std::vec::IntoIter<Dynamic>;

    fn into_iter(self) -> Self::IntoIter {
        self.taken.set(true);
        self.rows.iter().map(Row::map).collect::<Vec<_>>().into_iter()
    }
}

/// What a policy has done by now; nothing before it runs.
pub fn now(policy: &Handle) -> Dynamic {
    let policies = policy.host.policies.borrow();
    let said = &policies[policy.number];
    said.taken.set(true);
    let statuses = match (said.state, &said.done) {
        (State::Running, _) => Rc::new(answers(&said.places)),
        (_, Some(done)) => done.clone(),
        (_, None) => return Dynamic::UNIT,
    };
    Dynamic::from(Verdicts::new(statuses, said.taken.clone()))
}

/// What policies of this process say of themselves: each is held by a thread of its own.
fn answers(places: &[String]) -> Vec<Json> {
    // Of the same place in another network namespace somebody else may have one.
    let own = |status: &Json| status["pid"] == std::process::id();
    let sockets = control::all().into_iter().filter(|(place, _)| places.contains(place));
    // One that has ended meanwhile does not answer.
    sockets.filter_map(|(place, socket)| control::ask(&place, &socket, &Request::Status).ok()).filter(own).collect()
}

pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<Verdicts>("report");
    values::no_order::<Verdicts>(engine, "a report", ".rows().filter(|row| row.packets > 100)");
    engine.register_iterator::<Verdicts>();
    let take = |report: &Verdicts| report.taken.set(true);
    engine.register_fn("rows", |report: &mut Verdicts| -> Array { report.clone().into_iter().collect() });
    engine.register_fn("len", move |report: &mut Verdicts| {
        take(report);
        report.rows.len() as INT
    });
    engine.register_fn("is_empty", move |report: &mut Verdicts| {
        take(report);
        report.rows.is_empty()
    });
    engine.register_fn("top", move |context: NativeCallContext, report: &mut Verdicts, n: INT| {
        take(report);
        let n = values::rows(n).or_else(|error| raise(error, context.call_position()))?;
        Fallible::Ok(report.with(report.rows.iter().take(n).cloned().collect()))
    });
    for (name, descending) in [("sort_by", true), ("sort_by_ascending", false)] {
        engine.register_fn(
            name,
            move |context: NativeCallContext, report: &mut Verdicts, column: ImmutableString| -> Fallible<Verdicts> {
                take(report);
                sorted(report, &column, descending).or_else(|error| raise(error, context.call_position()))
            },
        );
    }
    engine.register_fn("json", move |report: &mut Verdicts| {
        take(report);
        report.json().to_string()
    });
    engine.register_fn("csv", move |context: NativeCallContext, report: &mut Verdicts, path: ImmutableString| {
        take(report);
        let (heading, rows) = report.csv();
        csv::save(&path, &[heading, rows].concat()).or_else(|error| raise(error, context.call_position()))
    });
    let show = |report: &mut Verdicts| report.text().trim_end().to_owned();
    engine.register_fn("to_string", show).register_fn("to_debug", show);
}

fn sorted(report: &Verdicts, column: &str, descending: bool) -> Result<Verdicts, Diagnostic> {
    if !COLUMNS.contains(&column) {
        let error = Diagnostic::script(format!("a report has no column `{column}`")).span(column);
        return Err(error.help(match nearest(column, COLUMNS) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("one of {}", COLUMNS.join(", ")),
        }));
    }
    let mut rows = Vec::clone(&report.rows);
    let number = |row: &Row| match column {
        "packets" => row.packets,
        "bytes" => row.bytes,
        _ => 0,
    };
    rows.sort_by(|a, b| {
        let order = number(a).cmp(&number(b)).then_with(|| match column {
            "packets" | "bytes" => std::cmp::Ordering::Equal,
            _ => a.cell(column).cmp(&b.cell(column)),
        });
        if descending { order.reverse() } else { order }
    });
    Ok(report.with(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Verdicts {
        let rule = |name: &str, passed: u64, dropped: u64| {
            json!({
                "rule": name,
                "direction": "ingress",
                "passed": { "packets": passed, "bytes": 10 * passed },
                "dropped": { "packets": dropped, "bytes": 10 * dropped },
                "would_drop": { "packets": 0, "bytes": 0 },
                "refused": 0,
            })
        };
        let rules = [rule("web", 7, 0), rule("ssh", 0, 23), rule("both", 11, 3), rule("unused", 0, 0)];
        let status = json!({ "place": "tc:eth0", "mode": "enforce", "rules": rules });
        Verdicts::new(Rc::new(vec![status]), Rc::default())
    }

    #[test]
    fn rules_are_a_row_for_each_verdict_and_unused_ones_too() {
        let found: Vec<(String, &str, u64)> =
            report().rows.iter().map(|row| (row.rule.clone(), row.verdict, row.packets)).collect();
        let wanted = [
            ("web", "passed", 7),
            ("ssh", "dropped", 23),
            ("both", "passed", 11),
            ("both", "dropped", 3),
            ("unused", "none", 0),
        ];
        assert_eq!(found, wanted.map(|(rule, verdict, packets)| (rule.to_owned(), verdict, packets)));
    }

    #[test]
    fn rows_are_sorted_by_number_or_text() {
        let packets = |report: &Verdicts| report.rows.iter().map(|row| row.packets).collect::<Vec<_>>();
        let sorted = |column, descending| sorted(&report(), column, descending).expect("it is a column");
        assert_eq!(packets(&sorted("packets", true)), [23, 11, 7, 3, 0]);
        assert_eq!(packets(&sorted("rule", false)), [11, 3, 23, 0, 7]);
        assert_eq!(
            sorted("packets", true).with(report().rows[..1].to_vec()).text(),
            "  rule  direction  verdict  packets  bytes\n  web   ingress    passed         7     70\n"
        );
    }

    #[test]
    fn documented_report_is_what_is_written() {
        let row = report().rows.iter().find(|row| row.rule == "ssh").expect("it is there").clone();
        let line = report().with(vec![row]).json().to_string();
        let document = include_str!("../../../docs/json.md");
        assert!(document.lines().any(|text| text == line), "docs/json.md lacks {line}");
    }

    #[test]
    fn unknown_column_is_refused_with_the_nearest() {
        let error = super::sorted(&report(), "packet", true).err().expect("there is none");
        assert_eq!(error.help.as_deref(), Some("did you mean `packets`?"));
    }
}
