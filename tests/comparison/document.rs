//! docs/comparison.md: the tables as a document.

use super::answer::Ours;
use super::case::{Case, Place, Wanted};
use skep_tests::Output;
use skep_tests::machine::here;
use std::collections::BTreeSet;

const HEAD: &str = "\
# Compared with the tools of bpftrace and BCC

<!-- Generated from tests/comparison/: SKEP_BLESS=1 cargo test -p skep-tests --test comparison document -->

Scripts of the library run beside the tools that they are named after: all attach, one workload runs once, all end, and
what they counted is compared. The others are those of Debian 12, bpftrace 0.17 and libbpf-tools 0.26. A row is a test:
`cargo test -p skep-tests --test comparison`, as root, with both packages installed.

The workload is a line for `skep-workload` (tests/src/bin/workload.rs); PID is its process, BIN its program, FOLDER a folder
and DISK a disk of the test's own. `counted` is what both of them counted:

- a number: each of them exactly so many;
- *equal*: the same number, which is not planned to the last one, since the machine has other work to do;
- *± percent*: at least so many, and the two numbers are no further apart. *Machine* stands where both see everything that
  the machine does, and not quite for the same time, or take samples;
- *histograms*: the samples of both lie in the same powers of two, on average no further apart than one of them. Each tool
  takes the time at its own moment, the bucket of a single sample may differ.

";

/// Fails if the document is not what the tables say; SKEP_BLESS=1 writes it.
pub fn is_written_of(tables: &[&[Case]]) {
    let mut rows = BTreeSet::new();
    for case in tables.concat() {
        rows.extend(case.theirs.iter().map(|theirs| {
            let (tool, wanted) = (theirs.tool, counted(&case));
            let (name, package, line) = (tool.name(), tool.package(), tool.line());
            let (ours, workload, note) = (case.ours, case.workload, theirs.note);
            format!("| {name} | {package} | `{line}` | `{ours}` | `{workload}` | {wanted} | {note} |\n")
        }));
    }
    let tools: BTreeSet<&str> = rows.iter().filter_map(|row| row.split(' ').nth(1)).collect();
    let mut text = format!("{HEAD}{} tools, {} comparisons:\n\n", tools.len(), rows.len());
    text += "| tool | of | called | here | workload | counted | |\n|---|---|---|---|---|---|---|\n";
    text.extend(rows.iter().map(String::as_str));
    assert!(tools.len() >= 30, "{tools:?}");
    let path = here("../docs/comparison.md");
    if std::env::var_os("SKEP_BLESS").is_some_and(|value| value == "1") {
        return std::fs::write(path, text).expect("the document can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, text, "docs/comparison.md is not what the tables say (SKEP_BLESS=1 writes it)");
}

fn counted(case: &Case) -> String {
    // What it reads of nothing says what it reads.
    let (nothing, place) =
        (Output { line: String::new(), status: None, out: String::new(), err: String::new() }, Place::default());
    let read = (case.reads)(&Ours { output: nothing, place: &place });
    let histogram = if read.mean_power().is_some() { ", histograms" } else { "" };
    let number = match case.wanted {
        Wanted::Exactly(number) => grouped(number),
        Wanted::Same(number) => format!("equal, from {} on", grouped(number)),
        Wanted::Near(number, percent) => format!("{} ± {percent} %", grouped(number)),
        Wanted::Whole(number, percent) => format!("machine, {} ± {percent} %", grouped(number)),
    };
    number + histogram
}

/// `100,003`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let parts: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).unwrap_or_default()).collect();
    parts.join(",")
}
