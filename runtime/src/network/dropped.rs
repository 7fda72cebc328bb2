//! Drops: a flow of what the template `drops` tells of a packet that the kernel threw away. Pure.

use crate::aggregate::column::Value;
use crate::network::columns::{address, ip, layer4};
use crate::network::drop_reason::DropReason;
use crate::network::flow::{Direction, EventType, Flow, FlowType, Icmp, Interface, TcpFlags, event};
use crate::network::protocol::Protocol;
use std::net::IpAddr;

/// Columns that a flow is made of, in the template's names.
pub const COLUMNS: [&str; 12] = [
    "saddr",
    "daddr",
    "sport",
    "dport",
    "protocol",
    "tcp_flags",
    "icmp_type",
    "icmp_code",
    "ethertype",
    "ifname",
    "reason",
    "location",
];

/// What the kernel says besides, under these keys of a flow's extensions.
pub const REASON: &str = "skb_drop_reason";
pub const LOCATION: &str = "skb_drop_location";

/// Who knows what a drop's numbers mean.
pub trait Names {
    /// The kernel's reason, `NO_SOCKET`.
    fn reason(&self, number: i64) -> Option<String>;
    /// A place in the kernel's code.
    fn location(&self, address: u64) -> Option<String>;
    /// The number of an interface.
    fn index(&self, interface: &str) -> Option<u32>;
    /// Is it an address of this machine, as this namespace sees it?
    fn is_local(&self, address: IpAddr) -> bool;
}

/// A flow of one event; `column` gives its value by a column's name.
pub fn flow<'a>(column: impl Fn(&str) -> Option<&'a Value>, names: &impl Names) -> Flow {
    let number = |name: &str| column(name).and_then(Value::integer).unwrap_or(0);
    let port = |name: &str| u16::try_from(number(name)).unwrap_or(0);
    let byte = |name: &str| u8::try_from(number(name)).unwrap_or(0);
    let mut flow = Flow { kind: FlowType::L3L4, ..Flow::default() };
    let ends = [column("saddr").and_then(address), column("daddr").and_then(address)];
    // What has no header as yet may be known by its socket alone, whatever its type says.
    if ends.iter().flatten().any(|address| !address.is_unspecified()) {
        let [source, destination] = ends;
        let icmp = Icmp { kind: byte("icmp_type"), code: byte("icmp_code") };
        let flags = TcpFlags(u16::from(byte("tcp_flags")));
        flow.ip = ip(source, destination);
        flow.l4 = layer4(Protocol(byte("protocol")), port("sport"), port("dport"), flags, icmp);
        let is_local = |address: Option<IpAddr>| address.is_some_and(|address| names.is_local(address));
        flow.traffic_direction = match (is_local(source), is_local(destination)) {
            (true, false) => Direction::Egress,
            (false, true) => Direction::Ingress,
            // Of a loop or on its way through: which half of it, the kernel does not say.
            _ => Direction::Unknown,
        };
    }
    if let Some(Value::Text(name)) = column("ifname")
        && !name.is_empty()
    {
        flow.interface = Some(Interface { index: names.index(name).unwrap_or(0), name: name.clone() });
    }
    let reason = i64::try_from(number("reason")).unwrap_or(0);
    let name = names.reason(reason).unwrap_or_else(|| reason.to_string());
    flow.dropped(of_kernel(&name));
    let sub_kind = flow.drop_reason.try_into().unwrap_or_default();
    flow.event_type = Some(EventType { kind: event::DROP, sub_kind });
    flow.extend(REASON, name);
    let place = u64::try_from(number("location")).unwrap_or(0);
    if let Some(place) = names.location(place).filter(|_| place != 0) {
        flow.extend(LOCATION, place);
    }
    flow.summary = flow.summarize();
    flow
}

/// Cilium's reason for one of the kernel's, where both mean the same. Most have none: Cilium throws away for others.
pub fn of_kernel(name: &str) -> DropReason {
    let same = SAME.iter().find(|(names, _)| names.contains(&name));
    same.map_or(DropReason::NONE, |(_, reason)| *reason)
}

/// Source: Linux, include/net/dropreason-core.h; numbers differ from kernel to kernel, names hardly do.
const SAME: &[(&[&str], DropReason)] = &[
    (&["NETFILTER_DROP", "BPF_CGROUP_EGRESS"], DropReason::POLICY_DENIED),
    (
        &["PKT_TOO_SMALL", "HDR_TRUNC", "IP_CSUM", "TCP_CSUM", "UDP_CSUM", "ICMP_CSUM", "SKB_CSUM"],
        DropReason::INVALID_PACKET,
    ),
    (&["MAC_INVALID_SOURCE"], DropReason::INVALID_SOURCE_MAC),
    (&["OTHERHOST"], DropReason::INVALID_DESTINATION_MAC),
    (&["IP_RPFILTER", "IP_INVALID_SOURCE", "IP_LOCAL_SOURCE"], DropReason::INVALID_SOURCE_IP),
    (&["IP_INNOROUTES", "IP_OUTNOROUTES"], DropReason::FIB_LOOKUP_FAILED),
    (&["UNHANDLED_PROTO"], DropReason::UNSUPPORTED_L3_PROTOCOL),
    (&["IP_NOPROTO"], DropReason::UNKNOWN_L4_PROTOCOL),
    (&["FRAG_REASM_TIMEOUT"], DropReason::FRAGMENT_NOT_FOUND),
    (&["IPV6_BAD_EXTHDR"], DropReason::INVALID_IPV6_EXTENSION_HEADER),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::flow::{Layer4, Verdict};

    struct Known;

    impl Names for Known {
        fn reason(&self, number: i64) -> Option<String> {
            ["NOT_SPECIFIED", "NO_SOCKET", "NETFILTER_DROP"]
                .get(usize::try_from(number).ok()?)
                .map(|name| (*name).into())
        }

        fn location(&self, address: u64) -> Option<String> {
            (address == 4711).then(|| "tcp_v4_rcv+0x91".into())
        }

        fn index(&self, interface: &str) -> Option<u32> {
            (interface == "eth0").then_some(2)
        }

        fn is_local(&self, address: IpAddr) -> bool {
            address == IpAddr::from([10, 9, 0, 2])
        }
    }

    fn of(values: &[(&str, Value)]) -> Flow {
        flow(|name| values.iter().find(|(known, _)| *known == name).map(|(_, value)| value), &Known)
    }

    fn ends() -> [(&'static str, Value); 2] {
        let mapped = |last: u8| Value::Bytes([&[0; 10][..], &[0xff, 0xff, 10, 9, 0, last]].concat());
        [("saddr", mapped(1)), ("daddr", mapped(2))]
    }

    #[test]
    fn drop_is_a_flow_with_both_reasons() {
        let rest = [
            ("sport", Value::Int(9000)),
            ("dport", Value::Int(80)),
            ("protocol", Value::Int(6)),
            ("tcp_flags", Value::Int(2)),
            ("ifname", Value::Text("eth0".into())),
            ("reason", Value::Int(2)),
            ("location", Value::Unsigned(4711)),
        ];
        let flow = of(&[&ends()[..], &rest].concat());
        assert_eq!((flow.verdict, flow.drop_reason_desc), (Verdict::Dropped, DropReason::POLICY_DENIED));
        assert_eq!(flow.extension(REASON).and_then(|reason| reason.as_str()), Some("NETFILTER_DROP"));
        assert_eq!(flow.extension(LOCATION).and_then(|place| place.as_str()), Some("tcp_v4_rcv+0x91"));
        assert_eq!((flow.traffic_direction, flow.ports()), (Direction::Ingress, Some((9000, 80))));
        assert!(matches!(&flow.l4, Some(Layer4::Tcp(tcp)) if tcp.flags == TcpFlags::SYN));
        assert_eq!(flow.interface, Some(Interface { index: 2, name: "eth0".into() }));
    }

    #[test]
    fn reasons_that_cilium_lacks_are_the_kernels_alone() {
        let flow = of(&[&ends()[..], &[("reason", Value::Int(1)), ("protocol", Value::Int(17))]].concat());
        assert_eq!((flow.drop_reason_desc, flow.drop_reason), (DropReason::NONE, 0));
        assert_eq!(flow.extension(REASON).and_then(|reason| reason.as_str()), Some("NO_SOCKET"));
        // Of a kernel that is younger than its types, or older than reasons; of what is no packet of IP.
        let flow = of(&[("reason", Value::Int(99)), ("saddr", Value::Bytes(vec![0; 16]))]);
        assert_eq!(flow.extension(REASON).and_then(|reason| reason.as_str()), Some("99"));
        assert_eq!(flow.ip, None);
    }
}
