//! Scripts of the library that have call chains, on workloads of the test's own: what they sum up, and where.

use serde_json::{Value, json};
use skep_tests::machine::Folder;
use skep_tests::watched::{sum, watched};
use skep_tests::{Cgroup, Output, Skep, Workload, c, privileged};
use std::time::{Duration, Instant};

/// The rows of which a part of the key holds some text.
#[track_caller]
fn rows(output: &Output, part: &str, text: &str) -> Vec<Value> {
    let rows = output.table(0)["rows"].as_array().cloned().unwrap_or_default();
    rows.into_iter().filter(|row| row["key"][part].to_string().contains(text)).collect()
}

/// All of them together.
#[track_caller]
fn sum_of(output: &Output, part: &str, text: &str) -> u64 {
    sum(&json!({ "rows": rows(output, part, text) }))
}

fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos() as u64
}

#[test]
fn futexstacks_has_waits_and_nothing_else() {
    privileged!();
    let since = Instant::now();
    let output = watched("wake 1009 wait 101", &["futexstacks"]);
    assert_eq!(output.trust("counted"), 101, "{output}");
    assert!(output.trust("filtered") >= 1009, "those that wake, and those of others\n{output}");
    let waited = sum_of(&output, "comm", "skep-workload");
    // A wait is for a millisecond at least; that is told, and no more than the time there was.
    assert!((101_000_000..nanoseconds(since.elapsed())).contains(&waited), "{output}");
}

/// Two functions that ask for memory, each as often as its number says.
const ALLOCATES: &str = r#"
#include <stdlib.h>

static void *volatile kept;

static void large(void)
{
    for (int at = 0; at < 1009; at++)
        kept = malloc(4096);
}

static void small(void)
{
    for (int at = 0; at < 1013; at++)
        kept = malloc(24);
}

int main(void)
{
    large();
    small();
    return 0;
}
"#;

#[test]
fn mallocstacks_has_the_bytes_of_each_chain() {
    privileged!();
    let folder = Folder::new();
    let program = c::program(&folder.0.display().to_string(), "allocates", ALLOCATES, c::FRAMES);
    let command = program.display().to_string();
    let output = Skep::new(&["--format", "json", "run", "mallocstacks", "-c", &command]).run().ok();
    assert_eq!(output.trust("lost"), 0, "{output}");
    let bytes = ["large", "small"].map(|function| sum_of(&output, "ustack", function));
    assert_eq!(bytes, [1009 * 4096, 1013 * 24], "{output}");
}

#[test]
fn offwaketime_has_the_chain_of_who_waits_and_of_who_ends_it() {
    privileged!();
    let since = Instant::now();
    let output = watched("ring 23 11", &["offwaketime", "--top", "1000"]);
    let rung: Vec<Value> = rows(&output, "task", "sleeper");
    let rung: Vec<&Value> = rung.iter().filter(|row| row["key"]["waker"] == "bell").collect();
    let chain = |part: &str, function: &str| rung.iter().all(|row| row["key"][part].to_string().contains(function));
    assert!(!rung.is_empty() && chain("wait_kstack", "pipe_read") && chain("waker_kstack", "pipe_write"), "{output}");
    let waited: u64 = rung.iter().filter_map(|row| row["value"].as_u64()).sum();
    assert!((23 * 11_000_000..nanoseconds(since.elapsed())).contains(&waited), "{waited}\n{output}");
}

#[test]
fn cgroupprofile_has_the_time_of_a_group() {
    privileged!();
    let group = Cgroup::new();
    let run = Skep::new(&["--format", "json", "run", "cgroupprofile", "--top", "10000"]).start().attached();
    let since = Instant::now();
    Workload::stopped(&format!("join {} name burns burn 2003", group.0.display())).go();
    let there_was = since.elapsed().as_secs_f64();
    let output = run.interrupt().ok();
    let name = group.0.file_name().expect("it has one").to_string_lossy().into_owned();
    let samples = sum_of(&output, "group", &name);
    assert_eq!(samples, sum_of(&output, "name", "burns"), "{output}");
    // 198 for the time that it had, and some four times their root less where that came in small pieces. What a hypervisor
    // takes is not counted as its time, and sampled: never more often than 99 times in each second that went by.
    assert!((142.0..=99.0 * there_was + 1.0).contains(&(samples as f64)), "{samples} in {there_was} s\n{output}");
    assert_eq!(output.trust("lost"), 0, "{output}");
}
