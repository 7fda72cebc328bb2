//! Plans: what a script would do, said without any privilege, for a machine whose tracefs was captured.

use skep_tests::machine::{Folder, here};
use skep_tests::skep::binary;
use skep_tests::{Skep, golden};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The captured machine.
fn captured() -> String {
    here("fixtures/machine").display().to_string()
}

/// A plan as text, without what depends on the number of processors.
#[track_caller]
fn plan(script: &str, options: &[&str]) -> String {
    let output = Skep::new(&["plan", "--machine", &captured(), "-e", script]).arguments(options).run().ok();
    assert_eq!(output.err, "", "{output}");
    let line = |line: &str| match line.rsplit_once(": ") {
        Some((entries, _)) if line.starts_with("   map ") => format!("{entries}\n"),
        _ => format!("{line}\n"),
    };
    output.out.lines().map(line).collect()
}

/// Numbers of system calls, and what reads their registers, are an architecture's own.
macro_rules! on_x86_64 {
    () => {
        if cfg!(not(target_arch = "x86_64")) {
            return println!("skipped: its golden is x86-64's");
        }
    };
}

#[test]
fn system_calls_are_planned_at_their_common_tracepoint() {
    on_x86_64!();
    let script = r#"
        probe("tracepoint:syscalls:sys_enter_getpgid").filter(args.pid == 23 and comm == "bash").by(comm, pid).count();
        probe("tracepoint:syscalls:sys_exit_getpgid").filter(args.ret < 0).hist(-args.ret).named("errors");
        probe("tracepoint:syscalls:sys_*").by(probe).count().top(3);
        probe("tracepoint:raw_syscalls:sys_enter").by(args.id).count();
    "#;
    golden("plans/system_calls", &plan(script, &[]));
}

#[test]
fn tracepoints_are_planned_by_what_is_read_of_them() {
    let script = r#"
        probe("tracepoint:sched:sched_switch").by(cpu).count();
        probe("tracepoint:sched:sched_switch").filter(args.next_pid != 0).lhist(args.next_prio, 0, 140, 10).named("priority");
        probe(["t:sched:sched_process_exec", "t:sched:sched_process_fork"]).by(probe, comm).count();
        probe("t:block:block_rq_issue").filter(starts_with(args.comm, "kworker")).by(args.dev).stats(args.bytes);
    "#;
    golden("plans/tracepoints", &plan(script, &[]));
}

#[test]
fn functions_of_the_kernel_are_planned_by_the_cheapest_way() {
    on_x86_64!();
    let script = r#"
        probe("kprobe:vfs_read").filter(arg2 > 4096).by(comm).count();
        probe("kr:vfs_read").hist(retval).named("bytes");
        probe("fexit:tcp_*connect").by(arg0, retval).count();
        probe("k:vfs_*").by(probe).count();
        probe("kprobe:vfs_read+0x4").count();
        probe("kprobe:nf_tables:nft_do_chain").count();
    "#;
    golden("plans/kernel_functions", &plan(script, &[]));
}

#[test]
fn timers_and_counters_are_planned() {
    let script = r#"
        probe("profile:hz:99").by(comm).count();
        probe("interval:s:1").count();
        probe("software:page-faults:100").quantiles(pid);
    "#;
    golden("plans/timers_and_counters", &plan(script, &[]));
}

#[test]
fn streams_are_planned_with_the_size_of_their_records() {
    let script = r#"
        probe("t:oom:mark_victim").fields(comm, args.pid).each(|e| print(e));
        probe("t:oom:mark_victim").printf("%s %d\n", args.comm, args.total_vm);
        probe("t:tcp:tcp_retransmit_skb").fields(ntop(args.daddr), args.dport);
    "#;
    golden("plans/streams", &plan(script, &[]));
}

#[test]
fn spans_are_planned_with_what_pairs_them() {
    on_x86_64!();
    let script = r#"
        span("t:syscalls:sys_enter_openat", "t:syscalls:sys_exit_openat").filter(pid == 23 and args.ret >= 0).by(str(start.args.filename)).hist(elapsed);
        span("t:block:block_rq_issue", "t:block:block_rq_complete").on([args.dev, args.sector], [args.dev, args.sector]).spans(4096).quantiles(elapsed / 1_000);
        span(["t:sched:sched_process_exec", "t:sched:sched_process_fork"], "t:sched:sched_switch").fields(start.probe, start.comm, elapsed);
    "#;
    golden("plans/spans", &plan(script, &["--comm", "bash"]));
}

#[test]
fn calls_of_a_function_are_planned_by_their_frame() {
    let path = skep_tests::workload::path();
    let script = format!(r#"span("uprobe:{path}:workload_double", "uretprobe:{path}:workload_double").hist(elapsed)"#);
    let plan = plan(&script, &[]);
    assert!(plan.contains("pair    thread and frame of the function: calls may be nested"), "{plan}");
}

#[test]
fn templates_are_planned_with_their_programs() {
    golden(
        "plans/templates",
        &plan(r#"template("runqlat", #{ process: 23 }).by(task).hist(elapsed / 1_000).named("usecs");"#, &[]),
    );
}

#[test]
fn rest_of_the_script_is_planned_too() {
    let script = r#"
        let n = param("most", #{ value: 5, help: "how many rows" });
        let rows = probe("t:sched:sched_switch").by(comm).count().top(n).run("10s");
        for row in rows { print(row.comm); }
        every("1s", || print("tick"));
        exit(7);
        probe("t:oom:mark_victim").count();
    "#;
    golden("plans/rest_of_the_script", &plan(script, &[]));
}

#[test]
fn restrictions_of_the_command_line_are_in_the_plan() {
    let restrict = ["--pid", "23", "--comm", "bash"];
    golden(
        "plans/restrictions",
        &plan(r#"probe("t:sched:sched_switch").filter(args.prev_prio > 100).count();"#, &restrict),
    );
}

#[test]
fn code_is_shown_when_it_is_asked_for() {
    let script = r#"probe("t:sched:sched_switch").filter(pid == 23 and comm == "bash").by(args.next_comm).sum(args.next_prio * 2);"#;
    golden("plans/code", &plan(script, &["--code"]));
}

#[test]
fn json_plan_is_one_object_for_each_chain() {
    let script = r#"
        probe("t:sched:sched_switch").filter(args.next_pid != 0).by(comm, args.next_prio).count();
        probe("t:oom:mark_victim").fields(args.pid);
    "#;
    let output = Skep::new(&["plan", "--format", "json", "--machine", &captured(), "-e", script]).run().ok();
    let plans = output.objects("plan");
    assert_eq!((plans.len(), output.json().len()), (2, 2), "{output}");
    assert_eq!(plans[0]["source"], "t:sched:sched_switch");
    assert_eq!(plans[0]["filter"], "args.next_pid != 0");
    assert_eq!(plans[0]["columns"], serde_json::json!(["comm", "next_prio"]));
    assert_eq!(plans[0]["units"][0]["attach_points"], serde_json::json!(["tracepoint:sched:sched_switch"]));
    assert_eq!((&plans[0]["map"]["entries"], &plans[1]["map"]), (&10_240.into(), &serde_json::Value::Null));
    assert_eq!((&plans[1]["entry"], &plans[1]["line"]), (&2.into(), &3.into()));
}

/// Every script of the library, by its path.
fn scripts(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("scripts are there").flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(scripts(&path)),
            false => found.extend(path.extension().is_some_and(|ending| ending == "rhai").then_some(path)),
        }
    }
    found.sort();
    found
}

#[test]
fn every_script_plans_without_privilege() {
    let found = scripts(&here("../scripts"));
    assert!(!found.is_empty());
    let folder = Folder::new();
    let copy = |from: &Path| {
        let status = Command::new("cp").arg("-r").arg(from).arg(&folder.0).status();
        assert!(status.is_ok_and(|status| status.success()), "failed to copy {}", from.display());
    };
    copy(binary());
    copy(&here("fixtures/machine"));
    let machine = folder.0.join("machine").display().to_string();
    let skep = folder.0.join(binary().file_name().expect("the binary is a file"));
    for path in found {
        let name =
            path.strip_prefix(here("../scripts")).expect("it lies there").with_extension("").display().to_string();
        if name.contains("bash") && !Path::new("/bin/bash").exists() {
            continue;
        }
        for machine in [Some(&machine), None] {
            let mut run = Skep::at(&skep, &["plan", &name]);
            if let Some(machine) = machine {
                run = run.arguments(&["--machine", machine]);
            }
            // SAFETY: no arguments, cannot fail.
            if unsafe { libc::geteuid() } == 0 {
                run = run.as_nobody();
            }
            let output = run.run().ok();
            // A script that reads counters alone has no chain.
            let is_plan = output.out.starts_with("1. ") || output.out.starts_with("   ");
            assert!(is_plan && output.err.is_empty(), "{output}");
        }
    }
}
