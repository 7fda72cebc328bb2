//! `skep observe` on flows that were written before: lines of Hubble's and captures. No privilege.

use skep_tests::machine::{Folder, here, program};
use skep_tests::{Output, Skep, golden, hubble};
use std::path::Path;
use std::process::Command;

fn flows() -> String {
    here("fixtures/hubble/flows.jsonl").display().to_string()
}

#[track_caller]
fn observe(words: &[&str]) -> Output {
    Skep::new(&["observe", "--input-file", &flows()]).arguments(words).run()
}

/// Frames in the hexadecimal form of text2pcap: TCP, UDP with two tags, an echo over IPv6, DNS in VXLAN, and ARP.
const FRAMES: [&str; 5] = [
    "02000000000202000000000108004500002800070000400600000a0900020a090003a112005000000001000000005002000000000000",
    "020000000002020000000001810000078100002a08004500001c0007000040110000 0a0900020a09000314e9003500080000",
    "02000000000202000000000186dd600000000008 3a40fd000000000000000000000000000002fd000000000000000000000000000003 8000000000010001",
    "020000000002020000000001080045000056000700004011 0000c0000201c00002029c4012b500420000 0800000000012c00 \
     02000000000402000000000308004500002400070000401100000a0900020a0900039c41003500100000 0102030405060708",
    "ffffffffffff02000000000108060001080006040001020000000001 0a090002 0000000000000a090003",
];

/// A capture that Wireshark's own tool wrote.
fn capture(folder: &Folder) -> Option<String> {
    program("text2pcap")?;
    let mut text = String::new();
    for (number, frame) in FRAMES.iter().enumerate() {
        let digits: String = frame.chars().filter(char::is_ascii_hexdigit).collect();
        let bytes: Vec<&str> = digits.as_bytes().chunks(2).filter_map(|pair| str::from_utf8(pair).ok()).collect();
        let way = if number % 2 == 0 { "O" } else { "I" };
        text += &format!("{way} 2026-11-21 02:00:0{number}.123456789\n000000 {}\n\n", bytes.join(" "));
    }
    let (hex, pcapng) = (folder.file("frames.txt", &text), folder.0.join("in.pcapng").display().to_string());
    let mut command = Command::new("text2pcap");
    command.args(["-q", "-D", "-t", "%Y-%m-%d %H:%M:%S.%f", "-N", "eth0", "-n", &hex, &pcapng]).env("TZ", "UTC");
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(pcapng)
}

#[track_caller]
fn tshark(file: &str, words: &[&str]) -> String {
    let mut command = Command::new("tshark");
    command.args(["-r", file]).args(words).env("HOME", "/nonexistent");
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn flows_are_printed_in_every_form() {
    for form in ["compact", "dict", "table"] {
        golden(&format!("observe/{form}"), &observe(&["-o", form]).ok().out);
    }
    golden("observe/everything", &observe(&["--print-node-name", "--print-policy-names", "--numeric"]).ok().out);
}

#[test]
fn lines_of_json_are_what_protobuf_would_write() {
    let text = std::fs::read_to_string(here("fixtures/hubble/flows.jsonl")).expect("it is there");
    for form in ["json", "jsonpb"] {
        assert_eq!(observe(&["-o", form]).ok().out, text);
    }
    let Some(count) = hubble::decode(&text) else { return };
    assert_eq!(count, text.lines().count());
    let masked = observe(&["-o", "json", "--field-mask", "time,source.identity,l4.TCP.flags", "--verdict", "DROPPED"]);
    assert_eq!(hubble::decode(&masked.ok().out), Some(3));
    let folder = Folder::new();
    let Some(capture) = capture(&folder) else { return };
    let lines = Skep::new(&["observe", "--input-file", &capture, "-o", "json"]).run().ok().out;
    assert_eq!(hubble::decode(&lines), Some(FRAMES.len()), "{lines}");
}

#[test]
fn filters_and_bounds_choose_flows() {
    let count = |words: &[&str]| observe(words).ok().out.lines().count();
    assert_eq!(count(&[]), 8);
    assert_eq!(count(&["--verdict", "DROPPED"]), 2);
    assert_eq!(count(&["--not", "--verdict", "DROPPED", "--protocol", "tcp"]), 4);
    assert_eq!(count(&["--first", "3"]), 3);
    assert_eq!(count(&["--since", "2026-11-21T02:00:05Z", "--until", "2026-11-21T02:00:06Z"]), 2);
    assert_eq!(count(&["-4", "-t", "l7"]), 2);
    assert_eq!(count(&["--denylist", r#"{"protocol":["tcp"]}"#, "--allowlist", r#"{"ip_version":["IPv4"]}"#]), 2);
    let last = observe(&["--last", "1"]).ok().out;
    assert!(last.contains("443") && last.lines().count() == 1, "{last}");
    let raw = observe(&["--ip", "10.0.0.1", "--not", "--port", "53", "--print-raw-filters"]).ok().out;
    assert_eq!(
        raw,
        "allowlist:\n    - '{\"source_ip\":[\"10.0.0.1\"]}'\n    - '{\"destination_ip\":[\"10.0.0.1\"]}'\ndenylist:\n    - \
         '{\"source_port\":[\"53\"]}'\n    - '{\"destination_port\":[\"53\"]}'\n"
    );
}

#[test]
fn losses_are_told_and_strict_ones_fail() {
    let output = observe(&["--verdict", "AUDIT"]).ok();
    assert_eq!(output.err, "Nov 21 02:00:03.000: 12 events lost: perf event ring buffer on CPU 0\n");
    observe(&["--strict"]).status_is(3);
}

#[test]
fn what_is_no_flow_is_left_out_and_told() {
    let folder = Folder::new();
    let file =
        folder.file("a.json", "{\"flow\":{\"verdict\":\"DROPPED\",\"pid\":7}}\nrubbish\n\n{}\n\u{fffd}\n[]\n7\n");
    let output = Skep::new(&["observe", "--input-file", &file]).run().ok();
    assert_eq!(output.out.lines().count(), 1, "{output}");
    assert_eq!(
        output.err,
        "line 2 is left out: this is no JSON: expected value\nline 4 is left out: this holds no flow\nline 5 is left out: \
         this is no JSON: expected value\n2 more lines are left out\nmembers that flows do not have: `flow.pid`\n"
    );
    Skep::new(&["observe", "--input-file", &file, "--strict", "-q"]).run().status_is(3);
}

#[test]
fn captures_are_flows_and_flows_captures_that_tshark_reads() {
    let folder = Folder::new();
    let Some(capture) = capture(&folder) else { return };
    let (written, words) = (folder.0.join("out.pcapng").display().to_string(), ["observe", "--input-file"]);
    let output = Skep::new(&words).arguments(&[&capture, "--pcapng", &written]).run().ok();
    golden("observe/capture", &output.out);
    if program("tshark").is_none() {
        return;
    }
    assert_eq!(tshark(&written, &[]).lines().count(), FRAMES.len());
    let fields =
        ["-T", "fields", "-e", "frame.time_epoch", "-e", "frame.interface_name", "-e", "frame.packet_flags_direction"];
    assert_eq!(tshark(&written, &fields), tshark(&capture, &fields));
    let comments = tshark(&written, &["-T", "fields", "-e", "frame.comment"]);
    assert_eq!(comments, "verdict=TRACED\n".repeat(FRAMES.len()));
    // Nothing about it is unusual.
    let mut expert = Command::new("capinfos");
    let output = expert.args(["-M", "-c", "-E", &written]).output().expect("it comes with tshark");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains(&format!("Number of packets:   {}", FRAMES.len())), "{text}");
    // And chosen, once more through ourselves.
    let chosen = folder.0.join("chosen.pcapng").display().to_string();
    Skep::new(&words).arguments(&[&written, "--port", "53", "--pcapng", &chosen]).run().ok();
    assert_eq!(tshark(&chosen, &[]).lines().count(), 2);
}

#[test]
fn maps_and_metrics_are_written() {
    let folder = Folder::new();
    let file = |name: &str| folder.0.join(name).display().to_string();
    for (name, holds) in [
        ("a.html", "<svg "),
        ("a.dot", "digraph services {"),
        ("a.mmd", "flowchart LR"),
        ("a.prom", "caretta_links_observed{"),
    ] {
        observe(&["--map", &file(name)]).ok();
        let text = std::fs::read_to_string(file(name)).expect("it was written");
        assert!(text.contains(holds), "{name}: {text}");
    }
    observe(&["--metrics", &file("flows.prom"), "-o", "json"]).ok();
    golden("observe/metrics", &std::fs::read_to_string(file("flows.prom")).expect("it was written"));
    if program("dot").is_some() {
        let drawn = Command::new("dot").args(["-Tsvg", &file("a.dot")]).output().expect("it is there");
        assert!(drawn.status.success() && drawn.stderr.is_empty(), "{}", String::from_utf8_lossy(&drawn.stderr));
    }
    assert!(!Path::new(&file("a.html.new")).exists());
}

#[test]
fn wishes_that_cannot_be_met_are_errors_with_a_way_out() {
    let folder = Folder::new();
    let Some(capture) = capture(&folder) else { return };
    let cases: &[(&[&str], &str)] = &[
        (
            &["-o", "xml"],
            "error: `xml` is no form of flows\n  = help: -o compact, -o dict, -o json, -o jsonpb or -o table\n",
        ),
        (&["--field-mask", "time"], "error: `--field-mask` is for JSON\n  = help: -o jsonpb\n"),
        (&["-o", "json", "--field-mask", "tim"], "error: a flow has no member `tim`\n  = help: time\n"),
        (&["-f", "-o", "table"], "error: a table is printed at its end, and `--follow` has none\n"),
        (&["--ip", "10.0.0.1/8"], "error: `10.0.0.1/8` has bits set behind its prefix\n  = help: 10.0.0.0/8\n"),
        (&["--since", "soon"], "error: `soon` is no time\n"),
        (&["--map", "a.png"], "error: `a.png` ends in no form of a map\n"),
        (&["--pcapng", "/nonexistent/a"], "error: failed to write `/nonexistent/a`: no such file or directory\n"),
        (&["--not"], "error: behind `--not` there is no filter\n"),
        (&["--first", "1", "--last", "1"], "error: the argument '--first <N>' cannot be used with '--last <N>'\n"),
    ];
    for (words, message) in cases {
        let output = observe(words);
        assert!(output.status != Some(0) && output.err.starts_with(message), "{output}");
    }
    let output = Skep::new(&["observe", "--input-file", "/nonexistent"]).run().status_is(1);
    assert!(output.err.starts_with("error: failed to read `/nonexistent`: no such file or directory\n"), "{output}");
    let output = Skep::new(&["observe", "--input-file", &capture, "--pcapng", &capture]).run().status_is(1);
    assert!(output.err.contains("is read and cannot be written at the same time"), "{output}");
    let output = observe(&["--pcapng", &folder.0.join("b").display().to_string(), "-o", "json"]).ok();
    assert!(output.err.contains("is empty: flows in JSON hold no packets"), "{output}");
    let broken = std::fs::read(&capture).expect("it was written");
    std::fs::write(&capture, &broken[..broken.len() - 5]).expect("it is ours");
    let output = Skep::new(&["observe", "--input-file", &capture]).run().status_is(1);
    assert!(output.err.starts_with("error: the capture ends inside of the block at byte "), "{output}");
    assert!(output.out.lines().count() >= 4, "{output}");
}
