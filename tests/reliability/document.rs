//! docs/reliability.md: every row of its table names tests that there are.

use skep_tests::machine::here;
use std::fs;
use std::path::Path;

/// Sources of a test of this crate, which is a file or a folder; of the runtime's own tests.
fn sources(test: &str) -> String {
    if test == "runtime" {
        let tests = ["script/run/tests.rs", "interactive/tests.rs", "policy/life.rs"];
        return tests.map(|file| fs::read_to_string(here("../runtime/src").join(file)).unwrap_or_default()).concat();
    }
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let folder = fs::read_dir(here(test)).into_iter().flatten().flatten().map(|entry| read(&entry.path()));
    folder.collect::<String>() + &read(&here(&format!("{test}.rs")))
}

/// Tests that a row names: `` `reliability::kill_leaves_nothing` ``.
fn named(row: &str) -> Vec<(&str, &str)> {
    row.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::")).collect()
}

#[test]
fn every_fault_of_the_document_is_proved_by_tests_that_there_are() {
    let text = fs::read_to_string(here("../docs/reliability.md")).expect("the document is there");
    let faults = text.split("\n## ").find(|part| part.starts_with("Faults\n")).expect("it has faults");
    let rows = faults.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| fault "));
    let rows: Vec<&str> = rows.collect();
    assert!(rows.len() >= 17, "{} rows", rows.len());
    for row in rows {
        let tests = named(row.rsplit(" | ").next().expect("split gives one part"));
        assert!(!tests.is_empty(), "no test is named: {row}");
        for (file, test) in tests {
            assert!(sources(file).contains(&format!("fn {test}() {{")), "there is no `{file}::{test}`: {row}");
        }
    }
}

#[test]
fn every_test_of_faults_is_in_the_document() {
    let text = fs::read_to_string(here("../docs/reliability.md")).expect("the document is there");
    for file in ["process", "machine", "target"] {
        let source = fs::read_to_string(here(&format!("reliability/{file}.rs"))).expect("it is there");
        let tests = source.split("#[test]\nfn ").skip(1).filter_map(|rest| rest.split_once('('));
        for (test, _) in tests {
            assert!(text.contains(&format!("`reliability::{test}`")), "docs/reliability.md lacks `{test}`");
        }
    }
}
