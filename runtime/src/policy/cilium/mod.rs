//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy of cilium.io/v2: what of them addresses and ports can say is
//! enforced, the rest is observed or refused by name.

mod icmp;
mod peers;
mod ports;

pub use icmp::{Family, icmp_type};

use super::fields::Fields;
use super::labels::{NAMESPACE, OF_NAMESPACE, Operator, Selector};
use super::metadata::Metadata;
use super::model::{Choice, Clause, Id, Kind, Policy, Scope, Subject, Treatment};
use super::rules::{Action, Direction};
use super::yaml::{Node, Value};
use crate::diagnostic::{Diagnostic, Position};

const SPEC: &[&str] = &[
    "endpointSelector",
    "nodeSelector",
    "ingress",
    "ingressDeny",
    "egress",
    "egressDeny",
    "enableDefaultDeny",
    "labels",
    "description",
    "log",
];

/// The lists of rules, in the order of the file's schema.
const SECTIONS: [(&str, Direction, Action); 4] = [
    ("ingress", Direction::Ingress, Action::Allow),
    ("ingressDeny", Direction::Ingress, Action::Deny),
    ("egress", Direction::Egress, Action::Allow),
    ("egressDeny", Direction::Egress, Action::Deny),
];

/// How long a `log.value` may be.
const LONGEST_LOG: usize = 32;

/// Reads one object: one policy for its `spec`, and one for each of its `specs`.
///
/// # Errors
/// A script diagnostic: unknown keys, and what Cilium would refuse.
pub fn read(node: &Node, kind: Kind) -> Result<Vec<Policy>, Diagnostic> {
    let what = format!("a {}", kind.name());
    let object = Fields::of(node, &what, &["apiVersion", "kind", "metadata", "spec", "specs", "status"])?;
    let metadata = Metadata::read(object)?;
    let namespace = (kind == Kind::CiliumNetworkPolicy).then(|| metadata.own_namespace());
    let mut labels = vec![
        format!("k8s:io.cilium.k8s.policy.derived-from={}", kind.name()),
        format!("k8s:io.cilium.k8s.policy.name={}", metadata.name),
    ];
    labels.extend(namespace.as_ref().map(|namespace| format!("k8s:io.cilium.k8s.policy.namespace={namespace}")));
    let id = Id { kind, name: metadata.name.into(), namespace, labels };
    let specs = object.get("spec").into_iter().chain(object.list("specs")?);
    let policies = specs.map(|spec| Spec { id: &id, path: String::new() }.read(spec)).collect::<Result<Vec<_>, _>>()?;
    if policies.is_empty() {
        return Err(Diagnostic::script(format!("{what} needs a `spec` or `specs`")).at(node.position));
    }
    Ok(policies)
}

struct Spec<'a> {
    id: &'a Id,
    /// Of the rule that is read.
    path: String,
}

/// A rule, and where it stands.
struct Place<'a> {
    fields: Fields<'a>,
    path: String,
    direction: Direction,
    action: Action,
}

impl Spec<'_> {
    fn read(mut self, node: &Node) -> Result<Policy, Diagnostic> {
        let spec = Fields::of(node, "a policy's `spec`", SPEC)?;
        let subject = self.subject(&spec)?;
        let mut policy = Policy::new(self.id.clone(), node.position, subject);
        match policy.subject {
            Subject::Nobody => {
                let note = "the node itself is not guarded";
                policy.note(spec.place("nodeSelector"), "nodeSelector", Treatment::Refused, note);
            }
            _ => policy.enforced(spec.place("endpointSelector"), "endpointSelector"),
        }
        if let Some(named) = spec.get("endpointSelector").and_then(|node| self.other_namespace(node)) {
            let message = format!("the selector's namespace `{named}` gives way to the policy's own");
            policy.warn(spec.place("endpointSelector"), message);
        }
        let mut rules = 0;
        for (name, direction, action) in SECTIONS {
            let listed = spec.list(name)?;
            rules += listed.len();
            if listed.is_empty() && spec.find(name).is_some() {
                policy.warn(spec.place(name), format!("`{name}` without rules has no effect; `[{{}}]` would deny"));
                policy.note(spec.place(name), name, Treatment::Enforced, "no effect");
            }
            policy.part_mut(direction).isolates |= !listed.is_empty();
            for (n, node) in listed.iter().enumerate() {
                self.path = format!("{name}[{n}]");
                self.rule(&mut policy, node, direction, action)?;
            }
        }
        if rules == 0 {
            let error =
                Diagnostic::script("a policy needs a rule in `ingress`, `ingressDeny`, `egress` or `egressDeny`");
            return Err(error.help("ingress: [{}]      (lets nothing in)").at(node.position));
        }
        default_deny(&mut policy, &spec)?;
        self.labels_and_log(&mut policy, &spec)?;
        Ok(policy)
    }

    fn subject(&self, spec: &Fields<'_>) -> Result<Subject, Diagnostic> {
        match (spec.get("endpointSelector"), spec.get("nodeSelector")) {
            (Some(_), Some(node)) => {
                Err(Diagnostic::script("a policy has an `endpointSelector` or a `nodeSelector`, not both")
                    .at(node.position))
            }
            (None, None) => Err(Diagnostic::script("a policy needs an `endpointSelector`")
                .help("endpointSelector: {}")
                .at(spec.position)),
            (None, Some(node)) if self.id.namespace.is_some() => {
                let error = Diagnostic::script("`nodeSelector` belongs in a CiliumClusterwideNetworkPolicy");
                Err(error.at(spec.place("nodeSelector").or(node.position)))
            }
            (None, Some(node)) => {
                Selector::read(node, "`nodeSelector`")?;
                Ok(Subject::Nobody)
            }
            (Some(node), None) => {
                let mut labels = Selector::read(node, "`endpointSelector`")?;
                let scope = match &self.id.namespace {
                    Some(namespace) => {
                        labels.0.retain(|requirement| requirement.key != NAMESPACE);
                        Scope::Namespace(namespace.clone())
                    }
                    None => Scope::Namespaced,
                };
                Ok(Subject::Endpoints(Choice { labels, scope }))
            }
        }
    }

    /// The namespace that the endpoint selector names, where it is not the policy's.
    fn other_namespace(&self, node: &Node) -> Option<String> {
        let own = self.id.namespace.as_ref()?;
        let selector = Selector::read(node, "`endpointSelector`").ok()?;
        let named = selector.0.into_iter().find(|requirement| requirement.key == NAMESPACE)?;
        let same = named.operator == Operator::In && named.values == [own.clone()];
        (!same).then(|| named.values.join(","))
    }

    /// Endpoints that a peer's selector chooses: of the policy's namespace, unless it speaks of namespaces itself.
    fn choice(&self, labels: Selector) -> Choice {
        let speaks = labels.has(|key| key == NAMESPACE || key.starts_with(OF_NAMESPACE));
        let scope = match &self.id.namespace {
            Some(namespace) if !speaks => Scope::Namespace(namespace.clone()),
            _ => Scope::Namespaced,
        };
        Choice { labels, scope }
    }

    fn rule(&self, policy: &mut Policy, node: &Node, direction: Direction, action: Action) -> Result<(), Diagnostic> {
        let side = if direction == Direction::Ingress { "from" } else { "to" };
        let kinds = peers::KINDS.iter().filter(|kind| kind.belongs(direction, action));
        let mut known: Vec<String> = kinds.map(|kind| format!("{side}{}", kind.name)).collect();
        known.extend([format!("{side}Requires"), "toPorts".into(), "icmps".into()]);
        let known: Vec<&str> =
            known.iter().map(String::as_str).chain((action == Action::Allow).then_some("authentication")).collect();
        if node.value == Value::Map(Vec::new()) || node.value == Value::Null {
            if action == Action::Allow {
                policy.warn(node.position, "`{}` lets nothing pass here; in a NetworkPolicy it lets everything pass");
            }
            policy.note(node.position, &self.path, Treatment::Enforced, "matches nothing");
            return Ok(());
        }
        let what = if action == Action::Deny { "a deny rule" } else { "a rule" };
        let fields = Fields::of(node, what, &known)?;
        let place = Place { fields, path: self.path.clone(), direction, action };
        let who = peers::read(self, policy, &place)?;
        self.authentication(policy, &place)?;
        let position = node.position;
        let (to_ports, icmps) = (fields.get("toPorts"), fields.get("icmps"));
        if to_ports.is_some() && icmps.is_some() {
            return Err(Diagnostic::script("`icmps` and `toPorts` do not go together")
                .help("two rules")
                .at(fields.place("icmps")));
        }
        let clause = |ports| Clause::new(position, action, who.clone(), ports);
        if let Some(icmps) = icmps {
            let ports = ports::icmps(icmps)?;
            policy.enforced(fields.place("icmps"), format!("{}.icmps", place.path));
            policy.part_mut(direction).clauses.push(clause(Some(ports)));
            return Ok(());
        }
        let listed = fields.list("toPorts")?;
        if listed.is_empty() {
            policy.part_mut(direction).clauses.push(clause(None));
        }
        for (n, item) in listed.iter().enumerate() {
            let read = ports::read(policy, &place, item, n)?;
            let mut clause = clause(Some(read.ports));
            clause.beyond = read.beyond;
            policy.part_mut(direction).clauses.push(clause);
        }
        Ok(())
    }

    fn authentication(&self, policy: &mut Policy, place: &Place<'_>) -> Result<(), Diagnostic> {
        let Some(node) = place.fields.get("authentication") else { return Ok(()) };
        let fields = Fields::of(node, "`authentication`", &["mode"])?;
        let mode = fields.need("mode")?.word("mode", &["disabled", "required", "test-always-fail"])?;
        let (treatment, note) = match mode {
            0 => (Treatment::Enforced, ""),
            _ => (Treatment::Refused, "who is who is proved by Cilium's agents"),
        };
        policy.note(place.fields.place("authentication"), format!("{}.authentication", place.path), treatment, note);
        Ok(())
    }

    fn labels_and_log(&self, policy: &mut Policy, spec: &Fields<'_>) -> Result<(), Diagnostic> {
        for item in spec.list("labels")? {
            Fields::of(item, "a label", &["key", "value", "source"])?.need("key")?;
        }
        spec.text("description")?;
        if let Some(node) = spec.get("log") {
            let node = Fields::of(node, "`log`", &["value"])?.need("value")?;
            let value = node.text("value")?;
            if value.chars().count() > LONGEST_LOG {
                return Err(node.wrong(format!("a log value has {LONGEST_LOG} characters at most")));
            }
            policy.log = Some(value.to_owned());
            policy.enforced(spec.place("log"), "log");
        }
        Ok(())
    }
}

fn default_deny(policy: &mut Policy, spec: &Fields<'_>) -> Result<(), Diagnostic> {
    let Some(node) = spec.get("enableDefaultDeny") else { return Ok(()) };
    let fields = Fields::of(node, "`enableDefaultDeny`", &["ingress", "egress"])?;
    for direction in Direction::BOTH {
        if let Some(node) = fields.get(direction.name()) {
            policy.part_mut(direction).isolates = node.truth(direction.name())?;
        }
    }
    policy.enforced(spec.place("enableDefaultDeny"), "enableDefaultDeny");
    Ok(())
}

impl Place<'_> {
    fn at(&self, key: &str) -> (Option<Position>, String) {
        (self.fields.place(key), format!("{}.{key}", self.path))
    }
}
