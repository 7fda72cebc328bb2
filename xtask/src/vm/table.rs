//! Tests by kernels: what libtest says, as a Markdown table, and what differs from the one that is checked in.

use std::collections::BTreeMap;
use std::fmt;

/// What became of a test on one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Works,
    /// By design, as the test says.
    Lacks(String),
    /// Also: did not run, or did not end.
    Failed,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Works => f.write_str("yes"),
            Cell::Lacks(reason) => write!(f, "no: {reason}"),
            Cell::Failed => f.write_str("**failed**"),
        }
    }
}

/// Results of one kernel, by test.
pub type Column = BTreeMap<String, Cell>;

/// Reads what test binaries print with `--test-threads=1 --show-output`.
pub fn column(text: &str) -> Column {
    const TEST: &str = "test ";
    let mut column = Column::new();
    let mut shown = "";
    for line in text.lines() {
        // Until it has a result, a test has failed: the guest may have died in it.
        if let Some((name, result)) = line.strip_prefix(TEST).and_then(|rest| rest.split_once(" ... ")) {
            column.insert(name.to_owned(), if result.ends_with("ok") { Cell::Works } else { Cell::Failed });
        } else if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----")) {
            shown = name;
        } else if let Some(cell @ Cell::Works) = column.get_mut(shown) {
            if let Some(reason) = line.strip_prefix("kernel lacks: ") {
                *cell = Cell::Lacks(reason.to_owned());
            } else if line.starts_with("skipped: ") {
                *cell = Cell::Failed;
            }
        }
    }
    column
}

/// The table of several kernels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    columns: BTreeMap<String, Column>,
}

impl Table {
    pub fn add(&mut self, kernel: &str, column: Column) {
        self.columns.insert(kernel.to_owned(), column);
    }

    /// What did not pass anywhere: a test that one kernel has and another has not is a failure as well.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for row in self.rows() {
            for (kernel, column) in &self.columns {
                if matches!(column.get(row), None | Some(Cell::Failed)) {
                    failures.push(format!("{kernel}: {row}"));
                }
            }
        }
        failures
    }

    fn rows(&self) -> Vec<&str> {
        let mut rows: Vec<&str> = self.columns.values().flat_map(Column::keys).map(String::as_str).collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// With the kernels in this order.
    pub fn markdown(&self, kernels: &[&str]) -> String {
        let mut text = format!("| | {} |\n|---|{}\n", kernels.join(" | "), "---|".repeat(kernels.len()));
        for row in self.rows() {
            let cell =
                |kernel: &&str| self.columns.get(*kernel).and_then(|column| column.get(row)).unwrap_or(&Cell::Failed);
            let cells: Vec<String> = kernels.iter().map(|kernel| cell(kernel).to_string()).collect();
            text += &format!("| {} | {} |\n", row.replace('_', " "), cells.join(" | "));
        }
        text
    }
}

/// Lines of a table that another one has not: `-` before what only `wanted` has, `+` before what only `found` has. Of
/// `wanted` only the columns that `found` has are looked at.
pub fn difference(wanted: &str, found: &str) -> Vec<String> {
    let (wanted, found) = (cells(wanted), cells(found));
    let kernels: Vec<&String> = found.values().next().map(|row| row.keys().collect()).unwrap_or_default();
    let mut lines = Vec::new();
    for row in wanted.keys().chain(found.keys().filter(|row| !wanted.contains_key(*row))) {
        for kernel in &kernels {
            let cell = |table: &Rows| table.get(row).and_then(|cells| cells.get(*kernel)).cloned();
            let (before, after) = (cell(&wanted), cell(&found));
            if before != after {
                let line =
                    |mark: char, cell: Option<String>| cell.map(|cell| format!("{mark} {row}, {kernel}: {cell}"));
                lines.extend(line('-', before).into_iter().chain(line('+', after)));
            }
        }
    }
    lines
}

/// Row -> kernel -> cell.
type Rows = BTreeMap<String, BTreeMap<String, String>>;

fn cells(markdown: &str) -> Rows {
    let split =
        |line: &str| -> Vec<String> { line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect() };
    let mut lines = markdown.lines().filter(|line| line.starts_with('|'));
    let heads = lines.next().map(split).unwrap_or_default();
    let mut rows = Rows::new();
    for cells in lines.skip(1).map(split) {
        let named = heads.iter().cloned().zip(cells.iter().cloned()).skip(1);
        rows.insert(cells.first().cloned().unwrap_or_default(), named.collect());
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "running 4 tests\ntest a_works ... ok\ntest b_is_old ... ok\ntest c_fails ... FAILED\ntest d_skips ... ok\n\n\
        successes:\n\n---- b_is_old stdout ----\nkernel lacks: cookies\n\n---- d_skips stdout ----\nskipped: no\n\nsuccesses:\n    a_works\n";

    #[test]
    fn column_has_reasons_and_takes_a_skip_for_a_failure() {
        let column = column(SAID);
        let cells: Vec<String> = column.values().map(Cell::to_string).collect();
        assert_eq!(cells, ["yes", "no: cookies", "**failed**", "**failed**"]);
    }

    #[test]
    fn test_without_an_end_has_failed() {
        assert_eq!(
            column("test a ... ok\ntest b ... "),
            [("a".into(), Cell::Works), ("b".into(), Cell::Failed)].into()
        );
    }

    #[test]
    fn test_that_one_kernel_did_not_run_is_a_failure() {
        let mut table = Table::default();
        table.add("old", column("test a ... ok"));
        table.add("new", column("test a ... ok\ntest b ... ok"));
        assert_eq!(table.failures(), ["old: b"]);
    }

    #[test]
    fn difference_is_told_by_cell_for_the_kernels_that_ran() {
        let mut table = Table::default();
        table.add("old", column("test a_b ... ok"));
        table.add("new", column("test a_b ... FAILED"));
        let text = table.markdown(&["old", "new"]);
        assert_eq!(text, "| | old | new |\n|---|---|---|\n| a b | yes | **failed** |\n");
        assert_eq!(difference(&text, &text), Vec::<String>::new());
        let mut other = Table::default();
        other.add("new", column(SAID));
        let lines = difference(&text, &other.markdown(&["new"]));
        assert_eq!(lines[..2], ["- a b, new: **failed**", "+ a works, new: yes"]);
    }
}
