//! Rows of figures as Markdown: medians with their range, ratios, and whether goals are met.

use super::stats::Samples;
use super::tools::Tool;
use std::fmt::Write;

/// What is known about one tool in a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Measured(Samples),
    NotInstalled,
    /// It has no such figure.
    NotMeasured,
}

/// A ratio of medians, skep's over another's; or what skep's own median may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    AtMost(f64, Tool),
    AtLeast(f64, Tool),
    Below(f64),
    Above(f64),
}

/// One figure of all tools.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub area: &'static str,
    pub what: String,
    pub unit: &'static str,
    /// The columns: skep's, then those that it is compared with.
    pub cells: Vec<(Tool, Cell)>,
    pub goals: Vec<Goal>,
}

impl Row {
    fn median(&self, tool: Tool) -> Option<f64> {
        match self.cells.iter().find(|(one, _)| *one == tool)? {
            (_, Cell::Measured(samples)) => samples.median(),
            _ => None,
        }
    }

    /// skep's median over the other's.
    fn ratio(&self, other: Tool) -> Option<f64> {
        Some(self.median(Tool::Skep)? / self.median(other)?).filter(|ratio| ratio.is_finite())
    }

    fn tools(&self) -> Vec<Tool> {
        self.cells.iter().map(|(tool, _)| *tool).collect()
    }

    fn outcome(&self, goal: Goal) -> String {
        let (is_met, wanted) = match goal {
            Goal::AtMost(limit, other) => {
                let wanted = format!("at most {}x {}", Short(limit), other.name());
                (self.ratio(other).map(|ratio| ratio <= limit), wanted)
            }
            Goal::AtLeast(limit, other) => {
                let wanted = format!("at least {}x {}", Short(limit), other.name());
                (self.ratio(other).map(|ratio| ratio >= limit), wanted)
            }
            Goal::Below(limit) => {
                let wanted = format!("below {} {}", Short(limit), self.unit);
                (self.median(Tool::Skep).map(|median| median < limit), wanted)
            }
            Goal::Above(limit) => {
                let wanted = format!("above {} {}", Short(limit), self.unit);
                (self.median(Tool::Skep).map(|median| median > limit), wanted)
            }
        };
        let outcome = match is_met {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "not measured",
        };
        format!("{wanted}: {outcome}")
    }
}

/// A table for each set of columns.
pub fn markdown(rows: &[Row]) -> String {
    let tables = rows.chunk_by(|one, next| one.tools() == next.tools()).map(table);
    tables.collect::<Vec<_>>().join("\n")
}

/// Rows of the same columns.
fn table(rows: &[Row]) -> String {
    let tools = rows.first().map(Row::tools).unwrap_or_default();
    let others: Vec<Tool> = tools.iter().copied().filter(|tool| *tool != Tool::Skep).collect();
    let line = |words: &[String]| format!("| {} |\n", words.join(" | "));
    let mut head = vec!["area".to_owned(), "measured".to_owned()];
    head.extend(tools.iter().map(|tool| tool.name().to_owned()));
    head.extend(others.iter().map(|other| format!("skep / {}", other.name())));
    head.push("goals".to_owned());
    let mut text = line(&head) + "|" + &"---|".repeat(head.len()) + "\n";
    for row in rows {
        let mut words = vec![row.area.to_owned(), format!("{}, {}", row.what, row.unit)];
        words.extend(row.cells.iter().map(|(_, one)| cell(one)));
        words.extend(others.iter().map(|other| match row.ratio(*other) {
            Some(ratio) => format!("{}x", Short(ratio)),
            None => "-".to_owned(),
        }));
        let goals: Vec<String> = row.goals.iter().map(|goal| row.outcome(*goal)).collect();
        words.push(goals.join("; "));
        text += &line(&words);
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
        Cell::NotMeasured => "-".to_owned(),
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
        let cells = vec![(Tool::Skep, skep), (Tool::Bpftrace, bpftrace), (Tool::C, Cell::NotInstalled)];
        Row { area: "a", what: "w".into(), unit: "ns", cells, goals }
    }

    #[test]
    fn goal_is_met_at_its_limit_and_missed_beyond() {
        let other = Cell::Measured([100.0].into_iter().collect());
        let goal = Goal::AtMost(1.25, Tool::Bpftrace);
        assert_eq!(row(125.0, other.clone(), vec![]).outcome(goal), "at most 1.25x bpftrace: met");
        assert_eq!(row(126.0, other, vec![]).outcome(goal), "at most 1.25x bpftrace: **missed**");
    }

    #[test]
    fn goal_of_its_own_needs_no_comparator() {
        let row = row(25.0, Cell::NotInstalled, vec![]);
        assert_eq!(row.outcome(Goal::Below(25.0)), "below 25.0 ns: **missed**");
        assert_eq!(row.outcome(Goal::Below(26.0)), "below 26.0 ns: met");
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
