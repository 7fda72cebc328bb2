//! Functions of programs and libraries, in user space: exact counts, arguments, return values, names.

use serde_json::json;
use skep_tests::{Skep, Workload, privileged, workload};

/// A script with BIN for the workload's file.
fn script(text: &str) -> String {
    text.replace("BIN", &workload::path())
}

#[test]
fn calls_and_their_arguments_are_exact() {
    privileged!();
    let text = script(
        r#"
        probe("uprobe:BIN:workload_double").count();
        probe("uprobe:BIN:workload_double").sum(arg0);
        probe("uprobe:BIN:workload_double").by(arg1).max(arg0);
        probe("uprobe:BIN:workload_double").filter(arg0 > 1000).count();
    "#,
    );
    let output = Skep::on("double 1009", &text).run().ok();
    let value = |n: usize| output.table(n)["rows"][0]["value"].clone();
    assert_eq!([0, 1, 3].map(value), [1009, 1009 * 1010 / 2, 9].map(|value| json!(value)));
    assert_eq!(output.table(2)["rows"], json!([{ "key": { "arg1": 7 }, "value": 1009 }]));
}

#[test]
fn return_values_are_exact_and_signed() {
    privileged!();
    let text = script(
        r#"
        probe("uretprobe:BIN:workload_double").sum(retval);
        probe("uretprobe:BIN:workload_negate").min(retval);
        probe("ur:BIN:workload_negate").filter(retval < -20).count();
    "#,
    );
    let output = Skep::on("double 101 negate 23", &text).run().ok();
    let value = |n: usize| output.table(n)["rows"][0]["value"].clone();
    assert_eq!([0, 1, 2].map(value), [101 * 102, -23, 3].map(|value| json!(value)));
}

#[test]
fn text_arguments_are_read_from_the_process() {
    privileged!();
    let text = script(r#"probe("uprobe:BIN:workload_greet").by(str(arg0)).count()"#);
    let output = Skep::on("greet 23 hello greet 101 world", &text).run().ok();
    assert_eq!(output.rows(), [("world".to_owned(), json!(101)), ("hello".to_owned(), json!(23))]);
}

#[test]
fn address_is_shown_as_a_symbol_of_its_process() {
    privileged!();
    let text = script(r#"probe("uprobe:BIN:workload_call").by(usym(arg0)).count()"#);
    let output = Skep::on("call 101", &text).run().ok();
    assert_eq!(output.rows(), [("workload_negate".to_owned(), json!(101))]);
    let text = script(
        r#"
        probe("uprobe:BIN:workload_call")
            .fields(#{ start: usym(arg0), inside: usym(arg0 + 1), none: usym(arg1) })
            .each(|e| print(`${e.start} ${e.inside} ${e.none}`));
    "#,
    );
    let output = Skep::on("call 1", &text).run().ok();
    assert!(output.out.contains("workload_negate workload_negate+0x1 0x1"), "{output}");
}

#[test]
fn symbols_of_processes_that_ended_are_known() {
    privileged!();
    let text = script(r#"probe("uprobe:BIN:workload_call").by(usym(arg0), usym(arg1)).count()"#);
    // Each child is gone long before the table is printed.
    let output = Skep::on("fork 3 call 23", &text).run().ok();
    let rows = output.table(0)["rows"].as_array().map_or(0, Vec::len);
    assert!(rows > 0 && output.out.matches("workload_negate").count() == rows, "{output}");
}

#[test]
fn glob_is_many_functions_with_their_names() {
    privileged!();
    let text = script(r#"probe("uprobe:BIN:workload_*").by(probe).count()"#);
    let output = Skep::on("double 1009 negate 101 greet 23 hello", &text).run().ok();
    let name = |function: &str| format!("uprobe:{}:workload_{function}", workload::path());
    let rows =
        [("double", 1009), ("negate", 101), ("greet", 23)].map(|(function, count)| (name(function), json!(count)));
    assert_eq!(output.rows(), rows);
}

#[test]
fn chains_do_not_mix_up_each_others_names() {
    privileged!();
    let text = script(
        r#"
        probe("uprobe:BIN:workload_*").by(probe).count();
        probe(["uretprobe:BIN:workload_negate", "uretprobe:BIN:workload_double"]).by(probe).count();
    "#,
    );
    let output = Skep::on("double 101 negate 23", &text).run().ok();
    let row = |provider: &str, function: &str, count: u64| json!({ "key": { "probe": format!("{provider}:{}:workload_{function}", workload::path()) }, "value": count });
    assert_eq!(output.table(0)["rows"], json!([row("uprobe", "double", 101), row("uprobe", "negate", 23)]));
    assert_eq!(output.table(1)["rows"], json!([row("uretprobe", "double", 101), row("uretprobe", "negate", 23)]));
}

#[test]
fn attach_points_of_two_kinds_have_their_names() {
    privileged!();
    let text = script(r#"probe(["uprobe:BIN:workload_double", "t:syscalls:sys_enter_getpgid"]).by(probe).count()"#);
    let output = Skep::on("double 101 getpgid 23", &text).run().ok();
    let double = format!("uprobe:{}:workload_double", workload::path());
    let getpgid = "tracepoint:syscalls:sys_enter_getpgid".to_owned();
    assert_eq!(output.rows(), [(double, json!(101)), (getpgid, json!(23))]);
}

#[test]
fn process_is_told_apart_from_others_that_run_the_same_file() {
    privileged!();
    let (ours, other) = (Workload::stopped("double 101"), Workload::stopped("double 1009"));
    let text = script(r#"probe("uprobe:BIN:workload_double").count()"#);
    let run = Skep::script(&text).arguments(&["-p", &ours.pid()]).start().attached();
    other.go();
    ours.go();
    assert_eq!(run.interrupt().ok().value(), 101);
}

#[test]
fn every_process_is_counted_without_a_pid() {
    privileged!();
    let (one, other) = (Workload::stopped("greet 101 one"), Workload::stopped("greet 23 two"));
    let pids = format!("pid == {} or pid == {}", one.pid(), other.pid());
    let text = script(&format!(r#"probe("uprobe:BIN:workload_greet").filter({pids}).by(str(arg0)).count()"#));
    let run = Skep::script(&text).start().attached();
    one.go();
    other.go();
    assert_eq!(run.interrupt().ok().rows(), [("one".to_owned(), json!(101)), ("two".to_owned(), json!(23))]);
}

#[test]
fn library_is_found_by_its_name() {
    privileged!();
    let output = Skep::on("getppid 101", r#"probe("uprobe:libc:getppid").by(comm).count()"#).run().ok();
    assert_eq!(output.rows(), [(workload::NAME.to_owned(), json!(101))]);
    let own = std::process::id();
    let returned = Skep::on("getppid 23", r#"probe("uretprobe:libc:getppid").by(retval).count()"#).run().ok();
    // The workload's parent is skep, which this process started.
    let rows = returned.rows();
    assert!(rows.len() == 1 && rows[0].1 == 23 && rows[0].0 != own.to_string(), "{returned}");
}

#[test]
fn library_is_found_in_the_process() {
    privileged!();
    let workload = Workload::stopped("getppid 101");
    let run = Skep::script(r#"probe("uprobe:libc:getppid").count()"#)
        .arguments(&["--pid", &workload.pid()])
        .start()
        .attached();
    workload.go();
    assert_eq!(run.interrupt().ok().value(), 101);
}

#[test]
fn function_alone_is_one_of_the_process() {
    privileged!();
    let workload = Workload::stopped("double 101");
    let run = Skep::script(r#"probe("uprobe:workload_double").sum(arg0)"#)
        .arguments(&["--pid", &workload.pid()])
        .start()
        .attached();
    workload.go();
    assert_eq!(run.interrupt().ok().value(), 101 * 102 / 2);
}

#[test]
fn function_alone_is_one_of_the_command() {
    privileged!();
    let output = Skep::on("double 101", r#"probe("uprobe:workload_double").sum(arg0)"#).run().ok();
    assert_eq!(output.value(), 101 * 102 / 2);
}

#[test]
fn misspelt_function_is_an_error_that_names_the_nearest() {
    privileged!();
    let output = Skep::new(&["-e", &script(r#"probe("uprobe:BIN:workload_doubel").count()"#)]).run().status_is(1);
    assert!(output.err.starts_with("error: no function `workload_doubel` in "), "{output}");
    assert!(output.err.ends_with("  = help: did you mean `workload_double`?\n"), "{output}");
}

#[test]
fn misspelt_library_is_an_error() {
    let output = Skep::new(&["-e", r#"probe("uprobe:libq:malloc").count()"#]).run().status_is(1);
    assert!(output.err.starts_with("error: ") && output.err.contains("`libq`"), "{output}");
}

#[test]
fn list_shows_functions_and_offsets_stand_behind_them() {
    let listed = Skep::new(&["list", &script("uprobe:BIN:workload_*")]).run().ok();
    let name = |function: &str| format!("uprobe:{}:workload_{function}\n", workload::path());
    let mut lines: Vec<_> = listed.out.lines().collect();
    lines.sort_unstable();
    let functions = ["begin", "call", "double", "erase", "finish", "greet", "negate", "recurse"];
    assert_eq!(lines.join("\n") + "\n", functions.map(name).concat());
    privileged!();
    let output = Skep::on("double 101", &script(r#"probe("uprobe:BIN:workload_double+0").count()"#)).run().ok();
    assert_eq!(output.value(), 101);
}

#[test]
fn software_events_and_timers_have_their_process() {
    privileged!();
    let script = r#"
        probe("software:context-switches:1").by(comm).count();
        probe("profile:hz:199").by(pid).count();
    "#;
    let output = Skep::on("spin 1000 sleep 10 sleep 10 sleep 10", script).run().ok();
    assert!(output.row(workload::NAME).as_u64() >= Some(3), "{output}");
    let samples = output.table(1)["rows"][0]["value"].as_u64().unwrap_or_default();
    // Two processors may share the machine with others; more than all samples cannot be.
    assert!((20..=220).contains(&samples), "{samples} samples of a second at 199 Hz: {output}");
}
