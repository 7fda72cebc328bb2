//! Findings: what a runbook concludes, with what shows it and the command that looks closer.

use super::columns::wrapped;
use super::json;
use super::text::Style;
use super::units::escape;
use serde_json::{Value as Json, json};
use std::io::{self, Write};

/// Lines of evidence that are printed; an object has all of it.
const MOST: usize = 24;

/// How bad it is; the worst comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Info,
    Warn,
    Critical,
}

impl Level {
    pub const ALL: [Level; 3] = [Level::Info, Level::Warn, Level::Critical];

    pub fn name(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Critical => "critical",
        }
    }

    /// The exit status of a run of which it is the worst finding.
    pub fn status(self) -> i32 {
        match self {
            Level::Info => 0,
            Level::Warn => 10,
            Level::Critical => 20,
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Level::Info => "\x1b[32m",
            Level::Warn => "\x1b[33m",
            Level::Critical => "\x1b[31m",
        }
    }
}

/// Columns before what belongs to a finding.
pub const INDENT: usize = 6;

/// What shows that it is so, for people and for programs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    pub text: String,
    /// The same, within the width of what the script prints to.
    pub fitted: String,
    pub json: Json,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub level: Level,
    pub text: String,
    /// The script that found it.
    pub script: String,
    pub evidence: Evidence,
    /// The command that looks closer.
    pub next: Option<String>,
}

impl Finding {
    /// ```text
    /// warn: tasks wait for a CPU 63 % of the time
    ///       comm   pid  count
    ///       cc1   4711    389
    ///       next: sudo skep run runqlat --tasks
    /// ```
    ///
    /// # Errors
    /// Those of `out`.
    pub fn text(&self, out: &mut impl Write, style: &Style) -> io::Result<()> {
        let (on, off) = if style.colour { (self.level.colour(), "\x1b[0m") } else { ("", "") };
        let (level, text) = (self.level.name(), one_line(&self.text));
        let room = style.width.unwrap_or(usize::MAX);
        let mut text = wrapped(&format!("{level}: {text}"), room);
        if text.len() > 1 {
            text = wrapped(&text.join(" "), room.saturating_sub(INDENT));
        }
        for (n, line) in text.iter().enumerate() {
            match line.strip_prefix(level).filter(|_| n == 0) {
                Some(rest) => writeln!(out, "{on}{level}{off}{rest}")?,
                None => writeln!(out, "{:INDENT$}{line}", "")?,
            }
        }
        let evidence = if style.width.is_some() { &self.evidence.fitted } else { &self.evidence.text };
        for line in lines(evidence) {
            writeln!(out, "{:INDENT$}{line}", "")?;
        }
        match &self.next {
            // Not wrapped: it is there to be pasted.
            Some(next) => writeln!(out, "{:INDENT$}next: {}", "", one_line(next)),
            None => Ok(()),
        }
    }

    /// The evidence, safe for a terminal; the last line says so where there is more.
    pub fn lines(&self) -> Vec<String> {
        lines(&self.evidence.text)
    }

    /// The same as one object: see `docs/json.md`.
    pub fn json(&self) -> Json {
        json!({
            "v": json::VERSION, "type": "finding", "level": self.level.name(), "text": self.text, "script": self.script,
            "evidence": self.evidence.json, "next": self.next,
        })
    }
}

fn lines(evidence: &str) -> Vec<String> {
    let mut lines = evidence.lines().map(|line| escape(line).trim_end().to_owned());
    let mut shown: Vec<String> = lines.by_ref().take(MOST).collect();
    let more = lines.count();
    shown.extend((more > 0).then(|| format!("… and {more} more lines")));
    shown
}

/// A text of a script as one line.
pub fn one_line(text: &str) -> String {
    escape(&text.split_whitespace().collect::<Vec<_>>().join(" ")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> Finding {
        Finding {
            level: Level::Warn,
            text: "tasks wait for a CPU 63 % of the time".into(),
            script: "cpu-contention".into(),
            evidence: Evidence {
                text: "comm   pid  count\ncc1   4711    389".into(),
                fitted: "comm  count\ncc1     389".into(),
                json: json!({ "cc1": 389 }),
            },
            next: Some("sudo skep run runqlat --tasks".into()),
        }
    }

    fn written(finding: &Finding) -> String {
        let mut out = Vec::new();
        finding.text(&mut out, &Style::default()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn finding_is_a_block_with_its_evidence_and_the_next_command() {
        let expected = "warn: tasks wait for a CPU 63 % of the time\n      comm   pid  count\n      cc1   4711    389\n      \
                        next: sudo skep run runqlat --tasks\n";
        assert_eq!(written(&finding()), expected);
    }

    #[test]
    fn finding_keeps_to_the_width_and_its_command_is_whole() {
        let mut out = Vec::new();
        finding().text(&mut out, &Style { colour: false, width: Some(36) }).unwrap();
        let expected = "warn: tasks wait for a CPU 63\n      % of the time\n      comm  count\n      cc1     389\n      \
                        next: sudo skep run runqlat --tasks\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn hostile_text_stays_on_its_lines_and_long_evidence_is_cut() {
        let text = "\x1b[2Ja\nwarn: forged".to_owned();
        let evidence = Evidence { text: "\x1b]0;x\x07\n".repeat(31), ..Evidence::default() };
        let out = written(&Finding { text, evidence, next: None, ..finding() });
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines[0].ends_with("a warn: forged") && !out.contains('\x1b'), "{out}");
        assert_eq!((lines.len(), lines[25]), (26, "      … and 7 more lines"));
    }

    #[test]
    fn documented_finding_is_what_is_written() {
        let line = finding().json().to_string();
        assert!(include_str!("../../../docs/json.md").lines().any(|text| text == line), "docs/json.md lacks {line}");
    }

    #[test]
    fn worst_level_comes_last_and_its_status_is_the_greatest() {
        assert!(Level::ALL.is_sorted() && Level::ALL.map(Level::status).is_sorted());
        assert!(Level::ALL.iter().all(|level| ![1, 2, 3, 70].contains(&level.status())));
    }
}
