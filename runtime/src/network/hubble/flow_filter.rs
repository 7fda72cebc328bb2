//! What `--allowlist` and `--denylist` hold: a filter in the structure of Cilium's `flow.proto`.

use crate::diagnostic::Diagnostic;
use crate::network::drop_reason::DropReason;
use crate::network::flow::{Direction, Header, Interface, IpVersion, TcpFlags, Verdict, Workload};
use crate::network::message::{self, message};

message! {
    pub struct FlowFilter {
        uuid: Vec<String> = "uuid",
        source_ip: Vec<String> = "source_ip",
        source_ip_xlated: Vec<String> = "source_ip_xlated",
        source_pod: Vec<String> = "source_pod",
        source_fqdn: Vec<String> = "source_fqdn",
        source_label: Vec<String> = "source_label",
        source_service: Vec<String> = "source_service",
        source_workload: Vec<Workload> = "source_workload",
        source_cluster_name: Vec<String> = "source_cluster_name",
        destination_ip: Vec<String> = "destination_ip",
        destination_pod: Vec<String> = "destination_pod",
        destination_fqdn: Vec<String> = "destination_fqdn",
        destination_label: Vec<String> = "destination_label",
        destination_service: Vec<String> = "destination_service",
        destination_workload: Vec<Workload> = "destination_workload",
        destination_cluster_name: Vec<String> = "destination_cluster_name",
        traffic_direction: Vec<Direction> = "traffic_direction",
        verdict: Vec<Verdict> = "verdict",
        drop_reason_desc: Vec<DropReason> = "drop_reason_desc",
        interface: Vec<Interface> = "interface",
        event_type: Vec<EventTypeFilter> = "event_type",
        http_status_code: Vec<String> = "http_status_code",
        protocol: Vec<String> = "protocol",
        source_port: Vec<String> = "source_port",
        destination_port: Vec<String> = "destination_port",
        reply: Vec<bool> = "reply",
        dns_query: Vec<String> = "dns_query",
        source_identity: Vec<u32> = "source_identity",
        destination_identity: Vec<u32> = "destination_identity",
        http_method: Vec<String> = "http_method",
        http_path: Vec<String> = "http_path",
        http_url: Vec<String> = "http_url",
        http_header: Vec<Header> = "http_header",
        tcp_flags: Vec<TcpFlags> = "tcp_flags",
        node_name: Vec<String> = "node_name",
        node_labels: Vec<String> = "node_labels",
        ip_version: Vec<IpVersion> = "ip_version",
        trace_id: Vec<String> = "trace_id",
        ip_trace_id: Vec<u64> = "ip_trace_id",
        encrypted: Vec<bool> = "encrypted",
        experimental: Option<Experimental> = "experimental",
    }

    pub struct EventTypeFilter {
        kind: i32 = "type",
        /// Does `sub_kind` count? 0 is one, too.
        match_sub_kind: bool = "match_sub_type",
        sub_kind: i32 = "sub_type",
    }

    pub struct Experimental {
        cel_expression: Vec<String> = "cel_expression",
    }
}

impl FlowFilter {
    /// One or more filters in JSON, one behind the other.
    ///
    /// # Errors
    /// A script diagnostic: no JSON, or a member that filters do not have.
    pub fn parse(text: &str) -> Result<Vec<FlowFilter>, Diagnostic> {
        let objects = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
        let mut filters = Vec::new();
        for object in objects {
            let object = object.map_err(|error| Diagnostic::script(format!("`{text}` is no filter: {error}")))?;
            filters.push(message::read_strictly(object, "a filter")?);
        }
        if filters.is_empty() {
            return Err(Diagnostic::script("a filter is empty").help(r#"{"verdict":["DROPPED"]}"#));
        }
        Ok(filters)
    }
}
