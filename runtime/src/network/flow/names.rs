//! Enumerations of flows, in the numbers and names of Cilium's `flow.proto`.

use crate::network::message::names;

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
