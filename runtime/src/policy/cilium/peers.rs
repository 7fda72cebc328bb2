//! Whom a rule is about: `fromEndpoints`, `toCIDRSet`, `fromEntities` and the rest.

use super::super::fields::Fields;
use super::super::kubernetes::prefix;
use super::super::labels::{Operator, Selector};
use super::super::model::{Entity, Peer, Policy, Treatment, Who};
use super::super::rules::{Action, Direction, Prefix};
use super::super::yaml::Node;
use super::{Place, Spec};
use crate::diagnostic::{Diagnostic, Position, nearest};

/// A kind of peer, by what follows `from` or `to` in its key.
pub struct Kind {
    pub name: &'static str,
    read: Read,
    only: Option<Direction>,
}

enum Read {
    Endpoints,
    Cidr,
    CidrSet,
    Entities,
    /// Not here, and why.
    Refused(&'static str),
}

pub const KINDS: &[Kind] = &[
    Kind { name: "Endpoints", read: Read::Endpoints, only: None },
    Kind { name: "CIDR", read: Read::Cidr, only: None },
    Kind { name: "CIDRSet", read: Read::CidrSet, only: None },
    Kind { name: "Entities", read: Read::Entities, only: None },
    Kind {
        name: "Services",
        read: Read::Refused("services are known to the API server only"),
        only: Some(Direction::Egress),
    },
    Kind { name: "Groups", read: Read::Refused("groups are resolved by a cloud provider's API"), only: None },
    Kind { name: "Nodes", read: Read::Refused("nodes are known to the API server only"), only: None },
    Kind {
        name: "FQDNs",
        read: Read::Refused("names are resolved by Cilium's DNS proxy"),
        only: Some(Direction::Egress),
    },
];

impl Kind {
    pub fn belongs(&self, direction: Direction, action: Action) -> bool {
        // The denying sections have no names.
        self.only.is_none_or(|only| only == direction) && (self.name != "FQDNs" || action == Action::Allow)
    }
}

/// Every entity that Cilium knows; those without a meaning here are refused.
const ENTITIES: &[(&str, Known)] = &[
    ("all", Known::Anyone),
    ("world", Known::As(Entity::World)),
    ("cluster", Known::As(Entity::Cluster)),
    ("host", Known::As(Entity::Host)),
    ("remote-node", Known::As(Entity::RemoteNode)),
    ("kube-apiserver", Known::As(Entity::KubeApiserver)),
    ("unmanaged", Known::As(Entity::Unmanaged)),
    ("none", Known::Nobody),
    ("init", Known::Refused),
    ("health", Known::Refused),
    ("ingress", Known::Refused),
];

#[derive(Clone, Copy)]
enum Known {
    Anyone,
    As(Entity),
    Nobody,
    Refused,
}

pub fn read(spec: &Spec<'_>, policy: &mut Policy, place: &Place<'_>) -> Result<Who, Diagnostic> {
    let side = if place.direction == Direction::Ingress { "from" } else { "to" };
    let requires = format!("{side}Requires");
    if !place.fields.list(&requires)?.is_empty() {
        let error = Diagnostic::script(format!("`{requires}` is gone from Cilium since 1.19"));
        return Err(error.help(format!("{side}Endpoints")).at(place.fields.place(&requires)));
    }
    let mut given: Vec<(&Kind, String, &Node)> = Vec::new();
    for kind in KINDS {
        let key = format!("{side}{}", kind.name);
        if let Some(node) = place.fields.get(&key) {
            given.push((kind, key, node));
        }
    }
    let mut filled = Vec::new();
    for (_, key, node) in &given {
        if !node.list(key)?.is_empty() {
            filled.push(key);
        }
    }
    if let [first, second, ..] = filled[..] {
        let error = Diagnostic::script(format!("combining `{first}` and `{second}` is not supported"));
        return Err(error.help("two rules, one for each").at(place.fields.place(second)));
    }
    if given.is_empty() {
        return Ok(Who::Anyone);
    }
    let mut peers = Vec::new();
    let mut anyone = false;
    for (kind, key, node) in given {
        let items = node.list(&key)?;
        let (position, path) = place.at(&key);
        if items.is_empty() {
            policy.warn(position, format!("an empty `{key}` selects nobody"));
        }
        if let Read::Refused(why) = kind.read {
            policy.note(position, path, Treatment::Refused, why);
            continue;
        }
        let mut refused = false;
        for (n, item) in items.iter().enumerate() {
            match one(spec, kind, item)? {
                Found::Peer(peer) => peers.push(peer),
                Found::Anyone => anyone = true,
                Found::Nobody => {}
                Found::Refused(position, why) => {
                    refused = true;
                    policy.note(position, format!("{path}[{n}]"), Treatment::Refused, &why);
                }
            }
        }
        if !refused {
            policy.enforced(position, path);
        }
    }
    Ok(if anyone { Who::Anyone } else { Who::Of(peers) })
}

enum Found {
    Peer(Peer),
    Anyone,
    Nobody,
    Refused(Option<Position>, String),
}

fn one(spec: &Spec<'_>, kind: &Kind, node: &Node) -> Result<Found, Diagnostic> {
    match kind.read {
        Read::Endpoints => {
            let labels = Selector::read(node, "a selector")?;
            match reserved(&labels) {
                Some(name) => entity(name, node.position, || {
                    Diagnostic::script(format!("there is no label `reserved:{name}`")).at(node.position)
                }),
                None => Ok(Found::Peer(Peer::Endpoints(spec.choice(labels), node.position))),
            }
        }
        Read::Cidr => {
            let prefix = Prefix::from(node.cidr("a CIDR")?);
            Ok(Found::Peer(Peer::Outside(prefix)))
        }
        Read::CidrSet => cidr_set(node),
        Read::Entities => {
            let name = node.text("an entity")?;
            entity(name, node.position, || {
                let error = node.wrong(format!("there is no entity `{name}`"));
                let known = ENTITIES.iter().map(|(known, _)| *known);
                error.help(match nearest(name, known.clone()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if name.starts_with("world-") => {
                        "world      (the API server refuses one family of it)".to_owned()
                    }
                    None => known.collect::<Vec<_>>().join(", "),
                })
            })
        }
        Read::Refused(why) => Ok(Found::Refused(node.position, why.to_owned())),
    }
}

fn cidr_set(node: &Node) -> Result<Found, Diagnostic> {
    let kinds = ["cidr", "cidrGroupRef", "cidrGroupSelector"];
    let fields = Fields::of(node, "a CIDR set's item", &[&kinds[..], &["except"]].concat())?;
    let given: Vec<&str> = kinds.into_iter().filter(|kind| fields.get(kind).is_some()).collect();
    match given[..] {
        ["cidr"] => Ok(Found::Peer(Peer::Outside(prefix(fields, fields.need("cidr")?)?))),
        [group] => Ok(Found::Refused(fields.place(group), "CIDR groups are objects of the API server".to_owned())),
        _ => {
            let message = format!("a CIDR set's item has exactly one of `{}`", kinds.join("`, `"));
            Err(Diagnostic::script(message).at(node.position))
        }
    }
}

/// The entity that a selector of one label `reserved:NAME` stands for.
fn reserved(labels: &Selector) -> Option<&str> {
    match &labels.0[..] {
        [only] if matches!(only.operator, Operator::In | Operator::Exists) => only.key.strip_prefix("reserved:"),
        _ => None,
    }
}

fn entity(name: &str, position: Option<Position>, unknown: impl Fn() -> Diagnostic) -> Result<Found, Diagnostic> {
    match ENTITIES.iter().find(|(known, _)| *known == name) {
        Some((_, Known::Anyone)) => Ok(Found::Anyone),
        Some((_, Known::As(entity))) => Ok(Found::Peer(Peer::Entity(*entity, position))),
        Some((_, Known::Nobody)) => Ok(Found::Nobody),
        Some((_, Known::Refused)) => Ok(Found::Refused(position, format!("only a Cilium cluster has `{name}`"))),
        None => Err(unknown()),
    }
}
