//! Call chains as columns.

use super::scope::{Scope, Typed};
use crate::aggregate::column::{Show, StackShow};
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Node};
use crate::slot::ir::{Arithmetic, Current, Int, StackOf};

/// Frames of a chain that the kernel keeps (kernel.perf_event_max_stack, unless an operator changed it).
pub const DEEPEST: u8 = 127;

/// `kstack`, `ustack`, or with a number of functions.
///
/// # Errors
/// A script diagnostic: no such number, or nothing runs there.
pub fn stack(of: StackOf, depth: Option<&Expr>, expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    if scope.place.starts_with("iter:") {
        return Err(Diagnostic::script(format!("`{}` has no `{expr}`: it looks at what does not run", scope.place))
            .span(expr.to_string())
            .help("probe(\"profile:hz:99\").by(kstack).count()")
            .at(expr.position));
    }
    let depth = match depth.map(|depth| &*depth.node) {
        None => DEEPEST,
        Some(Node::Int(depth)) if (1..=i128::from(DEEPEST)).contains(depth) => *depth as u8,
        Some(_) => {
            let wrong = format!("`{expr}` needs a number of functions, from 1 to {DEEPEST}");
            return Err(Diagnostic::script(wrong).help("kstack(8)").at(expr.position));
        }
    };
    let and = |left, mask| binary(Arithmetic::And, left, Int::Constant(mask));
    let number = and(Int::Stack(of), u32::MAX.into());
    let int = match of {
        StackOf::Kernel => number,
        // The addresses are of this process, whose files give them names.
        StackOf::User => binary(Arithmetic::Or, process(), number),
    };
    let show = StackShow { user: of == StackOf::User, depth };
    if let (StackOf::User, Some(caller)) = (of, &scope.caller) {
        return Ok(Typed::Called { number: int, caller: caller.clone(), show });
    }
    let show = Show::Stack(show);
    Ok(Typed::Int { int, unsigned: true, show })
}

/// The upper half of a user chain's column; the lower one is its number.
pub fn process() -> Int {
    binary(Arithmetic::ShiftLeft, Int::Current(Current::Pid), Int::Constant(32))
}

fn binary(op: Arithmetic, left: Int, right: Int) -> Int {
    Int::Binary { op, signed: false, left: Box::new(left), right: Box::new(right) }
}

/// A chain where a number belongs.
pub fn no_number(expr: &Expr) -> Diagnostic {
    Diagnostic::script(format!("`{expr}` is a call chain, no number"))
        .span(expr.to_string())
        .help("a column: .by(kstack), .fields(comm, ustack)")
        .at(expr.position)
}
