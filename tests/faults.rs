//! When something goes wrong around a run: signals, closed pipes, missing privileges, missing parts of the kernel.

use skep_tests::machine::{Folder, program};
use skep_tests::skep::binary;
use skep_tests::{Output, Skep, Workload, kernel, privileged, workload};
use std::path::Path;
use std::process::{Command, Stdio};

/// All ways to be in the kernel at once: system calls, a tracepoint's record, a function, a counter, and a stream.
fn everything() -> String {
    r#"
        probe("tracepoint:syscalls:sys_enter_getpgid").by(comm).count().named("calls");
        probe("tracepoint:sched:sched_switch").filter(args.next_pid == 1).count();
        probe("uprobe:libc:getppid").count();
        probe("software:cpu-clock:10000000").by(pid).hist(tid);
        probe("tracepoint:syscalls:sys_enter_getppid").fields(pid).each(|e| print(`${e.pid}`));
    "#
    .to_owned()
}

/// Sends `signal` to a run that has counted 23 calls; afterwards nothing of it is left in the kernel.
#[track_caller]
fn signalled(signal: i32) -> Output {
    let workload = Workload::stopped("getpgid 23 getppid 1 stop");
    let run = Skep::script(&everything()).arguments(&["--pid", &workload.pid()]).start().attached();
    let loaded = kernel::programs_of(run.pid());
    assert!(loaded.len() >= 5, "{} programs", loaded.len());
    let pid = workload.pid();
    workload.go_on();
    let output = run.printed(&format!("\"{pid}\"")).signal(signal).end();
    kernel::assert_gone(&loaded);
    output
}

#[test]
fn interrupt_ends_a_run_with_its_results() {
    privileged!();
    let output = signalled(libc::SIGINT).ok();
    assert_eq!(output.row(workload::NAME), 23);
    assert_eq!(output.trust("lost"), 0);
}

#[test]
fn terminate_ends_a_run_with_its_results_and_says_so() {
    privileged!();
    let output = signalled(libc::SIGTERM).status_is(128 + libc::SIGTERM);
    assert_eq!(output.row(workload::NAME), 23);
}

#[test]
fn kill_leaves_nothing_in_the_kernel() {
    privileged!();
    assert_eq!(signalled(libc::SIGKILL).status, None);
}

#[test]
fn end_of_a_run_leaves_nothing_in_the_kernel() {
    privileged!();
    let run = Skep::script(&everything()).arguments(&["--for", "500ms"]).start().attached();
    let loaded = kernel::programs_of(run.pid());
    run.end().ok();
    kernel::assert_gone(&loaded);
}

#[test]
fn signals_end_a_script_of_many_runs() {
    privileged!();
    let script = r#"for n in 0..30 { probe("t:syscalls:sys_enter_getpgid").count().run("1s"); print(`run ${n}`); }"#;
    for (signal, status) in [(libc::SIGINT, 0), (libc::SIGTERM, 128 + libc::SIGTERM)] {
        let since = std::time::Instant::now();
        Skep::new(&["-e", script]).start().attached().signal(signal).end().status_is(status);
        assert!(since.elapsed().as_secs() < 10, "it went on after signal {signal}");
    }
}

#[test]
fn end_of_the_command_begins_no_further_run() {
    privileged!();
    let script = r#"
        let calls = probe("t:syscalls:sys_enter_getpgid").count();
        print(calls.run());
        print(calls.run());
        run();
    "#;
    let run = Skep::on("getpgid 23", script).run().ok();
    assert_eq!(run.texts()[0], "23");
}

#[test]
fn signals_end_a_closure_that_does_not() {
    privileged!();
    for (signal, status) in [(libc::SIGINT, 0), (libc::SIGTERM, 128 + libc::SIGTERM)] {
        let script = format!(
            r#"probe("uprobe:{}:workload_double").each(|e| {{ loop {{}} }}); at_end(|| print("end"));"#,
            workload::path()
        );
        let workload = Workload::stopped("double 3");
        let run = Skep::script(&script).start().attached();
        let loaded = kernel::programs_of(run.pid());
        workload.go();
        std::thread::sleep(std::time::Duration::from_millis(300));
        let since = std::time::Instant::now();
        let output = run.signal(signal).end().status_is(status);
        // Its limit would be 10 seconds.
        assert!(since.elapsed().as_secs() < 5, "it went on for {:?} after signal {signal}", since.elapsed());
        assert_eq!(output.texts(), ["end"]);
        kernel::assert_gone(&loaded);
    }
}

#[test]
fn interrupt_between_two_runs_ends_the_script() {
    privileged!();
    let script = r#"probe("t:syscalls:sys_enter_getpgid").count().run("50ms"); print("between"); loop {}"#;
    let run = Skep::new(&["-e", script]).start().attached();
    std::thread::sleep(std::time::Duration::from_millis(500));
    let since = std::time::Instant::now();
    let output = run.interrupt().ok();
    assert!(since.elapsed().as_secs() < 5 && !output.err.contains("error"), "{output}");
}

#[test]
fn closure_that_does_not_end_is_an_error_at_its_chain() {
    privileged!();
    let output = Skep::new(&["-q", "-e", "print(1);\nevery(\"50ms\", || loop {});"]).run().status_is(1);
    assert!(
        output.err.contains(" --> -e:2:1\n") && output.err.contains("^^^^^ its closure does not end\n"),
        "{output}"
    );
}

#[test]
fn closed_pipe_ends_a_run_quietly() {
    privileged!();
    let script = r#"probe("tracepoint:raw_syscalls:sys_enter").fields(comm)"#;
    let line = format!("{} -e '{script}' --for 30s | head -n 1", binary().display());
    let since = std::time::Instant::now();
    let output =
        Command::new("bash").args(["-c", &format!("{line}; exit ${{PIPESTATUS[0]}}")]).output().expect("bash runs");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"comm\n");
    assert!(since.elapsed().as_secs() < 20, "it went on after its reader was gone");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("error"), "{output:?}");
}

#[test]
fn closed_standard_streams_are_no_panic() {
    privileged!();
    let script = r#"print("x"); probe("tracepoint:syscalls:sys_enter_getpgid").count();"#;
    let mut command = Command::new("bash");
    command
        .args(["-c", &format!("{} -c '{}' -e '{script}' >&- 2>&-", binary().display(), workload::line("getpgid 23"))]);
    let status = command.stdin(Stdio::null()).status().expect("bash runs");
    assert!(matches!(status.code(), Some(0 | 1)), "{status}");
}

#[test]
fn without_tracefs_it_is_mounted_for_this_run_only() {
    privileged!();
    if program("unshare").is_none() {
        return;
    }
    let mounted = || std::fs::read_to_string("/proc/mounts").map(|text| text.matches(" tracefs ").count()).ok();
    let before = mounted();
    let script = r#"probe("tracepoint:syscalls:sys_enter_getpgid").filter(args.pid == 0).count()"#;
    let run = Skep::on("getpgid 23", script).after_mounts("umount -R /sys/kernel/tracing || true").run().ok();
    assert_eq!(run.value(), 23);
    assert_eq!(mounted(), before);
}

#[test]
fn where_tracefs_cannot_be_mounted_the_message_says_how() {
    privileged!();
    if program("unshare").is_none() {
        return;
    }
    let script = r#"probe("tracepoint:sched:sched_switch").filter(args.next_pid == 1).count()"#;
    let run = Skep::new(&["-e", script]).after_mounts("mount -t tmpfs -o ro none /sys").run().status_is(1);
    assert!(run.err.starts_with("error: tracefs is not mounted and cannot be mounted"), "{run}");
    assert!(run.err.contains("= help: sudo mount -t tracefs tracefs /sys/kernel/tracing"), "{run}");
}

const NO_BTF: &str = "mount -t tmpfs none /sys/kernel/btf";

#[test]
fn without_btf_system_calls_are_counted_at_their_own_tracepoints() {
    privileged!();
    if program("unshare").is_none() {
        return;
    }
    let script = r#"
        probe("tracepoint:syscalls:sys_enter_getpgid").count();
        probe("tracepoint:syscalls:sys_exit_getpgid").by(probe, args.ret > 0).count();
        probe("tracepoint:syscalls:sys_enter_openat").filter(starts_with(str(args.filename), "/now")).by(str(args.filename)).count();
        probe("uprobe:libc:getppid").count();
    "#;
    let run = Skep::on("getpgid 101 open 23 /nowhere getppid 7", script).after_mounts(NO_BTF).run().ok();
    assert!(run.err.contains("only the command itself is watched, not its children"), "{run}");
    assert!(run.err.contains("with template `tracepoint`") && !run.err.contains("template `syscall`"), "{run}");
    let row = |n: usize| run.table(n)["rows"][0].clone();
    assert_eq!([0, 1, 2, 3].map(|n| row(n)["value"].clone()), [101, 101, 23, 7].map(serde_json::Value::from), "{run}");
    assert_eq!(row(1)["key"]["probe"], "tracepoint:syscalls:sys_exit_getpgid");
    assert_eq!(row(2)["key"]["filename"], "/nowhere");
}

#[test]
fn without_btf_a_template_that_needs_it_says_so() {
    privileged!();
    if program("unshare").is_none() {
        return;
    }
    let run =
        Skep::new(&["-e", r#"template("runqlat").hist(elapsed).run("100ms")"#]).after_mounts(NO_BTF).run().status_is(1);
    assert!(run.err.starts_with("error: ") && run.err.contains("type information"), "{run}");
}

#[test]
fn kernel_without_kprobes_says_so() {
    if Path::new("/sys/bus/event_source/devices/kprobe").exists() {
        return println!("skipped: this kernel has kprobes");
    }
    let output = Skep::new(&["-e", r#"probe("kprobe:vfs_read").count()"#]).run().status_is(1);
    assert!(output.err.starts_with("error: "), "{output}");
    assert!(output.err.contains("this kernel has no kprobes (CONFIG_KPROBES)"), "{output}");
}

/// The binary where everybody may execute it.
fn readable(folder: &Folder) -> std::path::PathBuf {
    let copy = folder.0.join("skep");
    std::fs::copy(binary(), &copy).expect("the binary can be copied");
    copy
}

#[test]
fn without_privilege_a_run_says_what_is_missing_and_a_plan_works() {
    privileged!();
    let folder = Folder::new();
    let binary = readable(&folder);
    let script = r#"probe("tracepoint:syscalls:sys_enter_getpgid").filter(pid == 23).by(comm).count()"#;
    let run = Skep::at(&binary, &["-e", script]).as_nobody().run().status_is(1);
    assert!(
        run.err.starts_with("error: this process may not load BPF programs: CAP_BPF and CAP_PERFMON are missing\n"),
        "{run}"
    );
    assert!(run.err.contains("  = help: "), "{run}");
    let plan = Skep::at(&binary, &["plan", "-e", script]).as_nobody().run().ok();
    assert!(plan.out.contains("filter pid == 23") && plan.err.is_empty(), "{plan}");
}

#[test]
fn full_table_counts_what_it_cannot_take() {
    privileged!();
    let script = r#"
        let calls = probe(`uprobe:BIN:workload_double`).by(arg0).entries(7).count();
        run();
        let counted = 0;
        for row in calls.value() { counted += row.value; }
        print(counted);
    "#;
    let run = Skep::on("double 23", &script.replace("BIN", &workload::path())).run().ok();
    let counted: u64 = run.texts()[0].parse().expect("the script prints a number");
    assert_eq!([run.trust("seen"), run.trust("counted"), run.trust("lost_map")], [23, counted, 23 - counted], "{run}");
    assert!((7..23).contains(&counted), "{run}");
    assert!(
        run.err.contains("events not counted: the table at 2:21 is full with 7 keys (.entries(70), or fewer columns)"),
        "{run}"
    );
    let strict = Skep::on("double 23", r#"probe("uprobe:BIN:workload_double").by(arg0).entries(7).hist(arg1)"#.replace("BIN", &workload::path()).as_str());
    strict.arguments(&["--strict"]).run().status_is(3);
}

#[test]
fn command_that_does_not_exist_is_an_error_and_nothing_stays() {
    privileged!();
    let script = r#"probe("tracepoint:syscalls:sys_enter_getpgid").count()"#;
    let run = Skep::new(&["-c", "/no/such/command", "-e", script]).run().status_is(1);
    assert!(run.err.contains("error: failed to start"), "{run}");
    assert!(!run.err.contains(r#"| probe("#), "the script is not at fault: {run}");
    assert!(run.err.contains("/no/such/command"), "it names the command: {run}");
}

#[test]
fn command_that_waits_for_a_broken_script_ends_quietly() {
    let script = r#"probe("tracepiont:x:y").count()"#;
    for _ in 0..7 {
        let run = Skep::new(&["-c", "/bin/true", "-e", script]).run().status_is(1);
        // What is left of the command speaks up a little later.
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!run.err.contains("fatal runtime error"), "{run}");
    }
}

#[test]
fn end_of_the_command_is_the_end_of_the_run() {
    privileged!();
    let since = std::time::Instant::now();
    let run = Skep::on(
        "getpgid 23 exit 5",
        r#"probe("tracepoint:syscalls:sys_enter_getpgid").count(); run("30s"); print("after");"#,
    )
    .run()
    .ok();
    assert_eq!((run.value(), run.texts()), (23.into(), vec!["after".to_owned()]));
    assert!(since.elapsed().as_secs() < 20, "it waited on");
}

#[test]
fn time_of_a_run_ends_it_while_the_command_goes_on() {
    privileged!();
    let script = r#"
        let calls = probe("tracepoint:syscalls:sys_enter_getpgid").count();
        print(calls.run("300ms"));
        print(calls.run("60s"));
    "#;
    let since = std::time::Instant::now();
    let run = Skep::on("getpgid 23 sleep 3000 getpgid 101", script).run().ok();
    assert_eq!(run.texts(), ["23", "101"]);
    assert!((3..20).contains(&since.elapsed().as_secs()), "the second run ends with the command");
    let since = std::time::Instant::now();
    let run =
        Skep::on("getpgid 23 sleep 10000", r#"print(probe("t:syscalls:sys_enter_getpgid").count().run("300ms"))"#);
    let run = run.run().ok();
    assert_eq!(run.texts(), ["23"]);
    assert!(since.elapsed().as_secs() < 8 && run.err.contains("the command goes on as process "), "{run}");
}

#[test]
fn end_of_the_command_between_two_runs_begins_no_further_one() {
    privileged!();
    let script = r#"
        let calls = probe("tracepoint:syscalls:sys_enter_getpgid").count();
        print(calls.run("300ms"));
        let end = timestamp();
        while end.elapsed < 1.5 {}
        print(calls.run());
    "#;
    let run = Skep::on("getpgid 23 sleep 900", script).run().ok();
    assert_eq!(run.texts(), ["23"]);
    assert!(!run.err.contains("goes on"), "{run}");
}

#[test]
fn exit_of_the_script_is_the_exit_status() {
    let run = Skep::new(&["-e", "at_end(|| print(\"end\")); print(\"begin\"); exit(7); print(\"never\");"])
        .run()
        .status_is(7);
    assert_eq!(run.out, "begin\nend\n");
}

#[test]
fn run_of_one_process_ends_with_it() {
    privileged!();
    let mut process = std::process::Command::new("sleep").arg("1").spawn().expect("sleep is there");
    let pid = process.id().to_string();
    let began = std::time::Instant::now();
    let script = "probe(\"profile:hz:99\").count().run(\"60s\"); print(\"after\");";
    let output = Skep::new(&["-e", script, "--pid", &pid]).run().ok();
    process.wait().expect("it has ended");
    assert!(began.elapsed() < std::time::Duration::from_secs(30), "{output}");
    assert!(output.out.contains("after") && output.err.contains("the process has ended"), "{output}");
}
