//! Values: what aggregations give to a script: tables, histograms, numbers that fit no other type.

use super::host::{Fallible, raise};
use super::names::Names;
use super::unsigned;
use crate::aggregate::cell::{Kind, Measure};
use crate::aggregate::column::{BytesShow, ColumnKind, ColumnType, Names as _, Show, Value};
use crate::aggregate::histogram::Histogram;
use crate::aggregate::table::{Row, Spec, Table};
use crate::diagnostic::{Diagnostic, nearest};
use crate::report::{self, text::Style};
use rhai::{Dynamic, Engine, FLOAT, INT, ImmutableString, NativeCallContext};
use std::cell::Cell;
use std::rc::Rc;

/// An unsigned value beyond [`INT`]'s range, or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unsigned(pub u64);

/// A table in a script's hands. Looking into it marks it as taken: it is not printed at the end.
#[derive(Clone)]
pub struct TableValue {
    pub table: Rc<Table>,
    pub taken: Rc<Cell<bool>>,
    pub names: Rc<Names>,
}

#[derive(Clone)]
pub struct RowValue {
    table: Rc<Table>,
    names: Rc<Names>,
    n: usize,
}

#[derive(Clone)]
pub struct HistogramValue {
    pub histogram: Rc<Histogram>,
    pub taken: Rc<Cell<bool>>,
}

impl IntoIterator for TableValue {
    type Item = RowValue;
    type IntoIter = std::vec::IntoIter<RowValue>;

    fn into_iter(self) -> Self::IntoIter {
        self.taken.set(true);
        let row = |n| RowValue { table: self.table.clone(), names: self.names.clone(), n };
        (0..self.table.rows().len()).map(row).collect::<Vec<_>>().into_iter()
    }
}

impl RowValue {
    fn row(&self) -> &Row {
        &self.table.rows()[self.n]
    }

    /// As `print` shows it.
    pub fn text(&self) -> String {
        let columns = &self.table.spec.key;
        let pair = |(value, column): (&Value, &ColumnType)| {
            format!("{}={}", column.name, report::text::value(value, column, &*self.names))
        };
        let key: Vec<String> = self.row().key.iter().zip(columns).map(pair).collect();
        format!("{} {}", key.join(" "), report::text::measured(&self.row().value, self.table.spec.show))
    }
}

/// A column's value as a script sees it.
pub fn dynamic(value: &Value, column: &ColumnType, names: &Names) -> Dynamic {
    if let (Value::Int(number), ColumnKind::Int { show: show @ (Show::Probe | Show::Cgroup), .. }) =
        (value, column.kind)
        && let Some(name) = names.name(&show, *number as u64)
    {
        return name.into();
    }
    match value {
        Value::Int(int) => (*int).into(),
        Value::Unsigned(value) => Dynamic::from(Unsigned(*value)),
        Value::Float(value) => (*value).into(),
        Value::Text(text) => text.clone().into(),
        Value::Bytes(_) if !matches!(column.kind, ColumnKind::Bytes { show: BytesShow::Text, .. }) => {
            report::text::value(value, column, names).into()
        }
        Value::Bytes(bytes) => bytes.clone().into(),
        Value::Stack(frames) => {
            frames.iter().map(|frame| Dynamic::from(frame.name.clone())).collect::<rhai::Array>().into()
        }
    }
}

/// A sum or an extreme: [`INT`] if it fits, else unsigned, else the nearest float.
pub fn number(value: i128) -> Dynamic {
    match (INT::try_from(value), u64::try_from(value)) {
        (Ok(int), _) => int.into(),
        (_, Ok(unsigned)) => Dynamic::from(Unsigned(unsigned)),
        _ => (value as FLOAT).into(),
    }
}

/// An aggregated value as a script sees it.
pub fn measure(value: &Measure, spec: &Spec, taken: &Rc<Cell<bool>>) -> Dynamic {
    // A sum of addresses is none.
    let sample = |value: i128| match (spec.show, u64::try_from(value)) {
        (Show::Hex, Ok(address)) => Dynamic::from(Unsigned(address)),
        _ => number(value),
    };
    match value {
        Measure::Count(n) => number((*n).into()),
        Measure::Sum(value) => number(*value),
        Measure::Min(value) | Measure::Max(value) => sample(*value),
        Measure::Avg { .. } => value.mean().map_or(Dynamic::UNIT, Dynamic::from),
        Measure::Stats { n, sum, min, max } => {
            let mut map = rhai::Map::new();
            map.insert("n".into(), number((*n).into()));
            map.insert("sum".into(), number(*sum));
            map.insert("avg".into(), value.mean().map_or(Dynamic::UNIT, Dynamic::from));
            map.insert("min".into(), sample(*min));
            map.insert("max".into(), sample(*max));
            map.into()
        }
        Measure::Histogram(histogram) => {
            Dynamic::from(HistogramValue { histogram: Rc::new(histogram.clone()), taken: taken.clone() })
        }
    }
}

/// A number of rows to show.
///
/// # Errors
/// A script diagnostic for none and less.
pub fn rows(n: INT) -> Result<usize, Diagnostic> {
    let wrong = || Diagnostic::script(format!("{n} is no number of rows: 1 is the least")).help(".top(10)");
    usize::try_from(n).ok().filter(|n| *n > 0).ok_or_else(wrong)
}

/// What `run` returns: a number or a histogram where there is no key, else the table.
pub fn result(table: Table, taken: &Rc<Cell<bool>>, names: &Rc<Names>) -> Dynamic {
    if !table.spec.key.is_empty() {
        return Dynamic::from(TableValue { table: Rc::new(table), taken: taken.clone(), names: names.clone() });
    }
    match (table.rows().first(), table.spec.kind) {
        (Some(row), _) => measure(&row.value, &table.spec, taken),
        (None, Kind::Count | Kind::Sum) => Dynamic::from(0 as INT),
        (None, kind) if kind.has_buckets() => {
            Dynamic::from(HistogramValue { histogram: Rc::new(Histogram::new(kind)), taken: taken.clone() })
        }
        (None, _) => Dynamic::UNIT,
    }
}

pub fn register(engine: &mut Engine) {
    engine.register_type_with_name::<TableValue>("table");
    engine.register_type_with_name::<RowValue>("row");
    engine.register_type_with_name::<HistogramValue>("histogram");
    engine.register_type_with_name::<Unsigned>("unsigned");
    tables(engine);
    histograms(engine);
    unsigned::register(engine);
    no_order::<TableValue>(engine, "a table", ".total() > 100, or for row in table { … }");
    no_order::<HistogramValue>(engine, "a histogram", ".p99() > 100");
}

/// Rhai finds unlike values neither less nor greater, silently: for what has no order it is an error.
pub fn no_order<T: Clone + 'static>(engine: &mut Engine, what: &'static str, help: &'static str) {
    for symbol in ["<", "<=", ">", ">="] {
        let refuse = move |context: &NativeCallContext| -> Fallible<bool> {
            let error = Diagnostic::script(format!("{what} is neither less nor greater: one of its numbers is"));
            raise(error.help(help), context.call_position())
        };
        engine.register_fn(symbol, move |context: NativeCallContext, _: T, _: Dynamic| refuse(&context));
        engine.register_fn(symbol, move |context: NativeCallContext, _: Dynamic, _: T| refuse(&context));
    }
}

fn tables(engine: &mut Engine) {
    let take = |table: &TableValue| table.taken.set(true);
    let row = |table: &TableValue, n: usize| RowValue { table: table.table.clone(), names: table.names.clone(), n };
    engine.register_fn("rows", move |table: &mut TableValue| -> rhai::Array {
        take(table);
        (0..table.table.rows().len()).map(|n| Dynamic::from(row(table, n))).collect()
    });
    engine.register_iterator::<TableValue>();
    engine.register_fn("len", move |table: &mut TableValue| {
        take(table);
        table.table.rows().len() as INT
    });
    engine.register_fn("is_empty", move |table: &mut TableValue| {
        take(table);
        table.table.rows().is_empty()
    });
    engine.register_fn("total", move |table: &mut TableValue| {
        take(table);
        table.table.total().map_or(Dynamic::UNIT, |total| measure(&total, &table.table.spec, &table.taken))
    });
    engine.register_fn("lack", move |table: &mut TableValue| {
        take(table);
        number(table.table.estimates.unwrap_or_default().lack)
    });
    engine.register_fn("top", move |context: NativeCallContext, table: &mut TableValue, n: INT| {
        take(table);
        let n = rows(n).or_else(|diagnostic| raise(diagnostic, context.call_position()))?;
        let mut cut = Table::clone(&table.table);
        cut.top(n);
        Fallible::Ok(TableValue { table: Rc::new(cut), ..table.clone() })
    });
    for (name, descending) in [("sort_by", true), ("sort_by_ascending", false)] {
        engine.register_fn(
            name,
            move |context: NativeCallContext,
                  table: &mut TableValue,
                  column: ImmutableString|
                  -> Fallible<TableValue> {
                take(table);
                let mut sorted = Table::clone(&table.table);
                match sorted.sort_by(&column, descending) {
                    Ok(()) => Ok(TableValue { table: Rc::new(sorted), ..table.clone() }),
                    Err(message) => raise(Diagnostic::script(message), context.call_position()),
                }
            },
        );
    }
    engine.register_fn("to_string", move |table: &mut TableValue| text(&table.table, &table.names, &WHOLE));
    engine.register_fn("to_debug", move |table: &mut TableValue| text(&table.table, &table.names, &WHOLE));
    engine.register_fn("json", move |table: &mut TableValue| {
        take(table);
        report::json::table(&table.table, &*table.names).to_string()
    });
    // t["bash"], and t.get(["bash", 1]) for keys of several columns.
    engine.register_indexer_get(move |table: &mut TableValue, key: Dynamic| -> Dynamic {
        take(table);
        find(table, &[key])
    });
    engine.register_fn("get", move |table: &mut TableValue, key: rhai::Array| -> Dynamic {
        take(table);
        find(table, &key)
    });
    let show = |row: &mut RowValue| row.text();
    engine.register_fn("to_string", show).register_fn("to_debug", show);
    engine.register_get("value", |row: &mut RowValue| measure(&row.row().value, &row.table.spec, &Rc::default()));
    engine.register_get("key", |row: &mut RowValue| {
        let columns = &row.table.spec.key;
        let mut key: Vec<Dynamic> =
            row.row().key.iter().zip(columns).map(|(value, column)| dynamic(value, column, &row.names)).collect();
        if key.len() == 1 { key.remove(0) } else { Dynamic::from(key) }
    });
    engine.register_indexer_get(
        |context: NativeCallContext, row: &mut RowValue, name: ImmutableString| -> Fallible<Dynamic> {
            let columns = &row.table.spec.key;
            match columns.iter().position(|column| column.name == name.as_str()) {
                Some(n) => Ok(dynamic(&row.row().key[n], &columns[n], &row.names)),
                None => {
                    let names: Vec<&str> =
                        columns.iter().map(|column| column.name.as_str()).chain(["value", "key"]).collect();
                    let help = match nearest(&name, names.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("it has {}", names.join(", ")),
                    };
                    raise(
                        Diagnostic::script(format!("this table has no column `{name}`")).span(name.as_str()).help(help),
                        context.call_position(),
                    )
                }
            }
        },
    );
}

fn find(table: &TableValue, key: &[Dynamic]) -> Dynamic {
    let columns = &table.table.spec.key;
    let found =
        table.table.rows().iter().find(|row| {
            row.key.len() == key.len()
                && row.key.iter().zip(columns).zip(key).all(|((value, column), wanted)| {
                    dynamic(value, column, &table.names).to_string() == wanted.to_string()
                })
        });
    found.map_or(Dynamic::UNIT, |row| measure(&row.value, &table.table.spec, &table.taken))
}

/// A text of a script has no width.
const WHOLE: Style = Style { colour: false, width: None };

/// A table as it is printed.
pub fn text(table: &Table, names: &Names, style: &Style) -> String {
    let mut out = Vec::new();
    // A Vec takes whatever is written.
    let _infallible = report::text::table(&mut out, table, names, style);
    String::from_utf8_lossy(&out).trim_end().to_owned()
}

fn histograms(engine: &mut Engine) {
    let take = |histogram: &HistogramValue| histogram.taken.set(true);
    for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)] {
        engine.register_fn(name, move |value: &mut HistogramValue| {
            take(value);
            value.histogram.quantile(share).map_or(Dynamic::from(0 as INT), number)
        });
    }
    engine.register_fn("quantile", move |value: &mut HistogramValue, share: FLOAT| {
        take(value);
        value.histogram.quantile(share.clamp(0.0, 1.0)).map_or(Dynamic::from(0 as INT), number)
    });
    engine.register_fn("count", move |value: &mut HistogramValue| {
        take(value);
        value.histogram.count() as INT
    });
    engine.register_fn("sum", move |value: &mut HistogramValue| {
        take(value);
        number(value.histogram.sum())
    });
    engine.register_fn("mean", move |value: &mut HistogramValue| -> FLOAT {
        take(value);
        value.histogram.mean().unwrap_or(0.0)
    });
    engine.register_fn("min", move |value: &mut HistogramValue| {
        take(value);
        value.histogram.min().map_or(Dynamic::from(0 as INT), number)
    });
    engine.register_fn("max", move |value: &mut HistogramValue| {
        take(value);
        value.histogram.max().map_or(Dynamic::from(0 as INT), number)
    });
    engine.register_fn("buckets", move |value: &mut HistogramValue| -> rhai::Array {
        take(value);
        let edge = |edge: Option<i128>| edge.map_or(Dynamic::UNIT, number);
        let bucket = |bucket: crate::aggregate::histogram::Bucket| {
            let mut map = rhai::Map::new();
            map.insert("low".into(), edge(bucket.low));
            map.insert("high".into(), edge(bucket.high));
            map.insert("count".into(), (bucket.count as INT).into());
            map.into()
        };
        value.histogram.rows().map(bucket).collect()
    });
    engine.register_fn("to_string", |value: &mut HistogramValue| drawn(value, &WHOLE));
    engine.register_fn("to_debug", |value: &mut HistogramValue| drawn(value, &WHOLE));
}

/// A histogram as it is printed.
pub fn drawn(value: &HistogramValue, style: &Style) -> String {
    let mut out = Vec::new();
    // A Vec takes whatever is written.
    let _infallible = match value.histogram.kind() {
        Kind::Quantiles => {
            std::io::Write::write_all(&mut out, report::histogram::quantiles_line(&value.histogram).as_bytes())
        }
        _ => report::histogram::draw(&mut out, &value.histogram, style),
    };
    String::from_utf8_lossy(&out).trim_end().to_owned()
}
