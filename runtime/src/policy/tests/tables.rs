//! Tables say what the rules say, and the trie what a look at every prefix says.

use super::random::Random;
use crate::network::cidr::Cidr;
use crate::policy::ranges::{Start, aligned};
use crate::policy::rules::{Action, Direction, Packet, Peers, Rule, Rules, Service, Side};
use crate::policy::tables::{Counters, Tables};
use crate::policy::trie::{Kind, Trie};
use std::collections::BTreeMap;
use std::net::IpAddr;

fn agree(tables: &Tables, counters: &Counters, rules: &Rules, packet: &Packet) {
    let judged = rules.judge(packet);
    let verdict = tables.judge(packet);
    let name = judged.rule.map_or("(no rule)", |rule| &*rules.ingress.rules[rule].name);
    let counted = counters.get(verdict.counter()).map(|counter| &*counter.rule);
    assert_eq!((verdict.action(), counted), (judged.action, Some(name)), "{packet:?} {rules:#?}");
}

#[test]
fn tables_judge_random_packets_as_random_rules_do() {
    let mut random = Random(2);
    for _ in 0..300 {
        let rules = Rules { ingress: random.side(), egress: Side::default() };
        let mut counters = Counters::default();
        let tables = Tables::compile(&rules.ingress, Direction::Ingress, &mut counters).expect("they are few");
        for _ in 0..1_000 {
            agree(&tables, &counters, &rules, &random.packet(Direction::Ingress));
        }
        // Just inside and outside of every prefix.
        let prefixes = rules.ingress.rules.iter().filter_map(|rule| match &rule.peers {
            Peers::Prefixes(prefixes) => Some(prefixes),
            Peers::Any => None,
        });
        for cidr in prefixes.flatten().flat_map(|prefix| prefix.except.iter().chain([&prefix.cidr])) {
            for peer in edges(*cidr) {
                agree(&tables, &counters, &rules, &Packet { peer, ..random.packet(Direction::Ingress) });
            }
        }
    }
}

fn edges(cidr: Cidr) -> Vec<IpAddr> {
    let back = |address: u128| match cidr.is_v4() {
        true => IpAddr::V4(((address >> 96) as u32).into()),
        false => IpAddr::V6(address.into()),
    };
    let one = if cidr.is_v4() { 1 << 96 } else { 1 };
    let first = aligned(cidr.address());
    let last = first | u128::MAX.checked_shr(cidr.length().into()).unwrap_or(0);
    [first, first.wrapping_sub(one), last, last.wrapping_add(one)].map(back).to_vec()
}

/// Just inside and outside of a rule's prefixes.
pub fn edges_of(rule: &Rule) -> Vec<IpAddr> {
    match &rule.peers {
        Peers::Prefixes(prefixes) => prefixes.iter().flat_map(|prefix| edges(prefix.cidr)).collect(),
        Peers::Any => Vec::new(),
    }
}

#[test]
fn all_protocols_may_be_named() {
    let services = (0..=255).map(|number| Service::any_port(crate::network::protocol::Protocol(number))).collect();
    let rule = Rule { name: "all".into(), action: Action::Deny, tier: 0, peers: Peers::Any, services, rate: None };
    let rules = Rules { ingress: Side { otherwise: Action::Allow, rules: vec![rule] }, egress: Side::default() };
    let mut counters = Counters::default();
    let tables = Tables::compile(&rules.ingress, Direction::Ingress, &mut counters).expect("it is one");
    let mut random = Random(3);
    for _ in 0..1_000 {
        agree(&tables, &counters, &rules, &random.packet(Direction::Ingress));
    }
}

/// Prefixes of all lengths with the answers 1, 2, 3, …, and what an address has by the longest of them.
struct Naive {
    by_length: BTreeMap<u32, BTreeMap<u128, u32>>,
}

impl Naive {
    fn new(random: &mut Random, is_v4: bool, count: u32) -> Naive {
        let mut by_length: BTreeMap<u32, BTreeMap<u128, u32>> = BTreeMap::new();
        for answer in 1..=count {
            let width = if is_v4 { 32 } else { 128 };
            // Half of them under one short prefix, as the lists that people have are.
            let common = if answer % 2 == 0 { 0 } else { width / 4 };
            let length = 1 + random.below(width) as u32;
            let address = aligned(random.address(is_v4)) & u128::MAX >> common;
            let first = address & !u128::MAX.checked_shr(length).unwrap_or(0);
            by_length.entry(length).or_default().insert(first, answer);
        }
        Naive { by_length }
    }

    fn find(&self, address: u128) -> u32 {
        let answers = self
            .by_length
            .iter()
            .rev()
            .find_map(|(length, prefixes)| prefixes.get(&(address & !u128::MAX.checked_shr(*length).unwrap_or(0))));
        answers.copied().unwrap_or(0)
    }

    fn starts(&self) -> Vec<Start> {
        let mut bounds = std::collections::BTreeSet::from([0]);
        for (length, prefixes) in &self.by_length {
            for first in prefixes.keys() {
                bounds.insert(*first);
                bounds.extend((first | u128::MAX.checked_shr(*length).unwrap_or(0)).checked_add(1));
            }
        }
        let mut starts: Vec<Start> = bounds.into_iter().map(|first| Start { first, class: self.find(first) }).collect();
        starts.dedup_by_key(|start| start.class);
        starts
    }
}

#[test]
fn address_alone_is_found_in_one_node() {
    for (address, length, is_v4) in [(0x2001_0db8 << 96 | 7, 128, false), (0x0a01_0203 << 96, 32, true)] {
        let mut trie = Trie::new(3);
        let starts = [(0, 1), (address, 2), (address + (1 << (128 - length)), 1)];
        trie.add(&starts.map(|(first, class)| Start { first, class }), is_v4);
        assert_eq!((trie.nodes.len(), trie.answers.len()), (1, 0));
        assert_eq!(trie.nodes[0].kind, Kind::Compares);
    }
}

#[test]
fn trie_finds_the_longest_of_nested_prefixes() {
    let mut random = Random(5);
    // With as many roots as there would be for them, and for none, some, a lot more.
    let sizes = [0, 1, 2, 17, 1_000, 5_000]
        .map(|count| [(count, 2 * count as usize), (count, 0), (count, 40), (count, 1 << 20)]);
    for (count, size) in sizes.into_iter().flatten() {
        let families = [true, false].map(|is_v4| Naive::new(&mut random, is_v4, count));
        let mut trie = Trie::new(size);
        families.iter().zip([true, false]).for_each(|(naive, is_v4)| trie.add(&naive.starts(), is_v4));
        for (naive, is_v4) in families.iter().zip([true, false]) {
            let bounds: Vec<u128> = naive.starts().iter().map(|start| start.first).collect();
            let steps = if is_v4 { 1u128 << 96 } else { 1 };
            let near = bounds.iter().flat_map(|bound| [*bound, bound.wrapping_sub(steps), bound.wrapping_add(steps)]);
            let any: Vec<u128> = (0..20_011).map(|_| aligned(random.address(is_v4))).collect();
            for address in near.chain(any) {
                assert_eq!(trie.find(address, is_v4), naive.find(address), "{count} of {size}: {address:x}");
            }
        }
    }
}
