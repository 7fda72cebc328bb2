//! Neighbours: who is behind the addresses and cgroups of this machine: itself, the endpoints of an inventory, and the
//! containers that a runtime's files name. Needs the right to read those files.

use crate::diagnostic::Diagnostic;
use crate::kernel::{addresses, cgroup, load, netns};
use crate::network::container::{self, Runtimes};
use crate::network::endpoint::{Endpoints, reserved};
use crate::network::flow::{Endpoint, Flow, Workload};
use crate::network::identity::Identity;
use crate::policy::inventory::{self, Inventory, Place};
use crate::threads;
use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Who is known, and who was asked for in vain.
pub struct Neighbours {
    endpoints: Endpoints,
    own: HashSet<IpAddr>,
    runtimes: Runtimes,
    /// Cgroups that were looked at, whoever they are.
    met: HashSet<u64>,
    looked: Option<Instant>,
}

/// Every folder of cgroups is read to find one: not more often than this.
const PATIENCE: Duration = Duration::from_secs(1);

impl Neighbours {
    /// Those of this thread's network namespace.
    ///
    /// # Errors
    /// A machine diagnostic: its addresses cannot be listed; what [`netns::enter`] says of the inventory's namespaces.
    pub fn here(inventory: Option<&Inventory>) -> Result<Neighbours, Diagnostic> {
        let failed =
            |error| Diagnostic::machine(format!("failed to list this machine's addresses: {}", load::text(&error)));
        let own: HashSet<IpAddr> = addresses::own().map_err(failed)?.into_iter().collect();
        let mut endpoints = Endpoints::default();
        for address in &own {
            endpoints.add_address(*address, reserved(Identity::HOST));
        }
        let mut met = HashSet::new();
        if let Some(inventory) = inventory {
            for endpoint in &inventory.endpoints {
                add(&mut endpoints, &mut met, inventory, endpoint)?;
            }
            let lists = [
                (&inventory.host, Identity::HOST),
                (&inventory.remote_nodes, Identity::REMOTE_NODE),
                (&inventory.kube_apiserver, Identity::KUBE_APISERVER),
            ];
            for (prefixes, identity) in lists {
                for prefix in prefixes.iter().flatten() {
                    endpoints.add_network(*prefix, reserved(identity));
                }
            }
        }
        Ok(Neighbours { endpoints, own, runtimes: Runtimes::new("/"), met, looked: None })
    }

    pub fn is_local(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }

    /// Says who a flow is between.
    pub fn name(&mut self, flow: &mut Flow) {
        if flow.cgroup_id != 0 && !self.met.contains(&flow.cgroup_id) {
            self.look(flow.cgroup_id);
        }
        self.endpoints.name(flow);
    }

    /// Looks for a cgroup's container, and for those of all others by the way.
    fn look(&mut self, wanted: u64) {
        if self.looked.is_some_and(|time| time.elapsed() < PATIENCE) {
            return;
        }
        self.looked = Some(Instant::now());
        for (id, path) in cgroup::names() {
            if self.met.insert(id)
                && let Some(named) = container::of_path(&path).and_then(|container| self.runtimes.name(&container))
            {
                self.endpoints.add_cgroup(id, Endpoint::from(&named));
            }
        }
        // One that is gone is not searched for again.
        self.met.insert(wanted);
    }
}

/// An endpoint of an inventory, by its addresses and by where its packets are met.
fn add(
    endpoints: &mut Endpoints,
    met: &mut HashSet<u64>,
    inventory: &Inventory,
    endpoint: &inventory::Endpoint,
) -> Result<(), Diagnostic> {
    let known = described(inventory, endpoint);
    let mut addresses = endpoint.addresses.clone();
    match &endpoint.place {
        Place::Cgroup(path) => {
            let found = cgroup::find(path).map_err(|error| {
                Diagnostic::script(format!("no cgroup `{path}`: {}", load::text(&error))).at(endpoint.position)
            })?;
            met.insert(found.id);
            endpoints.add_cgroup(found.id, known.clone());
        }
        Place::Netns(name) if addresses.is_empty() => {
            addresses = inside(name).map_err(|error| error.at(endpoint.position))?;
        }
        _ => {}
    }
    for address in addresses {
        endpoints.add_address(address, known.clone());
    }
    Ok(())
}

/// The addresses of another namespace but those of its loop.
fn inside(name: &str) -> Result<Vec<IpAddr>, Diagnostic> {
    let read = || {
        netns::enter(name)?;
        let failed =
            |error| Diagnostic::machine(format!("failed to list the addresses of `{name}`: {}", load::text(&error)));
        let mut addresses = addresses::own().map_err(failed)?;
        addresses.retain(|address| !address.is_loopback());
        Ok(addresses)
    };
    threads::aside(read)
}

/// In Hubble's words: a pod with its labels, whose identity they are; without a namespace it is no pod.
fn described(inventory: &Inventory, endpoint: &inventory::Endpoint) -> Endpoint {
    let labels = inventory.labels(endpoint).0.into_iter().map(|(key, value)| format!("k8s:{key}={value}")).collect();
    let kind = if endpoint.namespace.is_some() { "Pod" } else { "Endpoint" };
    Endpoint {
        namespace: endpoint.namespace.clone().unwrap_or_default(),
        pod_name: endpoint.name.clone(),
        labels,
        workloads: vec![Workload { name: endpoint.name.clone(), kind: kind.to_owned() }],
        ..Endpoint::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::flow::{Direction, Ip, IpVersion};
    use crate::network::message::Text;

    const SHOP: &str = "\
endpoints:
- {name: web, namespace: shop, labels: {app: web}, match: {ip: 10.9.0.3}}
kube-apiserver: [10.8.0.0/16]
";

    #[test]
    fn ends_are_pods_this_host_the_listed_and_the_world() {
        let inventory = Inventory::parse(SHOP).expect("it is right");
        let mut known = Neighbours::here(Some(&inventory)).expect("anybody may ask");
        let mut between = |source: [u8; 4], destination: [u8; 4]| {
            let ip = Ip {
                source: Text(Some(source.into())),
                destination: Text(Some(destination.into())),
                version: IpVersion::V4,
                ..Ip::default()
            };
            let mut flow = Flow { ip: Some(ip), traffic_direction: Direction::Egress, ..Flow::default() };
            known.name(&mut flow);
            let of = |end: Option<std::sync::Arc<Endpoint>>| {
                let end = end.expect("everybody is somebody");
                (end.pod_name.clone(), end.identity)
            };
            (of(flow.source), of(flow.destination))
        };
        let (host, web) = between([127, 0, 0, 1], [10, 9, 0, 3]);
        assert_eq!((host, web.0.as_str()), ((String::new(), 1), "web"));
        assert!(web.1 >= 256);
        assert_eq!(between([10, 8, 3, 3], [203, 0, 113, 9]), ((String::new(), 7), (String::new(), 2)));
        assert!(known.is_local([127, 0, 0, 1].into()) && !known.is_local([10, 9, 0, 3].into()));
    }
}
