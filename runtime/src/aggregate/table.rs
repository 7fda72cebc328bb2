//! Tables: the rows of one aggregation, from the entries of its map. Pure; no privilege.

use smallvec::SmallVec;
use std::cmp::Reverse;
use std::time::{Duration, SystemTime};

use super::builder::Builder;
use super::cell::{Kind, Measure};
use super::column::{self, ColumnType, Show, Value};
use super::heavy::Estimates;
use super::order;

/// What a map holds: the columns of its key and the kind of its cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// As the script names it; empty if it does not.
    pub name: String,
    pub key: Vec<ColumnType>,
    pub kind: Kind,
    /// Whether the samples are unsigned.
    pub unsigned: bool,
    /// How a sample is shown: least and greatest of them are samples too.
    pub show: Show,
    /// The samples' unit, such as `ns`.
    pub unit: Option<String>,
    /// Nanoseconds between two samples of a clock.
    pub period: Option<u64>,
}

impl Spec {
    /// Of signed samples without a unit.
    pub fn new(name: &str, kind: Kind, key: Vec<ColumnType>) -> Self {
        Spec { name: name.into(), key, kind, unsigned: false, show: Show::Decimal, unit: None, period: None }
    }

    /// Where each column of the key lies: behind the bucket number, if there is one, as the fields of a C struct.
    pub fn key_offsets(&self) -> impl Iterator<Item = usize> {
        column::offsets(&self.key, if self.kind.has_buckets() { 8 } else { 0 })
    }

    /// Bytes of the key: a bucket number alone is 4, columns end with the last one.
    pub fn key_size(&self) -> usize {
        match self.key_offsets().zip(&self.key).last() {
            Some((offset, column)) => offset + column.kind.size(),
            None => {
                if self.kind.has_buckets() {
                    4
                } else {
                    0
                }
            }
        }
    }
}

/// The values of its columns; one of them needs no room elsewhere.
pub type Key = SmallVec<[Value; 1]>;

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub key: Key,
    pub value: Measure,
}

/// The rows of one aggregation, each key once; the greatest values first unless sorted otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub spec: Spec,
    /// When the run began, and how long it took.
    pub ran: Option<(SystemTime, Duration)>,
    /// Where its values are estimates: what is known of all of them.
    pub estimates: Option<Estimates>,
    rows: Vec<Row>,
    malformed: u64,
}

impl Table {
    /// Adds up a map's entries: the key's bytes and the words of the cells of all possible CPUs, one behind the other.
    /// The buckets of a histogram become one row; keys under which nothing was counted have none.
    pub fn from_entries<K: AsRef<[u8]>, W: AsRef<[u64]>>(
        spec: Spec,
        entries: impl IntoIterator<Item = (K, W)>,
    ) -> Self {
        Table::from_entries_with(spec, entries, |_, value| value)
    }

    /// The same, of columns whose values stand for something else, such as call chains: `named` says what. Keys that are
    /// then the same become one row.
    pub fn from_entries_with<K: AsRef<[u8]>, W: AsRef<[u64]>>(
        spec: Spec,
        entries: impl IntoIterator<Item = (K, W)>,
        named: impl Fn(&ColumnType, Value) -> Value,
    ) -> Self {
        let mut builder = Builder::new(spec);
        entries.into_iter().for_each(|(key, words)| builder.add(key.as_ref(), words.as_ref(), &named));
        builder.finish()
    }

    pub(super) fn of(spec: Spec, rows: Vec<Row>, estimates: Option<Estimates>, malformed: u64) -> Self {
        let mut table = Table { spec, ran: None, estimates, rows, malformed };
        table.add_up();
        table
    }

    /// Makes one row of those with the same key, and puts them in order.
    fn add_up(&mut self) {
        order::by_key(&mut self.rows, |row| &row.key);
        self.rows.dedup_by(|row, first| row.key == first.key && first.value.merge(&row.value));
        self.rank(true);
    }

    /// Puts rows that are in the order of their keys in that of their values.
    fn rank(&mut self, descending: bool) {
        if self.rows.is_sorted_by(|a, b| order::directed(a.value.rank().cmp(&b.value.rank()), descending).is_le()) {
            return;
        }
        match descending {
            true => self.rows.sort_by_cached_key(|row| Reverse(row.value.rank())),
            false => self.rows.sort_by_cached_key(|row| row.value.rank()),
        }
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Entries whose key did not fit the specification, which no row counts: a bug of ours, for the trust line.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// The value under a key.
    pub fn get(&self, key: &[Value]) -> Option<&Measure> {
        self.rows.iter().find(|row| *row.key == *key).map(|row| &row.value)
    }

    /// All rows' values together; `None` without rows.
    pub fn total(&self) -> Option<Measure> {
        let mut rows = self.rows.iter().map(|row| &row.value);
        let first = rows.next()?.clone();
        Some(rows.fold(first, |mut total, value| {
            total.merge(value);
            total
        }))
    }

    /// Sorts by a column of the key, or by `value`: the number itself, the mean of an `avg`, the sum of `stats`, the
    /// samples of a histogram. Rows that are equal in it come in the order of their keys.
    ///
    /// # Errors
    /// One line for a script diagnostic, naming the columns there are.
    pub fn sort_by(&mut self, by: &str, descending: bool) -> Result<(), String> {
        if let Some(index) = self.spec.key.iter().position(|column| column.name == by) {
            order::by_key(&mut self.rows, |row| &row.key);
            order::by_value(&mut self.rows, |row| &row.key[index], descending);
        } else if by == "value" {
            order::by_key(&mut self.rows, |row| &row.key);
            self.rank(descending);
        } else {
            let known: Vec<_> = self.spec.key.iter().map(|column| format!("`{}`, ", column.name)).collect();
            return Err(format!("no column `{by}`: there are {}`value`", known.concat()));
        }
        Ok(())
    }

    /// Keeps the first `n` rows of the present order.
    pub fn top(&mut self, n: usize) {
        self.rows.truncate(n);
    }

    /// Adds the rows of another run of the same aggregation and sorts by value; returns false, and adds nothing, if
    /// keys or kinds differ.
    pub fn merge(&mut self, other: Table) -> bool {
        if self.spec.kind != other.spec.kind || self.spec.key != other.spec.key {
            return false;
        }
        self.rows.extend(other.rows);
        self.add_up();
        self.ran = self.ran.or(other.ran);
        if let (Some(own), Some(other)) = (&mut self.estimates, other.estimates) {
            own.merge(other);
        }
        self.malformed += other.malformed;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::column::{ColumnKind, Show};
    use super::*;
    use smallvec::smallvec;

    fn spec(kind: Kind, columns: &[(&str, ColumnKind)]) -> Spec {
        Spec::new("bytes", kind, columns.iter().map(|(name, kind)| ColumnType::new(name, *kind)).collect())
    }

    const COMM: (&str, ColumnKind) = ("comm", ColumnKind::Text { size: 4 });
    const PID: (&str, ColumnKind) = ("pid", ColumnKind::int(4, false, Show::Decimal));

    fn key(comm: &[u8; 4], pid: u32) -> Vec<u8> {
        [&comm[..], &[0; 4], &pid.to_ne_bytes()].concat()
    }

    fn counts() -> Table {
        let entries = [(key(b"bash", 7), [1, 2]), (key(b"cat\0", 9), [0, 20]), (key(b"bash", 5), [3, 0])];
        Table::from_entries(spec(Kind::Count, &[COMM, PID]), entries)
    }

    fn pids(table: &Table) -> Vec<i128> {
        table.rows().iter().filter_map(|row| row.key[1].integer()).collect()
    }

    #[test]
    fn greatest_values_come_first_and_ties_by_key() {
        let table = counts();
        assert_eq!(pids(&table), [9, 5, 7]);
        assert_eq!(table.get(&[Value::Text("cat".into()), Value::Int(9)]), Some(&Measure::Count(20)));
        assert_eq!(table.total(), Some(Measure::Count(26)));
    }

    #[test]
    fn rows_are_sorted_by_the_column_that_is_named() {
        let mut table = counts();
        table.sort_by("pid", false).unwrap();
        assert_eq!(pids(&table), [5, 7, 9]);
        table.sort_by("value", false).unwrap();
        table.top(2);
        assert_eq!(pids(&table), [5, 7]);
        assert_eq!(table.sort_by("uid", true), Err("no column `uid`: there are `comm`, `pid`, `value`".into()));
    }

    #[test]
    fn buckets_of_one_key_become_one_row() {
        let entry = |bucket: u32, comm: &[u8; 4], words| ([&bucket.to_ne_bytes()[..], &[0; 4], comm].concat(), words);
        let entries =
            [entry(2, b"bash", [1, 1, 2, 2]), entry(4, b"bash", [1, 5, 0, 0]), entry(2, b"cat\0", [0, 0, 1, 1])];
        let table = Table::from_entries(spec(Kind::Hist, &[COMM]), entries);
        let Measure::Histogram(bash) = &table.rows()[0].value else { panic!("no histogram") };
        assert_eq!((table.rows().len(), bash.count(), bash.sum()), (2, 4, 8));
    }

    #[test]
    fn bucket_alone_is_a_key_of_four_bytes() {
        let table = Table::from_entries(spec(Kind::Quantiles, &[]), [(23u32.to_ne_bytes(), [1u64, 22])]);
        assert_eq!((table.rows()[0].key.len(), table.rows()[0].value.n(), table.spec.key_size()), (0, Some(1), 4));
    }

    #[test]
    fn entry_that_does_not_fit_is_told_and_not_counted() {
        let table = Table::from_entries(spec(Kind::Count, &[COMM, PID]), [(b"bash".to_vec(), [1u64])]);
        assert_eq!((table.rows().len(), table.malformed()), (0, 1));
        let table = Table::from_entries(spec(Kind::Hist, &[]), [(99u32.to_ne_bytes(), [1u64, 1])]);
        assert_eq!((table.rows().len(), table.malformed()), (0, 1));
    }

    #[test]
    fn entry_of_heavy_without_a_key_is_the_rest() {
        let key = |pid: u64| pid.to_ne_bytes().to_vec();
        let pid = ("pid", ColumnKind::int(8, false, Show::Decimal));
        let entries = || [(key(7), vec![101u64]), (Vec::new(), vec![11, 5]), (key(9), vec![23])];
        let mut table = Table::from_entries(spec(Kind::Heavy, &[pid]), entries());
        table.top(1);
        assert_eq!(table.rows(), [Row { key: smallvec![Value::Int(7)], value: Measure::Sum(101) }]);
        assert_eq!((table.estimates, table.malformed()), (Some(Estimates { lack: 5, rest: 11, total: 135 }), 0));
        assert!(table.merge(Table::from_entries(spec(Kind::Heavy, &[pid]), entries())));
        assert_eq!(
            (table.rows()[0].value.clone(), table.estimates),
            (Measure::Sum(202), Some(Estimates { lack: 10, rest: 22, total: 270 }))
        );
    }

    #[test]
    fn merged_runs_add_up_by_key() {
        let mut table = counts();
        assert!(table.merge(counts()) && !table.merge(Table::from_entries(spec(Kind::Sum, &[]), [([], [1u64])])));
        assert_eq!(table.total(), Some(Measure::Count(52)));
    }
}
