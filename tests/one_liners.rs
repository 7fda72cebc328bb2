//! bpftrace's one-liners on workloads of known size: what skep counts is exact, and what bpftrace counts on the same
//! process, where it is installed. (Those that read stacks or kernel functions are not here.)

use serde_json::Value;
use skep_tests::machine::program;
use skep_tests::skep::Running;
use skep_tests::{Output, Skep, Workload, privileged};
use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

type Counts = BTreeMap<String, u64>;

/// Runs `verbs` in a process of its own under skep and, where there is one, under bpftrace; gives skep's output and both
/// tools' counts. `PID` in the bpftrace program stands for the process.
#[track_caller]
fn side_by_side(verbs: &str, script: &str, bpftrace: &str) -> (Output, Counts, Option<Counts>) {
    let workload = Workload::stopped(verbs);
    let run = Skep::script(script).arguments(&["--pid", &workload.pid()]).start().attached();
    let other = Bpftrace::start(&bpftrace.replace("PID", &workload.pid()));
    workload.go();
    let output = run.interrupt().ok();
    let ours = counts_of_skep(&output);
    let theirs = other.map(Bpftrace::counts);
    print_table(script, &ours, theirs.as_ref());
    (output, ours, theirs)
}

fn print_table(script: &str, ours: &Counts, theirs: Option<&Counts>) {
    println!("{script}\n{:>10} {:>10}  key", "skep", "bpftrace");
    for key in
        ours.keys().chain(theirs.into_iter().flat_map(|theirs| theirs.keys().filter(|key| !ours.contains_key(*key))))
    {
        let shown =
            |counts: Option<&Counts>| counts.and_then(|counts| counts.get(key)).map_or("-".into(), u64::to_string);
        println!("{:>10} {:>10}  {key}", shown(Some(ours)), shown(theirs));
    }
}

/// Rows of a table by key, buckets of a histogram as `low..high`, printed lines as often as they were printed.
#[track_caller]
fn counts_of_skep(output: &Output) -> Counts {
    let mut counts = Counts::new();
    for text in output.texts() {
        *counts.entry(text).or_default() += 1;
    }
    if output.objects("table").is_empty() {
        return counts;
    }
    for (key, value) in output.rows() {
        match value["buckets"].as_array() {
            Some(buckets) => {
                counts.extend(buckets.iter().map(|bucket| bucket_count(&bucket["low"], &bucket["high"], bucket)))
            }
            None => counts.extend([(key, value.as_u64().expect("a count is a number"))]),
        }
    }
    counts
}

fn bucket_count(low: &Value, high: &Value, bucket: &Value) -> (String, u64) {
    (format!("{low}..{high}"), bucket["count"].as_u64().expect("a bucket has a count"))
}

/// bpftrace, started and attached.
struct Bpftrace(Running);

impl Bpftrace {
    fn start(text: &str) -> Option<Bpftrace> {
        program("bpftrace")?;
        // An interval fires once it is attached, which is after everything that stands behind it.
        let text = format!("interval:ms:50 /@ready == 0/ {{ @ready = 1; printf(\"ready\\n\"); }} {text}");
        let mut command = Command::new("bpftrace");
        command.args(["-f", "json", "-e", &text]);
        let run = Running::of(command).printed("ready");
        std::thread::sleep(Duration::from_millis(200));
        Some(Bpftrace(run))
    }

    fn counts(self) -> Counts {
        let out = self.0.insist(libc::SIGINT).out;
        let text = out.split_once("ready").expect("it has attached").1;
        let mut counts = Counts::new();
        for object in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let Some(data) = object["data"].as_object() else {
                let printed = object["data"].as_str().filter(|_| object["type"] == "printf");
                printed.into_iter().for_each(|line| *counts.entry(line.trim_end().to_owned()).or_default() += 1);
                continue;
            };
            for (_, map) in data.iter().filter(|(name, _)| *name != "@ready") {
                match (object["type"].as_str(), map) {
                    (Some("hist"), map) => {
                        let buckets = map.as_array().into_iter().flatten();
                        counts.extend(buckets.map(|bucket| bucket_count(&bucket["min"], &bucket["max"], bucket)));
                    }
                    (_, Value::Object(rows)) => {
                        counts
                            .extend(rows.iter().map(|(key, value)| (key.clone(), value.as_u64().unwrap_or_default())));
                    }
                    (_, value) => counts.extend([(String::new(), value.as_u64().unwrap_or_default())]),
                }
            }
        }
        counts.retain(|_, count| *count > 0);
        counts
    }
}

#[track_caller]
fn assert_same(ours: &Counts, theirs: Option<Counts>) {
    match theirs {
        Some(theirs) => assert_eq!(*ours, theirs, "skep's counts, and bpftrace's"),
        None => println!("the comparison was skipped"),
    }
}

#[test]
fn one_liner_1_lists_the_tracepoints_that_bpftrace_lists() {
    privileged!();
    let listed = Skep::new(&["list", "tracepoint:syscalls:sys_enter_*"]).run().ok().out;
    assert!(listed.lines().any(|line| line == "tracepoint:syscalls:sys_enter_openat"), "{listed}");
    if program("bpftrace").is_none() {
        return println!("the comparison was skipped");
    }
    let theirs =
        Command::new("bpftrace").args(["-l", "tracepoint:syscalls:sys_enter_*"]).output().expect("bpftrace runs");
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&listed), sorted(&String::from_utf8_lossy(&theirs.stdout)));
}

#[test]
fn one_liner_2_says_hello_without_privilege() {
    let output = Skep::new(&["-e", "print(\"hello world\");"]).run().ok();
    assert_eq!((output.out.as_str(), output.err.as_str()), ("hello world\n", ""));
}

#[test]
fn one_liner_3_prints_23_opens() {
    privileged!();
    let script = r#"probe("tracepoint:syscalls:sys_enter_openat").fields(comm, str(args.filename)).each(|e| print(`${e.comm} ${e.filename}`));"#;
    let theirs =
        r#"tracepoint:syscalls:sys_enter_openat /pid == PID/ { printf("%s %s\n", comm, str(args->filename)); }"#;
    let (_, ours, theirs) = side_by_side("open 23 /tmp/skep-no-such-file", script, theirs);
    assert_eq!(ours, Counts::from([("skep-workload /tmp/skep-no-such-file".into(), 23)]));
    assert_same(&ours, theirs);
}

#[test]
fn one_liner_4_counts_1009_system_calls_by_name() {
    privileged!();
    let script = r#"probe("tracepoint:raw_syscalls:sys_enter").by(comm).count();"#;
    let theirs = "tracepoint:raw_syscalls:sys_enter /pid == PID/ { @[comm] = count(); }";
    let (_, ours, theirs) = side_by_side("name alpha getpgid 1009 name beta getpgid 23 name gamma", script, theirs);
    // The call that ends a name is still made under it.
    assert_eq!((ours["alpha"], ours["beta"]), (1009 + 1, 23 + 1));
    assert_same(&ours, theirs);
}

#[test]
fn one_liner_5_draws_101_and_23_reads() {
    privileged!();
    let script = r#"probe("tracepoint:syscalls:sys_exit_read").hist(args.ret).named("bytes");"#;
    let theirs = "tracepoint:syscalls:sys_exit_read /pid == PID/ { @bytes = hist(args->ret); }";
    let (output, ours, theirs) = side_by_side("read 101 1009 read 23 7", script, theirs);
    assert_eq!(ours, Counts::from([("512..1023".into(), 101), ("4..7".into(), 23)]));
    assert_eq!(output.value()["mean"], (101 * 1009 + 23 * 7) as f64 / 124.0);
    assert_same(&ours, theirs);
}

#[test]
fn one_liner_8_counts_23_forks_among_the_scheduler_events() {
    privileged!();
    let script = r#"probe("tracepoint:sched:sched*").by(probe).count().run("60s");"#;
    let theirs = "tracepoint:sched:sched_process* /pid == PID/ { @[probe] = count(); }";
    let (_, mut ours, mut theirs) = side_by_side("exec 23", script, theirs);
    assert_eq!(ours["tracepoint:sched:sched_process_fork"], 23);
    // Perf tracepoints, bpftrace's, miss scheduler events that come while another program runs on the same processor.
    ours.retain(|probe, _| probe.starts_with("tracepoint:sched:sched_process"));
    // What is left of a process goes in an interrupt, which may come while a program of one of them runs.
    for counts in [Some(&mut ours), theirs.as_mut()].into_iter().flatten() {
        counts.remove("tracepoint:sched:sched_process_free");
    }
    assert_same(&ours, theirs);
}

#[test]
fn one_liner_11_sizes_of_block_requests_are_sectors() {
    privileged!();
    let script = r#"probe("tracepoint:block:block_rq_issue").hist(args.bytes).run("200ms");"#;
    let output = Skep::script(script).run().ok();
    assert_eq!(output.trust("seen"), output.trust("counted"));
    for (bucket, count) in counts_of_skep(&output) {
        // Flushes have no size; everything else is made of 512 bytes.
        let low: u64 = bucket.split("..").next().and_then(|low| low.parse().ok()).expect("a bucket has a lower edge");
        assert!(count > 0 && (low == 0 || low >= 512), "{bucket}");
    }
}
