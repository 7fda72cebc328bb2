//! Each kind of rule at each place, by real connections of both families.

use crate::setting::{CLIENT, SERVER, Setting, figure, last};
use serde_json::{Value, json};
use skep_tests::Cgroup;
use skep_tests::privileged;

/// Rules, and for ports 80, 81 and 443 whether the client gets an answer.
type Case = (&'static str, Value, [bool; 3]);

fn ingress(otherwise: &str, rules: Value) -> Value {
    json!({ "ingress": { "otherwise": otherwise, "rules": rules } })
}

fn cases() -> Vec<Case> {
    let rule = |name: &str, action: &str, more: Value| {
        let mut rule = json!({ "name": name, "action": action });
        rule.as_object_mut().expect("it is one").extend(more.as_object().cloned().expect("it is one"));
        rule
    };
    let client = json!(CLIENT);
    let others = json!(["10.9.0.0/24", "fd00:9::/64"]);
    let without = json!([{ "cidr": "10.9.0.0/24", "except": ["10.9.0.1/32"] }, { "cidr": "fd00:9::/64", "except": ["fd00:9::1/128"] }]);
    vec![
        ("default deny", ingress("deny", json!([])), [false, false, false]),
        ("port", ingress("deny", json!([rule("a", "allow", json!({ "services": ["tcp/80"] }))])), [true, false, false]),
        (
            "port range",
            ingress("deny", json!([rule("a", "allow", json!({ "services": ["tcp/80-100"] }))])),
            [true, true, false],
        ),
        (
            "protocol",
            ingress("deny", json!([rule("a", "allow", json!({ "services": ["udp"] }))])),
            [false, false, false],
        ),
        ("peer", ingress("allow", json!([rule("a", "deny", json!({ "peers": client }))])), [false, false, false]),
        (
            "peer and port",
            ingress("allow", json!([rule("a", "deny", json!({ "peers": client, "services": ["tcp/81"] }))])),
            [true, false, true],
        ),
        (
            "peers but one",
            ingress("deny", json!([rule("a", "allow", json!({ "peers": without }))])),
            [false, false, false],
        ),
        (
            "deny over allow",
            ingress(
                "allow",
                json!([
                    rule("a", "allow", json!({ "peers": client })),
                    rule("b", "deny", json!({ "peers": others, "services": ["tcp/80"] }))
                ]),
            ),
            [false, true, true],
        ),
        (
            "earlier tier",
            ingress(
                "deny",
                json!([
                    rule("a", "deny", json!({ "peers": others, "tier": 1 })),
                    rule("b", "allow", json!({ "peers": client, "services": ["tcp/443"] }))
                ]),
            ),
            [false, false, true],
        ),
        ("nobody", ingress("allow", json!([rule("a", "deny", json!({ "peers": [] }))])), [true, true, true]),
    ]
}

#[test]
fn policy_each_kind_of_rule_decides_at_each_place() {
    privileged!();
    let setting = Setting::new();
    let cgroup = Cgroup::new();
    let _servers = [80, 81, 443].map(|port| setting.serve(port, Some(&cgroup.0)));
    setting.until("servers listen", || {
        SERVER.iter().all(|address| [80, 81, 443].into_iter().all(|port| setting.connects(address, port)))
    });
    for place in ["xdp:to_a".to_owned(), "tc:to_a".to_owned(), format!("cgroup:{}", cgroup.0.display())] {
        for (name, rules, answered) in cases() {
            // An audit lets everything pass.
            let run = setting.apply(&place, &rules, &["--format", "json"]);
            assert!(setting.connects(SERVER[0], 80), "{place} {name}");
            setting.policy(&["enforce", &place]).run().ok();
            for (port, wanted) in [80, 81, 443].into_iter().zip(answered) {
                for address in SERVER {
                    assert_eq!(setting.connects(address, port), wanted, "{place} {name} {address} {port}");
                }
            }
            let output = run.interrupt().ok();
            let status = last(&output);
            let dropped: u64 = status["rules"]
                .as_array()
                .expect("it has rules")
                .iter()
                .map(|rule| rule["dropped"]["packets"].as_u64().expect("it is a number"))
                .sum();
            assert_eq!(dropped > 0, answered != [true; 3], "{place} {name} {status}");
        }
    }
}

#[test]
fn policy_lets_replies_pass_and_what_leaves_only_by_its_rules() {
    privileged!();
    let setting = Setting::new();
    let cgroup = Cgroup::new();
    // Here the client's side serves.
    let there: Vec<_> = CLIENT
        .iter()
        .flat_map(|address| [80u16, 81].map(|port| (*address, port)))
        .map(|(address, port)| {
            let mut command = setting.client.command(&skep_tests::workload::path());
            command.args(["serve", &crate::setting::at(address, port)]).spawn().expect("it starts")
        })
        .collect();
    let connects = |port| CLIENT.map(|address| setting.connects_back(address, port, Some(&cgroup.0)));
    setting.until("servers listen", || connects(80) == [true; 2] && connects(81) == [true; 2]);
    let nothing_in = json!({ "ingress": { "otherwise": "deny" } });
    let only_80_out = json!({
        "ingress": { "otherwise": "deny" },
        "egress": { "otherwise": "deny", "rules": [{ "name": "out", "action": "allow", "services": ["tcp/80"] }] },
    });
    for place in ["xdp:to_a".to_owned(), "tc:to_a".to_owned(), format!("cgroup:{}", cgroup.0.display())] {
        let run = setting.apply(&place, &nothing_in, &["--enforce"]);
        assert_eq!((connects(80), connects(81)), ([true; 2], [true; 2]), "{place}");
        let status = setting.status(&place);
        assert!(figure(&status, "(replies)", "ingress", "passed") > 0, "{status}");
        drop(run.interrupt().ok());
        if place.starts_with("xdp") {
            let rules = setting.rules("out.json", &only_80_out);
            let refused = setting.policy(&["apply", &place, "--rules", &rules]).run().status_is(1);
            assert!(refused.err.contains("sees only what comes in") && refused.err.contains("tc:to_a"), "{refused}");
            continue;
        }
        let run = setting.apply(&place, &only_80_out, &["--enforce"]);
        assert_eq!((connects(80), connects(81)), ([true; 2], [false; 2]), "{place}");
        let status = setting.status(&place);
        let denied =
            figure(&status, "(no rule)", "egress", "dropped") + figure(&status, "(no rule)", "egress", "refused");
        assert!(denied > 0, "{status}");
        drop(run.interrupt().ok());
    }
    for mut child in there {
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
    }
}

#[test]
fn policy_counts_the_same_whether_it_audits_or_enforces() {
    privileged!();
    const DATAGRAMS: u64 = 1_009;
    let setting = Setting::new();
    let rules = json!({ "ingress": { "rules": [{ "name": "no", "action": "deny", "services": ["udp/4711"] }] } });
    for place in ["xdp:to_a", "tc:to_a"] {
        let mut counted = Vec::new();
        for more in [&[][..], &["--enforce"]] {
            let run = setting.apply(place, &rules, &[&["--format", "json"], more].concat());
            let verdict = if more.is_empty() { "would drop" } else { "dropped" };
            setting.send(4711, DATAGRAMS, place, "no", verdict);
            let status = last(&run.interrupt().ok());
            counted.push((figure(&status, "no", "ingress", "would_drop"), figure(&status, "no", "ingress", "dropped")));
        }
        let sent = counted[1].1;
        assert_eq!(counted, [(sent, 0), (0, sent)], "{place}");
        assert_eq!(sent, DATAGRAMS, "{place}");
    }
}
