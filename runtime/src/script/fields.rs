//! Fields: symbolic names and the operators on them. They build expressions that are compiled for the kernel.

use super::host::{Fallible, Host, called, place, raise};
use crate::attach_point::ALTERNATIVES;
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Function, Node, Operator};
use crate::network::filter::Filter;
use rhai::{Array, Dynamic, Engine, FLOAT, FnPtr, INT, ImmutableString, NativeCallContext, Position};
use std::ops::{Range, RangeInclusive};
use std::rc::Rc;

/// A kernel expression as a script holds it.
#[derive(Clone, Debug)]
pub struct Field(pub Expr);

/// Rhai's name of the type, for messages.
pub const FIELD: &str = "kernel expression";

const OPERATORS: &[(&str, Operator)] = &[
    ("+", Operator::Add),
    ("-", Operator::Subtract),
    ("*", Operator::Multiply),
    ("/", Operator::Divide),
    ("%", Operator::Remainder),
    ("&", Operator::BitAnd),
    ("|", Operator::BitOr),
    ("^", Operator::BitXor),
    ("<<", Operator::ShiftLeft),
    (">>", Operator::ShiftRight),
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<", Operator::Less),
    ("<=", Operator::LessOrEqual),
    (">", Operator::Greater),
    (">=", Operator::GreaterOrEqual),
    ("and", Operator::And),
    ("or", Operator::Or),
];

const ONE_ARGUMENT: [Function; 16] = [
    Function::Sock,
    Function::Skb,
    Function::Sockaddr,
    Function::Ntohs,
    Function::Ntohl,
    Function::Ntohll,
    Function::UserPointer,
    Function::KernelPointer,
    Function::Strerror,
    Function::SignalName,
    Function::SyscallName,
    Function::CgroupPath,
    Function::UserName,
    Function::TcpState,
    Function::Ksym,
    Function::Usym,
];

/// Deeper expressions fit no slot, and recursion over them no stack.
const DEEPEST: u32 = 2000;
/// Larger ones fit no slot either: a part that is used twice is compiled twice, and `x = x + x` doubles them.
const LARGEST: u32 = 50_000;

/// # Errors
/// It is too large for any slot.
pub fn bounded(built: Expr) -> Result<Expr, Diagnostic> {
    let error = match () {
        () if built.depth > DEEPEST => format!("it is nested more than {DEEPEST} deep"),
        () if built.size > LARGEST => format!("it has more than {LARGEST} parts"),
        () => return Ok(built),
    };
    let error = Diagnostic::script(format!("an expression is too large: {error}"));
    Err(error.help("test less in the kernel, and the rest here"))
}

fn field(built: Expr, context: &NativeCallContext) -> Fallible<Field> {
    bounded(built).map(Field).or_else(|error| raise(error, context.call_position()))
}

fn made(node: Node, context: &NativeCallContext) -> Fallible<Field> {
    field(Expr::new(node, called(context)), context)
}

/// A script's value as part of a kernel expression.
///
/// # Errors
/// It is of a type that the kernel cannot handle.
pub fn expr(value: &Dynamic, context: &NativeCallContext) -> Fallible<Expr> {
    let position = called(context);
    if let Some(field) = value.read_lock::<Field>() {
        return Ok(field.0.clone());
    }
    if let Some(unsigned) = value.read_lock::<super::values::Unsigned>() {
        return Ok(Expr::new(Node::Int(unsigned.0.into()), position));
    }
    if let Ok(int) = value.as_int() {
        return Ok(Expr::new(Node::Int(int.into()), position));
    }
    if let Ok(yes) = value.as_bool() {
        return Ok(Expr::new(Node::Int(yes.into()), position));
    }
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return Ok(Expr::new(Node::Text(text.to_string()), position));
    }
    let message = match () {
        () if value.is::<FLOAT>() => {
            "the kernel has no floating point: compute with floats here, on results".to_owned()
        }
        () if value.is::<char>() => "a character in single quotes; texts have double quotes".to_owned(),
        () if value.is::<FnPtr>() => "a closure runs here; a kernel expression is needed".to_owned(),
        () => format!("a kernel expression cannot hold a value of type `{}`", value.type_name()),
    };
    raise(
        Diagnostic::script(message).help("fields, numbers and texts: pid == 1234 and comm != \"bash\""),
        context.call_position(),
    )
}

/// A field has no value here, where a text is made of it.
pub fn no_value(field: &Field, position: Position) -> Diagnostic {
    let name = field.0.column_name();
    Diagnostic::script(format!("`{}` is known in the kernel only: it has no value here", field.0))
        .help(format!("print it from events: .fields({}).each(|e| print(e.{name}))", field.0))
        .span(field.0.to_string())
        .at(place(position))
}

/// A text with a field in it is not what anybody wants; Rhai lets `to_string` not fail, so the host remembers it.
fn texts(engine: &mut Engine, host: &Rc<Host>) {
    engine.register_fn("print", |context: NativeCallContext, field: Field| -> Fallible<ImmutableString> {
        raise(no_value(&field, context.call_position()), context.call_position())
    });
    let own = host.clone();
    engine.register_fn("to_string", move |context: NativeCallContext, field: &mut Field| {
        own.refused.replace(Some(no_value(field, context.call_position())));
        field.0.to_string()
    });
    engine.register_fn("to_debug", |field: &mut Field| field.0.to_string());
}

pub fn register(engine: &mut Engine, host: &Rc<Host>) -> Result<(), String> {
    engine.register_type_with_name::<Field>(FIELD);
    texts(engine, host);
    engine.register_custom_operator("and", 60)?.register_custom_operator("or", 30)?;
    for (symbol, operator) in OPERATORS {
        let build = move |context: &NativeCallContext, left: &Dynamic, right: &Dynamic| {
            check_bits(*operator, left, right, context)?;
            let node = Node::Binary(*operator, expr(left, context)?, expr(right, context)?);
            Ok(Dynamic::from(made(node, context)?))
        };
        engine.register_fn(
            *symbol,
            move |context: NativeCallContext, left: Field, right: Dynamic| -> Fallible<Dynamic> {
                build(&context, &Dynamic::from(left), &right)
            },
        );
        engine.register_fn(
            *symbol,
            move |context: NativeCallContext, left: Dynamic, right: Field| -> Fallible<Dynamic> {
                build(&context, &left, &Dynamic::from(right))
            },
        );
        engine.register_fn(
            *symbol,
            move |context: NativeCallContext, left: Field, right: Field| -> Fallible<Dynamic> {
                build(&context, &Dynamic::from(left), &Dynamic::from(right))
            },
        );
    }
    engine.register_fn("contains", |context: NativeCallContext, list: rhai::Array, field: Field| -> Fallible<Field> {
        let position = called(&context);
        let mut any = Expr::new(Node::Int(0), position);
        for (n, one) in list.iter().enumerate() {
            let same = Expr::new(Node::Binary(Operator::Equal, field.0.clone(), expr(one, &context)?), position);
            let both = if n == 0 { same } else { Expr::new(Node::Binary(Operator::Or, any, same), position) };
            any = self::field(both, &context)?.0;
        }
        Ok(Field(any))
    });
    let within = |context: &NativeCallContext, field: Field, low: INT, high: (Operator, INT)| -> Fallible<Field> {
        let compare = |operator: Operator, bound: INT| {
            let node = Node::Binary(operator, field.0.clone(), Expr::int(bound.into()));
            Expr::new(node, called(context))
        };
        let both = Expr::and(Some(compare(Operator::GreaterOrEqual, low)), compare(high.0, high.1));
        self::field(both, context)
    };
    engine.register_fn("contains", move |context: NativeCallContext, range: Range<INT>, field: Field| {
        within(&context, field, range.start, (Operator::Less, range.end))
    });
    engine.register_fn("contains", move |context: NativeCallContext, range: RangeInclusive<INT>, field: Field| {
        within(&context, field, *range.start(), (Operator::LessOrEqual, *range.end()))
    });
    // Plain values have them too, so that a script may join its own conditions with the same words.
    engine.register_fn("and", |left: bool, right: bool| left && right);
    engine.register_fn("or", |left: bool, right: bool| left || right);
    engine.register_fn("not", |value: bool| !value);
    engine.register_fn("not", |context: NativeCallContext, field: Field| -> Fallible<Field> {
        made(Node::Not(field.0), &context)
    });
    engine.register_fn("-", |context: NativeCallContext, field: Field| -> Fallible<Field> {
        made(Node::Negate(field.0), &context)
    });
    engine.register_fn("!", |context: NativeCallContext, field: Field| -> Fallible<Dynamic> {
        let help = format!("not({})", field.0);
        raise(Diagnostic::script("`!` cannot turn a kernel expression").help(help), context.call_position())
    });
    engine.register_indexer_get(
        |context: NativeCallContext, field: &mut Field, name: ImmutableString| -> Fallible<Field> {
            let position = called(&context).or(field.0.position);
            let member = Expr::new(Node::Member(field.0.clone(), name.to_string()), position);
            self::field(member, &context)
        },
    );
    engine.register_indexer_get(|context: NativeCallContext, field: &mut Field, n: INT| -> Fallible<Field> {
        let position = called(&context).or(field.0.position);
        self::field(Expr::new(Node::Index(field.0.clone(), n), position), &context)
    });
    engine.register_fn("cast", |context: NativeCallContext, field: Field, to: ImmutableString| {
        made(Node::Cast(field.0, to.to_string()), &context)
    });
    engine.register_fn("enum_name", |context: NativeCallContext, field: Field, name: ImmutableString| {
        let name = if name.starts_with("enum ") { name.to_string() } else { format!("enum {name}") };
        made(Node::Cast(field.0, name), &context)
    });
    engine.register_fn("first_of", |context: NativeCallContext, fields: Array| -> Fallible<Dynamic> {
        let texts = fields.iter().map(|one| one.read_lock::<ImmutableString>().map(|text| text.to_string()));
        if let Some(texts) = texts.collect::<Option<Vec<_>>>().filter(|texts| !texts.is_empty()) {
            // Attach points: the machine decides.
            return Ok(texts.join(ALTERNATIVES).into());
        }
        let list: Vec<Expr> = fields.iter().map(|field| expr(field, &context)).collect::<Fallible<_>>()?;
        Ok(Dynamic::from(made(Node::FirstOf(list), &context)?))
    });
    for function in ONE_ARGUMENT {
        engine.register_fn(function.name(), move |context: NativeCallContext, field: Field| {
            call(function, field, None, &context)
        });
    }
    for function in [Function::Str, Function::Buf, Function::Path, Function::Ntop] {
        engine.register_fn(function.name(), move |context: NativeCallContext, field: Field| {
            call(function, field, None, &context)
        });
        engine.register_fn(function.name(), move |context: NativeCallContext, field: Field, size: INT| {
            call(function, field, Some(Expr::int(size.into())), &context)
        });
    }
    for function in [Function::Kstack, Function::Ustack] {
        engine.register_fn(function.name(), move |context: NativeCallContext, depth: INT| {
            made(Node::Call(function, vec![Expr::int(depth.into())]), &context)
        });
    }
    engine.register_fn("tcpdump", |context: NativeCallContext, text: ImmutableString| -> Fallible<Field> {
        // Said where it is written, not where it is used.
        match Filter::parse(&text) {
            Ok(_) => {
                let text = vec![Expr::new(Node::Text(text.to_string()), None)];
                made(Node::Call(Function::Tcpdump, text), &context)
            }
            Err(fault) => raise(fault.diagnostic(&text), context.call_position()),
        }
    });
    for function in [Function::StartsWith, Function::InCidr] {
        engine.register_fn(function.name(), move |context: NativeCallContext, field: Field, text: ImmutableString| {
            call(function, field, Some(Expr::new(Node::Text(text.to_string()), None)), &context)
        });
    }
    Ok(())
}

fn call(function: Function, field: Field, more: Option<Expr>, context: &NativeCallContext) -> Fallible<Field> {
    let arguments = [field.0].into_iter().chain(more).collect();
    made(Node::Call(function, arguments), context)
}

/// `args.flags & 3 == 0` binds as in C: `3 == 0` first. Say it before it is false for ever.
fn check_bits(operator: Operator, left: &Dynamic, right: &Dynamic, context: &NativeCallContext) -> Fallible<()> {
    let bits = matches!(operator, Operator::BitAnd | Operator::BitOr | Operator::BitXor);
    let condition = |value: &Dynamic| {
        value.is::<bool>()
            || value.read_lock::<Field>().is_some_and(|field| {
                matches!(
                    &*field.0.node,
                    Node::Not(_)
                        | Node::Binary(
                            Operator::Equal
                                | Operator::NotEqual
                                | Operator::Less
                                | Operator::LessOrEqual
                                | Operator::Greater
                                | Operator::GreaterOrEqual
                                | Operator::And
                                | Operator::Or,
                            ..
                        )
                )
            })
    };
    if bits && (condition(left) || condition(right)) {
        let symbol = operator.symbol();
        let (help, what) = match operator {
            Operator::BitAnd => ("(args.flags & 3) == 0, or `and` between conditions", "bits"),
            _ => ("`or` between conditions", "bits"),
        };
        return raise(
            Diagnostic::script(format!("`{symbol}` joins {what}, not conditions")).help(help),
            context.call_position(),
        );
    }
    Ok(())
}
