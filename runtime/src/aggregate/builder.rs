//! Tables from the entries of their maps, one entry after the other: of a large map the kernel gives more meanwhile.

use super::bucket;
use super::cell::{Cell, Kind, Measure};
use super::column::{self, ColumnType, Value};
use super::heavy::Estimates;
use super::histogram::Histogram;
use super::table::{Key, Row, Spec, Table};
use std::collections::HashMap;
use std::ops::RangeFrom;

/// A table to be.
pub struct Builder {
    spec: Spec,
    rows: Vec<Row>,
    /// Of the kinds that have an entry for each bucket.
    histograms: HashMap<Key, Histogram>,
    estimates: Estimates,
    malformed: u64,
}

impl Builder {
    pub fn new(spec: Spec) -> Self {
        Builder { spec, rows: Vec::new(), histograms: HashMap::new(), estimates: Estimates::default(), malformed: 0 }
    }

    /// Adds the key's bytes and the words of the cells of all possible CPUs, one behind the other. `named` says what the
    /// value of a column stands for, such as a call chain.
    pub fn add(&mut self, key: &[u8], words: &[u64], named: impl Fn(&ColumnType, Value) -> Value) {
        let (spec, mut cell) = (&self.spec, Cell::default());
        if let (Kind::Heavy, [], [rest, lack]) = (spec.kind, key, words) {
            self.estimates.merge(Estimates { lack: (*lack).into(), rest: (*rest).into(), total: (*rest).into() });
            return;
        }
        cell.add(spec.kind, spec.unsigned, words);
        self.estimates.total += cell.sum;
        let bucket = bucket_of(spec, key);
        if key.len() < spec.key_size() || bucket.is_some_and(|n| n >= bucket::count(spec.kind)) {
            self.malformed += 1;
        } else if let Some(value) = cell.measure(spec.kind) {
            self.rows.push(Row { key: values(spec, key, &named), value });
        } else if let Some(bucket) = bucket.filter(|_| cell.n > 0) {
            let histogram = self.histograms.entry(values(spec, key, &named));
            histogram.or_insert_with(|| Histogram::new(spec.kind)).add(bucket, cell.n, cell.sum);
        }
    }

    /// The buckets of a histogram become one row, and so do keys that are the same once they are named; keys under which
    /// nothing was counted have none.
    pub fn finish(self) -> Table {
        let Builder { spec, mut rows, histograms, estimates, malformed } = self;
        rows.extend(histograms.into_iter().map(|(key, histogram)| Row { key, value: Measure::Histogram(histogram) }));
        let estimates = (spec.kind == Kind::Heavy).then_some(estimates);
        Table::of(spec, rows, estimates, malformed)
    }
}

fn bucket_of(spec: &Spec, key: &[u8]) -> Option<u32> {
    if spec.kind.has_buckets() { key.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes)) } else { None }
}

fn values(spec: &Spec, key: &[u8], named: &impl Fn(&ColumnType, Value) -> Value) -> Key {
    let columns = spec.key_offsets().zip(&spec.key);
    let value = |(offset, column)| {
        named(column, column::decode(column, key.get::<RangeFrom<usize>>(offset..).unwrap_or_default()))
    };
    columns.map(value).collect()
}
