//! Scripts of the library on workloads of known size, a prime number of events each: what they count, print and stream is
//! what was done. Those about connections, packets, functions of the kernel and call chains have tests of their own.

use serde_json::{Value, json};
use skep_tests::machine::{Disk, Folder};
use skep_tests::workload::line;
use skep_tests::{Cgroup, Output, Skep, Workload, privileged};
use std::path::Path;

/// A script while a command of `skep-workload`, and what it starts, does `verbs`.
#[track_caller]
fn ran(script: &str, arguments: &[&str], verbs: &str) -> Output {
    let output = Skep::new(&["--format", "json", "run", script, "-c", &line(verbs)]).arguments(arguments).run().ok();
    assert_eq!(output.trust("lost"), 0, "{output}");
    output
}

/// Rows of the first table that have this in their key.
fn rows(output: &Output, column: &str, value: &Value) -> Vec<Value> {
    let table = output.table(0);
    let rows = table["rows"].as_array().cloned().unwrap_or_default();
    rows.into_iter().filter(|row| row["key"][column] == *value).collect()
}

/// Streamed events that have this.
fn events(output: &Output, column: &str, value: &Value) -> usize {
    let all = output.objects("event");
    all.iter().filter(|event| event["fields"][column] == *value).count()
}

/// Lines that hold this.
fn lines(output: &Output, part: &str) -> usize {
    output.texts().iter().filter(|text| text.contains(part)).count()
}

#[test]
fn process_scripts_tell_of_each_process() {
    privileged!();
    let output = ran("exitsnoop", &["--failed", "true"], "run 23 /bin/false");
    assert_eq!(events(&output, "status", &json!(1)), 23, "{output}");
    let output = ran("pidpersec", &[], "run 29 /bin/true sleep 1200");
    // A table each second.
    let started = |table: &Value| table["rows"][0]["value"].as_u64();
    let started: u64 = output.objects("table").iter().filter_map(started).sum();
    assert_eq!(started, 29, "{output}");
    let output = ran("threadsnoop", &[], "pause 31");
    assert_eq!(events(&output, "comm", &json!("skep-workload")), 31, "{output}");
    let output = ran("naptime", &[], "nap 37 3");
    let row = &rows(&output, "comm", &json!("skep-workload"))[0]["value"];
    assert_eq!((&row["n"], &row["sum"]), (&json!(37), &json!(37 * 3000)), "{output}");
    let output = ran("execsnoop", &[], "exec 41");
    assert_eq!(events(&output, "argv", &json!("/bin/true")), 41, "{output}");
    let output = ran("killsnoop", &[], "kill 43 0");
    assert_eq!(events(&output, "comm", &json!("skep-workload")), 43, "{output}");
}

#[test]
fn system_call_scripts_tell_of_each_call() {
    privileged!();
    let output = ran("statsnoop", &["--failed", "true"], "stat 23 /nonexistent/skep");
    assert_eq!(events(&output, "path", &json!("/nonexistent/skep")), 23, "{output}");
    assert_eq!(events(&output, "error", &json!("ENOENT")), output.objects("event").len(), "{output}");
    let output = ran("syserrors", &[], "badpgid 1009");
    let [row] = &rows(&output, "syscall", &json!("getpgid"))[..] else { panic!("{output}") };
    assert_eq!((&row["key"]["error"], &row["value"]), (&json!("ESRCH"), &json!(1009)), "{output}");
    let output = ran("syncsnoop", &[], "sync 29");
    assert_eq!((lines(&output, " fsync = 0, "), output.texts().len()), (29, 29), "{output}");
    let output = ran("mountsnoop", &[], "mount 31");
    assert_eq!(lines(&output, "mount -t tmpfs none /nonexistent/skep = ENOENT"), 31, "{output}");
    let output = ran("futexctn", &[], "wait 37");
    assert_eq!(rows(&output, "comm", &json!("skep-workload"))[0]["value"]["n"], 37, "{output}");
    let output = ran("syscount", &[], "getpgid 1013");
    assert_eq!(rows(&output, "syscall", &json!("getpgid"))[0]["value"], 1013, "{output}");
    let output = ran("bindsnoop", &[], "bind 41");
    assert_eq!((events(&output, "addr", &json!("127.0.0.1")), events(&output, "error", &json!("0"))), (41, 41));
}

#[test]
fn memory_scripts_tell_of_each_page_and_call() {
    privileged!();
    let output = ran("faults", &[], "touch 211");
    let wrote: u64 = rows(&output, "write", &json!(1)).iter().filter_map(|row| row["value"].as_u64()).sum();
    assert!((211..211 + 300).contains(&wrote), "{wrote}: its own start is a few more\n{output}");
    let asked = |times: u64| {
        let output = ran("memgrow", &[], &format!("map {times} 1048576"));
        rows(&output, "comm", &json!("skep-workload"))[0]["value"].as_u64().expect("bytes")
    };
    // What its start takes is the same each time.
    assert_eq!(asked(31) - asked(2), 29 << 20);
    let output = ran("slabratetop", &["--top", "1000"], "open 4001 /etc/hostname sleep 1100");
    assert!(rows(&output, "cache", &json!("filp"))[0]["value"]["n"].as_u64() >= Some(4001), "{output}");
}

#[test]
fn reclaim_is_told_with_its_pages() {
    privileged!();
    let group = memory_group();
    let output = ran("drsnoop", &[], &format!("reclaim 8009 {}", group.0.display()));
    let freed = |text: &String| text.split("memcg ").nth(1)?.split(' ').next()?.parse::<u64>().ok();
    let freed: u64 = output.texts().iter().filter_map(freed).sum();
    // Some 3,900 find no room; what is freed ahead of need is freed by nobody in particular.
    assert!(freed > 2000, "{freed} pages\n{output}");
}

/// A control group with room for 16 MiB.
fn memory_group() -> Cgroup {
    let v1 = Path::new("/sys/fs/cgroup/memory");
    let (group, limit) = match v1.is_dir() {
        true => (Cgroup::below(v1), "memory.limit_in_bytes"),
        false => (Cgroup::new(), "memory.max"),
    };
    std::fs::write(group.0.join(limit), "16777216").expect("memory is accounted");
    group
}

#[test]
fn disk_scripts_tell_of_each_block() {
    privileged!();
    let folder = Folder::new();
    let disk = Disk::new(&folder);
    let file = format!("/dev/{}", disk.0);
    let output = ran("biosnoop", &["--program", "blocks"], &format!("name blocks block 23 {file}"));
    assert_eq!(events(&output, "disk", &json!(disk.0)), 23, "{output}");
    assert_eq!(events(&output, "bytes", &json!(4096)), 23, "{output}");
    let output = ran("bitesize", &[], &format!("name bites block 29 {file}"));
    let [row] = &rows(&output, "comm", &json!("bites"))[..] else { panic!("{output}") };
    let buckets = row["value"]["buckets"].as_array().cloned().unwrap_or_default();
    assert!(buckets.contains(&json!({ "low": 4096, "high": 8191, "count": 29 })), "{output}");
    let output = ran("biotop", &["--top", "1000"], &format!("name tops block 31 {file} sleep 1100"));
    let of_disk: Vec<Value> = rows(&output, "disk", &json!(disk.0));
    let [row] = &of_disk[..] else { panic!("{output}") };
    assert_eq!((&row["key"]["comm"], &row["value"]["sum"]), (&json!("tops"), &json!(31 * 4096)), "{output}");
    // What is done is told in whatever runs by then.
    let run = Skep::new(&["--format", "json", "run", "biopattern"]).start().attached();
    Workload::stopped(&format!("block 101 {file}")).go();
    let output = run.interrupt().ok();
    assert!(output.trust("delivered") >= 101, "{output}");
    // Threads of the kernel write what others left in memory.
    let run = Skep::new(&["--format", "json", "run", "writeback"]).start().attached();
    std::fs::write(folder.0.join("dirty"), vec![b'y'; 1009 * 4096]).expect("there is room");
    Workload::stopped("run 1 /bin/sync").go();
    let output = run.interrupt().ok();
    let written = output.objects("event").into_iter().filter_map(|event| event["fields"]["pages"].as_u64());
    assert!(written.sum::<u64>() >= 1009, "{output}");
    assert!(events(&output, "why", &json!("WB_REASON_SYNC")) >= 1, "{output}");
}

#[test]
fn scheduler_scripts_tell_who_waits_for_whom() {
    privileged!();
    let output = ran("preempt", &["--top", "1000"], "starve 23 5");
    let victim = rows(&output, "victim", &json!("victim"));
    let by_tyrant: Vec<&Value> = victim.iter().filter(|row| row["key"]["by"] == "tyrant").collect();
    // It may be another's turn when the tyrant wakes up.
    assert!((1..=25).contains(&by_tyrant[0]["value"].as_u64().unwrap_or(0)), "{output}");
    let output = ran("runqslower", &["--slower", "40000"], "starve 7 60");
    assert!(events(&output, "task", &json!("victim")) >= 7, "{output}");
    // It is a thread of the kernel that moves them.
    let run = Skep::new(&["--format", "json", "run", "migrations", "--top", "10000"]).start().attached();
    Workload::stopped("name hopper hop 53").go();
    let output = run.interrupt().ok();
    let hops: u64 = rows(&output, "task", &json!("hopper")).iter().filter_map(|row| row["value"].as_u64()).sum();
    assert!((52..=55).contains(&hops), "{hops}: it may have begun on either\n{output}");
    // A stay begins when somebody else leaves.
    let run = Skep::new(&["--format", "json", "run", "cpudist", "--task", "napper"]).start().attached();
    Workload::stopped("name napper nap 59 2").go();
    let output = run.interrupt().ok();
    let stays: u64 =
        output.value()["buckets"].as_array().into_iter().flatten().filter_map(|b| b["count"].as_u64()).sum();
    assert!(stays >= 58, "{output}");
    let output = ran("runqlen", &["--cpus", "true"], "crowd 7 1500");
    let buckets = &rows(&output, "cpu", &json!(1))[0]["value"]["buckets"];
    let longest = buckets.as_array().and_then(|all| all.iter().map(|one| one["low"].as_u64()).max()).flatten();
    assert!(longest >= Some(6), "{output}");
}

#[test]
fn interrupts_are_timed_by_kind_and_device() {
    privileged!();
    let folder = Folder::new();
    let file = folder.0.join("blocks");
    std::fs::write(&file, vec![b'x'; 64 * 4096]).expect("there is room");
    std::fs::File::open(&file).and_then(|file| file.sync_all()).expect("it is written");
    // They come in whatever runs.
    let run = Skep::new(&["--format", "json", "run", "hardirqs"]).start().attached();
    Workload::stopped(&format!("block 61 {}", file.display())).go();
    let output = run.interrupt().ok();
    let counts = output.rows().into_iter().filter_map(|(_, value)| value["n"].as_u64());
    assert!(counts.sum::<u64>() >= 1, "{output}");
    let run = Skep::new(&["--format", "json", "run", "softirqs"]).start().attached();
    Workload::stopped("alone noise 31").go();
    let output = run.interrupt().ok();
    assert_eq!(lines(&output, "net_rx"), 1, "{output}");
}

#[test]
fn user_scripts_tell_of_each_call() {
    privileged!();
    let output = ran("gethostlatency", &[], "resolve 23 localhost");
    assert_eq!(events(&output, "host", &json!("localhost")), 23, "{output}");
}

#[test]
fn security_scripts_tell_of_each_deed() {
    privileged!();
    let output = ran("setuids", &[], "setuid 23");
    assert_eq!(lines(&output, "setuid 0 = 0"), 23, "{output}");
    let output = ran("secretopen", &[], "open 29 /etc/shadow open 5 /etc/hostname");
    assert_eq!((events(&output, "path", &json!("/etc/shadow")), output.objects("event").len()), (29, 29), "{output}");
    let output = ran("ptracesnoop", &[], "seize 31");
    assert_eq!(lines(&output, "seize of"), 31, "{output}");
    if Path::new("/sys/kernel/tracing/events/capability").is_dir() {
        let output = ran("capable", &["--denied", "true"], "chroot 37");
        let line = output.texts().into_iter().find(|text| text.contains("SYS_CHROOT")).unwrap_or_default();
        assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["skep-workload", "65534", "SYS_CHROOT", "no", "37"]);
    }
    let program = format!("/dev/shm/skep-{}", std::process::id());
    std::fs::copy("/bin/true", &program).expect("shared memory is mounted");
    let output = ran("memexec", &[], &format!("run 41 {program}"));
    std::fs::remove_file(&program).expect("it is ours");
    assert_eq!(events(&output, "path", &json!(program)), 41, "{output}");
    let output = ran("shellspawn", &[], "run 5 /bin/sh name nginx run 43 /bin/sh");
    assert_eq!((events(&output, "parent", &json!("nginx")), output.objects("event").len()), (43, 43), "{output}");
}
