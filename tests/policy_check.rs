//! `skep policy check`: the matrix of cases, what is said of policies, and every error with its place. No privilege.

use serde_json::Value;
use skep_tests::machine::{Folder, here};
use skep_tests::{Output, Skep, golden};
use std::collections::BTreeMap;

fn fixture(name: &str) -> String {
    here("fixtures/policies").join(format!("{name}.yaml")).display().to_string()
}

fn check(file: &str, more: &[&str]) -> Output {
    let inventory = fixture("inventory");
    Skep::new(&[&["policy", "check", file, "--inventory", &inventory], more].concat()).run()
}

/// What `text` gives, without the folder's name.
fn checked(text: &str) -> Output {
    let folder = Folder::new();
    let file = folder.file("p.yaml", text);
    let mut output = check(&file, &[]);
    let prefix = format!("{}/", folder.0.display());
    output.out = output.out.replace(&prefix, "");
    output.err = output.err.replace(&prefix, "");
    output
}

#[test]
fn matrix_of_cases_holds() {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for name in ["deny-table", "networkpolicy", "cilium", "own"] {
        let output = check(&fixture(name), &["--json"]).status_is(0);
        let lines: Vec<Value> =
            output.out.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect();
        let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count() as u64;
        let end = lines.last().expect("there is a last line");
        assert_eq!((&end["type"], &end["good"]), (&"checked".into(), &true.into()), "{output}");
        assert_eq!(of("test"), end["tests"].as_u64().unwrap_or(0));
        assert_eq!(end["tests"], end["passed"]);
        *counts.entry(name.into()).or_default() += of("test");
    }
    assert_eq!(counts["deny-table"], 15);
    assert!(counts.values().sum::<u64>() >= 280, "{counts:?}");
}

#[test]
fn table_names_what_is_enforced_observed_and_refused() {
    let text = std::fs::read_to_string(here("fixtures/policies/elements.yaml")).expect("it is there");
    let output = checked(&text).status_is(1);
    golden("policies/elements", &(output.out + &output.err));
}

#[test]
fn test_that_fails_says_what_was_found_and_ends_with_status_1() {
    let text = "interface: eth0\nname: guard\notherwise: deny\nrules:\n- allow: {src: 10.0.0.0/8, proto: tcp, port: 22}\n\
                tests:\n- {from: 10.0.0.1, to: eth0, port: 22, expect: deny, reason: POLICY_DENY}\n\
                - {from: 10.0.0.1, to: eth0, port: 23, expect: deny}\n";
    let output = checked(text).status_is(1);
    golden("policies/failed", &output.out);
}

/// One error a case; a rule stands where `…` does.
#[test]
fn errors_have_line_column_and_help() {
    const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec:\n  ";
    const CILIUM: &str = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspec:\n  ";
    const WEB: &str = "endpointSelector: {}\n  ";
    const PORT: &str = "{port: \"80\", protocol: TCP}";
    let kubernetes = [
        "podSelecter: {}",
        "ingress: [{form: []}]",
        "ingress: [{from: [{ipBlock: {cidr: 10.0.0.1/8}}]}]",
        "ingress: [{from: [{ipBlock: {cidr: 10.0.0.1}}]}]",
        "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/8]}}]}]",
        "ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}, podSelector: {}}]}]",
        "ingress: [{from: [{}]}]",
        "ingress: [{ports: [{port: 0}]}]",
        "ingress: [{ports: [{port: \"80\"}]}]",
        "ingress: [{ports: [{port: 80, protocol: ICMP}]}]",
        "ingress: [{ports: [{port: 80, endPort: 79}]}]",
        "ingress: [{ports: [{port: http, endPort: 90}]}]",
        "ingress: [{ports: [{endPort: 90}]}]",
        "policyTypes: [ingress]",
        "podSelector: {matchExpressions: [{key: a, operator: In}]}",
        "ingress: {}",
    ];
    let many = format!("ingress: [{{toPorts: [{{ports: [{}]}}]}}]", vec![PORT; 41].join(",\n    "));
    let rules = |section: &str, ports: &str, rules: &str| {
        format!("{WEB}{section}: [{{toPorts: [{{ports: [{ports}], rules: {{{rules}}}}}]}}]")
    };
    let cilium = [
        format!("{WEB}ingress: []"),
        "ingress: [{}]".into(),
        format!("{WEB}nodeSelector: {{}}\n  ingress: [{{}}]"),
        "nodeSelector: {}\n  ingress: [{}]".into(),
        format!("{WEB}ingress: [{{fromEndpoints: [{{}}], fromEntities: [world]}}]"),
        format!("{WEB}ingress: [{{toEndpoints: [{{}}]}}]"),
        format!("{WEB}ingress: [{{fromEntities: [wrold]}}]"),
        format!("{WEB}ingress: [{{fromEntities: [world-ipv4]}}]"),
        format!("{WEB}ingress: [{{fromRequires: [{{}}]}}]"),
        format!("{WEB}ingress: [{{fromCIDR: [10.1.2.3/8]}}]"),
        format!("{WEB}ingress: [{{fromCIDRSet: [{{cidr: 10.1.2.3}}]}}]"),
        format!("{WEB}ingress: [{{fromCIDRSet: [{{cidr: 10.0.0.0/8, except: [11.0.0.0/8]}}]}}]"),
        format!("{WEB}ingress: [{{fromCIDRSet: [{{cidr: 10.0.0.0/8, cidrGroupRef: g}}]}}]"),
        format!("{WEB}ingress: [{{toPorts: [{{ports: [{PORT}]}}], icmps: [{{fields: [{{type: 8}}]}}]}}]"),
        format!("{WEB}ingress: [{{icmps: [{{fields: [{{type: EchoReqest}}]}}]}}]"),
        format!("{WEB}{many}"),
        rules("ingress", "{port: \"53\", protocol: UDP}", "http: [{path: /}]"),
        rules("ingress", "{port: \"0\", protocol: TCP}", "http: [{path: /}]"),
        rules("ingressDeny", PORT, "http: [{path: /}]"),
        rules("ingress", "{port: \"53\"}", "dns: [{matchName: a}]"),
        rules("egress", "{port: \"0\"}", "dns: [{matchName: a}]"),
        rules("egress", "{port: \"53\", endPort: 54}", "dns: [{matchName: a}]"),
        rules("egress", PORT, "http: [{path: /}], dns: [{matchName: a}]"),
        format!("{WEB}egressDeny: [{{toFQDNs: [{{matchName: a}}]}}]"),
        format!("{WEB}egressDeny: [{{authentication: {{mode: required}}}}]"),
        format!("{WEB}ingress: [{{toPorts: [{{ports: [{PORT}], listener: {{name: x}}}}]}}]"),
        format!("{WEB}egress: [{{toPorts: [{{ports: [{PORT}], serverNames: [a], rules: {{http: [{{path: /}}]}}}}]}}]"),
        format!("{WEB}ingress: [{{toPorts: [{{ports: [{{port: \"80\", endPort: 79}}]}}]}}]"),
        format!("{WEB}ingress: [{{toPorts: [{{ports: [{{port: \"80\", protocol: IGMP}}]}}]}}]"),
        format!("{WEB}ingress: [{{toPorts: [{{ports: [{{port: \"-80\"}}]}}]}}]"),
        format!("{WEB}log: {{value: \"{}\"}}\n  ingress: [{{}}]", "x".repeat(33)),
    ];
    let own = [
        "rules: [{deny: {}}]",
        "interface: eth0",
        "interface: eth0\nrules: [{deny: {}, allow: {}}]",
        "interface: eth0\nrules: [{deny: {source: 10.0.0.0/8}}]",
        "interface: eth0\nrules: [{deny: {src: 10.0.0.1/8}}]",
        "interface: eth0\nrules: [{deny: {src: 10.0.0.0/8, dst: 11.0.0.0/8}}]",
        "interface: eth0\nrules: [{deny: {src: 10.0.0.0/8, direction: egress}}]",
        "interface: eth0\nat: xdp\nrules: [{deny: {dst: 10.0.0.0/8}}]",
        "interface: eth0\nat: cgroup\nrules: [{deny: {}}]",
        "interface: eth0\nrules: [{deny: {port: 80}}]",
        "interface: eth0\nrules: [{deny: {proto: icmp, port: 80}}]",
        "interface: eth0\nrules: [{deny: {proto: tcq}}]",
        "interface: eth0\nrules: [{deny: {proto: tcp, port: 90-80}}]",
        "interface: eth0\nrules: [{deny: {proto: tcp, rate: 10/s}}]",
        "interface: eth0\nrules: [{allow: {proto: tcp, rate: 10}}]",
        "interface: eth0\notherwise: drop",
        "interface: eth0\notherwise: deny\nttl: soon",
        "interface: eth0\notherwise: deny\nmode: enforced",
        "interface: eth0\notherwise: deny\ntests: [{from: nobody, to: eth0, expect: deny}]",
        "interface: eth0\notherwise: deny\ntests: [{from: 10.0.0.1, to: eth0, proto: icmp, port: 8, expect: deny}]",
    ];
    let others = [
        "kind: NetworkPolicy\nmetadata: {name: p}\nspec: {}",
        "apiVersion: apps/v1\nkind: Deployment",
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolcy",
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nspec: {}",
        "a: [1\nb: 2",
        "a: 1\na: 2",
        "- 1",
    ];
    let mut text = String::new();
    let cases = kubernetes.iter().map(|case| format!("{POLICY}{case}\n"));
    let cases = cases.chain(cilium.iter().map(|case| format!("{CILIUM}{case}\n")));
    let cases = cases.chain(own.iter().chain(&others).map(|case| format!("{case}\n")));
    for case in cases {
        let output = checked(&case).status_is(1);
        assert!(output.err.starts_with("error: ") && output.err.contains(" --> p.yaml:"), "{case}\n{output}");
        text += &format!("{}\n", output.err);
    }
    golden("policies/errors", &text);
}

/// Two connections, a name that is asked for and a ping, as Hubble writes them; one drop, and one whose beginning is not
/// there.
const FLOWS: &str = r#"{"flow":{"verdict":"FORWARDED","IP":{"source":"10.9.0.2","destination":"10.9.0.3","ipVersion":"IPv4"},"l4":{"TCP":{"source_port":41234,"destination_port":80,"flags":{"SYN":true}}},"traffic_direction":"INGRESS","is_reply":false}}
{"flow":{"verdict":"FORWARDED","IP":{"source":"10.9.0.3","destination":"10.9.0.2","ipVersion":"IPv4"},"l4":{"TCP":{"source_port":80,"destination_port":41234,"flags":{"SYN":true,"ACK":true}}},"is_reply":true}}
{"flow":{"verdict":"AUDIT","IP":{"source":"10.9.0.3","destination":"10.9.0.5","ipVersion":"IPv4"},"l4":{"TCP":{"source_port":41235,"destination_port":5432,"flags":{"SYN":true}}}}}
{"flow":{"verdict":"FORWARDED","IP":{"source":"10.9.0.2","destination":"198.51.100.7","ipVersion":"IPv4"},"l4":{"UDP":{"source_port":5000,"destination_port":53}},"is_reply":false}}
{"flow":{"verdict":"FORWARDED","IP":{"source":"10.9.0.2","destination":"10.9.0.3","ipVersion":"IPv4"},"l4":{"ICMPv4":{"type":8}},"is_reply":false}}
{"flow":{"verdict":"DROPPED","IP":{"source":"10.9.0.6","destination":"10.9.0.3","ipVersion":"IPv4"},"l4":{"TCP":{"source_port":41234,"destination_port":22,"flags":{"SYN":true}}}}}
{"flow":{"verdict":"FORWARDED","IP":{"source":"10.9.0.2","destination":"10.9.0.4","ipVersion":"IPv4"},"l4":{"TCP":{"source_port":1,"destination_port":2,"flags":{"ACK":true}}}}}
{"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"12"}}
"#;

#[test]
fn suggested_policies_pass_their_own_check() {
    let folder = Folder::new();
    let (flows, inventory) = (folder.file("flows.json", FLOWS), fixture("inventory"));
    let mut text = String::new();
    for kind in ["cilium", "kubernetes"] {
        let output = Skep::new(&["policy", "suggest", &flows, "--inventory", &inventory, "--kind", kind]).run();
        let output = output.status_is(0);
        text += &format!(
            "# skep policy suggest flows.json --kind {kind}\n{}# {}\n",
            output.out,
            output.err.trim().replace('\n', "\n# ")
        );
        let tests = "---\napiVersion: skep/v1\nkind: PolicyTest\ntests:\n\
                     - {from: client, to: web, port: 80, expect: allow}\n\
                     - {from: client, to: web, port: 81, expect: deny}\n\
                     - {from: web, to: db, port: 5432, expect: allow}\n\
                     - {from: client, to: 198.51.100.7, proto: udp, port: 53, expect: allow}\n\
                     - {from: guest, to: web, port: 22, expect: deny}\n";
        let file = folder.file("suggested.yaml", &format!("{}{tests}", output.out));
        check(&file, &[]).status_is(0);
    }
    golden("policies/suggested", &text);
}

#[test]
fn suggestion_goes_by_the_labels_of_the_log_where_there_is_no_inventory() {
    let folder = Folder::new();
    let end = |name: &str| {
        format!(
            r#"{{"namespace":"shop","labels":["k8s:app={name}","k8s:io.kubernetes.pod.namespace=shop","k8s:pod-template-hash=1a"],"pod_name":"{name}-0"}}"#
        )
    };
    let flow = format!(
        r#"{{"verdict":"FORWARDED","IP":{{"source":"10.0.0.1","destination":"10.0.0.2"}},"l4":{{"TCP":{{"destination_port":80}}}},"source":{},"destination":{},"is_reply":false}}"#,
        end("client"),
        end("web")
    );
    let output = Skep::new(&["policy", "suggest", &folder.file("flows.json", &flow)]).run().status_is(0);
    assert!(output.out.contains("endpointSelector: {matchLabels: {app: web}}"), "{output}");
    assert!(output.out.contains("- {matchLabels: {app: client}}") && !output.out.contains("hash"), "{output}");
    let none = Skep::new(&["policy", "suggest", &folder.file("flows.json", FLOWS)]).run().status_is(1);
    assert!(none.err.contains("is of an endpoint that a policy could select"), "{none}");
}
