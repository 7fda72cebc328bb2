//! Least privilege: what a running script's process still holds, and that it works without the rest.

use skep_tests::machine::{Folder, program};
use skep_tests::skep::binary;
use skep_tests::{Skep, privileged};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A line of /proc/PID/status, without its name.
#[track_caller]
fn status(pid: u32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.trim_start_matches(':').trim().to_owned()
}

#[track_caller]
fn capabilities(pid: u32, name: &str) -> u64 {
    u64::from_str_radix(&status(pid, name), 16).expect("a hexadecimal number")
}

/// Calls of this test alone; prime.
const CALLS: u64 = 23;

fn call() {
    for _ in 0..CALLS {
        // SAFETY: it takes a number and gives one.
        unsafe { libc::getpgid(0) };
    }
}

fn counter() -> String {
    format!("probe(\"tracepoint:syscalls:sys_enter_getpgid\").filter(pid == {}).count()", std::process::id())
}

const SYS_PTRACE: u64 = 1 << 19;
const SYS_MODULE: u64 = 1 << 16;
const SETUID: u64 = 1 << 7;

#[test]
fn nothing_is_left_while_the_last_run_is_on() {
    privileged!();
    let run = Skep::script(&counter()).start().attached();
    let pid = run.pid();
    // It says that it is attached a moment before it gives up the rest.
    let mut run = run;
    run.until("it gave up everything", |run| status(run.pid(), "Seccomp_filters") == "2");
    assert_eq!(capabilities(pid, "CapEff"), 0);
    assert_eq!(capabilities(pid, "CapPrm"), 0);
    assert_eq!(capabilities(pid, "CapBnd"), 0);
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    assert_eq!(status(pid, "Seccomp"), "2");
    call();
    let output = run.interrupt().ok();
    assert!(output.err.contains(&format!("{CALLS} counted, 0 lost")), "{output}");
}

#[test]
fn runs_that_others_follow_give_up_what_comes_back() {
    privileged!();
    let script = format!("let a = {0}.run(\"2s\"); let b = {0}.run(\"2s\");", counter());
    let mut run = Skep::script(&script).start().attached();
    run.until("its thread has nothing", |run| capabilities(run.pid(), "CapEff") == 0);
    let permitted = capabilities(run.pid(), "CapPrm");
    assert_eq!(permitted & (SYS_MODULE | SETUID), 0);
    assert_ne!(permitted & SYS_PTRACE, 0);
    // Twice attached, so it came back.
    let output = run.end().ok();
    assert_eq!(output.err.matches("attached `tracepoint").count(), 2, "{output}");
}

#[test]
fn a_command_keeps_what_its_caller_has() {
    privileged!();
    let script = "probe(\"tracepoint:syscalls:sys_enter_getpgid\").count()";
    let output = Skep::new(&["-e", script, "-c", "grep -E 'CapEff|NoNewPrivs' /proc/self/status"]).run().ok();
    let own = capabilities(std::process::id(), "CapEff");
    assert!(output.out.contains(&format!("CapEff:\t{own:016x}")), "{output}");
    assert!(output.out.contains("NoNewPrivs:\t0"), "{output}");
}

#[test]
fn a_script_writes_only_files_that_were_named() {
    privileged!();
    // SAFETY: asks for the version alone. Source: landlock_create_ruleset(2), LANDLOCK_CREATE_RULESET_VERSION.
    if unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) } < 1 {
        return println!("skipped: needs Landlock");
    }
    let folder = std::env::temp_dir().join(format!("skep-named-{}", std::process::id()));
    fs::create_dir_all(folder.join("other")).expect("a folder of the test's own");
    let (named, other) = (folder.join("a.csv"), folder.join("other/b.csv"));
    let script = |path: &str| format!("let p = {}; every(\"100ms\", || {{ p.csv({path}); exit(0); }});", counter());
    Skep::script(&script(&format!("{:?}", named.display().to_string()))).run().ok();
    assert!(named.is_file());
    // Made up while it runs: nobody who read the script knew.
    let hidden = format!("{:?} + \"b.csv\"", format!("{}/", folder.join("other").display()));
    let hidden = hidden.replace("/other/", "/o\" + \"ther/");
    let output = Skep::script(&script(&hidden)).run();
    assert!(output.err.contains("permission denied"), "{output}");
    assert!(!other.exists());
    fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn a_plan_names_what_it_needs() {
    let needs = |script: &str| {
        let output = Skep::new(&["plan", "-e", script]).run().ok();
        let line = output.out.lines().find_map(|line| line.strip_prefix("   needs   ").map(str::to_owned));
        line.unwrap_or_else(|| panic!("no needs: {output}"))
    };
    assert_eq!(needs("probe(\"tracepoint:syscalls:sys_enter_getpgid\").count()"), "CAP_BPF, CAP_PERFMON");
    assert_eq!(
        needs("probe(\"profile:hz:99\").by(kstack).count()"),
        "CAP_BPF, CAP_PERFMON; CAP_SYSLOG for names of the kernel's functions; CAP_SYS_PTRACE for names of functions \
         of other users' processes"
    );
    assert_eq!(needs("probe(\"tc:lo\").count()"), "CAP_BPF, CAP_NET_ADMIN");
}

#[test]
fn the_line_that_the_doctor_prints_lets_nobody_trace() {
    privileged!();
    let Some(setcap) = program("setcap") else { return };
    let folder = Folder::new();
    let copy = folder.0.join("skep");
    fs::copy(binary(), &copy).expect("there is room for skep");
    let nobody = |arguments: &[&str]| Skep::at(&copy, arguments).as_nobody();
    let refused = nobody(&["-e", &counter()]).run().status_is(1);
    assert!(refused.err.contains("CAP_BPF and CAP_PERFMON are missing"), "{refused}");
    let units = nobody(&["doctor", "--units"]).run().ok();
    let line = units.out.lines().find_map(|line| line.strip_prefix("#   sudo setcap ")).expect("the line is there");
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(Path::new(words[1]), copy);
    assert!(Command::new(setcap).args(&words).status().expect("it starts").success());
    let run = nobody(&["-e", &counter()]).start().attached();
    call();
    let output = run.interrupt().ok();
    assert!(output.err.contains(&format!("{CALLS} counted, 0 lost")), "{output}");
}

#[test]
fn units_are_such_as_systemd_reads() {
    let Some(analyze) = program("systemd-analyze") else { return };
    let units = Skep::new(&["doctor", "--units"]).run().ok();
    let folder = Folder::new();
    let mut files = Vec::new();
    for part in units.out.split("cat > /etc/systemd/system/").skip(1) {
        let (name, rest) = part.split_once(" <<'END'\n").expect("a here document");
        let (text, _) = rest.split_once("END\n").expect("it ends");
        files.push(folder.file(name, text));
    }
    assert_eq!(files.len(), 2);
    let verified = Command::new(analyze).arg("verify").args(&files).output().expect("it starts");
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    let ours = said.lines().filter(|line| line.contains("skep-helper"));
    assert!(verified.status.success() && ours.count() == 0, "{said}");
}
