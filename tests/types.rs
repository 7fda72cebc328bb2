//! The kernel's structures by name: what is wrong is said against a small kernel of which only the types are at hand; what
//! is read is read from the one that runs.

use serde_json::json;
use skep_tests::machine::{Folder, here, program};
use skep_tests::{Output, Skep, Workload, golden, privileged, workload};
use std::process::Command;

fn kernel() -> String {
    here("fixtures/types/kernel.o").display().to_string()
}

fn planned(script: &str) -> Output {
    Skep::new(&["plan", "--btf", &kernel(), "-e", script]).as_nobody().run()
}

/// Fixture, source, and what the compiler is told beside.
const FIXTURES: [(&str, &str, &[&str]); 5] = [
    ("kernel.o", "kernel.c", &[]),
    ("block.o", "block.c", &[]),
    ("diskless.o", "block.c", &["-DDISKLESS"]),
    ("sockets.o", "sockets.c", &[]),
    ("sockets-v4.o", "sockets.c", &["-DIPV4_ONLY"]),
];

#[test]
fn fixtures_are_what_their_sources_compile_to() {
    let (Some(clang), scratch) = (program("clang-19"), Folder::new()) else { return };
    for (fixture, source, options) in FIXTURES {
        let object = scratch.0.join(fixture);
        let mut compile = Command::new(&clang);
        compile.current_dir(here("fixtures/types"));
        compile.args(["-target", "bpf", "-g", "-O2", "-Wall", "-fdebug-compilation-dir=."]).args(options);
        compile.args(["-c", source, "-o"]).arg(&object);
        assert!(compile.status().is_ok_and(|status| status.success()), "{compile:?}");
        // Only the types are of use; what debuggers want is left out.
        let strip = program("llvm-strip-19").expect("it comes with clang");
        assert!(Command::new(strip).arg("-g").arg(&object).status().is_ok_and(|status| status.success()));
        let compiled = std::fs::read(object).expect("clang wrote it");
        let fixture = here("fixtures/types").join(fixture);
        if std::env::var_os("SKEP_BLESS").is_some_and(|value| value == "1") {
            std::fs::write(&fixture, compiled).expect("the fixture can be written");
            continue;
        }
        let same = std::fs::read(&fixture).is_ok_and(|bytes| bytes == compiled);
        assert!(same, "{}: SKEP_BLESS=1 rewrites it", fixture.display());
    }
}

#[test]
fn templates_are_held_against_the_kernels_types() {
    let plan = |fixture: &str, script: &str| {
        let types = here("fixtures/types").join(fixture).display().to_string();
        Skep::new(&["plan", "--btf", &types, "-e", script]).as_nobody().run()
    };
    let (sizes, disks) = (r#"template("biolatency").hist(size);"#, r#"template("biolatency").by(disk).count();"#);
    // What one kernel has and another does not is behind a question, and what nobody asks for is not read.
    plan("block.o", sizes).ok();
    plan("block.o", disks).ok();
    plan("diskless.o", sizes).ok();
    let refused = plan("diskless.o", disks).status_is(1);
    let message = "error: template `biolatency` needs `request_queue.disk`, which this kernel does not have\n";
    assert!(refused.err.starts_with(message), "{refused}");
    assert!(
        refused.err.contains(" --> -e:1:1\n") && refused.err.contains("skep list 'struct:request_queue'"),
        "{refused}"
    );
    let refused = plan("kernel.o", sizes).status_is(1);
    let message = "error: template `biolatency` needs tracepoint `block_rq_issue`, and this kernel has none\n";
    assert!(refused.err.starts_with(message), "{refused}");
}

#[test]
fn plans_without_the_kernel_name_types() {
    let script = r#"
        probe("kprobe:vfs_open").by(args.path.dentry.d_name.len, args.path.dentry.d_name.name).count();
        probe("fentry:vfs_open").fields(str(args.path.dentry.d_name.name), args.file.f_flags);
        probe("rawtracepoint:woken").by(args.task.state, args.task.comm, args.task.mac, args.task.fds[2]).count();
        probe("rawtracepoint:woken").filter(args.task.state == "STOPPED" and args.task.exiting == 1).sum(args.task.level);
        probe("rawtracepoint:woken").sum(args.task.signed_level);
        probe("tracepoint:any:woken").by(args.pid, args.comm, args.reason).count();
        probe("kretprobe:vfs_read").hist(retval);
        span("kprobe:vfs_read", "kretprobe:vfs_read").by(str(start.args.file.f_path.dentry.d_name.name)).sum(retval);
        probe("rawtracepoint:woken").by(cast(args.task.children[1], "struct task").parent.parent.comm).count();
        probe("rawtracepoint:woken").by(first_of([args.task.__state, args.task.state])).count();
        probe(first_of(["kprobe:vfs_open_new", "kprobe:vfs_open"])).count();
    "#;
    golden("types/plans", &planned(script).ok().out);
}

#[test]
fn members_that_are_not_there() {
    let cases = [
        r#"probe("kprobe:vfs_opne").count();"#,
        r#"probe("rawtracepoint:wokne").by(args.task).count();"#,
        r#"probe("tracepoint:any:wokne").count();"#,
        r#"probe("kprobe:vfs_open").by(args.pth).count();"#,
        r#"probe("kprobe:vfs_open").by(args.path.dentri).count();"#,
        r#"probe("kprobe:vfs_open").by(args.path.dentry.d_name).count();"#,
        r#"probe("kprobe:vfs_open").by(args.path.mnt.root).count();"#,
        r#"probe("kprobe:vfs_open").by(path(args.file)).count();"#,
        r#"probe("kprobe:vfs_open").by(path(args.file, 64)).count();"#,
        r#"probe("kprobe:vfs_open").by(path(args.file.f_flags)).count();"#,
        r#"probe("kprobe:vfs_open").by(path(arg1)).count();"#,
        r#"probe("kprobe:vfs_open").by(path(args.path.dentry.d_inode)).count();"#,
        r#"probe("kprobe:vfs_open").by(args.file.private_data.x).count();"#,
        r#"probe("kprobe:vfs_open").by(args.file.f_flags.x).count();"#,
        r#"probe("kprobe:vfs_open").by(args.file.balance).count();"#,
        r#"probe("kprobe:vfs_open").by(arg0.dentry).count();"#,
        r#"probe("kprobe:vfs_open").by(cast(arg0, "struct pth").dentry).count();"#,
        r#"probe("kprobe:vfs_open").by(cast(arg0, "struct file").f_flag).count();"#,
        r#"probe("kprobe:vfs_open").by(cast(comm, "struct file").f_flags).count();"#,
        r#"probe("rawtracepoint:woken").by(args.task.fds[4]).count();"#,
        r#"probe("rawtracepoint:woken").by(args.task.fds[-1]).count();"#,
        r#"probe("rawtracepoint:woken").by(args.task.children.comm).count();"#,
        r#"probe("rawtracepoint:woken").by(args.task.comm[0][1]).count();"#,
        r#"probe("rawtracepoint:woken").filter(args.task.state == "STOPED").count();"#,
        r#"probe("rawtracepoint:woken").filter(args.task.state < "STOPPED").count();"#,
        r#"probe("rawtracepoint:woken").by(enum_name(args.cpu, "stat")).count();"#,
        r#"probe("rawtracepoint:woken").by(first_of([args.task.a, args.task.b])).count();"#,
        r#"probe("kretprobe:wake").by(retval).count();"#,
        r#"probe("iter:task").count();"#,
        r#"span("iter:task", "kprobe:vfs_open").count();"#,
    ];
    let one = |case: &&str| planned(case).status_is(1).err;
    golden("types/members", &cases.iter().map(one).collect::<Vec<_>>().join("\n"));
}

#[test]
fn structures_are_listed_as_they_are_declared() {
    let list = |pattern: &str| Skep::new(&["list", "--btf", &kernel(), pattern]).as_nobody().run();
    let all = ["struct:task", "enum:state", "struct:qstr", "struct:*path*"].map(|pattern| list(pattern).ok().out);
    golden("types/structures", &all.join("\n"));
    assert!(list("struct:tsk").status_is(1).err.contains("did you mean `struct:task`?"));
}

#[test]
fn file_without_types_is_an_error() {
    let output = Skep::new(&["plan", "--btf", "/etc/hostname", "-e", "probe(\"kprobe:x\").count()"]).run().status_is(1);
    assert!(output.err.starts_with("error: `/etc/hostname` holds no types of a kernel: "), "{output}");
    let output = Skep::new(&["run", "--btf", &kernel(), "syscount"]).run().status_is(1);
    assert!(output.err.contains("`--btf` is for plans"), "{output}");
}

#[test]
fn structures_are_read_from_the_kernel_that_runs() {
    privileged!();
    let script = r#"
        let exec = probe("rawtracepoint:sched_process_exec");
        exec.fields(
            #{ same: cast(arg0, "struct task_struct").tgid == pid },
            #{ name: str(args.bprm.file.f_path.dentry.d_name.name) },
            #{ length: args.bprm.file.f_path.dentry.d_name.len },
            #{ comm: args.p.comm },
            #{ bit: args.p.in_execve },
            #{ first: args.p.comm[0] },
            #{ parent: args.p.real_parent.tgid == curtask.real_parent.tgid },
        );
    "#;
    let output = Skep::on("exec 1", script).run().ok();
    let events = output.objects("event");
    let last = events.last().expect("the command executes itself");
    let name = workload::path().rsplit('/').next().expect("a path has a last part").to_owned();
    let fields = &last["fields"];
    assert_eq!([&fields["same"], &fields["bit"], &fields["parent"]], [&json!(1), &json!(1), &json!(1)], "{output}");
    assert_eq!(fields["length"], fields["name"].as_str().map_or(0, str::len), "{output}");
    let comm = fields["comm"].as_str().unwrap_or_default();
    assert_eq!(fields["first"], comm.bytes().next().unwrap_or_default(), "{output}");
    assert!(events.iter().any(|event| event["fields"]["name"] == name.as_str()), "{output}");
}

#[test]
fn enumerations_and_network_order_are_exact() {
    privileged!();
    let script = r#"
        fn calls() { probe("tracepoint:syscalls:sys_enter_getpgid") }
        calls().by(#{ kind: enum_name(args.pid + 2, "pid_type") }).count();
        calls().filter(cast(args.pid + 3, "enum pid_type") == "PIDTYPE_SID").count();
        calls().by(#{ short: ntohs(args.pid + 0x1234) }, #{ long: ntohl(args.pid + 0x12345678) }).count();
        calls().by(#{ cut: cast(args.pid + 0x1ff, "u8") }).count();
    "#;
    let output = Skep::on("getpgid 101", script).run().ok();
    assert_eq!(output.table(0)["rows"], json!([{ "key": { "kind": "PIDTYPE_PGID" }, "value": 101 }]));
    assert_eq!(output.table(1)["rows"], json!([{ "key": {}, "value": 101 }]));
    assert_eq!(output.table(2)["rows"], json!([{ "key": { "short": 0x3412, "long": 0x7856_3412u32 }, "value": 101 }]));
    assert_eq!(output.table(3)["rows"], json!([{ "key": { "cut": 0xff }, "value": 101 }]));
}

#[test]
fn iterators_see_what_is_there() {
    privileged!();
    let children: Vec<Workload> = (0..7).map(|_| Workload::stopped("getpgid 1")).collect();
    let own = std::process::id();
    let script = format!(
        r#"
        let tasks = probe("iter:task").filter(args.task.real_parent.tgid == {own} and pid == tid);
        tasks.by(pid).count();
        probe("iter:task_file").filter(args.task.real_parent.tgid == {own}).by(pid, args.fd).count();
    "#
    );
    let output = Skep::script(&script).run().ok();
    let pids: Vec<String> = children.iter().map(Workload::pid).collect();
    let seen = |table: usize| -> Vec<String> {
        let rows = output.table(table)["rows"].as_array().cloned().unwrap_or_default();
        let pid = |row: &serde_json::Value| row["key"]["pid"].to_string();
        rows.iter().map(pid).filter(|pid| pids.contains(pid)).collect()
    };
    assert_eq!(seen(0).len(), 7, "{output}");
    let opened = |pid: &String| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    assert_eq!(seen(1).len(), pids.iter().map(opened).sum::<usize>(), "{output}");
    children.into_iter().for_each(Workload::go);
}

#[test]
fn iterators_look_once_more_when_the_run_was_ended() {
    privileged!();
    let script = format!(
        r#"
        print("begun");
        probe("interval:s:1").count().quiet().run();
        loop {{ print(probe("iter:task").filter(pid == {} and pid == tid).count().quiet().run("1s")); }}
    "#,
        std::process::id()
    );
    let run = Skep::new(&["-e", &script]).start().attached();
    let output = run.interrupt();
    assert_eq!((output.out.as_str(), output.status), ("begun\n1\n", Some(0)), "{output}");
}
