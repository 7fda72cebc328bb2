//! Metrics of flows, by Hubble's names, so that boards that exist show them. Pure.

use crate::network::drop_reason::DropReason;
use crate::network::flow::{Direction, Flow, L7Type, Layer4, TcpFlags, Verdict, event};
use crate::network::hubble::Response;
use crate::network::hubble::printer::TRACE_POINTS;
use crate::network::prometheus::{Family, Kind};
use crate::network::summary::{icmpv4, icmpv6, rcode};

/// Counts flows, and prints what it has counted.
#[derive(Clone, Debug)]
pub struct Metrics {
    lost: Family,
    flows: Family,
    drops: Family,
    to_world: Family,
    dns_queries: Family,
    dns_responses: Family,
    dns_types: Family,
    icmp: Family,
    ports: Family,
    tcp_flags: Family,
    http_requests: Family,
    http_seconds: Family,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let counter = |name, help, labels| Family::new(name, help, Kind::Counter, labels);
        let dns: &[&str] = &["rcode", "qtypes", "ips_returned"];
        Metrics {
            lost: counter("hubble_lost_events_total", "Number of lost events", &["source"]),
            flows: counter(
                "hubble_flows_processed_total",
                "Total number of flows processed",
                &["protocol", "type", "subtype", "verdict"],
            ),
            drops: counter("hubble_drop_total", "Number of drops", &["reason", "protocol"]),
            to_world: counter(
                "hubble_flows_to_world_total",
                "Total number of flows to reserved:world",
                &["protocol", "verdict"],
            ),
            dns_queries: counter("hubble_dns_queries_total", "Number of DNS queries observed", dns),
            dns_responses: counter("hubble_dns_responses_total", "Number of DNS responses observed", dns),
            dns_types: counter(
                "hubble_dns_response_types_total",
                "Number of DNS responses observed, by type",
                &["type", "qtypes"],
            ),
            icmp: counter("hubble_icmp_total", "Number of ICMP messages", &["family", "type"]),
            ports: counter(
                "hubble_port_distribution_total",
                "Numbers of packets distributed by destination port",
                &["protocol", "port"],
            ),
            tcp_flags: counter("hubble_tcp_flags_total", "TCP flag occurrences", &["flag", "family"]),
            http_requests: counter(
                "hubble_http_requests_total",
                "Count of HTTP requests",
                &["method", "protocol", "status", "reporter"],
            ),
            http_seconds: Family::new(
                "hubble_http_request_duration_seconds",
                "Quantiles of HTTP request duration in seconds",
                Kind::Histogram,
                &["method", "reporter"],
            ),
        }
    }
}

impl Metrics {
    pub fn count(&mut self, response: &Response) {
        if let Some(lost) = &response.lost_events {
            self.lost.add([&lost.source.name().to_lowercase()], lost.count as f64);
        }
        let Some(flow) = &response.flow else { return };
        self.of_flow(flow);
        self.of_packet(flow);
        self.of_dns(flow);
        self.of_http(flow);
    }

    fn of_flow(&mut self, flow: &Flow) {
        let (protocol, verdict) = (protocol(flow), flow.verdict.name());
        let (kind, sub) = kind(flow);
        self.flows.add([protocol, kind, &sub, verdict], 1.0);
        let reason = flow.drop_reason_desc;
        if flow.verdict == Verdict::Dropped {
            let name = reason.name().map_or_else(|| reason.0.to_string(), str::to_owned);
            self.drops.add([&name, protocol], 1.0);
        }
        let world =
            flow.destination.as_ref().is_some_and(|end| end.labels.iter().any(|label| label == "reserved:world"));
        let counts = match flow.verdict {
            // Drops that no policy wants say nothing of who talks to the world.
            Verdict::Dropped => reason == DropReason::POLICY_DENIED,
            // The ports of replies are anybody's.
            _ => flow.is_reply.0 != Some(true),
        };
        if world && counts && flow.l4.is_some() && flow.event_type.is_some() {
            self.to_world.add([protocol, verdict], 1.0);
        }
    }

    fn of_packet(&mut self, flow: &Flow) {
        let Some(l4) = &flow.l4 else { return };
        match l4 {
            Layer4::Icmpv4(icmp) => self.icmp.add(["IPv4", &icmpv4(icmp.kind, icmp.code)], 1.0),
            Layer4::Icmpv6(icmp) => self.icmp.add(["IPv6", &icmpv6(icmp.kind, icmp.code)], 1.0),
            _ => {}
        }
        if !matches!(flow.verdict, Verdict::Forwarded | Verdict::Redirected) {
            return;
        }
        if flow.is_reply.0 == Some(false) && !matches!(l4, Layer4::Vrrp(_) | Layer4::Igmp(_)) {
            let port = l4.ports().map_or(0, |(_, to)| to);
            self.ports.add([l4.name(), &port.to_string()], 1.0);
        }
        let (Layer4::Tcp(tcp), Some(ip)) = (l4, &flow.ip) else { return };
        let syn = if tcp.flags.has(TcpFlags::ACK) { "SYN-ACK" } else { "SYN" };
        for (flag, name) in [(TcpFlags::FIN, "FIN"), (TcpFlags::SYN, syn), (TcpFlags::RST, "RST")] {
            if tcp.flags.has(flag) {
                self.tcp_flags.add([name, ip.version.name()], 1.0);
            }
        }
    }

    fn of_dns(&mut self, flow: &Flow) {
        let Some(dns) = flow.l7.as_ref().and_then(|l7| l7.dns.as_ref()) else { return };
        let (types, ips) = (dns.qtypes.join(","), dns.ips.len().to_string());
        if flow.verdict == Verdict::Dropped {
            self.dns_queries.add(["Policy denied", &types, &ips], 1.0);
        } else if flow.is_reply.0 == Some(true) {
            self.dns_responses.add([&rcode(dns.rcode), &types, &ips], 1.0);
            for kind in &dns.rrtypes {
                self.dns_types.add([kind, &types], 1.0);
            }
        } else {
            self.dns_queries.add(["", &types, &ips], 1.0);
        }
    }

    fn of_http(&mut self, flow: &Flow) {
        let Some(l7) = flow.l7.as_ref().filter(|l7| l7.kind == L7Type::Response) else { return };
        let Some(http) = &l7.http else { return };
        let reporter = match flow.traffic_direction {
            Direction::Egress => "client",
            Direction::Ingress => "server",
            Direction::Unknown => "unknown",
        };
        self.http_requests.add([&http.method, &http.protocol, &http.code.to_string(), reporter], 1.0);
        self.http_seconds.observe([&http.method, reporter], l7.latency_ns as f64 / 1e9);
    }

    /// In the text format of Prometheus.
    pub fn text(&self) -> String {
        let families = [
            &self.lost,
            &self.flows,
            &self.drops,
            &self.to_world,
            &self.dns_queries,
            &self.dns_responses,
            &self.dns_types,
            &self.icmp,
            &self.ports,
            &self.tcp_flags,
            &self.http_requests,
            &self.http_seconds,
        ];
        families.into_iter().map(Family::text).collect()
    }
}

/// Of the request for events of layer 7, else of the packet.
fn protocol(flow: &Flow) -> &'static str {
    match flow.event() {
        event::L7 => match of_layer7(flow) {
            "" => "Unknown L7",
            name => name,
        },
        event::DROP | event::TRACE | event::POLICY_VERDICT | event::CAPTURE => {
            flow.l4.as_ref().map_or("Unknown L4", Layer4::name)
        }
        _ => "Unknown flow",
    }
}

fn of_layer7(flow: &Flow) -> &'static str {
    match &flow.l7 {
        Some(l7) if l7.dns.is_some() => "DNS",
        Some(l7) if l7.http.is_some() => "HTTP",
        Some(l7) if l7.kafka.is_some() => "Kafka",
        _ => "",
    }
}

/// Type and sub-type of the event.
fn kind(flow: &Flow) -> (&'static str, String) {
    let sub = flow.event_type.as_ref().map_or(0, |event| event.sub_kind);
    match flow.event() {
        event::L7 => ("L7", of_layer7(flow).to_owned()),
        event::DROP => ("Drop", String::new()),
        event::CAPTURE => ("Capture", String::new()),
        event::TRACE => {
            let point = usize::try_from(sub).ok().and_then(|at| TRACE_POINTS.get(at));
            ("Trace", point.map_or_else(String::new, |name| (*name).to_owned()))
        }
        event::POLICY_VERDICT => ("PolicyVerdict", String::new()),
        other => ("Unknown", other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_counted_by_hubbles_names() {
        let mut metrics = Metrics::default();
        for line in include_str!("../../../../tests/fixtures/hubble/flows.jsonl").lines() {
            metrics.count(&Response::parse(line, &mut Vec::new()).expect("it is a line"));
        }
        let text = metrics.text();
        for line in [
            "hubble_lost_events_total{source=\"perf_event_ring_buffer\"} 12",
            "hubble_flows_processed_total{protocol=\"TCP\",type=\"PolicyVerdict\",subtype=\"\",verdict=\"DROPPED\"} 1",
            "hubble_flows_processed_total{protocol=\"TCP\",type=\"Trace\",subtype=\"to-endpoint\",verdict=\"FORWARDED\"} 1",
            "hubble_flows_processed_total{protocol=\"HTTP\",type=\"L7\",subtype=\"HTTP\",verdict=\"FORWARDED\"} 1",
            "hubble_flows_processed_total{protocol=\"Unknown flow\",type=\"Unknown\",subtype=\"7\",verdict=\"TRANSLATED\"} 1",
            "hubble_drop_total{reason=\"POLICY_DENIED\",protocol=\"UDP\"} 1",
            "hubble_dns_queries_total{rcode=\"\",qtypes=\"A\",ips_returned=\"0\"} 1",
            "hubble_icmp_total{family=\"IPv6\",type=\"EchoRequest\"} 1",
            "hubble_port_distribution_total{protocol=\"UDP\",port=\"53\"} 1",
            "hubble_tcp_flags_total{flag=\"SYN-ACK\",family=\"IPv4\"} 1",
            "hubble_http_requests_total{method=\"GET\",protocol=\"HTTP/1.1\",status=\"503\",reporter=\"server\"} 1",
            "hubble_http_request_duration_seconds_sum{method=\"GET\",reporter=\"server\"} 0.003001",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }
}
