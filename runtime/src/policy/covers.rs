//! Does a rule say anything that others have not said?

use super::rules::{Action, Peers, Prefix, Rule, Service};
use crate::network::cidr::Cidr;

/// What one rule matches, taken apart: a rule matches what any of its atoms does.
#[derive(Clone, Copy, Debug)]
pub struct Atom<'a> {
    /// `None`: anybody.
    pub prefix: Option<&'a Prefix>,
    /// `None`: everything.
    service: Option<&'a Service>,
}

pub fn atoms(rule: &Rule) -> Vec<Atom<'_>> {
    let prefixes: Vec<Option<&Prefix>> = match &rule.peers {
        Peers::Any => vec![None],
        Peers::Prefixes(prefixes) => prefixes.iter().map(Some).collect(),
    };
    let services: Vec<Option<&Service>> = match &rule.services[..] {
        [] => vec![None],
        services => services.iter().map(Some).collect(),
    };
    prefixes
        .iter()
        .flat_map(|prefix| services.iter().map(|service| Atom { prefix: *prefix, service: *service }))
        .collect()
}

impl Atom<'_> {
    /// Does the rule match all of it?
    pub fn lies_in(&self, rule: &Rule) -> bool {
        let within_any = |wanted: &Prefix, prefixes: &[Prefix]| prefixes.iter().any(|prefix| within(wanted, prefix));
        let peers = match (&rule.peers, self.prefix) {
            (Peers::Any, _) => true,
            (Peers::Prefixes(prefixes), Some(wanted)) => within_any(wanted, prefixes),
            (Peers::Prefixes(prefixes), None) => {
                [Cidr::ALL_V4, Cidr::ALL_V6].iter().all(|all| within_any(&Prefix::from(*all), prefixes))
            }
        };
        let serves_any = |wanted| rule.services.iter().any(|service| serves(service, wanted));
        peers && (rule.services.is_empty() || self.service.is_some_and(serves_any))
    }
}

fn within(inner: &Prefix, outer: &Prefix) -> bool {
    let apart = |a: Cidr, b: Cidr| !a.covers(b) && !b.covers(a);
    outer.cidr.covers(inner.cidr)
        && outer
            .except
            .iter()
            .all(|hole| apart(*hole, inner.cidr) || inner.except.iter().any(|except| except.covers(*hole)))
}

fn serves(outer: &Service, inner: &Service) -> bool {
    outer.protocol == inner.protocol
        && outer.ports.start() <= inner.ports.start()
        && inner.ports.end() <= outer.ports.end()
}

impl Peers {
    pub fn are_nobody(&self) -> bool {
        matches!(self, Peers::Prefixes(prefixes) if prefixes.is_empty())
    }
}

/// Does `rule` match all that `other` does?
pub fn covers(rule: &Rule, other: &Rule) -> bool {
    atoms(other).iter().all(|atom| atom.lies_in(rule))
}

/// Is there a packet that both match?
pub fn meets(a: &Rule, b: &Rule) -> bool {
    let peers = match (&a.peers, &b.peers) {
        (Peers::Prefixes(a), Peers::Prefixes(b)) => a.iter().any(|a| {
            b.iter().any(|b| {
                let inner = if a.cidr.covers(b.cidr) { b.cidr } else { a.cidr };
                (a.cidr.covers(b.cidr) || b.cidr.covers(a.cidr))
                    && !a.except.iter().chain(&b.except).any(|hole| hole.covers(inner))
            })
        }),
        (Peers::Prefixes(some), Peers::Any) | (Peers::Any, Peers::Prefixes(some)) => !some.is_empty(),
        (Peers::Any, Peers::Any) => true,
    };
    let services = a.services.is_empty()
        || b.services.is_empty()
        || a.services.iter().any(|a| {
            b.services.iter().any(|b| {
                a.protocol == b.protocol && a.ports.start() <= b.ports.end() && b.ports.start() <= a.ports.end()
            })
        });
    peers && services
}

/// Does `first` decide where both match?
pub fn precedes(first: &Rule, second: &Rule) -> bool {
    let key = |rule: &Rule| (rule.tier, rule.action == Action::Allow);
    key(first) < key(second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::protocol::Protocol;

    fn rule(action: Action, tier: u32, peers: &[&str], ports: &[(u16, u16)]) -> Rule {
        let prefixes = peers.iter().map(|text| {
            let (cidr, except) = text.split_once('-').map_or((*text, None), |(cidr, hole)| (cidr, Some(hole)));
            let read = |text: &str| text.parse::<Cidr>().expect("it is a prefix");
            Prefix { cidr: read(cidr), except: except.map(read).into_iter().collect() }
        });
        let peers = if peers.is_empty() { Peers::Any } else { Peers::Prefixes(prefixes.collect()) };
        let services = ports.iter().map(|(first, last)| Service { protocol: Protocol::TCP, ports: *first..=*last });
        Rule { name: "rule".into(), action, tier, peers, services: services.collect(), rate: None }
    }

    #[test]
    fn wider_peers_and_ports_cover_narrower_ones() {
        let allow = |peers: &[&str], ports: &[(u16, u16)]| rule(Action::Allow, 0, peers, ports);
        let wide = allow(&["10.0.0.0/8"], &[(80, 90)]);
        assert!(covers(&wide, &allow(&["10.1.0.0/16", "10.2.0.0/16"], &[(80, 80), (85, 90)])));
        assert!(!covers(&wide, &allow(&["10.1.0.0/16", "11.0.0.0/8"], &[(80, 80)])));
        assert!(!covers(&wide, &allow(&["10.1.0.0/16"], &[(80, 91)])));
        assert!(!covers(&wide, &allow(&["10.1.0.0/16"], &[])));
        assert!(covers(&allow(&[], &[]), &wide) && !covers(&wide, &allow(&[], &[(80, 80)])));
        assert!(covers(&allow(&["0.0.0.0/0", "::/0"], &[]), &allow(&[], &[])));
        let holed = allow(&["10.0.0.0/8-10.1.0.0/16"], &[]);
        assert!(!covers(&holed, &allow(&["10.1.2.0/24"], &[])) && covers(&holed, &allow(&["10.2.0.0/16"], &[])));
        assert!(covers(&holed, &allow(&["10.0.0.0/8-10.0.0.0/7"], &[])) && covers(&holed, &holed));
    }

    #[test]
    fn rules_meet_where_a_packet_matches_both() {
        let a = rule(Action::Allow, 0, &["10.0.0.0/8-10.1.0.0/16"], &[(80, 90)]);
        for (peers, ports, expected) in [
            (&["10.2.0.0/16"][..], &[(90, 99)][..], true),
            (&["10.2.0.0/16"], &[(91, 99)], false),
            (&["10.1.3.0/24"], &[(80, 80)], false),
            (&[], &[], true),
            (&["0.0.0.0/0"], &[], true),
        ] {
            assert_eq!(meets(&a, &rule(Action::Deny, 0, peers, ports)), expected, "{peers:?} {ports:?}");
        }
    }
}
