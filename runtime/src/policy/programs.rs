//! Programs of a direction with their tables: loaded anew for every set of rules, since a swap exchanges all of it at once.

use super::rules::{Action, Direction};
use super::tables::{Counters, Tables};
use crate::diagnostic::Diagnostic;
use crate::kernel::load::{self, Request};
use crate::kernel::map::{self, Map, Shape};
use crate::kernel::network::Hook;
use crate::kernel::ring::Ring;
use skep_templates::catalog::Catalog;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;

pub const TEMPLATE: &str = "policy";
/// Four outcomes with packets and bytes, and a tick of the clock.
const COUNTS: u32 = 80;
/// Fragments whose first one is remembered, at most.
const FRAGMENTS: u32 = 4096;
/// Samples of denials that wait to be read.
const SAMPLES: u64 = 256 << 10;
/// Words of a value in tables of single words.
const WORDS: usize = 16;

/// What goes on over swaps: connections, counters, and how long denials are enforced.
#[derive(Debug)]
pub struct Kept {
    pub counters: Map,
    pub settings: Map,
    pub denials: Map,
    connections: Map,
    fragments: Map,
    rates: Map,
}

impl Kept {
    /// `rules`: how many names there may ever be.
    ///
    /// # Errors
    /// The kernel's.
    pub fn create(rules: u32, connections: u32) -> io::Result<Kept> {
        let map = |name: &str, map_type, key_size, value_size, max_entries| {
            Map::create(name, Shape { map_type, key_size, value_size, max_entries })
        };
        Ok(Kept {
            counters: map("counters", map::PERCPU_ARRAY, 4, COUNTS, rules)?,
            settings: map("settings", map::ARRAY, 4, 8, 1)?,
            denials: Ring::create(SAMPLES)?,
            connections: map("connections", map::LRU_HASH, 40, 16, connections)?,
            fragments: map("fragments", map::LRU_HASH, 40, 4, FRAGMENTS)?,
            rates: map("rates", map::ARRAY, 4, 24, rules)?,
        })
    }

    /// How many rules by name it has room for.
    pub fn room(&self) -> u32 {
        self.rates.shape.max_entries
    }

    /// Says how much each limited rule lets pass.
    ///
    /// # Errors
    /// The kernel's.
    pub fn limit(&self, counters: &Counters) -> io::Result<()> {
        for (number, counter) in counters.iter().enumerate() {
            let Some(rate) = counter.rate else { continue };
            let interval = 1_000_000_000 / rate.packets.max(1);
            let span = interval.saturating_mul(rate.burst.max(1));
            let value: Vec<u8> = [interval, span, 0].iter().flat_map(|word: &u64| word.to_ne_bytes()).collect();
            self.rates.update(&(number as u32).to_ne_bytes(), &value)?;
        }
        Ok(())
    }

    fn maps(&self) -> io::Result<HashMap<String, Map>> {
        let maps = [
            ("counters", &self.counters),
            ("settings", &self.settings),
            ("denials", &self.denials),
            ("connections", &self.connections),
            ("fragments", &self.fragments),
            ("rates", &self.rates),
        ];
        maps.into_iter().map(|(name, map)| Ok((name.to_owned(), map.try_clone()?))).collect()
    }
}

/// Loads a direction's programs, in the order of `hooks`; `flags` are constants of the template.
///
/// # Errors
/// A machine diagnostic: no privilege, no memory, a kernel that refuses.
pub fn load(
    catalog: &Catalog,
    hooks: &[Hook],
    direction: Direction,
    tables: &Tables,
    kept: &Kept,
    flags: &[(&str, bool)],
) -> Result<Vec<OwnedFd>, Diagnostic> {
    let refused = |error: io::Error| load::refused("policy", &error);
    let template = catalog.get(TEMPLATE);
    let template = template.ok_or_else(|| Diagnostic::bug(format!("template `{TEMPLATE}` is not in this binary")))?;
    let mut maps = kept.maps().map_err(refused)?;
    maps.extend(filled(tables).map_err(refused)?);
    let flag = |name: &str, is_set: bool| (name.to_owned(), vec![u8::from(is_set)]);
    // A fragment takes nothing from a rate that its first one has taken from: they are told apart as where ports matter.
    let asks_ports = !tables.ports.is_empty() || tables.limits || flags.iter().any(|(_, is_set)| *is_set);
    let mut constants = vec![
        flag("leaves", direction == Direction::Egress),
        flag("samples", true),
        flag("limits", tables.limits),
        ("otherwise".to_owned(), tables.otherwise.0.to_ne_bytes().to_vec()),
        flag("asks_ports", asks_ports),
        ("columns".to_owned(), tables.columns.to_vec()),
        ("root_bits".to_owned(), tables.trie.root_bits.to_ne_bytes().to_vec()),
    ];
    constants.extend(flags.iter().map(|(name, is_set)| flag(name, *is_set)));
    let programs: Vec<_> = hooks.iter().map(|hook| (name(*hook).to_owned(), hook.program_kind())).collect();
    let request = Request {
        template: TEMPLATE,
        object: template.object(),
        constants: &constants,
        slots: &[],
        programs: &programs,
        module_types: None,
        maps,
    };
    Ok(load::load(request)?.programs)
}

/// The program for a hook.
fn name(hook: Hook) -> &'static str {
    match hook {
        Hook::Xdp => "policy_xdp",
        Hook::TcIngress | Hook::TcEgress => "policy_tc",
        Hook::CgroupIngress => "policy_in",
        Hook::CgroupEgress => "policy_out",
        Hook::Connect4 => "policy_connect4",
        Hook::Connect6 => "policy_connect6",
        Hook::Sendmsg4 => "policy_sendmsg4",
        Hook::Sendmsg6 => "policy_sendmsg6",
    }
}

fn filled(tables: &Tables) -> io::Result<Vec<(String, Map)>> {
    let pair = |first: u32, second: u32| [first.to_ne_bytes(), second.to_ne_bytes()].concat();
    let list = [
        ("roots", words(&tables.trie.roots), 4 * WORDS),
        ("answers", words(&tables.trie.answers), 4 * WORDS),
        ("nodes", tables.trie.nodes.iter().flat_map(|node| node.bytes()).collect(), super::trie::Node::SIZE),
        ("cells", tables.cells.iter().flat_map(|cell| pair(cell.at, cell.count)).collect(), 8),
        ("ports", tables.ports.iter().flat_map(|start| pair(start.first.into(), start.verdict.0)).collect(), 8),
    ];
    let mut maps = Vec::with_capacity(list.len());
    for (name, values, size) in list {
        let max_entries = (values.len() / size).max(1) as u32;
        let map = Map::create(name, Shape { map_type: map::ARRAY, key_size: 4, value_size: size as u32, max_entries })?;
        map.fill(&values)?;
        maps.push((name.to_owned(), map));
    }
    Ok(maps)
}

/// Single words, filled up to whole values.
fn words(words: &[u32]) -> Vec<u8> {
    let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.resize(bytes.len().next_multiple_of(4 * WORDS), 0);
    bytes
}

/// Packets and bytes of each outcome: passed, dropped, would be dropped, refused to the caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    pub passed: Traffic,
    pub dropped: Traffic,
    pub would_drop: Traffic,
    pub refused: Traffic,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}

impl Outcomes {
    /// Of every CPU, as the kernel has them.
    pub fn read(per_cpu: &[u8]) -> Outcomes {
        let mut sums = [0u64; COUNTS as usize / 8];
        for (at, word) in per_cpu.chunks_exact(8).enumerate() {
            let word = word.try_into().map_or(0, u64::from_ne_bytes);
            let at = at % sums.len();
            sums[at] = sums[at].wrapping_add(word);
        }
        let traffic = |outcome: usize| Traffic { packets: sums[2 * outcome], bytes: sums[2 * outcome + 1] };
        Outcomes { passed: traffic(0), dropped: traffic(1), would_drop: traffic(2), refused: traffic(3) }
    }

    pub fn is_empty(&self) -> bool {
        *self == Outcomes::default()
    }

    pub fn add(&mut self, other: &Outcomes) {
        let pairs = [
            (&mut self.passed, other.passed),
            (&mut self.dropped, other.dropped),
            (&mut self.would_drop, other.would_drop),
            (&mut self.refused, other.refused),
        ];
        for (sum, more) in pairs {
            sum.packets += more.packets;
            sum.bytes += more.bytes;
        }
    }
}

/// Can rules deny anything? Only then do replies need a way past them.
pub fn can_deny(tables: &Tables) -> bool {
    let denies = |verdict: super::tables::Verdict| verdict.action() == Action::Deny;
    denies(tables.otherwise) || tables.limits || tables.denies
}
