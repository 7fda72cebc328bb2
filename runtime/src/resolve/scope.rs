//! What names mean at one attach point, and what an expression comes to there. Pure data; no privilege.

use crate::aggregate::column::{BytesShow, Show, StackShow};
use crate::slot::ir::{Int, Memory, Packets, Path, PidNamespace, Place, Test, Text};
use crate::types::{KernelTypes, Type};
use std::rc::Rc;

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Typed {
    /// `unsigned`: the full 64 bits may be used; everything narrower is a signed 64-bit number.
    Int {
        int: Int,
        unsigned: bool,
        show: Show,
    },
    Text {
        text: Text,
        size: u16,
    },
    Bytes {
        bytes: Text,
        size: u16,
        show: BytesShow,
    },
    /// The path of a file.
    Path {
        path: Walk,
        size: u16,
    },
    /// An IP address in its 16 bytes, of which these are the first and the last eight; IPv4 is mapped into IPv6.
    Address {
        high: Int,
        low: Int,
    },
    /// An address, and the process that it belongs to: shown as a symbol.
    UserAddress {
        address: Int,
        pid: Int,
    },
    Test(Test),
    /// A call chain whose first caller is told apart: see [`crate::aggregate::column::ColumnKind::Called`].
    Called {
        number: Int,
        caller: Int,
        show: StackShow,
    },
    /// A pointer whose type is known: `stars` of them to `to`.
    Pointer {
        int: Int,
        to: Type,
        stars: u8,
        memory: Memory,
    },
    /// A structure, a union or an array in memory.
    Object {
        place: Place,
        of: Type,
    },
}

/// Where a path comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Walk {
    /// From the file up to the root, now.
    Now(Box<Path>),
    /// As it was walked when a span began: in the event, at this offset.
    Kept(i16),
}

impl Typed {
    pub fn int(int: Int) -> Typed {
        Typed::Int { int, unsigned: false, show: Show::Decimal }
    }

    pub fn shown(int: Int, show: Show) -> Typed {
        Typed::Int { int, unsigned: false, show }
    }

    /// A 64-bit address.
    pub fn address(int: Int) -> Typed {
        Typed::Int { int, unsigned: true, show: Show::Hex }
    }

    /// Where in the event it lies, if it does.
    pub fn event_offset(&self) -> Option<i16> {
        match self {
            Typed::Int { int: Int::Load { place: Place::Event(offset), .. }, .. }
            | Typed::Text { text: Text::Event { offset, .. }, .. }
            | Typed::Bytes { bytes: Text::Event { offset, .. }, .. } => Some(*offset),
            _ => None,
        }
    }

    pub fn what(&self) -> &'static str {
        match self {
            Typed::Int { .. } => "a number",
            Typed::Text { .. } => "a text",
            Typed::Bytes { .. } => "bytes",
            Typed::Path { .. } => "a path",
            Typed::Address { .. } => "an IP address",
            Typed::UserAddress { .. } => "an address",
            Typed::Called { .. } => "a call chain",
            Typed::Test(_) => "a condition",
            Typed::Pointer { .. } => "a pointer",
            Typed::Object { .. } => "a structure or an array",
        }
    }
}

/// A named argument of an attach point, or a field of a template's event.
#[derive(Clone, Debug, PartialEq)]
pub struct Argument {
    pub name: String,
    /// Its type as the kernel's source or the template spells it.
    pub declared: String,
    pub typed: Typed,
}

/// A numbered argument that the attach point itself describes.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// `s32`
    pub declared: String,
    /// What it comes to, or why it cannot be read.
    pub typed: Result<Typed, String>,
}

/// What `args.NAME` may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Arguments {
    /// This source has none.
    None,
    Known(Vec<Argument>),
    /// There are some, but this process may not look: any name is let through. Plans only.
    Unchecked,
}

/// What names mean at one attach point.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// The attach point or template, for messages.
    pub place: String,
    pub arguments: Arguments,
    /// `arg0` …
    pub numbered: Vec<Int>,
    /// `arg0` … where each has a type and a place of its own (usdt).
    pub described: Vec<Described>,
    pub return_value: Option<Typed>,
    /// Where a user function will return to, as it begins.
    pub caller: Option<Int>,
    /// Is there a current task that the event has to do with? Packets have none.
    pub has_task: bool,
    /// How the program has the frame that it meets; `None` where it meets none.
    pub packets: Option<Packets>,
    /// Where `str()` and `buf()` look.
    pub memory: Memory,
    /// `probe`
    pub probe: Int,
    /// A template's fields; they stand without `args.`.
    pub fields: Vec<Argument>,
    /// Whose numbers `pid` and `tid` are; `None`: the first one's.
    pub namespace: Option<PidNamespace>,
    /// The kernel's types, for members and casts.
    pub types: Option<Rc<KernelTypes>>,
}

/// Names that every source has, with what they are.
pub const BUILTINS: &[(&str, &str)] = &[
    ("pid", "process id"),
    ("tid", "thread id"),
    ("comm", "name of the current thread"),
    ("uid", "user id"),
    ("gid", "group id"),
    ("cpu", "number of the processor"),
    ("cgroup", "control group (v2) of the process"),
    ("nsecs", "nanoseconds since boot, monotonic"),
    ("probe", "the attach point that was hit"),
    ("curtask", "the current task, a `struct task_struct *`: curtask.real_parent.tgid, curtask.exit_code"),
    ("kstack", "the kernel's call chain, innermost function first; kstack(n): n functions at most"),
    ("ustack", "the process's call chain"),
    ("retval", "what the function returned (kretprobe, fexit, uretprobe)"),
    ("arg0", "first argument (kprobe, fentry, fexit, uprobe, usdt, rawtracepoint)"),
    ("arg1", "second argument"),
    ("arg2", "third argument"),
    ("arg3", "fourth argument"),
    ("arg4", "fifth argument"),
    ("arg5", "sixth argument"),
    ("arg6", "seventh argument (usdt, rawtracepoint)"),
    ("arg7", "eighth argument (usdt, rawtracepoint)"),
    ("arg8", "ninth argument (usdt, rawtracepoint)"),
    ("arg9", "tenth argument (usdt, rawtracepoint)"),
    ("arg10", "eleventh argument (usdt, rawtracepoint)"),
    ("arg11", "twelfth argument (usdt, rawtracepoint)"),
    ("args", "arguments by name: args.NAME (tracepoint)"),
    ("elapsed", "nanoseconds from the start to the end (span)"),
    ("start", "any field as it was at the start: start.comm, start.arg0, start.args.NAME (span)"),
];

/// Length of a text where `str()` does not say, its NUL included.
pub const TEXT_SIZE: u16 = 64;
pub const LONGEST_TEXT: i128 = 512;
pub const COMM_SIZE: u16 = 16;
