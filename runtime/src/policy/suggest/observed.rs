//! Flows that were seen, in Hubble's JSON: of each line what a policy can go by.

use crate::diagnostic::{Diagnostic, Position};
use crate::network::protocol::Protocol;
use crate::policy::inventory::{Endpoint, Inventory, Place};
use crate::policy::labels::{Labels, NAMESPACE};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// One connection or request, from who began it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: Protocol,
    /// Destination port, or the type of ICMP.
    pub port: u16,
}

/// What a log holds.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// That passed, and never were dropped.
    pub flows: BTreeSet<Flow>,
    /// That were dropped, once at least.
    pub dropped: BTreeSet<Flow>,
    /// Lines of flows whose beginning nobody saw.
    pub undirected: usize,
    /// Lines without what a policy goes by: requests, sockets, fragments, other protocols.
    pub other: usize,
    /// Who was seen, where no inventory says it.
    pub seen: Inventory,
}

/// Labels that say which copy it is, not what it is.
const VOLATILE: &[&str] = &["pod-template-hash", "controller-revision-hash", "pod-template-generation"];

/// Reads JSON lines: flows, or responses and events that hold one; other kinds of lines are passed over.
///
/// # Errors
/// A script diagnostic: a line is no JSON object, or an address is none.
pub fn read(text: &str) -> Result<Observed, Diagnostic> {
    let mut observed = Observed::default();
    let mut passed = BTreeSet::new();
    let mut seen: BTreeMap<IpAddr, Endpoint> = BTreeMap::new();
    for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |message: String| Diagnostic::script(message).at(Some(Position::new(n + 1, 1)));
        let json: Json = serde_json::from_str(line).map_err(|error| wrong(format!("this line is no JSON: {error}")))?;
        if !json.is_object() {
            return Err(wrong("a line holds one JSON object".into()));
        }
        let flow = json.get("flow").unwrap_or(&json);
        if flow.get("IP").is_none() {
            // Losses, nodes, agents.
            continue;
        }
        let address = |end: &str| {
            let text = flow["IP"][end].as_str().unwrap_or_default();
            text.parse::<IpAddr>().map_err(|_| wrong(format!("`{text}` is no address")))
        };
        let (source, destination) = (address("source")?, address("destination")?);
        for (address, end) in [(source, "source"), (destination, "destination")] {
            if let Some(endpoint) = endpoint(address, &flow[end]) {
                seen.entry(address).or_insert(endpoint);
            }
        }
        let Some((protocol, port)) = service(&flow["l4"]) else {
            observed.other += 1;
            continue;
        };
        match begins(flow) {
            Some(true) => {}
            Some(false) => continue,
            None => {
                observed.undirected += 1;
                continue;
            }
        }
        let flow_seen = Flow { source, destination, protocol, port };
        match flow["verdict"].as_str() {
            Some("DROPPED" | "ERROR") => observed.dropped.insert(flow_seen),
            // What an audit would have dropped was let through: it is wanted, or the log is the wrong one.
            Some("FORWARDED" | "AUDIT" | "REDIRECTED") => passed.insert(flow_seen),
            _ => {
                observed.other += 1;
                false
            }
        };
    }
    observed.flows = passed.difference(&observed.dropped).cloned().collect();
    observed.seen.endpoints = seen.into_values().collect();
    Ok(observed)
}

/// Does this packet begin something? `None`: it cannot be said.
fn begins(flow: &Json) -> Option<bool> {
    if let Some(reply) = flow["is_reply"].as_bool().or_else(|| flow["reply"].as_bool()) {
        return Some(!reply);
    }
    let flags = &flow["l4"]["TCP"]["flags"];
    let set = |flag: &str| flags[flag].as_bool().unwrap_or(false);
    match (set("SYN"), set("ACK")) {
        (true, acknowledges) => Some(!acknowledges),
        _ => None,
    }
}

fn service(l4: &Json) -> Option<(Protocol, u16)> {
    let with_ports = [("TCP", Protocol::TCP), ("UDP", Protocol::UDP), ("SCTP", Protocol::SCTP)];
    let found = with_ports.iter().find_map(|(name, protocol)| {
        let ports = l4.get(*name)?;
        Some((*protocol, ports["destination_port"].as_u64()?))
    });
    // Types that are zero are left out of the JSON.
    let icmp = || {
        let kinds = [("ICMPv4", Protocol::ICMP), ("ICMPv6", Protocol::ICMPV6)];
        kinds.iter().find_map(|(name, protocol)| Some((*protocol, l4.get(*name)?["type"].as_u64().unwrap_or(0))))
    };
    let (protocol, port) = found.or_else(icmp)?;
    Some((protocol, u16::try_from(port).ok()?))
}

/// A pod, by its labels; nobody where the labels are reserved ones.
fn endpoint(address: IpAddr, end: &Json) -> Option<Endpoint> {
    let mut labels = Labels::default();
    for label in end["labels"].as_array()? {
        let (key, value) = label.as_str()?.split_once('=').unwrap_or((label.as_str()?, ""));
        let Some(key) = key.strip_prefix("k8s:") else {
            if key.starts_with("reserved:") || key.starts_with("cidr:") {
                return None;
            }
            continue;
        };
        labels.0.insert(key.to_owned(), value.to_owned());
    }
    let namespace = end["namespace"].as_str().map(str::to_owned).or_else(|| labels.0.remove(NAMESPACE))?;
    labels.0.retain(|key, _| {
        !key.starts_with("io.cilium.") && !key.starts_with("io.kubernetes.") && !VOLATILE.contains(&key.as_str())
    });
    let name = end["pod_name"].as_str().map_or_else(|| address.to_string(), |pod| format!("{namespace}/{pod}"));
    Some(Endpoint {
        // A pod with two addresses was seen twice.
        name: format!("{name} {address}"),
        namespace: Some(namespace),
        labels,
        named_ports: Vec::new(),
        place: Place::Address(address),
        addresses: vec![address],
        position: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_drops_and_what_nobody_saw_begin_are_set_apart() {
        let line = |rest: &str| {
            format!("{{\"flow\":{{\"IP\":{{\"source\":\"10.0.0.1\",\"destination\":\"10.0.0.2\"}},{rest}}}}}\n")
        };
        let tcp = |port: u16, rest: &str| line(&format!("\"l4\":{{\"TCP\":{{\"destination_port\":{port}{rest}}}}}"));
        let log = [
            tcp(80, "").replace("\"l4\"", "\"verdict\":\"FORWARDED\",\"is_reply\":false,\"l4\""),
            tcp(40000, "").replace("\"l4\"", "\"verdict\":\"FORWARDED\",\"is_reply\":true,\"l4\""),
            tcp(81, ",\"flags\":{\"SYN\":true}").replace("\"l4\"", "\"verdict\":\"FORWARDED\",\"l4\""),
            tcp(40001, ",\"flags\":{\"SYN\":true,\"ACK\":true}").replace("\"l4\"", "\"verdict\":\"FORWARDED\",\"l4\""),
            tcp(82, ",\"flags\":{\"ACK\":true}").replace("\"l4\"", "\"verdict\":\"FORWARDED\",\"l4\""),
            tcp(83, "").replace("\"l4\"", "\"verdict\":\"DROPPED\",\"is_reply\":false,\"l4\""),
            tcp(83, "").replace("\"l4\"", "\"verdict\":\"FORWARDED\",\"is_reply\":false,\"l4\""),
            line("\"verdict\":\"FORWARDED\",\"is_reply\":false,\"l4\":{\"ICMPv4\":{\"type\":8}}"),
            line("\"verdict\":\"FORWARDED\",\"is_reply\":false"),
            "{\"lost_events\":{\"num_events_lost\":\"3\"}}\n\n".to_owned(),
        ];
        let observed = read(&log.concat()).expect("it is a log");
        let ports: Vec<u16> = observed.flows.iter().map(|flow| flow.port).collect();
        assert_eq!(ports, [8, 80, 81]);
        assert_eq!((observed.dropped.len(), observed.undirected, observed.other), (1, 1, 1));
    }

    #[test]
    fn line_that_is_no_flow_names_its_number() {
        assert_eq!(read("{}\n[]\n").expect_err("it is a list").position, Some(Position::new(2, 1)));
        assert!(
            read("{\"IP\":{\"source\":\"x\"}}").expect_err("it is no address").message.contains("`x` is no address")
        );
    }
}
