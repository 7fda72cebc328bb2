//! The least that flows which were seen need: default deny, then exactly what they used.

pub mod observed;
mod write;

use self::observed::{Flow, Observed};
use super::inventory::{Endpoint, Inventory};
use super::labels::{Labels, Operator, Requirement, Selector};
use super::rules::Direction;
use crate::network::cidr::Cidr;
use crate::network::protocol::Protocol;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Cilium,
    Kubernetes,
}

/// Policies as YAML, and what they leave out.
#[derive(Clone, Debug, Default)]
pub struct Suggestion {
    pub yaml: String,
    pub notes: Vec<String>,
}

/// Endpoints that policies cannot tell apart: of one namespace, with the same labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    namespace: String,
    labels: BTreeMap<String, String>,
}

/// The other end of a flow, as a policy can name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Other {
    Group(Group),
    Entity(&'static str),
    Address(IpAddr),
}

/// A protocol and a port or type.
type Service = (Protocol, u16);

/// What one group needs in one direction: with whom, and for what.
type Needs = BTreeMap<Other, BTreeSet<Service>>;

/// A policy to be written.
struct Suggested<'a> {
    name: String,
    group: &'a Group,
    selector: Selector,
    needs: [&'a Needs; 2],
}

/// Policies that let exactly the flows of `observed` pass, for each group of endpoints that has some. An inventory says
/// who is who; without one, the log's own labels do.
pub fn suggest(observed: &Observed, inventory: Option<&Inventory>, form: Form) -> Suggestion {
    let known = inventory.unwrap_or(&observed.seen);
    let mut suggestion = Suggestion::default();
    let mut needs: BTreeMap<Group, [Needs; 2]> = BTreeMap::new();
    let mut unnamed: BTreeSet<String> = BTreeSet::new();
    for flow in &observed.flows {
        let ends =
            [(Direction::Ingress, flow.destination, flow.source), (Direction::Egress, flow.source, flow.destination)];
        for (direction, own, other) in ends {
            let Some(group) = known.owner(own).and_then(Group::of) else { continue };
            match Other::of(other, known, form, direction).filter(|_| form.names(flow)) {
                Some(Some(other)) => {
                    let needs = &mut needs.entry(group).or_default()[direction as usize];
                    needs.entry(other).or_default().insert((flow.protocol, flow.port));
                }
                // It passes anyway; the policy is there nevertheless.
                Some(None) => {
                    needs.entry(group).or_default();
                }
                None => {
                    unnamed.insert(format!("{} -> {} {}/{}", flow.source, flow.destination, flow.protocol, flow.port));
                }
            }
        }
    }
    let mut names = BTreeSet::new();
    let groups: BTreeSet<Group> = known.endpoints.iter().filter_map(Group::of).collect();
    for (group, needs) in &needs {
        let suggested = Suggested {
            name: group.name(&mut names),
            group,
            selector: group.selector(&groups),
            needs: [&needs[0], &needs[1]],
        };
        suggested.write(form, &groups, &mut suggestion.yaml);
    }
    let silent = groups.iter().filter(|group| !needs.contains_key(group)).count();
    suggestion.notes = notes(observed, silent, &unnamed, form);
    suggestion
}

fn notes(observed: &Observed, silent: usize, unnamed: &BTreeSet<String>, form: Form) -> Vec<String> {
    let mut notes = Vec::new();
    let mut told = |count: usize, what: &str| {
        if count > 0 {
            notes.push(format!("{what}: {count}"));
        }
    };
    told(observed.dropped.len(), "flows that were dropped, and are not allowed");
    told(observed.undirected, "lines that do not say who began, and are left out");
    told(observed.other, "lines that a policy cannot go by (requests, sockets, fragments)");
    told(silent, "kinds of endpoints without flows, which stay without a policy");
    for flow in unnamed {
        let kind = if form == Form::Cilium { "CiliumNetworkPolicy" } else { "NetworkPolicy" };
        notes.push(format!("no {kind} can name {flow}: it would be dropped"));
    }
    notes
}

impl Form {
    fn names(self, flow: &Flow) -> bool {
        self == Form::Cilium || flow.protocol.has_ports()
    }
}

impl Other {
    /// `None`: it cannot be named; `Some(None)`: it passes anyway.
    fn of(address: IpAddr, inventory: &Inventory, form: Form, direction: Direction) -> Option<Option<Other>> {
        if let Some(endpoint) = inventory.owner(address) {
            return Some(Some(Other::Group(Group::of(endpoint)?)));
        }
        let lies = |list: &Option<Vec<Cidr>>| list.iter().flatten().any(|cidr| cidr.contains(address));
        let entity = |name| (form == Form::Cilium).then_some(Some(Other::Entity(name)));
        if lies(&inventory.host) {
            let passes = form == Form::Kubernetes && direction == Direction::Ingress;
            return if passes { Some(None) } else { entity("host") };
        }
        if lies(&inventory.remote_nodes) {
            return entity("remote-node");
        }
        // One address of it; the entity would be all that are no endpoint's.
        if lies(&inventory.cluster) {
            return None;
        }
        if form == Form::Cilium && lies(&inventory.kube_apiserver) {
            return entity("kube-apiserver");
        }
        Some(Some(Other::Address(address)))
    }
}

impl Group {
    /// `None`: in no namespace, where no policy reaches it.
    fn of(endpoint: &Endpoint) -> Option<Group> {
        Some(Group { namespace: endpoint.namespace.clone()?, labels: endpoint.labels.0.clone() })
    }

    /// A name for its policy that no other has.
    fn name(&self, taken: &mut BTreeSet<(String, String)>) -> String {
        let app = ["app", "k8s-app", "app.kubernetes.io/name", "name"].iter().find_map(|key| self.labels.get(*key));
        let value = app.or_else(|| self.labels.values().next()).map_or("unlabelled", String::as_str);
        let base: String =
            value.to_ascii_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let base = base.trim_matches('-');
        let base = if base.is_empty() { "policy" } else { base };
        let numbered = (2..).map(|n| format!("{base}-{n}"));
        let mut names = std::iter::once(base.to_owned()).chain(numbered);
        names.find(|name| taken.insert((self.namespace.clone(), name.clone()))).unwrap_or_default()
    }

    /// The fewest requirements that select it, and none of the others in its namespace.
    fn selector(&self, groups: &BTreeSet<Group>) -> Selector {
        let others: Vec<&Group> =
            groups.iter().filter(|group| group.namespace == self.namespace && *group != self).collect();
        let alone = |selector: &Selector| !others.iter().any(|group| selector.matches(&Labels(group.labels.clone())));
        let exactly = |pairs: &[(&String, &String)]| {
            let one = |(key, value): &(&String, &String)| Requirement {
                key: (*key).clone(),
                operator: Operator::In,
                values: vec![(*value).clone()],
            };
            Selector(pairs.iter().map(one).collect())
        };
        let mut pairs: Vec<(&String, &String)> = self.labels.iter().collect();
        // What people call things by, first.
        pairs.sort_by_key(|(key, _)| !["app", "k8s-app", "app.kubernetes.io/name"].contains(&key.as_str()));
        let single = pairs.iter().map(|pair| exactly(&[*pair]));
        let double =
            pairs.iter().enumerate().flat_map(|(n, first)| pairs[n + 1..].iter().map(move |second| [*first, *second]));
        let found = single.chain(double.map(|pair| exactly(&pair))).find(&alone);
        found.unwrap_or_else(|| {
            let mut selector = exactly(&pairs);
            // Others have all of its labels, and more: those it has not.
            while let Some(other) = others.iter().find(|group| selector.matches(&Labels(group.labels.clone()))) {
                let Some(key) = other.labels.keys().find(|key| !self.labels.contains_key(*key)) else { break };
                selector.0.push(Requirement { key: key.clone(), operator: Operator::DoesNotExist, values: Vec::new() });
            }
            selector
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Report;
    use super::super::resolve::resolve;
    use super::super::rules::{Action, Packet};
    use super::super::suite::Suite;
    use super::*;
    use crate::library::Script;

    fn inventory() -> Inventory {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/policies/inventory.yaml");
        Inventory::parse(&std::fs::read_to_string(path).expect("the fixture is there")).expect("it is right")
    }

    fn flow(source: &str, destination: &str, protocol: Protocol, port: u16) -> Flow {
        let address = |text: &str| text.parse().expect("it is an address");
        Flow { source: address(source), destination: address(destination), protocol, port }
    }

    /// Every pair of addresses with every service that was seen anywhere: what was seen passes, nothing else does.
    fn exact(flows: &[Flow], form: Form) {
        let inventory = inventory();
        let observed = Observed { flows: flows.iter().cloned().collect(), ..Observed::default() };
        let suggestion = suggest(&observed, Some(&inventory), form);
        assert_eq!(
            suggestion.notes.iter().filter(|note| note.contains("can name")).count(),
            0,
            "{:?}",
            suggestion.notes
        );
        let mut suite = Suite::new();
        suite.add(Script { name: "suggested.yaml".into(), text: suggestion.yaml.clone().into() });
        suite.inventory = Some(inventory.clone());
        let report = Report::of(suite);
        assert!(report.is_good(), "{:?} {:?}\n{}", report.errors, report.cases, suggestion.yaml);
        let policies = &report.cases[0].policies;
        let targets = resolve(policies, &inventory).expect("it resolves").targets;
        let addresses: BTreeSet<IpAddr> = flows.iter().flat_map(|flow| [flow.source, flow.destination]).collect();
        let services: BTreeSet<Service> = flows.iter().map(|flow| (flow.protocol, flow.port)).collect();
        let judge = |own: IpAddr, direction: Direction, peer: IpAddr, (protocol, port): Service| {
            let target = targets.iter().find(|target| target.addresses.contains(&own))?;
            Some(target.view.rules.judge(&Packet { direction, peer, protocol, port: Some(port) }).action)
        };
        for source in &addresses {
            for destination in addresses.iter().filter(|other| *other != source) {
                for (protocol, port) in &services {
                    let sides = [
                        judge(*source, Direction::Egress, *destination, (*protocol, *port)),
                        judge(*destination, Direction::Ingress, *source, (*protocol, *port)),
                    ];
                    let known = sides.iter().flatten().count() > 0;
                    let passes = sides.iter().flatten().all(|action| *action == Action::Allow);
                    let one = Flow { source: *source, destination: *destination, protocol: *protocol, port: *port };
                    let host = inventory.host.iter().flatten().any(|cidr| cidr.contains(*source));
                    let expected = flows.contains(&one) || host;
                    assert!(!known || passes == expected, "{one:?} {sides:?}\n{}", suggestion.yaml);
                }
            }
        }
    }

    #[test]
    fn suggestion_lets_pass_what_was_seen_and_nothing_else() {
        let mut flows = vec![
            flow("10.9.0.2", "10.9.0.3", Protocol::TCP, 80),
            flow("10.9.0.2", "10.9.0.3", Protocol::TCP, 81),
            flow("10.9.0.6", "10.9.0.3", Protocol::TCP, 80),
            flow("10.9.0.3", "10.9.0.5", Protocol::TCP, 5432),
            flow("10.9.0.2", "10.9.0.3", Protocol::UDP, 53),
            flow("198.51.100.7", "10.9.0.3", Protocol::TCP, 443),
            flow("10.9.0.7", "198.51.100.8", Protocol::TCP, 443),
            flow("10.9.0.4", "203.0.113.5", Protocol::UDP, 123),
            flow("10.9.0.1", "10.9.0.4", Protocol::TCP, 8080),
        ];
        exact(&flows, Form::Kubernetes);
        flows.push(flow("10.9.0.2", "10.9.0.3", Protocol::ICMP, 8));
        flows.push(flow("10.9.0.3", "10.9.0.8", Protocol::TCP, 10250));
        flows.push(flow("10.9.0.4", "198.51.100.9", Protocol::TCP, 6443));
        exact(&flows, Form::Cilium);
    }

    #[test]
    fn many_ports_of_one_peer_stay_within_what_a_rule_may_have() {
        let flows: Vec<Flow> = (1..100).map(|n| flow("10.9.0.2", "10.9.0.3", Protocol::TCP, 7000 + 3 * n)).collect();
        exact(&flows, Form::Cilium);
        exact(&flows, Form::Kubernetes);
    }

    #[test]
    fn what_no_policy_can_name_is_told() {
        let inventory = inventory();
        let flows =
            [flow("10.9.0.2", "10.9.0.3", Protocol::ICMP, 8), flow("10.9.0.200", "10.9.0.3", Protocol::TCP, 80)];
        let observed = Observed {
            flows: flows.into(),
            dropped: [flow("10.9.0.2", "10.9.0.4", Protocol::TCP, 1)].into(),
            ..Observed::default()
        };
        let notes = suggest(&observed, Some(&inventory), Form::Kubernetes).notes.join("\n");
        assert!(notes.contains("no NetworkPolicy can name 10.9.0.2 -> 10.9.0.3 icmp/8"), "{notes}");
        assert!(
            notes.contains("can name 10.9.0.200") && notes.contains("flows that were dropped, and are not allowed: 1"),
            "{notes}"
        );
    }

    #[test]
    fn selectors_are_short_and_select_their_group_alone() {
        let group = |pairs: &[(&str, &str)]| Group {
            namespace: "shop".into(),
            labels: pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        };
        let groups = BTreeSet::from([
            group(&[]),
            group(&[("app", "web"), ("tier", "front"), ("v", "1")]),
            group(&[("app", "web"), ("tier", "back")]),
            group(&[("app", "web"), ("tier", "back"), ("canary", "yes")]),
        ]);
        let said: Vec<String> = groups.iter().map(|group| group.selector(&groups).to_string()).collect();
        assert_eq!(said, ["!app", "canary=yes", "app=web, tier=back, !canary", "tier=front"]);
    }
}
