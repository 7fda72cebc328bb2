//! Faults of the machine: a disk that is full, tracefs that goes away, an interface that is removed.

use crate::scene::{BEFORE, Scene, script};
use serde_json::json;
use skep_tests::left::Held;
use skep_tests::machine::{Folder, program};
use skep_tests::skep::Running;
use skep_tests::{Namespace, Skep, privileged, workload};
use std::process::Command;

/// A file system of a mount namespace's own, with hardly any room.
const SMALL: &str = "mount -t tmpfs -o size=64k none /mnt";

/// A run of every kind that writes a file while it goes on or when it ends: each fails, says so, and leaves nothing.
#[test]
fn full_disk_is_an_error_that_names_the_file_and_leaves_nothing() {
    privileged!();
    if program("unshare").is_none() {
        return;
    }
    let chains = r#"probe("tracepoint:syscalls:sys_enter_getppid").by(kstack, tid).count(); run("300ms");"#;
    let stream = r#"probe("tracepoint:syscalls:sys_enter_getppid").fields(pid, comm, nsecs);"#;
    for (file, arguments) in [
        ("/mnt/graph.svg", vec!["-o", "/mnt/graph.svg", "-e", chains]),
        ("/mnt/report.html", vec!["--report", "/mnt/report.html", "-e", stream]),
        ("/mnt/run.skep", vec!["record", "-o", "/mnt/run.skep", "-e", stream]),
    ] {
        let command = workload::line("getppid 10007");
        let run = Skep::new(&arguments).arguments(&["-q", "-c", &command]);
        let output = run.after_mounts(&format!("{SMALL}; head -c 60000 /dev/zero > /mnt/fill")).run();
        assert_eq!(output.status, Some(1), "{file}: {output}");
        let line = output.err.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(line.contains(file) && line.contains("no space left on device"), "{file}: {output}");
        assert!(!output.err.contains("panicked"), "{output}");
    }
}

#[test]
fn full_standard_output_is_an_error_and_leaves_nothing() {
    privileged!();
    let scene = Scene::set();
    let pid = scene.workload.pid();
    let text =
        script(r#"probe("uprobe:BIN:workload_double").fields(arg0); probe("uprobe:BIN:workload_negate").count();"#);
    let line = format!("exec {} --pid {pid} -e '{text}' > /dev/full", skep_tests::skep::binary().display());
    let mut command = Command::new("sh");
    command.args(["-c", &line]);
    let run = Running::of(command).attached();
    let held = Held::of(run.pid());
    scene.workload.go_on();
    let output = run.end();
    assert!(!output.err.contains("panicked") && output.status.is_some(), "{output}");
    assert!(output.err.contains("error: ") && output.err.contains("no space left on device"), "{output}");
    scene.over(&held);
}

/// A command in the mount namespace of a run.
#[track_caller]
fn within(run: &Running, line: &str) {
    let pid = run.pid().to_string();
    let output =
        Command::new("nsenter").args(["--mount", "-t", &pid, "sh", "-ec", line]).output().expect("nsenter runs");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn tracefs_that_goes_away_is_not_missed_by_what_is_attached() {
    privileged!();
    if program("unshare").is_none() || program("nsenter").is_none() {
        return;
    }
    let scene = Scene::set();
    let run = scene.run(|run| run.after_mounts("mount --make-rprivate /"));
    let unmounted = |run: Running| {
        within(&run, "umount -l /sys/kernel/tracing; umount -l /sys/kernel/debug/tracing 2>/dev/null || true");
        run.interrupt()
    };
    let output = scene.faulted(run, unmounted).ok();
    for n in 0..2 {
        assert_eq!(output.table(n)["rows"][0]["value"], BEFORE, "{output}");
    }
    assert_eq!(output.table(2)["rows"][0], json!({ "key": { "comm": workload::NAME }, "value": BEFORE }), "{output}");
}

#[test]
fn interface_that_is_removed_ends_nothing_and_leaves_nothing() {
    privileged!();
    for hook in ["tc", "xdp"] {
        let (a, b) = (Namespace::new(), Namespace::new());
        Namespace::pair(&a, &b, "10.9.0.1/24", "10.9.0.2/24");
        let text = format!(
            r#"let seen = template("capture", #{{ interface: "to_a", hook: "{hook}", direction: "ingress" }})
                .filter(tcpdump("udp port 9")).count(); run(); print(seen.value());"#
        );
        let run = Skep::script(&text).in_network(&b).start().attached();
        let held = Held::of(run.pid());
        a.inside(|| {
            let socket = std::net::UdpSocket::bind("10.9.0.1:0").expect("the address is there");
            (0..23).for_each(|_| drop(socket.send_to(b"seen", "10.9.0.2:9")));
        });
        b.run("ip link del to_a");
        let output = run.interrupt().ok();
        assert_eq!(output.texts(), ["23"], "{hook}: {output}");
        held.assert_gone();
    }
}

#[test]
fn namespace_that_is_removed_leaves_nothing() {
    privileged!();
    let (a, b) = (Namespace::new(), Namespace::new());
    Namespace::pair(&a, &b, "10.9.0.1/24", "10.9.0.2/24");
    let run = Skep::script(r#"template("capture", #{ interface: "to_a" }).count()"#).in_network(&b).start().attached();
    let held = Held::of(run.pid());
    drop((a, b));
    run.interrupt().ok();
    held.assert_gone();
}

#[test]
fn audit_log_on_a_full_disk_stays_whole() {
    privileged!();
    if program("unshare").is_none() {
        return;
    }
    let folder = Folder::new();
    let copy = folder.0.join("audit.jsonl").display().to_string();
    // Runs until one finds no room; what is there afterwards is a chain.
    let runs = format!(
        "{SMALL}; for n in $(seq 101); do \"$0\" -q --audit /mnt/audit.jsonl \"$@\" || break; done; cp /mnt/audit.jsonl {copy}; exit 7"
    );
    let script = r#"probe("tracepoint:syscalls:sys_enter_getpgid").count().run("1ms");"#;
    let output = Skep::new(&["-e", script]).after_mounts(&runs).run().status_is(7);
    assert!(output.err.contains("no space left on device"), "{output}");
    let verdict = Skep::new(&["audit", "verify", &copy, "--format", "json"]).run().ok().json();
    assert!(verdict[0]["last"].as_u64().is_some_and(|last| last > 7) && verdict[0]["torn"] == 0, "{verdict:?}");
}
