//! Recordings: what a script's thread was told, written down, and told again to a script on any machine.
//!
//! ```text
//! kernel ─► session, pump ─► feed ─► script        live
//!                             └► recorder ─► file   `skep record`
//! file ─► player ─► feed ─► script                  `skep replay`: no privilege, nothing of this machine is looked at
//! ```
//!
//! What the machine answers while the script runs (names of numbers, frames of call chains, the time) goes through the
//! [`Tape`]: it is kept beside what was told, and given again in the same order.

mod cursor;
pub mod file;
pub mod frame;
pub mod header;
pub mod identity;
pub mod info;
mod layout;
pub mod merge;
pub mod player;
pub mod recorder;
#[cfg(test)]
mod tests;
pub mod wire;

use crate::aggregate::column::{self, Show};
use crate::aggregate::table::Table;
use crate::diagnostic::Diagnostic;
use crate::kernel::clock;
use crate::library::Script;
use crate::report::text;
use frame::{Clock, Named, USER_SYMBOL};
use player::Player;
use recorder::{Recorder, named};
use serde_json::Value as Json;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Is what this machine answers written down, or is it that of another time?
#[derive(Clone, Default)]
pub enum Tape {
    #[default]
    Off,
    Recording(Rc<Recorder>),
    Replaying(Rc<Player>),
}

impl Tape {
    pub fn recorder(&self) -> Option<&Rc<Recorder>> {
        match self {
            Tape::Recording(recorder) => Some(recorder),
            _ => None,
        }
    }

    pub fn player(&self) -> Option<&Rc<Player>> {
        match self {
            Tape::Replaying(player) => Some(player),
            _ => None,
        }
    }

    /// The name of a number.
    pub fn name(&self, show: &Show, number: u64, live: impl FnOnce() -> Option<String>) -> Option<String> {
        match named(show, number) {
            Some(of) => self.answer(of, live),
            None => live(),
        }
    }

    /// The symbol of an address in a process.
    pub fn user_symbol(&self, process: u32, number: u64, live: impl FnOnce() -> Option<String>) -> Option<String> {
        self.answer(Named { kind: USER_SYMBOL, number, process }, live)
    }

    fn answer(&self, of: Named, live: impl FnOnce() -> Option<String>) -> Option<String> {
        match self {
            Tape::Off => live(),
            Tape::Recording(recorder) => {
                let name = live();
                recorder.name(of, name.as_ref());
                name
            }
            Tape::Replaying(player) => player.name(of),
        }
    }

    /// The time of day.
    pub fn clock(&self) -> Clock {
        if let Tape::Replaying(player) = self {
            return player.clock();
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let clock = Clock { nanos, ahead: clock::ahead(since.as_secs().cast_signed()) };
        if let Tape::Recording(recorder) = self {
            recorder.clock(clock);
        }
        clock
    }

    /// The status that the script is told to end with, the first time that it is told.
    pub fn ended(&self, live: impl FnOnce() -> Option<i32>) -> Option<i32> {
        match self {
            Tape::Off => live(),
            Tape::Recording(recorder) => live().inspect(|status| recorder.ended(*status)),
            Tape::Replaying(player) => player.ended(),
        }
    }

    /// What the machine answers to `what`.
    ///
    /// # Errors
    /// What `live` fails with; a script diagnostic where a recording has no such answer.
    pub fn reading(&self, what: &str, live: impl FnOnce() -> Result<Json, Diagnostic>) -> Result<Json, Diagnostic> {
        match self {
            Tape::Off => live(),
            Tape::Recording(recorder) => live().inspect(|answer| recorder.reading(what, answer)),
            Tape::Replaying(player) => player.reading(what).ok_or_else(|| {
                Diagnostic::script(format!("the recording has no reading of {what}"))
                    .help("skep record -o FILE SCRIPT      (a recording has what its script read)")
            }),
        }
    }

    /// Keeps a line about the machine.
    pub fn told(&self, line: &str) {
        if let Tape::Recording(recorder) = self {
            recorder.told(line);
        }
    }

    /// A script that another one imports.
    pub fn imported(&self, path: &str, live: impl FnOnce() -> Option<Script>) -> Option<Script> {
        match self {
            Tape::Off => live(),
            Tape::Recording(recorder) => live().inspect(|script| recorder.imported(path, script)),
            // A script that was given anew may import others.
            Tape::Replaying(player) => player.imported(path).or_else(live),
        }
    }

    /// Has the recording no more room for events?
    pub fn is_full(&self) -> bool {
        self.recorder().is_some_and(|recorder| recorder.is_full())
    }
}

/// Asks for the names of all that a table shows: another view of it may show rows that this run does not.
pub fn name_all(table: &Table, names: &dyn column::Names) {
    for (value, column) in table.rows().iter().flat_map(|row| row.key.iter().zip(&table.spec.key)) {
        if !column.is_stack() {
            let _asked = text::value(value, column, names);
        }
    }
}
