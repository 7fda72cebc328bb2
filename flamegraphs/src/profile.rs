//! Profiles: stacks with values. What measures fills one, what writes reads it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What a value counts, and in which unit: (`samples`, `count`), (`cpu`, `nanoseconds`), (`space`, `bytes`). Names are
/// those of pprof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueType {
    pub kind: String,
    pub unit: String,
}

impl ValueType {
    pub fn new(kind: &str, unit: &str) -> Self {
        ValueType { kind: kind.into(), unit: unit.into() }
    }
}

/// Where a frame's code comes from: its colour, and the suffix of its name in folded text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// No code: what stacks are grouped by at the root, such as a process's name.
    Group,
    /// `_[k]`
    Kernel,
    User,
    /// `_[j]`: written at run time, named by the run time's own map.
    Jit,
}

/// One function of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// As people read it, demangled: `std::io::Write::write_all`. Of what could not be resolved what is known:
    /// `libc.so.6+0x2a1b4`.
    pub name: String,
    pub origin: Origin,
    /// Its code stands inside the next outer frame that is none; `_[i]`.
    pub inlined: bool,
    /// Why there is no name.
    pub unresolved: Option<&'static str>,
    /// In the module: as its program headers count (a virtual address of the ELF file); elsewhere as sampled.
    pub address: u64,
    pub module: Option<Arc<Module>>,
    /// File and line, where debug information tells.
    pub line: Option<(Arc<str>, u32)>,
}

impl Frame {
    /// A frame without code, by its name alone.
    pub fn group(name: &str) -> Frame {
        Frame::named(name, Origin::Group)
    }

    pub fn named(name: &str, origin: Origin) -> Frame {
        Frame { name: name.into(), origin, inlined: false, unresolved: None, address: 0, module: None, line: None }
    }
}

/// A file that code was mapped from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Module {
    /// As the process saw it: `/usr/lib/libc.so.6`, `[vdso]`, `[kernel]`.
    pub path: String,
    /// Of its note, as it lies there.
    pub build_id: Option<Vec<u8>>,
}

/// What a sample is marked with: pprof's labels.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Label {
    Text(String),
    Number(i64),
}

/// One stack and what was counted under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The root first. Inlined frames stand behind the frame that holds their code.
    pub frames: Vec<Arc<Frame>>,
    /// One for each of the profile's types.
    pub values: Vec<u64>,
    /// (`pid`, 812), (`comm`, "nginx")
    pub labels: Vec<(String, Label)>,
}

/// Stacks of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    pub title: String,
    pub types: Vec<ValueType>,
    /// What lies between two samples, for sampled profiles: (`cpu`, `nanoseconds`), 10101010.
    pub period: Option<(ValueType, u64)>,
    pub started: Option<SystemTime>,
    pub duration: Duration,
    pub stacks: Vec<Stack>,
}

impl Profile {
    /// Without stacks yet.
    pub fn new(title: &str, types: Vec<ValueType>) -> Profile {
        Profile {
            title: title.into(),
            types,
            period: None,
            started: None,
            duration: Duration::ZERO,
            stacks: Vec::new(),
        }
    }

    /// The sum of one type's values, at most what fits; 0 where there is no such type.
    pub fn total(&self, of: usize) -> u64 {
        let values = self.stacks.iter().filter_map(|stack| stack.values.get(of));
        values.fold(0, |sum: u64, value| sum.saturating_add(*value))
    }
}
