//! One run in the log: a line before anything is attached, one for each further attachment, one at the end.

use super::entry::hash;
use super::log::{Log, USUAL, refusal};
use super::who::who;
use crate::diagnostic::Diagnostic;
use crate::interactive::jobs;
use crate::library::Script;
use crate::plan::Entry;
use crate::prepare::{Prepared, Restrict};
use crate::report::finding::Finding;
use crate::report::plan::{filters, points};
use crate::trust::Trust;
use serde_json::{Map, Value as Json, json};
use std::cell::{Cell, OnceCell, RefCell};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Attach points of one chain that are named; the others are counted.
const NAMED: usize = 64;

/// Bytes of a text that are kept; its hash is of all of it.
const KEPT: usize = 4096;

/// What a run tells the log, if anybody keeps one.
pub struct Audit {
    log: Log,
    /// Somebody asked for it: nothing runs that is not in it.
    asked: bool,
    /// What is run, by whom it was said.
    subject: Map<String, Json>,
    /// The line that somebody typed last, in a session.
    typed: RefCell<Option<Script>>,
    /// The number of the line that it began with.
    run: OnceCell<u64>,
    began: Instant,
    over: Cell<bool>,
    /// It was said that a line is missing.
    warned: Cell<bool>,
}

/// How a run ended.
#[derive(Default)]
pub struct Outcome<'a> {
    pub status: u8,
    pub error: Option<&'a Diagnostic>,
    pub trust: Option<&'a Trust>,
    pub findings: &'a [Finding],
}

impl Audit {
    /// The log of this process: the one that was asked for, or the usual one if its folder is there.
    pub fn chosen(asked: Option<PathBuf>, subject: Map<String, Json>) -> Option<Audit> {
        let usual = || Path::new(USUAL).parent().is_some_and(Path::is_dir).then(|| PathBuf::from(USUAL));
        let (path, asked) = match asked {
            Some(path) => (path, true),
            None => (usual()?, false),
        };
        Some(Audit {
            log: Log::new(path),
            asked,
            subject,
            typed: RefCell::default(),
            run: OnceCell::new(),
            began: Instant::now(),
            over: Cell::new(false),
            warned: Cell::new(false),
        })
    }

    /// The log's file.
    pub fn path(&self) -> &Path {
        &self.log.path
    }

    /// Says what somebody typed: what is attached next is of it.
    pub fn typed(&self, line: &Script) {
        self.typed.replace(Some(line.clone()));
    }

    /// Writes what is about to be attached, or put in place. A line for the user where that cannot be done and nobody
    /// asked for it.
    ///
    /// # Errors
    /// A machine diagnostic: the log was asked for and cannot be written.
    pub fn attaches(&self, what: Json) -> Result<Option<String>, Diagnostic> {
        let mut line = Map::new();
        match self.run.get() {
            Some(run) => line.extend([("event".to_owned(), "attach".into()), ("run".into(), (*run).into())]),
            None => {
                line.insert("event".into(), "begin".into());
                line.extend(who());
                line.extend(self.subject.clone());
            }
        }
        if let Some(typed) = &*self.typed.borrow() {
            line.insert("typed".into(), script(typed));
        }
        line.insert("attach".into(), what);
        match self.log.append(line) {
            Ok(number) => {
                let _begun = self.run.set(number);
                Ok(None)
            }
            Err(error) => {
                let refusal = refusal(&self.log.path, &error);
                if self.asked {
                    let error = Diagnostic::machine(format!("nothing is attached without its audit: {refusal}"));
                    return Err(error.nowhere().help(format!("skep audit verify {}", self.log.path.display())));
                }
                let first = !self.warned.replace(true);
                Ok(first.then(|| format!("warning: this run is not in the audit log: {refusal}")))
            }
        }
    }

    /// Writes how it ended, if it began. A line for the user where that cannot be done.
    pub fn ended(&self, outcome: &Outcome<'_>) -> Option<String> {
        let how = if outcome.error.is_some() { "error" } else { "completed" };
        let mut line = Map::from_iter([("status".to_owned(), outcome.status.into()), ("how".to_owned(), how.into())]);
        if let Some(error) = outcome.error {
            line.insert("error".into(), error.message.clone().into());
        }
        if let Some(trust) = outcome.trust {
            let counts: Map<_, _> = trust.counts().map(|(name, count)| (name.to_owned(), Json::from(count))).collect();
            line.insert("trust".into(), counts.into());
            line.insert("cost".into(), trust.cost().into());
        }
        let finding =
            |one: &Finding| json!({ "level": one.level.name(), "text": kept(&one.text), "script": one.script });
        line.insert("findings".into(), outcome.findings.iter().map(finding).collect());
        self.end(line)
    }

    fn end(&self, said: Map<String, Json>) -> Option<String> {
        let run = self.run.get().filter(|_| !self.over.replace(true))?;
        let seconds = self.began.elapsed().as_secs_f64();
        let mut line = Map::from_iter([
            ("event".to_owned(), "end".into()),
            ("run".to_owned(), (*run).into()),
            ("seconds".to_owned(), seconds.into()),
        ]);
        line.extend(said);
        let failed = self.log.append(line).err()?;
        Some(format!("warning: the end of this run is not in the audit log: {}", refusal(&self.log.path, &failed)))
    }
}

/// A run that nobody ended: it panicked, or was given up.
impl Drop for Audit {
    fn drop(&mut self) {
        let how = if std::thread::panicking() { "panic" } else { "given up" };
        // Nobody is there any more to be told.
        let _unsaid = self.end(Map::from_iter([("how".to_owned(), how.into())]));
    }
}

/// A script: its name and hash, and its text where no file has it.
pub fn script(script: &Script) -> Json {
    let mut said = json!({ "name": script.name, "sha256": hash(script.text.as_bytes()) });
    if script.name == "-e" || script.name.starts_with("line ") {
        said["text"] = kept(&script.text).into();
    }
    said
}

/// The beginning of a text; all of it is in its hash.
pub fn kept(text: &str) -> String {
    match text.char_indices().map(|(at, _)| at).find(|at| *at >= KEPT) {
        Some(end) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Chains as the log has them: what, where, by which templates, and what restricts them.
pub fn attached(entries: &[(&Entry, &Prepared)], restrict: &Restrict) -> Json {
    let one = |(entry, prepared): &(&Entry, &Prepared)| {
        let starts = prepared.span.iter().flat_map(|span| &span.units);
        let units: Vec<_> = prepared.units.iter().chain(starts).collect();
        let mut templates: Vec<&str> = units.iter().map(|unit| unit.template.name.as_str()).collect();
        templates.dedup();
        let programs = units.iter().flat_map(|unit| &unit.programs);
        let shown = programs.flat_map(|program| &program.attach).map(|attach| attach.shown.as_str());
        json!({
            "what": jobs::what(entry), "templates": templates, "points": points(prepared),
            "at": shown.take(NAMED).collect::<Vec<_>>(), "filter": filters(entry, restrict),
        })
    };
    entries.iter().map(one).collect()
}
