//! Caretta's gauges of a service map, so that its boards show ours. Pure.
//!
//! Source: groundcover-com/caretta; ids are hashes of names.

use super::{Peer, ServiceMap};
use crate::network::identity::fnv1a;
use crate::network::prometheus::{Family, Kind};

const LABELS: &[&str] = &[
    "link_id",
    "client_id",
    "client_name",
    "client_namespace",
    "client_kind",
    "client_owner",
    "server_id",
    "server_name",
    "server_namespace",
    "server_kind",
    "server_port",
    "role",
];
/// The side that a value was seen at. A map of flows has seen both from outside: the client's is told.
const CLIENT: u32 = 1;
/// States of a link.
const OPEN: f64 = 3.0;
const CLOSED: f64 = 5.0;

fn id(peer: &Peer) -> u32 {
    fnv1a(format!("{}{}", peer.name, peer.namespace).as_bytes())
}

/// In the text format of Prometheus.
pub fn metrics(map: &ServiceMap) -> String {
    let mut links = Family::new("caretta_links_observed", "Bytes sent since the start, by link", Kind::Gauge, LABELS);
    let mut states =
        Family::new("caretta_tcp_states", "State of a link: 3 open, 4 accepted, 5 closed", Kind::Gauge, LABELS);
    for (edge, traffic) in map.edges() {
        let (client, server) = (&edge.client, &edge.server);
        let pair = format!("{}{}{}{}", client.name, client.namespace, server.name, server.namespace);
        let link = fnv1a(pair.as_bytes()).wrapping_add(CLIENT).to_string();
        let (client_id, server_id) = (id(client).to_string(), id(server).to_string());
        let (port, role) = (edge.port.to_string(), CLIENT.to_string());
        let labels = [
            &link,
            &client_id,
            &client.name,
            &client.namespace,
            &client.kind,
            &client.owner,
            &server_id,
            &server.name,
            &server.namespace,
            &server.kind,
            &port,
            &role,
        ]
        .map(String::as_str);
        links.add(labels, traffic.sent as f64);
        if edge.protocol == "TCP" {
            states.set(labels, if traffic.open > 0 { OPEN } else { CLOSED });
        }
    }
    [links.text(), states.text()].concat()
}
