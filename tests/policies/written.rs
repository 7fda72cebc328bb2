//! Policies as they are written, at the places of the endpoints that they select: each verb by an endpoint's name.

use crate::setting::{BpfFolder, CLIENT, SERVER, Setting, figure};
use serde_json::Value;
use skep_tests::{Namespace, privileged};

/// Clients reach the web server at one port, and are reached by nobody.
const POLICIES: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from: [{podSelector: {matchLabels: {app: client}}}]
    ports: [{port: 4711, protocol: UDP}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: client, namespace: shop}
spec:
  podSelector: {matchLabels: {app: client}}
  ingress: []
";

/// Where the web server is met, and the client.
fn files(setting: &Setting, web: &str, client: &str) -> [String; 2] {
    let endpoint = |name: &str, met: &str, addresses: [&str; 2]| {
        let addresses = format!("[{}, \"{}\"]", addresses[0], addresses[1]);
        format!(
            "- {{name: {name}, namespace: shop, labels: {{app: {name}}}, match: {{{met}}}, addresses: {addresses}}}\n"
        )
    };
    let inventory = endpoint("web", web, SERVER) + &endpoint("client", client, CLIENT);
    [setting.file("policies.yaml", POLICIES), setting.file("inventory.yaml", &inventory)]
}

fn netns(namespace: &Namespace) -> String {
    format!("netns: {}", namespace.file().display())
}

/// What comes through at a port that is allowed, and at one that is not.
fn reached(setting: &Setting) -> [bool; 2] {
    [4711, 4712].map(|port| {
        // What comes late on a busy machine comes at a second or third time; what is denied never does.
        let both = SERVER.map(|address| (0..3).any(|_| setting.reaches(address, port)));
        assert_eq!(both[0], both[1], "the families agree at {port}");
        both[0]
    })
}

fn statuses(setting: &Setting, word: &str) -> Vec<Value> {
    setting.policy(&["status", word, "--format", "json"]).run().ok().json()
}

#[test]
fn policies_as_written_are_audited_enforced_and_rolled_back_by_names_of_endpoints() {
    privileged!();
    let setting = Setting::new();
    let [policies, inventory] = files(&setting, &netns(&setting.server), &netns(&setting.client));
    let apply = ["apply", &policies, "--inventory", &inventory];
    let run = setting.policy(&apply).start().attached();
    assert_eq!(reached(&setting), [true, true]);
    let web = statuses(&setting, "web").remove(0);
    assert_eq!((&web["name"], &web["place"], &web["mode"]), (&"web".into(), &"tc:to_a".into(), &"audit".into()));
    assert_eq!(figure(&web, "web", "ingress", "passed"), 2);
    // Reports of multicast memberships may be among them.
    assert!(figure(&web, "(no rule)", "ingress", "would_drop") >= 2, "{web}");

    setting.policy(&["enforce", "web", "--confirm-within", "1s"]).run().ok();
    assert_eq!(reached(&setting), [true, false]);
    setting.until("nobody confirmed", || statuses(&setting, "web")[0]["mode"] == "audit");
    assert_eq!(reached(&setting), [true, true]);

    setting.policy(&["enforce", "all", "--confirm-within", "1s"]).run().ok();
    setting.policy(&["confirm", "all"]).run().ok();
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    let modes: Vec<Value> = statuses(&setting, "all").iter().map(|status| status["mode"].clone()).collect();
    assert_eq!(modes, ["enforce", "enforce"]);
    assert_eq!(reached(&setting), [true, false]);

    setting.policy(&["rollback", "web"]).run().ok();
    assert_eq!(reached(&setting), [true, true]);
    assert_eq!(statuses(&setting, "client")[0]["mode"], "enforce");
    setting.policy(&["rollback", "all", "--all"]).run().ok();
    let output = run.end().ok();
    assert!(output.err.contains("audits `web` at `tc:to_a`, `client` at `tc:to_b`"), "{output}");
    assert!(output.err.contains("`tc:to_a` was not confirmed in time: gone back one step"), "{output}");
    assert!(output.out.contains("tc:to_a (web): ended\n") && output.out.contains("tc:to_b (client): ended\n"));
    assert_eq!(setting.policy(&["status"]).run().ok().out, "no policy is at work\n");
}

/// What comes to an endpoint leaves the host's end of its veth pair.
#[test]
fn policies_as_written_hold_at_the_hosts_end_of_a_veth_pair() {
    privileged!();
    let setting = Setting::new();
    // The client's namespace is the host here.
    let [policies, inventory] = files(&setting, "ifname: to_b", "ip: 192.0.2.1");
    let apply = ["apply", &policies, "--inventory", &inventory, "--enforce"];
    let refused = setting.policy_in(&setting.client, &apply).run().status_is(1);
    assert!(refused.err.contains("`client` is known by its `ip` alone"), "{refused}");
    assert_eq!(reached(&setting), [true, true]);

    let web = POLICIES.split("---").next().expect("it is the first");
    std::fs::write(&policies, web).expect("it is ours");
    let run = setting.policy_in(&setting.client, &apply).start().attached();
    assert_eq!(reached(&setting), [true, false]);
    let status = statuses(&setting, "web").remove(0);
    assert_eq!((&status["place"], status["mode"].as_str()), (&"veth:to_b".into(), Some("enforce")));
    assert!(figure(&status, "(no rule)", "ingress", "dropped") >= 2, "{status}");
    run.interrupt().ok();
    assert_eq!(reached(&setting), [true, true]);
}

/// One place that cannot be had, and nothing is left at the others.
#[test]
fn policies_as_written_are_put_in_place_all_or_none() {
    privileged!();
    let setting = Setting::new();
    let [policies, inventory] = files(&setting, &netns(&setting.server), "netns: /run/netns/skep-nobody");
    let apply = ["apply", &policies, "--inventory", &inventory, "--enforce"];
    let output = setting.policy(&apply).run().status_is(1);
    assert!(output.err.contains("skep-nobody"), "{output}");
    assert_eq!(reached(&setting), [true, true]);
    assert_eq!(setting.policy(&["status"]).run().ok().out, "no policy is at work\n");
    // Neither is what the tests beside the policies do not expect, or what nothing enforces.
    let [_, inventory] = files(&setting, &netns(&setting.server), &netns(&setting.client));
    let test =
        "---\napiVersion: skep/v1\nkind: PolicyTest\ntests: [{from: client, to: web, port: 80, expect: allow}]\n";
    let tested = setting.file("tested.yaml", &format!("{POLICIES}{test}"));
    let output = setting.policy(&["apply", &tested, "--inventory", &inventory]).run().status_is(1);
    assert!(output.err.contains("do not do what the tests beside them expect"), "{output}");
    let names = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: names, namespace: shop}\nspec:\n  \
                 endpointSelector: {}\n  egress: [{toFQDNs: [{matchName: example.org}]}, {toEntities: [all]}]\n";
    let names = setting.file("names.yaml", names);
    let apply = ["apply", &names, "--inventory", &inventory];
    let output = setting.policy(&apply).run().status_is(1);
    assert!(output.err.contains("refused: ") && output.err.contains("toFQDNs"), "{output}");
    assert!(output.err.contains("`shop/names` asks for what nothing here enforces"), "{output}");
    let output = setting.policy(&apply).arguments(&["--partial"]).start().attached().interrupt().ok();
    assert!(output.err.contains("refused: "), "{output}");
}

#[test]
fn policies_as_written_are_pinned_and_found_by_names_of_endpoints() {
    privileged!();
    let setting = Setting::new();
    let bpf = BpfFolder::new(&setting);
    let policy = |words: &[&str]| bpf.used(setting.policy(words));
    let [policies, inventory] = files(&setting, &netns(&setting.server), &netns(&setting.client));
    let apply = ["apply", &policies, "--inventory", &inventory, "--enforce", "--pin", "--ttl"];
    let output = policy(&apply).arguments(&["10m"]).run().ok();
    assert!(output.err.contains("enforces `web` at `tc:to_a` without this process"), "{output}");
    assert_eq!(reached(&setting), [true, false]);
    let status = policy(&["status", "web"]).run().ok();
    assert!(status.out.starts_with("tc:to_a (web): enforce, ends in 59"), "{status}");
    assert_eq!(policy(&["status", "all", "--format", "json"]).run().ok().json().len(), 2);
    let asked = policy(&["confirm", "web"]).run().status_is(1);
    assert!(asked.err.contains("is pinned") && asked.err.contains("skep policy rollback web"), "{asked}");
    let again = policy(&apply).arguments(&["10m"]).run().status_is(1);
    assert!(again.err.contains("a policy is pinned at `tc:to_a` already"), "{again}");
    policy(&["rollback", "web"]).run().ok();
    let flows = || SERVER.iter().all(|address| setting.reaches(address, 4712));
    setting.until("traffic flows again", flows);
    policy(&["rollback", "all"]).run().ok();
    policy(&["rollback", "all"]).run().status_is(1);

    policy(&apply).arguments(&["2s"]).run().ok();
    assert_eq!(reached(&setting), [true, false]);
    let left = || std::fs::read_dir(bpf.0.join("skep_policy")).expect("it was made").count();
    setting.until("its time is over", || flows() && left() == 0);
}

#[test]
fn policies_as_written_are_exchanged_for_others() {
    privileged!();
    let setting = Setting::new();
    let [policies, inventory] = files(&setting, &netns(&setting.server), &netns(&setting.client));
    let others = setting.file("others.yaml", &POLICIES.replace("4711", "4712"));
    let swap = ["swap", &others, "--inventory", &inventory];
    let nobody = setting.policy(&swap).run().status_is(1);
    assert!(nobody.err.contains("no policy is at work at `tc:to_a`"), "{nobody}");
    let run = setting.policy(&["apply", &policies, "--inventory", &inventory, "--enforce"]).start().attached();
    assert_eq!(reached(&setting), [true, false]);
    setting.policy(&swap).run().ok();
    assert_eq!(reached(&setting), [false, true]);
    setting.policy(&["rollback", "all"]).run().ok();
    assert_eq!(reached(&setting), [true, false]);
    setting.policy(&swap).arguments(&["--confirm-within", "1s"]).run().ok();
    assert_eq!(reached(&setting), [false, true]);
    setting.until("nobody confirmed", || statuses(&setting, "all").iter().all(|status| status["steps"] == 2));
    assert_eq!(reached(&setting), [true, false]);

    // Of two policies one is staged, and neither is exchanged.
    let staged = "apiVersion: projectcalico.org/v3\nkind: StagedKubernetesNetworkPolicy\nmetadata: {name: later, namespace: \
                  shop}\nspec:\n  podSelector: {matchLabels: {app: client}}\n  ingress: []\n";
    let web = POLICIES.split("---").next().expect("it is the first");
    let later = setting.file("later.yaml", &format!("{}---\n{staged}", web.replace("4711", "4712")));
    let refused = setting.policy(&["swap", &later, "--inventory", &inventory]).run().status_is(1);
    assert!(refused.err.contains("`client` has staged policies, which cannot be exchanged"), "{refused}");
    assert_eq!(reached(&setting), [true, false]);
    run.interrupt().ok();
}
