//! CSV: rows under a line with the names of their columns, described in `docs/csv.md`. Source: RFC 4180.

use std::borrow::Cow;

use super::units::{self, Shown};
use crate::aggregate::column::{ColumnType, Names, Show, Value};
use crate::aggregate::histogram::Histogram;
use crate::aggregate::{Kind, Measure, Table};

/// What a program that opens it as a spreadsheet may take for a formula.
const FORMULA: [char; 4] = ['=', '+', '-', '@'];

/// One aggregation: the line of names, and a line for each row; of `hist` and `lhist` a line for each bucket that is not
/// empty. `at` is the end of the interval that it is of.
pub fn table(table: &Table, names: &dyn Names, at: Option<&str>) -> (String, String) {
    let spec = &table.spec;
    let title = Some(spec.name.as_str()).filter(|name| !name.is_empty());
    let mut columns: Vec<&str> = at.map(|_| "time").into_iter().chain(title.map(|_| "title")).collect();
    columns.extend(spec.key.iter().map(|column| column.name.as_str()));
    columns.extend(numbers(spec.kind));
    let before: Vec<String> = at.into_iter().chain(title).map(|text| guarded(text).into_owned()).collect();
    let mut rows = String::new();
    for row in table.rows() {
        let key = row.key.iter().zip(&spec.key).map(|(value, column)| cell(value, column, names));
        let front: Vec<String> = before.iter().cloned().chain(key).collect();
        for numbers in lines(&row.value, spec.show) {
            rows += &line(front.iter().cloned().chain(numbers));
        }
    }
    (heading(columns), rows)
}

/// The names of columns. One that is there twice gets a number: programs look rows up by name.
pub fn heading<'a>(columns: impl IntoIterator<Item = &'a str>) -> String {
    let mut unique: Vec<String> = Vec::new();
    for name in columns {
        let same = |wanted: &str| unique.iter().any(|known| known == wanted);
        let numbered = (2..).map(|n| format!("{name}{n}"));
        let own = std::iter::once(name.to_owned()).chain(numbered).find(|wanted| !same(wanted));
        unique.extend(own);
    }
    line(unique.into_iter())
}

/// One event of a stream.
pub fn event(columns: &[ColumnType], values: &[Value], names: &dyn Names) -> String {
    line(values.iter().zip(columns).map(|(value, column)| cell(value, column, names)))
}

/// A line of cells, quoted where a comma or a quote is in them.
pub fn line(cells: impl Iterator<Item = String>) -> String {
    let quoted = |cell: String| match cell.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    };
    format!("{}\n", cells.map(quoted).collect::<Vec<_>>().join(","))
}

/// A text that no terminal and no spreadsheet obeys: a process chooses its own name and arguments. Control characters
/// are spelled out, and what could begin a formula begins with `'`.
pub fn guarded(text: &str) -> Cow<'_, str> {
    let text = units::escape(text);
    if text.starts_with(FORMULA) { format!("'{text}").into() } else { text }
}

fn cell(value: &Value, column: &ColumnType, names: &dyn Names) -> String {
    match units::show(value, Some(column), names) {
        Shown::Integer(integer) => integer.to_string(),
        Shown::Float(value) => float(Some(value)),
        Shown::Text(text) => guarded(&text).into_owned(),
    }
}

/// The names of a value's numbers.
fn numbers(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Count => &["count"],
        Kind::Sum | Kind::Heavy => &["sum"],
        Kind::Min => &["min"],
        Kind::Max => &["max"],
        Kind::Avg => &["n", "sum", "avg"],
        Kind::Stats => &["n", "sum", "avg", "min", "max"],
        Kind::Hist | Kind::LHist { .. } => &["low", "high", "count"],
        Kind::Quantiles => &["n", "mean", "p50", "p90", "p99", "p999"],
    }
}

/// A value's numbers, in as many lines as it takes.
fn lines(value: &Measure, show: Show) -> Vec<Vec<String>> {
    // A sum of addresses is none.
    let sample = |value: i128| match (show, u64::try_from(value)) {
        (Show::Hex, Ok(address)) => format!("0x{address:x}"),
        _ => value.to_string(),
    };
    let mean = || float(value.mean());
    match value {
        Measure::Count(n) => vec![vec![n.to_string()]],
        Measure::Sum(sum) => vec![vec![sum.to_string()]],
        Measure::Min(value) | Measure::Max(value) => vec![vec![sample(*value)]],
        Measure::Avg { n, sum } => vec![vec![n.to_string(), sum.to_string(), mean()]],
        Measure::Stats { n, sum, min, max } => {
            vec![vec![n.to_string(), sum.to_string(), mean(), sample(*min), sample(*max)]]
        }
        Measure::Histogram(histogram) if histogram.kind() == Kind::Quantiles => vec![quantiles(histogram)],
        Measure::Histogram(histogram) => histogram
            .rows()
            .filter(|bucket| bucket.count > 0)
            .map(|bucket| vec![edge(bucket.low), edge(bucket.high), bucket.count.to_string()])
            .collect(),
    }
}

fn quantiles(histogram: &Histogram) -> Vec<String> {
    let mut cells = vec![histogram.count().to_string(), float(histogram.mean())];
    cells.extend(histogram.quantiles([0.5, 0.9, 0.99, 0.999]).map(edge));
    cells
}

/// An end that is open is empty.
fn edge(edge: Option<i128>) -> String {
    edge.map_or(String::new(), |edge| edge.to_string())
}

fn float(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map_or(String::new(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Spec;
    use crate::aggregate::column::{ColumnKind, NoNames};

    const DOCUMENT: &str = include_str!("../../../docs/csv.md");
    const COMM: ColumnKind = ColumnKind::Text { size: 8 };

    fn of(kind: Kind, name: &str, comm: &str, bucket: Option<u32>, cells: &[u64]) -> (String, String) {
        let spec = Spec::new(name, kind, vec![ColumnType::new("comm", COMM)]);
        let mut key: Vec<u8> = bucket.map(|bucket| u64::from(bucket).to_ne_bytes()).into_iter().flatten().collect();
        key.extend(comm.bytes().chain([0; 8]).take(8));
        table(&Table::from_entries(spec, [(key, cells)]), &NoNames, None)
    }

    fn text((heading, rows): (String, String)) -> String {
        [heading, rows].concat()
    }

    #[test]
    fn values_have_the_columns_of_their_kind() {
        assert_eq!(text(of(Kind::Count, "", "bash", None, &[23])), "comm,count\nbash,23\n");
        assert_eq!(text(of(Kind::Avg, "", "bash", None, &[2, 5])), "comm,n,sum,avg\nbash,2,5,2.5\n");
        let stats = text(of(Kind::Stats, "usecs", "bash", None, &[2, 5, 1, 4]));
        assert_eq!(stats, "title,comm,n,sum,avg,min,max\nusecs,bash,2,5,2.5,1,4\n");
        let quantiles = text(of(Kind::Quantiles, "", "bash", Some(101), &[7, 700]));
        assert_eq!(quantiles, "comm,n,mean,p50,p90,p99,p999\nbash,7,100,100,100,100,100\n");
    }

    #[test]
    fn histogram_has_a_line_for_each_bucket_and_open_ends_are_empty() {
        let spec = Spec::new("", Kind::LHist { min: 0, max: 10, step: 10 }, Vec::new());
        let entries = [(1u32, [3u64, 9]), (2, [1, 99])].map(|(bucket, cells)| (bucket.to_ne_bytes(), cells));
        let found = text(table(&Table::from_entries(spec, entries), &NoNames, None));
        assert_eq!(found, "low,high,count\n0,9,3\n10,,1\n");
    }

    #[test]
    fn cells_with_separators_are_quoted() {
        assert_eq!(line(["a".to_owned(), "b,c".to_owned(), "d\"e".to_owned()].into_iter()), "a,\"b,c\",\"d\"\"e\"\n");
    }

    #[test]
    fn no_text_is_a_formula_and_numbers_stay_numbers() {
        assert_eq!(of(Kind::Count, "", "=cmd()", None, &[1]).1, "'=cmd(),1\n");
        assert_eq!(of(Kind::Count, "", "-bash", None, &[1]).1, "'-bash,1\n");
        assert_eq!(guarded("\t=1\n"), "\\t=1\\n");
        let columns = [ColumnType::new("ret", ColumnKind::int(8, true, Show::Decimal))];
        assert_eq!(event(&columns, &[Value::Int(-2)], &NoNames), "-2\n");
    }

    #[test]
    fn name_that_is_there_twice_gets_a_number() {
        assert_eq!(heading(["count", "n", "count", "count"]), "count,n,count2,count3\n");
        assert_eq!(heading(["a2", "a", "a"]), "a2,a,a3\n");
    }

    #[test]
    fn interval_and_title_come_first() {
        let spec = Spec::new("opens", Kind::Count, vec![ColumnType::new("comm", COMM)]);
        let entries = [(*b"bash\0\0\0\0", [23u64])];
        let found = table(&Table::from_entries(spec, entries), &NoNames, Some("2026-11-21T20:00:01Z"));
        let expected = "time,title,comm,count\n2026-11-21T20:00:01Z,opens,bash,23\n";
        assert_eq!(text(found), expected);
        assert!(DOCUMENT.contains(expected));
    }
}
