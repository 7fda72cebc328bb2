//! Policies and an inventory become rules: for each place that a policy selects, addresses and ports.

use super::inventory::{Endpoint, Inventory, Place};
use super::model::{Choice, Clause, Entity, Number, Peer, Policy, Port, Subject, TIER, Who};
use super::outside::Outside;
use super::places::{answerable, places};
use super::rules::{Action, Direction, Peers, Prefix, Rule, Rules, Service, Side};
use crate::diagnostic::{Diagnostic, Position};
use crate::network::cidr::Cidr;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A place where packets are met, and what holds there.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The endpoint's name in the inventory, or the interface's or cgroup's own.
    pub name: String,
    pub place: Place,
    pub addresses: Vec<IpAddr>,
    /// By number, those that select it.
    pub policies: Vec<usize>,
    /// What is to be enforced.
    pub view: View,
    /// With the staged policies too, where there are some: what this denies and `view` allows is told, and passes.
    pub staged: Option<View>,
}

/// Rules, and what each of them rests on.
#[derive(Clone, Debug, Default)]
pub struct View {
    pub rules: Rules,
    pub ingress: Vec<Origin>,
    pub egress: Vec<Origin>,
}

/// Where a rule comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// By number; `None`: what pods owe to their host.
    pub policy: Option<usize>,
    pub position: Option<Position>,
    /// The element of the policy that asks for more than addresses and ports.
    pub beyond: Option<usize>,
}

/// Something is wrong with a policy, seen with the inventory.
#[derive(Clone, Debug)]
pub struct Fault {
    pub policy: usize,
    pub diagnostic: Diagnostic,
}

#[derive(Clone, Debug, Default)]
pub struct Resolution {
    pub targets: Vec<Resolved>,
    pub warnings: Vec<Fault>,
}

impl View {
    pub fn origins(&self, direction: Direction) -> &[Origin] {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }
}

/// What the rules are, for each place that at least one policy selects.
///
/// # Errors
/// What the inventory cannot answer: addresses of what a peer selects, labels of namespaces, lists of entities.
pub fn resolve(policies: &[Policy], inventory: &Inventory) -> Result<Resolution, Fault> {
    let mut resolver = Resolver { inventory, outside: Outside::of(inventory), warnings: Vec::new() };
    let mut targets = places(policies, inventory)?;
    for target in &mut targets {
        let selecting = target.policies.iter().map(|number| (*number, &policies[*number]));
        let selecting: Vec<(usize, &Policy)> = selecting.collect();
        let firm = selecting.iter().filter(|(_, policy)| !policy.staged).copied().collect::<Vec<_>>();
        target.view = resolver.view(target, &firm)?;
        if firm.len() < selecting.len() {
            target.staged = Some(resolver.view(target, &selecting)?);
        }
    }
    let mut warnings = resolver.warnings;
    warnings.sort_by_key(|fault| (fault.policy, fault.diagnostic.position));
    warnings.dedup_by(|a, b| a.policy == b.policy && a.diagnostic == b.diagnostic);
    Ok(Resolution { targets, warnings })
}

struct Resolver<'a> {
    inventory: &'a Inventory,
    outside: Outside,
    warnings: Vec<Fault>,
}

/// Rules with what they rest on, before they are in order.
type Drafts = Vec<(Rule, Origin)>;

impl Resolver<'_> {
    fn view(&mut self, target: &Resolved, policies: &[(usize, &Policy)]) -> Result<View, Fault> {
        let mut view = View::default();
        for direction in Direction::BOTH {
            let mut drafts: Drafts = Vec::new();
            let isolates = policies.iter().any(|(_, policy)| policy.part(direction).isolates);
            for (number, policy) in policies {
                for clause in &policy.part(direction).clauses {
                    let here = match &clause.only {
                        None => true,
                        Some(Subject::Interfaces(names)) => {
                            names.iter().any(|name| target.place == Place::Interface(name.clone()))
                        }
                        Some(Subject::Cgroups(names)) => {
                            names.iter().any(|name| target.place == Place::Cgroup(name.clone()))
                        }
                        Some(_) => false,
                    };
                    if here {
                        self.clause(target, *number, policy, clause, direction, &mut drafts)?;
                    }
                }
            }
            let trusts = policies.iter().any(|(_, policy)| policy.id.kind.trusts_host());
            if direction == Direction::Ingress && isolates && trusts {
                drafts.extend(self.host());
            }
            // So that the rule which is named is the one Cilium would name: of those that decide, the most exact.
            drafts.sort_by_key(|(rule, _)| (rule.tier, rule.action == Action::Allow, rule.match_type().rank()));
            let (rules, origins) = drafts.into_iter().unzip();
            let side = Side { otherwise: if isolates { Action::Deny } else { Action::Allow }, rules };
            match direction {
                Direction::Ingress => (view.rules.ingress, view.ingress) = (side, origins),
                Direction::Egress => (view.rules.egress, view.egress) = (side, origins),
            }
        }
        Ok(view)
    }

    /// The host reaches its own pods, whatever isolates them: it asks whether they are alive.
    fn host(&self) -> Option<(Rule, Origin)> {
        let prefixes: Vec<Prefix> = self.inventory.host.iter().flatten().map(|cidr| Prefix::from(*cidr)).collect();
        let rule = Rule {
            name: "host".into(),
            action: Action::Allow,
            tier: TIER,
            peers: Peers::Prefixes(prefixes),
            services: Vec::new(),
            rate: None,
        };
        let origin = Origin { policy: None, position: None, beyond: None };
        self.inventory.host.as_ref().is_some_and(|host| !host.is_empty()).then_some((rule, origin))
    }

    fn clause(
        &mut self,
        target: &Resolved,
        number: usize,
        policy: &Policy,
        clause: &Clause,
        direction: Direction,
        drafts: &mut Drafts,
    ) -> Result<(), Fault> {
        let peers = self.peers(number, &clause.who, clause.position)?;
        let origin = Origin { policy: Some(number), position: clause.position, beyond: clause.beyond };
        let name: Arc<str> = clause.name.clone().unwrap_or_else(|| policy.id.name.clone());
        let mut add = |peers: Peers, services: Vec<Service>| {
            let (name, action, tier, rate) = (name.clone(), clause.action, clause.tier, clause.rate);
            drafts.push((Rule { name, action, tier, peers, services, rate }, origin.clone()));
        };
        let Some(ports) = &clause.ports else {
            add(peers, Vec::new());
            return Ok(());
        };
        let mut services: Vec<Service> = Vec::new();
        for port in ports {
            match &port.number {
                Number::Range(range) => services.push(Service { protocol: port.protocol, ports: range.clone() }),
                Number::Named(named) if direction == Direction::Ingress => {
                    let endpoint = self.inventory.endpoint(&target.name);
                    let found = endpoint.and_then(|endpoint| number_of(endpoint, named, port));
                    if found.is_none()
                        && !ports
                            .iter()
                            .any(|other| endpoint.is_some_and(|endpoint| number_of(endpoint, named, other).is_some()))
                    {
                        self.warn(
                            number,
                            port.position,
                            format!("`{}` has no port named `{named}`: the rule is void for it", target.name),
                        );
                    }
                    services.extend(found);
                }
                Number::Named(named) => {
                    let served = self.served(named, port, &peers);
                    if served.is_empty() && !ports.iter().any(|other| !self.served(named, other, &peers).is_empty()) {
                        self.warn(
                            number,
                            port.position,
                            format!("no destination has a port named `{named}`: the rule is void"),
                        );
                    }
                    for (service, prefixes) in served {
                        add(Peers::Prefixes(prefixes), vec![service]);
                    }
                }
            }
        }
        services.dedup();
        // One kind of match a rule, so that reports can name it.
        let (whole, exact): (Vec<Service>, Vec<Service>) =
            services.into_iter().partition(|service| service.ports == Service::EVERY_PORT);
        for services in [whole, exact] {
            if !services.is_empty() {
                add(peers.clone(), services);
            }
        }
        Ok(())
    }

    /// Which destinations have a port of this name, by its number.
    fn served(&self, named: &str, port: &Port, peers: &Peers) -> Vec<(Service, Vec<Prefix>)> {
        let mut served: BTreeMap<u16, (Service, Vec<Prefix>)> = BTreeMap::new();
        for endpoint in &self.inventory.endpoints {
            let Some(service) = number_of(endpoint, named, port) else { continue };
            let hosts = endpoint.addresses.iter().filter(|address| peers.hold(**address));
            let prefixes = hosts.map(|address| Prefix::from(Cidr::host(*address)));
            served.entry(*service.ports.start()).or_insert((service, Vec::new())).1.extend(prefixes);
        }
        served.into_values().filter(|(_, prefixes)| !prefixes.is_empty()).collect()
    }

    fn peers(&mut self, policy: usize, who: &Who, place: Option<Position>) -> Result<Peers, Fault> {
        let Who::Of(peers) = who else { return Ok(Peers::Any) };
        let mut prefixes: Vec<Prefix> = Vec::new();
        for peer in peers {
            match peer {
                Peer::Endpoints(choice, position) => {
                    let hosts = self.addresses(policy, choice, *position)?;
                    prefixes.extend(hosts.into_iter().map(|address| Prefix::from(Cidr::host(address))));
                }
                Peer::Prefix(prefix) => prefixes.push(prefix.clone()),
                Peer::Outside(prefix) => match self.outside.less(prefix) {
                    Some(prefix) => prefixes.push(prefix),
                    None => {
                        let message =
                            format!("`{}` lies inside of the cluster, whose endpoints no CIDR matches", prefix.cidr);
                        self.warn(policy, place, message);
                    }
                },
                Peer::Entity(entity, position) => prefixes.extend(self.entity(policy, *entity, *position)?),
            }
        }
        let mut known = std::collections::HashSet::new();
        prefixes.retain(|prefix| known.insert((prefix.cidr, prefix.except.clone())));
        Ok(Peers::Prefixes(prefixes))
    }

    fn addresses(&mut self, policy: usize, choice: &Choice, position: Option<Position>) -> Result<Vec<IpAddr>, Fault> {
        let mut addresses = Vec::new();
        let mut found = false;
        for endpoint in &self.inventory.endpoints {
            answerable(choice, endpoint, self.inventory, policy, position)?;
            if !choice.matches(endpoint, self.inventory) {
                continue;
            }
            found = true;
            if endpoint.addresses.is_empty() {
                let message = format!("the inventory has no address of `{}`, which this selects", endpoint.name);
                let diagnostic = Diagnostic::script(message).help("addresses: [10.0.0.1]").at(position);
                return Err(Fault { policy, diagnostic });
            }
            addresses.extend(&endpoint.addresses);
        }
        if !found {
            self.warn(policy, position, "this selects no endpoint of the inventory");
        }
        Ok(addresses)
    }

    fn entity(&self, policy: usize, entity: Entity, position: Option<Position>) -> Result<Vec<Prefix>, Fault> {
        let listed = |list: &Option<Vec<Cidr>>, key: &str| match list {
            Some(list) => Ok(list.iter().map(|cidr| Prefix::from(*cidr)).collect::<Vec<_>>()),
            None => {
                let message = format!("the inventory does not say what `{key}` is");
                let diagnostic = Diagnostic::script(message).help(format!("{key}: [10.0.0.1]")).at(position);
                Err(Fault { policy, diagnostic })
            }
        };
        let inventory = self.inventory;
        Ok(match entity {
            Entity::Host => listed(&inventory.host, "host")?,
            Entity::RemoteNode => listed(&inventory.remote_nodes, "remote-node")?,
            Entity::KubeApiserver => listed(&inventory.kube_apiserver, "kube-apiserver")?,
            Entity::Cluster => self.outside.inside(),
            Entity::World => {
                let all = [Cidr::ALL_V4, Cidr::ALL_V6].map(Prefix::from);
                all.iter().filter_map(|prefix| self.outside.less(prefix)).collect()
            }
            Entity::Unmanaged => {
                let hosts: Vec<Cidr> =
                    inventory.endpoints.iter().flat_map(|one| one.addresses.iter().copied().map(Cidr::host)).collect();
                let mut prefixes = listed(&inventory.cluster, "cluster")?;
                for prefix in &mut prefixes {
                    prefix.except = hosts.iter().copied().filter(|host| prefix.cidr.covers(*host)).collect();
                }
                prefixes
            }
        })
    }

    fn warn(&mut self, policy: usize, position: Option<Position>, message: impl Into<String>) {
        self.warnings.push(Fault { policy, diagnostic: Diagnostic::script(message).at(position) });
    }
}

fn number_of(endpoint: &Endpoint, named: &str, port: &Port) -> Option<Service> {
    let same = |known: &&super::inventory::NamedPort| known.name == named && known.protocol == port.protocol;
    let known = endpoint.named_ports.iter().find(same)?;
    Some(Service { protocol: port.protocol, ports: known.port..=known.port })
}
