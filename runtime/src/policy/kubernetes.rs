//! NetworkPolicy of networking.k8s.io/v1, and Calico's staged twin of it.

use super::fields::Fields;
use super::labels::Selector;
use super::metadata::Metadata;
use super::model::{Choice, Clause, Id, Kind, Number, Peer, Policy, Port, Scope, Subject, Treatment, Who};
use super::rules::{Action, Direction, Prefix, Service};
use super::yaml::{Node, Value};
use crate::diagnostic::Diagnostic;
use crate::network::protocol::Protocol;

const PROTOCOLS: &[&str] = &["TCP", "UDP", "SCTP"];

/// Reads one object.
///
/// # Errors
/// A script diagnostic: unknown keys, and what the API server would refuse.
pub fn read(node: &Node, kind: Kind) -> Result<Policy, Diagnostic> {
    let object = Fields::of(node, "a NetworkPolicy", &["apiVersion", "kind", "metadata", "spec", "status"])?;
    let metadata = Metadata::read(object)?;
    let staged = kind == Kind::StagedNetworkPolicy;
    let mut known = vec!["podSelector", "policyTypes", "ingress", "egress"];
    if staged {
        known.push("stagedAction");
    }
    let spec = Fields::of(object.need("spec")?, "a NetworkPolicy's `spec`", &known)?;
    let namespace = metadata.own_namespace();
    let labels = spec.get("podSelector").map(|node| Selector::read(node, "`podSelector`")).transpose()?;
    let choice = Choice { labels: labels.unwrap_or_default(), scope: Scope::Namespace(namespace.clone()) };
    let id = Id {
        kind,
        labels: vec![
            format!("k8s:io.cilium.k8s.policy.derived-from={}", kind.name()),
            format!("k8s:io.cilium.k8s.policy.name={}", metadata.name),
            format!("k8s:io.cilium.k8s.policy.namespace={namespace}"),
        ],
        name: metadata.name.into(),
        namespace: Some(namespace.clone()),
    };
    let mut policy = Policy::new(id, node.position, Subject::Endpoints(choice));
    policy.staged = staged;
    if staged {
        policy.note(object.place("kind"), "kind", Treatment::ObserveOnly, "staged: judged and told, never enforced");
    }
    if spec.get("podSelector").is_some() {
        policy.enforced(spec.place("podSelector"), "podSelector");
    }
    for direction in types(&spec)? {
        policy.part_mut(direction).isolates = true;
        part(&mut policy, &spec, direction, &namespace)?;
    }
    for direction in Direction::BOTH {
        let unused = !policy.part(direction).isolates && !spec.list(direction.name())?.is_empty();
        if unused {
            let message = format!("`policyTypes` leaves `{}` out: its rules have no effect", direction.name());
            policy.warn(spec.place(direction.name()), message);
        }
    }
    Ok(policy)
}

/// The directions that it isolates.
fn types(spec: &Fields<'_>) -> Result<Vec<Direction>, Diagnostic> {
    let listed = spec.list("policyTypes")?;
    if listed.is_empty() {
        let egress = spec.list("egress")?.first().map(|_| Direction::Egress);
        return Ok([Direction::Ingress].into_iter().chain(egress).collect());
    }
    let mut types = Vec::new();
    for item in listed {
        let direction = Direction::BOTH[item.word("policyTypes", &["Ingress", "Egress"])?];
        if !types.contains(&direction) {
            types.push(direction);
        }
    }
    Ok(types)
}

fn part(policy: &mut Policy, spec: &Fields<'_>, direction: Direction, namespace: &str) -> Result<(), Diagnostic> {
    let (name, peers) = match direction {
        Direction::Ingress => ("ingress", "from"),
        Direction::Egress => ("egress", "to"),
    };
    let rules = spec.list(name)?;
    if rules.is_empty() {
        let said = if spec.find(name).is_some() { "`[]` or null" } else { "a direction without rules" };
        policy.note(spec.place(name), name, Treatment::Enforced, "isolates: nothing may pass");
        if spec.find(name).is_some() {
            policy.warn(spec.place(name), format!("{said} lets nothing pass; `[{{}}]` would let everything pass"));
        }
    }
    for (n, node) in rules.iter().enumerate() {
        let path = format!("{name}[{n}]");
        if node.value == Value::Map(Vec::new()) || node.value == Value::Null {
            policy.warn(node.position, "`{}` lets everything pass here; in a CiliumNetworkPolicy it lets nothing pass");
            policy.note(node.position, &path, Treatment::Enforced, "everybody, on every port");
            policy.part_mut(direction).clauses.push(Clause::new(node.position, Action::Allow, Who::Anyone, None));
            continue;
        }
        let fields = Fields::of(node, "a rule", &[peers, "ports"])?;
        let mut who = Vec::new();
        for item in fields.list(peers)? {
            who.push(peer(item, namespace)?);
        }
        if fields.find(peers).is_some() {
            if who.is_empty() {
                policy.warn(fields.place(peers), format!("an empty `{peers}` means anybody, not nobody"));
            }
            policy.enforced(fields.place(peers), format!("{path}.{peers}"));
        }
        let who = if who.is_empty() { Who::Anyone } else { Who::Of(who) };
        let ports = fields.list("ports")?.iter().map(port).collect::<Result<Vec<_>, _>>()?;
        if fields.find("ports").is_some() {
            policy.enforced(fields.place("ports"), format!("{path}.ports"));
        }
        let ports = (!ports.is_empty()).then_some(ports);
        policy.part_mut(direction).clauses.push(Clause::new(node.position, Action::Allow, who, ports));
    }
    Ok(())
}

fn peer(node: &Node, namespace: &str) -> Result<Peer, Diagnostic> {
    let fields = Fields::of(node, "a peer", &["podSelector", "namespaceSelector", "ipBlock"])?;
    let selector = |name: &str| fields.get(name).map(|node| Selector::read(node, &format!("`{name}`"))).transpose();
    let (pods, namespaces) = (selector("podSelector")?, selector("namespaceSelector")?);
    if let Some(block) = fields.get("ipBlock") {
        if pods.is_some() || namespaces.is_some() {
            let error = Diagnostic::script("a peer is an `ipBlock` or selectors, not both").at(fields.place("ipBlock"));
            return Err(error.help("two peers: one with the `ipBlock`, one with the selectors"));
        }
        let fields = Fields::of(block, "an `ipBlock`", &["cidr", "except"])?;
        return Ok(Peer::Outside(prefix(fields, fields.need("cidr")?)?));
    }
    let scope = match (namespaces, &pods) {
        (Some(labels), _) => Scope::Namespaces(labels),
        (None, Some(_)) => Scope::Namespace(namespace.to_owned()),
        (None, None) => {
            let message = "a peer needs a `podSelector`, a `namespaceSelector` or an `ipBlock`";
            return Err(Diagnostic::script(message).at(node.position));
        }
    };
    Ok(Peer::Endpoints(Choice { labels: pods.unwrap_or_default(), scope }, node.position))
}

/// `cidr` and `except`, as `ipBlock` and Cilium's CIDR sets have them: with a length, and exceptions inside of it.
///
/// # Errors
/// A script diagnostic: no prefix, or an exception outside of it.
pub fn prefix(fields: Fields<'_>, node: &Node) -> Result<Prefix, Diagnostic> {
    let cidr = node.cidr("cidr")?;
    let text = node.text("cidr")?;
    if !text.contains('/') {
        return Err(node.wrong(format!("`{text}` is an address, not a prefix")).help(cidr.to_string()));
    }
    let mut except = Vec::new();
    for item in fields.list("except")? {
        let inner = item.cidr("except")?;
        if !cidr.covers(inner) || inner == cidr {
            return Err(item.wrong(format!("`except` `{inner}` does not lie inside of `{cidr}`")));
        }
        except.push(inner);
    }
    Ok(Prefix { cidr, except })
}

fn port(node: &Node) -> Result<Port, Diagnostic> {
    let fields = Fields::of(node, "a port", &["protocol", "port", "endPort"])?;
    let protocol = fields.get("protocol").map_or(Ok(0), |node| node.word("protocol", PROTOCOLS))?;
    let protocol = [Protocol::TCP, Protocol::UDP, Protocol::SCTP][protocol];
    let end = fields.get("endPort");
    let number = match (fields.get("port"), end) {
        (None, None) => Number::Range(Service::EVERY_PORT),
        (None, Some(end)) => return Err(end.wrong("`endPort` needs a `port`")),
        (Some(port), end) if port.is_number() => {
            let first = port.number("port", 1..=65535)? as u16;
            let last = end.map_or(Ok(u64::from(first)), |end| end.number("endPort", 1..=65535))? as u16;
            match end {
                Some(end) if last < first => {
                    return Err(end.wrong(format!("`endPort` {last} lies below `port` {first}")));
                }
                _ => Number::Range(first..=last),
            }
        }
        (Some(_), Some(end)) => return Err(end.wrong("`endPort` needs a number as its `port`, not a name")),
        (Some(port), None) if port.text("port")?.parse::<u16>().is_ok() => {
            return Err(port.wrong("a port's number is not quoted here; quoted it would be a name"));
        }
        (Some(port), None) => Number::Named(name(port)?),
    };
    Ok(Port { protocol, number, position: fields.place("port") })
}

/// A port's name, lower-cased.
///
/// # Errors
/// A script diagnostic: no name of IANA's form (letters, digits and hyphens, a letter among them, 15 at most).
pub fn name(node: &Node) -> Result<String, Diagnostic> {
    let text = node.text("port")?;
    let right = (1..=15).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--");
    match right {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(node.wrong(format!("`{text}` is no port, nor the name of one"))),
    }
}
