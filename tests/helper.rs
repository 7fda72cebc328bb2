//! The helper: somebody without privilege traces what their permit allows, and an attempt at more fails and is logged.

#[path = "helper/attempts.rs"]
mod attempts;
#[path = "helper/stage.rs"]
mod stage;

use skep_tests::network::Namespace;
use skep_tests::{Skep, privileged};
use stage::{CALLS, NOBODY, Stage, call_as, counter};

#[test]
fn calls_of_own_processes_are_counted_and_no_others() {
    privileged!();
    let stage = Stage::new();
    let run = stage.skep(&["--format", "json", "-e", &counter("by(uid)")]).start().attached();
    call_as(NOBODY, CALLS);
    call_as(0, 17);
    call_as(NOBODY - 1, 19);
    let output = run.interrupt().ok();
    let rows = output.table(0)["rows"].clone();
    assert_eq!(rows.as_array().map(Vec::len), Some(1), "{output}");
    assert_eq!((&rows[0]["key"]["uid"], &rows[0]["value"]), (&NOBODY.into(), &CALLS.into()), "{output}");
    assert!(output.err.contains("through the helper at"), "{output}");
    let log = stage.log();
    assert_eq!(log.len(), 2, "{log:?}");
    assert_eq!((&log[0]["event"], &log[0]["uid"]), (&"begin".into(), &NOBODY.into()));
    assert_eq!((&log[1]["event"], &log[1]["status"]), (&"end".into(), &0.into()));
    assert_eq!(log[1]["attached"], serde_json::json!(["tracepoint:syscalls:sys_enter_getpgid"]));
}

#[test]
fn a_run_for_somebody_is_theirs_and_holds_nothing_while_it_waits() {
    privileged!();
    let stage = Stage::new();
    let run = stage.skep(&["-e", &counter("by(comm)")]).start().attached();
    let pid = stage.carried_out();
    let status = |name: &str| stage::status(pid, name);
    assert_eq!(status("Uid"), [NOBODY; 4].map(|uid| uid.to_string()).join("\t"));
    let waited = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        status("Seccomp_filters") == "2"
    });
    assert!(waited, "its second filter does not come");
    assert_eq!((status("CapEff"), status("CapPrm")), ("0".repeat(16), "0".repeat(16)));
    assert_eq!((status("CapBnd"), status("NoNewPrivs")), ("0".repeat(16), "1".to_owned()));
    run.interrupt().ok();
}

#[test]
fn a_script_of_the_library_runs_by_its_name() {
    privileged!();
    let stage = Stage::new();
    let output = stage.skep(&["run", "naptime", "--for", "200ms"]).run().ok();
    assert!(output.err.contains("attached"), "{output}");
    assert_eq!(stage.log().last().map(|line| line["event"].clone()), Some("end".into()));
}

#[test]
fn a_socket_that_systemd_hands_over_is_served() {
    privileged!();
    let Some(activate) = skep_tests::machine::program("systemd-socket-activate") else { return };
    let stage = Stage::activated(&activate);
    let run = stage.skep(&["-e", &counter("by(comm)")]).start().attached();
    // Only the helper itself has the socket: descriptor 3 is none of what it runs.
    let socket = std::fs::read_link(format!("/proc/{}/fd/3", stage.helper())).expect("it was handed over");
    let of_run = std::fs::read_dir(format!("/proc/{}/fd", stage.carried_out())).expect("it runs").flatten();
    assert!(of_run.filter_map(|fd| std::fs::read_link(fd.path()).ok()).all(|open| open != socket));
    call_as(NOBODY, CALLS);
    let output = run.interrupt().ok();
    assert!(output.err.contains(&format!("{CALLS} counted, 0 lost")), "{output}");
}

#[test]
fn who_goes_away_takes_the_run_along() {
    privileged!();
    let stage = Stage::new();
    let text = counter("by(comm)");
    let request = serde_json::json!({ "v": 1, "script": { "called": "-e", "text": text } });
    let stream = stage::as_user(NOBODY, || stage.send(format!("{request}\n").as_bytes()));
    assert!(stage.eventually(|| stage.log().len() == 1));
    drop(stream);
    assert!(stage.eventually(|| stage.log().len() == 2), "{:?}", stage.log());
}

#[test]
fn a_helper_that_dies_takes_its_runs_along() {
    privileged!();
    let stage = Stage::new();
    let run = stage.skep(&["-e", &counter("by(comm)")]).start().attached();
    let pid = stage.carried_out();
    // SAFETY: signals our own child, which is not waited for yet.
    assert_eq!(unsafe { libc::kill(stage.helper() as i32, libc::SIGKILL) }, 0);
    let output = run.end().status_is(1);
    assert!(output.err.contains("it went away"), "{output}");
    let path = format!("/proc/{pid}");
    assert!(stage.eventually(|| !std::path::Path::new(&path).exists()));
}

#[test]
fn policies_for_packets_take_a_permit_of_their_own() {
    privileged!();
    let (client, server) = (Namespace::new(), Namespace::new());
    Namespace::pair(&client, &server, "10.9.0.1/24", "10.9.0.2/24");
    let stage = Stage::at(|program| server.command(&program.display().to_string()));
    stage.permit(&format!("[[permit]]\nusers = [{NOBODY}]\nown_scripts = true\nenforcement = true\n"));
    let text = "policy(\"tc\", \"to_a\").named(\"x\").deny(#{ src: \"10.9.0.1\", proto: \"udp\", dport: 4711 }).mode(\"enforce\")";
    let run = stage.skep(&["--enforce", "--format", "json", "-e", text]).start().attached();
    client.inside(|| {
        let socket = std::net::UdpSocket::bind("10.9.0.1:0").expect("it is this end's");
        (0..CALLS).for_each(|_| drop(socket.send_to(b"skep", "10.9.0.2:4711")));
    });
    // Packets arrive when they do.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let report = run.interrupt().ok().json().pop().expect("it prints its report");
    let rows = report["rows"].as_array().expect("a report has rows");
    let dropped: Vec<_> = rows.iter().filter(|row| row["verdict"] == "dropped").collect();
    assert_eq!((dropped.len(), &dropped[0]["packets"]), (1, &CALLS.into()), "{report}");
    let folder = std::fs::metadata("/run/skep/policy").expect("it is there");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&folder), 0);
}

#[test]
fn permits_are_checked_without_the_helper() {
    let folder = skep_tests::machine::Folder::new();
    let right = folder.file("right.toml", "[[permit]]\ngroups = [\"oncall\"]\nscripts = [\"*\"]\n");
    let output = Skep::new(&["permit", "check", &right]).run();
    assert!(output.out.starts_with("line 1: group oncall\n  scripts        *\n  attach points  none\n"), "{output}");
    let wrong = folder.file("wrong.toml", "[[permit]]\nusers = [7]\nmax_tme = \"1s\"\n");
    let output = Skep::new(&["permit", "check", &wrong]).run().status_is(1);
    assert!(output.err.contains(":3:1") && output.err.contains("did you mean `max_time`?"), "{output}");
}

#[test]
fn attempts_to_get_more_fail_and_are_logged() {
    privileged!();
    let stage = Stage::new();
    let attempts = attempts::all(&stage);
    assert!(attempts.len() >= 30, "only {}", attempts.len());
    for attempt in &attempts {
        attempt.fails(&stage);
    }
    let text = std::fs::read_to_string(stage.log_path()).expect("it logs");
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "the log has what terminals obey");
    println!("{} attempts failed, and were logged", attempts.len());
    // It is as well as before.
    let run = stage.skep(&["--format", "json", "-e", &counter("by(uid)")]).start().attached();
    call_as(NOBODY, CALLS);
    assert_eq!(run.interrupt().ok().table(0)["rows"][0]["value"], CALLS);
}
