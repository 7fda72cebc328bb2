//! Graphs: tables with call chains, written as flame graphs, folded text and profiles.

use super::host::{Chain, Fallible, Host, called, raise};
use super::probe::Probe;
use super::values::TableValue;
use crate::confine::outputs;
use crate::diagnostic::Diagnostic;
use crate::report::graph::Target;
use crate::report::profile;
use rhai::{Dynamic, Engine, INT, ImmutableString, Map, NativeCallContext};
use skep_flamegraphs::format::Format;
use skep_flamegraphs::svg::Options;
use skep_flamegraphs::{diff, fold};
use std::rc::Rc;

/// What each function writes; `None`: what the file's name asks for.
const WRITERS: [(&str, Option<Format>); 4] = [
    ("flamegraph", None),
    ("folded", Some(Format::Folded)),
    ("pprof", Some(Format::Pprof)),
    ("speedscope", Some(Format::Speedscope)),
];

pub fn register(engine: &mut Engine) {
    for (name, format) in WRITERS {
        let write = move |context: &NativeCallContext, table: &mut TableValue, path: &str, settings: &Map| {
            let target = target(context, path, format, settings)?;
            write(table, &target).or_else(|error| raise(error.at(called(context)), context.call_position()))?;
            Fallible::Ok(table.clone())
        };
        engine.register_fn(name, move |context: NativeCallContext, table: &mut TableValue, path: ImmutableString| {
            write(&context, table, &path, &Map::new())
        });
        engine.register_fn(
            name,
            move |context: NativeCallContext, table: &mut TableValue, path: ImmutableString, settings: Map| {
                write(&context, table, &path, &settings)
            },
        );
        engine.register_fn(name, move |context: NativeCallContext, probe: Probe, path: ImmutableString| {
            later(&context, probe, &path, format, &Map::new())
        });
        engine.register_fn(
            name,
            move |context: NativeCallContext, probe: Probe, path: ImmutableString, settings: Map| {
                later(&context, probe, &path, format, &settings)
            },
        );
    }
    engine.register_fn("folded", |context: NativeCallContext, table: &mut TableValue| -> Fallible<ImmutableString> {
        let profile = taken(table).or_else(|error| raise(error, context.call_position()))?;
        let mut text = Vec::new();
        // A Vec takes whatever is written.
        let _infallible = fold::write(&profile, 0, &mut text);
        Ok(String::from_utf8_lossy(&text).into_owned().into())
    });
    engine.register_fn(
        "flamediff",
        |context: NativeCallContext, table: &mut TableValue, before: TableValue, path: ImmutableString| {
            difference(table, &before, &path).or_else(|error| raise(error, context.call_position()))?;
            Fallible::Ok(table.clone())
        },
    );
}

/// The table's stacks; it is not printed at the end then.
fn taken(table: &TableValue) -> Result<skep_flamegraphs::profile::Profile, Diagnostic> {
    table.taken.set(true);
    if !profile::has_stacks(&table.table) {
        let columns: Vec<&str> = table.table.spec.key.iter().map(|column| column.name.as_str()).collect();
        return Err(Diagnostic::script(format!("a table by {} has no call chains", columns.join(", ")))
            .help(".by(comm, kstack, ustack)"));
    }
    Ok(profile::of(&table.table, &table.table.spec.name, &*table.names))
}

fn write(table: &TableValue, target: &Target) -> Result<(), Diagnostic> {
    target.write(&taken(table)?)
}

fn difference(after: &TableValue, before: &TableValue, path: &str) -> Result<(), Diagnostic> {
    outputs::may("write", path)?;
    let (before, after) = (taken(before)?, taken(after)?);
    let mut graph = Vec::new();
    diff::write(&before, &after, &diff::Options::default(), &mut graph)
        .map_err(|error| Diagnostic::script(error.to_string()))?;
    std::fs::write(path, graph).map_err(|error| {
        Diagnostic::machine(format!("failed to write `{path}`: {}", crate::kernel::load::text(&error)))
    })
}

/// Written when the chain has run. That it can be is known now.
fn later(
    context: &NativeCallContext,
    probe: Probe,
    path: &str,
    format: Option<Format>,
    settings: &Map,
) -> Fallible<Probe> {
    let target = target(context, path, format, settings)?;
    let plan = probe.host.settings.mode == super::host::Mode::Plan;
    if let Err(error) = if plan { Ok(()) } else { target.check() } {
        return raise(error.at(called(context)), context.call_position());
    }
    probe.change(context, |entry| {
        entry.view.files.push(target);
        Ok(())
    })
}

/// The file, and from `#{ title: "…", icicle: true, width: 1200 }` how it is drawn.
fn target(context: &NativeCallContext, path: &str, format: Option<Format>, settings: &Map) -> Fallible<Target> {
    let mut options = Options::default();
    for (name, value) in settings {
        let known = match name.as_str() {
            "title" => text(value).map(|title| options.title = Some(title)),
            "subtitle" => text(value).map(|text| options.subtitle = Some(text)),
            "icicle" => value.as_bool().ok().map(|on| options.icicle = on),
            "width" => value
                .as_int()
                .ok()
                .and_then(|width| usize::try_from(width).ok())
                .map(|width| options.width = Some(width)),
            "value" => value.as_int().ok().and_then(|n: INT| usize::try_from(n).ok()).map(|n| options.value = n),
            _ => None,
        };
        if known.is_none() {
            let error = Diagnostic::script(format!("a graph has no setting `{name}` of this kind")).span(name.as_str());
            let error = error.help("#{ title: \"checkout at noon\", icicle: true, width: 1200 }");
            return raise(error.at(called(context)), context.call_position());
        }
    }
    let target = outputs::may("write", path).and_then(|()| Target::new(path, format, options));
    target.or_else(|error| raise(error.at(called(context)), context.call_position()))
}

fn text(value: &Dynamic) -> Option<String> {
    value.read_lock::<ImmutableString>().map(|text| text.to_string())
}

/// Writes a chain's files, and those of the command line if no chain before it did.
///
/// # Errors
/// As [`Target::write`].
pub fn write_chain(host: &Host, chain: &Chain) -> Result<(), Diagnostic> {
    let Some(table) = &chain.table else { return Ok(()) };
    let asked = !host.settings.graphs.is_empty() && host.profile.borrow().is_none() && profile::has_stacks(table);
    if !asked && chain.entry.view.files.is_empty() {
        return Ok(());
    }
    let table = TableValue { table: Rc::new(table.clone()), taken: chain.taken.clone(), names: host.names.clone() };
    let mut profile = taken(&table)?;
    chain.entry.view.files.iter().try_for_each(|target| target.write(&profile))?;
    if asked {
        profile.title.clone_from(&host.settings.title);
        host.settings.graphs.iter().try_for_each(|target| target.write(&profile))?;
        *host.profile.borrow_mut() = Some(profile);
    }
    Ok(())
}
