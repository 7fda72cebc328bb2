//! Faults of what is watched: it becomes another program, it ends, it is killed while a probe is in it.

use crate::scene::script;
use skep_tests::left::{Held, assert_breakpoints};
use skep_tests::{Skep, Workload, privileged, workload};
use std::time::{Duration, Instant};

#[test]
fn process_that_becomes_another_program_is_watched_on() {
    privileged!();
    // `become` is execve: all of its text is mapped anew.
    let workload = Workload::stopped("double 7 become double 23 getpgid 101 stop");
    let text = r#"
        probe("uprobe:BIN:workload_double").count();
        probe("tracepoint:syscalls:sys_enter_getpgid").count();
    "#;
    let run = Skep::script(&script(text)).arguments(&["--pid", &workload.pid()]).start().attached();
    let held = Held::of(run.pid());
    let pid = workload.pid().parse().expect("it is a number");
    workload.go_on();
    assert_breakpoints(pid, &workload::path(), 1);
    let output = run.interrupt().ok();
    let count = |n: usize| output.table(n)["rows"][0]["value"].clone();
    assert_eq!([count(0), count(1)], [30, 101].map(serde_json::Value::from), "{output}");
    held.assert_gone();
    assert_breakpoints(pid, &workload::path(), 0);
}

#[test]
fn process_that_ends_ends_the_run_with_its_results() {
    privileged!();
    let workload = Workload::stopped("double 23");
    let text = script(r#"probe("uprobe:BIN:workload_double").count();"#);
    let run = Skep::script(&text).arguments(&["--pid", &workload.pid()]).start().attached();
    let held = Held::of(run.pid());
    let since = Instant::now();
    workload.go();
    let output = run.end().ok();
    assert_eq!(output.value(), 23, "{output}");
    assert!(since.elapsed() < Duration::from_secs(50) && output.err.contains("the process has ended"), "{output}");
    held.assert_gone();
}

#[test]
fn process_that_is_killed_ends_the_run_with_its_results() {
    privileged!();
    let workload = Workload::stopped("double 23 stop");
    let text =
        script(r#"probe("uprobe:BIN:workload_double").count(); probe("uretprobe:BIN:workload_double").count();"#);
    let run = Skep::script(&text).arguments(&["--pid", &workload.pid()]).start().attached();
    let held = Held::of(run.pid());
    workload.go_on();
    drop(workload);
    let output = run.end().ok();
    assert_eq!(output.value(), 23, "{output}");
    assert!(output.err.contains("the process has ended"), "{output}");
    held.assert_gone();
}

#[test]
fn file_of_the_program_that_is_removed_is_watched_on() {
    privileged!();
    let folder = skep_tests::machine::Folder::new();
    let copy = folder.0.join("skep-workload").display().to_string();
    std::fs::copy(workload::path(), &copy).expect("the workload can be copied");
    let workload = Workload::stopped_at(&copy, "double 7 stop double 23 stop");
    let text = format!(r#"probe("uprobe:{copy}:workload_double").count();"#);
    let run = Skep::script(&text).arguments(&["--pid", &workload.pid()]).start().attached();
    let held = Held::of(run.pid());
    workload.go_on();
    std::fs::remove_file(&copy).expect("it is there");
    workload.go_on();
    let output = run.interrupt().ok();
    assert_eq!(output.value(), 30, "{output}");
    held.assert_gone();
}
