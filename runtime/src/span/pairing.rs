//! Pairing: what a start and its end have in common.

use crate::aggregate::column::{ColumnKind, ColumnType};
use crate::attach_point::AttachPoint;
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Node};
use crate::kernel::arch::REGISTERS;
use crate::plan::{Entry, Span};
use crate::points::Mechanism;
use crate::prepare::Draft;
use crate::resolve::{Argument, Typed};
use crate::slot::ir::{Arithmetic, Current, Int, Place, Size};

/// The names that expressions have for the frame and the thread, whose `tid` may be 0 in another namespace.
const FRAME: &str = "frame";
const THREAD: &str = "thread";

/// How an end finds its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// By the thread, which has one such span at a time.
    Thread,
    /// By the thread and the function's frame: calls of a function may be nested.
    Frame,
    /// The same, by the frame of a trampoline that is at both ends of the call.
    Trampoline,
    /// By what the script says; any thread may end it.
    Given,
}

/// What pairs starts and ends best. Those of the same functions are paired call by call.
pub fn pairing(span: &Span) -> Pairing {
    let function = |point: &AttachPoint| match point {
        AttachPoint::Uprobe { target, function, returns } => Some((target.clone(), function.clone(), *returns)),
        AttachPoint::Function { module, function, returns, .. } => Some((module.clone(), function.clone(), *returns)),
        _ => None,
    };
    let called =
        |(_, point): &(String, AttachPoint)| function(point).map(|(place, name, returns)| (place, name, !returns));
    let starts: Option<Vec<_>> = span.start.iter().map(called).collect();
    let ends: Option<Vec<_>> = span.end.iter().map(|(_, point)| function(point)).collect();
    match (&span.on, starts, ends) {
        (Some(_), ..) => Pairing::Given,
        (None, Some(starts), Some(ends)) if starts == ends && ends.iter().all(|(.., returns)| *returns) => {
            Pairing::Frame
        }
        _ => Pairing::Thread,
    }
}

/// What can be had of it: both halves of a kernel function's call must be watched the same way.
pub fn possible(wish: Pairing, starts: &[Draft], ends: &[Draft]) -> Pairing {
    let all = |test: fn(&Mechanism) -> bool| {
        let programs = starts.iter().chain(ends).flat_map(|draft| &draft.programs);
        programs.flat_map(|program| &program.attach).all(|attach| test(&attach.mechanism))
    };
    match wish {
        Pairing::Frame if all(|mechanism| matches!(mechanism, Mechanism::Trampoline { .. })) => Pairing::Trampoline,
        Pairing::Frame if all(|mechanism| matches!(mechanism, Mechanism::Uprobe { .. })) => Pairing::Frame,
        Pairing::Frame if all(|mechanism| matches!(mechanism, Mechanism::Kprobe { many: false, .. })) => Pairing::Frame,
        Pairing::Frame => Pairing::Thread,
        other => other,
    }
}

/// What a start and its end have in common, as each of them says it.
pub fn keys(span: &Span, pairing: Pairing) -> (Vec<Expr>, Vec<Expr>) {
    let same = |names: &[&str]| {
        let names: Vec<Expr> = names.iter().map(|name| Expr::name(name)).collect();
        (names.clone(), names)
    };
    match (&span.on, pairing) {
        (Some(on), _) => on.clone(),
        (None, Pairing::Frame) => same(&[THREAD, FRAME]),
        (None, _) => same(&["tid"]),
    }
}

/// The caller's stack pointer: the same when a function begins, with `pushed` bytes on the stack, and when it returned.
pub fn frame(pushed: u64) -> Argument {
    let pointer = Int::Load { place: Place::Context(REGISTERS.stack_pointer), size: Size::B8, signed: false };
    let (left, right) = (Box::new(pointer), Box::new(Int::Constant(pushed)));
    let frame = Int::Binary { op: Arithmetic::Add, signed: false, left, right };
    Argument { name: FRAME.into(), declared: String::new(), typed: Typed::address(frame) }
}

/// The thread, whatever number it has where skep runs.
pub fn thread() -> Argument {
    Argument { name: THREAD.into(), declared: String::new(), typed: Typed::int(Int::Current(Current::Tid)) }
}

/// The key's columns, wide enough for both sides.
pub fn common(
    mut starts: Vec<ColumnType>,
    ends: &[ColumnType],
    start_key: &[Expr],
    end_key: &[Expr],
    entry: &Entry,
) -> Result<Vec<ColumnType>, Diagnostic> {
    for (n, (start, end)) in starts.iter_mut().zip(ends).enumerate() {
        start.kind = match (start.kind, end.kind) {
            (same @ ColumnKind::Int { .. }, ColumnKind::Int { .. }) => same,
            (ColumnKind::Text { size: a }, ColumnKind::Text { size: b }) => ColumnKind::Text { size: a.max(b) },
            (same @ ColumnKind::Bytes { size: a, .. }, ColumnKind::Bytes { size: b, .. }) if a == b => same,
            // The key is on the stack, where such a walk cannot write.
            (ColumnKind::Path { .. }, ColumnKind::Path { .. }) => {
                let path = &start_key[n];
                let error = Diagnostic::script("spans are not paired by paths").span(path.to_string());
                let file = |path: &Expr| match &*path.node {
                    Node::Call(_, arguments) if !arguments.is_empty() => arguments[0].clone(),
                    _ => path.clone(),
                };
                let help = format!("pair them by the file itself: .on({}, {})", file(path), file(&end_key[n]));
                return Err(error.help(help).at(path.position).at(entry.position));
            }
            (start, end) => {
                let (start, end) = (what(start), what(end));
                let message = format!(
                    "`{}` is {start} at the start, `{}` is {end} at the end: they are never equal",
                    start_key[n], end_key[n]
                );
                let end = &end_key[n];
                return Err(Diagnostic::script(message).span(end.to_string()).at(end.position).at(entry.position));
            }
        };
    }
    Ok(starts)
}

fn what(kind: ColumnKind) -> String {
    match kind {
        ColumnKind::Int { .. } => "a number".into(),
        ColumnKind::Text { .. } => "a text".into(),
        ColumnKind::Bytes { size, .. } => format!("{size} bytes"),
        ColumnKind::Path { .. } => "a path".into(),
        ColumnKind::Called(_) => "a call chain".into(),
    }
}
