//! Frames: what a recording says, one thing each, in the order in which the script's thread was told.

use super::layout;
use super::wire::{Reader, Writer};
use crate::aggregate::cell::Kind;
use crate::aggregate::column::{ColumnType, Show};
use crate::pump::Happening;
use crate::trust::Trust;
use skep_flamegraphs::profile::{Frame as Function, Module, Origin};
use std::sync::Arc;

/// From here on a reader that does not know a kind of frame skips it; below, it cannot read on.
pub const OPTIONAL: u8 = 128;

#[derive(Clone, Debug)]
pub enum Frame {
    /// Chains were attached.
    Run(Run),
    /// A line about the machine, for standard error.
    Told(String),
    Happened(Happening),
    /// A run is over: its last events and its values follow.
    Finishing,
    /// The script was told that it is over, with this exit status.
    Ended(i32),
    Table(Entries),
    Name(Name),
    Chain(Chain),
    Clock(Clock),
    /// A script that was imported, by this path.
    Imported {
        path: String,
        name: String,
        text: String,
    },
    Closed(Closed),
    /// What the machine was asked, and its answer in JSON.
    Reading {
        what: String,
        json: String,
    },
    /// Nothing was recorded from here on, for this reason; the run went on.
    Stopped(String),
    End(Totals),
}

/// What began at once.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub entries: Vec<Entry>,
}

/// A chain of the script, as much of it as its records and values need.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its number, which its records carry.
    pub number: u32,
    pub identity: Vec<String>,
    pub columns: Vec<ColumnType>,
    /// Of a table; `None` of a stream.
    pub kind: Option<Kind>,
    pub unsigned: bool,
    pub show: Show,
    /// Its events were samples, counted by skep and not by the kernel.
    pub samples: bool,
}

/// Keys and values of chain `n` of the run, as the kernel had them; a large table comes in several parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Entries {
    pub n: u32,
    /// Another part follows.
    pub more: bool,
    pub entries: Vec<(Vec<u8>, Vec<u64>)>,
}

/// What a number was called from here on; `None`: it had no name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub of: Named,
    pub name: Option<String>,
}

/// What has a name: a number of a kind, see [`layout::show_number`], or an address in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Named {
    pub kind: u8,
    pub number: u64,
    pub process: u32,
}

/// The kind of a symbol of a process.
pub const USER_SYMBOL: u8 = 64;

/// The frames that a call chain's number stands for, the innermost first.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    pub place: Place,
    pub frames: Vec<Arc<Function>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub user: bool,
    pub number: u64,
    /// Where a function that has just begun returns to, or 0.
    pub caller: u64,
}

/// What the script was told when it asked for the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds since 1970.
    pub nanos: u64,
    /// Seconds of local time ahead of UTC.
    pub ahead: i32,
}

/// What was known when a run was over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Nanoseconds since 1970, and how many the run took.
    pub began: u64,
    pub took: u64,
    /// Of each chain.
    pub trust: Vec<Trust>,
    /// Frames of call chains that were shown, and those without a name.
    pub frames: Option<(u64, u64)>,
    pub left_out: Option<u64>,
}

/// What a whole recording comes to: without it, it is cut short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub frames: u64,
    pub events: u64,
    pub lost: u64,
    pub nanos: u64,
}

/// Why a frame cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    Damaged,
    /// A later skep's.
    Unknown(u8),
}

const RUN: u8 = 1;
const TOLD: u8 = 2;
pub const EVENTS: u8 = 3;
const TICK: u8 = 4;
const OVER: u8 = 5;
const ENDED: u8 = 6;
const TABLE: u8 = 7;
const NAME: u8 = 8;
const CHAIN: u8 = 9;
const CLOCK: u8 = 10;
const CLOSED: u8 = 11;
const STOPPED: u8 = 12;
const END: u8 = 13;
const IMPORTED: u8 = 14;
const FINISHING: u8 = 15;
const READING: u8 = 16;

impl Frame {
    /// Writes what stands behind kind and time, and gives the kind.
    pub fn write(&self, out: &mut Writer) -> u8 {
        match self {
            Frame::Run(run) => {
                out.list(&run.entries, write_entry);
                RUN
            }
            Frame::Told(text) => {
                out.text(text);
                TOLD
            }
            Frame::Happened(happening) => write_happening(out, happening),
            Frame::Finishing => FINISHING,
            Frame::Ended(status) => {
                out.signed((*status).into());
                ENDED
            }
            Frame::Table(table) => {
                out.number(table.n.into());
                out.flag(table.more);
                out.list(&table.entries, |out, (key, words)| {
                    out.bytes(key);
                    out.list(words, |out, word| out.number(*word));
                });
                TABLE
            }
            Frame::Name(Name { of, name }) => {
                out.byte(of.kind);
                out.number(of.number);
                out.number(of.process.into());
                out.maybe(name.as_deref(), Writer::text);
                NAME
            }
            Frame::Chain(chain) => {
                write_chain(out, chain.place, &chain.frames);
                CHAIN
            }
            Frame::Clock(clock) => {
                out.number(clock.nanos);
                out.signed(clock.ahead.into());
                CLOCK
            }
            Frame::Imported { path, name, text } => {
                [path, name, text].into_iter().for_each(|part| out.text(part));
                IMPORTED
            }
            Frame::Closed(closed) => {
                out.number(closed.began);
                out.number(closed.took);
                out.list(&closed.trust, layout::write_trust);
                out.maybe(closed.frames, |out, (frames, unresolved)| {
                    out.number(frames);
                    out.number(unresolved);
                });
                out.maybe(closed.left_out, Writer::number);
                CLOSED
            }
            Frame::Reading { what, json } => {
                [what, json].into_iter().for_each(|part| out.text(part));
                READING
            }
            Frame::Stopped(why) => {
                out.text(why);
                STOPPED
            }
            Frame::End(totals) => {
                [totals.frames, totals.events, totals.lost, totals.nanos].into_iter().for_each(|n| out.number(n));
                END
            }
        }
    }

    /// The frame of a kind; `None`: it may be skipped.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn read(kind: u8, bytes: &[u8]) -> Result<Option<Frame>, Unread> {
        let mut from = Reader(bytes);
        let frame = match kind {
            RUN => from.list(read_entry).map(|entries| Frame::Run(Run { entries })),
            TOLD => from.text().map(Frame::Told),
            EVENTS => Some(Frame::Happened(Happening::Events(bytes.to_vec()))),
            TICK => from.small().map(|n| Frame::Happened(Happening::Tick(n))),
            OVER => read_over(&mut from).map(Frame::Happened),
            ENDED => from.signed().and_then(|status| status.try_into().ok()).map(Frame::Ended),
            TABLE => read_table(&mut from).map(Frame::Table),
            NAME => read_name(&mut from).map(Frame::Name),
            CHAIN => read_chain(&mut from).map(Frame::Chain),
            CLOCK => read_clock(&mut from).map(Frame::Clock),
            CLOSED => read_closed(&mut from).map(Frame::Closed),
            STOPPED => from.text().map(Frame::Stopped),
            END => read_totals(&mut from).map(Frame::End),
            IMPORTED => read_imported(&mut from),
            FINISHING => Some(Frame::Finishing),
            READING => read_reading(&mut from),
            OPTIONAL.. => return Ok(None),
            kind => return Err(Unread::Unknown(kind)),
        };
        frame.map(Some).ok_or(Unread::Damaged)
    }
}

/// What stands behind kind and time of [`Frame::Chain`].
pub fn write_chain(out: &mut Writer, place: Place, frames: &[Arc<Function>]) -> u8 {
    out.flag(place.user);
    out.number(place.number);
    out.number(place.caller);
    out.list(frames, |out, frame| write_function(out, frame));
    CHAIN
}

fn write_happening(out: &mut Writer, happening: &Happening) -> u8 {
    let over = match happening {
        Happening::Events(batch) => {
            out.0.extend_from_slice(batch);
            return EVENTS;
        }
        Happening::Tick(n) => {
            out.number(*n as u64);
            return TICK;
        }
        Happening::Deadline => 0,
        Happening::Signal => 1,
        Happening::CommandEnded => 2,
        Happening::ProcessEnded => 3,
        // Scripts with policies are not recorded.
        Happening::Denied | Happening::PoliciesEnded | Happening::Said(_) => 4,
    };
    out.byte(over);
    OVER
}

fn read_over(from: &mut Reader<'_>) -> Option<Happening> {
    Some(match from.byte()? {
        0 => Happening::Deadline,
        1 => Happening::Signal,
        2 => Happening::CommandEnded,
        3 => Happening::ProcessEnded,
        _ => return None,
    })
}

fn write_entry(out: &mut Writer, entry: &Entry) {
    out.number(entry.number.into());
    out.list(&entry.identity, |out, text| out.text(text));
    out.list(&entry.columns, layout::write_column);
    out.maybe(entry.kind, layout::write_kind);
    out.flag(entry.unsigned);
    layout::write_show(out, entry.show);
    out.flag(entry.samples);
}

fn read_entry(from: &mut Reader<'_>) -> Option<Entry> {
    Some(Entry {
        number: from.small()?,
        identity: from.list(Reader::text)?,
        columns: from.list(layout::read_column)?,
        kind: from.maybe(layout::read_kind)?,
        unsigned: from.flag()?,
        show: layout::read_show(from)?,
        samples: from.flag()?,
    })
}

fn read_table(from: &mut Reader<'_>) -> Option<Entries> {
    let (n, more) = (from.small()?, from.flag()?);
    let entries = from.list(|from| Some((from.bytes()?.to_vec(), from.list(Reader::number)?)))?;
    Some(Entries { n, more, entries })
}

fn read_name(from: &mut Reader<'_>) -> Option<Name> {
    let of = Named { kind: from.byte()?, number: from.number()?, process: from.small()? };
    Some(Name { of, name: from.maybe(Reader::text)? })
}

fn write_function(out: &mut Writer, frame: &Function) {
    out.text(&frame.name);
    out.byte(match frame.origin {
        Origin::Group => 0,
        Origin::Kernel => 1,
        Origin::User => 2,
        Origin::Jit => 3,
    });
    out.flag(frame.inlined);
    out.maybe(frame.unresolved, Writer::text);
    out.number(frame.address);
    out.maybe(frame.module.as_deref(), |out, module| {
        out.text(&module.path);
        out.maybe(module.build_id.as_deref(), Writer::bytes);
    });
    out.maybe(frame.line.as_ref(), |out, (file, line)| {
        out.text(file);
        out.number((*line).into());
    });
}

fn read_chain(from: &mut Reader<'_>) -> Option<Chain> {
    let place = Place { user: from.flag()?, number: from.number()?, caller: from.number()? };
    Some(Chain { place, frames: from.list(|from| read_function(from).map(Arc::new))? })
}

fn read_function(from: &mut Reader<'_>) -> Option<Function> {
    Some(Function {
        name: from.text()?,
        origin: match from.byte()? {
            0 => Origin::Group,
            1 => Origin::Kernel,
            2 => Origin::User,
            3 => Origin::Jit,
            _ => return None,
        },
        inlined: from.flag()?,
        unresolved: from.maybe(Reader::text)?.map(|reason| crate::symbols::reason::known(&reason)),
        address: from.number()?,
        module: from.maybe(|from| {
            let path = from.text()?;
            let build_id = from.maybe(|from| from.bytes().map(<[u8]>::to_vec))?;
            Some(Arc::new(Module { path, build_id }))
        })?,
        line: from.maybe(|from| Some((from.text()?.into(), from.small()?)))?,
    })
}

fn read_clock(from: &mut Reader<'_>) -> Option<Clock> {
    Some(Clock { nanos: from.number()?, ahead: from.signed()?.try_into().ok()? })
}

fn read_imported(from: &mut Reader<'_>) -> Option<Frame> {
    Some(Frame::Imported { path: from.text()?, name: from.text()?, text: from.text()? })
}

fn read_reading(from: &mut Reader<'_>) -> Option<Frame> {
    Some(Frame::Reading { what: from.text()?, json: from.text()? })
}

fn read_closed(from: &mut Reader<'_>) -> Option<Closed> {
    Some(Closed {
        began: from.number()?,
        took: from.number()?,
        trust: from.list(layout::read_trust)?,
        frames: from.maybe(|from| Some((from.number()?, from.number()?)))?,
        left_out: from.maybe(Reader::number)?,
    })
}

fn read_totals(from: &mut Reader<'_>) -> Option<Totals> {
    Some(Totals { frames: from.number()?, events: from.number()?, lost: from.number()?, nanos: from.number()? })
}
