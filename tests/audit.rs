//! The audit log, as a run of skep writes it and as anybody can verify it.

use serde_json::Value;
use skep_tests::machine::{Folder, program};
use skep_tests::{Output, Skep, Workload, kernel, privileged, workload};
use std::process::{Command, Stdio};

/// Lines of a log.
#[track_caller]
fn lines(log: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_else(|error| panic!("{log}: {error}"));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn verified(log: &str) -> Output {
    Skep::new(&["audit", "verify", log]).run()
}

const COUNT: &str = r#"probe("tracepoint:syscalls:sys_enter_getpgid").filter(args.pid == 0).by(comm).count();"#;

/// A counted run with this log.
#[track_caller]
fn run(log: &str) -> Output {
    Skep::on("getpgid 23", COUNT).arguments(&["--audit", log]).run()
}

#[test]
fn run_is_noted_before_it_attaches_and_when_it_is_over() {
    privileged!();
    let folder = Folder::new();
    let log = folder.0.join("audit.jsonl").display().to_string();
    let output = run(&log).ok();
    assert_eq!(output.row(workload::NAME), 23);
    let [begin, end] = &lines(&log)[..] else { panic!("there are {} lines", lines(&log).len()) };
    assert_eq!((&begin["event"], &begin["n"], &begin["v"]), (&"begin".into(), &1.into(), &1.into()));
    assert_eq!((&begin["who"]["uid"], &begin["who"]["user"]), (&0.into(), &"root".into()));
    assert_eq!((&begin["script"]["name"], &begin["script"]["text"]), (&"-e".into(), &COUNT.into()));
    let attach = &begin["attach"][0];
    assert_eq!(
        (&attach["points"], &attach["at"]),
        (&1.into(), &serde_json::json!(["tracepoint:syscalls:sys_enter_getpgid"]))
    );
    let filter = attach["filter"].as_str().unwrap_or_default();
    assert!(filter.contains("args.pid == 0") && filter.contains("or its children"), "{begin}");
    let words = begin["arguments"].as_array().expect("there are arguments");
    assert!(words.iter().any(|word| *word == "--audit"), "{begin}");
    assert_eq!(
        (&end["event"], &end["run"], &end["status"], &end["how"]),
        (&"end".into(), &1.into(), &0.into(), &"completed".into())
    );
    assert_eq!((&end["trust"]["counted"], &end["trust"]["lost"]), (&23.into(), &0.into()));
    assert!(verified(&log).ok().out.contains("2 entries, 1 to 2: none altered, removed or moved"));
}

#[test]
fn hashes_are_those_that_anybody_can_compute() {
    privileged!();
    if program("sha256sum").is_none() {
        return;
    }
    let folder = Folder::new();
    let log = folder.0.join("audit.jsonl").display().to_string();
    run(&log).ok();
    // As docs/audit.md says it.
    let line = format!("sed -n 2p {log} | sed 's/,\"hash\":\"[0-9a-f]*\"}}$//' | tr -d '\\n' | sha256sum");
    let output = Command::new("sh").args(["-c", &line]).output().expect("sh runs");
    let computed = String::from_utf8_lossy(&output.stdout).split(' ').next().map(str::to_owned);
    assert_eq!(computed.as_deref(), lines(&log)[1]["hash"].as_str());
    assert_eq!(lines(&log)[1]["prev"], lines(&log)[0]["hash"]);
    let script = Command::new("sh").args(["-c", "printf %s \"$0\" | sha256sum", COUNT]).output().expect("sh runs");
    let script = String::from_utf8_lossy(&script.stdout).split(' ').next().map(str::to_owned);
    assert_eq!(script.as_deref(), lines(&log)[0]["script"]["sha256"].as_str());
}

#[test]
fn seven_runs_at_once_have_one_chain() {
    privileged!();
    let folder = Folder::new();
    let log = folder.0.join("audit.jsonl").display().to_string();
    let runs: Vec<_> = (0..7).map(|_| Skep::on("getpgid 23", COUNT).arguments(&["--audit", &log]).start()).collect();
    runs.into_iter().for_each(|run| drop(run.end().ok()));
    assert!(verified(&log).ok().out.contains("14 entries, 1 to 14: none altered, removed or moved"));
    let ended: std::collections::BTreeSet<u64> = lines(&log).iter().filter_map(|line| line["run"].as_u64()).collect();
    let begun =
        lines(&log).iter().filter(|line| line["event"] == "begin").filter_map(|line| line["n"].as_u64()).collect();
    assert_eq!((ended.len(), &ended), (7, &begun));
}

#[test]
fn changed_log_is_an_error_that_names_the_line() {
    privileged!();
    let folder = Folder::new();
    let log = folder.0.join("audit.jsonl").display().to_string();
    run(&log).ok();
    let text = std::fs::read_to_string(&log).expect("it is there");
    std::fs::write(&log, text.replace(r#""user":"root""#, r#""user":"nobody""#)).expect("it is written");
    let output = verified(&log).status_is(1);
    assert_eq!(output.err, format!("error: line 1 of `{log}` was altered\n  = help: sed -n 1p {log}\n"));
    let last = text.lines().next_back().expect("it has lines").to_owned();
    std::fs::write(&log, format!("{last}\n")).expect("it is written");
    let output = verified(&log).status_is(1);
    let expected = format!("error: line 1 of `{log}` is entry 2: those before it, up to 1, are not there\n");
    assert!(output.err.starts_with(&expected), "{output}");
}

#[test]
fn log_that_is_not_there_is_an_error_that_says_how_it_begins() {
    for verb in ["verify", "show"] {
        let output = Skep::new(&["audit", verb, "/nonexistent.jsonl"]).run().status_is(1);
        let expected = "error: failed to read the audit log `/nonexistent.jsonl`: no such file or directory\n  \
                        = help: skep audit show FILE\n";
        assert_eq!(output.err, expected);
    }
}

#[test]
fn nothing_is_attached_where_the_log_that_was_asked_for_cannot_be_written() {
    privileged!();
    let output = run("/no/such/folder/audit.jsonl").status_is(1);
    let expected = "error: nothing is attached without its audit: failed to write the audit log \
                    `/no/such/folder/audit.jsonl`: no such file or directory\n";
    assert!(output.err.contains(expected) && !output.err.contains("attached `"), "{output}");
    // By the environment it is asked for as well.
    let run = Skep::on("getpgid 23", COUNT).environment("SKEP_AUDIT", "/no/such/folder/audit.jsonl").run().status_is(1);
    assert!(run.err.contains(expected), "{run}");
}

/// Makes /var/log/skep of a mount namespace a file system of its own.
const USUAL: &str = "mount -t tmpfs -o size=64k none /var/log && mkdir /var/log/skep";

#[test]
fn usual_log_is_kept_where_its_folder_is_and_never_in_the_way() {
    privileged!();
    if program("unshare").is_none() {
        return;
    }
    let script = "print(1); probe(\"tracepoint:syscalls:sys_enter_getpgid\").count().run(\"10ms\");";
    let both = |mounts: &str| {
        let read = format!("{mounts}\n\"$0\" \"$@\"; cat /var/log/skep/audit.jsonl >&2 || true; exit 0");
        Skep::new(&["-e", script]).after_mounts(&read).run()
    };
    let kept = both(USUAL);
    assert!(kept.err.contains(r#""event":"begin""#) && kept.err.contains(r#""event":"end""#), "{kept}");
    // Full before it begins: the run goes on, and says so.
    let full = both(&format!("{USUAL}; head -c 65536 /dev/zero > /var/log/fill || true"));
    let warning = "warning: this run is not in the audit log: failed to write the audit log \
                   `/var/log/skep/audit.jsonl`: no space left on device\n";
    assert!(full.err.contains(warning) && full.out.contains("count: "), "{full}");
    let none = both("mount -t tmpfs none /var/log");
    assert!(!none.err.contains("audit log") && none.out.contains("count: "), "{none}");
}

#[test]
fn run_that_was_killed_has_no_end_and_is_shown_so() {
    privileged!();
    let folder = Folder::new();
    let log = folder.0.join("audit.jsonl").display().to_string();
    let workload = Workload::stopped("getpgid 23 stop");
    let options = ["--audit", &log, "--pid", &workload.pid()];
    let running = Skep::script(COUNT).arguments(&options).start().attached();
    let loaded = kernel::programs_of(running.pid());
    let shown = || Skep::new(&["audit", "show", &log]).run().ok().out;
    assert!(shown().lines().nth(1).is_some_and(|line| line.ends_with(": runs")), "{}", shown());
    running.signal(libc::SIGKILL).end();
    kernel::assert_gone(&loaded);
    assert!(shown().lines().nth(1).is_some_and(|line| line.ends_with(": no end: killed")), "{}", shown());
    assert_eq!(lines(&log).len(), 1);
    run(&log).ok();
    let table = shown();
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows.len() == 3 && rows[2].contains("root") && rows[2].ends_with(": completed"), "{table}");
    let objects = Skep::new(&["audit", "show", &log, "--last", "1", "--format", "json"]).run().ok().json();
    assert_eq!((objects.len(), &objects[0]["run"], &objects[0]["fate"]), (1, &2.into(), &"completed".into()));
}

#[test]
fn failure_and_findings_are_noted() {
    privileged!();
    let folder = Folder::new();
    let log = folder.0.join("audit.jsonl").display().to_string();
    let script = r#"probe("t:syscalls:sys_enter_getpgid").count().run("10ms"); finding("warn", "seven of nine", #{});"#;
    Skep::new(&["--audit", &log, "-e", script]).run().status_is(10);
    let script =
        r#"let calls = probe("t:syscalls:sys_enter_getpgid").count(); calls.run("10ms"); calls.run("10ms"); throw 7;"#;
    Skep::new(&["--audit", &log, "-e", script]).run().status_is(1);
    let lines = lines(&log);
    let events: Vec<&str> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(events, ["begin", "end", "begin", "attach", "end"]);
    assert_eq!((&lines[1]["status"], &lines[1]["findings"][0]["text"]), (&10.into(), &"seven of nine".into()));
    assert_eq!((&lines[4]["status"], &lines[4]["how"], &lines[4]["run"]), (&1.into(), &"error".into(), &3.into()));
}

#[test]
fn lines_of_a_session_are_noted_with_what_they_attach() {
    privileged!();
    let folder = Folder::new();
    let log = folder.0.join("audit.jsonl").display().to_string();
    let session = Command::new(skep_tests::skep::binary())
        .args(["repl", "--json", "--audit", &log])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut session = session.expect("a session starts");
    let typed = [
        "let a = 1;",
        "let t = probe(\"t:syscalls:sys_enter_getpgid\").count();",
        "probe(\"t:syscalls:sys_enter_getppid\").count()",
    ];
    let requests: String = typed
        .iter()
        .map(|line| format!("{}\n", serde_json::json!({ "id": 1, "do": "evaluate", "text": line })))
        .collect();
    std::io::Write::write_all(&mut session.stdin.take().expect("it is a pipe"), requests.as_bytes()).expect("it reads");
    assert!(session.wait().expect("it is our child").success());
    let lines = lines(&log);
    assert_eq!(lines.iter().map(|line| &line["event"]).collect::<Vec<_>>(), ["begin", "attach", "end"]);
    assert_eq!([&lines[0]["typed"]["text"], &lines[1]["typed"]["text"]], [typed[1], typed[2]]);
    assert_eq!(lines[0]["command"], "skep repl");
    verified(&log).ok();
}

#[test]
fn what_policies_are_asked_is_noted() {
    privileged!();
    let folder = Folder::new();
    let log = folder.0.join("audit.jsonl").display().to_string();
    Skep::new(&["--audit", &log, "policy", "enforce", "xdp:nowhere0"]).run().status_is(1);
    let lines = lines(&log);
    assert_eq!(
        (&lines[0]["command"], &lines[0]["attach"][0]["at"][0]),
        (&"skep policy enforce".into(), &"xdp:nowhere0".into())
    );
    assert_eq!((&lines[1]["how"], &lines[1]["run"]), (&"error".into(), &1.into()));
    let policy = folder.file("none.yaml", "nothing: here\n");
    Skep::new(&["--audit", &log, "policy", "apply", &policy]).run().status_is(1);
    let lines = self::lines(&log);
    let noted = &lines[2]["attach"][0];
    assert_eq!((&noted["what"], &noted["mode"]), (&"policy apply".into(), &"audit".into()));
    // SHA-256 of that line, as sha256sum says it.
    let hash = "d093fbc049847dc6c6ab2d612d36b06bb73e59e62bd17b02417f77bd940e20b7";
    assert_eq!(noted["files"], serde_json::json!([{ "name": policy, "sha256": hash }]));
    assert!(lines[3]["error"].as_str().is_some_and(|error| !error.is_empty()), "{}", lines[3]);
}
