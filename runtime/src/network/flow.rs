//! The flow: what is known of one packet, request or answer, whoever saw it. In Hubble's structure, so that every output
//! and every reader has the same one. Pure; no privilege.
//!
//! Source: Cilium's public `flow.proto`, 1.19; the order of members is the one there.

use crate::diagnostic::Diagnostic;
use crate::network::drop_reason::DropReason;
use crate::network::message::{Reader, Spelled, Text, Value, Wrapped, message, names, one_of};
use crate::network::time::Time;
use serde_json::{Map, Value as Json, json};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

names! {
    pub enum Verdict {
        Unknown = 0 "VERDICT_UNKNOWN", Forwarded = 1 "FORWARDED", Dropped = 2 "DROPPED", Error = 3 "ERROR",
        /// It would have been dropped.
        Audit = 4 "AUDIT", Redirected = 5 "REDIRECTED", Traced = 6 "TRACED", Translated = 7 "TRANSLATED",
    }

    pub enum AuthType { Disabled = 0 "DISABLED", Spire = 1 "SPIRE", TestAlwaysFail = 2 "TEST_ALWAYS_FAIL" }

    pub enum FlowType { Unknown = 0 "UNKNOWN_TYPE", L3L4 = 1 "L3_L4", L7 = 2 "L7", Sock = 3 "SOCK" }

    pub enum IpVersion { NotUsed = 0 "IP_NOT_USED", V4 = 1 "IPv4", V6 = 2 "IPv6" }

    pub enum TunnelProtocol { Unknown = 0 "UNKNOWN", Vxlan = 1 "VXLAN", Geneve = 2 "GENEVE" }

    pub enum L7Type { Unknown = 0 "UNKNOWN_L7_TYPE", Request = 1 "REQUEST", Response = 2 "RESPONSE", Sample = 3 "SAMPLE" }

    pub enum Direction { Unknown = 0 "TRAFFIC_DIRECTION_UNKNOWN", Ingress = 1 "INGRESS", Egress = 2 "EGRESS" }

    pub enum TracePoint {
        Unknown = 0 "UNKNOWN_POINT", ToProxy = 1 "TO_PROXY", ToHost = 2 "TO_HOST", ToStack = 3 "TO_STACK",
        ToOverlay = 4 "TO_OVERLAY", FromEndpoint = 5 "FROM_ENDPOINT", FromProxy = 6 "FROM_PROXY",
        FromHost = 7 "FROM_HOST", FromStack = 8 "FROM_STACK", FromOverlay = 9 "FROM_OVERLAY",
        FromNetwork = 10 "FROM_NETWORK", ToNetwork = 11 "TO_NETWORK", FromCrypto = 12 "FROM_CRYPTO",
        ToCrypto = 13 "TO_CRYPTO", ToEndpoint = 101 "TO_ENDPOINT",
    }

    pub enum TraceReason {
        Unknown = 0 "TRACE_REASON_UNKNOWN", New = 1 "NEW", Established = 2 "ESTABLISHED", Reply = 3 "REPLY",
        Related = 4 "RELATED", Reopened = 5 "REOPENED", Srv6Encap = 6 "SRV6_ENCAP", Srv6Decap = 7 "SRV6_DECAP",
        EncryptOverlay = 8 "ENCRYPT_OVERLAY",
    }

    pub enum DebugCapturePoint {
        Unknown = 0 "DBG_CAPTURE_POINT_UNKNOWN", Delivery = 4 "DBG_CAPTURE_DELIVERY", FromLb = 5 "DBG_CAPTURE_FROM_LB",
        AfterV46 = 6 "DBG_CAPTURE_AFTER_V46", AfterV64 = 7 "DBG_CAPTURE_AFTER_V64",
        ProxyPre = 8 "DBG_CAPTURE_PROXY_PRE", ProxyPost = 9 "DBG_CAPTURE_PROXY_POST",
        SnatPre = 10 "DBG_CAPTURE_SNAT_PRE", SnatPost = 11 "DBG_CAPTURE_SNAT_POST",
    }

    pub enum TranslationPoint {
        Unknown = 0 "SOCK_XLATE_POINT_UNKNOWN", PreForward = 1 "SOCK_XLATE_POINT_PRE_DIRECTION_FWD",
        PostForward = 2 "SOCK_XLATE_POINT_POST_DIRECTION_FWD", PreReverse = 3 "SOCK_XLATE_POINT_PRE_DIRECTION_REV",
        PostReverse = 4 "SOCK_XLATE_POINT_POST_DIRECTION_REV",
    }

    pub enum LossSource {
        Unknown = 0 "UNKNOWN_LOST_EVENT_SOURCE", PerfEventRingBuffer = 1 "PERF_EVENT_RING_BUFFER",
        ObserverEventsQueue = 2 "OBSERVER_EVENTS_QUEUE", HubbleRingBuffer = 3 "HUBBLE_RING_BUFFER",
    }
}

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

/// Numbers of `event_type.type`.
pub mod event {
    pub const DROP: i32 = 1;
    pub const DEBUG: i32 = 2;
    pub const CAPTURE: i32 = 3;
    pub const TRACE: i32 = 4;
    pub const POLICY_VERDICT: i32 = 5;
    pub const TRACE_SOCK: i32 = 7;
    pub const L7: i32 = 129;
    pub const AGENT: i32 = 130;
    /// As `--type` takes them.
    pub const NAMES: &[(&str, i32)] = &[
        ("drop", DROP),
        ("debug", DEBUG),
        ("capture", CAPTURE),
        ("trace", TRACE),
        ("policy-verdict", POLICY_VERDICT),
        ("trace-sock", TRACE_SOCK),
        ("l7", L7),
        ("agent", AGENT),
    ];
}

/// By `policy_match_type`.
pub const MATCH_TYPES: [&str; 7] = ["none", "L3-Only", "L3-L4", "L4-Only", "all", "L3-Proto", "Proto-Only"];

/// A hardware address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl FromStr for Mac {
    type Err = ();

    fn from_str(text: &str) -> Result<Mac, ()> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(())?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| ())?;
        }
        if parts.next().is_none() { Ok(Mac(octets)) } else { Err(()) }
    }
}

impl Spelled for Mac {
    const WHAT: &str = "a hardware address";
}

/// Flags of a TCP header, in its bits: FIN is the lowest, NS (the ninth) the highest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpFlags(pub u16);

impl TcpFlags {
    pub const FIN: TcpFlags = TcpFlags(1);
    pub const SYN: TcpFlags = TcpFlags(2);
    pub const RST: TcpFlags = TcpFlags(4);
    pub const ACK: TcpFlags = TcpFlags(16);
    /// By their bits.
    pub const NAMES: [&str; 9] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "NS"];

    /// By name, in any case.
    pub fn named(name: &str) -> Option<TcpFlags> {
        let bit = TcpFlags::NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
        Some(TcpFlags(1 << bit))
    }

    /// Are all of `flags` set?
    pub fn has(self, flags: TcpFlags) -> bool {
        self.0 & flags.0 == flags.0
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        TcpFlags::NAMES.into_iter().enumerate().filter(move |(bit, _)| self.0 & 1 << bit != 0).map(|(_, name)| name)
    }
}

impl Value for TcpFlags {
    fn is_zero(&self) -> bool {
        self.0 == 0
    }

    fn json(&self) -> Json {
        self.names().map(|name| (name.to_owned(), Json::Bool(true))).collect::<Map<_, _>>().into()
    }

    fn read(json: Json, reader: &mut Reader) -> Result<Self, Diagnostic> {
        let mut flags = TcpFlags::default();
        for (key, value) in reader.object(json)? {
            match TcpFlags::NAMES.iter().position(|name| *name == key) {
                Some(bit) if bool::read(value, reader)? => flags.0 |= 1 << bit,
                Some(_) => {}
                None => reader.unknown(&key),
            }
        }
        Ok(flags)
    }

    fn has(path: &[&str]) -> bool {
        matches!(path, []) || matches!(path, [name] if TcpFlags::NAMES.contains(name))
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
