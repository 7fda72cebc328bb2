//! Call chains of a session: from the numbers that events carry to frames with names.

use crate::aggregate::column::{self, ColumnType, StackShow, Value};
use crate::kernel::map::{self, Map, Shape};
use crate::recording::Tape;
use crate::recording::frame::Place;
use crate::recording::player::Player;
use crate::resolve::DEEPEST;
use crate::slot::stack::SECOND;
use crate::symbols::reason;
use crate::symbols::service::{Stack, Symbols};
use crate::unwind::chains::{self, Chains};
use crate::unwind::sample::Sample;
use skep_flamegraphs::profile::{Frame, Origin};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

/// Frames, innermost first.
pub type Chain = Arc<[Arc<Frame>]>;

/// What an event carries of a chain: its number in the kernel's table, with the process of a user's chain above it; and
/// where the function that has just begun returns to, 0 where the chain has that in it.
fn place(user: bool, value: &Value) -> Option<Place> {
    match value {
        Value::Bytes(bytes) => {
            let word = |at| Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
            Some(Place { user, number: word(0)?, caller: word(8)? })
        }
        value => Some(Place { user, number: value.integer()? as u64, caller: 0 }),
    }
}

/// Bytes of a chain in the kernel's table.
const CHAIN: u32 = 8 * 127;

/// The session's tables of call chains, and the names of what is in them.
pub struct Stacks {
    /// `None`: they are of a recording.
    tables: Option<Tables>,
    tape: Tape,
    known: RefCell<HashMap<Place, Chain>>,
    frames: Cell<u64>,
    unresolved: Cell<u64>,
}

struct Tables {
    first: Map,
    second: Map,
    unwound: RefCell<Chains>,
    symbols: Rc<Symbols>,
}

impl Stacks {
    /// Two tables of `entries` places each.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create(entries: u32, symbols: Rc<Symbols>, tape: Tape) -> io::Result<Stacks> {
        let table = |name: &str, max_entries| {
            Map::create(name, Shape { map_type: map::STACK_TRACE, key_size: 4, value_size: CHAIN, max_entries })
        };
        let (first, second) = (table("stacks", entries)?, table("more_stacks", entries)?);
        let tables = Tables { first, second, unwound: RefCell::default(), symbols };
        Ok(Stacks::with(Some(tables), tape))
    }

    /// Those of a recording.
    pub fn recorded(player: &Rc<Player>) -> Stacks {
        Stacks::with(None, Tape::Replaying(player.clone()))
    }

    fn with(tables: Option<Tables>, tape: Tape) -> Stacks {
        Stacks { tables, tape, known: RefCell::default(), frames: Cell::new(0), unresolved: Cell::new(0) }
    }

    /// Both tables, as templates and slots call them.
    pub fn maps(&self) -> impl Iterator<Item = (&'static str, &Map)> {
        self.tables.iter().flat_map(|tables| [("stacks", &tables.first), ("more_stacks", &tables.second)])
    }

    /// Samples as the numbers of their chains, and whether each is complete; [`chains::NONE`] where no room is left.
    pub fn unwound(&self, samples: Vec<Sample>) -> Vec<(u32, bool)> {
        let Some(tables) = &self.tables else { return Vec::new() };
        let mut unwound = tables.unwound.borrow_mut();
        let walked = if samples.is_empty() { Vec::new() } else { tables.symbols.unwind(samples) };
        walked
            .into_iter()
            .map(|walked| (unwound.number(&walked).unwrap_or(chains::NONE), walked.end.is_none()))
            .collect()
    }

    /// The chain that a column's number stands for; any other value as it is.
    pub fn value(&self, column: &ColumnType, value: Value) -> Value {
        let place = |show: StackShow| Some((show, place(show.user, &value)?));
        match column.stack().and_then(place) {
            Some((show, place)) => Value::Stack(self.chain(show, place)),
            None => value,
        }
    }

    /// Finds names for all chains of a table's keys together: what is in one file is looked up together.
    pub fn expect(&self, columns: &[(usize, &ColumnType)], keys: impl Iterator<Item = impl AsRef<[u8]>>) {
        let mut wanted = HashSet::new();
        for key in keys {
            for (offset, column) in columns {
                let bytes = key.as_ref().get(*offset..).unwrap_or_default();
                let place = |show: StackShow| place(show.user, &column::decode(column, bytes));
                wanted.extend(column.stack().and_then(place));
            }
        }
        wanted.retain(|chain| !self.known.borrow().contains_key(chain));
        self.resolve(wanted.into_iter().collect());
    }

    /// Frames that were given out so far, and those without a name among them.
    pub fn counts(&self) -> (u64, u64) {
        (self.frames.get(), self.unresolved.get())
    }

    fn chain(&self, show: StackShow, place: Place) -> Chain {
        if !self.known.borrow().contains_key(&place) {
            self.resolve(vec![place]);
        }
        let whole = self.known.borrow().get(&place).cloned().unwrap_or_default();
        match whole.get(..show.depth.into()) {
            // The kernel has no deeper ones.
            Some(inner) if show.depth < DEEPEST => inner.into(),
            _ => whole,
        }
    }

    fn resolve(&self, places: Vec<Place>) {
        match &self.tables {
            Some(tables) => self.resolve_in(tables, places),
            None => self.known.borrow_mut().extend(places.into_iter().map(|place| (place, self.recalled(place)))),
        }
    }

    /// As the recording has it.
    fn recalled(&self, place: Place) -> Chain {
        let found = self.tape.player().and_then(|player| player.chain(place));
        found.unwrap_or_else(|| {
            let origin = if place.user { Origin::User } else { Origin::Kernel };
            let frame = Frame::named("[unknown]", origin);
            [Arc::new(Frame { unresolved: Some(reason::NOT_RECORDED), ..frame })].into()
        })
    }

    fn resolve_in(&self, tables: &Tables, chains: Vec<Place>) {
        let stack = |place: &Place| {
            // One that cannot be read is as one that is not there.
            let mut addresses = tables.addresses(place.number as u32).unwrap_or_default();
            // Some kernels know the caller of a function that begins with `push rbp`.
            if place.caller != 0 && !addresses.is_empty() && addresses.get(1) != Some(&place.caller) {
                addresses.insert(1, place.caller);
            }
            if place.user {
                Stack::User { pid: (place.number >> 32) as u32, addresses }
            } else {
                Stack::Kernel { addresses }
            }
        };
        let found = tables.symbols.resolve(chains.iter().map(stack).collect());
        for (place, mut frames) in chains.into_iter().zip(found) {
            frames.reverse();
            let user = place.user;
            let unwound = if user { tables.unwound.borrow().get(place.number as u32).cloned() } else { None };
            if user && unwound.is_none() {
                join_broken(&mut frames);
            } else if !user {
                let own = frames.iter().take_while(|frame| is_ours(&frame.name)).count();
                frames.drain(..own);
            }
            let nameless = frames.iter().filter(|frame| frame.unresolved.is_some()).count();
            self.frames.set(self.frames.get() + frames.len() as u64);
            self.unresolved.set(self.unresolved.get() + nameless as u64);
            // It stands for those that would have names.
            frames.extend(unwound.and_then(|walked| walked.end).map(chains::truncated));
            if let Tape::Recording(recorder) = &self.tape {
                recorder.chain(place, &frames);
            }
            self.known.borrow_mut().insert(place, frames.into());
        }
    }
}

impl Tables {
    /// Innermost first; none for a negative number, which is an error.
    fn addresses(&self, number: u32) -> io::Result<Vec<u64>> {
        if (number as i32) < 0 {
            return Ok(Vec::new());
        }
        if let Some(walked) = self.unwound.borrow().get(number) {
            return Ok(walked.addresses.clone());
        }
        let table = if number & SECOND == 0 { &self.first } else { &self.second };
        let bytes = table.lookup(&(number & !SECOND).to_ne_bytes())?.unwrap_or_default();
        let words = bytes.chunks_exact(8).map(|word| word.try_into().map(u64::from_ne_bytes).unwrap_or_default());
        Ok(words.take_while(|address| *address != 0).collect())
    }
}

/// Code that keeps no frame pointers has other things where return addresses are looked for: a hundred of them may follow
/// one another. They stand as one frame.
fn join_broken(frames: &mut Vec<Arc<Frame>>) {
    let is_broken = |frame: &Frame| frame.unresolved == Some(reason::NOT_MAPPED);
    frames.dedup_by(|next, before| is_broken(next) && is_broken(before));
    for frame in frames.iter_mut().filter(|frame| is_broken(frame)) {
        let name = Frame::named("[no frame pointers]", Origin::User);
        *frame = Arc::new(Frame { unresolved: frame.unresolved, ..name });
    }
}

/// What the kernel runs between an attach point and our program.
fn is_ours(function: &str) -> bool {
    const MACHINERY: [&str; 6] =
        ["bpf_prog_", "bpf_trace_run", "__bpf_trace_", "__traceiter_", "bpf_trampoline_", "bpf_get_stackid"];
    MACHINERY.iter().any(|begin| function.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_code_stands_as_one_frame() {
        let frame = |name: &str, unresolved| Arc::new(Frame { unresolved, ..Frame::named(name, Origin::User) });
        let broken = Some(reason::NOT_MAPPED);
        let mut frames = vec![frame("read", None), frame("0x1", broken), frame("0x2", broken), frame("main", None)];
        join_broken(&mut frames);
        let names: Vec<&str> = frames.iter().map(|frame| frame.name.as_str()).collect();
        assert_eq!(names, ["read", "[no frame pointers]", "main"]);
    }

    #[test]
    fn tracing_itself_is_no_part_of_a_chain() {
        let ours = ["bpf_prog_6deef7357e7b4530_hit", "bpf_trace_run2", "__traceiter_sched_switch"];
        assert!(ours.iter().all(|function| is_ours(function)) && !is_ours("bpf_lsm_file_open"));
    }
}
