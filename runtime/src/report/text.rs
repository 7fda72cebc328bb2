//! Text: results as people read them in a terminal or a file.

use std::fmt::{self, Display, Formatter, Write as _};
use std::io::{self, Write};

use super::columns::{self, Column};
use super::units::{Grouped, Shown};
use super::{histogram, stacks, units};
use crate::aggregate::column::{ColumnKind, ColumnType, Names, Show, Value};
use crate::aggregate::heavy::Estimates;
use crate::aggregate::histogram::QUANTILES_ERROR;
use crate::aggregate::{Kind, Measure, Row, Table};

/// What the output can show. Files and pipes get no colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    pub colour: bool,
    /// Columns of the terminal, the usual ones of files and pipes; `None`: as many as there are, nothing is shortened.
    pub width: Option<usize>,
}

impl Style {
    /// What stands before and after a bar.
    pub(super) fn bar(self) -> (&'static str, &'static str) {
        if self.colour { ("\x1b[36m", "\x1b[0m") } else { ("", "") }
    }

    pub(super) fn heading(self) -> (&'static str, &'static str) {
        if self.colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") }
    }
}

/// Writes one aggregation: `name: 1,234` without a key, else a table under the line `name:`; quantiles as a table in any
/// case, histograms one after another, each under its key. Without rows, `name: no samples`; without a name, the kind
/// stands in for it.
///
/// # Errors
/// Those of `out`.
pub fn table(out: &mut impl Write, table: &Table, names: &dyn Names, style: &Style) -> io::Result<()> {
    let spec = &table.spec;
    let name = if spec.name.is_empty() { spec.kind.name() } else { &spec.name };
    let name = units::escape(name);
    let unit = spec.unit.as_deref().filter(|unit| *unit != spec.name && spec.kind != Kind::Count);
    let unit = units::escape(unit.unwrap_or_default());
    let [row, ..] = table.rows() else {
        return writeln!(out, "{name}: no samples");
    };
    if spec.key.is_empty() && !spec.kind.has_buckets() {
        return writeln!(out, "{}", format!("{name}: {} {unit}", scalar(&row.value, spec.show)).trim_end());
    }
    match (spec.name.is_empty(), spec.kind.has_buckets() && !unit.is_empty()) {
        (true, _) => {}
        (false, true) => writeln!(out, "{name} ({unit}):")?,
        // Columns name the unit in their headings.
        (false, false) => writeln!(out, "{name}:")?,
    }
    if stacks::has_chains(table) {
        stacks::rows(out, table, names, style)?;
        return estimates(out, table);
    }
    if !spec.kind.has_buckets() {
        columns::table(out, &cells(table, names), style)?;
        return estimates(out, table);
    }
    if spec.kind == Kind::Quantiles {
        columns::table(out, &cells(table, names), style)?;
        return writeln!(out, "quantiles: at most {:.1} % above the truth", 100.0 * QUANTILES_ERROR);
    }
    for (index, row) in table.rows().iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        if !row.key.is_empty() {
            writeln!(out, "{}:", key(&spec.key, row, names, style))?;
        }
        if let Measure::Histogram(buckets) = &row.value {
            histogram::draw(out, buckets, style)?;
        }
    }
    Ok(())
}

/// How far the rows of a `heavy` may be from the truth.
fn estimates(out: &mut impl Write, table: &Table) -> io::Result<()> {
    let Some(Estimates { lack, total, .. }) = table.estimates else { return Ok(()) };
    if lack == 0 {
        return writeln!(out, "exact: nothing was too light to be kept");
    }
    let share = 100.0 * lack as f64 / total.max(1) as f64;
    writeln!(out, "estimates: at most {} below the truth ({share:.2} % of all)", units::grouped(lack))
}

/// One value of a column, safe for a terminal: names resolved, durations in a fitting unit. A number has separators
/// only where its column has a unit: without one it is an identity, such as a pid.
pub fn value(value: &Value, column: &ColumnType, names: &dyn Names) -> String {
    let mut text = String::new();
    write_value(&mut text, value, column, names);
    text
}

fn write_value(out: &mut String, value: &Value, column: &ColumnType, names: &dyn Names) {
    // Writing to a String does not fail.
    let _infallible = match units::show(value, Some(column), names) {
        Shown::Text(text) => out.write_str(&units::escape(&text)),
        Shown::Float(float) => out.write_str(&units::decimal(float)),
        Shown::Integer(number) if is(column, &[Show::Duration]) => out.write_str(&units::duration(number)),
        Shown::Integer(number) if column.unit.is_some() => write!(out, "{}", Grouped(number)),
        Shown::Integer(number) => out.write_str(itoa::Buffer::new().format(number)),
    };
}

fn key(columns: &[ColumnType], row: &Row, names: &dyn Names, style: &Style) -> String {
    let parts = row.key.iter().zip(columns).map(|(part, column)| (&*column.name, value(part, column, names)));
    pairs(parts.collect(), ", ", 1, style)
}

/// `comm=dd, path=/etc/passwd`, with room for `taken` more columns.
pub(super) fn pairs(parts: Vec<(&str, String)>, between: &str, taken: usize, style: &Style) -> String {
    let (names, mut values): (Vec<&str>, Vec<String>) = parts.into_iter().unzip();
    let signs = names.iter().map(|name| name.chars().count() + "=".len()).sum::<usize>();
    columns::fit(&mut values, signs + between.len() * names.len().saturating_sub(1) + taken, style.width);
    let pairs = names.iter().zip(&values).map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join(between)
}

/// A value in one line; of a histogram what fits there.
pub fn measured(value: &Measure, show: Show) -> String {
    match value {
        Measure::Histogram(buckets) if buckets.kind() == Kind::Quantiles => {
            histogram::quantiles_line(buckets).trim_end().to_owned()
        }
        Measure::Histogram(buckets) => {
            let mean = units::decimal(buckets.mean().unwrap_or(0.0));
            format!("n {}, mean {mean}", units::grouped(buckets.count()))
        }
        value => scalar(value, show),
    }
}

fn scalar(value: &Measure, show: Show) -> String {
    let mut all = Vec::new();
    parts(value, show, |name, number| all.push((name, number.to_string())));
    match all.as_slice() {
        [(_, only)] | [_, (_, only)] => only.clone(),
        parts => {
            let parts: Vec<_> = parts.iter().map(|(name, part)| format!("{name} {part}")).collect();
            parts.join(", ")
        }
    }
}

/// Gives the numbers of a value, each with its heading.
fn parts(value: &Measure, show: Show, mut part: impl FnMut(&'static str, &dyn Display)) {
    let mean = || units::decimal(value.mean().unwrap_or(0.0));
    match *value {
        Measure::Count(n) => part("count", &Grouped(n.into())),
        Measure::Sum(sum) => part("sum", &Grouped(sum)),
        Measure::Min(min) => part("min", &Sample(min, show)),
        Measure::Max(max) => part("max", &Sample(max, show)),
        Measure::Avg { n, .. } => {
            part("n", &Grouped(n.into()));
            part("avg", &mean());
        }
        Measure::Stats { n, sum, min, max } => {
            part("n", &Grouped(n.into()));
            part("avg", &mean());
            part("sum", &Grouped(sum));
            part("min", &Sample(min, show));
            part("max", &Sample(max, show));
        }
        Measure::Histogram(ref histogram) => {
            histogram::quantiles(histogram).iter().for_each(|(name, number)| part(name, number));
        }
    }
}

struct Sample(i128, Show);

impl Display for Sample {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        // A sum of addresses is none.
        match (self.1, u64::try_from(self.0)) {
            (Show::Hex, Ok(address)) => write!(f, "0x{address:x}"),
            _ => Grouped(self.0).fmt(f),
        }
    }
}

fn heading(name: &str, unit: Option<&str>) -> String {
    let text = unit.map_or_else(|| name.into(), |unit| format!("{name} ({unit})"));
    units::escape(&text).into_owned()
}

fn cells(table: &Table, names: &dyn Names) -> Vec<Column> {
    let (spec, rows) = (&table.spec, table.rows());
    let mut columns = Vec::new();
    for (index, column) in spec.key.iter().enumerate() {
        // A duration says its unit itself.
        let unit = column.unit.as_deref().filter(|_| !is(column, &[Show::Duration]));
        let right = is(column, &[Show::Decimal, Show::Hex, Show::Duration]);
        let mut cells = Column::new(&heading(&column.name, unit), right);
        rows.iter().for_each(|row| cells.push(|out| write_value(out, &row.key[index], column, names)));
        columns.push(cells);
    }
    let numbers = columns.len();
    if let Some(row) = rows.first() {
        parts(&row.value, spec.show, |name, _| {
            let unit = spec.unit.as_deref().filter(|_| !matches!(name, "n" | "count"));
            columns.push(Column::new(&heading(name, unit), true));
        });
    }
    for row in rows {
        let mut columns = columns[numbers..].iter_mut();
        parts(&row.value, spec.show, |_, number| {
            if let Some(column) = columns.next() {
                column.push(|out| _ = write!(out, "{number}"));
            }
        });
    }
    columns
}

fn is(column: &ColumnType, shows: &[Show]) -> bool {
    matches!(column.kind, ColumnKind::Int { show, .. } if shows.contains(&show))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Spec;
    use crate::aggregate::column::NoNames;

    const PLAIN: Style = Style { colour: false, width: None };
    const COMM: (&str, ColumnKind) = ("comm", ColumnKind::Text { size: 12 });
    const PID: (&str, ColumnKind) = ("pid", ColumnKind::int(4, false, Show::Decimal));

    fn written(kind: Kind, key: &[(&str, ColumnKind)], entries: &[(Vec<u8>, Vec<u64>)], style: &Style) -> String {
        let key = key.iter().map(|(name, kind)| ColumnType::new(name, *kind)).collect();
        let mut spec = Spec::new("latency", kind, key);
        spec.unit = Some("ns".into());
        let (mut out, result) = (Vec::new(), Table::from_entries(spec, entries.iter().cloned()));
        table(&mut out, &result, &NoNames, style).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn scalar_is_one_line() {
        let scalar = |kind, cells: &[u64]| written(kind, &[], &[(Vec::new(), cells.into())], &PLAIN);
        assert_eq!(scalar(Kind::Count, &[1000, 234]), "latency: 1,234\n");
        assert_eq!(scalar(Kind::Avg, &[2, 2469]), "latency: 1,234.5 ns\n");
        let stats = "latency: n 2, avg 505.0, sum 1,010, min 10, max 1,000 ns\n";
        assert_eq!(scalar(Kind::Stats, &[2, 1010, 10, 1000]), stats);
        assert_eq!(written(Kind::Sum, &[], &[], &PLAIN), "latency: no samples\n");
    }

    fn averages() -> [(Vec<u8>, Vec<u64>); 2] {
        let key = |comm: &[u8; 12], pid: u32| [&comm[..], &[0; 4], &pid.to_ne_bytes()].concat();
        [(key(b"bash\0\0\0\0\0\0\0\0", 18644), vec![2, 5000]), (key(b"\x1b[2J-long-x\0", 7), vec![1, 1_000_000])]
    }

    #[test]
    fn table_has_names_left_and_numbers_right() {
        let expected = r"latency:
comm              pid  n     avg (ns)
\x1b[2J-long-x      7  1  1,000,000.0
bash            18644  2      2,500.0
";
        assert_eq!(written(Kind::Avg, &[COMM, PID], &averages(), &PLAIN), expected);
    }

    #[test]
    fn heavy_says_how_far_it_may_be_from_the_truth() {
        let key = |pid: u32| pid.to_ne_bytes().to_vec();
        let mut entries = vec![(key(7), vec![1010]), (key(9), vec![979])];
        let lines = "latency:\npid  sum (ns)\n  7     1,010\n  9       979\n";
        assert_eq!(
            written(Kind::Heavy, &[PID], &entries, &PLAIN),
            format!("{lines}exact: nothing was too light to be kept\n")
        );
        entries.push((Vec::new(), vec![23, 11]));
        let bound = "estimates: at most 11 below the truth (0.55 % of all)\n";
        assert_eq!(written(Kind::Heavy, &[PID], &entries, &PLAIN), format!("{lines}{bound}"));
    }

    #[test]
    fn narrow_terminal_cuts_the_text_and_not_the_number() {
        let text = written(Kind::Avg, &[COMM, PID], &averages(), &Style { colour: true, width: Some(32) });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[1], "\x1b[2mcomm         pid  n     avg (ns)\x1b[0m");
        assert_eq!(lines[2], r"\x1b[2J-…      7  1  1,000,000.0");
        assert_eq!(lines[3], "bash       18644  2      2,500.0");
    }

    #[test]
    fn address_is_hexadecimal_where_it_is_a_sample() {
        let spec = Spec { unsigned: true, show: Show::Hex, ..Spec::new("", Kind::Max, Vec::new()) };
        let result = Table::from_entries(spec, [(Vec::<u8>::new(), vec![1, 0xffff_8880_0000_1000])]);
        let mut out = Vec::new();
        table(&mut out, &result, &NoNames, &PLAIN).unwrap();
        assert_eq!(String::from_utf8_lossy(&out), "max: 0xffff888000001000\n");
    }

    #[test]
    fn one_long_text_widens_no_other_line_of_a_file() {
        let file = ("file", ColumnKind::Text { size: 96 });
        let key = |text: &str| format!("{text:\0<96}").into_bytes();
        let entries = [(key(&"x".repeat(90)), vec![3]), (key("/etc/passwd"), vec![2])];
        let text = written(Kind::Count, &[file], &entries, &PLAIN);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], format!("{}      3", "x".repeat(90)));
        assert_eq!(lines[3], "/etc/passwd      2");
        let narrow = written(Kind::Count, &[file], &entries, &Style { colour: false, width: Some(40) });
        assert!(narrow.lines().all(|line| line.chars().count() <= 40) && narrow.contains('…'), "{narrow}");
    }

    #[test]
    fn keyed_histograms_stand_under_their_key() {
        let entry =
            |comm: &[u8; 12], cell: [u64; 2]| ([&8u32.to_ne_bytes()[..], &[0; 4], comm].concat(), cell.to_vec());
        let entries = [entry(b"cat\0\0\0\0\0\0\0\0\0", [1, 70]), entry(b"bash\0\0\0\0\0\0\0\0", [2, 140])];
        let text = written(Kind::Hist, &[COMM], &entries, &PLAIN);
        assert!(text.starts_with("latency (ns):\ncomm=bash:\n[64, 128)              2 |@@@"), "{text}");
        assert!(text.contains("|\n\ncomm=cat:\n[64, 128)              1 |@@@"), "{text}");
    }
}
