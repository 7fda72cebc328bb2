//! Lives: what the template `tcp_life` tells of a connection of TCP when it is closed. Pure.

use crate::aggregate::column::Value;
use crate::network::columns::{address, ip, layer4};
use crate::network::flow::{Direction, Flow, FlowType, Icmp, TcpFlags};
use crate::network::protocol::Protocol;

/// Columns that a life is made of, in the template's names.
pub const COLUMNS: [&str; 11] =
    ["saddr", "daddr", "sport", "dport", "tx", "rx", "srtt", "retransmits", "segments", "socket_cgroup", "role"];

/// A connection that is over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Life {
    /// From the client to the server; its direction says which of them is ours.
    pub flow: Flow,
    /// Bytes of the client, and of the server.
    pub sent: u64,
    pub received: u64,
    /// Segments that our end sent again.
    pub retransmits: u64,
    /// All that it sent, those included.
    pub segments: u64,
    /// As our end smoothed it last, in nanoseconds; 0: it never knew.
    pub round_trip: u64,
}

/// A life of one event; `column` gives its value by a column's name.
pub fn life<'a>(column: impl Fn(&str) -> Option<&'a Value>) -> Life {
    let number =
        |name: &str| column(name).and_then(Value::integer).and_then(|one| u64::try_from(one).ok()).unwrap_or(0);
    let port = |name: &str| u16::try_from(number(name)).unwrap_or(0);
    let own = (column("saddr").and_then(address), port("sport"), number("tx"));
    let other = (column("daddr").and_then(address), port("dport"), number("rx"));
    let serves = matches!(column("role"), Some(Value::Text(role)) if role == "server");
    let (client, server) = if serves { (other, own) } else { (own, other) };
    let mut flow = Flow { kind: FlowType::L3L4, cgroup_id: number("socket_cgroup"), ..Flow::default() };
    flow.traced(if serves { Direction::Ingress } else { Direction::Egress });
    flow.ip = ip(client.0, server.0);
    flow.l4 = layer4(Protocol::TCP, client.1, server.1, TcpFlags::default(), Icmp::default());
    flow.answers(false);
    Life {
        flow,
        sent: client.2,
        received: server.2,
        retransmits: number("retransmits"),
        segments: number("segments"),
        round_trip: number("srtt"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_goes_from_the_client_to_the_server_whoever_tells_it() {
        let mapped = |last: u8| Value::Bytes([&[0; 10][..], &[0xff, 0xff, 10, 9, 0, last]].concat());
        let of = |role: &str| {
            let values = [
                ("saddr", mapped(1)),
                ("daddr", mapped(2)),
                ("sport", Value::Int(80)),
                ("dport", Value::Int(9000)),
                ("tx", Value::Int(7)),
                ("rx", Value::Int(11)),
                ("srtt", Value::Int(1_000_000)),
                ("retransmits", Value::Int(3)),
                ("segments", Value::Int(13)),
                ("role", Value::Text(role.into())),
            ];
            life(|name| values.iter().find(|(known, _)| *known == name).map(|(_, value)| value))
        };
        let (told, asked) = (of("server"), of("client"));
        assert_eq!((told.flow.ports(), told.sent, told.received), (Some((9000, 80)), 11, 7));
        assert_eq!((asked.flow.ports(), asked.sent, asked.received), (Some((80, 9000)), 7, 11));
        assert_eq!((told.flow.traffic_direction, told.retransmits, told.segments), (Direction::Ingress, 3, 13));
    }
}
