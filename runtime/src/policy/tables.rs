//! Tables: one direction's rules, compiled into arrays that answer a packet in a few reads. Tiers and deny over allow are
//! settled here. Pure; the programs of `policy.bpf.c` read the same arrays.
//!
//! ```text
//! peer ─► trie ─► answer: a verdict, or a row ─► cell of the protocol: a verdict, or ports ─► verdict of the port
//! ```

use super::ports::{self, Decisions, PortStart};
use super::ranges::{self, Classes};
use super::rules::{Action, Direction, Packet, Peers, Rate, Rule, Side};
use super::trie::Trie;
use crate::diagnostic::Diagnostic;
use crate::network::protocol::Protocol;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Verdict of one rule, or of no rule: what is counted, and what is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Verdict(pub u32);

impl Verdict {
    const DENY: u32 = 1;
    /// An allow that holds for so much only.
    const LIMITED: u32 = 2;
    /// Bits left of a reference's own two marks.
    const ROOM: u32 = 1 << 28;

    fn new(action: Action, counter: u32, rate: Option<Rate>) -> Verdict {
        let deny = if action == Action::Deny { Verdict::DENY } else { 0 };
        let limited = if rate.is_some() { Verdict::LIMITED } else { 0 };
        Verdict(counter << 2 | limited | deny)
    }

    pub fn action(self) -> Action {
        if self.0 & Verdict::DENY != 0 { Action::Deny } else { Action::Allow }
    }

    /// An index into [`Counters`].
    pub fn counter(self) -> u32 {
        self.0 >> 2
    }
}

/// What is counted: rules by name and direction, and what is no rule's. Rules of one name and rate are one.
#[derive(Clone, Debug)]
pub struct Counters {
    list: Vec<Counter>,
    numbers: HashMap<Counter, u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Counter {
    pub rule: Arc<str>,
    pub direction: Direction,
    pub rate: Option<Rate>,
}

impl Counters {
    /// What programs know by number, of both directions in turn: what no rule matches comes first.
    pub const FIXED: [&str; 3] = ["(no rule)", "(replies)", "(never dropped)"];

    fn number(&mut self, rule: &Rule, direction: Direction) -> u32 {
        let key = Counter { rule: rule.name.clone(), direction, rate: rule.rate };
        *self.numbers.entry(key).or_insert_with_key(|key| {
            self.list.push(key.clone());
            self.list.len() as u32 - 1
        })
    }

    pub fn get(&self, number: u32) -> Option<&Counter> {
        self.list.get(number as usize)
    }

    /// In the order of their numbers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Counter> {
        self.list.iter()
    }
}

impl Default for Counters {
    fn default() -> Counters {
        let both = |name: &str| {
            [Direction::Ingress, Direction::Egress].map(|direction| Counter {
                rule: name.into(),
                direction,
                rate: None,
            })
        };
        Counters { list: Counters::FIXED.into_iter().flat_map(both).collect(), numbers: HashMap::new() }
    }
}

/// A verdict for all ports (`count` is 0), or where those of each port stand: first that of no port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cell {
    pub at: u32,
    pub count: u32,
}

/// One direction, compiled.
#[derive(Clone, Debug)]
pub struct Tables {
    pub trie: Trie,
    /// Which cell of a row a protocol has.
    pub columns: [u8; 256],
    /// Rows, one behind the other.
    pub cells: Vec<Cell>,
    /// Port lists, one behind the other.
    pub ports: Vec<PortStart>,
    /// Of packets that are not understood.
    pub otherwise: Verdict,
    /// Is there a rule that denies, or one with a rate?
    pub denies: bool,
    pub limits: bool,
}

/// In an answer of the trie: it is a verdict. Otherwise a row's first cell.
pub const DECIDED: u32 = 1 << 30;
/// No table has more entries: 512 MB of the largest.
const ROOM: usize = 1 << 24;

impl Tables {
    /// Compiles one direction; `counters` keeps the numbers of names that it has.
    ///
    /// # Errors
    /// A *script* diagnostic: the rules are more than a table can hold.
    pub fn compile(side: &Side, direction: Direction, counters: &mut Counters) -> Result<Tables, Diagnostic> {
        let mut classes = Classes::default();
        let mut families = [true, false].map(|is_v4| ranges::starts(side, is_v4, &mut classes));
        let verdicts: Vec<Verdict> = side
            .rules
            .iter()
            .map(|rule| Verdict::new(rule.action, counters.number(rule, direction), rule.rate))
            .collect();
        let protocols: BTreeSet<Protocol> =
            side.rules.iter().flat_map(|rule| &rule.services).map(|service| service.protocol).collect();
        // The first column is that of protocols without a name in any rule, as long as there is one.
        let unnamed = (protocols.len() < 256).then_some(None);
        let protocols: Vec<Option<Protocol>> = unnamed.into_iter().chain(protocols.into_iter().map(Some)).collect();
        let mut columns = [0; 256];
        for (column, protocol) in protocols.iter().enumerate() {
            columns[protocol.map_or(0, |protocol| usize::from(protocol.0))] = column as u8;
        }
        let otherwise = Verdict::new(side.otherwise, u32::from(direction == Direction::Egress), None);
        let mut rows = Rows {
            side,
            verdicts: &verdicts,
            protocols,
            everybody: (0..side.rules.len() as u32)
                .filter(|rule| side.rules[*rule as usize].peers == Peers::Any)
                .collect(),
            otherwise,
            known: HashMap::new(),
            lists: HashMap::new(),
            cells: Vec::new(),
            ports: Vec::new(),
        };
        let mut answers = Vec::with_capacity(classes.sets().len());
        for set in classes.sets() {
            answers.push(rows.answer(set));
            too_large(rows.cells.len().max(rows.ports.len()), side)?;
        }
        for starts in &mut families {
            starts.iter_mut().for_each(|start| start.class = answers[start.class as usize]);
            starts.dedup_by_key(|start| start.class);
        }
        let mut trie = Trie::new(families.iter().map(Vec::len).max().unwrap_or(0));
        families.iter().zip([true, false]).for_each(|(starts, is_v4)| trie.add(starts, is_v4));
        too_large(trie.nodes.len().max(trie.answers.len()), side)?;
        if counters.list.len() >= Verdict::ROOM as usize {
            too_large(usize::MAX, side)?;
        }
        let denies = side.rules.iter().any(|rule| rule.action == Action::Deny);
        let limits = side.rules.iter().any(|rule| rule.rate.is_some());
        Ok(Tables { trie, columns, cells: rows.cells, ports: rows.ports, otherwise, denies, limits })
    }

    /// What the programs do with a packet.
    pub fn judge(&self, packet: &Packet) -> Verdict {
        let answer = self.trie.find(ranges::aligned(packet.peer), packet.peer.is_ipv4());
        if answer & DECIDED != 0 {
            return Verdict(answer & !DECIDED);
        }
        let cell = self.cells[answer as usize + usize::from(self.columns[usize::from(packet.protocol.0)])];
        if cell.count == 0 {
            return Verdict(cell.at);
        }
        let (at, count) = (cell.at as usize, cell.count as usize);
        let Some(port) = packet.port else { return self.ports[at].verdict };
        let list = &self.ports[at + 1..at + count];
        list[list.partition_point(|start| start.first <= port) - 1].verdict
    }
}

fn too_large(entries: usize, side: &Side) -> Result<(), Diagnostic> {
    if entries <= ROOM {
        return Ok(());
    }
    let rules = side.rules.len();
    Err(Diagnostic::script(format!("{rules} rules of one direction need more than {ROOM} entries in a table"))
        .help("give rules that share peers the same prefixes, or fewer port ranges"))
}

/// Rows under construction; equal ones are one.
struct Rows<'a> {
    side: &'a Side,
    verdicts: &'a [Verdict],
    protocols: Vec<Option<Protocol>>,
    everybody: Vec<u32>,
    otherwise: Verdict,
    known: HashMap<Vec<Cell>, u32>,
    lists: HashMap<Decisions, Cell>,
    cells: Vec<Cell>,
    ports: Vec<PortStart>,
}

impl Rows<'_> {
    /// What the trie answers for a class.
    fn answer(&mut self, set: &[u32]) -> u32 {
        let mut rules: Vec<u32> = set.iter().chain(&self.everybody).copied().collect();
        rules.sort_unstable_by_key(|number| {
            let rule = &self.side.rules[*number as usize];
            (rule.tier, rule.action == Action::Allow, *number)
        });
        let row: Vec<Cell> =
            (0..self.protocols.len()).map(|column| self.cell(&rules, self.protocols[column])).collect();
        if row[0].count == 0 && row.iter().all(|cell| *cell == row[0]) {
            return DECIDED | row[0].at;
        }
        *self.known.entry(row).or_insert_with_key(|row| {
            self.cells.extend(row);
            (self.cells.len() - row.len()) as u32
        })
    }

    fn cell(&mut self, rules: &[u32], protocol: Option<Protocol>) -> Cell {
        let decisions =
            ports::decide(self.side, rules, protocol, self.otherwise, |number| self.verdicts[number as usize]);
        if let Some(verdict) = decisions.constant() {
            return Cell { at: verdict.0, count: 0 };
        }
        *self.lists.entry(decisions).or_insert_with_key(|decisions| {
            let at = self.ports.len() as u32;
            self.ports.push(PortStart { first: 0, verdict: decisions.no_port });
            self.ports.extend(&decisions.starts);
            Cell { at, count: self.ports.len() as u32 - at }
        })
    }
}
