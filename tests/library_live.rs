//! Scripts of the library on workloads of the test's own, whole: as a user runs them, with counts that are known.

use serde_json::{Value, json};
use skep_tests::watched::{sum, watched};
use skep_tests::{Cgroup, Output, Skep, Workload, privileged};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Who makes connections: some scripts see those of the whole machine.
static CONNECTIONS: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    CONNECTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A script while the workload does its work in a control group of the test's own.
#[track_caller]
fn watched_packets(verbs: &str, words: &[&str]) -> Output {
    let _alone = alone();
    let group = Cgroup::new();
    let path = group.0.display().to_string();
    let run =
        Skep::new(&["--format", "json", "run"]).arguments(words).arguments(&["--cgroup", &path]).start().attached();
    Workload::stopped(&format!("join {path} alone {verbs}")).go();
    run.interrupt().ok()
}

#[test]
fn stackcount_counts_every_call() {
    privileged!();
    let output = watched("getpgid 1009", &["stackcount", "--probe", "t:syscalls:sys_enter_getpgid"]);
    assert_eq!(sum(&output.table(0)), 1009, "{output}");
    assert!(output.out.contains("__x64_sys_getpgid") || output.out.contains("do_syscall"), "{output}");
}

#[test]
fn faultstacks_has_a_fault_for_each_page_that_is_touched() {
    privileged!();
    let output = watched("touch 1009", &["faultstacks"]);
    let faults = sum(&output.table(0));
    // The program takes some for its own end.
    assert!((1009..1500).contains(&faults), "{output}");
}

#[test]
fn httplatency_counts_requests_by_path_and_status() {
    privileged!();
    let output = watched_packets("http tcp4 23 GET /cart 200 5", &["httplatency"]);
    let key = json!({ "method": "GET", "path": "/cart", "status": 200 });
    assert_eq!(output.table(1)["rows"], json!([{ "key": key, "value": 23 }]), "{output}");
    assert_eq!(output.table(0)["rows"][0]["value"]["n"], 23, "{output}");
}

#[test]
fn tlssnoop_counts_hellos_by_name() {
    privileged!();
    let output = watched_packets("hello tcp4 23 shop.example 1", &["tlssnoop"]);
    let rows = output.table(0)["rows"].clone();
    assert_eq!(
        (&rows[0]["key"]["sni"], &rows[0]["value"], sum(&output.table(0))),
        (&json!("shop.example"), &json!(23), 23),
        "{output}"
    );
}

#[test]
fn httpsnoop_prints_every_request() {
    privileged!();
    let output = watched_packets("http tcp4 23 GET /cart 200 1", &["httpsnoop"]);
    let requests = output.objects("event").into_iter().filter(|event| event.to_string().contains("/cart")).count();
    // Once by the client, once by the server.
    assert_eq!(requests, 46, "{output}");
}

/// Connections of 73 bytes there and 56 back, in a network of their own.
#[track_caller]
fn watched_connections(words: &[&str]) -> Output {
    let _alone = alone();
    let run = Skep::new(&["--format", "json", "run"]).arguments(words).start().attached();
    Workload::stopped("fork 29 alone http tcp4 1 GET /cart 200 1").go();
    run.interrupt().ok()
}

#[test]
fn servicemap_has_the_edge_and_its_connections() {
    privileged!();
    let output = watched_connections(&["servicemap", "--port", "8080"]);
    for role in ["client", "server"] {
        let line = output.texts().into_iter().find(|line| line.trim_start().starts_with(role)).unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words.get(1..5), Some(&["skep-workload", "29", "2117", "1624"][..]), "{output}");
    }
}

#[test]
fn tcptop_adds_up_bytes() {
    privileged!();
    let output = watched_connections(&["tcptop", "--port", "8080"]);
    // A look each second: the connections may lie in two of them.
    let tables = output.objects("table");
    assert_eq!(tables.iter().map(sum).sum::<u64>(), 2 * 29 * (73 + 56), "{output}");
}

#[test]
fn tcpconnlat_times_every_connection() {
    privileged!();
    let output = watched_connections(&["tcpconnlat"]);
    let ours = |event: &&Value| event["fields"]["comm"] == "skep-workload" && event["fields"]["dport"] == 8080;
    let took = |event: &Value| event["fields"]["usecs"].as_u64().is_some_and(|us| us > 0);
    let events = output.objects("event");
    assert_eq!(events.iter().filter(ours).filter(|event| took(event)).count(), 29, "{output}");
}

#[test]
fn growing_tells_what_a_process_takes() {
    privileged!();
    let output = watched("touch 7001", &["growing"]);
    let texts = output.texts();
    let line = texts.iter().find(|text| text.contains("anonymous")).unwrap_or_else(|| panic!("{output}"));
    // From its first page to its last: 7,000 of them, and no more than fourteen for itself.
    assert_eq!(words(line)[3], "27.3MiB", "{output}");
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// A control group whose tasks run for 5 ms of every 50.
fn throttled_group() -> Cgroup {
    let v1 = Path::new("/sys/fs/cgroup/cpu");
    let (group, limits) = match v1.is_dir() {
        true => (Cgroup::below(v1), &[("cpu.cfs_period_us", "50000"), ("cpu.cfs_quota_us", "5000")][..]),
        false => (Cgroup::new(), &[("cpu.max", "5000 50000")][..]),
    };
    for (file, limit) in limits {
        std::fs::write(group.0.join(file), limit).expect("time is accounted");
    }
    group
}

/// A number of a group's `cpu.stat`.
fn counted(group: &Cgroup, name: &str) -> u64 {
    let text = std::fs::read_to_string(group.0.join("cpu.stat")).expect("it is there");
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(one, _)| *one == name).expect("it is counted").1.parse().expect("it is a number")
}

/// What `throttled` says of a group: in how many periods it was stopped, in all lines together, and for how long.
fn stopped(printed: &str, group: &Cgroup) -> (u64, f64) {
    let name = group.0.file_name().expect("it has one").to_string_lossy().into_owned();
    let lines = printed.lines().map(words).filter(|line| line.get(1) == Some(&&*format!("/{name}")));
    let milliseconds = |text: &str| match text.strip_suffix("ms") {
        Some(number) => number.parse().unwrap_or(f64::NAN),
        None => 1000.0 * text.strip_suffix('s').and_then(|number| number.parse().ok()).unwrap_or(f64::NAN),
    };
    lines.fold((0, 0.0), |(periods, time), line| {
        (periods + line[2].parse::<u64>().expect("a number"), time + milliseconds(line[6]))
    })
}

#[test]
fn throttled_counts_the_periods_that_the_kernel_counts() {
    privileged!();
    let [group, other] = [throttled_group(), throttled_group()];
    let run = Skep::new(&["run", "throttled"]).start();
    // It is told of one group: so it has had its first look at both.
    let early = Workload::stopped(&format!("join {} hog 1 3000000", other.0.display())).left();
    let mut run = run.printed(&other.0.file_name().expect("it has one").to_string_lossy());
    drop(early);
    Workload::stopped(&format!("join {} hog 1 1500", group.0.display())).go();
    // A last stop is timed when it is over; of version 1 in nanoseconds.
    std::thread::sleep(Duration::from_millis(101));
    let periods = counted(&group, "nr_throttled");
    let stood = match group.0.join("cpu.max").exists() {
        true => counted(&group, "throttled_usec") as f64 / 1e3,
        false => counted(&group, "throttled_time") as f64 / 1e6,
    };
    assert!(periods > 0, "its quota stops it");
    // Each time is rounded to three digits.
    let all = |(told, time): (u64, f64)| told == periods && (time - stood).abs() <= 0.01 * stood + 1.0;
    run.until("all are told", |run| all(stopped(&run.printed_so_far(), &group)));
    let output = run.interrupt().ok();
    assert!(all(stopped(&output.out, &group)), "{periods} periods, {stood} ms\n{output}");
}

/// The lines of `psi` below its head: shares of CPU, of memory and of disks, and no words.
fn shares(printed: &str) -> Vec<Vec<f64>> {
    let lines = printed.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit()));
    lines.map(|line| words(line)[1..].iter().filter_map(|word| word.parse().ok()).collect()).collect()
}

#[test]
fn psi_has_the_waits_of_a_group() {
    privileged!();
    let group = Cgroup::new();
    let name = format!("/{}", group.0.file_name().expect("it has one").to_string_lossy());
    let mut run = Skep::new(&["run", "psi", "--cgroup", &name]).start();
    run.until("one line", |run| shares(&run.printed_so_far()).len() == 1);
    let since = Instant::now();
    Workload::stopped(&format!("join {} crowd 3 4001", group.0.display())).go();
    let took = since.elapsed().as_secs_f64();
    let lines = shares(&run.printed_so_far()).len();
    run.until("two more", |run| shares(&run.printed_so_far()).len() >= lines + 2);
    let output = run.interrupt().ok();
    let shares = shares(&output.out);
    assert!(shares.iter().all(|line| line.len() == 5 && line[1..] == [0.0; 4]), "{output}");
    assert_eq!(shares[0], [0.0; 5], "nobody was there yet\n{output}");
    let pressure = std::fs::read_to_string(group.0.join("cpu.pressure")).expect("it is counted");
    let some = pressure.lines().next().and_then(|line| line.rsplit('=').next()?.parse::<f64>().ok());
    let waited = some.expect("a number") / 1e6;
    // Of three on one processor, two wait.
    assert!((3.0..took).contains(&waited), "{waited} of {took} s\n{pressure}");
    let told: f64 = shares.iter().map(|line| 2.0 * line[0] / 100.0).sum();
    assert!((told - waited).abs() < 0.1 * waited, "{told} of {waited} s\n{output}");
}

#[test]
fn psi_says_where_nothing_is_counted() {
    privileged!();
    let run = Skep::new(&["run", "psi"]).after_mounts("mount -t tmpfs none /proc/pressure");
    let output = run.run().status_is(1);
    assert_eq!(
        output.out, "this kernel does not count pressure (CONFIG_PSI, or psi=1 on its command line)\n",
        "{output}"
    );
}
