//! What a rule of ours is about: protocols, ports, types of ICMP, and how much of it may pass.

use super::super::cilium::{Family, icmp_type};
use super::super::fields::Fields;
use super::super::model::Port;
use super::super::rules::{Rate, Service};
use super::super::yaml::{Node, Value};
use crate::diagnostic::{Diagnostic, nearest};
use crate::network::protocol::{NAMES, Protocol};
use std::ops::RangeInclusive;

/// Protocols and their ports; `None`: everything.
pub fn services(fields: &Fields<'_>) -> Result<Option<Vec<Port>>, Diagnostic> {
    if fields.get("port").is_some() && fields.get("dport").is_some() {
        return Err(Diagnostic::script("`port` and `dport` are the same").at(fields.place("dport")));
    }
    let key = if fields.get("port").is_some() { "port" } else { "dport" };
    let (ports, types) = (fields.get(key), fields.get("icmp_type"));
    let Some(protocols) = fields.get("proto") else {
        return match (ports, types) {
            (Some(node), _) => Err(node.wrong("a port needs its protocol").help("proto: tcp")),
            (_, Some(node)) => Err(node.wrong("an ICMP type needs its protocol").help("proto: icmp")),
            (None, None) => Ok(None),
        };
    };
    let mut services = Vec::new();
    for item in protocols.one_or_more() {
        let text = item.text("proto")?;
        let protocol = Protocol::named(text).ok_or_else(|| {
            let near = nearest(text, NAMES.iter().map(|(name, _)| *name));
            let help = near.map_or("tcp, udp, icmp, icmpv6, sctp or a number".to_owned(), |near| {
                format!("did you mean `{near}`?")
            });
            item.wrong(format!("there is no protocol `{text}`")).help(help)
        })?;
        if let Some(node) = ports.filter(|_| !protocol.has_ports()) {
            return Err(node.wrong(format!("{protocol} has no ports")));
        }
        if let Some(node) = types.filter(|_| !protocol.is_icmp()) {
            return Err(node.wrong(format!("{protocol} has no ICMP types")));
        }
        match (ports, types) {
            (Some(node), _) => {
                for item in node.one_or_more() {
                    services.push(Port::range(protocol, range(item)?, item.position));
                }
            }
            (_, Some(node)) => {
                let family = if protocol == Protocol::ICMP { Family::V4 } else { Family::V6 };
                for item in node.one_or_more() {
                    let code = icmp_type(item, family)?;
                    services.push(Port::range(protocol, code..=code, item.position));
                }
            }
            (None, None) => services.push(Port::range(protocol, Service::EVERY_PORT, item.position)),
        }
    }
    Ok(Some(services))
}

/// `80`, or `8000-8080`.
fn range(node: &Node) -> Result<RangeInclusive<u16>, Diagnostic> {
    let text = node.text("port")?;
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        (Some(_), Some(_)) => Err(node.wrong(format!("`{text}` ends below its beginning"))),
        _ => Err(node.wrong(format!("`{text}` is no port")).help("80, or \"8000-8080\"")),
    }
}

/// `100/s`, or how many a second and at once.
pub fn rate(node: &Node) -> Result<Rate, Diagnostic> {
    const MOST: u64 = 1_000_000_000;
    if let Value::Map(_) = node.value {
        let fields = Fields::of(node, "a rate", &["packets", "burst"])?;
        let packets = fields.need("packets")?.number("packets", 1..=MOST)?;
        let burst = fields.get("burst").map_or(Ok(packets), |node| node.number("burst", 1..=MOST))?;
        return Ok(Rate { packets, burst });
    }
    let text = node.text("rate")?;
    let packets = text.strip_suffix("/s").and_then(|number| number.trim().parse().ok());
    match packets.filter(|packets| (1..=MOST).contains(packets)) {
        Some(packets) => Ok(Rate { packets, burst: packets }),
        None => Err(node.wrong(format!("`{text}` is no rate")).help("100/s, or {packets: 100, burst: 20}")),
    }
}
