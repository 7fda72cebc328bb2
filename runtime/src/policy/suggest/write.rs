//! Suggested policies as YAML.

use super::{Form, Group, Needs, Other, Service, Suggested};
use crate::network::cidr::Cidr;
use crate::network::protocol::Protocol;
use crate::policy::labels::{NAMESPACE, Operator, Requirement, Selector};
use crate::policy::rules::Direction;
use std::collections::{BTreeMap, BTreeSet};

/// How many ports one item of Cilium's `toPorts` may have.
const MOST_PORTS: usize = 40;

/// Peers that need the same, of one kind: kinds do not mix in one of Cilium's rules.
type Rules = BTreeMap<(u8, BTreeSet<Service>), Vec<Other>>;

fn rules(needs: &Needs) -> Rules {
    let mut rules = Rules::new();
    for (other, services) in needs {
        let kind = match other {
            Other::Group(_) => 0,
            Other::Entity(_) => 1,
            Other::Address(_) => 2,
        };
        // ICMP and ports are two rules in Cilium's.
        let (icmp, ports): (BTreeSet<Service>, BTreeSet<Service>) =
            services.iter().copied().partition(|(protocol, _)| protocol.is_icmp());
        for services in [ports, icmp] {
            if !services.is_empty() {
                rules.entry((kind, services)).or_default().push(other.clone());
            }
        }
    }
    rules
}

impl Suggested<'_> {
    pub fn write(&self, form: Form, groups: &BTreeSet<Group>, out: &mut String) {
        if !out.is_empty() {
            *out += "---\n";
        }
        let (api, kind, selects) = match form {
            Form::Cilium => ("cilium.io/v2", "CiliumNetworkPolicy", "endpointSelector"),
            Form::Kubernetes => ("networking.k8s.io/v1", "NetworkPolicy", "podSelector"),
        };
        let mut lines = Lines { out, depth: 0 };
        lines.put(&format!("apiVersion: {api}"));
        lines.put(&format!("kind: {kind}"));
        lines.put("metadata:");
        lines.put(&format!("  name: {}", scalar(&self.name)));
        lines.put(&format!("  namespace: {}", scalar(&self.group.namespace)));
        lines.put("spec:");
        lines.depth = 1;
        lines.selector(&format!("{selects}:"), &self.selector);
        match form {
            Form::Cilium => lines.put("enableDefaultDeny: {ingress: true, egress: true}"),
            Form::Kubernetes => lines.put("policyTypes: [Ingress, Egress]"),
        }
        for (direction, needs) in Direction::BOTH.into_iter().zip(self.needs) {
            if needs.is_empty() {
                continue;
            }
            lines.put(&format!("{}:", direction.name()));
            for ((_, services), others) in rules(needs) {
                match form {
                    Form::Cilium => self.cilium(&mut lines, direction, &services, &others, groups),
                    Form::Kubernetes => self.kubernetes(&mut lines, direction, &services, &others, groups),
                }
            }
        }
    }

    fn cilium(
        &self,
        lines: &mut Lines<'_>,
        direction: Direction,
        services: &BTreeSet<Service>,
        others: &[Other],
        groups: &BTreeSet<Group>,
    ) {
        let side = if direction == Direction::Ingress { "from" } else { "to" };
        match others.first() {
            Some(Other::Group(_)) => {
                lines.put(&format!("- {side}Endpoints:"));
                lines.depth += 1;
                for other in others {
                    let Other::Group(group) = other else { continue };
                    let mut selector = group.selector(groups);
                    if group.namespace != self.group.namespace {
                        selector.0.push(named(&format!("k8s:{NAMESPACE}"), &group.namespace));
                    }
                    lines.selector("-", &selector);
                }
                lines.depth -= 1;
            }
            Some(Other::Entity(_)) => {
                let names = others.iter().filter_map(|other| match other {
                    Other::Entity(name) => Some(*name),
                    _ => None,
                });
                lines.put(&format!("- {side}Entities: [{}]", names.collect::<Vec<_>>().join(", ")));
            }
            _ => {
                lines.put(&format!("- {side}CIDR:"));
                for other in others {
                    if let Other::Address(address) = other {
                        lines.put(&format!("  - {}", scalar(&Cidr::host(*address).to_string())));
                    }
                }
            }
        }
        lines.depth += 1;
        let services: Vec<Service> = services.iter().copied().collect();
        let icmp = services.first().is_some_and(|(protocol, _)| protocol.is_icmp());
        lines.put(if icmp { "icmps:" } else { "toPorts:" });
        for part in services.chunks(MOST_PORTS) {
            lines.put(if icmp { "- fields:" } else { "- ports:" });
            for (protocol, port) in part {
                lines.put(&match *protocol {
                    Protocol::ICMP => format!("  - {{family: IPv4, type: {port}}}"),
                    Protocol::ICMPV6 => format!("  - {{family: IPv6, type: {port}}}"),
                    _ => format!("  - {{port: \"{port}\", protocol: {}}}", protocol.to_string().to_ascii_uppercase()),
                });
            }
        }
        lines.depth -= 1;
    }

    fn kubernetes(
        &self,
        lines: &mut Lines<'_>,
        direction: Direction,
        services: &BTreeSet<Service>,
        others: &[Other],
        groups: &BTreeSet<Group>,
    ) {
        lines.put(if direction == Direction::Ingress { "- from:" } else { "- to:" });
        lines.depth += 1;
        for other in others {
            match other {
                Other::Group(group) => {
                    let mut first = "- ";
                    if group.namespace != self.group.namespace {
                        let labels = Selector(vec![named("kubernetes.io/metadata.name", &group.namespace)]);
                        lines.selector("- namespaceSelector:", &labels);
                        first = "  ";
                    }
                    lines.selector(&format!("{first}podSelector:"), &group.selector(groups));
                }
                Other::Address(address) => {
                    lines.put(&format!("- ipBlock: {{cidr: {}}}", scalar(&Cidr::host(*address).to_string())));
                }
                Other::Entity(_) => {}
            }
        }
        lines.put("ports:");
        for (protocol, port) in services {
            lines.put(&format!("- {{port: {port}, protocol: {}}}", protocol.to_string().to_ascii_uppercase()));
        }
        lines.depth -= 1;
    }
}

fn named(key: &str, value: &str) -> Requirement {
    Requirement { key: key.to_owned(), operator: Operator::In, values: vec![value.to_owned()] }
}

struct Lines<'a> {
    out: &'a mut String,
    depth: usize,
}

impl Lines<'_> {
    fn put(&mut self, line: &str) {
        *self.out += &"  ".repeat(self.depth);
        *self.out += line;
        self.out.push('\n');
    }

    /// A selector behind `head`, which ends in `:` or is a dash.
    fn selector(&mut self, head: &str, selector: &Selector) {
        let mut parts = Vec::new();
        let labels: Vec<String> = selector
            .0
            .iter()
            .filter(|requirement| requirement.operator == Operator::In)
            .map(|requirement| format!("{}: {}", scalar(&requirement.key), scalar(&requirement.values.join(","))))
            .collect();
        if !labels.is_empty() {
            parts.push(format!("matchLabels: {{{}}}", labels.join(", ")));
        }
        let absent: Vec<String> = selector
            .0
            .iter()
            .filter(|requirement| requirement.operator == Operator::DoesNotExist)
            .map(|requirement| format!("{{key: {}, operator: DoesNotExist}}", scalar(&requirement.key)))
            .collect();
        if !absent.is_empty() {
            parts.push(format!("matchExpressions: [{}]", absent.join(", ")));
        }
        self.put(&format!("{head} {{{}}}", parts.join(", ")));
    }
}

/// As YAML reads it back: quoted wherever something else than a text could be meant.
fn scalar(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    let lower = text.to_ascii_lowercase();
    let meant = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"].contains(&lower.as_str());
    if plain && !meant { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
