//! The recorder: writes down what a script's thread is told, in the order in which it is told.

use super::file::Blocks;
use super::frame::{self, Clock, Closed, Entries, Entry, Frame, Name, Named, Place, Run, Totals};
use super::header::{HEADER, Header};
use super::identity;
use super::wire::Writer;
use crate::aggregate;
use crate::aggregate::column::Show;
use crate::diagnostic::Diagnostic;
use crate::kernel::load::text;
use crate::kernel::ring;
use crate::plan;
use crate::prepare::Prepared;
use crate::pump::Happening;
use crate::session;
use skep_flamegraphs::profile::Frame as Function;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What nothing else says: a file of 64 MB holds some ten million small events.
pub const DEFAULT_SIZE: u64 = 64 << 20;
/// Why a recording stops that has no more room.
pub const FULL: &str = "it was as large as it might be";
/// Bytes of a table's part.
const PART: usize = 128 << 10;
/// The longest that what was told waits in memory, as long as anything is told.
const PATIENCE: Duration = Duration::from_secs(1);

/// A recording that is being made.
pub struct Recorder {
    path: PathBuf,
    limit: u64,
    began: Instant,
    inner: RefCell<Inner>,
}

struct Inner {
    blocks: Blocks,
    totals: Totals,
    names: HashMap<Named, Option<String>>,
    chains: HashSet<Place>,
    /// Chains of the run that is recorded whose records are not: skep has counted them.
    samples: Vec<u32>,
    tables: u64,
    closed_block: Instant,
    stopped: bool,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub events: u64,
    pub tables: u64,
    pub bytes: u64,
    pub raw: u64,
}

impl Recorder {
    /// Begins a file of at most about `limit` bytes.
    ///
    /// # Errors
    /// A machine diagnostic: it cannot be written.
    pub fn create(path: &Path, header: &Header, limit: u64) -> Result<Recorder, Diagnostic> {
        let failed = |error: std::io::Error| {
            Diagnostic::machine(format!("failed to write `{}`: {}", path.display(), text(&error)))
        };
        let mut blocks = File::create(path).and_then(Blocks::create).map_err(failed)?;
        blocks.put(0, |out| {
            out.0.extend_from_slice(header.json().to_string().as_bytes());
            HEADER
        });
        blocks.close_block();
        let now = Instant::now();
        let inner = Inner {
            blocks,
            totals: Totals::default(),
            names: HashMap::new(),
            chains: HashSet::new(),
            samples: Vec::new(),
            tables: 0,
            closed_block: now,
            stopped: false,
        };
        Ok(Recorder { path: path.to_owned(), limit, began: now, inner: RefCell::new(inner) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn put(&self, write: impl FnOnce(&mut Writer) -> u8) {
        let mut inner = self.inner.borrow_mut();
        if inner.stopped {
            return;
        }
        let now = Instant::now();
        let nanos = self.since(now);
        if inner.blocks.length() > self.limit {
            inner.blocks.put(nanos, |out| Frame::Stopped(FULL.to_owned()).write(out));
            inner.stopped = true;
            return;
        }
        inner.totals.frames += 1;
        inner.totals.nanos = nanos;
        inner.blocks.put(nanos, write);
        if now.duration_since(inner.closed_block) > PATIENCE {
            inner.blocks.close_block();
            inner.closed_block = now;
        }
    }

    fn since(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    fn frame(&self, frame: &Frame) {
        self.put(|out| frame.write(out));
    }

    /// Chains were attached.
    pub fn run(&self, numbers: &[usize], entries: &[(&plan::Entry, &Prepared)]) {
        let entry = |(number, (entry, prepared)): (&usize, &(&plan::Entry, &Prepared))| Entry {
            number: *number as u32,
            identity: identity::of(entry),
            columns: prepared.columns.clone(),
            kind: session::counts(prepared).then(|| session::spec(entry, prepared).kind),
            unsigned: prepared.value_unsigned,
            show: prepared.value_show,
            samples: prepared.copies.is_some(),
        };
        let entries: Vec<Entry> = numbers.iter().zip(entries).map(entry).collect();
        {
            let mut inner = self.inner.borrow_mut();
            inner.samples = entries.iter().filter(|entry| entry.samples).map(|entry| entry.number).collect();
            // Another run's tables of call chains are others.
            inner.chains.clear();
        }
        self.frame(&Frame::Run(Run { entries }));
    }

    pub fn told(&self, line: &str) {
        self.frame(&Frame::Told(line.to_owned()));
    }

    pub fn ended(&self, status: i32) {
        self.frame(&Frame::Ended(status));
    }

    pub fn happened(&self, happening: &Happening) {
        let Happening::Events(batch) = happening else {
            return self.frame(&Frame::Happened(happening.clone()));
        };
        let own = {
            let mut inner = self.inner.borrow_mut();
            if inner.stopped {
                return;
            }
            let own = (!inner.samples.is_empty()).then(|| without(batch, &inner.samples));
            inner.totals.events += ring::records(own.as_deref().unwrap_or(batch)).count() as u64;
            own
        };
        let batch = own.as_deref().unwrap_or(batch);
        if !batch.is_empty() {
            self.put(|out| {
                out.0.extend_from_slice(batch);
                frame::EVENTS
            });
        }
    }

    /// What chain `n` of the run had counted when it was asked.
    pub fn table(&self, n: usize, entries: &aggregate::Entries) {
        self.inner.borrow_mut().tables += 1;
        let entries: Vec<_> = entries.iter().map(|(key, words)| (key.to_vec(), words.to_vec())).collect();
        parts(n, &entries, |part| self.frame(&Frame::Table(part)));
    }

    /// The run is over: its last events and its values follow.
    pub fn finishing(&self) {
        self.frame(&Frame::Finishing);
    }

    /// What a number was called; written down when it is new.
    pub fn name(&self, of: Named, name: Option<&String>) {
        let known = self.inner.borrow().names.get(&of).is_some_and(|known| known.as_ref() == name);
        if !known {
            self.inner.borrow_mut().names.insert(of, name.cloned());
            self.frame(&Frame::Name(Name { of, name: name.cloned() }));
        }
    }

    /// What a call chain's number stood for.
    pub fn chain(&self, place: Place, frames: &[Arc<Function>]) {
        if self.inner.borrow_mut().chains.insert(place) {
            self.put(|out| frame::write_chain(out, place, frames));
        }
    }

    pub fn clock(&self, clock: Clock) {
        self.frame(&Frame::Clock(clock));
    }

    pub fn imported(&self, path: &str, script: &crate::library::Script) {
        let (name, text) = (script.name.clone(), script.text.clone().into_owned());
        self.frame(&Frame::Imported { path: path.to_owned(), name, text });
    }

    /// What the machine answered.
    pub fn reading(&self, what: &str, answer: &serde_json::Value) {
        self.frame(&Frame::Reading { what: what.to_owned(), json: answer.to_string() });
    }

    pub fn closed(&self, closed: &Closed) {
        let lost = closed.trust.iter().map(|trust| trust.lost()).sum::<u64>();
        self.inner.borrow_mut().totals.lost += lost;
        self.frame(&Frame::Closed(closed.clone()));
    }

    /// Is there no more room for events? An eighth of the file is kept for the values at the end.
    pub fn is_full(&self) -> bool {
        let inner = self.inner.borrow();
        !inner.stopped && (inner.blocks.length() > self.limit - self.limit / 8 || inner.blocks.is_broken())
    }

    /// Nothing is recorded from here on.
    pub fn stop(&self, why: &str) {
        self.frame(&Frame::Stopped(why.to_owned()));
        self.inner.borrow_mut().stopped = true;
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Writes the end.
    ///
    /// # Errors
    /// A machine diagnostic: the file could not be written.
    pub fn finish(&self) -> Result<Written, Diagnostic> {
        let mut inner = self.inner.borrow_mut();
        let totals = inner.totals;
        inner.blocks.put(totals.nanos, |out| Frame::End(totals).write(out));
        inner.stopped = true;
        let bytes = inner.blocks.finish().map_err(|error| {
            Diagnostic::machine(format!("failed to write `{}`: {}", self.path.display(), text(&error))).nowhere()
        })?;
        Ok(Written { events: totals.events, tables: inner.tables, bytes, raw: inner.blocks.raw() })
    }
}

/// A table in parts that fit a block: one at least.
pub fn parts(n: usize, entries: &[(Vec<u8>, Vec<u64>)], mut put: impl FnMut(Entries)) {
    let mut rest = entries;
    loop {
        let mut bytes = 0;
        let fits = rest.iter().take_while(|(key, words)| {
            bytes += key.len() + 10 * words.len();
            bytes < PART
        });
        let (part, others) = rest.split_at(fits.count().clamp(1.min(rest.len()), rest.len()));
        rest = others;
        put(Entries { n: n as u32, more: !rest.is_empty(), entries: part.to_vec() });
        if rest.is_empty() {
            return;
        }
    }
}

/// How numbers of this kind are named; `None`: they are no names of the machine's.
pub fn named(show: &Show, number: u64) -> Option<Named> {
    let own = matches!(show, Show::Decimal | Show::Hex | Show::Duration | Show::Enum(_) | Show::Stack(_));
    (!own).then(|| Named { kind: super::layout::show_number(show), number, process: 0 })
}

/// A batch without the records of some chains.
fn without(batch: &[u8], chains: &[u32]) -> Vec<u8> {
    let mut left = Vec::new();
    for record in ring::records(batch) {
        let source = record.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
        if !source.is_some_and(|source| chains.contains(&source)) {
            ring::pack(record, &mut left);
        }
    }
    left
}
