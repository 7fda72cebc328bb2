//! The service map: who talks to whom, as edges from clients to servers, and what it costs. Pure.

pub mod caretta;
pub mod draw;
pub mod html;
mod layout;

use crate::network::flow::{Endpoint, Flow, Layer4, Service, TcpFlags, Verdict};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// One end of an edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Peer {
    /// A pod, a workload, a service, a name of DNS, else the address.
    pub name: String,
    pub namespace: String,
    /// `Pod`, `Deployment`, …; `node` and `external` where nobody knows more.
    pub kind: String,
    /// What the workload belongs to.
    pub owner: String,
}

/// An edge is one server port of one pair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    pub client: Peer,
    pub server: Peer,
    pub protocol: String,
    pub port: u16,
}

/// What went along an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    pub connections: u64,
    /// Packets or messages that were seen.
    pub events: u64,
    pub dropped: u64,
    /// From the client, and back to it; 0 where nobody counted.
    pub sent: u64,
    pub received: u64,
    pub retransmits: u64,
    /// Of round trips or answers: how many, and their sum.
    pub answers: u64,
    pub latency_ns: u64,
    /// Connections that are open now.
    pub open: u64,
}

impl Traffic {
    fn add(&mut self, other: &Traffic) {
        self.connections += other.connections;
        self.events += other.events;
        self.dropped += other.dropped;
        self.sent += other.sent;
        self.received += other.received;
        self.retransmits += other.retransmits;
        self.answers += other.answers;
        self.latency_ns += other.latency_ns;
        self.open += other.open;
    }

    /// Mean, in nanoseconds.
    pub fn latency(&self) -> Option<u64> {
        self.latency_ns.checked_div(self.answers)
    }
}

/// Edges, in order of their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceMap {
    edges: BTreeMap<Edge, Traffic>,
}

impl ServiceMap {
    /// Adds to an edge what something else has counted.
    pub fn add(&mut self, edge: Edge, traffic: &Traffic) {
        self.edges.entry(edge).or_default().add(traffic);
    }

    pub fn edges(&self) -> impl Iterator<Item = (&Edge, &Traffic)> {
        self.edges.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// Adds a flow: a packet or a message between two ports. Who is the client, the flow says, or its flags, or the
    /// ports: the higher one is the client's.
    pub fn count(&mut self, flow: &Flow) {
        let (Some(ip), Some(l4)) = (&flow.ip, &flow.l4) else { return };
        let (Some(from), Some(to), Some((from_port, to_port))) = (ip.source.0, ip.destination.0, l4.ports()) else {
            return;
        };
        let answers = flow.is_reply.0.unwrap_or_else(|| match l4 {
            Layer4::Tcp(tcp) if tcp.flags.has(TcpFlags::SYN) => tcp.flags.has(TcpFlags::ACK),
            _ => from_port < to_port,
        });
        let source = peer(&flow.source, &flow.source_service, &flow.source_names, from);
        let destination = peer(&flow.destination, &flow.destination_service, &flow.destination_names, to);
        let (client, server, port) =
            if answers { (destination, source, from_port) } else { (source, destination, to_port) };
        let begins = match l4 {
            Layer4::Tcp(tcp) => {
                tcp.flags.has(TcpFlags::SYN) && !tcp.flags.has(TcpFlags::ACK) && flow.verdict != Verdict::Dropped
            }
            _ => false,
        };
        let latency_ns = flow.l7.as_ref().map_or(0, |l7| l7.latency_ns);
        let traffic = Traffic {
            connections: u64::from(begins),
            events: 1,
            dropped: u64::from(flow.verdict == Verdict::Dropped),
            answers: u64::from(latency_ns > 0),
            latency_ns,
            ..Traffic::default()
        };
        self.add(Edge { client, server, protocol: l4.name().to_owned(), port }, &traffic);
    }
}

fn peer(endpoint: &Option<Arc<Endpoint>>, service: &Option<Service>, names: &[String], address: IpAddr) -> Peer {
    let known = endpoint.as_deref();
    let workload = known.and_then(|endpoint| endpoint.workloads.first());
    let namespace = known.map_or_else(String::new, |endpoint| endpoint.namespace.clone());
    if let Some(workload) = workload {
        let (name, kind) = (workload.name.clone(), workload.kind.clone());
        return Peer { name, namespace, kind, owner: String::new() };
    }
    if let Some(endpoint) = known.filter(|endpoint| !endpoint.pod_name.is_empty()) {
        return Peer { name: endpoint.pod_name.clone(), namespace, kind: "Pod".into(), owner: String::new() };
    }
    if let Some(service) = service.as_ref().filter(|service| !service.name.is_empty()) {
        let (name, namespace) = (service.name.clone(), service.namespace.clone());
        return Peer { name, namespace, kind: "Service".into(), owner: String::new() };
    }
    let is = |label: &str| known.is_some_and(|endpoint| endpoint.labels.iter().any(|one| one == label));
    let kind = if is("reserved:host") || is("reserved:remote-node") { "node" } else { "external" };
    let app = known.and_then(|endpoint| endpoint.labels.iter().find_map(|label| label.strip_prefix("k8s:app=")));
    let name = match (app, names.first()) {
        (Some(app), _) => app.to_owned(),
        (None, Some(name)) => name.clone(),
        (None, None) => address.to_string(),
    };
    Peer { name, namespace, kind: kind.into(), owner: String::new() }
}

impl Peer {
    /// `shop/web-0`, or the name alone.
    pub fn label(&self) -> String {
        if self.namespace.is_empty() { self.name.clone() } else { format!("{}/{}", self.namespace, self.name) }
    }
}

#[cfg(test)]
mod tests;
