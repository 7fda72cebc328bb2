//! Summaries: one line of words about a flow, as Hubble puts them. Pure.

use crate::network::flow::{Dns, Flow, Http, L7Type, Layer4, Layer7, TcpFlags};
use std::borrow::Cow;

impl Flow {
    /// `TCP Flags: SYN, ACK`, `UDP`, `ICMPv4 EchoRequest`, `DNS Query n. A`; empty where there is nothing to say.
    pub fn summarize(&self) -> String {
        match (&self.l7, &self.l4) {
            (Some(l7), _) => layer7(l7),
            (None, Some(l4)) => layer4(l4),
            (None, None) => String::new(),
        }
    }
}

fn layer4(l4: &Layer4) -> String {
    match l4 {
        Layer4::Tcp(tcp) => format!("TCP Flags: {}", flags(tcp.flags)),
        Layer4::Icmpv4(icmp) => format!("ICMPv4 {}", icmpv4(icmp.kind, icmp.code)),
        Layer4::Icmpv6(icmp) => format!("ICMPv6 {}", icmpv6(icmp.kind, icmp.code)),
        Layer4::Udp(_) | Layer4::Sctp(_) | Layer4::Vrrp(_) | Layer4::Igmp(_) => l4.name().to_owned(),
    }
}

/// Those of a connection's life first.
fn flags(flags: TcpFlags) -> String {
    const ORDER: [&str; 9] = ["SYN", "ACK", "RST", "FIN", "PSH", "URG", "ECE", "CWR", "NS"];
    let set = ORDER.into_iter().filter(|name| TcpFlags::named(name).is_some_and(|flag| flags.has(flag)));
    set.collect::<Vec<_>>().join(", ")
}

fn layer7(l7: &Layer7) -> String {
    match (&l7.dns, &l7.http, &l7.kafka) {
        (Some(dns), ..) => of_dns(l7.kind, dns),
        (_, Some(http), _) => of_http(l7, http),
        (.., Some(kafka)) => {
            let kind = if l7.kind == L7Type::Response { "response" } else { "request" };
            format!("Kafka {kind} {} correlation id {} topic '{}'", kafka.api_key, kafka.correlation_id, kafka.topic)
        }
        _ => String::new(),
    }
}

fn of_dns(kind: L7Type, dns: &Dns) -> String {
    let types = dns.qtypes.join(",");
    match kind {
        L7Type::Request => format!("DNS Query {} {types}", dns.query),
        L7Type::Response if dns.rcode != 0 => {
            format!("DNS Answer RCode: {} (Query {} {types})", rcode(dns.rcode), dns.query)
        }
        L7Type::Response => {
            let mut parts = Vec::new();
            if !dns.ips.is_empty() {
                parts.push(format!("{:?}", dns.ips.join(",")));
            }
            if dns.ttl > 0 {
                parts.push(format!("TTL: {}", dns.ttl));
            }
            if !dns.cnames.is_empty() {
                parts.push(format!("CNAMEs: {:?}", dns.cnames.join(",")));
            }
            format!("DNS Answer {} (Query {} {types})", parts.join(" "), dns.query)
        }
        _ => String::new(),
    }
}

fn of_http(l7: &Layer7, http: &Http) -> String {
    match l7.kind {
        L7Type::Request => format!("{} {} {}", http.protocol, http.method, http.url),
        L7Type::Response => {
            let millis = l7.latency_ns / 1_000_000;
            format!("{} {} {millis}ms ({} {})", http.protocol, http.code, http.method, http.url)
        }
        _ => String::new(),
    }
}

/// The name of a DNS return code. Source: IANA, DNS RCODEs.
pub fn rcode(code: u32) -> Cow<'static, str> {
    const NAMES: [(u32, &str); 20] = [
        (0, "No Error"),
        (1, "Format Error"),
        (2, "Server Failure"),
        (3, "Non-Existent Domain"),
        (4, "Not Implemented"),
        (5, "Query Refused"),
        (6, "Name Exists when it should not"),
        (7, "RR Set Exists when it should not"),
        (8, "RR Set that should exist does not"),
        (9, "Server Not Authoritative for zone"),
        (10, "Name not contained in zone"),
        (11, "DSO-TYPE Not Implemented"),
        (16, "TSIG Signature Failure"),
        (17, "Key not recognized"),
        (18, "Signature out of time window"),
        (19, "Bad TKEY Mode"),
        (20, "Duplicate key name"),
        (21, "Algorithm not supported"),
        (22, "Bad Truncation"),
        (23, "Bad/missing Server Cookie"),
    ];
    let known = NAMES.iter().find(|(number, _)| *number == code);
    known.map_or_else(|| code.to_string().into(), |(_, name)| (*name).into())
}

/// The name of a message, with what its code adds. Source: IANA, ICMP parameters.
pub fn icmpv4(kind: u8, code: u8) -> Cow<'static, str> {
    const UNREACHABLE: [&str; 16] = [
        "Net",
        "Host",
        "Protocol",
        "Port",
        "FragmentationNeeded",
        "SourceRoutingFailed",
        "NetUnknown",
        "HostUnknown",
        "SourceIsolated",
        "NetAdminProhibited",
        "HostAdminProhibited",
        "NetTOS",
        "HostTOS",
        "CommAdminProhibited",
        "HostPrecedence",
        "PrecedenceCutoff",
    ];
    let (name, codes): (&str, &[&str]) = match kind {
        0 => ("EchoReply", &[]),
        3 => ("DestinationUnreachable", &UNREACHABLE),
        4 => ("SourceQuench", &[]),
        5 => ("Redirect", &["Net", "Host", "TOS+Net", "TOS+Host"]),
        8 => ("EchoRequest", &[]),
        9 => ("RouterAdvertisement", &[]),
        10 => ("RouterSolicitation", &[]),
        11 => ("TimeExceeded", &["TTLExceeded", "FragmentReassemblyTimeExceeded"]),
        12 => ("ParameterProblem", &["PointerIndicatesError", "MissingOption", "BadLength"]),
        13 => ("TimestampRequest", &[]),
        14 => ("TimestampReply", &[]),
        _ => return format!("{kind}({code})").into(),
    };
    with_code(name, codes, code)
}

/// See [`icmpv4`]; the numbers are others.
pub fn icmpv6(kind: u8, code: u8) -> Cow<'static, str> {
    const UNREACHABLE: [&str; 8] = [
        "NoRouteToDst",
        "AdminProhibited",
        "BeyondScopeOfSrc",
        "AddressUnreachable",
        "PortUnreachable",
        "SrcAddressFailedPolicy",
        "RejectRouteToDst",
        "SrcRoutingHeaderError",
    ];
    let (name, codes): (&str, &[&str]) = match kind {
        1 => ("DestinationUnreachable", &UNREACHABLE),
        2 => ("PacketTooBig", &[]),
        3 => ("TimeExceeded", &["HopLimitExceeded", "FragmentReassemblyTimeExceeded"]),
        4 => ("ParameterProblem", &["ErroneousHeader", "UnrecognizedNextHeader", "UnrecognizedIPv6Option"]),
        128 => ("EchoRequest", &[]),
        129 => ("EchoReply", &[]),
        130 => ("MulticastListenerQuery", &[]),
        131 => ("MulticastListenerReport", &[]),
        132 => ("MulticastListenerDone", &[]),
        133 => ("RouterSolicitation", &[]),
        134 => ("RouterAdvertisement", &[]),
        135 => ("NeighborSolicitation", &[]),
        136 => ("NeighborAdvertisement", &[]),
        137 => ("Redirect", &[]),
        143 => ("MLDv2MulticastListenerReport", &[]),
        _ => return format!("{kind}({code})").into(),
    };
    with_code(name, codes, code)
}

fn with_code(name: &'static str, codes: &[&str], code: u8) -> Cow<'static, str> {
    match codes.get(usize::from(code)) {
        Some(meaning) => format!("{name}({meaning})").into(),
        None if codes.is_empty() && code == 0 => name.into(),
        None => format!("{name}(Code: {code})").into(),
    }
}
