//! Resolving: from an expression and a scope (what names mean at one attach point) to typed code. Pure; no privilege.

use crate::aggregate::column::Show;
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Node, Operator};
use crate::slot::ir::{Arithmetic, Comparison, Int, Reading, Test};

mod calls;
mod members;
mod names;
mod network;
mod operators;
mod paths;
mod scope;
mod stacks;

pub use members::passed;
pub use network::members_of;
pub use scope::{Argument, Arguments, BUILTINS, Described, Scope, TEXT_SIZE, Typed, Walk};
pub use stacks::{DEEPEST, process};

/// A condition.
///
/// # Errors
/// A script diagnostic at the part that is wrong.
pub fn test(expr: &Expr, scope: &Scope) -> Result<Test, Diagnostic> {
    match resolve(expr, scope)? {
        Typed::Test(test) => Ok(test),
        Typed::Int { show: Show::Stack(_), .. } | Typed::Called { .. } => Err(stacks::no_number(expr)),
        Typed::Int { int, .. } => Ok(Test::Compare {
            op: Comparison::NotEqual,
            reading: Reading::Unsigned,
            left: int,
            right: Int::Constant(0),
        }),
        Typed::Pointer { int, .. } => Ok(Test::Compare {
            op: Comparison::NotEqual,
            reading: Reading::Unsigned,
            left: int,
            right: Int::Constant(0),
        }),
        Typed::Path { .. } => Err(paths::no_condition(expr).at(expr.position)),
        other => Err(Diagnostic::script(format!("`{expr}` is {}, no condition", other.what()))
            .help(format!("compare it: {expr} == …"))
            .at(expr.position)),
    }
}

/// A number.
///
/// # Errors
/// As [`test`].
pub fn number(expr: &Expr, scope: &Scope) -> Result<(Int, bool, Show), Diagnostic> {
    to_number(resolve(expr, scope)?, expr)
}

/// What `expr` came to, as a number.
fn to_number(typed: Typed, expr: &Expr) -> Result<(Int, bool, Show), Diagnostic> {
    match typed {
        Typed::Int { show: Show::Stack(_), .. } | Typed::Called { .. } => Err(stacks::no_number(expr)),
        Typed::Int { int, unsigned, show } => Ok((int, unsigned, show)),
        Typed::Test(test) => Ok((Int::Truth(Box::new(test)), false, Show::Decimal)),
        Typed::Pointer { int, .. } | Typed::UserAddress { address: int, .. } => Ok((int, true, Show::Hex)),
        other => {
            Err(Diagnostic::script(format!("`{expr}` is {}, and a number is needed here", other.what()))
                .at(expr.position))
        }
    }
}

/// Anything.
///
/// # Errors
/// As [`test`].
pub fn resolve(expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    match &*expr.node {
        Node::Int(value) => Ok(constant(*value)),
        Node::Text(text) => Err(Diagnostic::script(format!("the text {text:?} stands alone"))
            .help(format!("compare it: comm == {text:?}"))
            .at(expr.position)),
        Node::Name(name) => names::by_name(name, expr, scope),
        Node::Member(inner, name) => match &*inner.node {
            Node::Name(args) if args == "args" => names::argument(name, expr, scope),
            Node::Call(decoder, of) if decoder.decodes() => network::member(*decoder, &of[0], name, expr, scope),
            _ => members::member(inner, name, expr, scope),
        },
        Node::Index(inner, n) => members::element(inner, *n, expr, scope),
        Node::Cast(inner, to) => members::cast(inner, to, expr, scope),
        Node::FirstOf(list) => first_of(list, expr, scope),
        Node::Negate(inner) => {
            let (int, ..) = number(inner, scope)?;
            Ok(Typed::int(operators::binary(Arithmetic::Subtract, true, Int::Constant(0), int)))
        }
        Node::Not(inner) => Ok(Typed::Test(Test::Not(Box::new(test(inner, scope)?)))),
        Node::Binary(Operator::And, left, right) => {
            Ok(Typed::Test(Test::And(vec![test(left, scope)?, test(right, scope)?])))
        }
        Node::Binary(Operator::Or, left, right) => {
            Ok(Typed::Test(Test::Or(vec![test(left, scope)?, test(right, scope)?])))
        }
        Node::Binary(operator, left, right) => match operators::comparison(*operator) {
            Some(comparison) => operators::compare(comparison, left, right, expr, scope).map(Typed::Test),
            None => operators::arithmetic(*operator, left, right, expr, scope),
        },
        Node::Call(function, arguments) => calls::call(*function, arguments, expr, scope),
    }
}

/// A value of a column: pointers are addresses, arrays of characters texts.
///
/// # Errors
/// As [`test`].
pub fn column(expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    members::settled(resolve(expr, scope)?, expr)
}

/// The first of several spellings that this kernel has; what is wrong with the last, where it has none.
fn first_of(list: &[Expr], expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    let mut last = None;
    for one in list {
        match resolve(one, scope) {
            Ok(typed) => return Ok(typed),
            Err(error) => last = Some(error),
        }
    }
    let none = || Diagnostic::script("`first_of` needs a field").at(expr.position);
    Err(last.map_or_else(none, |error| error.label("none of these is on this kernel")))
}

fn constant(value: i128) -> Typed {
    let unsigned = value > i128::from(i64::MAX);
    Typed::Int { int: Int::Constant(value as u64), unsigned, show: Show::Decimal }
}
