//! Functions that only a session has: watching, drawing, ending what runs in the background.

use super::serve::{Ended, Until};
use crate::aggregate::Measure;
use crate::aggregate::table::Table;
use crate::diagnostic::Diagnostic;
use crate::report::graph::Target;
use crate::report::{self, profile, units};
use crate::script::host::{Fallible, Host, raise};
use crate::script::probe::{Probe, not_a_duration};
use crate::script::values::{HistogramValue, TableValue};
use rhai::{Dynamic, Engine, EvalAltResult, ImmutableString, NativeCallContext};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Signature and what it does: for `:help`, completion and docs/repl.md.
pub const REFERENCE: &[(&str, &str)] = &[
    ("watch(chain)", "its table, drawn anew every second until a key or Ctrl-C"),
    ("watch(chain, time)", "the same after each such time: `watch(t, \"200ms\")`"),
    (".stop()", "takes the chain off its attach points; its values stay"),
    ("plot(table)", "a bar for each row, of a chain, a table or a histogram"),
    ("flame(chain)", "writes its call chains as an SVG in this folder, and gives the path"),
];

pub fn register(engine: &mut Engine, host: &Rc<Host>) {
    let own = host.clone();
    engine.register_fn("watch", move |context: NativeCallContext, probe: Probe| {
        watch(&context, &own, &probe, Duration::from_secs(1))
    });
    let own = host.clone();
    engine.register_fn("watch", move |context: NativeCallContext, probe: Probe, time: ImmutableString| {
        match units::parse_duration(&time) {
            Some(nanos) => watch(&context, &own, &probe, Duration::from_nanos(nanos).max(Duration::from_millis(50))),
            None => raise(not_a_duration(&time), context.call_position()),
        }
    });
    let own = host.clone();
    engine.register_fn("stop", move |probe: Probe| {
        played(&own);
        if let Some(job) = own.interactive.get().and_then(|interactive| interactive.jobs.of_chain(probe.chain)) {
            job.stop.set(true);
        }
    });
    let own = host.clone();
    engine.register_fn("plot", move |context: NativeCallContext, value: Dynamic| plot(&context, &own, &value));
    let own = host.clone();
    engine.register_fn("flame", move |context: NativeCallContext, value: Dynamic| {
        played(&own);
        flame(&own, &value).or_else(|error| raise(error, context.call_position()))
    });
}

fn played(host: &Host) {
    if let Some(interactive) = host.interactive.get() {
        interactive.played.set(true);
    }
}

fn watch(context: &NativeCallContext, host: &Rc<Host>, probe: &Probe, every: Duration) -> Fallible<()> {
    played(host);
    let Some(interactive) = host.interactive.get() else { return Ok(()) };
    if interactive.is_calling() {
        let error = Diagnostic::script("`watch` inside a closure: those are called while others wait");
        return raise(error.help("every(\"1s\", || t.show())"), context.call_position());
    }
    if let Ok(None) = host.table(probe.chain) {
        let error = Diagnostic::script("this chain has no table to watch");
        return raise(
            error.help("let t = probe(\"t:syscalls:sys_enter_openat\").by(comm).count()"),
            context.call_position(),
        );
    }
    let keys = interactive.screen.keys();
    let mut over = 0;
    loop {
        let table = host.table(probe.chain).or_else(|error| raise(error, context.call_position()))?;
        let Some(table) = table else { return Ok(()) };
        let mut text = Vec::new();
        let style = host.output.borrow().style();
        // A Vec takes whatever is written.
        let _infallible = report::text::table(&mut text, &table, &*host.names, &style);
        let text = String::from_utf8_lossy(&text);
        let rows = interactive.screen.size().map_or(usize::MAX, |(_, rows)| rows.saturating_sub(2).max(1));
        let shown: Vec<&str> = text.lines().take(rows).collect();
        host.output.borrow_mut().flush();
        interactive.screen.redraw(&format!("{}\n", shown.join("\n")), over);
        over = shown.len();
        match interactive.serve(context, host, Until::Time(Instant::now() + every, keys.as_deref()))? {
            Ended::Time => {}
            Ended::Leave(status) => {
                host.ended.set(Some(status));
                return Err(Box::new(EvalAltResult::ErrorTerminated(Dynamic::UNIT, context.call_position())));
            }
            _ => return Ok(()),
        }
        host.computes();
    }
}

/// The table that a value is, or that a chain has by now.
fn table(host: &Host, value: &Dynamic) -> Result<Table, Diagnostic> {
    if let Some(table) = value.read_lock::<TableValue>() {
        table.taken.set(true);
        return Ok(Table::clone(&table.table));
    }
    let chain = value.read_lock::<Probe>().map(|probe| probe.chain);
    let table = chain.map(|chain| host.table(chain)).transpose()?.flatten();
    table.ok_or_else(|| Diagnostic::script("a chain with values or a table is needed").help("plot(t), flame(t)"))
}

fn plot(context: &NativeCallContext, host: &Rc<Host>, value: &Dynamic) -> Fallible<()> {
    played(host);
    if let Some(histogram) = value.read_lock::<HistogramValue>() {
        host.output.borrow_mut().print(&Dynamic::from(histogram.clone()).to_string());
        return Ok(());
    }
    let table = table(host, value).or_else(|error| raise(error, context.call_position()))?;
    if table.spec.kind.has_buckets() {
        host.output.borrow_mut().table(&table, &host.names);
        return Ok(());
    }
    let rows: Vec<(String, f64, String)> = table
        .rows()
        .iter()
        .map(|row| {
            let key = row.key.iter().zip(&table.spec.key);
            let key: Vec<String> =
                key.map(|(value, column)| report::text::value(value, column, &*host.names)).collect();
            (key.join(" "), number(&row.value), report::text::measured(&row.value, table.spec.show))
        })
        .collect();
    let (width, height) = host.interactive.get().and_then(|one| one.screen.size()).unwrap_or((80, 24));
    host.output.borrow_mut().print(&bars(&rows, width, height.saturating_sub(3).max(5)));
    Ok(())
}

/// A bar for each row, names before it and values behind it.
fn bars(rows: &[(String, f64, String)], width: usize, most: usize) -> String {
    let names = rows.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0).min(width / 3);
    let values = rows.iter().map(|(_, _, shown)| shown.chars().count()).max().unwrap_or(0);
    let room = width.saturating_sub(names + values + 3).max(8);
    let highest = rows.iter().map(|(_, n, _)| *n).fold(0.0, f64::max);
    let line = |(name, n, shown): &(String, f64, String)| {
        let name: String = name.chars().take(names).collect();
        let filled = if highest > 0.0 { (n.max(0.0) / highest * room as f64).round() as usize } else { 0 };
        format!("{name:<names$}  {:<room$} {shown:>values$}", "█".repeat(filled))
    };
    let mut lines: Vec<String> = rows.iter().take(most).map(line).collect();
    if rows.len() > most {
        lines.push(format!("… {} more", rows.len() - most));
    }
    lines.join("\n")
}

fn number(value: &Measure) -> f64 {
    match value {
        Measure::Count(n) => *n as f64,
        Measure::Sum(n) | Measure::Min(n) | Measure::Max(n) => *n as f64,
        Measure::Stats { sum, .. } => *sum as f64,
        value => value.mean().unwrap_or(0.0),
    }
}

/// Writes a flame graph beside what is there already.
fn flame(host: &Host, value: &Dynamic) -> Result<String, Diagnostic> {
    let table = table(host, value)?;
    if !profile::has_stacks(&table) {
        return Err(Diagnostic::script("this table has no call chains")
            .help("probe(\"profile:hz:99\").by(comm, kstack, ustack).count()"));
    }
    let free = |n: &usize| !Path::new(&format!("flame-{n}.svg")).exists();
    let path = format!("flame-{}.svg", (1..10_000).find(free).unwrap_or(10_000));
    Target::new(&path, None, Default::default())?.write(&profile::of(&table, &table.spec.name, &*host.names))?;
    let folder = std::env::current_dir().unwrap_or_default();
    Ok(folder.join(path).display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fit_the_terminal() {
        let rows = [
            ("bash".to_owned(), 10.0, "10".to_owned()),
            ("a-very-long-name-of-a-thread".to_owned(), 5.0, "5".to_owned()),
        ];
        let text = bars(&rows, 40, 10);
        assert!(text.lines().all(|line| line.chars().count() <= 40), "{text}");
        assert_eq!(text.lines().next().unwrap().matches('█').count(), 22, "{text}");
        assert!(bars(&rows, 40, 1).ends_with("… 1 more"));
    }
}
