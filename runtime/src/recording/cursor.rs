//! The cursor: where in a recording its player is, and what it has to remember of what came before.

use super::file::Frames;
use super::frame::{Clock, Entry, Frame, Named, Place, Totals};
use crate::diagnostic::Diagnostic;
use crate::kernel::ring;
use crate::pump::Happening;
use skep_flamegraphs::profile::Frame as Function;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of names, call chains and tables that are kept at a time, about: a recording is anybody's file.
const MOST: usize = 512 << 20;

/// Keys and the words of their values.
pub type Rows = Vec<(Vec<u8>, Vec<u64>)>;

/// A table that is kept.
#[derive(Default)]
pub struct Held {
    pub rows: Rows,
    bytes: usize,
}

pub struct Cursor {
    pub frames: Frames,
    next: Option<(u64, Frame)>,
    /// Time of the last frame that was taken.
    pub nanos: u64,
    started: Option<(Instant, u64)>,
    pub names: HashMap<Named, Option<String>>,
    /// Those of the whole recording were looked at.
    pub looked_ahead: bool,
    pub chains: HashMap<Place, Arc<[Arc<Function>]>>,
    pub tables: HashMap<u32, Held>,
    /// A table whose parts are still coming.
    partial: Held,
    pub entries: Vec<Entry>,
    /// Their numbers in the script that runs.
    pub own: Vec<usize>,
    pub runs: usize,
    pub ended: Option<i32>,
    pub clock: Option<Clock>,
    /// What the machine answered last, by what it was asked.
    pub readings: HashMap<String, String>,
    pub stopped: Option<String>,
    pub totals: Option<Totals>,
    /// Bytes of all that is kept, and those of call chains among them.
    held: usize,
    held_chains: usize,
    pub too_much: bool,
}

impl Cursor {
    pub fn new(frames: Frames) -> Cursor {
        Cursor {
            frames,
            next: None,
            nanos: 0,
            started: None,
            names: HashMap::new(),
            looked_ahead: false,
            chains: HashMap::new(),
            tables: HashMap::new(),
            partial: Held::default(),
            entries: Vec::new(),
            own: Vec::new(),
            runs: 0,
            ended: None,
            clock: None,
            readings: HashMap::new(),
            stopped: None,
            totals: None,
            held: 0,
            held_chains: 0,
            too_much: false,
        }
    }

    /// Another run has other tables, and numbers its call chains anew.
    pub fn begin_run(&mut self) {
        self.runs += 1;
        self.chains.clear();
        self.held -= std::mem::take(&mut self.held_chains);
        self.held -= self.tables.drain().map(|(_, table)| table.bytes).sum::<usize>();
    }

    pub fn forget_table(&mut self, n: u32) {
        self.held -= self.tables.remove(&n).map_or(0, |table| table.bytes);
    }

    pub fn peek(&mut self) -> Option<&Frame> {
        if self.next.is_none() && !self.too_much {
            self.next = self.frames.next_frame();
        }
        self.next.as_ref().map(|(_, frame)| frame)
    }

    pub fn take(&mut self) -> Option<Frame> {
        self.peek()?;
        let (nanos, frame) = self.next.take()?;
        self.nanos = nanos;
        Some(frame)
    }

    pub fn take_and_absorb(&mut self) {
        if let Some(frame) = self.take() {
            self.absorb(frame);
        }
    }

    pub fn skip(&mut self, which: impl Fn(&Frame) -> bool) {
        while self.peek().is_some_and(&which) {
            self.take_and_absorb();
        }
    }

    /// Does something happen next in this run? What comes before it is noted.
    pub fn goes_on(&mut self) -> bool {
        loop {
            match self.peek() {
                Some(Frame::Happened(_)) => return true,
                None | Some(Frame::Closed(_) | Frame::Run(_) | Frame::End(_)) => return false,
                Some(_) => self.take_and_absorb(),
            }
        }
    }

    /// Notes what the script did not ask for at its place.
    pub fn absorb(&mut self, frame: Frame) {
        match frame {
            Frame::Name(name) => {
                self.hold(64 + name.name.as_ref().map_or(0, String::len));
                self.names.insert(name.of, name.name);
            }
            Frame::Chain(chain) => {
                let bytes = chain.frames.iter().map(|frame| 160 + frame.name.len()).sum::<usize>();
                self.held_chains += bytes;
                self.hold(bytes);
                self.chains.insert(chain.place, chain.frames.into());
            }
            Frame::Table(table) => {
                let bytes = table.entries.iter().map(|(key, words)| 96 + key.len() + 8 * words.len()).sum::<usize>();
                self.hold(bytes);
                self.partial.bytes += bytes;
                self.partial.rows.extend(table.entries);
                if !table.more {
                    let whole = std::mem::take(&mut self.partial);
                    self.forget_table(table.n);
                    self.tables.insert(table.n, whole);
                }
            }
            Frame::Ended(status) => self.ended = Some(status),
            Frame::Clock(clock) => self.clock = Some(clock),
            Frame::Reading { what, json } => {
                self.hold(64 + what.len() + json.len());
                self.held -= self.readings.insert(what, json).map_or(0, |before| before.len());
            }
            Frame::Stopped(why) => self.stopped = Some(why),
            Frame::End(totals) => self.totals = Some(totals),
            Frame::Finishing
            | Frame::Run(_)
            | Frame::Told(_)
            | Frame::Happened(_)
            | Frame::Closed(_)
            | Frame::Imported { .. } => {}
        }
    }

    fn hold(&mut self, bytes: usize) {
        self.held += bytes;
        self.too_much |= self.held > MOST;
    }

    /// How long until the next frame, at this speed.
    pub fn wait(&mut self, speed: f64) -> Option<Duration> {
        let nanos = self.next.as_ref()?.0;
        let (started, first) = *self.started.get_or_insert_with(|| (Instant::now(), nanos));
        let due = Duration::try_from_secs_f64(nanos.saturating_sub(first) as f64 / 1e9 / speed).ok()?;
        due.checked_sub(started.elapsed()).filter(|wait| !wait.is_zero())
    }

    /// Records carry the number of their chain, which may be another one in this script.
    pub fn renumbered(&self, happening: Happening) -> Happening {
        let same = self.entries.iter().zip(&self.own).all(|(entry, own)| entry.number as usize == *own);
        let Happening::Events(batch) = happening else { return happening };
        if same {
            return Happening::Events(batch);
        }
        let mut renumbered = Vec::with_capacity(batch.len());
        for record in ring::records(&batch) {
            let Some((number, rest)) = record.split_first_chunk() else { continue };
            let number = u32::from_ne_bytes(*number);
            let known = self.entries.iter().zip(&self.own).find(|(entry, _)| entry.number == number);
            if let Some((_, own)) = known {
                ring::pack(&[&(*own as u32).to_ne_bytes(), rest].concat(), &mut renumbered);
            }
        }
        Happening::Events(renumbered)
    }

    pub fn no_more_runs(&self) -> Diagnostic {
        let runs = self.runs;
        let s = if runs == 1 { "" } else { "s" };
        Diagnostic::script(format!("the recording ends here: it has {runs} run{s}"))
            .help("skep replay --info FILE says what it has")
    }
}
