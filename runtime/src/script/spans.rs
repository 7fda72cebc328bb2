//! Chains that begin with `span(start, end)`, and their two methods.

use super::fields;
use super::host::{Fallible, Host, called, raise};
use super::probe::{Probe, parsed};
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Node};
use crate::plan::{DEFAULT_ENTRIES, Entry, Source, Span};
use crate::span::EXAMPLE;
use rhai::{Array, Dynamic, Engine, INT, ImmutableString, NativeCallContext};
use std::rc::Rc;

const KEYS: &str = ".on([args.dev, args.sector], [args.dev, args.sector])";

pub fn spans(engine: &mut Engine, host: &Rc<Host>) {
    let own = host.clone();
    engine.register_fn("span", move |context: NativeCallContext, start: Dynamic, end: Dynamic| -> Fallible<Probe> {
        let position = context.call_position();
        let points = |value: &Dynamic| parsed(&texts(value, &context)?, position);
        let span = Span { start: points(&start)?, end: points(&end)?, on: None, when: None, room: DEFAULT_ENTRIES };
        let chain = own.add(Entry::new(Source::Span(span), called(&context)));
        Ok(Probe { host: own.clone(), chain })
    });
    engine.register_fn("span", |context: NativeCallContext, _: Dynamic| -> Fallible<Probe> {
        raise(Diagnostic::script("`span` needs a start and an end").help(EXAMPLE), context.call_position())
    });
    engine.register_fn(
        "on",
        |context: NativeCallContext, probe: Probe, start: Dynamic, end: Dynamic| -> Fallible<Probe> {
            let on = (key(&start, &context)?, key(&end, &context)?);
            if on.0.len() != on.1.len() {
                let message = format!("the key has {} parts at the start and {} at the end", on.0.len(), on.1.len());
                return raise(Diagnostic::script(message).help(KEYS), context.call_position());
            }
            change(probe, &context, "on", |span| {
                span.on = Some(on);
                Ok(())
            })
        },
    );
    engine.register_fn("on", |context: NativeCallContext, _: Probe, _: Dynamic| -> Fallible<Probe> {
        let error = Diagnostic::script("`on` needs the key at the start and the key at the end");
        raise(error.help(KEYS), context.call_position())
    });
    engine.register_fn(
        "when",
        |context: NativeCallContext, probe: Probe, start: Dynamic, end: Dynamic| -> Fallible<Probe> {
            let when = (fields::expr(&start, &context)?, fields::expr(&end, &context)?);
            change(probe, &context, "when", |span| {
                span.when = Some(when);
                Ok(())
            })
        },
    );
    engine.register_fn("spans", |context: NativeCallContext, probe: Probe, room: INT| -> Fallible<Probe> {
        change(probe, &context, "spans", |span| {
            let fits = u32::try_from(room).ok().filter(|room| (1..=10_000_000).contains(room));
            span.room =
                fits.ok_or_else(|| Diagnostic::script(format!("{room} is no number of starts from 1 to 10,000,000")))?;
            Ok(())
        })
    });
}

fn change(
    probe: Probe,
    context: &NativeCallContext,
    name: &str,
    change: impl FnOnce(&mut Span) -> Result<(), Diagnostic>,
) -> Fallible<Probe> {
    probe.change(context, |entry| match &mut entry.source {
        Source::Span(span) => change(span),
        _ => Err(Diagnostic::script(format!("`{name}` is for chains that begin with `span(…)`")).help(EXAMPLE)),
    })
}

/// One attach point, or several.
fn texts(value: &Dynamic, context: &NativeCallContext) -> Fallible<Vec<String>> {
    let one = |value: &Dynamic| value.read_lock::<ImmutableString>().map(|text| text.to_string());
    let several = value.read_lock::<Array>().map(|list| list.iter().map(one).collect::<Option<Vec<_>>>());
    match (one(value), several) {
        (Some(text), _) => Ok(vec![text]),
        (None, Some(Some(texts))) if !texts.is_empty() => Ok(texts),
        _ => raise(
            Diagnostic::script("`span` takes two attach points, or arrays of them").help(EXAMPLE),
            context.call_position(),
        ),
    }
}

/// A field, or an array of them.
fn key(value: &Dynamic, context: &NativeCallContext) -> Fallible<Vec<Expr>> {
    let list = value.read_lock::<Array>().map(|list| list.iter().map(|one| fields::expr(one, context)).collect());
    let key: Vec<Expr> = list.unwrap_or_else(|| fields::expr(value, context).map(|expr| vec![expr]))?;
    match key.iter().find(|expr| matches!(&*expr.node, Node::Text(_))) {
        None if !key.is_empty() => Ok(key),
        Some(text) => raise(
            Diagnostic::script(format!("the text {text} is no part of a key")).help(".on(arg0, arg0)"),
            context.call_position(),
        ),
        None => {
            raise(Diagnostic::script("a key has at least one part").help(".on(arg0, arg0)"), context.call_position())
        }
    }
}
