//! Faults of skep's own process: killed, out of memory, suspended, without descriptors, without its terminal.

use crate::scene::{BEFORE, EVERYTHING, Scene, script};
use serde_json::Value;
use skep_tests::left::{Held, pinned};
use skep_tests::machine::program;
use skep_tests::pty::Terminal;
use skep_tests::skep::Running;
use skep_tests::{Cgroup, Output, Skep, Workload, privileged, workload};
use std::path::Path;

/// The value of a table without a key.
fn count(output: &Output, n: usize) -> Value {
    output.table(n)["rows"][0]["value"].clone()
}

#[test]
fn kill_leaves_nothing_and_others_count_on() {
    privileged!();
    let scene = Scene::set();
    let run = scene.run(|run| run);
    assert_eq!(scene.faulted(run, |run| run.signal(libc::SIGKILL).end()).status, None);
    assert!(pinned().is_empty(), "{:?}", pinned());
}

#[test]
fn termination_and_hang_up_leave_nothing_and_give_results() {
    privileged!();
    for signal in [libc::SIGTERM, libc::SIGHUP] {
        let scene = Scene::set();
        let run = scene.run(|run| run);
        let output = scene.faulted(run, |run| run.signal(signal).end()).status_is(128 + signal);
        assert_eq!([count(&output, 0), count(&output, 1)], [BEFORE; 2].map(Value::from), "{output}");
    }
}

#[test]
fn lost_terminal_ends_a_session_and_leaves_nothing() {
    privileged!();
    let workload = Workload::stopped("double 7 stop");
    let mut terminal = Terminal::start(&["repl", "--pid", &workload.pid()]).ready();
    terminal.answers(&script(r#"let calls = probe("uprobe:BIN:workload_double").count();"#), "attached");
    let held = Held::of(terminal.pid());
    terminal.hang_up();
    terminal.end();
    held.assert_gone();
}

#[test]
fn suspended_run_counts_in_the_kernel_and_goes_on() {
    privileged!();
    let scene = Scene::set();
    let workload = Workload::stopped("double 23 getppid 101 stop");
    let run = Skep::script(&script(
        r#"
        probe("uprobe:BIN:workload_double").count();
        probe("tracepoint:syscalls:sys_enter_getppid").fields(pid).each(|e| print("ppid"));
    "#,
    ));
    let run = run.arguments(&["--pid", &workload.pid()]).start().attached().signal(libc::SIGSTOP);
    let held = Held::of(run.pid());
    workload.go_on();
    let output = run.signal(libc::SIGCONT).interrupt().ok();
    assert_eq!(count(&output, 0), 23, "{output}");
    assert_eq!((output.texts().len(), output.trust("lost")), (101, 0), "{output}");
    scene.workload.go_on();
    scene.over(&held);
}

#[test]
fn suspended_run_counts_what_its_ring_cannot_hold() {
    privileged!();
    let workload = Workload::stopped("getppid 10007 stop");
    let text = r#"let n = 0; probe("tracepoint:syscalls:sys_enter_getppid").fields(pid, comm).each(|e| n += 1); run(); print(n);"#;
    let run = Skep::script(text).arguments(&["--pid", &workload.pid(), "--ring", "4096"]);
    let run = run.start().attached().signal(libc::SIGSTOP);
    workload.go_on();
    let output = run.signal(libc::SIGCONT).interrupt().ok();
    let [seen, delivered, lost] = ["seen", "delivered", "lost_ring"].map(|name| output.trust(name));
    assert_eq!((seen, delivered + lost), (10007, 10007), "{output}");
    assert!(lost > 0 && output.texts() == [delivered.to_string()], "{output}");
    assert!(output.err.contains("events dropped: `each` at 1:"), "{output}");
}

#[test]
fn slow_script_is_told_how_late_its_events_were() {
    privileged!();
    let text = r#"probe("tracepoint:syscalls:sys_enter_getppid").fields(pid).each(|e| {
        let began = timestamp();
        while began.elapsed < 0.9 {}
    });"#;
    let output = Skep::on("getppid 7", text).run().ok();
    assert_eq!((output.trust("delivered"), output.trust("lost")), (7, 0), "{output}");
    assert!(output.trust("lag_ns") >= 5_000_000_000 && output.err.contains(", events up to "), "{output}");
    let output = Skep::on("getppid 7", r#"probe("tracepoint:syscalls:sys_enter_getppid").count()"#).run().ok();
    assert!(output.objects("trust")[0]["lag_ns"].is_null(), "{output}");
}

#[test]
fn kill_of_a_suspended_run_leaves_nothing() {
    privileged!();
    let scene = Scene::set();
    let run = scene.run(|run| run);
    let killed = |run: Running| run.signal(libc::SIGSTOP).signal(libc::SIGKILL).end();
    assert_eq!(scene.faulted(run, killed).status, None);
}

/// Where control groups limit memory, and what the limit is called there.
#[track_caller]
fn memory_group() -> (Cgroup, &'static str) {
    let first = Path::new("/sys/fs/cgroup/memory");
    match first.join("memory.limit_in_bytes").exists() {
        true => (Cgroup::below(first), "memory.limit_in_bytes"),
        false => {
            // Version 2 hands controllers down only where it is told to.
            let root = Path::new("/sys/fs/cgroup");
            std::fs::write(root.join("cgroup.subtree_control"), "+memory").expect("memory can be limited");
            (Cgroup::below(root), "memory.max")
        }
    }
}

#[test]
fn out_of_memory_kill_leaves_nothing_and_others_count_on() {
    privileged!();
    let (group, limit) = memory_group();
    std::fs::write(group.0.join(limit), (192u64 << 20).to_string()).expect("the limit is set");
    let scene = Scene::set();
    // Each text is of 8 MiB (one may have 16); the last event that it shall see makes 61 of them.
    let text = |n: u32| format!("let text{n} = \"x\"; for n in 0..23 {{ text{n} += text{n}; }} ");
    let hoard: String = (0..61).map(text).collect();
    let greedy = format!(
        "{EVERYTHING} let n = 0; probe(\"tracepoint:syscalls:sys_enter_getppid\").fields(pid).each(|e| {{
            n += 1;
            if n == {BEFORE} {{ {hoard} }}
        }});"
    );
    let run = Skep::script(&script(&greedy)).arguments(&["--pid", &scene.workload.pid()]);
    let procs = group.0.join("cgroup.procs").display().to_string();
    let run = run.after(&format!("echo $$ > {procs}")).start().attached();
    let held = Held::of(run.pid());
    scene.assert_breakpoints(2);
    scene.workload.go_on();
    let output = run.end();
    assert_eq!(output.status, None, "the kernel kills it: {output}");
    let events = ["memory.oom_control", "memory.events"].map(|file| std::fs::read_to_string(group.0.join(file)));
    let kills = events.into_iter().flatten().any(|text| text.lines().any(|line| line == "oom_kill 1"));
    assert!(kills, "it was killed by something else: {output}");
    scene.over(&held);
}

#[test]
fn memory_beyond_its_limit_is_refused_before_anything_is_loaded() {
    privileged!();
    let output = Skep::new(&["--max-memory", "64K", "-e", r#"probe("profile:hz:99").by(kstack, comm).count()"#]).run();
    let output = output.status_is(1);
    assert!(output.err.starts_with("error: its tables take ") && output.err.contains("more than 64.0KiB"), "{output}");
    assert!(!output.err.contains("attached"), "{output}");
}

#[test]
fn address_space_that_runs_out_leaves_nothing() {
    privileged!();
    if program("prlimit").is_none() {
        return;
    }
    let mut ends = std::collections::BTreeSet::new();
    for megabytes in [60, 90, 120, 150, 200, 300, 500, 3000] {
        let workload = Workload::stopped("double 7 stop");
        let run = Skep::script(&script(EVERYTHING)).arguments(&["--pid", &workload.pid(), "--for", "100ms"]);
        let output = run.after(&format!("prlimit --as={}:{} --pid $$", megabytes << 20, megabytes << 20)).run();
        assert!(!output.err.contains("panicked"), "{megabytes} MiB: {output}");
        skep_tests::left::assert_breakpoints(workload.pid().parse().expect("a number"), &workload::path(), 0);
        ends.insert(output.status);
    }
    // The smallest ends early, the largest not at all.
    assert!(ends.len() > 1 && ends.contains(&Some(0)), "{ends:?}");
}

#[test]
fn exhausted_descriptors_are_an_error_that_leaves_nothing() {
    privileged!();
    if program("prlimit").is_none() {
        return;
    }
    let workload = Workload::stopped("double 7 stop");
    let mut refused = 0;
    // From too few to begin with, to enough for all of it.
    for limit in [4, 5, 6, 7, 8, 9, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 1024] {
        let run = Skep::script(&script(EVERYTHING)).arguments(&["--pid", &workload.pid(), "--for", "50ms"]);
        let output = run.after(&format!("prlimit --nofile={limit}:{limit} --pid $$")).run();
        match output.status {
            Some(0) => {}
            Some(1) => {
                refused += 1;
                let line = output.err.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
                let reasons = ["too many open files", "no file descriptor is left"];
                assert!(reasons.iter().any(|reason| line.ends_with(reason)), "{limit}: {output}");
            }
            _ => panic!("{limit} descriptors: {output}"),
        }
        assert!(!output.err.contains("panicked"), "{limit}: {output}");
        skep_tests::left::assert_breakpoints(workload.pid().parse().expect("a number"), &workload::path(), 0);
        assert!(limit < 1024 || output.status == Some(0), "{output}");
    }
    assert!(refused >= 7, "{refused} were refused");
}
