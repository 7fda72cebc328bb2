//! Whose events are counted: one process, what it starts, what a command starts; and by which numbers.

use skep_tests::{Output, Skep, Workload, privileged, workload};
use std::collections::BTreeMap;

const CALLS: &str = "probe(\"t:syscalls:sys_enter_getpgid\").count();";
/// 5 calls of the process, 11 of each of its 7 children, 3 of each of their 2.
const FAMILY: &str = "getpgid 5 fork 7 getpgid 11 fork 2 getpgid 3";

/// The value of `script` with `--pid`, and with `options` beside it, of a workload that is there beforehand.
#[track_caller]
fn attached_to(verbs: &str, options: &[&str], script: &str) -> serde_json::Value {
    let workload = Workload::stopped(verbs);
    let run = Skep::script(script).arguments(&["--pid", &workload.pid()]).arguments(options).start().attached();
    workload.go();
    run.interrupt().ok().value()
}

#[test]
fn pid_alone_leaves_children_out() {
    privileged!();
    assert_eq!(attached_to(FAMILY, &[], CALLS), 5);
}

#[test]
fn children_and_theirs_are_followed() {
    privileged!();
    assert_eq!(attached_to(FAMILY, &["--follow-forks"], CALLS), 5 + 7 * 11 + 14 * 3);
}

#[test]
fn command_is_followed_without_being_asked() {
    privileged!();
    assert_eq!(Skep::on(FAMILY, CALLS).run().ok().value(), 5 + 7 * 11 + 14 * 3);
}

#[test]
fn child_that_becomes_another_program_is_followed() {
    privileged!();
    let verbs = "fork 7 become getpgid 11 fork 2 become getpgid 3";
    assert_eq!(attached_to(verbs, &["--follow-forks"], CALLS), 7 * 11 + 14 * 3);
}

#[test]
fn threads_belong_to_the_process_that_is_followed() {
    privileged!();
    let verbs = "getpgid 5 fork 7 thread getpgid 11 fork 2 getpgid 3";
    assert_eq!(attached_to(verbs, &["--follow-forks"], CALLS), 5 + 7 * 11 + 14 * 3);
}

#[test]
fn others_are_filtered() {
    privileged!();
    let script = "probe(\"t:syscalls:sys_enter_getpgid\").by(comm).count();";
    let other = Workload::stopped("name other getpgid 23");
    let workload = Workload::stopped("fork 7 getpgid 11");
    let options = ["--pid", &workload.pid(), "--follow-forks"];
    let run = Skep::script(script).arguments(&options).start().attached();
    other.go();
    workload.go();
    let output = run.interrupt().ok();
    assert_eq!(output.rows(), [("skep-workload".to_owned(), 77.into())]);
    assert!(output.trust("filtered") >= 23, "{output}");
}

#[test]
fn what_is_started_between_two_runs_is_followed_in_the_second() {
    privileged!();
    let script = r#"
        probe("t:syscalls:sys_enter_getppid").count().run("500ms");
        print(probe("t:syscalls:sys_enter_getpgid").count().run("3s"));
    "#;
    let workload = Workload::stopped("fork 1 sleep 1500 getpgid 23");
    let run = Skep::script(script).arguments(&["--pid", &workload.pid(), "--follow-forks"]).start().attached();
    workload.go();
    assert_eq!(run.end().ok().texts(), ["23"]);
}

#[test]
fn uprobes_are_hit_in_children() {
    privileged!();
    let script = "probe(\"uprobe::workload_double\").count();";
    let verbs = "double 5 fork 7 double 11 become double 3";
    assert_eq!(attached_to(verbs, &[], script), 5);
    assert_eq!(attached_to(verbs, &["--follow-forks"], script), 5 + 7 * (11 + 3));
    assert_eq!(Skep::on(verbs, script).run().ok().value(), 5 + 7 * (11 + 3));
}

#[test]
fn spans_of_children_are_measured() {
    privileged!();
    let script = "span(\"t:syscalls:sys_enter_getpgid\", \"t:syscalls:sys_exit_getpgid\").count();";
    assert_eq!(attached_to(FAMILY, &[], script), 5);
    assert_eq!(attached_to(FAMILY, &["--follow-forks"], script), 5 + 7 * 11 + 14 * 3);
    let frames = "span(\"uprobe::workload_double\", \"uretprobe::workload_double\").count();";
    assert_eq!(attached_to("double 5 fork 7 double 11", &["--follow-forks"], frames), 5 + 7 * 11);
    let any = "span(\"uprobe::workload_begin\", \"uprobe::workload_finish\").on(arg0, arg0).count();";
    assert_eq!(attached_to("fork 7 begin 3 100 finish 3 100", &["--follow-forks"], any), 21);
}

#[test]
fn template_about_others_takes_the_process_of_the_command_line() {
    privileged!();
    let script = "template(\"runqlat\").by(task).count();";
    let verbs = "name mother sleep 20 fork 1 name child sleep 20";
    let tasks = |options: &[&str]| {
        let workload = Workload::stopped(verbs);
        let run = Skep::script(script).arguments(&["--pid", &workload.pid()]).arguments(options).start().attached();
        workload.go();
        let mut tasks: Vec<String> = run.interrupt().ok().rows().into_iter().map(|(task, _)| task).collect();
        tasks.sort();
        tasks
    };
    // Until it has its name the mother is called after its program.
    assert_eq!(tasks(&[]), ["mother", "skep-workload"]);
    assert_eq!(tasks(&["--follow-forks"]), ["child", "mother", "skep-workload"]);
    let own = std::process::id().to_string();
    let script = "template(\"runqlat\", #{ process: 1 }).count();";
    let output = Skep::script(script).arguments(&["--pid", &own]).run().status_is(1);
    assert!(output.err.contains(&format!("`process` is 1 here, and --pid is {own}")), "{output}");
}

#[test]
fn following_takes_a_process() {
    let output = Skep::new(&["--follow-forks", "-e", "print(1)"]).run().status_is(2);
    assert!(output.err.contains("--pid"), "{output}");
}

#[test]
fn plan_says_that_children_are_followed() {
    let own = std::process::id().to_string();
    let plan = |arguments: &[&str]| Skep::new(&["plan", "-e", CALLS]).arguments(arguments).run().ok().out;
    let followed = plan(&["--pid", &own, "--follow-forks"]);
    assert!(followed.contains(&format!("filter pid {own} or its children\n")), "{followed}");
    let command = plan(&["-c", "make all"]);
    assert!(command.contains("filter `make` or its children\n"), "{command}");
}

/// A script inside a pid namespace where `verbs` is process 2, which begins when everything is attached.
#[track_caller]
fn in_container(verbs: &str, options: &[&str], script: &str) -> Output {
    let workload = format!("{} sleep 1000 {verbs} &", workload::path());
    Skep::script(script).arguments(&["--for", "2s"]).arguments(options).in_pid_namespace(&workload).run().ok()
}

#[test]
fn numbers_of_processes_are_those_of_the_namespace() {
    privileged!();
    let script = "probe(\"t:syscalls:sys_enter_getpgid\").filter(pid == 2 and tid == 2).by(pid, tid, comm).count();";
    assert_eq!(in_container("getpgid 23", &[], script).rows(), [("2 2 skep-workload".to_owned(), 23.into())]);
    let script = "probe(\"t:syscalls:sys_enter_getpgid\").filter(comm == \"inside\").by(pid, tid == pid).count();";
    let output = in_container("name inside getpgid 5 fork 1 getpgid 7 thread name inside getpgid 11", &[], script);
    assert_eq!(output.row("2 1"), 5);
    // skep's own threads take numbers too: which one the child has is not known.
    let others = output.rows().into_iter().filter(|(key, _)| key != "2 1");
    let others: BTreeMap<bool, u64> = others.map(|(key, n)| (key.ends_with('1'), n.as_u64().unwrap_or(0))).collect();
    assert_eq!(others, BTreeMap::from([(true, 7), (false, 11)]), "{output}");
}

#[test]
fn pid_of_the_command_line_is_of_the_namespace() {
    privileged!();
    assert_eq!(in_container(FAMILY, &["--pid", "2"], CALLS).value(), 5);
    assert_eq!(in_container(FAMILY, &["--pid", "2", "--follow-forks"], CALLS).value(), 5 + 7 * 11 + 14 * 3);
    let script = "probe(\"uprobe::workload_double\").count();";
    assert_eq!(in_container("double 5 fork 7 double 11", &["--pid", "2"], script).value(), 5);
    let spans = "span(\"uprobe::workload_double\", \"uretprobe::workload_double\").by(pid).count();";
    let output = in_container("double 5 fork 7 double 11", &["--pid", "2", "--follow-forks"], spans);
    let of_children = output.rows().into_iter().filter(|(pid, calls)| pid != "2" && *calls == 11).count();
    assert_eq!((output.row("2"), of_children, output.rows().len()), (5.into(), 7, 8), "{output}");
}

#[test]
fn command_in_a_namespace_is_followed() {
    privileged!();
    let output = Skep::on(FAMILY, CALLS).in_pid_namespace("").run().ok();
    assert_eq!(output.value(), 5 + 7 * 11 + 14 * 3, "{output}");
}

#[test]
fn processes_outside_of_the_namespace_have_no_number() {
    privileged!();
    let script = "probe(\"t:syscalls:sys_enter_getpgid\").filter(comm == \"beyond-here\").by(pid, tid).count();";
    let workload = Workload::stopped("name beyond-here getpgid 23");
    let run = Skep::script(script).arguments(&["--for", "2s"]).in_pid_namespace("").start().attached();
    workload.go();
    assert_eq!(run.end().ok().rows(), [("0 0".to_owned(), 23.into())]);
}
