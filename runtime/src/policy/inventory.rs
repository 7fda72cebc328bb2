//! The inventory: what labels, names and entities mean on a node without a cluster. Pure; no privilege.

use super::fields::Fields;
use super::labels::{Labels, NAMESPACE, OF_NAMESPACE};
use super::yaml::{Node, Value, documents};
use crate::diagnostic::{Diagnostic, Position};
use crate::network::cidr::Cidr;
use crate::network::protocol::Protocol;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What policies are about. A list that is not given is unknown, an empty one says that there is no such address.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inventory {
    pub endpoints: Vec<Endpoint>,
    pub namespaces: BTreeMap<String, Labels>,
    pub host: Option<Vec<Cidr>>,
    pub remote_nodes: Option<Vec<Cidr>>,
    pub kube_apiserver: Option<Vec<Cidr>>,
    /// Prefixes of the cluster's addresses, beside those of the endpoints.
    pub cluster: Option<Vec<Cidr>>,
}

/// Something that policies select.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub name: String,
    /// `default` where none is given; `None` where it is given as the empty text: no pod.
    pub namespace: Option<String>,
    /// Its own; [`Inventory::labels`] has those that its namespace adds.
    pub labels: Labels,
    pub named_ports: Vec<NamedPort>,
    pub place: Place,
    /// What others see of it.
    pub addresses: Vec<IpAddr>,
    pub position: Option<Position>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPort {
    pub name: String,
    pub port: u16,
    pub protocol: Protocol,
}

/// Where its packets are to be met.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    Cgroup(String),
    /// A network namespace, by name or path: its `eth0`, or its only interface beside `lo`.
    Netns(String),
    /// The host's end of its veth pair: what leaves there comes to the endpoint.
    Veth(String),
    /// An interface that a policy itself names.
    Interface(String),
    Address(IpAddr),
    /// `namespace/name`.
    Pod(String),
}

const PLACES: &[&str] = &["cgroup", "netns", "ifname", "ip", "pod"];
const LISTS: &[&str] = &["host", "remote-node", "kube-apiserver", "cluster"];

/// What `kind` says of an inventory that is one document among others.
pub const KIND: &str = "Inventory";

impl Inventory {
    /// Reads a file of its own.
    ///
    /// # Errors
    /// A script diagnostic: no YAML, more than one document, or what [`Inventory::read`] says.
    pub fn parse(text: &str) -> Result<Inventory, Diagnostic> {
        match documents(text)?.as_slice() {
            [document] => Inventory::read(document),
            [] => Err(Diagnostic::script("the inventory is empty")),
            [_, second, ..] => Err(second.wrong("an inventory is one document")),
        }
    }

    /// Reads a document: a list of endpoints, or a map with them and the rest.
    ///
    /// # Errors
    /// A script diagnostic: unknown keys, what is no address, names or addresses given twice.
    pub fn read(node: &Node) -> Result<Inventory, Diagnostic> {
        let mut inventory = Inventory::default();
        if let Value::List(items) = &node.value {
            inventory.endpoints = items.iter().map(Endpoint::read).collect::<Result<_, _>>()?;
            inventory.check()?;
            return Ok(inventory);
        }
        let known = ["apiVersion", "kind", "endpoints", "namespaces"].iter().chain(LISTS).copied().collect::<Vec<_>>();
        let fields = Fields::of(node, "an inventory", &known)?;
        inventory.endpoints = fields.list("endpoints")?.iter().map(Endpoint::read).collect::<Result<_, _>>()?;
        for item in fields.list("namespaces")? {
            let fields = Fields::of(item, "a namespace", &["name", "labels"])?;
            let name = fields.need("name")?.text("name")?.to_owned();
            let labels = fields.get("labels").map(|labels| Labels::read(labels, "labels")).transpose()?;
            if inventory.namespaces.insert(name.clone(), labels.unwrap_or_default()).is_some() {
                return Err(item.wrong(format!("the namespace `{name}` is given twice")));
            }
        }
        let mut lists = LISTS.iter().map(|list| {
            let items = fields.get(list).map(|_| fields.list(list)).transpose()?;
            items.map(|items| items.iter().map(|item| item.cidr(list)).collect::<Result<Vec<_>, _>>()).transpose()
        });
        let mut next = || lists.next().transpose().map(Option::flatten);
        inventory.host = next()?;
        inventory.remote_nodes = next()?;
        inventory.kube_apiserver = next()?;
        inventory.cluster = next()?;
        inventory.check()?;
        Ok(inventory)
    }

    fn check(&self) -> Result<(), Diagnostic> {
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeMap::new());
        for endpoint in &self.endpoints {
            if !names.insert(&endpoint.name) {
                let message = format!("the endpoint `{}` is given twice", endpoint.name);
                return Err(Diagnostic::script(message).at(endpoint.position));
            }
            for address in &endpoint.addresses {
                if let Some(other) = addresses.insert(address, &endpoint.name) {
                    let message = format!("`{address}` is the address of `{other}` and of `{}`", endpoint.name);
                    return Err(Diagnostic::script(message).at(endpoint.position));
                }
            }
        }
        Ok(())
    }

    pub fn endpoint(&self, name: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.name == name)
    }

    pub fn owner(&self, address: IpAddr) -> Option<&Endpoint> {
        self.endpoints.iter().find(|endpoint| endpoint.addresses.contains(&address))
    }

    /// The labels of an endpoint, with its namespace's name and labels under Cilium's keys.
    pub fn labels(&self, endpoint: &Endpoint) -> Labels {
        let mut labels = endpoint.labels.clone();
        if let Some(namespace) = &endpoint.namespace {
            labels.0.insert(NAMESPACE.to_owned(), namespace.clone());
            for (key, value) in self.namespace(namespace).0 {
                labels.0.insert(format!("{OF_NAMESPACE}{key}"), value);
            }
        }
        labels
    }

    /// The labels of a namespace, and the one that Kubernetes gives to each.
    pub fn namespace(&self, name: &str) -> Labels {
        let mut labels = self.namespaces.get(name).cloned().unwrap_or_default();
        labels.0.insert("kubernetes.io/metadata.name".to_owned(), name.to_owned());
        labels
    }
}

impl Endpoint {
    fn read(node: &Node) -> Result<Endpoint, Diagnostic> {
        let known = ["name", "namespace", "labels", "namedPorts", "match", "addresses"];
        let fields = Fields::of(node, "an endpoint", &known)?;
        let name = fields.need("name")?.text("name")?.to_owned();
        let mut labels =
            fields.get("labels").map(|labels| Labels::read(labels, "labels")).transpose()?.unwrap_or_default();
        let said = fields.text("namespace")?.map(str::to_owned);
        // Labels copied from Cilium carry the namespace.
        let namespace = said.or_else(|| labels.0.remove(NAMESPACE)).unwrap_or_else(|| "default".to_owned());
        let namespace = (!namespace.is_empty()).then_some(namespace);
        let place = Place::read(fields.need("match")?)?;
        let mut addresses = match place {
            Place::Address(address) => vec![address],
            _ => Vec::new(),
        };
        for item in fields.list("addresses")? {
            let address = item.text("addresses")?;
            let address = address.parse().map_err(|_| item.wrong(format!("`{address}` is no address")))?;
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let ports = fields.get("namedPorts").map_or(Ok(&[][..]), |ports| ports.entries("namedPorts"))?;
        let named_ports = ports.iter().map(|(key, node)| NamedPort::read(&key.text, node)).collect::<Result<_, _>>()?;
        Ok(Endpoint { name, namespace, labels, named_ports, place, addresses, position: node.position })
    }
}

impl NamedPort {
    /// `80`, which is TCP, or `53/udp`.
    fn read(name: &str, node: &Node) -> Result<NamedPort, Diagnostic> {
        let text = node.text(name)?;
        let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let port = port.parse().ok().filter(|port: &u16| *port > 0);
        let protocol = Protocol::named(protocol).filter(|protocol| protocol.has_ports());
        let (Some(port), Some(protocol)) = (port, protocol) else {
            return Err(node.wrong(format!("`{text}` is no port")).help("80 or 53/udp"));
        };
        Ok(NamedPort { name: name.to_ascii_lowercase(), port, protocol })
    }
}

impl Place {
    fn read(node: &Node) -> Result<Place, Diagnostic> {
        let fields = Fields::of(node, "what an endpoint is matched by", PLACES)?;
        let [(key, value)] = node.entries("match")? else {
            let message = format!("an endpoint is matched by one of {}", PLACES.join(", "));
            return Err(Diagnostic::script(message).at(fields.position));
        };
        let text = value.text(&key.text)?.to_owned();
        Ok(match key.text.as_str() {
            "cgroup" => Place::Cgroup(text),
            "netns" => Place::Netns(text),
            "ifname" => Place::Veth(text),
            "pod" => Place::Pod(text),
            _ => Place::Address(text.parse().map_err(|_| value.wrong(format!("`{text}` is no address")))?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = "\
endpoints:
- name: web
  namespace: shop
  labels: {app: web, version: 1.10}
  namedPorts: {http: 80, dns: 53/udp}
  match: {netns: web}
  addresses: [10.9.0.3, 'fd09::3']
- {name: client, match: {ip: 10.9.0.2}}
namespaces:
- {name: shop, labels: {team: blue}}
host: [10.9.0.1]
cluster: []
";

    #[test]
    fn inventory_reads_endpoints_namespaces_and_lists() {
        let inventory = Inventory::parse(SHOP).expect("it is right");
        let web = inventory.endpoint("web").expect("it is there");
        assert_eq!(web.addresses.len(), 2);
        assert_eq!(web.named_ports[1], NamedPort { name: "dns".into(), port: 53, protocol: Protocol::UDP });
        let labels = inventory.labels(web);
        assert_eq!(labels.get("version"), Some("1.10"));
        assert_eq!(labels.get("io.kubernetes.pod.namespace"), Some("shop"));
        assert_eq!(labels.get("io.cilium.k8s.namespace.labels.team"), Some("blue"));
        assert_eq!((inventory.cluster, inventory.remote_nodes), (Some(vec![]), None));
        assert_eq!(inventory.endpoints[1].addresses, ["10.9.0.2".parse::<IpAddr>().expect("it is an address")]);
    }

    #[test]
    fn faults_name_their_places() {
        for (text, message, line, column) in [
            ("- {name: a, match: {ip: 10.0.0.1}, lables: {}}", "an endpoint has no `lables`", 1, 36),
            ("- {name: a, match: {ip: 10.0.0.300}}", "`10.0.0.300` is no address", 1, 25),
            ("- {name: a, match: {ip: 10.0.0.1, pod: a/b}}", "an endpoint is matched by one of", 1, 20),
            ("- {name: a}", "an endpoint needs `match`", 1, 3),
            ("- {name: a, match: {ip: ::1}}\n- {name: a, match: {ip: ::2}}", "the endpoint `a` is given twice", 2, 3),
            (
                "- {name: a, match: {ip: ::1}}\n- {name: b, match: {ip: ::1}}",
                "`::1` is the address of `a` and of",
                2,
                3,
            ),
            ("host: [10.0.0.1/8]", "`10.0.0.1/8` has bits set behind its prefix", 1, 8),
            ("- {name: a, match: {pod: x}, namedPorts: {http: 80/icmp}}", "`80/icmp` is no port", 1, 49),
            ("namespaces: [{name: a}, {name: a}]", "the namespace `a` is given twice", 1, 25),
        ] {
            let error = Inventory::parse(text).expect_err("it is wrong");
            assert!(error.message.starts_with(message), "{text}: {error}");
            assert_eq!(error.position, Some(Position::new(line, column)), "{text}: {error}");
        }
    }
}
