//! Scripts of the library, as a user runs them, on a workload of known size.

use crate::{Output, Skep, Workload};
use serde_json::Value;

/// A script while the workload does its work, which it waits with until the script is attached. Nothing is lost.
#[track_caller]
pub fn watched(verbs: &str, words: &[&str]) -> Output {
    let workload = Workload::stopped(verbs);
    let pid = workload.pid();
    let run = Skep::new(&["--format", "json", "run"]).arguments(words).arguments(&["--pid", &pid]).start().attached();
    workload.go();
    let output = run.interrupt().ok();
    assert_eq!(output.trust("lost"), 0, "{output}");
    output
}

/// All values of a table together.
pub fn sum(table: &Value) -> u64 {
    table["rows"].as_array().into_iter().flatten().filter_map(|row| row["value"].as_u64()).sum()
}
