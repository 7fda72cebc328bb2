//! A stage: a network namespace for each end that tests name, all of them on one wire.

use skep_tests::machine::Folder;
use skep_tests::{Namespace, Skep};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Who sends and receives.
pub struct Actor {
    pub namespace: Namespace,
    pub addresses: Vec<IpAddr>,
}

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
    /// The endpoints of an inventory, and `others`, which are addresses.
    pub fn new(inventory: &str, others: &BTreeSet<IpAddr>, side: Side) -> Stage {
        let host = Namespace::new();
        host.run("ip link add wire type bridge forward_delay 0 mcast_snooping 0");
        host.run("ip link set wire up");
        let mut all = endpoints(inventory);
        all.extend(others.iter().map(|address| (address.to_string(), vec![*address])));
        let actors = all.into_iter().enumerate().map(|(number, (name, addresses))| {
            let namespace = Namespace::new();
            joined(&host, &other_end(&name, number), &namespace, &addresses);
            (name, Actor { namespace, addresses })
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
        stage
    }

    /// By the name that a test gives it. Interfaces that policies name are the web server's.
    pub fn actor(&self, name: &str) -> &Actor {
        let name = if name == "eth0" { "web" } else { name };
        self.actors.get(name).unwrap_or_else(|| panic!("nobody here is called {name}"))
    }

    /// `skep policy apply`, where the places are.
    pub fn apply(&self, policies: &str) -> Skep {
        let is_interface = policies.contains("interface: eth0");
        let place = if is_interface { &self.actor("eth0").namespace } else { &self.host };
        let file = self.folder.file("policies.yaml", policies);
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

/// Its interface there. Names of interfaces have 15 bytes, and addresses more.
fn other_end(name: &str, number: usize) -> String {
    if name.parse::<IpAddr>().is_ok() { format!("lxc{number}") } else { format!("lxc_{name}") }
}

/// Whoever has an address is behind the only interface.
fn joined(host: &Namespace, other_end: &str, namespace: &Namespace, addresses: &[IpAddr]) {
    let inside = namespace.file().file_name().expect("it has one").to_string_lossy().into_owned();
    host.run(&format!("ip link add {other_end} type veth peer name eth0 netns {inside}"));
    host.run(&format!("ip link set {other_end} master wire up"));
    namespace.run("ip link set eth0 up");
    for address in addresses {
        let (family, whole, more) = if address.is_ipv4() { ("-4", 32, "") } else { ("-6", 128, "nodad") };
        namespace.run(&format!("ip {family} addr add {address}/{whole} dev eth0 {more}"));
        namespace.run(&format!("ip {family} route add default dev eth0"));
    }
}
