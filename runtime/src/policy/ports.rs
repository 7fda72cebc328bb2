//! What is said of one set of peers: for a protocol a verdict for every port, settled here, so that programs only look up.

use super::rules::{Rule, Service, Side};
use super::tables::Verdict;
use crate::network::protocol::Protocol;
use std::collections::BTreeMap;

/// From this port on, until the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortStart {
    pub first: u16,
    pub verdict: Verdict,
}

/// Every port's verdict, and that of packets without one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decisions {
    pub no_port: Verdict,
    /// In order, the first from 0 on.
    pub starts: Vec<PortStart>,
}

impl Decisions {
    /// Where it is the same for all.
    pub fn constant(&self) -> Option<Verdict> {
        (self.starts.len() == 1 && self.starts[0].verdict == self.no_port).then_some(self.no_port)
    }
}

/// Decides by `rules`, indices in the order in which they are asked. `protocol`: `None` is any that no rule names.
pub fn decide(
    side: &Side,
    rules: &[u32],
    protocol: Option<Protocol>,
    otherwise: Verdict,
    verdict: impl Fn(u32) -> Verdict,
) -> Decisions {
    let constant = |verdict| Decisions { no_port: verdict, starts: vec![PortStart { first: 0, verdict }] };
    // The first rule that says anything often says all.
    let first = |number: &u32| Some((*number, ports_of(&side.rules[*number as usize], protocol).next()?));
    match rules.iter().find_map(first) {
        None => return constant(otherwise),
        Some((number, ports)) if *ports == Service::EVERY_PORT => return constant(verdict(number)),
        Some(_) => {}
    }
    // Ports that no rule has decided yet: first -> last.
    let mut open = BTreeMap::from([(0, u16::MAX)]);
    let mut decided: Vec<(u16, Verdict)> = Vec::new();
    let mut no_port = None;
    for &number in rules {
        let rule = &side.rules[number as usize];
        for ports in ports_of(rule, protocol) {
            if *ports == Service::EVERY_PORT {
                no_port.get_or_insert(verdict(number));
            }
            let (first, last) = (*ports.start(), *ports.end());
            let touched: Vec<(u16, u16)> = open
                .range(..=last)
                .rev()
                .take_while(|(_, end)| **end >= first)
                .map(|(begin, end)| (*begin, *end))
                .collect();
            for (begin, end) in touched {
                open.remove(&begin);
                if begin < first {
                    open.insert(begin, first - 1);
                }
                if end > last {
                    open.insert(last + 1, end);
                }
                decided.push((begin.max(first), verdict(number)));
            }
        }
        if open.is_empty() && no_port.is_some() {
            break;
        }
    }
    decided.extend(open.keys().map(|first| (*first, otherwise)));
    decided.sort_unstable_by_key(|(first, _)| *first);
    decided.dedup_by_key(|(_, verdict)| *verdict);
    let starts = decided.into_iter().map(|(first, verdict)| PortStart { first, verdict }).collect();
    Decisions { no_port: no_port.unwrap_or(otherwise), starts }
}

fn ports_of(rule: &Rule, protocol: Option<Protocol>) -> impl Iterator<Item = &std::ops::RangeInclusive<u16>> {
    const ALL: &[std::ops::RangeInclusive<u16>] = &[Service::EVERY_PORT];
    let whatever = if rule.services.is_empty() { ALL } else { &[] };
    let named = rule.services.iter().filter(move |service| Some(service.protocol) == protocol);
    whatever.iter().chain(named.map(|service| &service.ports).filter(|ports| !ports.is_empty()))
}
