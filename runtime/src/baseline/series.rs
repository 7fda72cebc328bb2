//! Series: what a run measured, by the title of the result and by key.

use super::samples::Samples;
use crate::aggregate::Measure;
use crate::aggregate::column::{ColumnType, Names, Value};
use crate::aggregate::table::Table;
use crate::expr::{Expr, Node};
use crate::plan::{Entry, Output};
use crate::report;
use crate::script::event::Schema;

/// The samples of one key of one result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    pub title: String,
    /// `comm=bash, cpu=0`; empty without a key.
    pub key: String,
    /// The aggregation; `values` where events are streamed.
    pub kind: String,
    pub samples: Samples,
}

/// All series of a run.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    pub series: Vec<Series>,
    /// Titles by the number of their chain: chains that are called the same are none the less others.
    titles: Vec<(usize, String)>,
}

impl Measured {
    /// The title of a chain's series.
    fn title(&mut self, chain: usize, name: &str) -> String {
        let known = |titles: &[(usize, String)], title: &str| titles.iter().any(|(_, one)| one == title);
        let of_name =
            |title: &str| title.strip_prefix(name).is_some_and(|rest| rest.parse::<u32>().is_ok() || rest.is_empty());
        if let Some((_, title)) = self.titles.iter().find(|(n, title)| *n == chain && of_name(title)) {
            return title.clone();
        }
        let numbered = (2..).map(|n| format!("{name}{n}"));
        let free = std::iter::once(name.to_owned()).chain(numbered).find(|title| !known(&self.titles, title));
        let title = free.unwrap_or_default();
        self.titles.push((chain, title.clone()));
        title
    }

    /// Adds the histograms of a chain's table.
    pub fn add_table(&mut self, chain: usize, table: &Table, names: &dyn Names) {
        let spec = &table.spec;
        if !spec.kind.has_buckets() {
            return;
        }
        let title = self.title(chain, if spec.name.is_empty() { spec.kind.name() } else { &spec.name });
        for row in table.rows() {
            let Measure::Histogram(histogram) = &row.value else { continue };
            let pair = |(value, column): (&Value, &ColumnType)| {
                format!("{}={}", column.name, report::text::value(value, column, names))
            };
            let key: Vec<String> = row.key.iter().zip(&spec.key).map(pair).collect();
            let kind = spec.kind.name().to_owned();
            self.add(Series { title: title.clone(), key: key.join(", "), kind, samples: Samples::of(histogram) });
        }
    }

    /// Adds what a chain streamed.
    pub fn add_stream(&mut self, chain: usize, streamed: Streamed) {
        for (_, name, samples) in streamed.columns {
            let title = self.title(chain, &name);
            self.add(Series { title, key: String::new(), kind: "values".into(), samples });
        }
    }

    fn add(&mut self, series: Series) {
        match self.series.iter_mut().find(|one| one.title == series.title && one.key == series.key) {
            Some(one) => one.samples.merge(&series.samples),
            None => self.series.push(series),
        }
    }
}

/// The latencies among a stream's columns: those that are made of `elapsed`.
#[derive(Clone, Debug)]
pub struct Streamed {
    columns: Vec<(usize, String, Samples)>,
}

impl Streamed {
    /// `None`: it has none.
    pub fn of(entry: &Entry) -> Option<Streamed> {
        let Output::Stream { columns, .. } = &entry.output else { return None };
        let measured = columns.iter().enumerate().filter(|(_, column)| is_of_elapsed(&column.expr));
        let columns: Vec<_> =
            measured.map(|(n, column)| (entry.key.len() + n, column.name.clone(), Samples::default())).collect();
        (!columns.is_empty()).then_some(Streamed { columns })
    }

    /// Takes one record.
    pub fn take(&mut self, schema: &Schema, record: &[u8]) {
        for (n, _, samples) in &mut self.columns {
            if let Some(value) = schema.value(*n, record).integer() {
                samples.record(value);
            }
        }
    }
}

fn is_of_elapsed(expr: &Expr) -> bool {
    match &*expr.node {
        Node::Name(name) => name == "elapsed",
        Node::Negate(of) | Node::Cast(of, _) => is_of_elapsed(of),
        Node::Binary(_, one, other) => is_of_elapsed(one) || is_of_elapsed(other),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::column::NoNames;
    use crate::aggregate::{Kind, Spec};

    #[test]
    fn chains_of_one_name_are_told_apart_and_runs_of_one_chain_add_up() {
        let table = |name: &str, n: u64| {
            Table::from_entries(Spec::new(name, Kind::Hist, Vec::new()), [(8u32.to_ne_bytes(), [n, 100 * n])])
        };
        let mut measured = Measured::default();
        measured.add_table(0, &table("", 3), &NoNames);
        measured.add_table(1, &table("", 5), &NoNames);
        measured.add_table(0, &table("", 4), &NoNames);
        measured.add_table(2, &table("usecs", 7), &NoNames);
        let found: Vec<(&str, u64)> =
            measured.series.iter().map(|one| (one.title.as_str(), one.samples.count())).collect();
        assert_eq!(found, [("hist", 7), ("hist2", 5), ("usecs", 7)]);
    }
}
