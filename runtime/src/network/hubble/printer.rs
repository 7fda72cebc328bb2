//! The printer: flows as lines, records and tables for people, letter for letter as `hubble observe` prints them.

use crate::network::drop_reason::DropReason;
use crate::network::dropped;
use crate::network::flow::{AuthType, Endpoint, Flow, MATCH_TYPES, Policy, Service, TranslationPoint, Verdict, event};
use crate::network::hubble::Response;
use crate::network::identity::Identity;
use crate::network::time::{Layout, Time};
use crate::report::units::may_act;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// One line a flow.
    #[default]
    Compact,
    /// One member a line.
    Dict,
    /// Columns; nothing is printed before the end.
    Table,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub form: Form,
    pub layout: Layout,
    pub node_name: bool,
    /// Which policies decided, behind a verdict.
    pub policy_names: bool,
    /// Names instead of addresses where there are any.
    pub translate: bool,
    pub colour: bool,
}

impl Default for Options {
    fn default() -> Options {
        let (form, layout) = (Form::Compact, Layout::StampMilli);
        Options { form, layout, node_name: false, policy_names: false, translate: true, colour: false }
    }
}

/// Prints flows one by one; what is left is in [`Printer::end`].
pub struct Printer {
    options: Options,
    rows: Vec<Vec<String>>,
    printed: usize,
}

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const MAGENTA: &str = "35";
const CYAN: &str = "36";

impl Printer {
    pub fn new(mut options: Options) -> Printer {
        // Columns are counted in letters.
        options.colour &= options.form != Form::Table;
        Printer { options, rows: Vec::new(), printed: 0 }
    }

    /// The text of a line; nothing for a table, and for what is no flow. Losses are for standard error: [`loss`].
    pub fn print(&mut self, response: &Response) -> String {
        let Some(flow) = &response.flow else { return String::new() };
        let text = match self.options.form {
            Form::Compact => self.compact(flow),
            Form::Dict => self.dict(flow),
            Form::Table => {
                self.row(flow);
                String::new()
            }
        };
        self.printed += 1;
        text
    }

    /// What could not be printed before.
    pub fn end(&mut self) -> String {
        let rows = std::mem::take(&mut self.rows);
        columns(&rows)
    }

    fn compact(&self, flow: &Flow) -> String {
        let (mut source, mut destination) = self.hosts(flow);
        let (mut source_id, mut destination_id) = (self.identity(&flow.source), self.identity(&flow.destination));
        let arrow = match flow.is_reply.0 {
            None => "<>",
            Some(false) => "->",
            Some(true) => {
                std::mem::swap(&mut source, &mut destination);
                std::mem::swap(&mut source_id, &mut destination_id);
                "<-"
            }
        };
        let node = if self.options.node_name { format!(" [{}]", clean(&flow.node_name)) } else { String::new() };
        format!(
            "{}{node}: {source} {source_id} {arrow} {destination} {destination_id} {} {} ({})\n",
            self.time(flow),
            kind(flow),
            self.verdict(flow),
            self.summary(flow),
        )
    }

    fn dict(&self, flow: &Flow) -> String {
        let (source, destination) = self.hosts(flow);
        let mut text = String::from(if self.printed > 0 { "------------\n" } else { "" });
        let mut line = |head: &str, value: &str| {
            let _infallible = writeln!(text, "{head:>11}: {value}");
        };
        line("TIMESTAMP", &self.time(flow));
        if self.options.node_name {
            line("NODE", &clean(&flow.node_name));
        }
        line("SOURCE", &source);
        line("DESTINATION", &destination);
        line("TYPE", &kind(flow));
        line("VERDICT", &self.verdict(flow));
        line("SUMMARY", &clean(&flow.summary));
        text
    }

    fn row(&mut self, flow: &Flow) {
        let node = |name: String| self.options.node_name.then_some(name);
        if self.rows.is_empty() {
            let heads = ["SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"].map(str::to_owned);
            let row = ["TIMESTAMP".to_owned()].into_iter().chain(node("NODE".to_owned())).chain(heads).collect();
            self.rows.push(row);
        }
        let (source, destination) = self.hosts(flow);
        let rest = [source, destination, kind(flow), self.verdict(flow), self.summary(flow)];
        let row = [self.time(flow)].into_iter().chain(node(clean(&flow.node_name))).chain(rest).collect();
        self.rows.push(row);
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.options.colour { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn time(&self, flow: &Flow) -> String {
        time(flow.time.0, self.options.layout)
    }

    fn identity(&self, endpoint: &Option<Arc<Endpoint>>) -> String {
        let identity = Identity(endpoint.as_ref().map_or(0, |endpoint| endpoint.identity));
        self.paint(MAGENTA, &identity.to_string())
    }

    /// Source and destination: the pod, the service or the names of an address, or itself, and the port.
    fn hosts(&self, flow: &Flow) -> (String, String) {
        let Some(ip) = &flow.ip else {
            let ethernet = flow.ethernet.as_ref();
            let mac = |mac: Option<String>| mac.map_or_else(String::new, |mac| self.paint(CYAN, &mac));
            let source = ethernet.and_then(|ethernet| ethernet.source.0).map(|mac| mac.to_string());
            let destination = ethernet.and_then(|ethernet| ethernet.destination.0).map(|mac| mac.to_string());
            return (mac(source), mac(destination));
        };
        let (from, to) = flow.ports().unwrap_or_default();
        let source = self.host(ip.source.0, from, &flow.source, &flow.source_service, &flow.source_names);
        let destination =
            self.host(ip.destination.0, to, &flow.destination, &flow.destination_service, &flow.destination_names);
        (self.paint(CYAN, &source), self.paint(CYAN, &destination))
    }

    fn host(
        &self,
        address: Option<IpAddr>,
        port: u16,
        endpoint: &Option<Arc<Endpoint>>,
        service: &Option<Service>,
        names: &[String],
    ) -> String {
        let qualified = |namespace: &str, name: &str| match (namespace, name) {
            (_, "") => None,
            ("", name) => Some(name.to_owned()),
            (namespace, name) => Some(format!("{namespace}/{name}")),
        };
        // Hubble takes a pod's namespace from its service, where it knows one.
        let namespace = match (service, endpoint) {
            (Some(service), _) => service.namespace.as_str(),
            (None, Some(endpoint)) => endpoint.namespace.as_str(),
            (None, None) => "",
        };
        let pod = || qualified(namespace, endpoint.as_ref().map_or("", |endpoint| endpoint.pod_name.as_str()));
        let service = || qualified(namespace, service.as_ref().map_or("", |service| service.name.as_str()));
        let dns = || (!names.is_empty()).then(|| names.join(","));
        let name = if self.options.translate { pod().or_else(service).or_else(dns) } else { None };
        let address = || address.map_or_else(String::new, |address| address.to_string());
        let host = clean(&name.unwrap_or_else(address));
        match port {
            0 => host,
            port => {
                let port = self.paint(YELLOW, &port.to_string());
                if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
            }
        }
    }

    fn verdict(&self, flow: &Flow) -> String {
        let of_policy = flow.event() == event::POLICY_VERDICT;
        let (colour, said) = match flow.verdict {
            Verdict::Forwarded | Verdict::Redirected => (GREEN, "ALLOWED"),
            Verdict::Dropped | Verdict::Error => (RED, "DENIED"),
            Verdict::Audit => (YELLOW, "AUDITED"),
            Verdict::Traced | Verdict::Translated => (YELLOW, flow.verdict.name()),
            Verdict::Unknown => return flow.verdict.name().to_owned(),
        };
        let verdict = self.paint(colour, if of_policy { said } else { flow.verdict.name() });
        verdict + self.policies(flow).as_str()
    }

    /// ` BY name (Kind), …` behind the verdict of a policy.
    fn policies(&self, flow: &Flow) -> String {
        if !self.options.policy_names || flow.event() != event::POLICY_VERDICT {
            return String::new();
        }
        let all = [&flow.egress_allowed_by, &flow.ingress_allowed_by, &flow.egress_denied_by, &flow.ingress_denied_by];
        let name = |policy: &Policy| match policy.kind.as_str() {
            "" => clean(&policy.name),
            kind => format!("{} ({})", clean(&policy.name), clean(kind)),
        };
        let names: Vec<String> = all.into_iter().flatten().map(name).collect();
        if names.is_empty() { String::new() } else { format!(" BY {}", names.join(", ")) }
    }

    fn summary(&self, flow: &Flow) -> String {
        match flow.auth_type {
            AuthType::Disabled => clean(&flow.summary),
            auth => format!("{}; Auth: {}", clean(&flow.summary), auth.name()),
        }
    }
}

fn time(time: Option<Time>, layout: Layout) -> String {
    time.map_or_else(|| "N/A".to_owned(), |time| time.text(layout))
}

/// What sort of event it was: `policy-verdict:L3-L4 INGRESS`, `to-endpoint`, `dns-response proxy`, a drop's reason.
fn kind(flow: &Flow) -> String {
    if let Some(l7) = &flow.l7 {
        let kind = l7.kind.name().to_lowercase();
        return match (&l7.dns, &l7.http, &l7.kafka) {
            (Some(dns), ..) => format!("dns-{kind} {}", clean(&dns.observation_source)),
            (_, Some(_), _) => format!("http-{kind}"),
            (.., Some(_)) => format!("kafka-{kind}"),
            _ => format!("l7-{kind}"),
        };
    }
    let sub = flow.event_type.as_ref().map_or(0, |event| event.sub_kind);
    match flow.event() {
        event::TRACE => trace_point(sub),
        event::DROP => match (DropReason(sub.try_into().unwrap_or_default()), flow.extension(dropped::REASON)) {
            // The kernel's reason is none of Cilium's.
            (DropReason::NONE, Some(kernel)) => clean(kernel.as_str().unwrap_or_default()),
            (reason, _) => reason.text().into_owned(),
        },
        event::POLICY_VERDICT => {
            let matched = MATCH_TYPES.get(flow.policy_match_type as usize).copied();
            let matched = matched.map_or_else(|| flow.policy_match_type.to_string(), str::to_owned);
            format!("policy-verdict:{matched} {}", flow.traffic_direction.name())
        }
        event::CAPTURE => flow.debug_capture_point.name().to_owned(),
        event::TRACE_SOCK => match flow.sock_xlate_point {
            TranslationPoint::PostForward => "post-xlate-fwd",
            TranslationPoint::PostReverse => "post-xlate-rev",
            TranslationPoint::PreForward => "pre-xlate-fwd",
            TranslationPoint::PreReverse => "pre-xlate-rev",
            TranslationPoint::Unknown => flow.sock_xlate_point.name(),
        }
        .to_owned(),
        _ => "UNKNOWN".to_owned(),
    }
}

/// Trace points as events number them: 0 is to an endpoint there.
pub const TRACE_POINTS: [&str; 14] = [
    "to-endpoint",
    "to-proxy",
    "to-host",
    "to-stack",
    "to-overlay",
    "from-endpoint",
    "from-proxy",
    "from-host",
    "from-stack",
    "from-overlay",
    "from-network",
    "to-network",
    "from-crypto",
    "to-crypto",
];

fn trace_point(sub: i32) -> String {
    let known = usize::try_from(sub).ok().and_then(|at| TRACE_POINTS.get(at));
    known.map_or_else(|| sub.to_string(), |name| (*name).to_owned())
}

/// A loss, in words for standard error.
pub fn loss(response: &Response, layout: Layout) -> Option<String> {
    let lost = response.lost_events.as_ref()?;
    let cpu = lost.cpu.0.map_or_else(String::new, |cpu| format!(" on CPU {cpu}"));
    let source = lost.source.name().to_lowercase().replace('_', " ");
    let when = time(response.time.0.or(lost.last.0), layout);
    Some(format!("{when}: {} events lost: {source}{cpu}\n", lost.count))
}

/// Text of others that is to move no cursor: signs that a terminal acts on become visible, as Hubble shows them.
fn clean(text: &str) -> String {
    if !text.contains(may_act) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for sign in text.chars() {
        match sign {
            '\x1b' => out.push_str("^["),
            sign if may_act(sign) => out.extend(sign.escape_default()),
            sign => out.push(sign),
        }
    }
    out
}

/// Every column but the last as wide as its widest cell, and three blanks.
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0) + 3).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            if column + 1 < count {
                let _infallible = write!(text, "{cell:<width$}", width = widths[column]);
            } else {
                text += cell;
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests;
