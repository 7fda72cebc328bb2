//! The expression compiler: how many instructions a slot has, beside what clang -O2 makes of the same expression. The same
//! on every machine.

use super::programs::Programs;
use super::table::{Cell, Row};
use super::tools::Tool;
use crate::sizes;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// An expression, where it stands in a chain, and the function of tests/bench/expressions.bpf.c.
const EXPRESSIONS: [(&str, &str, &str); 6] = [
    ("pid == 7", "filter(pid == 7).count()", "one_process"),
    ("args.ret > 0 and args.ret < 4096", "filter(args.ret > 0 and args.ret < 4096).count()", "range"),
    ("comm == \"bash\"", "filter(comm == \"bash\").count()", "name"),
    (
        "args.ret > 100 and (uid == 0 or args.ret % 16 == 3)",
        "filter(args.ret > 100 and (uid == 0 or args.ret % 16 == 3)).count()",
        "several",
    ),
    ("args.ret * 3 / 7 + 1", "sum(args.ret * 3 / 7 + 1)", "arithmetic"),
    ("pid, comm", "by(pid, comm).count()", "columns"),
];

/// A row an expression.
///
/// # Errors
/// skep plans one of them otherwise than it did.
pub fn measure(programs: &Programs) -> Result<Vec<Row>, String> {
    let object = programs.built("expressions.bpf.o");
    let functions = match std::fs::read(&object) {
        Ok(bytes) if programs.has_c => sizes::functions(&object, &bytes)?,
        _ => BTreeMap::new(),
    };
    let row = |(what, chain, function): &(&str, &str, &str)| {
        let c = functions.get(&format!(".text {function}")).map_or(Cell::NotInstalled, |n| cell(*n));
        let cells = vec![(Tool::Skep, cell(instructions(&programs.skep, chain)?)), (Tool::C, c)];
        Ok(Row { area: "compiler", what: format!("`{what}`"), unit: "instructions", cells, goals: Vec::new() })
    };
    EXPRESSIONS.iter().map(row).collect()
}

fn cell(instructions: u64) -> Cell {
    Cell::Measured([instructions as f64].into_iter().collect())
}

/// Of the only slot of a chain.
fn instructions(skep: &Path, chain: &str) -> Result<u64, String> {
    let script = format!("probe(\"tracepoint:syscalls:sys_exit_read\").{chain}");
    let plan = Command::new(skep).args(["plan", "--code", "-e", &script]).output();
    let plan = plan.map_err(|error| format!("{}: {error}", skep.display()))?;
    let text = String::from_utf8_lossy(&plan.stdout);
    let slots: Vec<&str> = text.lines().filter(|line| line.trim_start().starts_with("code ")).collect();
    match slots[..] {
        // `code    filter, 7 instructions`
        [slot] => slot.split_whitespace().nth(2).and_then(|number| number.parse().ok()),
        _ => None,
    }
    .ok_or_else(|| format!("no single slot in the plan of `{chain}`: {text}"))
}
