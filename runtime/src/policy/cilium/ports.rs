//! What a rule is about: `toPorts` with what they ask beyond ports, and `icmps`.

use super::super::fields::Fields;
use super::super::kubernetes::name;
use super::super::model::{Number, Policy, Port, Treatment};
use super::super::rules::{Action, Direction, Service};
use super::super::yaml::{Node, Value};
use super::Place;
use super::icmp::{Family, icmp_type};
use crate::diagnostic::{Diagnostic, Position};
use crate::network::protocol::Protocol;

/// Ports of one `toPorts` item, or fields of one `icmps` item.
const MOST: usize = 40;
const PROTOCOLS: &[&str] = &["ANY", "TCP", "UDP", "SCTP", "VRRP", "IGMP", "any", "tcp", "udp", "sctp", "vrrp", "igmp"];
/// What `ANY` means.
const WITH_PORTS: [Protocol; 3] = [Protocol::TCP, Protocol::UDP, Protocol::SCTP];

/// One item of `toPorts`.
pub struct ToPorts {
    pub ports: Vec<Port>,
    /// The element that asks for more than ports.
    pub beyond: Option<usize>,
}

pub fn read(policy: &mut Policy, place: &Place<'_>, node: &Node, n: usize) -> Result<ToPorts, Diagnostic> {
    let known = ["ports", "rules", "terminatingTLS", "originatingTLS", "serverNames", "listener"];
    let fields = Fields::of(node, "an item of `toPorts`", &known)?;
    let path = format!("{}.toPorts[{n}]", place.path);
    let listed = fields.list("ports")?;
    if listed.len() > MOST {
        return Err(Diagnostic::script(format!("a rule has {MOST} ports at most")).at(fields.place("ports")));
    }
    let mut ports = Vec::new();
    for item in listed {
        ports.extend(one(policy, item)?);
    }
    match listed {
        [] => {
            policy.warn(node.position, "an item of `toPorts` without ports matches nothing");
            policy.note(node.position, &path, Treatment::Enforced, "matches nothing");
        }
        _ => policy.enforced(fields.place("ports"), format!("{path}.ports")),
    }
    let beyond = rules(policy, place, &fields, &path, &ports)?;
    let tls = fields.get("terminatingTLS").is_some();
    for key in ["terminatingTLS", "originatingTLS"] {
        if fields.get(key).is_some() {
            policy.note(
                fields.place(key),
                format!("{path}.{key}"),
                Treatment::Refused,
                "TLS is taken apart by Cilium's proxy",
            );
        }
    }
    if fields.get("listener").is_some() {
        if place.direction == Direction::Ingress {
            return Err(Diagnostic::script("a `listener` is for egress").at(fields.place("listener")));
        }
        policy.note(fields.place("listener"), format!("{path}.listener"), Treatment::Refused, "there is no Envoy here");
    }
    let mut names = None;
    if !fields.list("serverNames")?.is_empty() {
        if beyond.is_some() && !tls {
            let message = "`serverNames` with rules beyond ports needs `terminatingTLS`";
            return Err(Diagnostic::script(message).at(fields.place("serverNames")));
        }
        let note = "names in TLS hellos are told, connections pass by port";
        names =
            Some(policy.note(fields.place("serverNames"), format!("{path}.serverNames"), Treatment::ObserveOnly, note));
    }
    Ok(ToPorts { ports, beyond: beyond.or(names) })
}

/// One item of `ports`: one port for each protocol it stands for.
fn one(policy: &mut Policy, node: &Node) -> Result<Vec<Port>, Diagnostic> {
    let fields = Fields::of(node, "a port", &["port", "endPort", "protocol"])?;
    let protocol = fields.get("protocol").map_or(Ok(0), |node| node.word("protocol", PROTOCOLS))?;
    let protocols = match Protocol::named(PROTOCOLS[protocol]) {
        Some(protocol) => vec![protocol],
        None => WITH_PORTS.to_vec(),
    };
    let port = fields.need("port")?;
    let text = port.text("port")?;
    let end = fields.get("endPort").map(|end| Ok((end, end.number("endPort", 0..=65535)? as u16)));
    let end = end.transpose()?.filter(|(_, last)| *last > 0);
    let number = if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        if port.is_number() {
            policy.warn(port.position, format!("the API server wants the port as a text: \"{text}\""));
        }
        let first = port.number("port", 0..=65535)? as u16;
        match end {
            Some((end, last)) if last < first => {
                return Err(end.wrong(format!("`endPort` {last} lies below `port` {first}")));
            }
            Some((end, _)) if first == 0 => return Err(end.wrong("port 0 means any port: it begins no range")),
            Some((_, last)) => Number::Range(first..=last),
            None if first == 0 => Number::Range(Service::EVERY_PORT),
            None => Number::Range(first..=first),
        }
    } else {
        if let Some((end, _)) = end {
            return Err(end.wrong("`endPort` needs a number as its `port`, not a name"));
        }
        Number::Named(name(port)?)
    };
    if let Some(protocol) = protocols.iter().find(|protocol| !protocol.has_ports())
        && number != Number::Range(Service::EVERY_PORT)
    {
        return Err(port.wrong(format!("{protocol} has no ports")).help("port: \"0\""));
    }
    Ok(protocols
        .into_iter()
        .map(|protocol| Port { protocol, number: number.clone(), position: port.position })
        .collect())
}

/// `rules`, which ask for more than ports; gives the element if they do.
fn rules(
    policy: &mut Policy,
    place: &Place<'_>,
    fields: &Fields<'_>,
    path: &str,
    ports: &[Port],
) -> Result<Option<usize>, Diagnostic> {
    let Some(node) = fields.get("rules") else { return Ok(None) };
    let rules = Fields::of(node, "`rules`", &["http", "kafka", "dns", "l7proto", "l7"])?;
    let at = rules.position;
    if place.action == Action::Deny {
        return Err(Diagnostic::script("a deny rule goes by addresses and ports only").at(fields.place("rules")));
    }
    let mut given = Vec::new();
    for kind in ["http", "kafka", "dns", "l7"] {
        if rules.get(kind).is_some() || (kind == "l7" && rules.get("l7proto").is_some()) {
            given.push((kind, rules.list(kind)?));
        }
    }
    let (kind, items) = match given[..] {
        [] => return Ok(None),
        [only] => only,
        _ => return Err(Diagnostic::script("a rule asks for one kind of requests only").help("two rules").at(at)),
    };
    if kind == "l7" {
        rules.need("l7proto")?;
    }
    for item in items {
        check(kind, item)?;
    }
    let position = rules.place(if rules.get(kind).is_some() { kind } else { "l7proto" });
    if kind == "dns" {
        dns(place, position, ports)?;
    } else {
        if let Some(port) = ports.iter().find(|port| port.protocol != Protocol::TCP) {
            return Err(Diagnostic::script(format!("`{kind}` rules need `protocol: TCP`")).at(port.position));
        }
        if ports.iter().any(|port| port.number == Number::Range(Service::EVERY_PORT)) || ports.is_empty() {
            return Err(Diagnostic::script(format!("`{kind}` rules need a port")).at(position));
        }
    }
    let path = format!("{path}.rules.{kind}");
    if items.iter().any(passes_all) || items.is_empty() {
        policy.note(position, path, Treatment::Enforced, "lets every request pass");
        return Ok(None);
    }
    let note = "requests are told, connections pass by port";
    Ok(Some(policy.note(position, path, Treatment::ObserveOnly, note)))
}

/// Names are asked for at port 53, of servers outside.
fn dns(place: &Place<'_>, position: Option<Position>, ports: &[Port]) -> Result<(), Diagnostic> {
    let wrong = |message: &str| Err(Diagnostic::script(message).at(position));
    if place.direction == Direction::Ingress {
        return wrong("`dns` rules are for egress");
    }
    if ports.is_empty() || ports.iter().any(|port| port.number == Number::Range(Service::EVERY_PORT)) {
        let error = Diagnostic::script("`dns` rules need a port").at(position);
        return Err(error.help("ports: [{port: \"53\", protocol: ANY}]"));
    }
    if ports.iter().any(|port| matches!(&port.number, Number::Range(range) if range.start() != range.end())) {
        return wrong("`dns` rules take no range of ports");
    }
    Ok(())
}

fn check(kind: &str, node: &Node) -> Result<(), Diagnostic> {
    match kind {
        "http" => {
            let fields = Fields::of(node, "an `http` rule", &["path", "method", "host", "headers", "headerMatches"])?;
            for item in fields.list("headerMatches")? {
                let known = ["name", "value", "secret", "mismatch"];
                let fields = Fields::of(item, "a header match", &known)?;
                if let Some(mismatch) = fields.get("mismatch") {
                    mismatch.word("mismatch", &["LOG", "ADD", "DELETE", "REPLACE"])?;
                }
            }
        }
        "kafka" => {
            Fields::of(node, "a `kafka` rule", &["role", "apiKey", "apiVersion", "clientID", "topic"])?;
        }
        "dns" => {
            Fields::of(node, "a `dns` rule", &["matchName", "matchPattern"])?;
        }
        _ => {
            node.entries("an `l7` rule")?;
        }
    }
    Ok(())
}

/// `{}`, or the pattern that any name matches.
fn passes_all(node: &Node) -> bool {
    match &node.value {
        Value::Map(entries) => match &entries[..] {
            [] => true,
            [(key, value)] => key.text == "matchPattern" && value.text("matchPattern").is_ok_and(|text| text == "*"),
            _ => false,
        },
        Value::Null => true,
        _ => false,
    }
}

/// `icmps`: types, by number or name.
pub fn icmps(node: &Node) -> Result<Vec<Port>, Diagnostic> {
    let mut ports = Vec::new();
    for item in node.list("icmps")? {
        let fields = Fields::of(item, "an item of `icmps`", &["fields"])?;
        let listed = fields.list("fields")?;
        if listed.len() > MOST {
            return Err(Diagnostic::script(format!("a rule has {MOST} ICMP fields at most")).at(fields.place("fields")));
        }
        for item in listed {
            let fields = Fields::of(item, "an ICMP field", &["family", "type"])?;
            let family = fields.get("family").map_or(Ok(0), |node| node.word("family", &["IPv4", "IPv6"]))?;
            let (family, protocol) = match family {
                0 => (Family::V4, Protocol::ICMP),
                _ => (Family::V6, Protocol::ICMPV6),
            };
            let code = icmp_type(fields.need("type")?, family)?;
            ports.push(Port::range(protocol, code..=code, item.position));
        }
    }
    Ok(ports)
}
