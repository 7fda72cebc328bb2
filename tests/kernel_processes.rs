//! Whose events are counted, on every kernel: children, theirs, and the numbers of a pid namespace.

use skep_tests::guest::heard;
use skep_tests::{Output, Skep, Workload, guest, workload};
use std::time::{Duration, Instant};

const CALLS: &str = "probe(\"t:syscalls:sys_enter_getpgid\").count();";
/// 5 calls of the process, 11 of each of its 7 children, 3 of each of their 2.
const FAMILY: &str = "getpgid 5 fork 7 getpgid 11 fork 2 getpgid 3";
const OF_ALL: i64 = 5 + 7 * 11 + 14 * 3;

#[test]
fn children_of_a_command_are_followed() {
    guest!();
    let uprobes = "probe(\"uprobe::workload_double\").count();";
    let output = heard(|| Skep::on(FAMILY, CALLS).run());
    assert_eq!(output.value(), OF_ALL, "{output}");
    assert_eq!(Skep::on("double 5 fork 7 double 11 become double 3", uprobes).run().ok().value(), 5 + 7 * (11 + 3));
}

#[test]
fn children_of_a_pid_are_followed_where_asked() {
    guest!();
    for (options, calls) in [(&[] as &[&str], 5), (&["--follow-forks"], OF_ALL)] {
        let output = heard(|| {
            let workload = Workload::stopped(FAMILY);
            let run = Skep::script(CALLS).arguments(&["--pid", &workload.pid()]).arguments(options).start().attached();
            workload.go();
            run.interrupt()
        });
        assert_eq!(output.value(), calls, "{output}");
    }
}

/// A script as process 1 of a pid namespace, on a workload that is process 2 there.
#[track_caller]
fn in_container(verbs: &str, options: &[&str]) -> Output {
    let workload = format!("{} stop {verbs} &", workload::path());
    let run = Skep::script(CALLS).arguments(options).in_pid_namespace(&workload).start().attached();
    let (skep, inner) = (number_here(1), number_here(2));
    // What comes before it has stopped is lost on it: nobody says that it had its turn yet.
    wait_until("it stops", || workload::state(inner) == Some('T'));
    signal(inner as i32, libc::SIGCONT);
    // Its parent there does not wait for it.
    wait_until("it ends", || matches!(workload::state(inner), None | Some('Z' | 'X')));
    // `unshare`, which was started, keeps signals to itself. A run of one process may have ended with it.
    // SAFETY: signals a process of the run, which is not waited for yet.
    let _ended = unsafe { libc::kill(skep as i32, libc::SIGINT) };
    run.end()
}

/// The number that process `n` of the only inner pid namespace has outside.
#[track_caller]
fn number_here(n: u32) -> u32 {
    let all = std::fs::read_dir("/proc").expect("/proc is mounted").flatten();
    let mut texts = all.filter_map(|entry| std::fs::read_to_string(entry.path().join("status")).ok());
    let numbers = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"))?.to_owned();
        line.split_whitespace().map(|number| number.parse().ok()).collect::<Option<Vec<u32>>>()
    };
    let outside = texts.find_map(|text| match *numbers(text)? {
        [outside, inside] if inside == n => Some(outside),
        _ => None,
    });
    outside.unwrap_or_else(|| panic!("no namespace has a process {n}"))
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: signals a process of the run that the caller has started and not waited for.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(60), "the workload does not get as far as `{what}`");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn pid_is_of_the_pid_namespace() {
    guest!();
    for (options, calls) in [(&["--pid", "2"] as &[&str], 5), (&["--pid", "2", "--follow-forks"], OF_ALL)] {
        let output = heard(|| in_container(FAMILY, options));
        assert_eq!(output.value(), calls, "{output}");
    }
    let command = heard(|| Skep::on(FAMILY, CALLS).in_pid_namespace("").run());
    assert_eq!(command.value(), OF_ALL, "{command}");
}
