//! Longest prefixes: from an address to what is said of it in two to four reads, for 100,000 prefixes as for one.
//!
//! A poptrie (Asai and Ohara, SIGCOMM 2015) with skipped bits: up to 16 bits index a table, each node below takes 6 more, and its
//! children and answers are found by counting bits. Where all that differs lies behind a longer common prefix, a node
//! checks that prefix at once, so that IPv6 is no deeper than IPv4. `policy/lookup.bpf.h` reads the same arrays.

use super::ranges::Start;

/// Bits that index the root table at most, and bits of a node.
const ROOT_BITS: u32 = 16;
const NODE_BITS: u32 = 6;
/// Starts of ranges that nodes alone hold in one or two levels.
const FEW: usize = 16;
/// Set in a reference: it is an answer, not a node's number.
pub const ANSWER: u32 = 1 << 31;
/// A node compares at most so many bits.
const LONGEST_CHECK: u32 = 63;

/// One node. Its entries are references: nodes side by side from `child_base` on, answers from `answer_base` on, where
/// equal neighbours share one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Entries that are nodes.
    pub children: u64,
    /// Entries where another answer begins.
    pub answers: u64,
    /// What the `checked` bits from bit `from` on must be, else the answer is `miss`.
    pub expected: u64,
    pub child_base: u32,
    pub answer_base: u32,
    pub miss: u32,
    pub from: u8,
    pub checked: u8,
    /// The first of the bits that choose an entry.
    pub at: u8,
    pub kind: Kind,
}

/// How a node comes to its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// It has a child or an answer for each entry.
    #[default]
    Branches,
    /// It has no children, and two answers: `answer_base`, and for entries whose bit is set in `answers`, `child_base`.
    /// That saves the read of the answer where many prefixes say the same.
    Chooses,
    /// One prefix is all that is left: the address as a whole, of which the bits of `answers` count, is compared with
    /// `expected`; of IPv6 those are its lower 64 bits, which `children` has, and all of the upper ones.
    Compares,
}

impl Node {
    pub const SIZE: usize = 40;

    /// As `struct node` has it.
    pub fn bytes(&self) -> [u8; Node::SIZE] {
        let mut bytes = [0; Node::SIZE];
        for (at, word) in [self.children, self.answers, self.expected].into_iter().enumerate() {
            bytes[8 * at..8 * at + 8].copy_from_slice(&word.to_ne_bytes());
        }
        for (at, word) in [self.child_base, self.answer_base, self.miss].into_iter().enumerate() {
            bytes[24 + 4 * at..28 + 4 * at].copy_from_slice(&word.to_ne_bytes());
        }
        bytes[36..].copy_from_slice(&[self.from, self.checked, self.at, self.kind as u8]);
        bytes
    }
}

/// The arrays; both families share nodes and answers.
#[derive(Clone, Debug)]
pub struct Trie {
    /// So many bits index the roots.
    pub root_bits: u32,
    /// A reference for every value of the first bits: IPv4's, then IPv6's.
    pub roots: Vec<u32>,
    pub nodes: Vec<Node>,
    pub answers: Vec<u32>,
}

impl Trie {
    /// For so many starts: a root for each of them, none where nodes hold them all. Roots that are never looked at cost
    /// nothing; those that are, a line of the cache each.
    pub fn new(starts: usize) -> Trie {
        let root_bits = if starts < FEW { 0 } else { starts.ilog2().min(ROOT_BITS) };
        Trie { root_bits, roots: Vec::new(), nodes: Vec::new(), answers: Vec::new() }
    }

    /// Adds a family: its addresses from the first on. The classes of the starts are the answers, below [`ANSWER`].
    pub fn add(&mut self, starts: &[Start], is_v4: bool) {
        let mut from = 0;
        for slot in 0..1u128 << self.root_bits {
            let first = slot.checked_shl(128 - self.root_bits).unwrap_or(0);
            let part = Part::below(starts, first, self.root_bits, &mut from);
            let reference = match part.answer(starts) {
                Some(answer) => ANSWER | answer,
                None => {
                    self.nodes.push(Node::default());
                    let number = self.nodes.len() - 1;
                    self.fill(number, starts, part, is_v4);
                    number as u32
                }
            };
            self.roots.push(reference);
        }
    }

    fn fill(&mut self, number: usize, starts: &[Start], part: Part, is_v4: bool) {
        if let Some(only) = part.only_prefix(starts, is_v4) {
            self.nodes[number] = only;
            return;
        }
        let at = part.skipped_to(starts);
        let checked = at.saturating_sub(part.length);
        let base = if checked == 0 { part.first } else { starts[part.from + 1].first } & !(u128::MAX >> at);
        let mut node = Node {
            expected: (window(base, part.length) >> 1) >> (LONGEST_CHECK - checked),
            miss: starts[part.from].class,
            from: part.length as u8,
            checked: checked as u8,
            at: at as u8,
            child_base: self.nodes.len() as u32,
            answer_base: self.answers.len() as u32,
            ..Node::default()
        };
        let mut from = part.from;
        let entries: Vec<Part> = (0..1u128 << NODE_BITS)
            .map(|entry| Part::below(starts, base | entry << (128 - NODE_BITS - at), at + NODE_BITS, &mut from))
            .collect();
        if let Some((first, second, bits)) = two_answers(&entries, starts) {
            let choice = Node { answers: bits, answer_base: first, child_base: second, kind: Kind::Chooses, ..node };
            self.nodes[number] = choice;
            return;
        }
        let mut last = None;
        for (entry, part) in entries.iter().enumerate() {
            match part.answer(starts) {
                None => node.children |= 1 << entry,
                answer if answer == last => {}
                Some(answer) => {
                    node.answers |= 1 << entry;
                    self.answers.push(answer);
                    last = Some(answer);
                }
            }
        }
        self.nodes.resize(self.nodes.len() + node.children.count_ones() as usize, Node::default());
        let children = entries.into_iter().filter(|part| part.answer(starts).is_none());
        for (child, part) in children.enumerate() {
            self.fill(node.child_base as usize + child, starts, part, is_v4);
        }
        self.nodes[number] = node;
    }

    /// The answer for an address as [`Start`] has it. The program does the same.
    pub fn find(&self, address: u128, is_v4: bool) -> u32 {
        let family = if is_v4 { 0 } else { 1 << self.root_bits };
        let slot = address.checked_shr(128 - self.root_bits).unwrap_or(0);
        let mut reference = self.roots[family + slot as usize];
        while reference & ANSWER == 0 {
            let node = &self.nodes[reference as usize];
            if node.kind == Kind::Compares {
                let (high, low) = ((address >> 64) as u64, address as u64);
                let equal = match is_v4 {
                    true => high & node.answers == node.expected,
                    false => high == node.expected && low & node.answers == node.children,
                };
                return if equal { node.answer_base } else { node.miss };
            }
            if (window(address, node.from.into()) >> 1) >> (LONGEST_CHECK - u32::from(node.checked)) != node.expected {
                return node.miss;
            }
            let entry = 1u64 << (window(address, node.at.into()) >> (64 - NODE_BITS));
            if node.kind == Kind::Chooses {
                return if node.answers & entry != 0 { node.child_base } else { node.answer_base };
            }
            if node.children & entry == 0 {
                let begun = (node.answers & (entry | (entry - 1))).count_ones();
                return self.answers[(node.answer_base + begun - 1) as usize];
            }
            reference = node.child_base + (node.children & (entry - 1)).count_ones();
        }
        reference & !ANSWER
    }
}

/// Both answers and where the second one stands, if there are no more.
fn two_answers(entries: &[Part], starts: &[Start]) -> Option<(u32, u32, u64)> {
    let first = entries.first()?.answer(starts)?;
    let (mut second, mut bits) = (first, 0);
    for (at, entry) in entries.iter().enumerate() {
        let answer = entry.answer(starts)?;
        if answer != first {
            if second != first && second != answer {
                return None;
            }
            second = answer;
            bits |= 1 << at;
        }
    }
    Some((first, second, bits))
}

/// The 64 bits of an address from bit `from` on.
fn window(address: u128, from: u32) -> u64 {
    ((address << from) >> 64) as u64
}

/// The addresses that share the first `length` bits of `first`: they lie in `starts[from..=to]`.
#[derive(Clone, Copy)]
struct Part {
    first: u128,
    length: u32,
    from: usize,
    to: usize,
}

impl Part {
    /// `from` is where the part before it ended, and where this one does afterwards.
    fn below(starts: &[Start], first: u128, length: u32, from: &mut usize) -> Part {
        let last = first | u128::MAX.checked_shr(length).unwrap_or(0);
        let end_of = |bound: u128, mut at: usize| {
            while starts.get(at + 1).is_some_and(|next| next.first <= bound) {
                at += 1;
            }
            at
        };
        let begin = end_of(first, *from);
        let to = end_of(last, begin);
        *from = to;
        Part { first, length, from: begin, to }
    }

    /// Where all of it has one.
    fn answer(&self, starts: &[Start]) -> Option<u32> {
        (self.from == self.to).then(|| starts[self.from].class)
    }

    /// The node that compares, if one prefix is all that has another answer than the rest.
    fn only_prefix(&self, starts: &[Start], is_v4: bool) -> Option<Node> {
        let &[outside, inside, behind] = &starts[self.from..=self.to] else { return None };
        let differs = inside.first ^ (behind.first - 1);
        let is_prefix = differs & (differs + 1) == 0 && inside.first & differs == 0;
        // Half of an IPv6 address is all that one mask covers.
        if outside.class != behind.class || !is_prefix || !(is_v4 || differs >> 64 == 0) {
            return None;
        }
        let (high, low) = ((inside.first >> 64) as u64, inside.first as u64);
        let node = Node {
            expected: high,
            answer_base: inside.class,
            miss: outside.class,
            kind: Kind::Compares,
            ..Node::default()
        };
        Some(match is_v4 {
            true => Node { answers: !((differs >> 64) as u64), ..node },
            false => Node { answers: !(differs as u64), children: low, ..node },
        })
    }

    /// How many leading bits are the same wherever the answer is not that of both edges.
    fn skipped_to(&self, starts: &[Start]) -> u32 {
        if starts[self.from].class != starts[self.to].class {
            return self.length.min(128 - NODE_BITS);
        }
        let (first, last) = (starts[self.from + 1].first, starts[self.to].first - 1);
        let common = (first ^ last).leading_zeros();
        common.clamp(self.length, self.length + LONGEST_CHECK).min(128 - NODE_BITS)
    }
}
