//! A stage: a network namespace for each end that tests name, all of them on one wire.

use crate::case::{self, Case};
use skep_tests::cgroup::Threaded;
use skep_tests::machine::Folder;
use skep_tests::{Namespace, Skep};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Who sends and receives.
pub struct Actor {
    namespace: Arc<Namespace>,
    pub addresses: Vec<IpAddr>,
    /// Its sockets are this group's.
    cgroup: Option<Threaded>,
}

impl Actor {
    fn at(addresses: Vec<IpAddr>) -> Actor {
        Actor { namespace: Arc::new(Namespace::new()), addresses, cgroup: None }
    }

    /// Work where its sockets are to be made.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.inside(|| {
            self.cgroup.iter().for_each(Threaded::enter);
            work()
        })
    }
}

/// What policies name by itself, beside the inventory's endpoints: a cgroup, with its processes' address, and interfaces,
/// which are the web server's. The second one has an address that no endpoint has.
const CGROUP: (&str, &str) = ("/app", "10.9.0.9");
const INTERFACES: (&str, &str, &str) = ("eth0", "eth1", "10.9.1.3");
const OF_INTERFACES: &str = "web";

/// Where the policies of endpoints are put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// In each one's namespace.
    Inside,
    /// At the other end of each one's veth pair, as on a node.
    Host,
}

pub struct Stage {
    actors: BTreeMap<String, Actor>,
    /// Where the other ends of all pairs are.
    host: Namespace,
    folder: Folder,
    inventory: String,
    side: Side,
}

/// Endpoints of an inventory's text, with their addresses.
fn endpoints(inventory: &str) -> BTreeMap<String, Vec<IpAddr>> {
    let blocks = inventory.split("\n- name: ").skip(1);
    let endpoint = |block: &str| {
        let name = block.lines().next().expect("it has a name").to_owned();
        let line = block.lines().find_map(|line| line.strip_prefix("  addresses: [")).expect("it has addresses");
        let addresses = line.trim_end_matches(']').split(", ").map(|one| one.trim_matches('"'));
        (name, addresses.map(|one| one.parse().expect("it is an address")).collect())
    };
    blocks.map(endpoint).collect()
}

impl Stage {
    /// The endpoints of an inventory, and whom else the cases name.
    pub fn new(inventory: &str, cases: &[Case], side: Side) -> Stage {
        let host = Namespace::new();
        host.run("ip link add wire type bridge forward_delay 0 mcast_snooping 0");
        host.run("ip link set wire up");
        let mut all = endpoints(inventory);
        all.extend(case::addresses(cases).into_iter().map(|address| (address.to_string(), vec![address])));
        let actors = all.into_iter().enumerate().map(|(number, (name, addresses))| {
            let actor = Actor::at(addresses);
            joined(&host, &other_end(&name, number), &actor);
            (name, actor)
        });
        let mut stage = Stage { actors: actors.collect(), host, folder: Folder::new(), inventory: String::new(), side };
        let mut text = inventory.to_owned();
        for (number, (name, actor)) in stage.actors.iter().enumerate() {
            let place = match side {
                Side::Inside => format!("netns: {}", actor.namespace.file().display()),
                Side::Host => format!("ifname: {}", other_end(name, number)),
            };
            text = text.replace(&format!("match: {{netns: {name}}}"), &format!("match: {{{place}}}"));
        }
        stage.inventory = stage.folder.file("inventory.yaml", &text);
        if cases.iter().any(|case| case.policies != of_cgroup(&case.policies, "")) {
            stage.add_cgroup();
        }
        stage.add_second_interface();
        stage
    }

    fn add_cgroup(&mut self) {
        let mut actor = Actor::at(vec![CGROUP.1.parse().expect("it is an address")]);
        joined(&self.host, "of_cgroup", &actor);
        actor.cgroup = Some(Threaded::new());
        self.actors.insert(CGROUP.0.to_owned(), actor);
    }

    fn add_second_interface(&mut self) {
        let (_, interface, address) = INTERFACES;
        let namespace = self.actor(OF_INTERFACES).namespace.clone();
        // Else each interface would answer for the other's address.
        let asked = || std::fs::write("/proc/sys/net/ipv4/conf/all/arp_ignore", "1").expect("it is root's to set");
        namespace.inside(asked);
        linked(&self.host, "second", &namespace, interface);
        namespace.run(&format!("ip addr add {address}/32 dev {interface}"));
        let addresses = vec![address.parse().expect("it is an address")];
        self.actors.insert(interface.to_owned(), Actor { namespace, addresses, cgroup: None });
    }

    /// By the name that a test gives it.
    pub fn actor(&self, name: &str) -> &Actor {
        let name = if name == INTERFACES.0 { OF_INTERFACES } else { name };
        self.actors.get(name).unwrap_or_else(|| panic!("nobody here is called {name}"))
    }

    /// What the reports call it: a cgroup by its path on this machine.
    pub fn called<'a>(&'a self, name: &'a str) -> &'a str {
        let actor = self.actors.get(name);
        actor.and_then(|actor| actor.cgroup.as_ref()).map_or(name, |cgroup| cgroup.path())
    }

    /// `skep policy apply`, where the places are.
    pub fn apply(&self, policies: &str) -> Skep {
        let place = if names_interfaces(policies) { &*self.actor(INTERFACES.0).namespace } else { &self.host };
        let policies = of_cgroup(policies, self.called(CGROUP.0));
        let file = self.folder.file("policies.yaml", &policies);
        let skep =
            Skep::new(&["policy", "apply", &file, "--inventory", &self.inventory, "--enforce"]).in_network(place);
        let folder = self.folder.0.join("sockets").display().to_string();
        // Whoever runs the tests may have come by ssh.
        skep.environment("SKEP_POLICY_FOLDER", &folder).environment("SSH_CONNECTION", "")
    }

    pub fn side(&self) -> Side {
        self.side
    }
}

/// Do these policies name interfaces of an endpoint themselves?
pub fn names_interfaces(policies: &str) -> bool {
    policies.contains("interface: ")
}

/// These policies with another path for their cgroup.
fn of_cgroup(policies: &str, path: &str) -> String {
    policies.replace(&format!("cgroup: {}\n", CGROUP.0), &format!("cgroup: {path}\n"))
}

/// Its interface there. Names of interfaces have 15 bytes, and addresses more.
fn other_end(name: &str, number: usize) -> String {
    if name.parse::<IpAddr>().is_ok() { format!("lxc{number}") } else { format!("lxc_{name}") }
}

/// A pair between the wire and an interface inside.
fn linked(host: &Namespace, other_end: &str, namespace: &Namespace, interface: &str) {
    let inside = namespace.file().file_name().expect("it has one").to_string_lossy().into_owned();
    host.run(&format!("ip link add {other_end} type veth peer name {interface} netns {inside}"));
    host.run(&format!("ip link set {other_end} master wire up"));
    namespace.run(&format!("ip link set {interface} up"));
}

/// Whoever has an address is behind the first interface.
fn joined(host: &Namespace, other_end: &str, actor: &Actor) {
    let (namespace, (interface, ..)) = (&*actor.namespace, INTERFACES);
    linked(host, other_end, namespace, interface);
    for address in &actor.addresses {
        let (family, whole, more) = if address.is_ipv4() { ("-4", 32, "") } else { ("-6", 128, "nodad") };
        namespace.run(&format!("ip {family} addr add {address}/{whole} dev {interface} {more}"));
        namespace.run(&format!("ip {family} route add default dev {interface}"));
    }
}
