//! Filters: which flows are wanted. Inside of one the members AND, the values of a member OR; of several, any. Pure.

use crate::diagnostic::Diagnostic;
use crate::network::cidr::Cidr;
use crate::network::flow::{Endpoint, Flow, IpVersion, Layer4, Workload, event};
use crate::network::hubble::Response;
use crate::network::hubble::flow_filter::FlowFilter;
use crate::network::hubble::pattern::{Fqdn, Node, Qualified};
use crate::network::hubble::selector::Selector;
use regex_lite::Regex;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

type Condition = Box<dyn Fn(&Flow) -> bool + Send + Sync>;

/// A filter, ready to ask.
struct Filter(Vec<Condition>);

/// What is wanted less what is not.
#[derive(Default)]
pub struct Filters {
    /// None: everything.
    allow: Vec<Filter>,
    deny: Vec<Filter>,
}

impl Filters {
    /// # Errors
    /// A script diagnostic: an address, name, pattern or number that is none.
    pub fn new(allow: &[FlowFilter], deny: &[FlowFilter]) -> Result<Filters, Diagnostic> {
        let filters = |filters: &[FlowFilter]| filters.iter().map(Filter::new).collect::<Result<Vec<_>, _>>();
        Ok(Filters { allow: filters(allow)?, deny: filters(deny)? })
    }

    pub fn want(&self, flow: &Flow) -> bool {
        let any = |filters: &[Filter]| filters.iter().any(|filter| filter.0.iter().all(|condition| condition(flow)));
        (self.allow.is_empty() || any(&self.allow)) && !any(&self.deny)
    }

    /// Losses cannot be filtered out.
    pub fn want_line(&self, response: &Response) -> bool {
        response.flow.as_ref().is_none_or(|flow| self.want(flow))
    }
}

/// One end of a flow, as a filter asks for it.
struct End<'a> {
    ip: &'a [String],
    pod: &'a [String],
    fqdn: &'a [String],
    label: &'a [String],
    service: &'a [String],
    workload: &'a [Workload],
    cluster: &'a [String],
    port: &'a [String],
    identity: &'a [u32],
    is_source: bool,
}

impl Filter {
    fn new(filter: &FlowFilter) -> Result<Filter, Diagnostic> {
        let mut conditions = Conditions(Vec::new());
        conditions.end(End {
            ip: &filter.source_ip,
            pod: &filter.source_pod,
            fqdn: &filter.source_fqdn,
            label: &filter.source_label,
            service: &filter.source_service,
            workload: &filter.source_workload,
            cluster: &filter.source_cluster_name,
            port: &filter.source_port,
            identity: &filter.source_identity,
            is_source: true,
        })?;
        conditions.end(End {
            ip: &filter.destination_ip,
            pod: &filter.destination_pod,
            fqdn: &filter.destination_fqdn,
            label: &filter.destination_label,
            service: &filter.destination_service,
            workload: &filter.destination_workload,
            cluster: &filter.destination_cluster_name,
            port: &filter.destination_port,
            identity: &filter.destination_identity,
            is_source: false,
        })?;
        conditions.packet(filter)?;
        conditions.event(filter)?;
        conditions.layer7(filter)?;
        if filter.experimental.as_ref().is_some_and(|experimental| !experimental.cel_expression.is_empty()) {
            return Err(Diagnostic::script("skep evaluates no expressions in CEL")
                .help("--from-ip, --to-port, --verdict and the other filters; or `jq` behind -o json"));
        }
        Ok(Filter(conditions.0))
    }
}

/// Conditions that all have to hold.
struct Conditions(Vec<Condition>);

impl Conditions {
    /// That any of the values holds, if there are any.
    fn any<T: Send + Sync + 'static>(
        &mut self,
        values: Vec<T>,
        holds: impl Fn(&T, &Flow) -> bool + Send + Sync + 'static,
    ) {
        if !values.is_empty() {
            self.0.push(Box::new(move |flow| values.iter().any(|value| holds(value, flow))));
        }
    }

    fn end(&mut self, end: End) -> Result<(), Diagnostic> {
        let is_source = end.is_source;
        let address = move |flow: &Flow| if is_source { flow.source_address() } else { flow.destination_address() };
        let names = move |flow: &Flow, pattern: &Fqdn| {
            let names = if is_source { &flow.source_names } else { &flow.destination_names };
            names.iter().any(|name| pattern.matches(name))
        };
        let service = move |flow: &Flow, wanted: &Qualified| {
            let service = if is_source { &flow.source_service } else { &flow.destination_service };
            service.as_ref().is_some_and(|service| wanted.matches(&service.namespace, &service.name))
        };
        let port = move |flow: &Flow| flow.ports().map(|(from, to)| if is_source { from } else { to });
        self.any(prefixes(end.ip)?, move |prefix, flow| address(flow).is_some_and(|ip| prefix.contains(ip)));
        self.any(all(end.fqdn, Fqdn::parse)?, move |pattern, flow| names(flow, pattern));
        self.any(all(end.service, Qualified::parse)?, move |wanted, flow| service(flow, wanted));
        self.any(all(end.port, ports)?, move |range: &RangeInclusive<u16>, flow| {
            port(flow).is_some_and(|port| range.contains(&port))
        });
        self.any(all(end.pod, Qualified::parse)?, move |wanted, flow| {
            of(flow, is_source).is_some_and(|end| wanted.matches(&end.namespace, &end.pod_name))
        });
        self.any(all(end.label, Selector::parse)?, move |selector, flow| {
            selector.matches(of(flow, is_source).map_or(&[], |end| &end.labels))
        });
        self.any(all(end.cluster, Fqdn::parse)?, move |pattern, flow| {
            of(flow, is_source).is_some_and(|end| pattern.matches(&end.cluster_name))
        });
        self.any(end.identity.to_vec(), move |identity, flow| {
            of(flow, is_source).map_or(0, |end| end.identity) == *identity
        });
        self.any(end.workload.to_vec(), move |wanted, flow| {
            let same = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
            let workloads = of(flow, is_source).map_or(&[][..], |end| &end.workloads);
            workloads.iter().any(|workload| same(&wanted.name, &workload.name) && same(&wanted.kind, &workload.kind))
        });
        Ok(())
    }

    fn packet(&mut self, filter: &FlowFilter) -> Result<(), Diagnostic> {
        let xlated = |flow: &Flow| -> Option<IpAddr> { flow.ip.as_ref()?.source_xlated.0 };
        self.any(prefixes(&filter.source_ip_xlated)?, move |prefix, flow| {
            xlated(flow).is_some_and(|address| prefix.contains(address))
        });
        self.any(filter.ip_version.clone(), |version, flow| {
            flow.ip.as_ref().map_or(IpVersion::NotUsed, |ip| ip.version) == *version
        });
        self.any(filter.encrypted.clone(), |wanted, flow| flow.ip.as_ref().is_some_and(|ip| ip.encrypted) == *wanted);
        self.any(all(&filter.protocol, protocol)?, |matches, flow| matches(flow));
        self.any(filter.tcp_flags.clone(), |flags, flow| match &flow.l4 {
            Some(Layer4::Tcp(tcp)) => tcp.flags.0 != 0 && tcp.flags.has(*flags),
            _ => false,
        });
        self.any(filter.interface.clone(), |wanted, flow| {
            flow.interface.as_ref().is_some_and(|interface| {
                (wanted.name.is_empty() || wanted.name == interface.name)
                    && (wanted.index == 0 || wanted.index == interface.index)
            })
        });
        Ok(())
    }

    fn event(&mut self, filter: &FlowFilter) -> Result<(), Diagnostic> {
        self.any(filter.uuid.clone(), |uuid, flow| flow.uuid == *uuid);
        self.any(filter.traffic_direction.clone(), |direction, flow| flow.traffic_direction == *direction);
        self.any(filter.verdict.clone(), |verdict, flow| flow.verdict == *verdict);
        self.any(filter.drop_reason_desc.clone(), |reason, flow| flow.drop_reason_desc == *reason);
        self.any(filter.reply.clone(), |reply, flow| flow.is_reply.0 == Some(*reply));
        self.any(filter.event_type.clone(), |wanted, flow| {
            flow.event_type.as_ref().is_some_and(|event| {
                (wanted.kind == 0 || wanted.kind == event.kind)
                    && (!wanted.match_sub_kind || wanted.sub_kind == event.sub_kind)
            })
        });
        self.any(all(&filter.node_name, Node::parse)?, |node, flow| node.matches(&flow.node_name));
        self.any(all(&filter.node_labels, Selector::parse)?, |node, flow| node.matches(&flow.node_labels));
        self.any(filter.trace_id.clone(), |id, flow| {
            let parent = flow.trace_context.as_ref().and_then(|context| context.parent.as_ref());
            parent.is_some_and(|parent| parent.trace_id == *id)
        });
        self.any(filter.ip_trace_id.clone(), |id, flow| {
            flow.ip_trace_id.as_ref().is_some_and(|trace| trace.trace_id == *id)
        });
        Ok(())
    }

    fn layer7(&mut self, filter: &FlowFilter) -> Result<(), Diagnostic> {
        let of_http =
            [&filter.http_status_code, &filter.http_method, &filter.http_path, &filter.http_url].map(Vec::is_empty);
        let asks_http = of_http.contains(&false) || !filter.http_header.is_empty();
        let types = &filter.event_type;
        if asks_http && !types.is_empty() && !types.iter().any(|one| one.kind == event::L7 || one.kind == 0) {
            return Err(Diagnostic::script("filters of HTTP match events of type `l7` only").help("--type l7"));
        }
        let http = |flow: &Flow| flow.l7.as_ref().and_then(|l7| l7.http.clone());
        self.any(all(&filter.http_status_code, status)?, move |code, flow| {
            http(flow).is_some_and(|http| http.code != 0 && format!("{:03}", http.code).starts_with(code.as_str()))
        });
        self.any(filter.http_method.clone(), move |method, flow| {
            http(flow).is_some_and(|http| http.method.eq_ignore_ascii_case(method))
        });
        self.any(all(&filter.http_path, regex)?, move |regex, flow| {
            http(flow).is_some_and(|http| path(&http.url).is_some_and(|path| regex.is_match(path)))
        });
        self.any(all(&filter.http_url, regex)?, move |regex, flow| {
            http(flow).is_some_and(|http| !http.url.is_empty() && regex.is_match(&http.url))
        });
        self.any(filter.http_header.clone(), move |wanted, flow| {
            http(flow).is_some_and(|http| {
                http.headers.iter().any(|is| is.key.eq_ignore_ascii_case(&wanted.key) && is.value == wanted.value)
            })
        });
        self.any(all(&filter.dns_query, regex)?, |regex, flow| {
            let dns = flow.l7.as_ref().and_then(|l7| l7.dns.as_ref());
            dns.is_some_and(|dns| regex.is_match(&dns.query))
        });
        Ok(())
    }
}

fn of(flow: &Flow, is_source: bool) -> Option<&Arc<Endpoint>> {
    if is_source { flow.source.as_ref() } else { flow.destination.as_ref() }
}

fn all<T>(texts: &[String], parse: impl Fn(&str) -> Result<T, Diagnostic>) -> Result<Vec<T>, Diagnostic> {
    texts.iter().map(|text| parse(text)).collect()
}

fn prefixes(texts: &[String]) -> Result<Vec<Cidr>, Diagnostic> {
    all(texts, |text| text.parse())
}

fn regex(text: &str) -> Result<Regex, Diagnostic> {
    Regex::new(text).map_err(|error| Diagnostic::script(format!("`{text}` is no regular expression: {error}")))
}

/// A port, or a range of them.
///
/// # Errors
/// A script diagnostic: it is neither.
pub fn ports(text: &str) -> Result<RangeInclusive<u16>, Diagnostic> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    match (low.parse(), high.parse()) {
        (Ok(low), Ok(high)) if low <= high => Ok(low..=high),
        _ => Err(Diagnostic::script(format!("`{text}` is no port")).help("8080, or 8000-8999")),
    }
}

/// The beginning of a status: `404`, or `5+`.
fn status(text: &str) -> Result<String, Diagnostic> {
    let digits = text.strip_suffix('+').unwrap_or(text);
    let length = if digits.len() < text.len() { 1..=2 } else { 3..=3 };
    let first = digits.bytes().next().is_some_and(|byte| (b'1'..=b'5').contains(&byte));
    if first && length.contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(digits.to_owned());
    }
    Err(Diagnostic::script(format!("`{text}` is no status of HTTP")).help("404, 40+ or 5+"))
}

/// The path of a URL, or of what a request line has.
fn path(url: &str) -> Option<&str> {
    let rest = match url.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/')?..],
        None => url.strip_prefix('/').map(|_| url)?,
    };
    rest.split(['?', '#']).next()
}

/// Protocols that `--protocol` takes.
pub const PROTOCOLS: [&str; 11] =
    ["tcp", "udp", "icmp", "icmpv4", "icmpv6", "sctp", "vrrp", "igmp", "dns", "http", "kafka"];

fn protocol(text: &str) -> Result<fn(&Flow) -> bool, Diagnostic> {
    Ok(match text.to_ascii_lowercase().as_str() {
        "tcp" => |flow| matches!(flow.l4, Some(Layer4::Tcp(_))),
        "udp" => |flow| matches!(flow.l4, Some(Layer4::Udp(_))),
        "icmp" => |flow| matches!(flow.l4, Some(Layer4::Icmpv4(_) | Layer4::Icmpv6(_))),
        "icmpv4" => |flow| matches!(flow.l4, Some(Layer4::Icmpv4(_))),
        "icmpv6" => |flow| matches!(flow.l4, Some(Layer4::Icmpv6(_))),
        "sctp" => |flow| matches!(flow.l4, Some(Layer4::Sctp(_))),
        "vrrp" => |flow| matches!(flow.l4, Some(Layer4::Vrrp(_))),
        "igmp" => |flow| matches!(flow.l4, Some(Layer4::Igmp(_))),
        "dns" => |flow| flow.l7.as_ref().is_some_and(|l7| l7.dns.is_some()),
        "http" => |flow| flow.l7.as_ref().is_some_and(|l7| l7.http.is_some()),
        "kafka" => |flow| flow.l7.as_ref().is_some_and(|l7| l7.kafka.is_some()),
        other => {
            let near = crate::diagnostic::nearest(other, PROTOCOLS).unwrap_or("tcp, udp, icmp, sctp, dns or http");
            return Err(Diagnostic::script(format!("`{text}` is no protocol that flows have")).help(near));
        }
    })
}
