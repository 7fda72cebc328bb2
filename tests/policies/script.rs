//! Policies that scripts say: what they count and drop, what they refuse, and what a script does with the report.

use crate::setting::{CLIENT, SERVER, Setting, at};
use serde_json::Value;
use skep_tests::{Skep, privileged};
use std::net::UdpSocket;

/// A run of `script` where the server is.
fn script(setting: &Setting, options: &[&str], script: &str) -> Skep {
    let skep = Skep::new(&[options, &["-e", script]].concat()).in_network(&setting.server);
    skep.environment("SKEP_POLICY_FOLDER", &setting.folder.display().to_string()).environment("SSH_CONNECTION", "")
}

/// `(rule, verdict, packets)` of a report in JSON.
fn verdicts(report: &Value) -> Vec<(String, String, u64)> {
    let text = |value: &Value| value.as_str().expect("it is a text").to_owned();
    let rows = report["rows"].as_array().expect("a report has rows").iter();
    let found = rows.map(|row| (text(&row["rule"]), text(&row["verdict"]), row["packets"].as_u64().expect("a number")));
    // What neighbours and multicast listeners tell each other is no rule's.
    found.filter(|(rule, ..)| !rule.starts_with('(')).collect()
}

fn row(rule: &str, verdict: &str, packets: u64) -> (String, String, u64) {
    (rule.to_owned(), verdict.to_owned(), packets)
}

const RULES: &str = ".deny(#{ src: \"10.9.0.1\", proto: \"udp\", dport: 4711 })
    .allow(#{ name: \"open\", proto: \"udp\", port: [4712, 5000..=5009], direction: \"ingress\" })
    .deny(#{ name: \"never met\", src: \"192.0.2.0/24\" })";

#[test]
fn policy_of_a_script_counts_what_it_would_drop_and_drops_what_it_enforces() {
    privileged!();
    let setting = Setting::new();
    for point in ["xdp", "tc"] {
        for (mode, option, denied) in [("audit", &[][..], "would drop"), ("enforce", &["--enforce"], "dropped")] {
            let text = format!("policy(\"{point}\", \"to_a\"){RULES}.mode(\"{mode}\")");
            let run = script(&setting, &[option, &["--format", "json"]].concat(), &text).start().attached();
            let place = format!("{point}:to_a");
            assert_eq!(setting.reaches(SERVER[0], 4711), mode == "audit", "{place}");
            setting.send(4711, 22, &place, "deny 10.9.0.1 udp/4711", denied);
            setting.send(5003, 31, &place, "open", "passed");
            let report = run.interrupt().ok().json().pop().expect("it prints its report");
            let wanted =
                [row("deny 10.9.0.1 udp/4711", denied, 23), row("never met", "none", 0), row("open", "passed", 31)];
            let mut found = verdicts(&report);
            found.sort();
            assert_eq!(found, wanted, "{place} {mode}");
        }
    }
}

#[test]
fn policy_of_a_script_ends_in_time_and_gives_its_report() {
    privileged!();
    let setting = Setting::new();
    let text = "let seen = policy(\"tc\", \"to_a\").named(\"guard\").deny(#{ proto: \"udp\", dport: 4711 })
            .allow(#{ name: \"web\", proto: \"tcp\", dport: 80 }).run(\"2s\");
        print(seen.rows().filter(|row| row.packets > 0 && row.rule == \"guard\").map(|row| `${row.rule} ${row.verdict} ${row.packets}`));
        print(seen.sort_by(\"packets\").top(1));
        print(seen.len() > 0 && seen.json().contains(\"verdicts\"));
        seen.csv(\"PATH\");"
        .replace("PATH", &setting.folder.join("seen.csv").display().to_string());
    let run = script(&setting, &[], &text).start().attached();
    setting.send(4711, 13, "tc:to_a", "guard", "would drop");
    let output = run.end().ok();
    assert!(output.err.contains("attached: audits `tc:to_a`; for 2.00s"), "{output}");
    let lines: Vec<&str> = output.out.lines().collect();
    assert_eq!(lines[0], r#"["guard would drop 13"]"#, "{output}");
    let first: Vec<&str> = lines[2].split_whitespace().collect();
    assert_eq!(first[..2], ["guard", "ingress"], "{output}");
    // Who took the report prints it, or not.
    assert_eq!(lines[3..], ["true"], "{output}");
    let file = std::fs::read_to_string(setting.folder.join("seen.csv")).expect("it was written");
    assert!(file.starts_with("place,rule,direction,verdict,packets,bytes\n"), "{file}");
    assert!(file.contains("tc:to_a,guard,ingress,would drop,13,416\n"), "{file}");
    assert!(setting.policy(&["status"]).run().ok().out.contains("no policy is at work"));
}

#[test]
fn policy_of_a_script_hands_denials_to_a_closure_and_its_value_to_timers() {
    privileged!();
    let setting = Setting::new();
    let text = "let guard = policy(\"tc\", \"to_a\").deny(#{ name: \"no\", proto: \"udp\", dport: 4711 })
            .each(|denial| { print(`${denial.src} ${denial.dst} ${denial.proto} ${denial.port} ${denial.verdict}`); });
        every(\"100ms\", || {
            for row in guard.value() { if row.rule == \"no\" && row.packets == 7 { exit(); } }
        });
        run(\"30s\");";
    let run = script(&setting, &[], text).start().attached();
    let sender = setting.client.inside(|| UdpSocket::bind("10.9.0.1:0")).expect("any port");
    for _ in 0..7 {
        sender.send_to(b"skep", at(SERVER[0], 4711)).expect("it is sent");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let output = run.end().ok();
    let told = format!("{} {} udp 4711 would drop", CLIENT[0], SERVER[0]);
    assert!(output.out.lines().filter(|line| *line == told).count() > 0, "{output}");
}

#[test]
fn policy_of_a_script_runs_beside_its_probes() {
    privileged!();
    let setting = Setting::new();
    let text = "policy(\"tc\", \"to_a\").deny(#{ name: \"no\", proto: \"udp\", dport: 4711 });
        probe(\"tracepoint:net:netif_receive_skb\").filter(pid == 1).count();
        run(\"1s\");";
    let output = script(&setting, &[], text).start().attached();
    setting.send(4711, 5, "tc:to_a", "no", "would drop");
    let output = output.end().ok();
    // The script took neither: both are printed.
    let shown = "\ntc:to_a (to_a): audit\n  rule";
    assert!(output.out.contains(shown) && output.err.contains("trust:"), "{output}");
    let line: Vec<&str> = output.out.lines().filter_map(|line| line.trim().strip_prefix("no  ")).collect();
    assert_eq!(line[0].split_whitespace().nth(5), Some("5"), "{output}");
}

#[test]
fn policy_of_a_script_whose_interface_goes_fails_at_its_place() {
    privileged!();
    let setting = Setting::new();
    let text = "policy(\"tc\", \"to_a\").deny(#{ proto: \"udp\" }).run();";
    let run = script(&setting, &[], text).start().attached();
    setting.server.run("ip link del to_a");
    let output = run.end().status_is(1);
    assert!(output.err.contains("error: `tc:to_a` is gone, and its policy with it\n --> -e:1:"), "{output}");
}

#[test]
fn policy_of_a_file_runs_in_a_script() {
    privileged!();
    let setting = Setting::new();
    let path = setting.folder.join("guard.yaml");
    let yaml = "interface: to_a\nname: guard\nrules:\n- deny: {src: 10.9.0.0/24, proto: udp, port: 4711}\n";
    std::fs::write(&path, yaml).expect("the folder is ours");
    let text = format!("import_policy(\"{}\").mode(\"enforce\").run(\"20s\");", path.display());
    let run = script(&setting, &["--enforce", "--format", "json"], &text).start().attached();
    assert_eq!(setting.status("tc:to_a")["mode"], "enforce");
    setting.send(4711, 11, "tc:to_a", "guard", "dropped");
    // Taken back by whoever wants it back, and the script goes on.
    setting.policy(&["rollback", "tc:to_a", "--all"]).run().ok();
    assert_eq!(verdicts(&run.end().ok().json()[0]), [row("guard", "dropped", 11)]);
}

/// What a script without privilege is refused with.
fn refused(text: &str) -> String {
    Skep::new(&["plan", "-e", text]).run().status_is(1).err
}

#[test]
fn policy_that_enforces_needs_the_option_too() {
    let text = "policy(\"tc\", \"nowhere\").deny(#{}).mode(\"enforce\").run(\"1s\")";
    let output = Skep::new(&["-e", text]).run().status_is(1);
    let wanted = "error: to enforce takes `--enforce` on the command line too
 --> -e:1:40
  |
1 | policy(\"tc\", \"nowhere\").deny(#{}).mode(\"enforce\").run(\"1s\")
  |                                   ^^^^ drops packets
  = help: sudo skep --enforce -e '…'
";
    assert_eq!(output.err.replace("1:36", "1:40").replace("1:35", "1:40"), wanted, "{output}");
    // A plan drops nothing.
    let plan = Skep::new(&["plan", "-e", text]).run().ok();
    assert_eq!(
        plan.out,
        "1. policy at `tc:nowhere`: enforce   1:1\n   ingress  deny anybody   `deny all`\n   ingress  else allow\n   egress   deny anybody   `deny all`\n   egress   else allow\n"
    );
}

#[test]
fn policy_of_a_script_is_wrong_where_its_map_is() {
    let error = refused("policy(\"xdp\", \"eth0\").deny(#{ source: \"10.0.0.0/8\" })");
    assert!(error.contains("error: a rule has no `source`\n --> -e:1:31\n"), "{error}");
    let error = refused("policy(\"xdp\", \"eth0\")\n  .deny(#{ src: \"10.0.0.1/8\" })");
    assert!(error.contains("-e:2:18\n") && error.contains("= help: 10.0.0.0/8"), "{error}");
    let error = refused("policy(\"xdp\", \"eth0\").deny(#{ dst: \"10.0.0.0/8\" })");
    assert!(
        error.contains("xdp sees only what comes in") && error.contains("help: policy(\"tc\", \"eth0\")"),
        "{error}"
    );
    let error = refused("policy(\"xpd\", \"eth0\")");
    assert!(error.contains("`policy` cannot be `xpd`") && error.contains("did you mean `xdp`?"), "{error}");
    let error = refused("policy(\"tc\", \"eth0\").run()");
    assert!(error.contains("help: .otherwise(\"deny\")"), "{error}");
    let error = refused("policy(\"tc\", \"eth0\").deny(#{ dport: 22 })");
    assert!(error.contains("a port needs its protocol") && error.contains("help: proto: \"tcp\""), "{error}");
    let error = refused("policy(\"tc\", \"eth0\").denny(#{ dport: 22 })");
    assert!(error.contains("did you mean `deny`?"), "{error}");
    let error = refused("policy(\"tc\", \"eth0\").deny(22)");
    assert!(error.contains("`deny` takes a map, got a number"), "{error}");
    let error = refused("import_policy(\"/nowhere.yaml\")");
    assert!(error.contains("failed to read `/nowhere.yaml`: no such file or directory"), "{error}");
}

#[test]
fn policy_of_a_script_is_planned_as_json_too() {
    let text = "policy(\"xdp\", \"eth0\").deny(#{ src: \"10.0.0.0/8\", proto: \"tcp\", dport: 22 }).otherwise(\"allow\").ttl(\"10m\")";
    let output = Skep::new(&["plan", "--format", "json", "-e", text]).run().ok();
    let document = include_str!("../../docs/json.md");
    assert!(document.lines().any(|line| line == output.out.trim_end()), "docs/json.md lacks {}", output.out);
    let plan = output.json().remove(0);
    assert_eq!((plan["type"].as_str(), plan["place"].as_str()), (Some("policy_plan"), Some("xdp:eth0")), "{plan}");
    assert_eq!((plan["mode"].as_str(), plan["ttl_ms"].as_u64()), (Some("audit"), Some(600_000)), "{plan}");
    assert_eq!(plan["rules"]["ingress"]["rules"][0]["services"][0], "tcp/22-22", "{plan}");
}
