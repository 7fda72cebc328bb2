//! Rows of figures as Markdown: medians with their range, ratios, and whether goals are met.

use super::programs::Tool;
use super::stats::Samples;
use std::fmt::Write;

/// What is known about one tool in a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Measured(Samples),
    NotInstalled,
}

/// A ratio of medians, skep's over another's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    AtMost(f64, Tool),
    AtLeast(f64, Tool),
}

/// One figure of all tools.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub area: &'static str,
    pub what: String,
    pub unit: &'static str,
    /// In the order of [`Tool::ALL`].
    pub cells: [Cell; 3],
    pub goals: Vec<Goal>,
}

impl Row {
    fn median(&self, tool: Tool) -> Option<f64> {
        match &self.cells[tool as usize] {
            Cell::Measured(samples) => samples.median(),
            _ => None,
        }
    }

    /// skep's median over the other's.
    fn ratio(&self, other: Tool) -> Option<f64> {
        Some(self.median(Tool::Skep)? / self.median(other)?).filter(|ratio| ratio.is_finite())
    }

    fn outcome(&self, goal: Goal) -> String {
        let (other, wanted, limit, is_met): (_, _, _, fn(f64, f64) -> bool) = match goal {
            Goal::AtMost(limit, other) => (other, "at most", limit, |ratio, limit| ratio <= limit),
            Goal::AtLeast(limit, other) => (other, "at least", limit, |ratio, limit| ratio >= limit),
        };
        let outcome = match self.ratio(other) {
            Some(ratio) if is_met(ratio, limit) => "met",
            Some(_) => "**missed**",
            None => "not measured",
        };
        format!("{wanted} {}x {}: {outcome}", Short(limit), other.name())
    }
}

/// The table.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = "| area | measured | skep | bpftrace | C | skep / bpftrace | skep / C | goals |\n".to_owned();
    text += "|---|---|---|---|---|---|---|---|\n";
    for row in rows {
        let [skep, bpftrace, c] = row.cells.each_ref().map(cell);
        let [to_bpftrace, to_c] = [Tool::Bpftrace, Tool::C].map(|other| match row.ratio(other) {
            Some(ratio) => format!("{}x", Short(ratio)),
            None => "-".to_owned(),
        });
        let goals: Vec<String> = row.goals.iter().map(|goal| row.outcome(*goal)).collect();
        let (area, what, unit, goals) = (row.area, &row.what, row.unit, goals.join("; "));
        // Writing to a String does not fail.
        let _ok = writeln!(
            text,
            "| {area} | {what}, {unit} | {skep} | {bpftrace} | {c} | {to_bpftrace} | {to_c} | {goals} |"
        );
    }
    text
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Measured(samples) => match (samples.median(), samples.range()) {
            (Some(median), Some((min, max))) => {
                let failed =
                    if samples.failures > 0 { format!(", {} failed", samples.failures) } else { String::new() };
                format!("{} ({}-{}){failed}", Short(median), Short(min), Short(max))
            }
            _ => "failed".to_owned(),
        },
        Cell::NotInstalled => "not installed".to_owned(),
    }
}

/// Three digits that matter: 0.0532, 1.25, 38.1, 1,254.
struct Short(f64);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = match self.0.abs() {
            0.0..0.1 => 3,
            0.1..10.0 => 2,
            10.0..100.0 => 1,
            _ => 0,
        };
        let text = format!("{:.digits$}", self.0);
        let (whole, fraction) = text.split_once('.').map_or((text.as_str(), ""), |(whole, fraction)| (whole, fraction));
        let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
        f.write_str(sign)?;
        for (n, digit) in whole.chars().enumerate() {
            if n > 0 && (whole.len() - n) % 3 == 0 {
                f.write_char(',')?;
            }
            f.write_char(digit)?;
        }
        if fraction.is_empty() { Ok(()) } else { write!(f, ".{fraction}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(skep: f64, bpftrace: Cell, goals: Vec<Goal>) -> Row {
        let skep = Cell::Measured([skep].into_iter().collect());
        Row { area: "a", what: "w".into(), unit: "ns", cells: [skep, bpftrace, Cell::NotInstalled], goals }
    }

    #[test]
    fn goal_is_met_at_its_limit_and_missed_beyond() {
        let other = Cell::Measured([100.0].into_iter().collect());
        let goal = Goal::AtMost(1.25, Tool::Bpftrace);
        assert_eq!(row(125.0, other.clone(), vec![]).outcome(goal), "at most 1.25x bpftrace: met");
        assert_eq!(row(126.0, other, vec![]).outcome(goal), "at most 1.25x bpftrace: **missed**");
    }

    #[test]
    fn goal_without_comparator_is_not_measured() {
        let row = row(1.0, Cell::NotInstalled, vec![Goal::AtLeast(5.0, Tool::Bpftrace)]);
        let text = markdown(&[row]);
        assert!(text.ends_with(
            "| a | w, ns | 1.00 (1.00-1.00) | not installed | not installed | - | - | at least 5.00x bpftrace: not measured |\n"
        ));
    }

    #[test]
    fn figures_keep_three_digits() {
        let shown = [0.0532, 1.254, 38.14, 1254.4, 1_400_000.0, -12_345.0].map(|figure| Short(figure).to_string());
        assert_eq!(shown, ["0.053", "1.25", "38.1", "1,254", "1,400,000", "-12,345"]);
    }
}
