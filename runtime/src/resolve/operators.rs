//! Operators: arithmetic, comparisons, texts against literals.

use super::paths::no_condition;
use super::scope::{Arguments, Scope, TEXT_SIZE, Typed};
use super::{column, network, number, to_number};
use crate::aggregate::column::{Enumeration, Show};
use crate::diagnostic::{Diagnostic, nearest};
use crate::expr::{Expr, Node, Operator};
use crate::slot::ir::{Arithmetic, Comparison, Int, Reading, Test, Text};
use std::net::IpAddr;

pub fn binary(op: Arithmetic, signed: bool, left: Int, right: Int) -> Int {
    Int::Binary { op, signed, left: Box::new(left), right: Box::new(right) }
}

pub fn arithmetic(
    operator: Operator,
    left: &Expr,
    right: &Expr,
    expr: &Expr,
    scope: &Scope,
) -> Result<Typed, Diagnostic> {
    for side in [left, right] {
        if let Node::Text(text) = &*side.node {
            return Err(
                Diagnostic::script(format!("`{}` cannot take the text {text:?}", operator.symbol())).at(expr.position)
            );
        }
    }
    let ((l, l_unsigned, l_show), (r, r_unsigned, _)) = (number(left, scope)?, number(right, scope)?);
    let op = match operator {
        Operator::Add => Arithmetic::Add,
        Operator::Subtract => Arithmetic::Subtract,
        Operator::Multiply => Arithmetic::Multiply,
        Operator::Divide => Arithmetic::Divide,
        Operator::Remainder => Arithmetic::Remainder,
        Operator::BitAnd => Arithmetic::And,
        Operator::BitOr => Arithmetic::Or,
        Operator::BitXor => Arithmetic::Xor,
        Operator::ShiftLeft => Arithmetic::ShiftLeft,
        _ => Arithmetic::ShiftRight,
    };
    if matches!(op, Arithmetic::Divide | Arithmetic::Remainder) && r == Int::Constant(0) {
        return Err(Diagnostic::script(format!("`{expr}` divides by zero")).at(expr.position));
    }
    let shift = matches!(op, Arithmetic::ShiftLeft | Arithmetic::ShiftRight);
    let unsigned = l_unsigned || (r_unsigned && !shift);
    // A difference of two unsigned values, say of two times, is a signed number.
    let result_unsigned = unsigned && op != Arithmetic::Subtract;
    let show = if l_show == Show::Hex && result_unsigned { Show::Hex } else { Show::Decimal };
    Ok(Typed::Int { int: binary(op, !unsigned, l, r), unsigned: result_unsigned, show })
}

pub fn comparison(operator: Operator) -> Option<Comparison> {
    Some(match operator {
        Operator::Equal => Comparison::Equal,
        Operator::NotEqual => Comparison::NotEqual,
        Operator::Less => Comparison::Less,
        Operator::LessOrEqual => Comparison::LessOrEqual,
        Operator::Greater => Comparison::Greater,
        Operator::GreaterOrEqual => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn turned(comparison: Comparison) -> Comparison {
    match comparison {
        Comparison::Less => Comparison::Greater,
        Comparison::LessOrEqual => Comparison::GreaterOrEqual,
        Comparison::Greater => Comparison::Less,
        Comparison::GreaterOrEqual => Comparison::LessOrEqual,
        same => same,
    }
}

pub fn compare(op: Comparison, left: &Expr, right: &Expr, expr: &Expr, scope: &Scope) -> Result<Test, Diagnostic> {
    let equality = |test: Test| match op {
        Comparison::Equal => Ok(test),
        Comparison::NotEqual => Ok(Test::Not(Box::new(test))),
        _ => Err(Diagnostic::script("texts are compared with `==` and `!=` only").at(expr.position)),
    };
    match (&*left.node, &*right.node) {
        (Node::Text(text), _) => return equality(text_is(right, text, false, expr, scope)?),
        (_, Node::Text(text)) => return equality(text_is(left, text, false, expr, scope)?),
        _ => {}
    }
    match (column(left, scope)?, column(right, scope)?) {
        (Typed::Text { text: left, size: a }, Typed::Text { text: right, size: b }) => {
            equality(Test::TextsEqual { left, right, size: a.max(b).min(TEXT_SIZE) })
        }
        (Typed::Path { .. }, _) => Err(no_condition(left).at(expr.position)),
        (_, Typed::Path { .. }) => Err(no_condition(right).at(expr.position)),
        (Typed::Address { high, low }, Typed::Address { high: r_high, low: r_low }) => equality(Test::And(vec![
            Test::Compare { op: Comparison::Equal, reading: Reading::Unsigned, left: low, right: r_low },
            Test::Compare { op: Comparison::Equal, reading: Reading::Unsigned, left: high, right: r_high },
        ])),
        (Typed::Text { .. } | Typed::Bytes { .. } | Typed::Address { .. }, _)
        | (_, Typed::Text { .. } | Typed::Bytes { .. } | Typed::Address { .. }) => {
            Err(Diagnostic::script(format!("`{left}` and `{right}` are of different kinds")).at(expr.position))
        }
        (l, r) => {
            // Resolved once: twice a level would double the work with each.
            let ((l, l_unsigned, _), (r, r_unsigned, _)) = (to_number(l, left)?, to_number(r, right)?);
            let natural = |int: &Int| matches!(int, Int::Constant(value) if *value as i64 >= 0);
            let (op, reading, left, right) = match (l_unsigned, r_unsigned) {
                (false, false) => (op, Reading::Signed, l, r),
                (true, true) => (op, Reading::Unsigned, l, r),
                (false, true) if natural(&l) => (op, Reading::Unsigned, l, r),
                (true, false) if natural(&r) => (op, Reading::Unsigned, l, r),
                (false, true) => (op, Reading::SignedWithUnsigned, l, r),
                (true, false) => (turned(op), Reading::SignedWithUnsigned, r, l),
            };
            Ok(Test::Compare { op, reading, left, right })
        }
    }
}

pub fn text_is(side: &Expr, literal: &str, prefix: bool, expr: &Expr, scope: &Scope) -> Result<Test, Diagnostic> {
    if literal.contains('\0') || literal.len() > 256 {
        return Err(
            Diagnostic::script("a text to compare with has at most 256 bytes, none of them NUL").at(expr.position)
        );
    }
    let value = column(side, scope)?;
    if let Typed::Int { int, show: Show::Enum(known), .. } = value {
        return enumerator(int, known, literal, prefix, side, expr);
    }
    if network::is_address(&value) {
        return match literal.parse::<IpAddr>() {
            Ok(_) if !prefix => network::in_cidr(side, literal, scope).map_err(|error| error.at(expr.position)),
            _ => Err(Diagnostic::script(format!("`{side}` is an IP address, and {literal:?} is none"))
                .span(literal)
                .help(format!("{side} == \"10.1.2.3\", or in_cidr({side}, \"10.0.0.0/8\")"))
                .at(expr.position)),
        };
    }
    let literal = literal.as_bytes().to_vec();
    match value {
        Typed::Text { text, .. } => Ok(Test::TextIs { text, literal, prefix }),
        _ if scope.arguments == Arguments::Unchecked => Ok(Test::TextIs { text: Text::Comm, literal, prefix }),
        Typed::Path { .. } => Err(no_condition(side).at(expr.position)),
        Typed::Int { show: Show::Hex, .. } => Err(Diagnostic::script(format!("`{side}` is an address, not a text"))
            .help(format!("str({side})"))
            .at(expr.position)),
        other => Err(Diagnostic::script(format!("`{side}` is {}, not a text", other.what())).at(expr.position)),
    }
}

/// A value of an enumeration is compared with its name.
fn enumerator(
    int: Int,
    known: &Enumeration,
    literal: &str,
    prefix: bool,
    side: &Expr,
    expr: &Expr,
) -> Result<Test, Diagnostic> {
    if prefix {
        return Err(Diagnostic::script(format!("`{side}` is a number with a name, not a text")).at(expr.position));
    }
    match known.value_of(literal) {
        Some(value) => Ok(Test::Compare {
            op: Comparison::Equal,
            reading: Reading::Signed,
            left: int,
            right: Int::Constant(value as u64),
        }),
        None => {
            let of_kernel = known.of_kernel();
            let whose =
                if of_kernel { format!("`enum {}` has no value", known.name) } else { format!("no {} is", known.name) };
            let error = Diagnostic::script(format!("{whose} {literal:?}")).span(literal).at(expr.position);
            Err(match nearest(literal, known.values.iter().map(|(name, _)| name.as_str())) {
                Some(near) => error.help(format!("did you mean {near:?}?")),
                None if of_kernel => error.help(format!("skep list 'enum:{}'", known.name)),
                None => {
                    let names: Vec<&str> = known.values.iter().map(|(name, _)| name.as_str()).collect();
                    error.help(format!("there are {}", names.join(", ")))
                }
            })
        }
    }
}
