//! Flags: the filters of `hubble observe`'s command line. Their order matters: `--not` turns the next one around. Pure.
//!
//! A flag about either end (`--ip`) makes two filters, one for each end, of which one has to match; every other flag goes
//! into both.

use crate::diagnostic::{Diagnostic, nearest};
use crate::network::drop_reason::{DropReason, REASONS};
use crate::network::flow::{Direction, Header, Interface, IpVersion, TcpFlags, Verdict, Workload, event};
use crate::network::hubble::filter::{EventTypeFilter, FlowFilter};
use crate::network::hubble::printer::TRACE_POINTS;
use crate::network::identity::Identity;

/// A flag of the command line.
pub struct Flag {
    pub name: &'static str,
    pub short: Option<char>,
    /// What stands behind it; empty: nothing.
    pub value: &'static str,
    pub help: &'static str,
}

const fn flag(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag { name, short: None, value, help }
}

const fn short(short: char, flag: Flag) -> Flag {
    Flag { short: Some(short), ..flag }
}

pub const FLAGS: &[Flag] = &[
    flag("not", "", "turn the next filter around: --not --ip 10.0.0.1"),
    short('t', flag("type", "TYPE[:SUB]", "drop, l7, policy-verdict, capture, trace-sock, trace or trace:to-endpoint")),
    flag("verdict", "VERDICT", "FORWARDED, DROPPED, AUDIT, REDIRECTED, ERROR, TRACED or TRANSLATED"),
    flag("drop-reason-desc", "REASON", "such as POLICY_DENIED"),
    flag("traffic-direction", "DIRECTION", "ingress or egress"),
    flag("ip", "ADDRESS", "either end, an address or a prefix"),
    flag("from-ip", "ADDRESS", "the source"),
    flag("to-ip", "ADDRESS", "the destination"),
    flag("snat-ip", "ADDRESS", "what the source was translated to"),
    short('4', flag("ipv4", "", "only IPv4")),
    short('6', flag("ipv6", "", "only IPv6")),
    flag("ip-version", "VERSION", "v4, v6 or none"),
    flag("port", "PORT", "either port, or a range: 8000-8999"),
    flag("from-port", "PORT", "the source port"),
    flag("to-port", "PORT", "the destination port"),
    flag("protocol", "PROTOCOL", "tcp, udp, icmp, icmpv4, icmpv6, sctp, vrrp, igmp, dns, http or kafka"),
    flag("tcp-flags", "FLAGS", "all of these are set: syn,ack"),
    flag("interface", "NAME", "seen at this interface"),
    flag("pod", "[NS/]NAME", "either end, a pod by the beginning of its name"),
    flag("from-pod", "[NS/]NAME", "the source"),
    flag("to-pod", "[NS/]NAME", "the destination"),
    short('n', flag("namespace", "NS", "either end, a namespace of Kubernetes")),
    flag("from-namespace", "NS", "the source"),
    flag("to-namespace", "NS", "the destination"),
    short('A', flag("all-namespaces", "", "either end, any namespace")),
    flag("from-all-namespaces", "", "the source, any namespace"),
    flag("to-all-namespaces", "", "the destination, any namespace"),
    short('l', flag("label", "SELECTOR", "either end, by labels: app=web,tier!=db")),
    flag("from-label", "SELECTOR", "the source"),
    flag("to-label", "SELECTOR", "the destination"),
    flag("identity", "ID", "either end, a number or a name such as world"),
    flag("from-identity", "ID", "the source"),
    flag("to-identity", "ID", "the destination"),
    flag("service", "[NS/]NAME", "either end, a service by the beginning of its name"),
    flag("from-service", "[NS/]NAME", "the source"),
    flag("to-service", "[NS/]NAME", "the destination"),
    flag("workload", "[KIND/]NAME", "either end, a workload"),
    flag("from-workload", "[KIND/]NAME", "the source"),
    flag("to-workload", "[KIND/]NAME", "the destination"),
    flag("fqdn", "NAME", "either end, a name of DNS: *.example.com"),
    flag("from-fqdn", "NAME", "the source"),
    flag("to-fqdn", "NAME", "the destination"),
    flag("cluster", "NAME", "seen in this cluster"),
    flag("from-cluster", "NAME", "the source is in this cluster"),
    flag("to-cluster", "NAME", "the destination is in this cluster"),
    flag("node-name", "NAME", "seen on this node: k8s*, or cluster/node"),
    flag("node-label", "SELECTOR", "seen on nodes with these labels"),
    flag("http-status", "CODE", "404, or 5+"),
    flag("http-method", "METHOD", "get, post, …"),
    flag("http-path", "REGEX", "the path"),
    flag("http-url", "REGEX", "the whole URL"),
    flag("http-header", "KEY:VALUE", "a header"),
    flag("uuid", "UUID", "this one flow"),
    flag("trace-id", "ID", "of this trace"),
    flag("ip-trace-id", "ID", "with this option of IP"),
    flag("encrypted", "", "only what is encrypted"),
    flag("unencrypted", "", "only what is not"),
    flag("cel-expression", "CEL", "not supported: an error"),
];

/// Flags of one group exclude each other.
const CONFLICTS: &[&[&str]] = &[
    &["from-fqdn", "from-ip", "ip", "fqdn", "from-namespace", "namespace", "from-all-namespaces", "all-namespaces"],
    &["from-fqdn", "from-ip", "ip", "fqdn", "from-pod", "pod"],
    &["to-fqdn", "to-ip", "ip", "fqdn", "to-namespace", "namespace", "to-all-namespaces", "all-namespaces"],
    &["to-fqdn", "to-ip", "ip", "fqdn", "to-pod", "pod"],
    &["to-pod", "namespace", "all-namespaces"],
    &["from-pod", "namespace", "all-namespaces"],
    &["to-service", "namespace", "all-namespaces"],
    &["from-service", "namespace", "all-namespaces"],
    &["label", "from-label"],
    &["label", "to-label"],
    &["service", "from-service"],
    &["service", "to-service"],
    &["port", "from-port"],
    &["port", "to-port"],
    &["identity", "from-identity"],
    &["identity", "to-identity"],
    &["workload", "from-workload"],
    &["workload", "to-workload"],
    &["cluster", "node-name"],
    &["encrypted", "unencrypted"],
];

/// What the flags so far ask for.
#[derive(Debug, Default)]
pub struct Flags {
    allow: Wanted,
    deny: Wanted,
    /// The last one was `--not`.
    not: bool,
}

/// Two filters, of which one has to match.
#[derive(Debug, Default)]
struct Wanted {
    filters: [FlowFilter; 2],
    given: Vec<&'static str>,
    /// Of either end, of sources, of destinations; an empty one is any.
    namespaces: [Vec<String>; 3],
}

impl Flags {
    /// Takes the next flag; one that has no value gets an empty one.
    ///
    /// # Errors
    /// A script diagnostic: a value that cannot be, or a flag that an earlier one excludes.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Diagnostic> {
        let known = FLAGS.iter().find(|flag| flag.name == name);
        let Some(flag) = known else { return Err(Diagnostic::bug(format!("`--{name}` is no filter of flows"))) };
        if name == "not" {
            if std::mem::replace(&mut self.not, true) {
                return Err(Diagnostic::script("`--not` stands twice in a row").help("--not --ip 10.0.0.1"));
            }
            return Ok(());
        }
        let wanted = if std::mem::take(&mut self.not) { &mut self.deny } else { &mut self.allow };
        wanted.set(flag.name, value)
    }

    /// Filters of what is wanted, and of what is not.
    ///
    /// # Errors
    /// A script diagnostic: `--not` with nothing behind it, or namespaces that contradict names.
    pub fn filters(self) -> Result<(Vec<FlowFilter>, Vec<FlowFilter>), Diagnostic> {
        if self.not {
            return Err(Diagnostic::script("behind `--not` there is no filter").help("--not --ip 10.0.0.1"));
        }
        Ok((self.allow.filters()?, self.deny.filters()?))
    }
}

impl Wanted {
    fn set(&mut self, name: &'static str, value: &str) -> Result<(), Diagnostic> {
        self.given.push(name);
        for group in CONFLICTS.iter().filter(|group| group.contains(&name)) {
            if let Some(other) = self.given.iter().find(|other| **other != name && group.contains(other)) {
                return Err(Diagnostic::script(format!("`--{name}` and `--{other}` cannot be combined"))
                    .help(format!("--{name} alone, or --not before one of them")));
            }
        }
        let value = value.to_owned();
        match name {
            "namespace" => self.namespaces[0].push(value),
            "from-namespace" => self.namespaces[1].push(value),
            "to-namespace" => self.namespaces[2].push(value),
            "all-namespaces" => self.namespaces[0].push(String::new()),
            "from-all-namespaces" => self.namespaces[1].push(String::new()),
            "to-all-namespaces" => self.namespaces[2].push(String::new()),
            "cluster" => self.filters.iter_mut().for_each(|filter| filter.node_name.push(format!("{value}/"))),
            _ => {
                let (ends, of) = match name.split_once('-') {
                    Some(("from", of)) => ([true, true], of),
                    Some(("to", of)) => ([false, false], of),
                    _ => ([true, false], name),
                };
                for (filter, of_source) in self.filters.iter_mut().zip(ends) {
                    set(filter, of, of_source, &value)?;
                }
            }
        }
        Ok(())
    }

    fn filters(mut self) -> Result<Vec<FlowFilter>, Diagnostic> {
        if self.given.is_empty() {
            return Ok(Vec::new());
        }
        let [either, from, to] = &self.namespaces;
        for (filter, of_source) in self.filters.iter_mut().zip([true, false]) {
            inside(filter, true, from)?;
            inside(filter, false, to)?;
            inside(filter, of_source, either)?;
        }
        let [left, right] = self.filters;
        Ok(if left == right { vec![left] } else { vec![left, right] })
    }
}

/// Puts names of pods and services into namespaces; where none is asked for, any pod there.
fn inside(filter: &mut FlowFilter, of_source: bool, namespaces: &[String]) -> Result<(), Diagnostic> {
    if namespaces.is_empty() {
        return Ok(());
    }
    let (pods, services) = if of_source {
        (&mut filter.source_pod, &mut filter.source_service)
    } else {
        (&mut filter.destination_pod, &mut filter.destination_service)
    };
    if pods.is_empty() && services.is_empty() {
        pods.push(String::new());
    }
    for names in [pods, services] {
        let mut qualified = Vec::new();
        for name in names.iter() {
            match name.split_once('/') {
                Some((own, _)) if namespaces.iter().all(|namespace| namespace.is_empty() || namespace == own) => {
                    qualified.push(name.clone());
                }
                Some((own, _)) => {
                    return Err(Diagnostic::script(format!(
                        "`{name}` is not in namespace `{}`",
                        namespaces.join("`, `")
                    ))
                    .help(format!("--namespace {own}")));
                }
                None => qualified.extend(namespaces.iter().map(|namespace| format!("{namespace}/{name}"))),
            }
        }
        *names = qualified;
    }
    Ok(())
}

/// Adds a flag's value to one filter.
fn set(filter: &mut FlowFilter, of: &str, of_source: bool, value: &str) -> Result<(), Diagnostic> {
    let text = value.to_owned();
    macro_rules! end {
        ($source:ident, $destination:ident) => {
            if of_source { &mut filter.$source } else { &mut filter.$destination }
        };
    }
    match of {
        "ip" => end!(source_ip, destination_ip).push(text),
        "pod" => end!(source_pod, destination_pod).push(text),
        "fqdn" => end!(source_fqdn, destination_fqdn).push(text),
        "label" => end!(source_label, destination_label).push(text),
        "service" => end!(source_service, destination_service).push(text),
        "port" => end!(source_port, destination_port).push(text),
        "cluster" => end!(source_cluster_name, destination_cluster_name).push(text),
        "identity" => end!(source_identity, destination_identity).push(identity(value)?),
        "workload" => {
            let (kind, name) = value.split_once('/').unwrap_or(("", value));
            end!(source_workload, destination_workload).push(Workload { name: name.into(), kind: kind.into() });
        }
        _ => return set_common(filter, of, text),
    }
    Ok(())
}

/// Those that do not ask for an end.
fn set_common(filter: &mut FlowFilter, name: &str, value: String) -> Result<(), Diagnostic> {
    let wrong = |what: &str, help: &str| Diagnostic::script(format!("`{value}` is no {what}")).help(help);
    match name {
        "uuid" => filter.uuid.push(value),
        "snat-ip" => filter.source_ip_xlated.push(value),
        "ipv4" => filter.ip_version.push(IpVersion::V4),
        "ipv6" => filter.ip_version.push(IpVersion::V6),
        "ip-version" => filter.ip_version.push(match value.to_ascii_lowercase().as_str() {
            "4" | "v4" | "ipv4" | "ip4" => IpVersion::V4,
            "6" | "v6" | "ipv6" | "ip6" => IpVersion::V6,
            "none" => IpVersion::NotUsed,
            _ => return Err(wrong("version of IP", "v4, v6 or none")),
        }),
        "node-name" => filter.node_name.push(value),
        "node-label" => filter.node_labels.push(value),
        "trace-id" => filter.trace_id.push(value),
        "ip-trace-id" => {
            let id = value.parse().map_err(|_| wrong("number", "--ip-trace-id 7"))?;
            filter.ip_trace_id.push(id);
        }
        "encrypted" => filter.encrypted.push(true),
        "unencrypted" => filter.encrypted.push(false),
        "protocol" => filter.protocol.push(value),
        "interface" => filter.interface.push(Interface { index: 0, name: value }),
        "http-status" => filter.http_status_code.push(value),
        "http-method" => filter.http_method.push(value),
        "http-path" => filter.http_path.push(value),
        "http-url" => filter.http_url.push(value),
        "http-header" => {
            let (key, is) = value.split_once(':').ok_or_else(|| wrong("header", "--http-header Host:example.com"))?;
            filter.http_header.push(Header { key: key.to_owned(), value: is.to_owned() });
        }
        "verdict" => {
            let verdict = Verdict::named(&value.to_ascii_uppercase()).ok_or_else(|| {
                let names = Verdict::ALL[1..].iter().map(|verdict| verdict.name());
                wrong("verdict", nearest(&value.to_ascii_uppercase(), names).unwrap_or("FORWARDED, DROPPED or AUDIT"))
            })?;
            filter.verdict.push(verdict);
        }
        "drop-reason-desc" => {
            let reason = DropReason::named(&value).ok_or_else(|| {
                wrong(
                    "drop reason",
                    nearest(&value, REASONS.iter().map(|(_, name, _)| *name)).unwrap_or("POLICY_DENIED"),
                )
            })?;
            filter.drop_reason_desc.push(reason);
        }
        "traffic-direction" => filter.traffic_direction.push(match value.to_ascii_lowercase().as_str() {
            "ingress" => Direction::Ingress,
            "egress" => Direction::Egress,
            _ => return Err(wrong("direction", "ingress or egress")),
        }),
        "tcp-flags" => {
            let mut flags = TcpFlags::default();
            for name in value.split(',') {
                let flag = TcpFlags::named(name.trim());
                let flag = flag.ok_or_else(|| {
                    Diagnostic::script(format!("`{name}` is no flag of TCP"))
                        .help("syn, ack, fin, rst, psh, urg, ece, cwr or ns")
                })?;
                flags.0 |= flag.0;
            }
            filter.tcp_flags.push(flags);
        }
        "type" => filter.event_type.push(event_type(&value)?),
        "cel-expression" => {
            filter.experimental.get_or_insert_default().cel_expression.push(value);
        }
        other => return Err(Diagnostic::bug(format!("filter `--{other}` goes nowhere"))),
    }
    Ok(())
}

fn identity(text: &str) -> Result<u32, Diagnostic> {
    Identity::named(text).map(|identity| identity.0).ok_or_else(|| {
        let near = nearest(text, Identity::names()).unwrap_or("a number, or host, world, remote-node, kube-apiserver");
        Diagnostic::script(format!("`{text}` is no identity")).help(near)
    })
}

/// `drop`, `trace:to-endpoint`, or numbers.
fn event_type(text: &str) -> Result<EventTypeFilter, Diagnostic> {
    let (kind, sub) = text.split_once(':').map_or((text, None), |(kind, sub)| (kind, Some(sub)));
    let known = event::NAMES.iter().find(|(name, _)| *name == kind).map(|(_, number)| *number);
    let kind = known.or_else(|| kind.parse().ok()).ok_or_else(|| {
        let near = nearest(kind, event::NAMES.iter().map(|(name, _)| *name));
        Diagnostic::script(format!("`{kind}` is no type of event"))
            .help(near.unwrap_or("drop, trace, l7 or policy-verdict"))
    })?;
    let Some(sub) = sub else { return Ok(EventTypeFilter { kind, ..EventTypeFilter::default() }) };
    let point = || TRACE_POINTS.iter().position(|name| *name == sub).and_then(|at| i32::try_from(at).ok());
    let named = if kind == event::TRACE { point() } else { None };
    let sub_kind = named.or_else(|| sub.parse().ok()).ok_or_else(|| {
        let near = nearest(sub, TRACE_POINTS).unwrap_or("a number, or behind trace: to-endpoint");
        Diagnostic::script(format!("`{sub}` is no part of a type of event")).help(near)
    })?;
    Ok(EventTypeFilter { kind, match_sub_kind: true, sub_kind })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::hubble::Response;
    use crate::network::hubble::filter::Filters;

    /// Of flows.jsonl: which lines (from 1) pass the flags.
    fn passing(flags: &str) -> Vec<usize> {
        let filters = filters(flags).unwrap_or_else(|error| panic!("{flags}: {error}"));
        let lines = include_str!("../../../../tests/fixtures/hubble/flows.jsonl").lines();
        let wanted = lines.zip(1..).filter(|(line, _)| {
            let response = Response::parse(line, &mut Vec::new()).expect("it is a line");
            response.flow.is_some() && filters.want_line(&response)
        });
        wanted.map(|(_, number)| number).collect()
    }

    fn filters(line: &str) -> Result<Filters, Diagnostic> {
        let mut flags = Flags::default();
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            let flag = FLAGS.iter().find(|flag| Some(flag.name) == word.strip_prefix("--"));
            let flag = flag.unwrap_or_else(|| panic!("{word} is no flag"));
            let value = if flag.value.is_empty() { "" } else { words.next().unwrap_or_default() };
            flags.set(flag.name, value)?;
        }
        let (allow, deny) = flags.filters()?;
        Filters::new(&allow, &deny)
    }

    /// 1 policy verdict, TCP; 2 drop, UDP; 4 trace of a reply, VXLAN; 5 http; 6 dns; 7 ICMPv6; 8 socket; 9 audit.
    #[test]
    fn flags_choose_flows() {
        let cases: &[(&str, &[usize])] = &[
            ("", &[1, 2, 4, 5, 6, 7, 8, 9]),
            ("--verdict DROPPED", &[1, 2]),
            ("--verdict DROPPED --verdict AUDIT", &[1, 2, 9]),
            ("--verdict DROPPED --protocol udp", &[2]),
            ("--not --verdict DROPPED", &[4, 5, 6, 7, 8, 9]),
            ("--verdict DROPPED --not --protocol udp", &[1]),
            // What is turned around is one filter, too: both have to hold of what is left out.
            ("--not --verdict DROPPED --not --protocol tcp", &[2, 4, 5, 6, 7, 8, 9]),
            ("--ip 10.9.0.3", &[1, 2, 4, 5, 6, 8, 9]),
            ("--from-ip 10.9.0.3", &[4, 5]),
            ("--to-ip 10.9.0.0/24", &[1, 2, 4, 5, 6, 8, 9]),
            ("--ip fd00::/8", &[7]),
            ("--ipv6", &[7]),
            ("--ip-version none", &[]),
            ("--snat-ip 192.0.2.1", &[9]),
            ("--port 53", &[2, 6]),
            ("--port 50-60", &[2, 6]),
            ("--from-port 80 --to-port 41234", &[4, 5]),
            ("--protocol icmp", &[7]),
            ("--protocol dns --protocol http", &[5, 6]),
            ("--tcp-flags syn", &[1, 4, 9]),
            ("--tcp-flags syn,ack", &[4]),
            ("--type drop", &[2]),
            ("--type trace:to-endpoint", &[4]),
            ("--type trace:to-proxy", &[]),
            ("--type l7 --http-status 5+", &[5]),
            ("--http-status 404", &[]),
            ("--http-method get --http-path ^/sh.p$", &[5]),
            ("--http-url q=1", &[5]),
            ("--http-header X-Id:7", &[5]),
            ("--drop-reason-desc POLICY_DENY", &[1]),
            ("--traffic-direction egress", &[6, 8, 9]),
            ("--label app=web", &[1, 4, 5, 8, 9]),
            ("--from-label app=web", &[4, 5]),
            ("--label reserved:world", &[2]),
            ("--identity world", &[2]),
            ("--to-identity 4712", &[1, 2]),
            ("--pod shop/web", &[4, 5, 9]),
            ("--pod web", &[]),
            ("--namespace shop", &[4, 5, 9]),
            ("--to-namespace shop --to-pod web", &[9]),
            ("--from-all-namespaces", &[4, 5]),
            ("--service shop/", &[8]),
            ("--workload Deployment/web", &[9]),
            ("--to-fqdn *.example", &[6]),
            ("--node-name n*", &[1, 2, 4, 5, 6, 7, 8, 9]),
            ("--node-name default/n2", &[]),
            ("--cluster default", &[1, 2, 4, 5, 6, 7, 8, 9]),
            ("--to-cluster west", &[9]),
            ("--interface eth0", &[2]),
            ("--uuid 6f2d2c0e-8c55-4b6e-9f0b-1d1f7a3c9b01", &[1]),
            ("--trace-id 4bf92f35", &[5]),
            ("--ip-trace-id 7", &[7]),
            ("--encrypted", &[9]),
            ("--unencrypted --verdict AUDIT", &[]),
        ];
        for (flags, lines) in cases {
            assert_eq!(passing(flags), *lines, "{flags}");
        }
    }

    #[test]
    fn flags_that_cannot_be_are_refused_with_what_would_do() {
        let cases = [
            ("--verdict DROPED", "`DROPED` is no verdict", "DROPPED"),
            ("--type tracy", "`tracy` is no type of event", "trace"),
            ("--tcp-flags syn,akc", "`akc` is no flag of TCP", "syn, ack, fin, rst, psh, urg, ece, cwr or ns"),
            ("--ip 10.0.0.1/8", "`10.0.0.1/8` has bits set behind its prefix", "10.0.0.0/8"),
            ("--port http", "`http` is no port", "8080, or 8000-8999"),
            (
                "--ip 10.0.0.1 --pod a",
                "`--pod` and `--ip` cannot be combined",
                "--pod alone, or --not before one of them",
            ),
            ("--ip 10.0.0.1 --not", "behind `--not` there is no filter", "--not --ip 10.0.0.1"),
            ("--not --not --ip 10.0.0.1", "`--not` stands twice in a row", "--not --ip 10.0.0.1"),
            ("--to-namespace a --to-pod b/c", "`b/c` is not in namespace `a`", "--namespace b"),
            ("--type drop --http-status 404", "filters of HTTP match events of type `l7` only", "--type l7"),
        ];
        for (flags, message, help) in cases {
            let error = filters(flags).err().unwrap_or_else(|| panic!("{flags} is right"));
            assert_eq!((error.message.as_str(), error.help.as_deref()), (message, Some(help)), "{flags}");
        }
        assert!(filters("--cel-expression _flow.verdict==1").is_err() && filters("--http-path (").is_err());
    }

    #[test]
    fn filters_in_json_are_those_of_flow_proto() {
        let parsed = FlowFilter::parse(r#"{"source_ip":["10.9.0.0/24"]}{"verdict":["AUDIT",2],"ip_trace_id":["7"]}"#);
        assert_eq!(parsed.map(|filters| filters.len()), Ok(2));
        let error = |text: &str| FlowFilter::parse(text).expect_err(text).message.clone();
        assert_eq!(error(r#"{"sorce_ip":[]}"#), "a filter has no member `sorce_ip`");
        assert!(error("{").starts_with("`{` is no filter"));
        assert_eq!(error(""), "a filter is empty");
    }
}
