//! What works on which kernel: a test for every source and every claim, each a row of docs/kernel-matrix.md.
//!
//! In emulated guests only (`cargo xtask vm --matrix`): one kernel is no matrix.

use serde_json::json;
use skep_tests::guest::{heard, lacks, release};
use skep_tests::{Skep, Workload, guest, kernel, workload};

/// A script with BIN for the workload's file, on a workload.
fn run(verbs: &str, script: &str) -> skep_tests::Output {
    heard(|| Skep::on(verbs, &script.replace("BIN", &workload::path())).run())
}

#[test]
fn tracepoint_record_is_read() {
    guest!();
    let output = run("exec 23", r#"probe("tracepoint:sched:sched_process_fork").by(str(args.parent_comm)).count()"#);
    assert_eq!(output.rows(), [(workload::NAME.to_owned(), json!(23))], "{output}");
}

#[test]
fn tracepoints_of_a_glob_are_told_apart() {
    guest!();
    let output = run("exec 23", r#"probe("tracepoint:sched:sched_process_*").by(probe).count()"#);
    assert_eq!(output.row("tracepoint:sched:sched_process_fork"), 23, "{output}");
}

#[test]
fn raw_tracepoint_is_counted() {
    guest!();
    let output = run("exec 23", r#"probe("rawtracepoint:sched_process_fork").filter(arg0 != 0).count()"#);
    assert_eq!(output.value(), 23, "{output}");
}

#[test]
fn system_calls_are_counted_on_entry() {
    guest!();
    let output = run("getpgid 1009", r#"probe("tracepoint:syscalls:sys_enter_getpgid").by(comm).count()"#);
    assert_eq!(output.row(workload::NAME), 1009, "{output}");
}

#[test]
fn system_call_arguments_are_read() {
    guest!();
    let script = r#"probe("tracepoint:syscalls:sys_enter_openat").filter(starts_with(str(args.filename), "/nowh")).by(str(args.filename), args.dfd).count()"#;
    let output = run("open 23 /nowhere", script);
    assert_eq!(output.row("/nowhere -100"), 23, "{output}");
}

#[test]
fn system_call_results_are_read() {
    guest!();
    let script = r#"probe("tracepoint:syscalls:sys_exit_getpgid").by(args.ret).count()"#;
    let output = run("badpgid 101", script);
    assert_eq!(output.rows(), [("-3".to_owned(), json!(101))], "{output}");
}

#[test]
fn raw_syscalls_are_counted_by_name() {
    guest!();
    let output = run("getpgid 1009", r#"probe("tracepoint:raw_syscalls:sys_enter").by(args.id).count()"#);
    assert_eq!(output.row("getpgid"), 1009, "{output}");
}

#[test]
fn uprobe_arguments_are_read() {
    guest!();
    let output = run("double 1009", r#"probe("uprobe:BIN:workload_double").by(arg1).sum(arg0)"#);
    assert_eq!(output.row("7"), 1009 * 1010 / 2, "{output}");
}

#[test]
fn uretprobe_results_are_read() {
    guest!();
    let output = run("negate 101", r#"probe("uretprobe:BIN:workload_negate").min(retval)"#);
    assert_eq!(output.value(), -101, "{output}");
}

#[test]
fn uprobe_of_a_pid_sees_no_other_process() {
    guest!();
    let (ours, other) = (Workload::stopped("double 101"), Workload::stopped("double 1009"));
    let script = r#"probe("uprobe:BIN:workload_double").count()"#.replace("BIN", &workload::path());
    let run = Skep::script(&script).arguments(&["--pid", &ours.pid()]).start().attached();
    other.go();
    ours.go();
    assert_eq!(run.interrupt().ok().value(), 101);
}

#[test]
fn uprobes_of_a_glob_are_told_apart() {
    guest!();
    let output = run("double 101 negate 23", r#"probe("uprobe:BIN:workload_*").by(probe).count()"#);
    let name = |function: &str| format!("uprobe:{}:workload_{function}", workload::path());
    assert_eq!([output.row(&name("double")), output.row(&name("negate"))], [101, 23], "{output}");
}

#[test]
fn one_program_serves_a_glob_by_cookies() {
    guest!();
    let script = r#"probe("uprobe:BIN:workload_*").by(probe).count()"#.replace("BIN", &workload::path());
    let workload = Workload::stopped("double 1");
    let run = Skep::script(&script).arguments(&["--pid", &workload.pid()]).start().attached();
    let programs = kernel::programs_of(run.pid()).len();
    run.interrupt().ok();
    if programs > 1 && release() < (5, 15) {
        return lacks("a program each");
    }
    assert_eq!(programs, 1);
}

#[test]
fn cgroup_restriction_takes_those_below_it() {
    guest!();
    let (group, below) = ("/sys/fs/cgroup/skep-tests", "/sys/fs/cgroup/skep-tests/below");
    std::fs::create_dir_all(below).expect("cgroup v2 is mounted");
    let script = r#"probe("tracepoint:syscalls:sys_enter_getpgid").count()"#;
    let output = heard(|| {
        let (ours, other) = (Workload::stopped("getpgid 101"), Workload::stopped("getpgid 1009"));
        std::fs::write(format!("{below}/cgroup.procs"), ours.pid()).expect("a process moves to a cgroup");
        let run = Skep::script(script).arguments(&["--cgroup", group]).start().attached();
        other.go();
        ours.go();
        run.interrupt()
    });
    assert_eq!(output.value(), 101, "{output}");
}

#[test]
fn profile_samples_what_runs() {
    guest!();
    let output = run("spin 1000", r#"probe("profile:hz:99").by(comm).count()"#);
    // A guest that shares its processor gets fewer.
    assert!(output.row(workload::NAME).as_u64().is_some_and(|count| (20..=110).contains(&count)), "{output}");
}

#[test]
fn interval_ticks() {
    guest!();
    let output = Skep::script(r#"probe("interval:ms:50").count().run("1s");"#).run().ok();
    assert!(output.value().as_u64().is_some_and(|count| (5..=40).contains(&count)), "{output}");
}

#[test]
fn software_counters_overflow() {
    guest!();
    let script =
        r#"probe("software:page-faults:1").by(comm).count(); probe("software:context-switches:1").by(comm).count();"#;
    let output = run("touch 101 sleep 10 sleep 10 sleep 10", script);
    assert!(output.row(workload::NAME).as_u64() >= Some(101), "{output}");
    assert!(output.table(1)["rows"][0]["value"].as_u64() >= Some(3), "{output}");
}

#[test]
fn stream_delivers_every_event_in_order() {
    guest!();
    let output = run("double 1009", r#"probe("uprobe:BIN:workload_double").fields(arg0).each(|e| print(e.arg0));"#);
    let wanted: Vec<String> = (1..=1009).map(|n| n.to_string()).collect();
    assert_eq!(output.texts(), wanted);
    assert_eq!(output.trust("lost"), 0);
}

#[test]
fn aggregations_are_exact() {
    guest!();
    let chains = ["count()", "sum(arg0)", "avg(arg0)", "min(arg0)", "max(arg0)"];
    let script: String = chains.map(|chain| format!("probe(\"uprobe:BIN:workload_double\").{chain};\n")).concat();
    let more = r#"
        probe("uprobe:BIN:workload_double").hist(arg0);
        probe("uprobe:BIN:workload_double").lhist(arg0, 0, 2000, 100);
        probe("uprobe:BIN:workload_double").quantiles(arg0);
    "#;
    let output = run("double 1009", &(script + more));
    let value = |n: usize| output.table(n)["rows"][0]["value"].clone();
    assert_eq!([0, 1, 3, 4].map(value), [1009, 1009 * 505, 1, 1009], "{output}");
    assert_eq!(value(2)["avg"], 505.0, "{output}");
    for n in [5, 6] {
        let buckets = value(n)["buckets"].as_array().cloned().unwrap_or_default();
        let total: u64 = buckets.iter().filter_map(|bucket| bucket["count"].as_u64()).sum();
        assert_eq!(total, 1009, "{output}");
    }
}

#[test]
fn table_of_many_keys_is_read_whole() {
    guest!();
    let output = run("double 1009", r#"probe("uprobe:BIN:workload_double").by(arg0).count()"#);
    assert_eq!((output.rows().len(), output.trust("lost")), (1009, 0));
}

#[test]
fn table_takes_a_key_of_a_thousand_bytes() {
    guest!();
    let script = r#"probe("uprobe:BIN:workload_greet").by(str(arg0, 500), buf(arg0, 500)).count()"#;
    let run = Skep::on("greet 23 hello", &script.replace("BIN", &workload::path())).run();
    if run.status == Some(1) && run.err.contains("is too long for this kernel: at most 512") {
        return lacks("at most 512");
    }
    assert_eq!(run.ok().rows()[0].1, 23);
}

#[test]
fn address_is_shown_as_a_symbol_of_a_process_that_ended() {
    guest!();
    let output = run("fork 3 call 23", r#"probe("uprobe:BIN:workload_call").by(usym(arg0)).count()"#);
    let rows = output.rows();
    assert!(!rows.is_empty() && rows.iter().all(|(name, count)| name == "workload_negate" && *count == 23), "{output}");
}

#[test]
fn template_opensnoop_sees_23_opens() {
    guest!();
    let output = run("open 23 /nowhere", r#"template("opensnoop").by(path, error).count()"#);
    assert_eq!(output.row("/nowhere ENOENT"), 23, "{output}");
}

#[test]
fn template_execsnoop_sees_23_programs_of_their_parent() {
    guest!();
    let workload = Workload::stopped("exec 23");
    let script = format!("template(\"execsnoop\").filter(ppid == {}).by(argv).count()", workload.pid());
    let run = Skep::script(&script).start().attached();
    workload.go();
    assert_eq!(run.interrupt().ok().row("/bin/true"), 23);
}

#[test]
fn template_killsnoop_sees_23_signals() {
    guest!();
    let output = run("kill 23 0", r#"template("killsnoop").filter(target == pid).by(error).count()"#);
    assert_eq!(output.trust("counted"), 23, "{output}");
}

#[test]
fn template_runqlat_sees_every_wakeup() {
    guest!();
    let workload = Workload::stopped(&"sleep 5 ".repeat(23));
    let script = format!("template(\"runqlat\", #{{ process: {} }}).by(task).count()", workload.pid());
    let run = Skep::script(&script).start().attached();
    workload.go();
    let output = run.interrupt().ok();
    // Also when it is preempted; a minute of waiting is none.
    assert!(output.row(workload::NAME).as_u64().is_some_and(|count| (23..1009).contains(&count)), "{output}");
}

#[test]
fn template_biolatency_sees_23_reads_of_the_disk() {
    guest!();
    let workload = Workload::stopped("block 23 /dev/nvme0n1");
    let run =
        Skep::script(r#"template("biolatency", #{ disk: "nvme0n1" }).by(kind, disk, size).count()"#).start().attached();
    workload.go();
    let output = run.interrupt().ok();
    assert_eq!(output.row("read nvme0n1 4096"), 23, "{output}");
}

#[test]
fn programs_carry_type_information() {
    guest!();
    let script = r#"probe("tracepoint:syscalls:sys_enter_getpgid").count(); template("runqlat").hist(elapsed);"#;
    let run = Skep::script(script).start().attached();
    let programs = kernel::programs_of(run.pid());
    let without: Vec<u32> =
        programs.iter().copied().filter(|program| kernel::type_information_of(*program) == 0).collect();
    run.interrupt().ok();
    assert!(!programs.is_empty() && without.is_empty(), "programs {without:?} of {programs:?}");
}

#[test]
fn killed_run_leaves_nothing_in_the_kernel() {
    guest!();
    let script = r#"
        probe("tracepoint:syscalls:sys_enter_getpgid").count();
        probe("tracepoint:sched:sched_switch").filter(args.next_pid == 1).count();
        probe("uprobe:BIN:workload_*").by(probe).count();
        probe("software:cpu-clock:10000000").by(pid).count();
        template("biolatency").hist(elapsed);
    "#;
    let run = Skep::script(&script.replace("BIN", &workload::path())).start().attached();
    let programs = kernel::programs_of(run.pid());
    assert!(programs.len() >= 5);
    run.signal(libc::SIGKILL).end();
    kernel::assert_gone(&programs);
}

#[test]
fn doctor_finds_every_source_but_hardware_counters() {
    guest!();
    let lacking: Vec<String> =
        doctor().into_iter().filter(|(_, state)| state == "no").map(|(source, _)| source).collect();
    // Emulated processors have no counters.
    assert_eq!(lacking, ["hardware"]);
}

/// Source and state, as `skep doctor` tries them.
fn doctor() -> Vec<(String, String)> {
    let report = Skep::new(&["doctor", "--json"]).run().ok().json().remove(0);
    let text = |source: &serde_json::Value, member: &str| source[member].as_str().unwrap_or_default().to_owned();
    let sources = report["sources"].as_array().into_iter().flatten();
    sources.map(|source| (text(source, "source"), text(source, "state"))).collect()
}

/// What skep uses where the kernel has it, from this version on.
#[track_caller]
fn assert_feature(source: &str, since: (u32, u32), otherwise: &str) {
    let state = doctor().into_iter().find(|(one, _)| one == source).map(|(_, state)| state);
    match state.as_deref() {
        Some("degraded") if release() < since => lacks(otherwise),
        state => assert_eq!(state, Some("ok"), "{source}"),
    }
}

#[test]
fn one_link_holds_a_glob_of_uprobes() {
    guest!();
    assert_feature("uprobe.multi", (6, 6), "a perf event each");
}

#[test]
fn one_program_serves_a_glob_of_raw_tracepoints() {
    guest!();
    assert_feature("rawtracepoint", (6, 10), "a program each");
}

#[test]
fn kernel_relocates_templates_by_itself() {
    guest!();
    assert_feature("kernel CO-RE", (5, 17), "skep does");
}

#[test]
fn copied_stacks_are_unwound_to_their_roots() {
    guest!();
    // In the process, and where it entered the kernel.
    for verbs in ["spin 2000", "getpgid 1000000"] {
        let script = "probe(\"profile:hz:99\").filter(comm == \"skep-workload\").by(ustack).count()";
        // The workload keeps a buffer on its stack: all of it is about 16 KiB deep.
        let output = Skep::on(verbs, script).arguments(&["--unwind", "dwarf,24576"]).run().ok();
        let (mut all, mut complete) = (0, 0);
        for row in output.table(0)["rows"].as_array().into_iter().flatten() {
            let chain = row["key"]["ustack"].as_array().cloned().unwrap_or_default();
            let count = row["value"].as_u64().unwrap_or(0);
            all += count;
            complete +=
                if chain.contains(&json!("main")) && chain.last() == Some(&json!("_start")) { count } else { 0 };
        }
        // Some samples are of the time before `main`.
        assert!(all > 10 && 10 * complete > 7 * all, "{complete} of {all}\n{output}");
    }
}
