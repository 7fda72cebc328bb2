//! What the doctor found, and how it is told: a table for people, one JSON object for programs. Pure; no privilege.

use crate::report::columns::wrapped;
use crate::report::json::VERSION;
use crate::report::text::Style;
use crate::report::units::escape;
use serde_json::{Map, Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Ok,
    /// Works, but slower or with less than newer kernels allow.
    Degraded,
    No,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Degraded => "degraded",
            State::No => "no",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            State::Ok => "\x1b[32m",
            State::Degraded => "\x1b[33m",
            State::No => "\x1b[31m",
        }
    }
}

/// One source or feature, tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub source: &'static str,
    /// skep is of little use without it.
    pub required: bool,
    pub state: State,
    /// What was seen.
    pub reason: String,
    /// What to do about it; `None` where there is nothing to do.
    pub next: Option<String>,
}

/// One thing to know of the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// In JSON; as text its `_` are spaces.
    pub name: &'static str,
    pub value: Value,
    pub text: String,
}

/// The whole examination.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The release, as `uname -r` prints it.
    pub kernel: String,
    pub facts: Vec<Fact>,
    pub checks: Vec<Check>,
    /// One step that helps all sources at once.
    pub next: Option<String>,
}

/// Lines stay below 100 columns.
const WIDTH: usize = 99;
const NEXT_WIDTH: usize = 30;
const HEADINGS: [&str; 4] = ["source", "state", "why", "next step"];

impl Report {
    /// Does everything work that most scripts need?
    pub fn is_healthy(&self) -> bool {
        self.checks.iter().all(|check| !check.required || check.state != State::No)
    }

    /// One object, described in docs/json.md.
    pub fn json(&self) -> Value {
        let facts: Map<String, Value> =
            self.facts.iter().map(|fact| (fact.name.to_owned(), fact.value.clone())).collect();
        let source = |check: &Check| json!({ "source": check.source, "state": check.state.name(), "reason": check.reason, "next": check.next });
        let sources: Vec<Value> = self.checks.iter().map(source).collect();
        let mut object =
            json!({ "v": VERSION, "type": "doctor", "kernel": self.kernel, "facts": facts, "sources": sources });
        if let (Some(next), Some(object)) = (&self.next, object.as_object_mut()) {
            object.insert("next".into(), next.as_str().into());
        }
        object
    }

    /// Facts, then the table of sources, then the step that helps all of them.
    pub fn text(&self, style: &Style) -> String {
        let mut out = String::new();
        let name_width = self.facts.iter().map(|fact| fact.name.len()).max().unwrap_or(0).max("kernel".len());
        let kernel = ("kernel".to_owned(), self.kernel.as_str());
        let facts = self.facts.iter().map(|fact| (fact.name.replace('_', " "), fact.text.as_str()));
        for (name, text) in std::iter::once(kernel).chain(facts) {
            for (n, line) in wrapped(text, WIDTH - name_width - 2).iter().enumerate() {
                let name = if n == 0 { name.as_str() } else { "" };
                push(&mut out, &format!("{name:name_width$}  {line}"));
            }
        }
        out.push('\n');
        self.table(&mut out, style);
        if let Some(next) = &self.next {
            // Not wrapped: it is there to be pasted.
            out += &format!("\nnext: {}\n", escape(next));
        }
        out
    }

    fn table(&self, out: &mut String, style: &Style) {
        let source = self.checks.iter().map(|check| check.source.len()).max().unwrap_or(0).max(HEADINGS[0].len());
        let state = State::Degraded.name().len();
        let indent = source + state + 4;
        let [dim, plain] = if style.colour { ["\x1b[2m", "\x1b[0m"] } else { ["", ""] };
        let why = WIDTH - indent - NEXT_WIDTH - 2;
        let [a, b, c, d] = HEADINGS;
        *out += &format!("{dim}{a:source$}  {b:state$}  {c:why$}  {d}{plain}\n");
        for check in &self.checks {
            let colour = if style.colour { check.state.colour() } else { "" };
            let next = check.next.as_deref().unwrap_or_default();
            // A long step gets lines of its own.
            let below = next.chars().count() > NEXT_WIDTH;
            let beside = next.is_empty() || below;
            let reason = wrapped(&check.reason, if beside { why + NEXT_WIDTH + 2 } else { why });
            for (n, line) in reason.iter().enumerate() {
                match n {
                    0 => {
                        let padded = format!("{:state$}", check.state.name());
                        *out += &format!("{:source$}  {colour}{padded}{plain}  ", check.source);
                        let next = if beside { "" } else { next };
                        push(out, &format!("{line:why$}  {}", escape(next)));
                    }
                    _ => push(out, &format!("{:indent$}{line}", "")),
                }
            }
            if below {
                // A command is there to be pasted.
                let width = if next.starts_with("sudo ") { usize::MAX } else { WIDTH - indent - 3 };
                for (n, line) in wrapped(next, width).iter().enumerate() {
                    push(out, &format!("{:indent$}{} {line}", "", if n == 0 { "->" } else { "  " }));
                }
            }
        }
    }
}

fn push(out: &mut String, line: &str) {
    *out += line.trim_end();
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let check = |source, required, state, reason: &str, next: Option<&str>| Check {
            source,
            required,
            state,
            reason: reason.into(),
            next: next.map(str::to_owned),
        };
        Report {
            kernel: "6.1.0".into(),
            facts: vec![Fact { name: "bpf_jit_enable", value: 1.into(), text: "1".into() }],
            checks: vec![
                check("tracepoint", true, State::Ok, "7 of 7 calls counted", None),
                check(
                    "uprobe.multi",
                    false,
                    State::Degraded,
                    "one perf event for each function",
                    Some("Linux 6.6 has it"),
                ),
                check(
                    "hardware",
                    false,
                    State::No,
                    "this machine has no such counter",
                    Some("software:cpu-clock counts time instead"),
                ),
            ],
            next: None,
        }
    }

    #[test]
    fn table_is_aligned_and_long_steps_stand_below() {
        let text = report().text(&Style::default());
        assert_eq!(
            text,
            "kernel          6.1.0\nbpf jit enable  1\n\n\
             source        state     why                                          next step\n\
             tracepoint    ok        7 of 7 calls counted\n\
             uprobe.multi  degraded  one perf event for each function             Linux 6.6 has it\n\
             hardware      no        this machine has no such counter\n\
             \u{20}                       -> software:cpu-clock counts time instead\n"
        );
    }

    #[test]
    fn no_line_reaches_100_columns() {
        let mut report = report();
        report.facts[0].text = "word ".repeat(60);
        report.checks[0].reason = "reason ".repeat(40);
        report.checks[1].reason = "reason ".repeat(40);
        report.checks[2].next = Some("step ".repeat(40));
        assert!(report.text(&Style::default()).lines().all(|line| line.chars().count() < 100));
    }

    #[test]
    fn colours_are_for_terminals_only() {
        let colour = Style { colour: true, width: None };
        assert!(!report().text(&Style::default()).contains('\x1b'));
        assert!(report().text(&colour).contains("\x1b[31mno      \x1b[0m  this machine"));
    }

    #[test]
    fn json_is_one_object_with_every_source() {
        let mut report = report();
        report.checks.truncate(2);
        let expected = r#"{"v":1,"type":"doctor","kernel":"6.1.0","facts":{"bpf_jit_enable":1},"sources":[{"source":"tracepoint","state":"ok","reason":"7 of 7 calls counted","next":null},{"source":"uprobe.multi","state":"degraded","reason":"one perf event for each function","next":"Linux 6.6 has it"}]}"#;
        assert_eq!(report.json().to_string(), expected);
    }

    #[test]
    fn health_is_that_of_the_required_sources() {
        let mut report = report();
        assert!(report.is_healthy());
        report.checks[0].state = State::No;
        assert!(!report.is_healthy());
    }
}
