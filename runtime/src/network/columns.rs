//! Columns: a flow of what the template `flows` tells of a packet, whichever of its columns were asked for. Pure.

use crate::aggregate::column::Value;
use crate::network::flow::{
    Direction, Ethernet, Flow, FlowType, Icmp, Interface, Ip, IpVersion, Layer4, Mac, Ports, Tcp, TcpFlags, Tunnel,
    TunnelProtocol,
};
use crate::network::message::Text;
use crate::network::packet::GENEVE_PORT;
use crate::network::protocol::Protocol;
use std::net::{IpAddr, Ipv6Addr};

/// Columns that a flow is made of, in the template's names.
pub const COLUMNS: [&str; 24] = [
    "saddr",
    "daddr",
    "sport",
    "dport",
    "protocol",
    "tcp_flags",
    "family",
    "direction",
    "interface",
    "fragment",
    "icmp_type",
    "icmp_code",
    "smac",
    "dmac",
    "cgroup",
    "tunnel",
    "vni",
    "inner_saddr",
    "inner_daddr",
    "inner_sport",
    "inner_dport",
    "inner_protocol",
    "len",
    "payload",
];

/// A flow of one event; `column` gives its value by a column's name, `interface` the name of an interface.
pub fn flow<'a>(column: impl Fn(&str) -> Option<&'a Value>, interface: impl Fn(u32) -> Option<String>) -> Flow {
    let number = |name: &str| column(name).and_then(Value::integer).unwrap_or(0);
    let port = |name: &str| u16::try_from(number(name)).unwrap_or(0);
    let byte = |name: &str| u8::try_from(number(name)).unwrap_or(0);
    let address = |name: &str| column(name).and_then(address);
    let mac = |name: &str| match column(name) {
        Some(Value::Bytes(bytes)) => bytes.first_chunk().map(|octets| Mac(*octets)),
        _ => None,
    };
    let (smac, dmac) = (mac("smac"), mac("dmac"));
    let mut flow = Flow { kind: FlowType::L3L4, ..Flow::default() };
    if smac.is_some() || dmac.is_some() {
        flow.ethernet = Some(Ethernet { source: Text(smac), destination: Text(dmac) });
    }
    let is_ip = column("family").is_none() || number("family") != 0;
    let outer = ip(address("saddr").filter(|_| is_ip), address("daddr").filter(|_| is_ip));
    let icmp = Icmp { kind: byte("icmp_type"), code: byte("icmp_code") };
    let flags = TcpFlags(u16::from(byte("tcp_flags")));
    // Whole, first, later: the last has no header of its protocol.
    let has_ports = number("fragment") < 2;
    let l4 = outer.as_ref().filter(|_| has_ports);
    let l4 = l4.and_then(|_| layer4(Protocol(byte("protocol")), port("sport"), port("dport"), flags, icmp));
    (flow.ip, flow.l4) = (outer, l4);
    let inner = ip(address("inner_saddr"), address("inner_daddr"));
    if number("tunnel") != 0 && inner.is_some() {
        let (from, to) = (port("inner_sport"), port("inner_dport"));
        let l4 = layer4(Protocol(byte("inner_protocol")), from, to, TcpFlags::default(), Icmp::default());
        let is_geneve = port("dport") == GENEVE_PORT;
        flow.tunnel = Some(Tunnel {
            protocol: if is_geneve { TunnelProtocol::Geneve } else { TunnelProtocol::Vxlan },
            ip: std::mem::replace(&mut flow.ip, inner),
            l4: std::mem::replace(&mut flow.l4, l4),
            vni: u32::try_from(number("vni")).unwrap_or(0),
        });
    }
    let direction = match column("direction") {
        Some(Value::Text(name)) if name == "egress" => Direction::Egress,
        Some(Value::Text(_)) => Direction::Ingress,
        Some(value) if value.integer() == Some(1) => Direction::Egress,
        Some(_) => Direction::Ingress,
        None => Direction::Unknown,
    };
    flow.traced(direction);
    flow.cgroup_id = u64::try_from(number("cgroup")).unwrap_or(0);
    let index = u32::try_from(number("interface")).unwrap_or(0);
    if index != 0 {
        flow.interface = Some(Interface { index, name: interface(index).unwrap_or_default() });
    }
    flow.summary = flow.summarize();
    flow
}

/// Of 16 bytes, in which an address of IPv4 is mapped.
pub(super) fn address(value: &Value) -> Option<IpAddr> {
    match value {
        Value::Bytes(bytes) => Some(Ipv6Addr::from(*bytes.first_chunk::<16>()?).to_canonical()),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

pub(super) fn ip(source: Option<IpAddr>, destination: Option<IpAddr>) -> Option<Ip> {
    let version = if source.or(destination)?.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
    Some(Ip { source: Text(source), destination: Text(destination), version, ..Ip::default() })
}

pub(super) fn layer4(protocol: Protocol, from: u16, to: u16, flags: TcpFlags, icmp: Icmp) -> Option<Layer4> {
    let ports = Ports { source_port: from, destination_port: to };
    match protocol {
        Protocol::TCP => Some(Layer4::Tcp(Tcp { source_port: from, destination_port: to, flags })),
        Protocol::UDP => Some(Layer4::Udp(ports)),
        Protocol::SCTP => Some(Layer4::Sctp(ports)),
        Protocol::ICMP => Some(Layer4::Icmpv4(icmp)),
        Protocol::ICMPV6 => Some(Layer4::Icmpv6(icmp)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn mapped(last: u8) -> Value {
        Value::Bytes([&[0; 10][..], &[0xff, 0xff, 10, 9, 0, last]].concat())
    }

    fn of(values: &[(&str, Value)]) -> Flow {
        let values: HashMap<&str, &Value> = values.iter().map(|(name, value)| (*name, value)).collect();
        flow(|name| values.get(name).copied(), |index| Some(format!("eth{index}")))
    }

    #[test]
    fn columns_of_a_packet_become_a_flow() {
        let flow = of(&[
            ("saddr", mapped(2)),
            ("daddr", mapped(3)),
            ("sport", Value::Int(41234)),
            ("dport", Value::Int(80)),
            ("protocol", Value::Int(6)),
            ("tcp_flags", Value::Int(0x12)),
            ("family", Value::Int(4)),
            ("direction", Value::Int(1)),
            ("interface", Value::Int(3)),
            ("smac", Value::Bytes(vec![2, 0, 0, 0, 0, 1])),
            ("cgroup", Value::Unsigned(u64::MAX)),
        ]);
        assert_eq!(flow.summary, "TCP Flags: SYN, ACK");
        assert_eq!(flow.source_address().map(|ip| ip.to_string()).as_deref(), Some("10.9.0.2"));
        assert_eq!((flow.ports(), flow.cgroup_id), (Some((41234, 80)), u64::MAX));
        assert_eq!(flow.interface, Some(Interface { index: 3, name: "eth3".into() }));
        assert_eq!(flow.traffic_direction, Direction::Egress);
    }

    #[test]
    fn inner_packet_of_a_tunnel_is_the_flow_and_later_fragments_have_no_ports() {
        let outer = [
            ("saddr", mapped(2)),
            ("daddr", mapped(3)),
            ("dport", Value::Int(4789)),
            ("protocol", Value::Int(17)),
            ("tunnel", Value::Int(1)),
            ("vni", Value::Int(300)),
            ("inner_saddr", Value::Bytes(vec![0xfd; 16])),
            ("inner_daddr", Value::Bytes(vec![0xfd; 16])),
            ("inner_protocol", Value::Int(17)),
            ("inner_dport", Value::Int(53)),
        ];
        let flow = of(&outer);
        assert_eq!(flow.ports(), Some((0, 53)));
        let tunnel = flow.tunnel.expect("it is in one");
        assert_eq!(
            (tunnel.protocol, tunnel.vni, tunnel.l4.and_then(|l4| l4.ports())),
            (TunnelProtocol::Vxlan, 300, Some((0, 4789)))
        );
        let later = of(&[&outer[..4], &[("fragment", Value::Int(2))]].concat());
        assert_eq!((later.l4, later.summary.as_str()), (None, ""));
        // ARP.
        let other = of(&[("saddr", Value::Bytes(vec![0; 16])), ("family", Value::Int(0))]);
        assert_eq!((other.ip, other.l4), (None, None));
    }
}
