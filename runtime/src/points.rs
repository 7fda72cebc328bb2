//! Which programs can serve an attach point on a machine: the cheapest that works, and why it was chosen.

use crate::attach_point::AttachPoint;
use crate::diagnostic::Diagnostic;
use crate::kernel::network::Hook;
use crate::kernel::perf::Every;
use crate::machine::Machine;
use crate::resolve::{Arguments, Scope};
use crate::slot::ir::{Current, Int, Memory, Place, Size};
use std::path::PathBuf;

mod function;
pub mod iterator;
pub mod packets;
mod perf;
mod tracepoint;
mod typed;
mod uprobe;
mod usdt;

/// How a program gets to an attach point.
#[derive(Clone, Debug, PartialEq)]
pub enum Mechanism {
    /// By the id of its format file.
    Tracepoint {
        id: u64,
    },
    RawTracepoint {
        name: String,
    },
    /// Through the raw tracepoint of all system calls. `arguments`: their registers are read.
    Syscall {
        number: u32,
        enter: bool,
        arguments: bool,
    },
    /// By a breakpoint, or the call that the compiler left at a function's start. Without a function, `offset` is an
    /// address; `many`: one link holds all functions of a program.
    Kprobe {
        function: Option<String>,
        offset: u64,
        returns: bool,
        many: bool,
    },
    /// At the entry or return of the function with this id in the BTF of a module; empty: of the kernel proper.
    Trampoline {
        id: u32,
        module: String,
        returns: bool,
    },
    Uprobe {
        path: PathBuf,
        offset: u64,
        /// File offset of a counter that is kept up while this is attached; 0: there is none.
        semaphore: u64,
        returns: bool,
        pid: Option<u32>,
    },
    /// At every packet: by a link of its own, or a filter of tc.
    Packets {
        hook: Hook,
        place: crate::template::packets::Place,
    },
    /// One look at all objects of a kind.
    Iterator {
        target: String,
    },
    /// On every CPU, or on one.
    Perf {
        kind: u32,
        config: u64,
        every: Every,
        one_cpu: bool,
    },
}

/// One place to attach to, with all names narrowed down.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// As bpftrace would write it.
    pub shown: String,
    pub mechanism: Mechanism,
    pub scope: Scope,
    /// Why this mechanism, for the plan.
    pub reason: String,
    /// Value of `probe` here.
    pub id: u64,
}

/// What the plan's expressions use, as far as it decides between mechanisms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// `args.…`
    pub named: bool,
    /// Bit n: `arg<n>`.
    pub numbered: u8,
    /// `retval`
    pub returned: bool,
    /// The stack pointer as it is when the function begins.
    pub stack: bool,
    /// Who called: `ustack`.
    pub callers: bool,
}

/// Ids of `probe` for system calls: their number on top of this.
pub const ENTER_IDS: u64 = 1 << 32;
pub const EXIT_IDS: u64 = 1 << 33;

/// Expands an attach point.
///
/// # Errors
/// No such place, with the nearest one; or the machine cannot be asked.
pub fn expand(
    point: &AttachPoint,
    text: &str,
    uses: Uses,
    pid: Option<u32>,
    machine: &Machine,
) -> Result<Vec<Point>, Diagnostic> {
    let mut points = match point {
        AttachPoint::Tracepoint { category, name } => tracepoint::expand(category, name, text, uses, machine)?,
        AttachPoint::RawTracepoint { name } => tracepoint::expand_raw(name, text, uses, machine)?,
        AttachPoint::Function { way, module, function, returns } => {
            let asked = function::Asked { way: *way, module, function, returns: *returns, text };
            function::expand(asked, uses, machine)?
        }
        AttachPoint::Uprobe { target, function, returns } => {
            uprobe::expand(target, function, *returns, text, uses, pid)?
        }
        AttachPoint::Usdt { target, provider, name } => usdt::expand(target, provider, name, text, pid)?,
        AttachPoint::Packets { hook, target, direction } => packets::expand(*hook, target, *direction, text)?,
        AttachPoint::Iterator { target } => iterator::expand(target, text, machine)?,
        AttachPoint::FirstOf(list) => first_of(list, text, uses, pid, machine)?,
        timed => vec![perf::point(timed)],
    };
    // A plan for a machine whose types are not at hand lets casts and members pass.
    let types = Some(machine.types()).filter(|types| types.exist() || !machine.assume_fields);
    for point in &mut points {
        point.scope.types = types.clone();
        point.scope.namespace = machine.namespace();
    }
    Ok(points)
}

/// What the first of several attach points gives that exists here.
fn first_of(
    list: &[(String, AttachPoint)],
    text: &str,
    uses: Uses,
    pid: Option<u32>,
    machine: &Machine,
) -> Result<Vec<Point>, Diagnostic> {
    let mut last = None;
    for (n, (one, point)) in list.iter().enumerate() {
        match expand(point, one, uses, pid, machine) {
            Ok(mut points) => {
                let which = format!("{} of {} alternatives; ", n + 1, list.len());
                points.iter_mut().for_each(|point| point.reason.insert_str(0, &which));
                return Ok(points);
            }
            Err(error) => last = Some(error),
        }
    }
    let none = || nothing(text, "attach point", None);
    Err(last.map_or_else(none, |error| error.label("none of the alternatives is here")))
}

fn scope(place: &str, memory: Memory) -> Scope {
    Scope {
        place: place.to_owned(),
        arguments: Arguments::None,
        numbered: Vec::new(),
        described: Vec::new(),
        return_value: None,
        caller: None,
        has_task: true,
        packets: None,
        memory,
        probe: Int::Current(Current::Cookie),
        fields: Vec::new(),
        namespace: None,
        types: None,
    }
}

fn context(offset: usize, size: Size, signed: bool) -> Int {
    Int::Load { place: Place::Context(offset as i16), size, signed }
}

fn nothing(text: &str, what: &str, near: Option<String>) -> Diagnostic {
    let error = Diagnostic::script(format!("no {what} matches `{text}`")).span(text);
    match near {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("skep list '{text}'")),
    }
}
