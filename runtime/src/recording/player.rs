//! The player: tells a script what was recorded, in the order of then. Needs no privilege and looks at no machine.

use super::cursor::Cursor;
use super::file::{Ending, Frames, Refused};
use super::frame::{Clock, Closed, Entry, Frame, Named, Place};
use super::header::{HEADER, Header};
use super::identity;
use crate::aggregate::Entries;
use crate::diagnostic::Diagnostic;
use crate::library::Script;
use crate::plan::{self, Output};
use crate::prepare::Prepared;
use crate::pump::Happening;
use skep_flamegraphs::profile::Frame as Function;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub struct Player {
    pub header: Header,
    path: PathBuf,
    /// So many times as fast as it was; `None`: at once.
    speed: Option<f64>,
    inner: RefCell<Cursor>,
}

/// How the recording ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    Whole,
    /// Why it has not everything, for a warning.
    Missing(String),
}

/// What is wrong with a file that cannot be replayed.
pub fn refused(path: &Path, why: &Refused) -> Diagnostic {
    let path = path.display();
    match why {
        Refused::NoRecording => {
            Diagnostic::script(format!("`{path}` is no recording")).help("skep record -o FILE SCRIPT").nowhere()
        }
        Refused::Later { major, minor } => Diagnostic::script(format!(
            "`{path}` is a recording of format {major}.{minor}, this skep reads {}",
            super::file::MAJOR
        ))
        .help("replay it with the skep that recorded it, or a later one")
        .nowhere(),
        Refused::Failed(error) => Diagnostic::machine(format!("failed to read `{path}`: {error}")).nowhere(),
    }
}

/// Opens a recording at its first frame behind the header.
///
/// # Errors
/// The file cannot be read, is none, or of a later format.
pub fn open(path: &Path) -> Result<(Header, Frames), Diagnostic> {
    let mut frames = Frames::open(path).map_err(|why| refused(path, &why))?;
    match frames.first(HEADER).and_then(Header::read) {
        Some(header) => Ok((header, frames)),
        None => {
            Err(Diagnostic::script(format!("`{}` is damaged: its header cannot be read", path.display())).nowhere())
        }
    }
}

impl Player {
    /// # Errors
    /// As [`open`].
    pub fn open(path: &Path, speed: Option<f64>) -> Result<Player, Diagnostic> {
        let (header, frames) = open(path)?;
        Ok(Player { header, path: path.to_owned(), speed, inner: RefCell::new(Cursor::new(frames)) })
    }

    /// Goes to the next run, and gives what its chains are made of.
    ///
    /// # Errors
    /// There is none, or its chains ask for something else.
    pub fn run(&self, numbers: &[usize], chains: &[&plan::Entry]) -> Result<Vec<Prepared>, Diagnostic> {
        let mut inner = self.inner.borrow_mut();
        let run = loop {
            match inner.take() {
                Some(Frame::Run(run)) => break run,
                Some(other) => inner.absorb(other),
                None => return Err(inner.no_more_runs().at(chains.first().and_then(|chain| chain.position))),
            }
        };
        inner.begin_run();
        for (n, chain) in chains.iter().enumerate() {
            match run.entries.get(n) {
                Some(entry) => identity::check(chain, &entry.identity)?,
                None => {
                    let error = format!("the recording has no `{}` here", chain.source_text());
                    return Err(Diagnostic::script(error).at(chain.position));
                }
            }
        }
        if let Some(more) = run.entries.get(chains.len()) {
            let source = more.identity.first().map_or("", String::as_str);
            let error = format!("the recording has one more chain in this run, `{source}`");
            return Err(Diagnostic::script(error).at(chains.last().and_then(|chain| chain.position)));
        }
        let fits = run.entries.iter().zip(chains).all(|(entry, chain)| columns(chain) == entry.columns.len());
        if !fits {
            return Err(Diagnostic::script("the recording is damaged: columns are missing").nowhere());
        }
        inner.own = numbers.to_vec();
        inner.entries = run.entries;
        Ok(inner.entries.iter().map(prepared).collect())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Was no run of it replayed?
    pub fn is_unread(&self) -> bool {
        self.inner.borrow().runs == 0
    }

    /// Which chains of the run have tables.
    pub fn counts(&self, n: usize) -> bool {
        self.inner.borrow().entries.get(n).is_some_and(|entry| entry.kind.is_some())
    }

    /// Lines about the machine of then.
    pub fn told(&self) -> Vec<String> {
        let mut inner = self.inner.borrow_mut();
        let mut lines = Vec::new();
        while matches!(inner.peek(), Some(Frame::Told(_))) {
            if let Some(Frame::Told(line)) = inner.take() {
                lines.push(line);
            }
        }
        lines
    }

    /// What happened next in this run, at its time; `None` when it is over. `idle` is called before a wait.
    pub fn happened(&self, idle: impl FnOnce()) -> Option<Happening> {
        let mut inner = self.inner.borrow_mut();
        if !inner.goes_on() {
            return None;
        }
        let wait = self.speed.and_then(|speed| inner.wait(speed));
        let happening = match inner.take() {
            Some(Frame::Happened(happening)) => happening,
            _ => return None,
        };
        let happening = inner.renumbered(happening);
        drop(inner);
        if let Some(wait) = wait {
            idle();
            std::thread::sleep(wait);
        }
        Some(happening)
    }

    /// Was the script told here that it is over?
    pub fn ended(&self) -> Option<i32> {
        let mut inner = self.inner.borrow_mut();
        inner.skip(|frame| matches!(frame, Frame::Ended(_) | Frame::Name(_) | Frame::Chain(_)));
        inner.ended.take()
    }

    /// What chain `n` had counted: here, or else when it was last asked for.
    pub fn table(&self, n: usize) -> Entries {
        let mut inner = self.inner.borrow_mut();
        let n = n as u32;
        loop {
            match inner.peek() {
                Some(Frame::Table(table)) => {
                    let last = table.n == n && !table.more;
                    inner.take_and_absorb();
                    if last {
                        break;
                    }
                }
                Some(Frame::Name(_) | Frame::Chain(_)) => inner.take_and_absorb(),
                _ => break,
            }
        }
        let rows = inner.tables.get(&n).map(|table| &table.rows);
        rows.into_iter().flatten().map(|(key, words)| (key, words)).collect()
    }

    /// Chain `n` begins anew.
    pub fn clear(&self, n: usize) {
        self.inner.borrow_mut().forget_table(n as u32);
    }

    /// What was known when the run was over; of a recording that is cut short, nothing.
    pub fn closed(&self) -> Closed {
        let mut inner = self.inner.borrow_mut();
        while !matches!(inner.peek(), None | Some(Frame::Closed(_) | Frame::Run(_))) {
            inner.take_and_absorb();
        }
        match inner.peek() {
            Some(Frame::Closed(_)) => match inner.take() {
                Some(Frame::Closed(closed)) => closed,
                _ => Closed::default(),
            },
            _ => Closed::default(),
        }
    }

    /// What a number was called.
    pub fn name(&self, of: Named) -> Option<String> {
        let mut inner = self.inner.borrow_mut();
        if matches!(inner.peek(), Some(Frame::Name(name)) if name.of == of) {
            inner.take_and_absorb();
        }
        if let Some(known) = inner.names.get(&of) {
            return known.clone();
        }
        // Shown otherwise than when it was recorded, so asked for earlier: what it was called later will do.
        if !inner.looked_ahead {
            inner.looked_ahead = true;
            self.look_ahead(&mut inner);
        }
        inner.names.get(&of).cloned().flatten()
    }

    fn look_ahead(&self, inner: &mut Cursor) {
        let Ok((_, mut frames)) = open(&self.path) else { return };
        while let Some((_, frame)) = frames.next_frame() {
            if let Frame::Name(name) = frame
                && !inner.names.contains_key(&name.of)
            {
                inner.absorb(Frame::Name(name));
            }
            if inner.too_much {
                return;
            }
        }
    }

    /// The frames of a call chain, the innermost first.
    pub fn chain(&self, place: Place) -> Option<Arc<[Arc<Function>]>> {
        let mut inner = self.inner.borrow_mut();
        inner.skip(|frame| matches!(frame, Frame::Chain(_)));
        inner.chains.get(&place).cloned()
    }

    /// The time that the script was told.
    pub fn clock(&self) -> Clock {
        let mut inner = self.inner.borrow_mut();
        inner.skip(|frame| matches!(frame, Frame::Name(_) | Frame::Chain(_)));
        if matches!(inner.peek(), Some(Frame::Clock(_))) {
            inner.take_and_absorb();
            return inner.clock.unwrap_or_default();
        }
        // It did not ask then.
        let nanos = self.header.began.saturating_add(inner.nanos);
        Clock { nanos, ahead: inner.clock.unwrap_or_default().ahead }
    }

    /// What the machine answered here, or when it was asked last; as JSON.
    pub fn reading(&self, what: &str) -> Option<serde_json::Value> {
        let mut inner = self.inner.borrow_mut();
        inner.skip(|frame| matches!(frame, Frame::Name(_) | Frame::Chain(_)));
        if matches!(inner.peek(), Some(Frame::Reading { what: known, .. }) if known == what) {
            inner.take_and_absorb();
        }
        inner.readings.get(what).and_then(|json| serde_json::from_str(json).ok())
    }

    /// The script that was imported here.
    pub fn imported(&self, path: &str) -> Option<Script> {
        let mut inner = self.inner.borrow_mut();
        match inner.peek() {
            Some(Frame::Imported { path: known, .. }) if known == path => match inner.take() {
                Some(Frame::Imported { name, text, .. }) => Some(Script { name, text: text.into() }),
                _ => None,
            },
            _ => None,
        }
    }

    /// Reads what is left. Says what the recording lacks.
    pub fn finish(&self) -> Rest {
        let mut inner = self.inner.borrow_mut();
        while let Some(frame) = inner.take() {
            inner.absorb(frame);
        }
        let at = crate::report::units::duration(inner.nanos.into());
        let missing = match (&inner.stopped, inner.frames.ending()) {
            _ if inner.too_much => format!("has more names and values than fit in memory; it was read up to {at}"),
            (_, Some(Ending::Damaged)) => format!("is damaged {at} after its begin"),
            (_, Some(Ending::Failed(error))) => format!("cannot be read {at} after its begin: {error}"),
            (_, Some(Ending::Unknown(kind))) => {
                format!("has frames of kind {kind} {at} after its begin, which only a later skep reads")
            }
            _ if inner.totals.is_none() => format!("is cut short {at} after its begin"),
            (Some(why), _) => format!("stops {at} after its begin: {why}"),
            _ => return Rest::Whole,
        };
        Rest::Missing(format!("the recording {missing}"))
    }
}

fn columns(chain: &plan::Entry) -> usize {
    match &chain.output {
        Output::Stream { columns, .. } => chain.key.len() + columns.len(),
        _ => chain.key.len(),
    }
}

/// As much of it as decoding needs: nothing that could be loaded.
fn prepared(entry: &Entry) -> Prepared {
    Prepared {
        units: Vec::new(),
        span: None,
        columns: entry.columns.clone(),
        value_unsigned: entry.unsigned,
        value_show: entry.show,
        aggregate: None,
        record_size: 0,
        probes: HashMap::new(),
        copies: entry.samples.then_some(0),
    }
}
