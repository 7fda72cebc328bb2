//! Runs as people read them: one line of a table each, from the lines that begin and end them.

use super::entry::Entry;
use super::log::{Log, unread};
use super::who::Process;
use crate::diagnostic::Diagnostic;
use crate::report::units;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Bytes of a line that are read: whoever wrote more is none of ours.
const LONGEST: usize = 1 << 20;

/// One run: its lines, and what became of it.
#[derive(Debug)]
pub struct Run {
    begin: Json,
    attaches: Vec<Json>,
    end: Option<Json>,
}

/// The newest runs, oldest first: at most `most` of them.
///
/// # Errors
/// The file cannot be read. A line that is none is left out: whether the log is whole is for `verify`.
pub fn runs(path: &Path, most: usize) -> Result<Vec<Run>, Diagnostic> {
    let failed = |error| unread(path, &error);
    let former = Log::new(path).former(1);
    let mut found: BTreeMap<u64, Run> = BTreeMap::new();
    for (file, needed) in [(former.as_path(), false), (path, true)] {
        let file = match File::open(file) {
            Err(_) if !needed => continue,
            file => file.map_err(failed)?,
        };
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).map_err(failed)? > 0 {
            let entry =
                (line.len() <= LONGEST).then(|| Entry::read(line.strip_suffix(b"\n").unwrap_or(&line))).flatten();
            line.clear();
            let Some(Entry { number, said, .. }) = entry else { continue };
            let run = said["run"].as_u64().and_then(|run| found.get_mut(&run));
            match (said["event"].as_str(), run) {
                (Some("begin"), _) => drop(found.insert(number, Run { begin: said, attaches: Vec::new(), end: None })),
                (Some("attach"), Some(run)) => run.attaches.push(said),
                (Some("end"), Some(run)) => run.end = Some(said),
                _ => {}
            }
            if found.len() > most {
                found.pop_first();
            }
        }
    }
    Ok(found.into_values().collect())
}

impl Run {
    fn user(&self) -> &str {
        let who = &self.begin["who"];
        // Who logged in, before they became somebody else.
        who["login"].as_str().or(who["user"].as_str()).unwrap_or("?")
    }

    /// `syscount`, or what stood on the command line.
    fn what(&self) -> String {
        match self.begin["script"]["name"].as_str() {
            Some("-e") => {
                self.begin["script"]["text"].as_str().unwrap_or("-e").split_whitespace().collect::<Vec<_>>().join(" ")
            }
            Some(name) => name.to_owned(),
            None => self.begin["command"].as_str().unwrap_or("?").to_owned(),
        }
    }

    fn points(&self) -> u64 {
        let lines = std::iter::once(&self.begin).chain(&self.attaches);
        let chains = lines.flat_map(|line| line["attach"].as_array().into_iter().flatten());
        chains.map(|chain| chain["points"].as_u64().unwrap_or(1)).sum()
    }

    /// What became of it: `completed`, `exit 10`, `error: …`, `runs`, `killed`.
    fn fate(&self) -> String {
        let Some(end) = &self.end else {
            return if self.runs() { "runs" } else { "no end: killed" }.to_owned();
        };
        match (end["how"].as_str(), end["status"].as_u64()) {
            (Some("error"), _) => format!("error: {}", end["error"].as_str().unwrap_or_default()),
            (Some("completed"), Some(status)) if status > 0 => format!("exit {status}"),
            (how, _) => how.unwrap_or("?").to_owned(),
        }
    }

    /// Is its process there still?
    fn runs(&self) -> bool {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let process = &self.begin["process"];
        let pid = process["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        let started = pid.and_then(Process::of).map(|found| found.started);
        self.begin["host"]["boot"] == boot.trim() && started.is_some() && started == process["started"].as_u64()
    }

    fn lost(&self) -> u64 {
        let trust = self.end.as_ref().map(|end| &end["trust"]);
        trust.map_or(0, |trust| trust["lost"].as_u64().unwrap_or(0) + trust["missed"].as_u64().unwrap_or(0))
    }

    /// All that the log has of it, in one object.
    pub fn json(&self) -> Json {
        json!({
            "type": "audit_run", "run": self.begin["n"], "fate": self.fate(), "begin": self.begin, "attach": self.attaches,
            "end": self.end,
        })
    }
}

/// A table of runs, under its headings.
pub fn table(runs: &[Run]) -> String {
    const HEADINGS: [&str; 7] = ["run", "time", "user", "points", "seconds", "lost", "what and how it ended"];
    let row = |run: &Run| {
        let time = run.begin["time"].as_str().unwrap_or_default().get(..19).unwrap_or_default().replace('T', " ");
        let seconds = run.end.as_ref().and_then(|end| end["seconds"].as_f64());
        let what: String = run.what().chars().take(60).collect();
        [
            run.begin["n"].to_string(),
            time,
            units::escape(run.user()).into_owned(),
            run.points().to_string(),
            seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.1}")),
            run.lost().to_string(),
            format!("{}: {}", units::escape(&what), units::escape(&run.fate())),
        ]
    };
    let rows: Vec<[String; 7]> = std::iter::once(HEADINGS.map(str::to_owned)).chain(runs.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut out = String::new();
    for [run, time, user, points, seconds, lost, what] in &rows {
        let [a, b, c, d, e, f, _] = widths;
        out += &format!("{run:>a$}  {time:<b$}  {user:<c$}  {points:>d$}  {seconds:>e$}  {lost:>f$}  {what}\n");
    }
    out
}
