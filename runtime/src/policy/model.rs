//! Policies as they are written, whatever they are written in: selectors, entities and named ports are still there.

use super::inventory::{Endpoint, Inventory};
use super::labels::Selector;
use super::rules::{Action, Direction, Prefix, Rate};
use crate::diagnostic::{Diagnostic, Position};
use crate::library::Script;
use crate::network::protocol::Protocol;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Policy {
    pub id: Arc<Id>,
    pub position: Option<Position>,
    /// The file it is from; none of a script's.
    pub source: Option<Arc<Script>>,
    /// What it is about.
    pub subject: Subject,
    /// To be judged and told, never to be enforced.
    pub staged: bool,
    /// Goes with every verdict that rests on this policy.
    pub log: Option<String>,
    pub ingress: Part,
    pub egress: Part,
    pub settings: Settings,
    /// Everything that is written in it, and what becomes of it.
    pub elements: Vec<Element>,
    pub warnings: Vec<Diagnostic>,
}

/// What reports call a policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Id {
    pub kind: Kind,
    pub name: Arc<str>,
    pub namespace: Option<String>,
    /// As Hubble spells them: `k8s:io.cilium.k8s.policy.name=web`.
    pub labels: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    NetworkPolicy,
    StagedNetworkPolicy,
    CiliumNetworkPolicy,
    CiliumClusterwideNetworkPolicy,
    /// Ours.
    Policy,
}

/// How it asks to be run; only our own form can say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub point: Option<Point>,
    pub mode: Option<Mode>,
    pub ttl: Option<Duration>,
}

/// Where packets are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    Xdp,
    Tc,
    Cgroup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    Audit,
    Enforce,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    Endpoints(Choice),
    Interfaces(Vec<String>),
    Cgroups(Vec<String>),
    /// Nothing here: the node itself, which is not guarded.
    Nobody,
}

/// Endpoints by their labels, and by their namespaces.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    pub labels: Selector,
    pub scope: Scope,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Scope {
    Anywhere,
    /// In any namespace.
    Namespaced,
    Namespace(String),
    /// In namespaces of these labels.
    Namespaces(Selector),
}

/// What a policy says of one direction.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    /// What nothing allows is dropped. It may say so without a clause.
    pub isolates: bool,
    pub clauses: Vec<Clause>,
}

/// One statement, as it stands in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause {
    pub position: Option<Position>,
    /// Its own; else the policy's is shown.
    pub name: Option<Arc<str>>,
    pub action: Action,
    pub tier: u32,
    pub who: Who,
    /// `None`: whatever the packet carries; an empty list: nothing.
    pub ports: Option<Vec<Port>>,
    pub rate: Option<Rate>,
    /// The element that asks for more than addresses and ports.
    pub beyond: Option<usize>,
    /// Only where packets are met here; our own form can say it.
    pub only: Option<Subject>,
}

/// Where nothing else is said. Below it is room for what must come first.
pub const TIER: u32 = 100;

#[derive(Clone, Debug, PartialEq)]
pub enum Who {
    Anyone,
    /// Any of them; none: nobody.
    Of(Vec<Peer>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Peer {
    Endpoints(Choice, Option<Position>),
    /// These addresses, whosever they are.
    Prefix(Prefix),
    /// Of these addresses those that are not the cluster's, nor the host's.
    Outside(Prefix),
    Entity(Entity, Option<Position>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entity {
    World,
    Cluster,
    Host,
    RemoteNode,
    KubeApiserver,
    /// Addresses of the cluster that are no endpoint's.
    Unmanaged,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub protocol: Protocol,
    pub number: Number,
    pub position: Option<Position>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Number {
    /// Of ICMP: types.
    Range(RangeInclusive<u16>),
    /// The destination's inventory entry says which.
    Named(String),
}

/// Something written in a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub position: Option<Position>,
    /// `ingress[0].fromEndpoints`
    pub path: String,
    pub treatment: Treatment,
    pub note: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Treatment {
    Enforced,
    ObserveOnly,
    Refused,
}

impl Policy {
    pub fn new(id: Id, position: Option<Position>, subject: Subject) -> Policy {
        Policy {
            id: Arc::new(id),
            position,
            source: None,
            subject,
            staged: false,
            log: None,
            ingress: Part::default(),
            egress: Part::default(),
            settings: Settings::default(),
            elements: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub fn part(&self, direction: Direction) -> &Part {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    pub fn part_mut(&mut self, direction: Direction) -> &mut Part {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }

    pub fn is_refused(&self) -> bool {
        self.elements.iter().any(|element| element.treatment == Treatment::Refused)
    }

    /// `diagnostic`, in the policy's file.
    pub fn locate(&self, diagnostic: Diagnostic) -> Diagnostic {
        match &self.source {
            Some(script) => diagnostic.within(script),
            None => diagnostic,
        }
    }

    /// Writes an element down; gives its number.
    pub fn note(
        &mut self,
        position: Option<Position>,
        path: impl Into<String>,
        treatment: Treatment,
        note: &str,
    ) -> usize {
        let note = (!note.is_empty()).then(|| note.to_owned());
        self.elements.push(Element { position, path: path.into(), treatment, note });
        self.elements.len() - 1
    }

    pub fn enforced(&mut self, position: Option<Position>, path: impl Into<String>) {
        self.note(position, path, Treatment::Enforced, "");
    }

    pub fn warn(&mut self, position: Option<Position>, message: impl Into<String>) {
        self.warnings.push(Diagnostic::script(message).at(position));
    }
}

impl Clause {
    pub fn new(position: Option<Position>, action: Action, who: Who, ports: Option<Vec<Port>>) -> Clause {
        Clause { position, name: None, action, tier: TIER, who, ports, rate: None, beyond: None, only: None }
    }
}

impl Choice {
    pub fn matches(&self, endpoint: &Endpoint, inventory: &Inventory) -> bool {
        let namespace = endpoint.namespace.as_deref();
        let inside = match &self.scope {
            Scope::Anywhere => true,
            Scope::Namespaced => namespace.is_some(),
            Scope::Namespace(wanted) => namespace == Some(wanted),
            Scope::Namespaces(labels) => namespace.is_some_and(|name| labels.matches(&inventory.namespace(name))),
        };
        inside && self.labels.matches(&inventory.labels(endpoint))
    }
}

impl Port {
    pub fn range(protocol: Protocol, range: RangeInclusive<u16>, position: Option<Position>) -> Port {
        Port { protocol, number: Number::Range(range), position }
    }
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::NetworkPolicy => "NetworkPolicy",
            Kind::StagedNetworkPolicy => "StagedKubernetesNetworkPolicy",
            Kind::CiliumNetworkPolicy => "CiliumNetworkPolicy",
            Kind::CiliumClusterwideNetworkPolicy => "CiliumClusterwideNetworkPolicy",
            Kind::Policy => "Policy",
        }
    }

    /// Is it in the kind's nature that hosts reach their own pods?
    pub fn trusts_host(self) -> bool {
        self != Kind::Policy
    }
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Audit => "audit",
            Mode::Enforce => "enforce",
        }
    }
}

impl Treatment {
    pub fn name(self) -> &'static str {
        match self {
            Treatment::Enforced => "enforced",
            Treatment::ObserveOnly => "observe-only",
            Treatment::Refused => "refused",
        }
    }
}

impl Entity {
    pub fn name(self) -> &'static str {
        match self {
            Entity::World => "world",
            Entity::Cluster => "cluster",
            Entity::Host => "host",
            Entity::RemoteNode => "remote-node",
            Entity::KubeApiserver => "kube-apiserver",
            Entity::Unmanaged => "unmanaged",
        }
    }
}

impl Direction {
    pub const BOTH: [Direction; 2] = [Direction::Ingress, Direction::Egress];

    pub fn name(self) -> &'static str {
        match self {
            Direction::Ingress => "ingress",
            Direction::Egress => "egress",
        }
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(out, "{namespace}/{}", self.name),
            None => write!(out, "{}", self.name),
        }
    }
}
