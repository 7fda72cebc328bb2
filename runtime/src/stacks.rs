//! Call chains of a session: from the numbers that events carry to frames with names.

use crate::aggregate::column::{ColumnKind, ColumnType, Show, StackShow, Value};
use crate::kernel::map::{self, Map, Shape};
use crate::slot::stack::SECOND;
use crate::symbols::Resolver;
use skep_flamegraphs::profile::Frame;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

/// Frames, innermost first.
pub type Chain = Arc<[Arc<Frame>]>;

/// Bytes of a chain in the kernel's table.
const CHAIN: u32 = 8 * 127;

/// The session's tables of call chains, and the names of what is in them.
pub struct Stacks {
    first: Map,
    second: Map,
    resolver: Rc<RefCell<Resolver>>,
    known: RefCell<HashMap<(bool, u64), Chain>>,
    frames: Cell<u64>,
    unresolved: Cell<u64>,
}

impl Stacks {
    /// Two tables of `entries` places each.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create(entries: u32, resolver: Rc<RefCell<Resolver>>) -> io::Result<Stacks> {
        let table = |name: &str, max_entries| {
            Map::create(name, Shape { map_type: map::STACK_TRACE, key_size: 4, value_size: CHAIN, max_entries })
        };
        Ok(Stacks {
            first: table("stacks", entries)?,
            second: table("more_stacks", entries)?,
            resolver,
            known: RefCell::default(),
            frames: Cell::new(0),
            unresolved: Cell::new(0),
        })
    }

    /// Both tables, as templates and slots call them.
    pub fn maps(&self) -> [(&'static str, &Map); 2] {
        [("stacks", &self.first), ("more_stacks", &self.second)]
    }

    /// The chain that a column's number stands for; any other value as it is.
    pub fn value(&self, column: &ColumnType, value: Value) -> Value {
        match (column.kind, value.integer()) {
            (ColumnKind::Int { show: Show::Stack(show), .. }, Some(number)) => {
                Value::Stack(self.chain(show, number as u64))
            }
            _ => value,
        }
    }

    /// Frames that were given out so far, and those without a name among them.
    pub fn counts(&self) -> (u64, u64) {
        (self.frames.get(), self.unresolved.get())
    }

    fn chain(&self, show: StackShow, number: u64) -> Chain {
        let whole = self.known.borrow().get(&(show.user, number)).cloned();
        let whole = whole.unwrap_or_else(|| {
            let chain = self.resolved(show.user, number);
            self.frames.set(self.frames.get() + chain.len() as u64);
            let nameless = chain.iter().filter(|frame| frame.unresolved.is_some()).count();
            self.unresolved.set(self.unresolved.get() + nameless as u64);
            self.known.borrow_mut().insert((show.user, number), chain.clone());
            chain
        });
        match whole.get(..show.depth.into()) {
            Some(inner) => inner.into(),
            None => whole,
        }
    }

    fn resolved(&self, user: bool, number: u64) -> Chain {
        // One that cannot be read is as one that is not there.
        let addresses = self.addresses(number as u32).unwrap_or_default();
        let mut resolver = self.resolver.borrow_mut();
        let frames = if user {
            resolver.user((number >> 32) as u32, &addresses)
        } else {
            let frames = resolver.kernel(&addresses);
            let own = frames.iter().take_while(|frame| is_ours(&frame.name)).count();
            frames[own..].to_vec()
        };
        frames.into()
    }

    /// Innermost first; none for a negative number, which is an error.
    fn addresses(&self, number: u32) -> io::Result<Vec<u64>> {
        if (number as i32) < 0 {
            return Ok(Vec::new());
        }
        let table = if number & SECOND == 0 { &self.first } else { &self.second };
        let bytes = table.lookup(&(number & !SECOND).to_ne_bytes())?.unwrap_or_default();
        let words = bytes.chunks_exact(8).map(|word| word.try_into().map(u64::from_ne_bytes).unwrap_or_default());
        Ok(words.take_while(|address| *address != 0).collect())
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
    fn tracing_itself_is_no_part_of_a_chain() {
        let ours = ["bpf_prog_6deef7357e7b4530_hit", "bpf_trace_run2", "__traceiter_sched_switch"];
        assert!(ours.iter().all(|function| is_ours(function)) && !is_ours("bpf_lsm_file_open"));
    }
}
