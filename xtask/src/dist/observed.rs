//! The list of the functions that runs call, made by skep: one uprobe on each function of a skep that is not stripped.

use super::order::stem;
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;
use std::process::Command;

/// What is run, the most usual first: what it calls comes first.
const RUNS: [&str; 5] = [
    "-q -e 'probe(\"tracepoint:syscalls:sys_enter_getpgid\").by(pid).count()' --for 300ms",
    "-q -e 'probe(\"tracepoint:syscalls:sys_exit_read\").by(comm).hist(args.ret)' --for 300ms",
    "-q -e 'probe(\"tracepoint:sched:sched_switch\").printf(\"%d %s\\n\", pid, comm)' --max-events 23 --for 300ms",
    "run syscount --for 300ms",
    "flame -c true",
];

/// Functions in the order that they are to lie in, by their stems.
///
/// # Errors
/// It does not run: it takes root.
pub fn functions(skep: &Path) -> Result<Vec<String>, String> {
    let (mut functions, mut known) = (Vec::new(), HashSet::new());
    for run in RUNS {
        for symbol in called(skep, run)? {
            let stem = stem(&symbol);
            if known.insert(stem.clone()) {
                functions.push(stem);
            }
        }
    }
    Ok(functions)
}

/// Symbols of functions that a run calls, those that it calls most often first.
fn called(skep: &Path, run: &str) -> Result<Vec<String>, String> {
    let prefix = format!("uprobe:{}:", skep.display());
    let script = format!("probe(\"{prefix}*\").by(probe).entries(65536).count()");
    let mut command = Command::new(skep);
    command.args(["--yes", "--max-probes", "60000", "--format", "json", "-e", &script]);
    command.arg("-c").arg(format!("{} {run}", skep.display()));
    // Where graphs are written to.
    command.current_dir(skep.parent().unwrap_or(Path::new(".")));
    let output = command.output().map_err(|error| format!("failed to run {}: {error}", skep.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let tables = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let rows = tables.filter_map(|one| one["rows"].as_array().cloned()).flatten();
    let symbol = |row: Value| row["key"]["probe"].as_str()?.strip_prefix(&prefix).map(str::to_owned);
    let symbols: Vec<String> = rows.filter_map(symbol).collect();
    eprintln!("{} functions: skep {run}", symbols.len());
    if symbols.is_empty() {
        return Err(format!("skep {run}: no function was seen\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(symbols)
}
