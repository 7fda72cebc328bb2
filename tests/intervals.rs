//! Intervals: `--interval`, `--count` and `--top` of any script, live and replayed.

use serde_json::Value;
use skep_tests::{Output, Skep, privileged, workload};
use std::path::Path;

const CALLS: &str = r#"probe("tracepoint:syscalls:sys_enter_getpgid").by(comm).count().named("calls");"#;

/// The values of the tables of intervals: of each its rows.
fn values(output: &Output) -> Vec<Vec<u64>> {
    let rows = |table: &Value| {
        assert!(table["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{output}");
        table["rows"].as_array().into_iter().flatten().filter_map(|row| row["value"].as_u64()).collect()
    };
    output.objects("table").iter().map(rows).collect()
}

fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("intervals");
    std::fs::create_dir_all(&folder).expect("the target folder is ours");
    folder.join(name).display().to_string()
}

#[test]
fn each_interval_begins_anew_and_the_rest_is_shown() {
    privileged!();
    let verbs = "getpgid 23 sleep 1500 getpgid 101 sleep 1000 getpgid 7";
    let output = Skep::on(verbs, CALLS).arguments(&["--interval", "1s"]).run().ok();
    let found: Vec<Vec<u64>> = values(&output).into_iter().filter(|rows| !rows.is_empty()).collect();
    assert_eq!(found, [[23], [101], [7]], "{output}");
    assert_eq!(output.trust("counted"), 131, "{output}");
}

#[test]
fn run_ends_after_so_many_intervals() {
    privileged!();
    let output = Skep::script(CALLS).arguments(&["--interval", "200ms", "--count", "3"]).run().ok();
    assert_eq!(values(&output).len(), 3, "{output}");
    assert!(output.err.contains("; for 3 intervals of 200ms"), "{output}");
}

#[test]
fn time_of_whole_intervals_ends_with_the_last_of_them() {
    privileged!();
    let output = Skep::script(CALLS).arguments(&["--interval", "500ms", "--for", "2s"]).run().ok();
    assert_eq!(values(&output).len(), 4, "{output}");
}

#[test]
fn value_of_a_run_is_of_all_its_intervals() {
    privileged!();
    let script = r#"
        let calls = probe("tracepoint:syscalls:sys_enter_getpgid").by(comm).count().run("5s");
        print(calls.total());
    "#;
    let output = Skep::on("getpgid 23 sleep 700 getpgid 101", script).arguments(&["--interval", "500ms"]).run().ok();
    assert_eq!(output.texts(), ["124"], "{output}");
}

#[test]
fn text_has_the_time_of_day_before_each() {
    privileged!();
    let line = workload::line("getpgid 23 sleep 300");
    let output = Skep::new(&["-c", &line, "--interval", "200ms", "--count", "1", "-e", CALLS]).run().ok();
    let lines: Vec<&str> = output.out.lines().collect();
    assert_eq!(lines[0].split(':').count(), 3, "{output}");
    assert_eq!(lines[1..], ["calls:", "comm           count", "skep-workload     23"], "{output}");
}

#[test]
fn recording_has_its_own_intervals_and_no_others() {
    privileged!();
    let (file, line) = (file("calls.skep"), workload::line("getpgid 23 sleep 1500 getpgid 101"));
    let words = ["record", "-o", &file, "-c", &line, "--format", "json", "-e", CALLS, "--interval", "1s"];
    let live = Skep::new(&words).run().ok();
    let replay = |words: &[&str]| Skep::new(&["replay", &file, "--format", "json"]).arguments(words).as_nobody().run();
    let replayed = replay(&[]).ok();
    assert_eq!(live.out, replayed.out, "{live}\n{replayed}");
    assert_eq!(replay(&["--top", "1"]).ok().out, live.out);
    let other = replay(&["-e", &CALLS.replace("\"calls\"", "\"others\"")]).ok();
    assert_eq!(other.out, live.out.replace("\"calls\"", "\"others\""), "{other}");
    let refused = replay(&["--interval", "2s"]).status_is(1);
    assert!(refused.err.contains("error: the recording has intervals of 1.00s"), "{refused}");
}

#[test]
fn top_cuts_what_is_printed_and_not_what_the_script_sees() {
    privileged!();
    let script = r#"
        let calls = probe("tracepoint:syscalls:sys_enter_getpgid").by(comm).count().top(2);
        at_end(|| { calls.show(); print(calls.value().len()); });
    "#;
    let verbs = "getpgid 23 name b getpgid 7 name c getpgid 3";
    let output = Skep::on(verbs, script).arguments(&["--top", "1"]).run().ok();
    assert_eq!(output.rows(), [("skep-workload".to_owned(), 23.into())], "{output}");
    assert_eq!(output.texts(), ["2"], "{output}");
    assert_eq!(Skep::on(verbs, script).arguments(&["--top", "3"]).run().ok().rows().len(), 3);
}

#[test]
fn parameter_of_the_script_comes_first() {
    let script = r#"print(`${param("count", false)} ${param("top", 10)} ${param("interval", "1s")}`);"#;
    let output = Skep::script(script).arguments(&["--count", "--top", "3", "--interval", "soon"]).run().ok();
    assert_eq!(output.texts(), ["true 3 soon"], "{output}");
}

#[test]
fn count_without_an_interval_says_what_is_missing() {
    let output = Skep::new(&["run", "syscount", "--count", "5"]).run().status_is(1);
    assert!(output.err.contains("`--count` counts intervals"), "{output}");
    assert!(output.err.contains("help: --interval 1s --count 5"), "{output}");
}
