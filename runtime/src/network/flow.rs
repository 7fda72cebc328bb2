//! The flow: what is known of one packet, request or answer, whoever saw it. In Hubble's structure, so that every output
//! and every reader has the same one. Pure; no privilege.
//!
//! Source: Cilium's public `flow.proto`, 1.19; the order of members is the one there.

mod header;
mod names;

use crate::network::drop_reason::DropReason;
use crate::network::message::{Text, Wrapped, message, one_of};
use crate::network::time::Time;
use serde_json::{Value as Json, json};
use std::net::IpAddr;
use std::sync::Arc;

pub use header::{Mac, TcpFlags};
pub use names::{
    AuthType, DebugCapturePoint, Direction, FlowType, IpVersion, L7Type, LossSource, MATCH_TYPES, TracePoint,
    TraceReason, TranslationPoint, TunnelProtocol, Verdict, event,
};

message! {
    pub struct Flow {
        time: Text<Time> = "time",
        uuid: String = "uuid",
        emitter: Option<Emitter> = "emitter",
        verdict: Verdict = "verdict",
        /// The number of `drop_reason_desc`; old readers know no other.
        drop_reason: u32 = "drop_reason",
        auth_type: AuthType = "auth_type",
        ethernet: Option<Ethernet> = "ethernet",
        ip: Option<Ip> = "IP",
        l4: Option<Layer4> = "l4",
        tunnel: Option<Tunnel> = "tunnel",
        source: Option<Arc<Endpoint>> = "source",
        destination: Option<Arc<Endpoint>> = "destination",
        kind: FlowType = "Type",
        node_name: String = "node_name",
        node_labels: Vec<String> = "node_labels",
        source_names: Vec<String> = "source_names",
        destination_names: Vec<String> = "destination_names",
        l7: Option<Layer7> = "l7",
        /// `is_reply` for old readers.
        reply: bool = "reply",
        event_type: Option<EventType> = "event_type",
        source_service: Option<Service> = "source_service",
        destination_service: Option<Service> = "destination_service",
        traffic_direction: Direction = "traffic_direction",
        /// Which parts of a rule decided, of a policy verdict: [`MATCH_TYPES`].
        policy_match_type: u32 = "policy_match_type",
        trace_observation_point: TracePoint = "trace_observation_point",
        trace_reason: TraceReason = "trace_reason",
        file: Option<FileInfo> = "file",
        ip_trace_id: Option<IpTraceId> = "ip_trace_id",
        drop_reason_desc: DropReason = "drop_reason_desc",
        is_reply: Wrapped<bool> = "is_reply",
        debug_capture_point: DebugCapturePoint = "debug_capture_point",
        interface: Option<Interface> = "interface",
        proxy_port: u32 = "proxy_port",
        trace_context: Option<TraceContext> = "trace_context",
        sock_xlate_point: TranslationPoint = "sock_xlate_point",
        socket_cookie: u64 = "socket_cookie",
        cgroup_id: u64 = "cgroup_id",
        summary: String = "Summary",
        /// What no other member has room for, see [`Flow::extend`].
        extensions: Json = "extensions",
        egress_allowed_by: Vec<Policy> = "egress_allowed_by",
        ingress_allowed_by: Vec<Policy> = "ingress_allowed_by",
        egress_denied_by: Vec<Policy> = "egress_denied_by",
        ingress_denied_by: Vec<Policy> = "ingress_denied_by",
        policy_log: Vec<String> = "policy_log",
        aggregate: Json = "aggregate",
    }

    /// Who says so: `Skep`, and its version.
    pub struct Emitter {
        name: String = "name",
        version: String = "version",
    }

    pub struct Ethernet {
        source: Text<Mac> = "source",
        destination: Text<Mac> = "destination",
    }

    pub struct Ip {
        source: Text<IpAddr> = "source",
        /// After its translation; `source` is then the one before.
        source_xlated: Text<IpAddr> = "source_xlated",
        destination: Text<IpAddr> = "destination",
        version: IpVersion = "ipVersion",
        encrypted: bool = "encrypted",
    }

    pub struct Tcp {
        source_port: u16 = "source_port",
        destination_port: u16 = "destination_port",
        flags: TcpFlags = "flags",
    }

    /// UDP's and SCTP's ports.
    pub struct Ports {
        source_port: u16 = "source_port",
        destination_port: u16 = "destination_port",
    }

    pub struct Icmp {
        kind: u8 = "type",
        code: u8 = "code",
    }

    pub struct Vrrp {
        kind: u8 = "type",
        vrid: u8 = "vrid",
        priority: u8 = "priority",
    }

    pub struct Igmp {
        kind: u8 = "type",
        group_address: Text<IpAddr> = "group_address",
    }

    /// The outer headers of a packet that came in another.
    pub struct Tunnel {
        protocol: TunnelProtocol = "protocol",
        ip: Option<Ip> = "IP",
        l4: Option<Layer4> = "l4",
        vni: u32 = "vni",
    }

    pub struct Endpoint {
        /// The endpoint's number on this node.
        id: u32 = "ID",
        identity: u32 = "identity",
        cluster_name: String = "cluster_name",
        namespace: String = "namespace",
        /// `k8s:app=web`, `reserved:world`, `cidr:10.0.0.0/8`
        labels: Vec<String> = "labels",
        pod_name: String = "pod_name",
        workloads: Vec<Workload> = "workloads",
    }

    pub struct Workload {
        name: String = "name",
        kind: String = "kind",
    }

    pub struct Service {
        name: String = "name",
        namespace: String = "namespace",
    }

    pub struct Layer7 {
        kind: L7Type = "type",
        latency_ns: u64 = "latency_ns",
        dns: Option<Dns> = "dns",
        http: Option<Http> = "http",
        kafka: Option<Kafka> = "kafka",
    }

    pub struct Dns {
        /// With the dot at its end.
        query: String = "query",
        ips: Vec<String> = "ips",
        ttl: u32 = "ttl",
        cnames: Vec<String> = "cnames",
        observation_source: String = "observation_source",
        rcode: u32 = "rcode",
        qtypes: Vec<String> = "qtypes",
        rrtypes: Vec<String> = "rrtypes",
    }

    pub struct Http {
        code: u32 = "code",
        method: String = "method",
        url: String = "url",
        protocol: String = "protocol",
        headers: Vec<Header> = "headers",
    }

    pub struct Header {
        key: String = "key",
        value: String = "value",
    }

    pub struct Kafka {
        error_code: i32 = "error_code",
        api_version: i32 = "api_version",
        api_key: String = "api_key",
        correlation_id: i32 = "correlation_id",
        topic: String = "topic",
    }

    pub struct EventType {
        kind: i32 = "type",
        sub_kind: i32 = "sub_type",
    }

    pub struct FileInfo {
        name: String = "name",
        line: u32 = "line",
    }

    pub struct IpTraceId {
        trace_id: u64 = "trace_id",
        ip_option_type: u32 = "ip_option_type",
    }

    pub struct Interface {
        index: u32 = "index",
        name: String = "name",
    }

    pub struct TraceContext {
        parent: Option<TraceParent> = "parent",
    }

    pub struct TraceParent {
        trace_id: String = "trace_id",
    }

    /// A policy that decided.
    pub struct Policy {
        name: String = "name",
        namespace: String = "namespace",
        labels: Vec<String> = "labels",
        revision: u64 = "revision",
        kind: String = "kind",
    }

    /// Events that were not seen.
    pub struct LostEvents {
        source: LossSource = "source",
        count: u64 = "num_events_lost",
        cpu: Wrapped<i32> = "cpu",
        first: Text<Time> = "first",
        last: Text<Time> = "last",
    }
}

one_of! {
    pub enum Layer4 {
        Tcp(Tcp) = "TCP", Udp(Ports) = "UDP", Icmpv4(Icmp) = "ICMPv4", Icmpv6(Icmp) = "ICMPv6", Sctp(Ports) = "SCTP",
        Vrrp(Vrrp) = "VRRP", Igmp(Igmp) = "IGMP",
    }
}

impl Layer4 {
    /// Source and destination port, where there are any.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match self {
            Layer4::Tcp(tcp) => Some((tcp.source_port, tcp.destination_port)),
            Layer4::Udp(ports) | Layer4::Sctp(ports) => Some((ports.source_port, ports.destination_port)),
            _ => None,
        }
    }

    /// As Hubble's metrics call it.
    pub fn name(&self) -> &'static str {
        match self {
            Layer4::Tcp(_) => "TCP",
            Layer4::Udp(_) => "UDP",
            Layer4::Icmpv4(_) => "ICMPv4",
            Layer4::Icmpv6(_) => "ICMPv6",
            Layer4::Sctp(_) => "SCTP",
            Layer4::Vrrp(_) => "VRRP",
            Layer4::Igmp(_) => "IGMP",
        }
    }
}

/// What a Struct of protobuf is called in an Any; the only such type that every reader of Hubble's knows.
const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";

impl Flow {
    pub fn source_address(&self) -> Option<IpAddr> {
        self.ip.as_ref()?.source.0
    }

    pub fn destination_address(&self) -> Option<IpAddr> {
        self.ip.as_ref()?.destination.0
    }

    pub fn ports(&self) -> Option<(u16, u16)> {
        self.l4.as_ref()?.ports()
    }

    pub fn event(&self) -> i32 {
        self.event_type.as_ref().map_or(0, |event| event.kind)
    }

    /// Sets verdict and reason of what was dropped, in all members that tell it.
    pub fn dropped(&mut self, reason: DropReason) {
        self.verdict = Verdict::Dropped;
        self.drop_reason = reason.0;
        self.drop_reason_desc = reason;
    }

    /// It was seen on its way, at the edge of the machine or of a namespace; what became of it, nobody has said yet.
    pub fn traced(&mut self, direction: Direction) {
        self.verdict = Verdict::Traced;
        self.traffic_direction = direction;
        self.trace_observation_point = match direction {
            Direction::Ingress => TracePoint::FromNetwork,
            Direction::Egress => TracePoint::ToNetwork,
            Direction::Unknown => return,
        };
        let sub_kind = self.trace_observation_point as i32;
        self.event_type = Some(EventType { kind: event::TRACE, sub_kind });
    }

    /// Is it a packet or message of the direction that answers? In both members that tell it.
    pub fn answers(&mut self, is_reply: bool) {
        self.is_reply = Wrapped(Some(is_reply));
        self.reply = is_reply;
    }

    /// Adds what Hubble has no member for, such as the kernel's reason of a drop or the name that TLS asks for.
    pub fn extend(&mut self, key: &str, value: impl Into<Json>) {
        if self.extensions["@type"] != STRUCT || !self.extensions["value"].is_object() {
            self.extensions = json!({ "@type": STRUCT, "value": {} });
        }
        self.extensions["value"][key] = value.into();
    }

    /// What [`Flow::extend`] added.
    pub fn extension(&self, key: &str) -> Option<&Json> {
        (self.extensions["@type"] == STRUCT).then(|| self.extensions["value"].get(key)).flatten()
    }
}

/// A random UUID (version 4) of 16 random bytes.
pub fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
