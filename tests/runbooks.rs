//! Runbooks: findings with their exit status, scripts that are a part of another one, reports, and all of it replayed.

use serde_json::json;
use skep_tests::machine::Folder;
use skep_tests::workload::line;
use skep_tests::{Cgroup, Skep, privileged};

/// Counts the calls of a workload, and finds something in their number.
const CALLS: &str = r#"
    //! calls - a part of other scripts.
    let least = param("least", 1);
    let calls = probe("tracepoint:syscalls:sys_enter_getpgid").by(comm).count().named("calls");
    print("it speaks");
    at_end(|| if calls.value().total() >= least { finding("warn", `${calls.value().total()} calls`, calls.value(), "skep doc calls") });
    run("30s");
"#;

fn library() -> (Folder, String) {
    let folder = Folder::new();
    folder.file("calls.rhai", CALLS);
    folder.file("lines.rhai", r#"probe("tracepoint:syscalls:sys_enter_getppid").printf("%s\n", comm);"#);
    folder.file("itself.rhai", r#"script("itself");"#);
    let path = folder.0.display().to_string();
    (folder, path)
}

#[test]
fn worst_finding_is_the_exit_status_unless_the_script_says_another() {
    let status = |script: &str, status| drop(Skep::new(&["-e", script]).run().status_is(status));
    status("finding(\"info\", \"a\");", 0);
    status("finding(\"warn\", \"a\"); finding(\"info\", \"b\");", 10);
    status("finding(\"critical\", \"a\"); finding(\"warn\", \"b\");", 20);
    status("finding(\"critical\", \"a\"); exit(7);", 7);
    status("finding(\"critical\", \"a\"); exit();", 0);
    status("finding(\"critical\", \"a\"); nothing();", 1);
}

#[test]
fn findings_are_printed_at_once_and_known_to_the_script() {
    let script = r#"finding("warn", "two\nlines", #{ n: 23, rows: ["a", "b"], none: () }, "skep list"); print(findings()[0].text.len());"#;
    let output = Skep::new(&["-e", script]).run().status_is(10);
    assert_eq!(
        output.out,
        "warn: two lines\n      n     23\n      rows:\n      a\n      b\n      next: skep list\n9\n"
    );
    let finding = &Skep::script(script).run().objects("finding")[0];
    let expected = json!({
        "v": 1, "type": "finding", "level": "warn", "text": "two\nlines", "script": "-e",
        "evidence": { "n": 23, "rows": ["a", "b"], "none": null }, "next": "skep list",
    });
    assert_eq!(*finding, expected);
}

#[test]
fn called_scripts_share_one_run_and_print_nothing() {
    privileged!();
    let (_folder, path) = library();
    let script = r#"
        let calls = script("calls", #{ least: 5000 });
        let lines = script("lines");
        let again = script("calls");
        run("20s");
        print(`${calls.value("calls")["skep-workload"]} ${lines.lines().len()} ${calls.lines()}`);
        print(findings().map(|one| one.script));
    "#;
    let verbs = line("getpgid 1009 getppid 23");
    let output = Skep::new(&["-e", script, "-c", &verbs]).environment("SKEP_PATH", &path).run().status_is(10);
    let lines: Vec<&str> = output.out.lines().collect();
    assert_eq!(lines[0], "warn: 1009 calls", "{output}");
    assert_eq!(lines[lines.len() - 2..], ["1009 23 [\"it speaks\"]", "[\"calls\"]"], "{output}");
    assert_eq!(output.err.lines().filter(|line| line.starts_with("trust:")).count(), 1, "{output}");
}

#[test]
fn called_script_alone_runs_as_long_as_it_wants() {
    privileged!();
    let (_folder, path) = library();
    let verbs = line("getpgid 31");
    let output =
        Skep::new(&["-e", "script(\"calls\");", "-c", &verbs]).environment("SKEP_PATH", &path).run().status_is(10);
    assert!(output.err.contains("; for 30.0s"), "{output}");
    assert!(output.out.starts_with("warn: 31 calls\n"), "{output}");
}

#[test]
fn script_that_calls_itself_is_refused() {
    let (_folder, path) = library();
    let output = Skep::new(&["-e", "script(\"itself\");"]).environment("SKEP_PATH", &path).run().status_is(1);
    assert!(output.err.contains("without end"), "{output}");
}

#[test]
fn called_script_that_the_restriction_forbids_is_left_out_and_said_to_be() {
    privileged!();
    let group = Cgroup::new();
    let group = format!("/{}", group.0.file_name().expect("it has a name").display());
    let script =
        r#"let waits = script("runqlat"); let forks = script("pidpersec"); run("100ms"); print(waits.value() == ());"#;
    let output = Skep::new(&["-e", script, "--cgroup", &group]).run().ok();
    assert!(output.err.starts_with("left out `runqlat`: "), "{output}");
    assert_eq!(output.out, "true\n", "{output}");
}

#[test]
fn replay_tells_findings_and_readings_again() {
    privileged!();
    let (folder, path) = library();
    let file = folder.0.join("calls.skep").display().to_string();
    let script = r#"
        let before = cpu_times();
        script("calls");
        run("20s");
        print(since(before, cpu_times()));
        print(pressure("cpu"));
    "#;
    let verbs = line("getpgid 37");
    let recorded = Skep::new(&["record", "-q", "-o", &file, "-e", script, "-c", &verbs]);
    let recorded = recorded.environment("SKEP_PATH", &path).run().status_is(10);
    // Without the scripts that were called: they are in the recording.
    let replayed = Skep::new(&["replay", "-q", &file]).run().status_is(10);
    assert_eq!(replayed.out, recorded.out, "{replayed}");
    let other = Skep::new(&["replay", &file, "-e", "print(mem_info());"]).run().status_is(1);
    assert!(other.err.contains("the recording has no reading of mem_info()"), "{other}");
}

#[test]
fn report_has_findings_and_what_was_printed() {
    let folder = Folder::new();
    let script = r#"print("<before>"); finding("info", "good"); finding("critical", "<bad>", ["a|b"], "skep list");"#;
    for (name, parts) in [
        ("report.md", ["### critical: \\<bad\\>", "\na|b\n", "\n```text\n<before>\n```\n"]),
        ("report.html", ["</span> &lt;bad&gt;</h3>", "<pre class=\"evidence\">a|b</pre>", "&lt;before&gt;"]),
    ] {
        let file = folder.0.join(name).display().to_string();
        let _output = Skep::new(&["-e", script, "--report", &file, "--format", "json"]).run().status_is(20);
        let text = std::fs::read_to_string(&file).expect("it was written");
        for part in parts {
            assert!(text.contains(part), "{part} is missing:\n{text}");
        }
        assert!(text.find("bad") < text.find("good"), "the worst comes first:\n{text}");
    }
    let output = Skep::new(&["-e", script, "--report", "report.pdf"]).run().status_is(1);
    assert!(output.out.is_empty() && output.err.contains("`report.pdf` is no name of a report"), "{output}");
}

#[test]
fn cpus_that_the_hypervisor_gives_to_others_are_found() {
    privileged!();
    // No machine of ours is robbed in earnest: the run is told so by a /proc/stat of the test's own.
    let folder = Folder::new();
    let file = |stolen: u64| {
        folder.file("stat", &format!("cpu 23 0 29 31 0 0 0 {stolen} 0 0\ncpu0 23 0 29 31 0 0 0 {stolen}\n"))
    };
    let mounts = format!("mount --bind {} /proc/stat", file(7));
    let run = Skep::new(&["--format", "json", "run", "cpu-contention", "--time", "10m"]);
    let run = run.after_mounts(&mounts).start().attached();
    // Of ten seconds, in hundredths: a run of a hundred would still tell it.
    file(7 + 1009);
    let output = run.interrupt();
    let told = |finding: &serde_json::Value| {
        finding["text"].as_str().is_some_and(|text| text.contains("the hypervisor gives"))
    };
    let finding =
        output.objects("finding").into_iter().find(told).unwrap_or_else(|| panic!("nothing is told\n{output}"));
    assert_eq!((&finding["level"], &finding["evidence"]["steal"]), (&json!("warn"), &json!(10_090)), "{output}");
}
