//! Endpoints: who is behind an address or a cgroup. What is known is put in from outside, from an inventory or from the
//! files of a container runtime; what nobody knows is the world. Pure.

use crate::network::cidr::Cidr;
use crate::network::container::Named;
use crate::network::flow::{Direction, Endpoint, Flow, Workload};
use crate::network::identity::{Identity, Prefixes};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Who is known.
#[derive(Debug)]
pub struct Endpoints {
    addresses: HashMap<IpAddr, Arc<Endpoint>>,
    cgroups: HashMap<u64, Arc<Endpoint>>,
    /// Longest first.
    prefixes: Vec<(Cidr, Arc<Endpoint>)>,
    numbers: Prefixes,
    /// Names that DNS answered with an address.
    names: HashMap<IpAddr, Vec<String>>,
    world: Arc<Endpoint>,
}

impl Default for Endpoints {
    fn default() -> Endpoints {
        Endpoints {
            addresses: HashMap::new(),
            cgroups: HashMap::new(),
            prefixes: Vec::new(),
            numbers: Prefixes::default(),
            names: HashMap::new(),
            world: Arc::new(reserved(Identity::WORLD)),
        }
    }
}

/// `host`, `remote-node`, `kube-apiserver` and their like.
pub fn reserved(identity: Identity) -> Endpoint {
    let label = identity.name().map(|name| format!("reserved:{name}"));
    Endpoint { identity: identity.0, labels: label.into_iter().collect(), ..Endpoint::default() }
}

impl Endpoints {
    /// An endpoint without an identity gets that of its labels.
    pub fn add_address(&mut self, address: IpAddr, endpoint: Endpoint) {
        self.addresses.insert(address, complete(endpoint));
    }

    /// See [`Endpoints::add_address`]; the number is that of `bpf_get_current_cgroup_id`.
    pub fn add_cgroup(&mut self, cgroup: u64, endpoint: Endpoint) {
        self.cgroups.insert(cgroup, complete(endpoint));
    }

    /// A range of addresses that has a name of its own, `cidr:10.0.0.0/8`, with these labels besides.
    pub fn add_prefix(&mut self, prefix: Cidr, labels: &[String]) {
        let identity = self.numbers.identity(prefix).0;
        let labels = [&[format!("cidr:{prefix}"), "reserved:world".to_owned()], labels].concat();
        self.add_network(prefix, Endpoint { identity, labels, ..Endpoint::default() });
    }

    /// A range of addresses that is one endpoint to everybody, such as other nodes.
    pub fn add_network(&mut self, prefix: Cidr, endpoint: Endpoint) {
        self.prefixes.push((prefix, complete(endpoint)));
        self.prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.length()));
    }

    /// A name that an address was found by.
    pub fn add_name(&mut self, address: IpAddr, name: &str) {
        let (names, name) = (self.names.entry(address).or_default(), name.trim_end_matches('.'));
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }

    pub fn of_address(&self, address: IpAddr) -> &Arc<Endpoint> {
        let prefix = || self.prefixes.iter().find(|(prefix, _)| prefix.contains(address)).map(|(_, endpoint)| endpoint);
        self.addresses.get(&address).or_else(prefix).unwrap_or(&self.world)
    }

    pub fn of_cgroup(&self, cgroup: u64) -> Option<&Arc<Endpoint>> {
        self.cgroups.get(&cgroup)
    }

    /// Says who a flow is between, where it does not say so itself. The cgroup is that of the local end: where it sends
    /// or, of what comes in, receives.
    pub fn name(&self, flow: &mut Flow) {
        let local = self.of_cgroup(flow.cgroup_id);
        let (sends, receives) = match flow.traffic_direction {
            Direction::Egress => (local, None),
            Direction::Ingress => (None, local),
            Direction::Unknown => (None, None),
        };
        if let Some(address) = flow.source_address() {
            flow.source.get_or_insert_with(|| sends.unwrap_or_else(|| self.of_address(address)).clone());
            self.add_names(address, &mut flow.source_names);
        }
        if let Some(address) = flow.destination_address() {
            flow.destination.get_or_insert_with(|| receives.unwrap_or_else(|| self.of_address(address)).clone());
            self.add_names(address, &mut flow.destination_names);
        }
    }

    fn add_names(&self, address: IpAddr, names: &mut Vec<String>) {
        if names.is_empty() {
            names.extend(self.names.get(&address).into_iter().flatten().cloned());
        }
    }
}

fn complete(mut endpoint: Endpoint) -> Arc<Endpoint> {
    if endpoint.identity == 0 && !endpoint.labels.is_empty() {
        endpoint.identity = Identity::of_labels(&endpoint.labels).0;
    }
    Arc::new(endpoint)
}

/// What a container runtime's files tell. Pod labels are not in them.
impl From<&Named> for Endpoint {
    fn from(named: &Named) -> Endpoint {
        let mut labels = Vec::new();
        let mut label = |key: &str, value: &str| {
            if !value.is_empty() {
                labels.push(format!("{key}={value}"));
            }
        };
        label("k8s:io.kubernetes.pod.namespace", &named.namespace);
        label("container:name", &named.container);
        label("container:image", &named.image);
        let workloads = match (named.pod.as_str(), named.container.as_str()) {
            ("", "") => Vec::new(),
            ("", container) => vec![Workload { name: container.to_owned(), kind: "Container".to_owned() }],
            (pod, _) => vec![Workload { name: pod.to_owned(), kind: "Pod".to_owned() }],
        };
        let (namespace, pod_name) = (named.namespace.clone(), named.pod.clone());
        Endpoint { labels, namespace, pod_name, workloads, ..Endpoint::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::flow::{Ip, IpVersion};
    use crate::network::message::Text;

    fn flow(source: &str, destination: &str) -> Flow {
        let address = |text: &str| Text(Some(text.parse().expect("it is an address")));
        let ip =
            Ip { source: address(source), destination: address(destination), version: IpVersion::V4, ..Ip::default() };
        Flow { ip: Some(ip), ..Flow::default() }
    }

    fn web() -> Endpoint {
        Endpoint { pod_name: "web".into(), labels: vec!["k8s:app=web".into()], ..Endpoint::default() }
    }

    #[test]
    fn addresses_are_known_exactly_by_prefix_or_as_the_world() {
        let mut known = Endpoints::default();
        known.add_address("10.9.0.3".parse().expect("it is an address"), web());
        known.add_prefix("10.0.0.0/8".parse().expect("it is a prefix"), &[]);
        known.add_prefix("10.9.0.0/16".parse().expect("it is a prefix"), &["net:site=b".into()]);
        known.add_name("1.1.1.1".parse().expect("it is an address"), "one.example.");
        let mut told = flow("10.9.0.2", "10.9.0.3");
        known.name(&mut told);
        let (source, destination) = (told.source.expect("it is known"), told.destination.expect("it is known"));
        assert_eq!(source.labels, ["cidr:10.9.0.0/16", "reserved:world", "net:site=b"]);
        assert_eq!(destination.pod_name, "web");
        assert_eq!(destination.identity, Identity::of_labels(&web().labels).0);
        let mut told = flow("1.1.1.1", "10.1.0.1");
        known.name(&mut told);
        assert_eq!(told.source.map(|source| source.identity), Some(2));
        assert_eq!(told.source_names, ["one.example"]);
        assert_eq!(told.destination.map(|destination| destination.identity), Some(16_777_217));
    }

    #[test]
    fn cgroup_names_the_local_end() {
        let mut known = Endpoints::default();
        known.add_cgroup(77, web());
        let mut out = Flow { cgroup_id: 77, traffic_direction: Direction::Egress, ..flow("10.9.0.2", "10.9.0.3") };
        known.name(&mut out);
        assert_eq!(out.source.map(|source| source.pod_name.clone()).as_deref(), Some("web"));
        assert_eq!(out.destination.map(|destination| destination.identity), Some(2));
        let mut comes = Flow { cgroup_id: 77, traffic_direction: Direction::Ingress, ..flow("10.9.0.3", "10.9.0.2") };
        known.name(&mut comes);
        assert_eq!(comes.destination.map(|destination| destination.pod_name.clone()).as_deref(), Some("web"));
    }
}
