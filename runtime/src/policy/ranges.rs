//! Who is meant: the addresses of one family, cut where the set of rules whose peers hold them changes. Pure.

use super::rules::{Peers, Prefix, Side};
use crate::network::cidr::Cidr;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

/// From this address on, until the next start: the class, a set of rules. Addresses stand in the upper bits: IPv4 in the
/// upper 32, with the rest as if it were part of the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    pub first: u128,
    pub class: u32,
}

/// Sets of rules (indices into the side's, ascending), each with its number. Rules about everybody are in none.
#[derive(Debug, Default)]
pub struct Classes {
    sets: Vec<Vec<u32>>,
    numbers: HashMap<Vec<u32>, u32>,
}

impl Classes {
    fn number(&mut self, set: &BTreeSet<u32>) -> u32 {
        let set: Vec<u32> = set.iter().copied().collect();
        *self.numbers.entry(set).or_insert_with_key(|set| {
            self.sets.push(set.clone());
            self.sets.len() as u32 - 1
        })
    }

    /// In the order of their numbers.
    pub fn sets(&self) -> &[Vec<u32>] {
        &self.sets
    }
}

/// The address as [`Start`] has it.
pub fn aligned(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        IpAddr::V6(address) => address.into(),
    }
}

/// Every address of the family in order, from the first on.
pub fn starts(side: &Side, is_v4: bool, classes: &mut Classes) -> Vec<Start> {
    let mut changes = Vec::new();
    for (rule, peers) in side.rules.iter().map(|rule| &rule.peers).enumerate() {
        let Peers::Prefixes(prefixes) = peers else { continue };
        for (first, last) in held(prefixes.iter().filter(|prefix| prefix.cidr.is_v4() == is_v4)) {
            changes.push((first, rule as u32, true));
            changes.extend(last.checked_add(1).map(|behind| (behind, rule as u32, false)));
        }
    }
    changes.sort_unstable();
    let mut holding = BTreeSet::new();
    let mut starts: Vec<Start> = Vec::new();
    let mut changes = changes.into_iter().peekable();
    let mut first = 0;
    loop {
        while let Some((_, rule, begins)) = changes.next_if(|change| change.0 == first) {
            if begins {
                holding.insert(rule)
            } else {
                holding.remove(&rule)
            };
        }
        let class = classes.number(&holding);
        if starts.last().is_none_or(|last| last.class != class) {
            starts.push(Start { first, class });
        }
        match changes.peek() {
            Some(next) => first = next.0,
            None => return starts,
        }
    }
}

/// The addresses that any of the prefixes holds, as disjoint ranges with both ends, in order and not adjoining.
fn held<'a>(prefixes: impl Iterator<Item = &'a Prefix>) -> Vec<(u128, u128)> {
    let mut ranges: Vec<(u128, u128)> = prefixes.flat_map(without_exceptions).collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

fn without_exceptions(prefix: &Prefix) -> Vec<(u128, u128)> {
    let (first, last) = ends(prefix.cidr);
    let inside = prefix.except.iter().filter(|except| prefix.cidr.covers(**except) || except.covers(prefix.cidr));
    let mut holes: Vec<(u128, u128)> = inside.map(|except| ends(*except)).collect();
    holes.sort_unstable();
    let mut ranges = Vec::with_capacity(holes.len() + 1);
    let mut from = Some(first);
    for (hole_first, hole_last) in holes {
        let Some(begin) = from else { break };
        if hole_first > begin {
            ranges.push((begin, hole_first - 1));
        }
        from = hole_last.checked_add(1).map(|behind| behind.max(begin));
    }
    ranges.extend(from.filter(|begin| *begin <= last).map(|begin| (begin, last)));
    ranges
}

fn ends(cidr: Cidr) -> (u128, u128) {
    let first = aligned(cidr.address());
    (first, first | u128::MAX.checked_shr(cidr.length().into()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rules::{Action, Rule};

    fn cidr(text: &str) -> Cidr {
        text.parse().expect("it is a prefix")
    }

    #[test]
    fn exceptions_cut_their_prefix_and_neighbours_join() {
        let except = vec![cidr("10.1.0.0/16"), cidr("10.1.2.0/24"), cidr("10.255.0.0/16")];
        let prefixes = [Prefix { cidr: cidr("10.0.0.0/8"), except }, cidr("11.0.0.0/8").into()];
        let at = |text: &str| aligned(text.parse().expect("it is an address"));
        let one_before = |text: &str| at(text) - 1;
        assert_eq!(
            held(prefixes.iter()),
            [
                (at("10.0.0.0"), one_before("10.1.0.0")),
                (at("10.2.0.0"), one_before("10.255.0.0")),
                (at("11.0.0.0"), one_before("12.0.0.0"))
            ]
        );
    }

    #[test]
    fn whole_family_and_its_last_address_do_not_overflow() {
        for text in ["0.0.0.0/0", "::/0", "255.255.255.255/32", "ffff::/16"] {
            let rule = Rule {
                name: "all".into(),
                action: Action::Deny,
                tier: 0,
                peers: Peers::Prefixes(vec![cidr(text).into()]),
                services: Vec::new(),
                rate: None,
            };
            let side = Side { otherwise: Action::Allow, rules: vec![rule] };
            let mut classes = Classes::default();
            let starts = starts(&side, cidr(text).is_v4(), &mut classes);
            let last = starts.last().expect("there is a first").class as usize;
            assert_eq!(classes.sets()[last], [0], "{text}");
        }
    }
}
