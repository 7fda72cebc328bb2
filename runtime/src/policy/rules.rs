//! Rules, resolved: what a policy means for one endpoint, whatever it was written in. Addresses and ports only; labels,
//! names and files are gone by now. Pure; no privilege.
//!
//! This is the contract between those who write policies (scripts, YAML) and those who enforce them: [`Rules::judge`] is
//! what they mean, and an enforcement point that says anything else is wrong.

use crate::network::cidr::Cidr;
use crate::network::protocol::Protocol;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Seen from the endpoint: ingress comes to it, egress leaves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    Ingress,
    Egress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    Allow,
    Deny,
}

/// The rules of one endpoint, both directions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    pub ingress: Side,
    pub egress: Side,
}

/// The rules of one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// What befalls a packet that no rule matches.
    pub otherwise: Action,
    /// In any order: [`Rule::tier`] orders them, and inside of a tier deny goes over allow.
    pub rules: Vec<Rule>,
}

impl Default for Side {
    /// No policy in this direction.
    fn default() -> Side {
        Side { otherwise: Action::Allow, rules: Vec::new() }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// As reports name it; several rules may share a name, as the rules of one policy do.
    pub name: Arc<str>,
    pub action: Action,
    /// Lower tiers are asked first; the first that has a rule for the packet decides.
    pub tier: u32,
    pub peers: Peers,
    /// Any of them; empty: whatever the packet carries.
    pub services: Vec<Service>,
    /// An allow that holds for so much only; what is beyond it is dropped.
    pub rate: Option<Rate>,
}

/// Whom a rule is about: the source of what comes in, the destination of what goes out.
#[derive(Clone, Debug, PartialEq)]
pub enum Peers {
    Any,
    /// Any of them; none: nobody.
    Prefixes(Vec<Prefix>),
}

/// A prefix less others that lie inside of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub cidr: Cidr,
    pub except: Vec<Cidr>,
}

/// A protocol, and for those with ports a range of the *destination's* ports, for ICMP a range of types.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    pub protocol: Protocol,
    /// `0..=65535`: any, also what has no port at all (a later fragment).
    pub ports: RangeInclusive<u16>,
}

/// Packets a second, and how many may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    pub packets: u64,
    pub burst: u64,
}

/// What a packet is judged by. Replies and related errors of what was allowed do not get as far as this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    pub direction: Direction,
    pub peer: IpAddr,
    pub protocol: Protocol,
    /// Destination port, or the type of ICMP; `None`: it carries none.
    pub port: Option<u16>,
}

/// A verdict, and the rule it rests on (an index into the side's rules); `None`: nothing matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    pub action: Action,
    pub rule: Option<usize>,
}

impl Rules {
    pub fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// What the rules say of `packet`. Of several rules that decide alike, the first in order is named.
    pub fn judge(&self, packet: &Packet) -> Judged {
        let side = self.side(packet.direction);
        let matching = side.rules.iter().enumerate().filter(|(_, rule)| rule.matches(packet));
        // Deny sorts before allow, and the first of equals is kept.
        let decides = matching.min_by_key(|(index, rule)| (rule.tier, rule.action == Action::Allow, *index));
        match decides {
            Some((index, rule)) => Judged { action: rule.action, rule: Some(index) },
            None => Judged { action: side.otherwise, rule: None },
        }
    }
}

impl Rule {
    pub fn matches(&self, packet: &Packet) -> bool {
        self.peers.hold(packet.peer)
            && (self.services.is_empty() || self.services.iter().any(|service| service.matches(packet)))
    }
}

impl Peers {
    pub fn hold(&self, peer: IpAddr) -> bool {
        match self {
            Peers::Any => true,
            Peers::Prefixes(prefixes) => prefixes.iter().any(|prefix| prefix.holds(peer)),
        }
    }
}

impl Prefix {
    pub fn holds(&self, peer: IpAddr) -> bool {
        self.cidr.contains(peer) && !self.except.iter().any(|except| except.contains(peer))
    }
}

impl From<Cidr> for Prefix {
    fn from(cidr: Cidr) -> Prefix {
        Prefix { cidr, except: Vec::new() }
    }
}

impl Service {
    pub const EVERY_PORT: RangeInclusive<u16> = 0..=u16::MAX;

    pub fn any_port(protocol: Protocol) -> Service {
        Service { protocol, ports: Service::EVERY_PORT }
    }

    pub fn matches(&self, packet: &Packet) -> bool {
        self.protocol == packet.protocol
            && match packet.port {
                Some(port) => self.ports.contains(&port),
                None => self.ports == Service::EVERY_PORT,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, action: Action, tier: u32, peers: &[&str], services: &[Service]) -> Rule {
        let prefixes = peers.iter().map(|peer| Prefix::from(peer.parse::<Cidr>().expect("it is a prefix"))).collect();
        let peers = if peers.is_empty() { Peers::Any } else { Peers::Prefixes(prefixes) };
        Rule { name: name.into(), action, tier, peers, services: services.to_vec(), rate: None }
    }

    fn from(peer: &str, port: u16) -> Packet {
        let peer = peer.parse().expect("it is an address");
        Packet { direction: Direction::Ingress, peer, protocol: Protocol::TCP, port: Some(port) }
    }

    fn judged(rules: &[Rule], otherwise: Action, packet: &Packet) -> (Action, Option<usize>) {
        let side = Side { otherwise, rules: rules.to_vec() };
        let judged = Rules { ingress: side, egress: Side::default() }.judge(packet);
        (judged.action, judged.rule)
    }

    #[test]
    fn deny_goes_over_allow_inside_of_a_tier_and_tiers_in_order() {
        let web = Service { protocol: Protocol::TCP, ports: 80..=80 };
        let rules = [
            rule("all", Action::Allow, 1, &["10.0.0.0/8"], &[]),
            rule("not web", Action::Deny, 1, &[], std::slice::from_ref(&web)),
            rule("guard", Action::Allow, 0, &["10.0.0.7/32"], &[]),
        ];
        assert_eq!(judged(&rules, Action::Deny, &from("10.0.0.1", 22)), (Action::Allow, Some(0)));
        assert_eq!(judged(&rules, Action::Deny, &from("10.0.0.1", 80)), (Action::Deny, Some(1)));
        assert_eq!(judged(&rules, Action::Deny, &from("10.0.0.7", 80)), (Action::Allow, Some(2)));
        assert_eq!(judged(&rules, Action::Deny, &from("11.0.0.1", 22)), (Action::Deny, None));
    }

    #[test]
    fn exception_belongs_to_its_own_prefix() {
        let mut first = rule("a", Action::Allow, 0, &["10.0.0.0/8", "10.1.1.0/24"], &[]);
        let Peers::Prefixes(prefixes) = &mut first.peers else { panic!("it has prefixes") };
        prefixes[0].except.push("10.1.0.0/16".parse().expect("it is a prefix"));
        assert_eq!(judged(std::slice::from_ref(&first), Action::Deny, &from("10.1.2.1", 1)).0, Action::Deny);
        assert_eq!(judged(&[first], Action::Deny, &from("10.1.1.1", 1)).0, Action::Allow);
    }

    #[test]
    fn rule_with_ports_does_not_match_what_has_none() {
        let web = [Service { protocol: Protocol::TCP, ports: 80..=443 }];
        let mut packet = from("10.0.0.1", 443);
        let rules = [rule("web", Action::Allow, 0, &[], &web)];
        assert_eq!(judged(&rules, Action::Deny, &packet).0, Action::Allow);
        packet.port = None;
        assert_eq!(judged(&rules, Action::Deny, &packet).0, Action::Deny);
        let rules = [rule("tcp", Action::Allow, 0, &[], &[Service::any_port(Protocol::TCP)])];
        assert_eq!(judged(&rules, Action::Deny, &packet).0, Action::Allow);
    }

    #[test]
    fn peers_without_prefixes_are_nobody() {
        let nobody = Rule { peers: Peers::Prefixes(Vec::new()), ..rule("none", Action::Deny, 0, &[], &[]) };
        assert_eq!(judged(&[nobody], Action::Allow, &from("10.0.0.1", 1)), (Action::Allow, None));
    }
}
