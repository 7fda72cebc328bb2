//! Resolving: from an expression and a scope (what names mean at one attach point) to typed code. Pure; no privilege.

use crate::aggregate::column::{BytesShow, Show};
use crate::diagnostic::{Diagnostic, nearest};
use crate::expr::{Expr, Function, Node, Operator};
use crate::slot::ir::{Arithmetic, Comparison, Current, Int, Memory, Place, Reading, Test, Text};

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
    Test(Test),
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

    fn what(&self) -> &'static str {
        match self {
            Typed::Int { .. } => "a number",
            Typed::Text { .. } => "a text",
            Typed::Bytes { .. } => "bytes",
            Typed::Test(_) => "a condition",
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
    pub return_value: Option<Int>,
    /// Where `str()` and `buf()` look.
    pub memory: Memory,
    /// `probe`
    pub probe: Int,
    /// A template's fields; they stand without `args.`.
    pub fields: Vec<Argument>,
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
    ("retval", "what the function returned (uretprobe)"),
    ("arg0", "first argument (uprobe, rawtracepoint)"),
    ("arg1", "second argument"),
    ("arg2", "third argument"),
    ("arg3", "fourth argument"),
    ("arg4", "fifth argument"),
    ("arg5", "sixth argument"),
    ("args", "arguments by name: args.NAME (tracepoint)"),
];

/// Length of a text where `str()` does not say, its NUL included.
pub const TEXT_SIZE: u16 = 64;
const LONGEST_TEXT: i128 = 512;
const COMM_SIZE: u16 = 16;

/// A condition.
///
/// # Errors
/// A script diagnostic at the part that is wrong.
pub fn test(expr: &Expr, scope: &Scope) -> Result<Test, Diagnostic> {
    match resolve(expr, scope)? {
        Typed::Test(test) => Ok(test),
        Typed::Int { int, .. } => Ok(Test::Compare {
            op: Comparison::NotEqual,
            reading: Reading::Unsigned,
            left: int,
            right: Int::Constant(0),
        }),
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
        Typed::Int { int, unsigned, show } => Ok((int, unsigned, show)),
        Typed::Test(test) => Ok((Int::Truth(Box::new(test)), false, Show::Decimal)),
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
        Node::Name(name) => by_name(name, expr, scope),
        Node::Member(inner, name) => match &*inner.node {
            Node::Name(args) if args == "args" => argument(name, expr, scope),
            _ => Err(Diagnostic::script(format!("`{inner}` has no member `{name}`"))
                .span(name.as_str())
                .at(expr.position)),
        },
        Node::Negate(inner) => {
            let (int, ..) = number(inner, scope)?;
            Ok(Typed::int(binary(Arithmetic::Subtract, true, Int::Constant(0), int)))
        }
        Node::Not(inner) => Ok(Typed::Test(Test::Not(Box::new(test(inner, scope)?)))),
        Node::Binary(Operator::And, left, right) => {
            Ok(Typed::Test(Test::And(vec![test(left, scope)?, test(right, scope)?])))
        }
        Node::Binary(Operator::Or, left, right) => {
            Ok(Typed::Test(Test::Or(vec![test(left, scope)?, test(right, scope)?])))
        }
        Node::Binary(operator, left, right) => match comparison(*operator) {
            Some(comparison) => compare(comparison, left, right, expr, scope).map(Typed::Test),
            None => arithmetic(*operator, left, right, expr, scope),
        },
        Node::Call(function, arguments) => call(*function, arguments, expr, scope),
    }
}

fn constant(value: i128) -> Typed {
    let unsigned = value > i128::from(i64::MAX);
    Typed::Int { int: Int::Constant(value as u64), unsigned, show: Show::Decimal }
}

fn by_name(name: &str, expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    if let Some(field) = scope.fields.iter().find(|field| field.name == name) {
        return Ok(field.typed.clone());
    }
    let current = |current| Int::Current(current);
    let numbered = || name.strip_prefix("arg").and_then(|digits| digits.parse::<usize>().ok());
    Ok(match name {
        "pid" => Typed::int(current(Current::Pid)),
        "tid" => Typed::int(current(Current::Tid)),
        "uid" => Typed::int(current(Current::Uid)),
        "gid" => Typed::int(current(Current::Gid)),
        "cpu" => Typed::int(current(Current::Cpu)),
        "nsecs" => Typed::int(current(Current::Nsecs)),
        "cgroup" => Typed::shown(current(Current::Cgroup), Show::Cgroup),
        "probe" => Typed::shown(scope.probe.clone(), Show::Probe),
        "comm" => Typed::Text { text: Text::Comm, size: COMM_SIZE },
        "retval" => match &scope.return_value {
            Some(int) => Typed::int(int.clone()),
            None => return Err(no_return_value(expr, scope)),
        },
        "args" => {
            return Err(Diagnostic::script("`args` is all arguments; name one")
                .help("args.NAME   (skep list -v shows them)")
                .at(expr.position));
        }
        _ if numbered().is_some() => {
            let n = numbered().unwrap_or_default();
            match scope.numbered.get(n) {
                Some(int) => Typed::int(int.clone()),
                None => return Err(no_numbered_argument(name, expr, scope)),
            }
        }
        _ => {
            let known =
                BUILTINS.iter().map(|(name, _)| *name).chain(scope.fields.iter().map(|field| field.name.as_str()));
            let error =
                Diagnostic::script(format!("`{}` has no field `{name}`", scope.place)).at(expr.position).span(name);
            return Err(match nearest(name, known) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help("the fields of every source: pid tid comm uid gid cpu cgroup nsecs probe"),
            });
        }
    })
}

fn no_return_value(expr: &Expr, scope: &Scope) -> Diagnostic {
    let error = Diagnostic::script(format!("`{}` has no return value", scope.place)).at(expr.position);
    match scope.place.strip_prefix("uprobe:") {
        Some(rest) => error.help(format!("watch the return: uretprobe:{rest}")),
        None if matches!(&scope.arguments, Arguments::Known(list) if list.iter().any(|argument| argument.name == "ret")) => {
            error.help("args.ret")
        }
        None => error.help("`retval` belongs to uretprobe"),
    }
}

fn no_numbered_argument(name: &str, expr: &Expr, scope: &Scope) -> Diagnostic {
    let error = Diagnostic::script(format!("`{}` has no `{name}`", scope.place)).at(expr.position);
    if scope.place.starts_with("uretprobe:") {
        return error.help("arguments are gone when a function returns: probe its entry, uprobe:");
    }
    match &scope.arguments {
        Arguments::Known(list) if !list.is_empty() => {
            error.help(format!("its arguments have names: args.{}", list[0].name))
        }
        _ if scope.numbered.is_empty() => error.help("numbered arguments belong to uprobe and rawtracepoint"),
        _ => error.help(format!("it has arg0 to arg{}", scope.numbered.len() - 1)),
    }
}

fn argument(name: &str, expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    match &scope.arguments {
        Arguments::Known(list) => match list.iter().find(|argument| argument.name == name) {
            Some(argument) => Ok(argument.typed.clone()),
            None => {
                let error = Diagnostic::script(format!("`{}` has no argument `{name}`", scope.place))
                    .span(name)
                    .at(expr.position);
                Err(match nearest(name, list.iter().map(|argument| argument.name.as_str())) {
                    Some(near) => error.help(format!("did you mean `args.{near}`?")),
                    None => {
                        let names: Vec<&str> = list.iter().map(|argument| argument.name.as_str()).collect();
                        error.help(format!("it has {}", names.join(", ")))
                    }
                })
            }
        },
        Arguments::Unchecked => Ok(Typed::int(Int::Current(Current::Nsecs))),
        Arguments::None => Err(Diagnostic::script(format!("`{}` has no named arguments", scope.place))
            .at(expr.position)
            .help(if scope.numbered.is_empty() { "skep list -v shows what a source has" } else { "arg0, arg1, …" })),
    }
}

fn binary(op: Arithmetic, signed: bool, left: Int, right: Int) -> Int {
    Int::Binary { op, signed, left: Box::new(left), right: Box::new(right) }
}

fn arithmetic(operator: Operator, left: &Expr, right: &Expr, expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
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

fn comparison(operator: Operator) -> Option<Comparison> {
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

fn compare(op: Comparison, left: &Expr, right: &Expr, expr: &Expr, scope: &Scope) -> Result<Test, Diagnostic> {
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
    match (resolve(left, scope)?, resolve(right, scope)?) {
        (Typed::Text { text: left, size: a }, Typed::Text { text: right, size: b }) => {
            equality(Test::TextsEqual { left, right, size: a.max(b).min(TEXT_SIZE) })
        }
        (Typed::Text { .. } | Typed::Bytes { .. }, _) | (_, Typed::Text { .. } | Typed::Bytes { .. }) => {
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

fn text_is(side: &Expr, literal: &str, prefix: bool, expr: &Expr, scope: &Scope) -> Result<Test, Diagnostic> {
    if literal.contains('\0') || literal.len() > 256 {
        return Err(
            Diagnostic::script("a text to compare with has at most 256 bytes, none of them NUL").at(expr.position)
        );
    }
    let literal = literal.as_bytes().to_vec();
    match resolve(side, scope)? {
        Typed::Text { text, .. } => Ok(Test::TextIs { text, literal, prefix }),
        _ if scope.arguments == Arguments::Unchecked => Ok(Test::TextIs { text: Text::Comm, literal, prefix }),
        Typed::Int { show: Show::Hex, .. } => Err(Diagnostic::script(format!("`{side}` is an address, not a text"))
            .help(format!("str({side})"))
            .at(expr.position)),
        other => Err(Diagnostic::script(format!("`{side}` is {}, not a text", other.what())).at(expr.position)),
    }
}

fn call(function: Function, arguments: &[Expr], expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    let size = |default: u16| match arguments.get(1).map(|size| &*size.node) {
        None => Ok(default),
        Some(Node::Int(size)) if (1..=LONGEST_TEXT).contains(size) => Ok(*size as u16),
        Some(_) => Err(Diagnostic::script(format!("the length in `{expr}` must be a number from 1 to {LONGEST_TEXT}"))
            .at(expr.position)),
    };
    let Some(first) = arguments.first() else {
        return Err(Diagnostic::script(format!("`{}` needs an argument", function.name())).at(expr.position));
    };
    match function {
        Function::Str => match resolve(first, scope)? {
            Typed::Text { text, size: whole } => Ok(Typed::Text { text, size: size(whole)? }),
            Typed::Int { int, .. } => {
                Ok(Typed::Text { text: Text::At { pointer: int, memory: scope.memory }, size: size(TEXT_SIZE)? })
            }
            Typed::Bytes { bytes, size, .. } => Ok(Typed::Text { text: bytes, size: size.next_multiple_of(8) }),
            Typed::Test(_) => Err(Diagnostic::script(format!("`{first}` is no address")).at(expr.position)),
        },
        Function::Buf => match resolve(first, scope)? {
            bytes @ Typed::Bytes { .. } => Ok(bytes),
            Typed::Text { text, size } => Ok(Typed::Bytes { bytes: text, size, show: BytesShow::Hex }),
            Typed::Int { int, .. } => {
                let bytes = Text::At { pointer: int, memory: scope.memory };
                Ok(Typed::Bytes { bytes, size: size(TEXT_SIZE)?, show: BytesShow::Hex })
            }
            Typed::Test(_) => Err(Diagnostic::script(format!("`{first}` is no address")).at(expr.position)),
        },
        Function::Ntop => match resolve(first, scope)? {
            Typed::Bytes { bytes, size: size @ (4 | 16), .. } => Ok(Typed::Bytes { bytes, size, show: BytesShow::Ip }),
            unchecked if scope.arguments == Arguments::Unchecked => Ok(unchecked),
            _ => Err(Diagnostic::script(format!("`{first}` is no address of 4 or 16 bytes"))
                .help("ntop(args.daddr), or ntop(buf(arg1, 4)) for an address in memory")
                .at(expr.position)),
        },
        Function::StartsWith => match arguments.get(1).map(|text| &*text.node) {
            Some(Node::Text(text)) => Ok(Typed::Test(text_is(first, text, true, expr, scope)?)),
            _ => Err(Diagnostic::script("`starts_with` needs a text")
                .help("starts_with(comm, \"ba\")")
                .at(expr.position)),
        },
    }
}
