//! Verdicts on single packets, in Hubble's form: each kind of them, with the policies that decided.

use crate::setting::{CLIENT, SERVER, Setting, at};
use serde_json::Value;
use skep_tests::{Cgroup, hubble, privileged};
use std::net::UdpSocket;
use std::os::unix::fs::MetadataExt;

const POLICIES: &str = "\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  log: {value: by the book}
  ingress: [{fromEndpoints: [{matchLabels: {app: client}}], toPorts: [{ports: [{port: \"4711\", protocol: UDP}]}]}]
  ingressDeny: [{toPorts: [{ports: [{port: \"4712\", protocol: UDP}]}]}]
---
apiVersion: projectcalico.org/v3
kind: StagedKubernetesNetworkPolicy
metadata: {name: later, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Egress]
";

fn files(setting: &Setting) -> [String; 2] {
    let end = |name: &str, addresses: [&str; 2], file: &str| {
        let [v4, v6] = addresses;
        format!(
            "- {{name: {name}, namespace: shop, labels: {{app: {name}}}, match: {{netns: {file}}}, addresses: [{v4}, \"{v6}\"]}}\n"
        )
    };
    let file = |namespace: &skep_tests::Namespace| namespace.file().display().to_string();
    let inventory = end("web", SERVER, &file(&setting.server)) + &end("client", CLIENT, &file(&setting.client));
    [setting.file("policies.yaml", POLICIES), setting.file("inventory.yaml", &inventory)]
}

/// A datagram from a port of its own to each of three.
fn send(setting: &Setting) {
    for port in [4711, 4712, 4713] {
        for (own, other) in CLIENT.into_iter().zip(SERVER) {
            let socket = setting.client.inside(|| UdpSocket::bind(at(own, 5_000 + port))).expect("the port is free");
            socket.send_to(b"skep", at(other, port)).expect("it is sent");
        }
        // The same rule is sampled once a tick.
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
}

/// Flows of one direction, over IPv4 and UDP, to one of the server's ports.
fn flows_to(lines: &[Value], port: u16) -> Vec<&Value> {
    let flows = lines.iter().map(|line| &line["flow"]);
    let chosen =
        flows.filter(|flow| flow["l4"]["UDP"]["destination_port"] == port && flow["IP"]["ipVersion"] == "IPv4");
    chosen.collect()
}

#[test]
fn verdicts_on_packets_are_flows_that_protobuf_would_write() {
    privileged!();
    let setting = Setting::new();
    let [policies, inventory] = files(&setting);
    let apply = ["apply", &policies, "--inventory", &inventory, "-o", "json"];
    let run = setting.policy(&apply).start().attached();
    send(&setting);
    setting.policy(&["enforce", "web"]).run().ok();
    send(&setting);
    // A staged policy is about what leaves.
    let socket = setting.server.inside(|| UdpSocket::bind(at(SERVER[0], 6_000))).expect("the port is free");
    socket.send_to(b"skep", at(CLIENT[0], 4714)).expect("it is sent");
    let output = run.interrupt().ok();
    let lines = output.json();
    if let Some(count) = hubble::decode(&output.out) {
        assert_eq!(count, lines.len());
    }
    assert!(output.err.contains("tc:to_a (web): "), "{output}");

    let allowed = flows_to(&lines, 4711);
    let first = allowed.first().unwrap_or_else(|| panic!("{output}"));
    assert!(allowed.iter().all(|flow| flow["verdict"] == "FORWARDED"), "{output}");
    assert_eq!(first["event_type"]["type"], 5);
    assert_eq!((&first["traffic_direction"], &first["policy_match_type"]), (&"INGRESS".into(), &2.into()));
    assert_eq!(first["ingress_allowed_by"][0]["name"], "web");
    assert_eq!(first["ingress_allowed_by"][0]["kind"], "CiliumNetworkPolicy");
    assert_eq!(first["policy_log"][0], "by the book");
    assert_eq!((&first["IP"]["source"], &first["IP"]["destination"]), (&CLIENT[0].into(), &SERVER[0].into()));
    assert_eq!((&first["source"]["pod_name"], &first["destination"]["pod_name"]), (&"client".into(), &"web".into()));
    assert_eq!(first["l4"]["UDP"]["source_port"], 9_711);
    assert_eq!((&first["interface"]["name"], &first["Type"]), (&"to_a".into(), &"L3_L4".into()));

    // Audited, then enforced: a rule denies one of them, and none allows the other.
    for (port, reason, match_type, by) in [(4712, 181, Some(3), true), (4713, 133, None, false)] {
        let flows = flows_to(&lines, port);
        let verdicts: Vec<&str> = flows.iter().filter_map(|flow| flow["verdict"].as_str()).collect();
        assert_eq!(verdicts, ["AUDIT", "DROPPED"], "{port} {output}");
        assert_eq!((flows[0]["drop_reason"].as_u64(), flows[1]["drop_reason"].as_u64()), (None, Some(reason)));
        for flow in flows {
            assert_eq!(flow["policy_match_type"].as_u64(), match_type, "{flow}");
            assert_eq!(flow["ingress_denied_by"][0]["name"].is_string(), by, "{flow}");
        }
    }
    let staged = flows_to(&lines, 4714);
    let verdicts: Vec<_> = staged.iter().map(|flow| [&flow["verdict"], &flow["traffic_direction"]]).collect();
    assert_eq!(verdicts, [["AUDIT", "EGRESS"]], "{output}");
}

#[test]
fn verdicts_on_packets_are_lines_for_people() {
    privileged!();
    let setting = Setting::new();
    let [policies, inventory] = files(&setting);
    let apply = ["apply", &policies, "--inventory", &inventory, "--enforce", "-o", "compact"];
    let run = setting.policy(&apply).start().attached();
    send(&setting);
    let output = run.interrupt().ok();
    for line in [
        ": shop/client:9711 (ID:",
        ") -> shop/web:4711 (ID:",
        "policy-verdict:L3-L4 INGRESS ALLOWED BY web (CiliumNetworkPolicy) (UDP)",
        "policy-verdict:L4-Only INGRESS DENIED BY web (CiliumNetworkPolicy) (UDP)",
        "policy-verdict:none INGRESS DENIED (UDP)",
    ] {
        assert!(output.out.contains(line), "{line}\n{output}");
    }
    let refused = setting.policy(&["apply", &policies, "-o", "table"]).run().status_is(1);
    assert!(refused.err.starts_with("error: `table` is no form of verdicts"), "{refused}");
}

/// A call that fails in its packets' place has no source yet.
#[test]
fn verdicts_on_calls_are_flows_too() {
    privileged!();
    let setting = Setting::new();
    let cgroup = Cgroup::new();
    let path = cgroup.0.display();
    let policy = format!("cgroup: {path}\nname: out\nrules:\n- deny: {{dst: 10.9.0.0/24, proto: tcp, port: 81}}\n");
    let policy = setting.file("out.yaml", &policy);
    let run = setting.policy(&["apply", &policy, "--enforce", "-o", "json"]).start().attached();
    assert!(!setting.connects_back(CLIENT[0], 81, Some(&cgroup.0)));
    let output = run.interrupt().ok();
    let lines = output.json();
    if let Some(count) = hubble::decode(&output.out) {
        assert_eq!(count, lines.len());
    }
    let dropped: Vec<&Value> =
        lines.iter().map(|line| &line["flow"]).filter(|flow| flow["verdict"] == "DROPPED").collect();
    let [flow] = dropped.as_slice() else { panic!("{output}") };
    assert_eq!((&flow["traffic_direction"], &flow["drop_reason_desc"]), (&"EGRESS".into(), &"POLICY_DENY".into()));
    assert_eq!((&flow["IP"]["source"], &flow["IP"]["destination"]), (&Value::Null, &CLIENT[0].into()));
    assert_eq!(
        (&flow["l4"]["TCP"]["destination_port"], &flow["egress_denied_by"][0]["name"]),
        (&81.into(), &"out".into())
    );
    let number = std::fs::metadata(&cgroup.0).expect("it is there").ino();
    assert_eq!(flow["cgroup_id"], number.to_string());
}
