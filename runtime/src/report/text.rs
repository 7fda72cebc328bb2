//! Text: results as people read them in a terminal or a file.

use std::io::{self, Write};

use super::{histogram, stacks, units};
use crate::aggregate::column::{ColumnKind, ColumnType, Names, Show, Value};
use crate::aggregate::{Kind, Measure, Row, Table};

/// What the output can show. Files and pipes get neither colour nor a width.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    pub colour: bool,
    /// Columns of the terminal; longer rows of tables are cut.
    pub width: Option<usize>,
}

impl Style {
    /// What stands before and after a bar.
    pub(super) fn bar(self) -> (&'static str, &'static str) {
        if self.colour { ("\x1b[36m", "\x1b[0m") } else { ("", "") }
    }

    fn heading(self) -> (&'static str, &'static str) {
        if self.colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") }
    }
}

/// Writes one aggregation: `name: 1,234` without a key, else a table under the line `name:`; histograms one after
/// another, each under its key. Without rows, `name: no samples`; without a name, the kind stands in for it.
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
        return stacks::rows(out, table, names, style);
    }
    if !spec.kind.has_buckets() {
        return columns(out, &cells(table, names), style);
    }
    for (index, row) in table.rows().iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        if !row.key.is_empty() {
            writeln!(out, "{}:", key(&spec.key, row, names))?;
        }
        if let Measure::Histogram(buckets) = &row.value {
            histogram::draw(out, buckets, style)?;
        }
    }
    Ok(())
}

/// One value of a column, safe for a terminal: names resolved, durations in a fitting unit. A number has separators
/// only where its column has a unit: without one it is an identity, such as a pid.
pub fn value(value: &Value, column: &ColumnType, names: &dyn Names) -> String {
    match units::show(value, Some(column), names) {
        units::Shown::Text(text) => units::escape(&text).into_owned(),
        units::Shown::Float(float) => units::decimal(float),
        units::Shown::Integer(number) if is(column, &[Show::Duration]) => units::duration(number),
        units::Shown::Integer(number) if column.unit.is_some() => units::grouped(number),
        units::Shown::Integer(number) => number.to_string(),
    }
}

fn key(columns: &[ColumnType], row: &Row, names: &dyn Names) -> String {
    let pair = |(part, column): (&Value, &ColumnType)| format!("{}={}", column.name, value(part, column, names));
    row.key.iter().zip(columns).map(pair).collect::<Vec<_>>().join(", ")
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
    match parts(value, show).as_slice() {
        [(_, only)] | [_, (_, only)] => only.clone(),
        parts => {
            let parts: Vec<_> = parts.iter().map(|(name, part)| format!("{name} {part}")).collect();
            parts.join(", ")
        }
    }
}

/// The numbers of a value, each with its heading.
fn parts(value: &Measure, show: Show) -> Vec<(&'static str, String)> {
    // A sum of addresses is none.
    let sample = |value: i128| match (show, u64::try_from(value)) {
        (Show::Hex, Ok(address)) => format!("0x{address:x}"),
        _ => units::grouped(value),
    };
    let mean = || units::decimal(value.mean().unwrap_or(0.0));
    match *value {
        Measure::Count(n) => vec![("count", units::grouped(n))],
        Measure::Sum(sum) => vec![("sum", units::grouped(sum))],
        Measure::Min(min) => vec![("min", sample(min))],
        Measure::Max(max) => vec![("max", sample(max))],
        Measure::Avg { n, .. } => vec![("n", units::grouped(n)), ("avg", mean())],
        Measure::Stats { n, sum, min, max } => {
            let [n, sum] = [n.into(), sum].map(units::grouped);
            vec![("n", n), ("avg", mean()), ("sum", sum), ("min", sample(min)), ("max", sample(max))]
        }
        Measure::Histogram(_) => Vec::new(),
    }
}

/// A column of a table, its heading first.
struct Column {
    cells: Vec<String>,
    right: bool,
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
        let mut cells = vec![heading(&column.name, unit)];
        cells.extend(rows.iter().map(|row| value(&row.key[index], column, names)));
        let right = is(column, &[Show::Decimal, Show::Hex, Show::Duration]);
        columns.push(Column { cells, right });
    }
    let numbers: Vec<_> = rows.iter().map(|row| parts(&row.value, spec.show)).collect();
    for (index, (name, _)) in numbers.first().into_iter().flatten().enumerate() {
        let unit = spec.unit.as_deref().filter(|_| !matches!(*name, "n" | "count"));
        let mut cells = vec![heading(name, unit)];
        cells.extend(numbers.iter().map(|parts| parts[index].1.clone()));
        columns.push(Column { cells, right: true });
    }
    columns
}

fn is(column: &ColumnType, shows: &[Show]) -> bool {
    matches!(column.kind, ColumnKind::Int { show, .. } if shows.contains(&show))
}

/// Writes the columns side by side, two spaces between them. Where the terminal is too narrow the widest text gives
/// way, so that the numbers behind it stay in sight. In files nothing is cut: a text that is longer than most reads
/// well pushes the rest of its own line, and no other.
fn columns(out: &mut impl Write, columns: &[Column], style: &Style) -> io::Result<()> {
    const LEAST: usize = 8;
    const ALIGNED: usize = 64;
    let length = |text: &String| text.chars().count();
    let most = |right: bool| if right || style.width.is_some() { usize::MAX } else { ALIGNED };
    let width = |column: &Column| {
        column.cells.iter().map(length).filter(|length| *length <= most(column.right)).max().unwrap_or(0)
    };
    let mut widths: Vec<_> = columns.iter().map(width).collect();
    let available = style.width.unwrap_or(usize::MAX);
    let excess = (widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)).saturating_sub(available);
    let texts = (0..columns.len()).filter(|index| !columns[*index].right);
    if let Some(widest) = texts.max_by_key(|index| widths[*index]) {
        widths[widest] = widths[widest].saturating_sub(excess).max(LEAST.min(widths[widest]));
    }
    for line in 0..columns.first().map_or(0, |column| column.cells.len()) {
        let cells = columns.iter().zip(&widths).map(|(column, width)| {
            let cell = match style.width {
                Some(_) => cut(&column.cells[line], *width),
                None => column.cells[line].clone(),
            };
            match column.right {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            }
        });
        let text = cut(cells.collect::<Vec<_>>().join("  ").trim_end(), available);
        let (on, off) = if line == 0 { style.heading() } else { ("", "") };
        writeln!(out, "{on}{text}{off}")?;
    }
    Ok(())
}

/// At most `width` characters; what is cut ends in an ellipsis.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.into();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain((width > 0).then_some('…')).collect()
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
