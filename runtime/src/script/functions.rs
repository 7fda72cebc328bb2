//! Functions that belong to no value: running, timers, ending, formatting, time.

use super::fields::{self, Field};
use super::host::{Closure, Fallible, Host, Mode, raise};
use super::intervals::LEAST;
use super::probe::not_a_duration;
use super::{run, values};
use crate::aggregate::column::{NoNames, Show, Value};
use crate::diagnostic::Diagnostic;
use crate::recording::frame::Clock;
use crate::report::{printf, units};
use rhai::{Dynamic, Engine, EvalAltResult, FLOAT, FnPtr, INT, ImmutableString, NativeCallContext};
use std::rc::Rc;
use std::time::Duration;

pub fn register(engine: &mut Engine, host: &Rc<Host>) {
    let own = host.clone();
    engine.register_fn("run", move |context: NativeCallContext| run::all(&context, &own, None));
    let own = host.clone();
    engine.register_fn("run", move |context: NativeCallContext, time: ImmutableString| {
        let time = duration(&context, &time)?;
        run::all(&context, &own, Some(time))
    });
    let own = host.clone();
    engine.register_fn(
        "every",
        move |context: NativeCallContext, period: ImmutableString, closure: FnPtr| -> Fallible<()> {
            let period = duration(&context, &period)?;
            if period < LEAST {
                return raise(
                    Diagnostic::script("`every` waits at least 10ms").help("every(\"1s\", || …)"),
                    context.call_position(),
                );
            }
            let closure = Closure::new(&context, &own, closure);
            own.timers.borrow_mut().push((period, closure));
            Ok(())
        },
    );
    let own = host.clone();
    engine.register_fn("interval", move |context: NativeCallContext, period: ImmutableString| -> Fallible<()> {
        let period = duration(&context, &period)?;
        if period < LEAST {
            let error = Diagnostic::script("`interval` is at least 10ms").help("interval(\"1s\")");
            return raise(error, context.call_position());
        }
        own.interval.set(Some(period));
        Ok(())
    });
    let own = host.clone();
    engine.register_fn("at_end", move |context: NativeCallContext, function: FnPtr| {
        own.at_end.borrow_mut().push(Closure::new(&context, &own, function));
    });
    for takes_status in [false, true] {
        let own = host.clone();
        let exit = move |context: &NativeCallContext, status: INT| -> Fallible<()> {
            own.exit.set(Some(status.clamp(0, 255) as i32));
            if own.settings.mode == Mode::Plan && own.active.borrow().is_empty() {
                // A plan shows what comes behind it too.
                own.exit.set(None);
                return Ok(());
            }
            Err(Box::new(EvalAltResult::ErrorTerminated(Dynamic::UNIT, context.call_position())))
        };
        match takes_status {
            true => engine.register_fn("exit", move |context: NativeCallContext, status: INT| exit(&context, status)),
            false => engine.register_fn("exit", move |context: NativeCallContext| exit(&context, 0)),
        };
    }
    // Rhai's own would hold up the run, and Ctrl-C with it.
    let awake = |context: &NativeCallContext| -> Fallible<()> {
        let error = Diagnostic::script("a script does not sleep: it waits for events");
        raise(error.help("every(\"1s\", || …), or .run(\"10s\")"), context.call_position())
    };
    engine.register_fn("sleep", move |context: NativeCallContext, _: INT| awake(&context));
    engine.register_fn("sleep", move |context: NativeCallContext, _: FLOAT| awake(&context));
    formats(engine, host);
    named(engine, host);
    let own = host.clone();
    engine.register_fn("now", move || Duration::from_nanos(own.tape.clock().nanos).as_secs_f64() as FLOAT);
    // Local time of day, as log files have it.
    let own = host.clone();
    engine.register_fn("time", move || time_of_day(own.tape.clock()));
    engine.register_fn("duration", |nanos: INT| units::duration(nanos.into()));
    engine.register_fn("duration", |nanos: FLOAT| units::duration(nanos.round() as i128));
    let own = host.clone();
    engine.register_fn("fit", move |text: &str, columns: INT| {
        own.output.borrow().fit(text, usize::try_from(columns).unwrap_or(0))
    });
    engine.register_fn("bytes", |count: FLOAT| units::bytes(count.round() as u64));
    engine.register_fn("bytes", |count: INT| units::bytes(u64::try_from(count).unwrap_or(0)));
}

/// Names for numbers that a closure got, spelled as the kernel expressions of the same meaning.
fn named(engine: &mut Engine, host: &Rc<Host>) {
    let shows = [
        ("strerror", Show::Errno),
        ("signal_name", Show::Signal),
        ("syscall_name", Show::Syscall),
        ("user_name", Show::User),
        ("cgroup_path", Show::Cgroup),
    ];
    for (name, show) in shows {
        let names = host.names.clone();
        engine.register_fn(name, move |number: INT| units::named(number, show, &*names));
    }
}

fn duration(context: &NativeCallContext, text: &str) -> Fallible<Duration> {
    match units::parse_duration(text) {
        Some(nanos) => Ok(Duration::from_nanos(nanos)),
        None => raise(not_a_duration(text), context.call_position()),
    }
}

pub fn time_of_day(clock: Clock) -> String {
    let seconds = (clock.nanos / 1_000_000_000).cast_signed() + i64::from(clock.ahead);
    let second = seconds.rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// A script's value as `printf` takes it.
fn value(dynamic: &Dynamic) -> Value {
    match dynamic {
        int if int.is::<INT>() => Value::Int(int.as_int().unwrap_or_default()),
        float if float.is::<FLOAT>() => Value::Float(float.as_float().unwrap_or_default()),
        unsigned if unsigned.is::<values::Unsigned>() => Value::Unsigned(unsigned.clone_cast::<values::Unsigned>().0),
        other => Value::Text(other.to_string()),
    }
}

fn render(context: &NativeCallContext, text: &str, arguments: &[Dynamic]) -> Fallible<String> {
    let format = match printf::Format::parse(text) {
        Ok(format) => format,
        Err(message) => return raise(Diagnostic::script(message), context.call_position()),
    };
    if format.arguments() != arguments.len() {
        let message = printf::miscounted(format.arguments(), arguments.len());
        return raise(Diagnostic::script(message).help("printf(\"%s %d\", \"bash\", 7)"), context.call_position());
    }
    if let Some(field) = arguments.iter().find_map(|one| one.read_lock::<Field>()) {
        return raise(fields::no_value(&field, context.call_position()), context.call_position());
    }
    let values: Vec<Value> = arguments.iter().map(value).collect();
    Ok(format.render(&values, &[], &NoNames))
}

fn formats(engine: &mut Engine, host: &Rc<Host>) {
    macro_rules! arities {
        ($(($($argument:ident)*))*) => { $(
            #[allow(clippy::too_many_arguments, reason = "Rhai has no variadic functions")]
            engine.register_fn("format", |context: NativeCallContext, text: ImmutableString, $($argument: Dynamic),*| {
                render(&context, &text, &[$($argument),*])
            });
            let own = host.clone();
            #[allow(clippy::too_many_arguments, reason = "Rhai has no variadic functions")]
            engine.register_fn("printf", move |context: NativeCallContext, text: ImmutableString, $($argument: Dynamic),*| -> Fallible<()> {
                let text = render(&context, &text, &[$($argument),*])?;
                // `print` ends its line, and so does a format.
                own.output.borrow_mut().print_as_is(text.strip_suffix('\n').unwrap_or(&text));
                Ok(())
            });
        )* };
    }
    arities!(() (a) (a b) (a b c) (a b c d) (a b c d e) (a b c d e f) (a b c d e f g) (a b c d e f g h));
}
