//! Packets themselves: `template("capture", …).pcapng("out.pcapng")`.

use super::host::{Fallible, raise};
use super::probe::Probe;
use crate::confine::outputs;
use crate::diagnostic::Diagnostic;
use crate::expr::Expr;
use crate::plan::{Column, Entry, Output, Source, Then};
use crate::report::packets::{COLUMNS, Wish};
use rhai::{Engine, INT, ImmutableString, NativeCallContext};

/// The template whose records have the packet behind their columns.
const TEMPLATE: &str = "capture";

pub fn register(engine: &mut Engine) {
    engine.register_fn("packets", |context: NativeCallContext, probe: Probe| {
        probe.change(&context, |entry| changed(entry, "packets", |_| {}))
    });
    engine.register_fn("pcapng", |context: NativeCallContext, probe: Probe, path: ImmutableString| {
        probe.change(&context, |entry| {
            outputs::may("write", &path)?;
            changed(entry, "pcapng", |wish| wish.file = Some(path.to_string()))
        })
    });
    engine.register_fn("first", |context: NativeCallContext, probe: Probe, n: INT| -> Fallible<Probe> {
        match u64::try_from(n) {
            Ok(n) if n > 0 => probe.change(&context, |entry| changed(entry, "first", |wish| wish.first = Some(n))),
            _ => raise(Diagnostic::script(format!("{n} is no number of packets")), context.call_position()),
        }
    });
}

fn changed(entry: &mut Entry, method: &str, change: impl FnOnce(&mut Wish)) -> Result<(), Diagnostic> {
    if !matches!(&entry.source, Source::Template { name, .. } if name == TEMPLATE) {
        return Err(Diagnostic::script(format!(
            "`{method}` is about packets themselves, which this chain does not have"
        ))
        .help("template(\"capture\", #{ interface: \"eth0\" }).pcapng(\"out.pcapng\")"));
    }
    if !entry.key.is_empty() {
        return Err(
            Diagnostic::script("`by` belongs to aggregations, and this chain keeps packets").help(".by(…).count()")
        );
    }
    match &mut entry.output {
        Output::None => {
            let column = |name: &&str| Column { name: (*name).to_owned(), expr: Expr::name(name) };
            let mut wish = Wish::default();
            change(&mut wish);
            entry.output = Output::Stream { columns: COLUMNS.iter().map(column).collect(), then: Then::Packets(wish) };
            Ok(())
        }
        Output::Stream { then: Then::Packets(wish), .. } => {
            change(wish);
            Ok(())
        }
        _ => Err(Diagnostic::script("a chain keeps packets, streams their columns, or aggregates them")
            .help("one chain for each")),
    }
}
