//! Chains: `probe(…)` and `template(…)`, and the methods that say what is wanted of them.

use super::fields::{self, Field};
use super::host::{Closure, Fallible, Host, called, raise};
use super::spans::spans;
use super::{arguments, run, values};
use crate::aggregate::cell::Kind;
use crate::attach_point::{self, AttachPoint};
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Node};
use crate::kernel::load::text;
use crate::plan::{Column, Direction, Entry, Output, Setting, Source, Then};
use crate::report::{printf, units};
use crate::resolve::BUILTINS;
use rhai::{Array, Dynamic, Engine, FLOAT, FnPtr, INT, ImmutableString, Map, NativeCallContext, Position};
use std::rc::Rc;

/// A handle on one chain of the plan.
#[derive(Clone)]
pub struct Probe {
    pub host: Rc<Host>,
    pub chain: usize,
}

impl Probe {
    /// Changes the chain, which must not run yet.
    pub fn change(
        self,
        context: &NativeCallContext,
        change: impl FnOnce(&mut Entry) -> Result<(), Diagnostic>,
    ) -> Fallible<Probe> {
        let mut chains = self.host.chains.borrow_mut();
        let chain = &mut chains[self.chain];
        if chain.state == super::host::State::Running {
            let message = "this chain runs already and cannot be changed";
            return raise(Diagnostic::script(message).help("let it end, or start another"), context.call_position());
        }
        match change(&mut chain.entry) {
            Ok(()) => {
                drop(chains);
                Ok(self)
            }
            Err(diagnostic) => raise(diagnostic, context.call_position()),
        }
    }

    fn aggregate(self, context: &NativeCallContext, kind: Kind, value: Option<Expr>) -> Fallible<Probe> {
        self.change(context, |entry| match &entry.output {
            Output::None => {
                entry.output = Output::Aggregate { kind, value };
                Ok(())
            }
            Output::Aggregate { kind: other, .. } => {
                Err(Diagnostic::script(format!("this chain aggregates by `{}` already", other.name()))
                    .help("one chain for each, or stats(…)"))
            }
            Output::Stream { .. } => Err(Diagnostic::script("a chain either streams its events or aggregates them")
                .help("leave out .fields(…), or use .by(…)")),
        })
    }
}

pub fn register(engine: &mut Engine, host: &Rc<Host>) {
    engine.register_type_with_name::<Probe>("probe");
    values::no_order::<Probe>(engine, "a chain", ".value() > 100");
    sources(engine, host);
    filters(engine);
    columns(engine);
    aggregations(engine);
    streams(engine);
    views(engine);
    runs(engine);
}

fn sources(engine: &mut Engine, host: &Rc<Host>) {
    let add = |host: &Rc<Host>, points: &[String], context: &NativeCallContext| -> Fallible<Probe> {
        let parsed = parsed(points, context.call_position())?;
        let chain = host.add(Entry::new(Source::Probe(parsed), called(context)));
        Ok(Probe { host: host.clone(), chain })
    };
    spans(engine, host);
    let own = host.clone();
    engine.register_fn("probe", move |context: NativeCallContext, point: ImmutableString| {
        add(&own, &[point.to_string()], &context)
    });
    let own = host.clone();
    engine.register_fn("probe", move |context: NativeCallContext, points: Array| {
        if points.is_empty() {
            let error = Diagnostic::script("`probe` takes attach points, got an empty list");
            return raise(error.help("probe([\"t:sched:sched_switch\"])"), context.call_position());
        }
        add(&own, &points.iter().map(ToString::to_string).collect::<Vec<_>>(), &context)
    });
    let template = |host: &Rc<Host>, name: &str, settings: &Map, context: &NativeCallContext| -> Fallible<Probe> {
        let parameters = parameters(settings, context)?;
        let chain = host.add(Entry::new(Source::Template { name: name.to_owned(), parameters }, called(context)));
        Ok(Probe { host: host.clone(), chain })
    };
    let own = host.clone();
    engine.register_fn("template", move |context: NativeCallContext, name: ImmutableString| {
        template(&own, &name, &Map::new(), &context)
    });
    let own = host.clone();
    engine.register_fn("template", move |context: NativeCallContext, name: ImmutableString, settings: Map| {
        template(&own, &name, &settings, &context)
    });
}

/// A template's parameters from `#{ name: value }`, by name.
pub fn parameters(settings: &Map, context: &NativeCallContext) -> Fallible<Vec<Parameter>> {
    let mut parameters = Vec::new();
    for (name, value) in settings {
        let setting = match value {
            value if value.is::<INT>() => Setting::Int(value.as_int().unwrap_or_default().into()),
            value if value.is::<bool>() => Setting::Bool(value.as_bool().unwrap_or_default()),
            value if value.is::<ImmutableString>() => Setting::Text(value.to_string()),
            value if value.is::<values::Unsigned>() => Setting::Int(value.clone_cast::<values::Unsigned>().0.into()),
            other => {
                let what = arguments::in_words(context.engine().map_type_name(other.type_name()));
                let message = format!("parameter `{name}` cannot hold {what}");
                return raise(Diagnostic::script(message).span(name.as_str()), context.call_position());
            }
        };
        parameters.push((name.to_string(), setting, called(context)));
    }
    parameters.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(parameters)
}

type Parameter = (String, Setting, Option<crate::diagnostic::Position>);

pub fn parsed(points: &[String], position: Position) -> Fallible<Vec<(String, AttachPoint)>> {
    let parse = |text: &String| match attach_point::parse(text) {
        Ok(point) => Ok((text.clone(), point)),
        Err(diagnostic) => raise(diagnostic, position),
    };
    points.iter().map(parse).collect()
}

fn filters(engine: &mut Engine) {
    engine.register_fn("filter", |context: NativeCallContext, probe: Probe, condition: Field| {
        probe.change(&context, |entry| {
            entry.filter = Some(fields::bounded(Expr::and(entry.filter.take(), condition.0))?);
            Ok(())
        })
    });
    engine.register_fn("filter", |context: NativeCallContext, _: Probe, closure: FnPtr| -> Fallible<Probe> {
        let _ = closure;
        let error = Diagnostic::script("`filter` takes a kernel expression, got a closure")
            .label("runs in the kernel; closures run here")
            .help(".filter(pid == 18644)      (or test each event here: .each(|e| if e.pid == 18644 { … }))");
        raise(error, context.call_position())
    });
    engine.register_fn("filter", |context: NativeCallContext, _: Probe, value: bool| -> Fallible<Probe> {
        let error =
            Diagnostic::script(format!("`filter` got {value}, no kernel expression")).help(".filter(pid == 18644)");
        raise(error, context.call_position())
    });
}

/// Columns from the arguments of `by` and `fields`: expressions, or one map of names to expressions.
fn named(arguments: &[Dynamic], context: &NativeCallContext) -> Fallible<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::new();
    for argument in arguments {
        if let Some(map) = argument.read_lock::<Map>() {
            for (name, value) in map.iter() {
                columns.push(Column { name: name.to_string(), expr: fields::expr(value, context)? });
            }
            continue;
        }
        let expr = fields::expr(argument, context)?;
        // The same for every event: nobody wants that as a column.
        let what = match &*expr.node {
            Node::Text(text) => Some((text.clone(), "text")),
            Node::Int(_) => Some((String::new(), "number")),
            _ => None,
        };
        if let Some((text, what)) = what {
            let error = Diagnostic::script(format!("the {what} {expr} is no column"));
            let name = BUILTINS.iter().any(|(name, _)| *name == text) || text.starts_with("args.");
            let help = match name && context.fn_name() != "printf" {
                true => format!(".{}({text})", context.fn_name()),
                false => "a field, such as comm or args.ret".to_owned(),
            };
            return raise(error.help(help), context.call_position());
        }
        let name = expr.column_name();
        let same = columns.iter().filter(|column| column.name == name).count();
        let name = if same > 0 { format!("{name}{}", same + 1) } else { name };
        columns.push(Column { name, expr });
    }
    Ok(columns)
}

/// Registers a function for one to eight further arguments of any type: Rhai has no variadic functions.
macro_rules! variadic {
    ($engine:expr, $name:expr, $body:expr) => {
        variadic!(@ $engine, $name, $body, (a) (a b) (a b c) (a b c d) (a b c d e) (a b c d e f) (a b c d e f g) (a b c d e f g h))
    };
    (@ $engine:expr, $name:expr, $body:expr, $(($($argument:ident)*))*) => { $(
        #[allow(clippy::too_many_arguments, reason = "Rhai has no variadic functions")]
        $engine.register_fn($name, |context: NativeCallContext, probe: Probe, $($argument: Dynamic),*| -> Fallible<Probe> {
            $body(&context, probe, &[$($argument),*])
        });
    )* };
}

fn columns(engine: &mut Engine) {
    variadic!(engine, "by", |context: &NativeCallContext, probe: Probe, arguments: &[Dynamic]| {
        let columns = named(arguments, context)?;
        probe.change(context, |entry| {
            entry.key.extend(columns);
            Ok(())
        })
    });
    variadic!(engine, "fields", |context: &NativeCallContext, probe: Probe, arguments: &[Dynamic]| {
        let columns = named(arguments, context)?;
        probe.change(context, |entry| stream(entry, columns, Then::Print))
    });
}

fn stream(entry: &mut Entry, added: Vec<Column>, then: Then) -> Result<(), Diagnostic> {
    match &mut entry.output {
        Output::None if !entry.key.is_empty() => {
            Err(Diagnostic::script("`by` belongs to aggregations, and this chain streams its events")
                .help(".by(…).count()"))
        }
        Output::None => {
            entry.output = Output::Stream { columns: added, then };
            Ok(())
        }
        Output::Stream { columns, then: now } => {
            columns.extend(added);
            *now = then;
            Ok(())
        }
        Output::Aggregate { .. } => {
            Err(Diagnostic::script("a chain either streams its events or aggregates them").help("one chain for each"))
        }
    }
}

fn aggregations(engine: &mut Engine) {
    engine
        .register_fn("count", |context: NativeCallContext, probe: Probe| probe.aggregate(&context, Kind::Count, None));
    engine
        .register_fn("heavy", |context: NativeCallContext, probe: Probe| probe.aggregate(&context, Kind::Heavy, None));
    for (name, kind) in [
        ("sum", Kind::Sum),
        ("avg", Kind::Avg),
        ("min", Kind::Min),
        ("max", Kind::Max),
        ("stats", Kind::Stats),
        ("heavy", Kind::Heavy),
        ("hist", Kind::Hist),
        ("quantiles", Kind::Quantiles),
    ] {
        engine.register_fn(name, move |context: NativeCallContext, probe: Probe, value: Field| {
            probe.aggregate(&context, kind, Some(value.0))
        });
        engine.register_fn(name, move |context: NativeCallContext, _: Probe, closure: FnPtr| -> Fallible<Probe> {
            let _ = closure;
            let error = Diagnostic::script(format!("`{name}` takes a kernel expression, got a closure"))
                .label("aggregates in the kernel; closures run here")
                .help(format!(".{name}(args.ret)"));
            raise(error, context.call_position())
        });
    }
    engine.register_fn(
        "lhist",
        |context: NativeCallContext, probe: Probe, value: Field, min: INT, max: INT, step: INT| match Kind::lhist(
            min, max, step,
        ) {
            Ok(kind) => probe.aggregate(&context, kind, Some(value.0)),
            Err(message) => {
                raise(Diagnostic::script(message).help(".lhist(args.ret, 0, 2000, 200)"), context.call_position())
            }
        },
    );
    engine.register_fn("entries", |context: NativeCallContext, probe: Probe, entries: INT| {
        probe.change(&context, |entry| {
            let wanted = u32::try_from(entries).ok().filter(|entries| (1..=10_000_000).contains(entries));
            let wrong = || Diagnostic::script(format!("{entries} is no number of entries from 1 to 10,000,000"));
            entry.entries = Some(wanted.ok_or_else(wrong)?);
            Ok(())
        })
    });
}

fn streams(engine: &mut Engine) {
    engine.register_fn("each", |context: NativeCallContext, probe: Probe, closure: FnPtr| -> Fallible<Probe> {
        let probe = probe.change(&context, |entry| {
            stream(entry, Vec::new(), Then::Each)?;
            default_columns(entry);
            Ok(())
        })?;
        let closure = Closure::new(&context, &probe.host, closure);
        probe.host.chains.borrow_mut()[probe.chain].each = Some(closure);
        Ok(probe)
    });
    engine.register_fn("printf", move |context: NativeCallContext, probe: Probe, text: ImmutableString| {
        formatted(&context, probe, &text, &[])
    });
    variadic!(engine, "printf", |context: &NativeCallContext, probe: Probe, arguments: &[Dynamic]| match arguments
        .split_first()
    {
        Some((text, rest)) if text.is::<ImmutableString>() => formatted(context, probe, &text.to_string(), rest),
        _ => raise(
            Diagnostic::script("`printf` begins with a format").help(".printf(\"%-16s %6d\\n\", comm, pid)"),
            context.call_position()
        ),
    });
}

fn formatted(context: &NativeCallContext, probe: Probe, text: &str, arguments: &[Dynamic]) -> Fallible<Probe> {
    let columns = named(arguments, context)?;
    let format = match printf::Format::parse(text) {
        Ok(format) => format,
        Err(message) => {
            return raise(
                Diagnostic::script(message).help(".printf(\"%-16s %6d\\n\", comm, pid)"),
                context.call_position(),
            );
        }
    };
    if format.arguments() != columns.len() {
        let message = printf::miscounted(format.arguments(), columns.len());
        let help = ".printf(\"%-16s %6d\\n\", comm, pid)";
        return raise(Diagnostic::script(message).help(help), context.call_position());
    }
    probe.change(context, |entry| stream(entry, columns, Then::Printf(text.to_owned())))
}

/// A stream without `fields` has what every event has.
fn default_columns(entry: &mut Entry) {
    if let Output::Stream { columns, .. } = &mut entry.output
        && columns.is_empty()
    {
        columns
            .extend(["nsecs", "pid", "comm", "probe"].map(|name| Column { name: name.into(), expr: Expr::name(name) }));
    }
}

fn views(engine: &mut Engine) {
    engine.register_fn("named", |context: NativeCallContext, probe: Probe, name: ImmutableString| {
        probe.change(&context, |entry| {
            entry.name = Some(name.to_string());
            Ok(())
        })
    });
    engine.register_fn("top", |context: NativeCallContext, probe: Probe, n: INT| {
        probe.change(&context, |entry| {
            entry.view.top = Some(values::rows(n)?);
            Ok(())
        })
    });
    for (name, direction) in [("sort_by", Direction::Descending), ("sort_by_ascending", Direction::Ascending)] {
        engine.register_fn(name, move |context: NativeCallContext, probe: Probe, column: ImmutableString| {
            probe.change(&context, |entry| {
                let known = entry.key.iter().any(|key| key.name == column.as_str()) || column == "value";
                if !known {
                    let names =
                        entry.key.iter().map(|key| key.name.as_str()).chain(["value"]).collect::<Vec<_>>().join(", ");
                    return Err(Diagnostic::script(format!("no column `{column}` to sort by"))
                        .span(column.as_str())
                        .help(format!("one of {names}")));
                }
                entry.view.sort = Some((column.to_string(), direction));
                Ok(())
            })
        });
    }
    engine.register_fn("quiet", |probe: Probe| {
        probe.host.chains.borrow()[probe.chain].taken.set(true);
        probe
    });
}

fn runs(engine: &mut Engine) {
    engine.register_fn("run", |context: NativeCallContext, probe: Probe| run::one(&context, &probe, None));
    engine.register_fn("run", |context: NativeCallContext, probe: Probe, time: ImmutableString| {
        match units::parse_duration(&time) {
            Some(nanos) => run::one(&context, &probe, Some(std::time::Duration::from_nanos(nanos))),
            None => raise(not_a_duration(&time), context.call_position()),
        }
    });
    engine.register_fn("value", |context: NativeCallContext, probe: Probe| -> Fallible<Dynamic> {
        let host = &probe.host;
        let taken = host.chains.borrow()[probe.chain].taken.clone();
        taken.set(true);
        match host.table(probe.chain) {
            Ok(Some(table)) => Ok(values::result(table, &taken, &host.names)),
            Ok(None) => Ok(Dynamic::UNIT),
            Err(diagnostic) => raise(diagnostic, context.call_position()),
        }
    });
    engine.register_fn("seconds", |probe: Probe| probe.host.chains.borrow()[probe.chain].ran.as_secs_f64() as FLOAT);
    engine.register_fn("trust", |probe: Probe| -> Map {
        let trust = probe.host.chains.borrow()[probe.chain].trust;
        trust.counts().map(|(name, count)| (name.into(), values::number(count.into()))).collect()
    });
    engine.register_fn("clear", |context: NativeCallContext, probe: Probe| -> Fallible<Probe> {
        if let Some((active, n)) = probe.host.running(probe.chain)
            && let Err(error) = active.session.borrow().clear(n)
        {
            return raise(Diagnostic::machine(format!("failed to clear: {}", text(&error))), context.call_position());
        }
        probe.host.chains.borrow_mut()[probe.chain].table = None;
        Ok(probe)
    });
    engine.register_fn("show", |context: NativeCallContext, probe: Probe| -> Fallible<()> {
        match probe.host.shown(probe.chain) {
            Ok(Some(table)) => {
                probe.host.output.borrow_mut().table(&table, &probe.host.names);
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(diagnostic) => raise(diagnostic, context.call_position()),
        }
    });
}

pub fn not_a_duration(text: &str) -> Diagnostic {
    Diagnostic::script(format!("`{text}` is no duration")).span(text).help("10s, 500ms, 2m, 1h")
}
