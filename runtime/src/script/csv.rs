//! `.csv(path)` and `.json()`: tables for other programs.

use super::host::{Fallible, raise};
use super::names::Names;
use super::probe::Probe;
use super::values::TableValue;
use crate::aggregate::Measure;
use crate::aggregate::table::Table;
use crate::diagnostic::Diagnostic;
use crate::kernel::load;
use crate::report;
use rhai::{Engine, ImmutableString, NativeCallContext};

pub fn register(engine: &mut Engine) {
    engine.register_fn("csv", |context: NativeCallContext, table: &mut TableValue, path: ImmutableString| {
        table.taken.set(true);
        write(&table.table, &table.names, &path).or_else(|error| raise(error, context.call_position()))
    });
    engine.register_fn("csv", |context: NativeCallContext, probe: Probe, path: ImmutableString| -> Fallible<()> {
        let table = now(&context, &probe)?;
        write(&table, &probe.host.names, &path).or_else(|error| raise(error, context.call_position()))
    });
    engine.register_fn("json", |context: NativeCallContext, probe: Probe| -> Fallible<String> {
        let table = now(&context, &probe)?;
        Ok(report::json::table(&table, &*probe.host.names).to_string())
    });
}

/// What a chain has by now.
fn now(context: &NativeCallContext, probe: &Probe) -> Fallible<Table> {
    match probe.host.table(probe.chain) {
        Ok(Some(table)) => {
            probe.host.chains.borrow()[probe.chain].taken.set(true);
            Ok(table)
        }
        Ok(None) => {
            let error = Diagnostic::script("this chain has no values yet");
            raise(error.help(format!(".run(\"10s\").{}(…)", context.fn_name())), context.call_position())
        }
        Err(diagnostic) => raise(diagnostic, context.call_position()),
    }
}

fn write(table: &Table, names: &Names, path: &str) -> Result<(), Diagnostic> {
    save(path, &text(table, names))
}

/// # Errors
/// A machine diagnostic: the file cannot be written.
pub fn save(path: &str, text: &str) -> Result<(), Diagnostic> {
    std::fs::write(path, text)
        .map_err(|error| Diagnostic::machine(format!("failed to write `{path}`: {}", load::text(&error))).span(path))
}

/// A heading, and a line for each row. Source: RFC 4180.
fn text(table: &Table, names: &Names) -> String {
    let keys = table.spec.key.iter().map(|column| column.name.clone());
    let values = match table.rows().first().map(|row| &row.value) {
        Some(value) => columns(value).into_iter().map(|(name, _)| name.to_owned()).collect(),
        None => vec![table.spec.kind.name().to_owned()],
    };
    let mut out = line(keys.chain(values));
    for row in table.rows() {
        let key = row.key.iter().zip(&table.spec.key).map(|(value, column)| report::text::value(value, column, names));
        out += &line(key.chain(columns(&row.value).into_iter().map(|(_, text)| text)));
    }
    out
}

/// Names and texts of a value's numbers, without separators.
fn columns(value: &Measure) -> Vec<(&'static str, String)> {
    let mean = || value.mean().map_or(String::new(), |mean| mean.to_string());
    match value {
        Measure::Count(n) => vec![("count", n.to_string())],
        Measure::Sum(sum) => vec![("sum", sum.to_string())],
        Measure::Min(min) => vec![("min", min.to_string())],
        Measure::Max(max) => vec![("max", max.to_string())],
        Measure::Avg { n, .. } => vec![("n", n.to_string()), ("avg", mean())],
        Measure::Stats { n, sum, min, max } => {
            vec![
                ("n", n.to_string()),
                ("avg", mean()),
                ("sum", sum.to_string()),
                ("min", min.to_string()),
                ("max", max.to_string()),
            ]
        }
        Measure::Histogram(histogram) => {
            let quantile = |share| histogram.quantile(share).map_or(String::new(), |value| value.to_string());
            vec![
                ("n", histogram.count().to_string()),
                ("mean", histogram.mean().map_or(String::new(), |mean| mean.to_string())),
                ("p50", quantile(0.5)),
                ("p99", quantile(0.99)),
            ]
        }
    }
}

pub fn line(cells: impl Iterator<Item = String>) -> String {
    let quoted = |cell: String| match cell.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    };
    format!("{}\n", cells.map(quoted).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_with_separators_are_quoted() {
        assert_eq!(line(["a".to_owned(), "b,c".to_owned(), "d\"e".to_owned()].into_iter()), "a,\"b,c\",\"d\"\"e\"\n");
    }
}
