//! What a policy costs each packet, by BPF_PROG_TEST_RUN, beside an empty program, look-ups that are written by hand,
//! xdp-filter and nftables.
//! The measuring is done by an example of the runtime, which can load programs; here it is built, run and read.

use super::programs::Programs;
use super::stats::Samples;
use super::table::{Cell, Goal, Row};
use super::tools::Tool;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// As its own column: what the measuring itself takes is in all of them.
const TOOLS: [Tool; 5] = [Tool::Skep, Tool::C, Tool::Empty, Tool::XdpFilter, Tool::Nftables];

/// Builds the example for release.
///
/// # Errors
/// It does not build.
pub fn build(root: &Path, target: &Path) -> Result<PathBuf, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut build = Command::new(cargo);
    build.current_dir(root).args(["build", "--release", "-p", "skep-runtime", "--example", "policy_cost"]);
    match build.status() {
        Ok(status) if status.success() => Ok(target.join("release/examples/policy_cost")),
        Ok(status) => Err(format!("cargo build: {status}")),
        Err(error) => Err(format!("cargo build: {error}")),
    }
}

/// Rows for each number of rules and family, and for loading them.
///
/// # Errors
/// The example ends without a result.
pub fn measure(programs: &Programs, example: &Path, repetitions: u32) -> Result<Vec<Row>, String> {
    let object = programs.built("policy.bpf.o");
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount"]).arg(example).arg(&object).arg(repetitions.to_string());
    let output = command.output().map_err(|error| format!("unshare: {error}"))?;
    if !output.status.success() {
        return Err(format!("{}: {}", example.display(), String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(rows(&String::from_utf8_lossy(&output.stdout)))
}

/// Lines of `kind`, case, tool and nanoseconds, between tabulators.
fn rows(text: &str) -> Vec<Row> {
    let mut order = Vec::new();
    let mut samples: BTreeMap<(String, String), BTreeMap<Tool, Samples>> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split('\t').collect();
        let [kind, case, tool, figure] = words[..] else { continue };
        let tool = TOOLS.into_iter().find(|one| one.name() == tool);
        let (Some(tool), Ok(figure)) = (tool, figure.parse::<f64>()) else { continue };
        let key = (kind.to_owned(), case.to_owned());
        if !samples.contains_key(&key) {
            order.push(key.clone());
        }
        samples.entry(key).or_default().entry(tool).or_default().push(figure);
    }
    let row = |key: (String, String)| {
        let by_tool = samples.remove(&key)?;
        let (kind, case) = &key;
        let is_load = kind == "load";
        let scale = |samples: &Samples| if is_load { samples.scaled(1e-6) } else { samples.clone() };
        let of = |tool| by_tool.get(&tool).map_or(Cell::NotMeasured, |samples| Cell::Measured(scale(samples)));
        let goals = match (kind.as_str(), case.as_str()) {
            ("load", case) if case.starts_with("100000 ") => vec![Goal::Below(1_000.0)],
            ("random", case) if case.starts_with("100000 CIDRs") => vec![Goal::AtMost(0.25, Tool::C)],
            ("random", case) if case.contains("CIDRs") => vec![Goal::AtMost(1.3, Tool::C)],
            ("denied" | "passed", _) if by_tool.contains_key(&Tool::XdpFilter) => {
                vec![Goal::AtMost(if kind == "denied" { 0.75 } else { 1.0 }, Tool::XdpFilter)]
            }
            ("live", _) => vec![Goal::AtMost(1.0, Tool::Nftables)],
            _ => Vec::new(),
        };
        let what = match kind.as_str() {
            "load" => format!("{case}: from rules to attached"),
            "random" => format!("{case}: random sources, half of them denied"),
            "live" => format!("{case}: random sources, all denied, live frames"),
            _ => format!("{case}: one source, {kind}"),
        };
        let cells = TOOLS.map(|tool| (tool, of(tool))).to_vec();
        Some(Row { area: "policy", what, unit: if is_load { "ms" } else { "ns a packet" }, cells, goals })
    };
    order.into_iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_in_the_order_of_their_lines() {
        let text = "load\t1 CIDRs, IPv4\tskep\t2000000\nrandom\t1 CIDRs, IPv4\tC\t50\nrandom\t1 CIDRs, IPv4\tskep\t60\nno line";
        let rows = rows(text);
        assert_eq!(rows.iter().map(|row| row.unit).collect::<Vec<_>>(), ["ms", "ns a packet"]);
        assert_eq!(rows[1].goals, [Goal::AtMost(1.3, Tool::C)]);
        assert_eq!(rows[1].cells[1].1, Cell::Measured([50.0].into_iter().collect()));
    }
}
