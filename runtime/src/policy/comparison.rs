//! The rules of one place beside each other: which of them decides nothing, and which lose a part to another policy.

use super::covers::{atoms, covers, meets, precedes};
use super::model::Policy;
use super::resolve::{Origin, View};
use super::rules::{Action, Direction, Peers, Rule};
use crate::network::cidr::Cidr;
use std::collections::{BTreeSet, HashMap};

/// What is left of one rule at one place.
pub enum Fate {
    Needed,
    /// By those, each of which decides first.
    Shadowed(Vec<String>),
    /// By another that does the same.
    Said(String),
}

/// What is left of a clause, over all rules that it became.
#[derive(Default)]
pub struct Compared {
    needed: bool,
    shadowed: BTreeSet<String>,
    said: BTreeSet<String>,
}

pub struct Comparison<'a> {
    policies: &'a [Policy],
    rules: &'a [Rule],
    origins: &'a [Origin],
    /// By each of their prefixes, so that of many rules few have to be looked at.
    by_prefix: HashMap<Cidr, Vec<usize>>,
    anybody: Vec<usize>,
    denies: Vec<usize>,
}

/// An allow rule is held against so many deny rules for a part that it loses; a long list of denied prefixes in front of
/// everything is no conflict.
const MOST_DENIES: usize = 200;

impl<'a> Comparison<'a> {
    pub fn of(policies: &'a [Policy], view: &'a View, side: Direction) -> Comparison<'a> {
        let (rules, origins) = (&view.rules.side(side).rules[..], view.origins(side));
        let mut by_prefix: HashMap<Cidr, Vec<usize>> = HashMap::new();
        let mut anybody = Vec::new();
        for (n, rule) in rules.iter().enumerate() {
            match &rule.peers {
                Peers::Any => anybody.push(n),
                Peers::Prefixes(prefixes) => {
                    for prefix in prefixes {
                        by_prefix.entry(prefix.cidr).or_default().push(n);
                    }
                }
            }
        }
        let denies = (0..rules.len()).filter(|n| rules[*n].action == Action::Deny).collect();
        Comparison { policies, rules, origins, by_prefix, anybody, denies }
    }

    /// Rules that may hold all of a prefix, or everybody, in order.
    fn around(&self, cidr: Option<Cidr>) -> Vec<usize> {
        let lengths = |cidr: Cidr| (0..=cidr.length()).filter_map(move |length| Cidr::of(cidr.address(), length));
        let wider: Vec<Cidr> = match cidr {
            Some(cidr) => lengths(cidr).collect(),
            None => vec![Cidr::ALL_V4, Cidr::ALL_V6],
        };
        let known = wider.iter().filter_map(|cidr| self.by_prefix.get(cidr)).flatten();
        let mut around: Vec<usize> = known.chain(&self.anybody).copied().collect();
        around.sort_unstable();
        around.dedup();
        around
    }

    pub fn fate(&self, n: usize) -> Fate {
        let rule = &self.rules[n];
        // What is about nobody has said so already.
        if rule.peers.are_nobody() {
            return Fate::Needed;
        }
        if let Some(by) = self.shadows(n) {
            return Fate::Shadowed(by.into_iter().map(|other| self.place(other)).collect());
        }
        match self.twin(n) {
            Some(other) => Fate::Said(self.place(other)),
            None => Fate::Needed,
        }
    }

    /// The rules that leave this one nothing to decide, each of which decides before it.
    fn shadows(&self, n: usize) -> Option<Vec<usize>> {
        let rule = &self.rules[n];
        let mut by = Vec::new();
        for atom in atoms(rule) {
            let around = self.around(atom.prefix.map(|prefix| prefix.cidr));
            let holds = |other: &usize| precedes(&self.rules[*other], rule) && atom.lies_in(&self.rules[*other]);
            let shadow = around.into_iter().find(holds)?;
            if !by.contains(&shadow) {
                by.push(shadow);
            }
        }
        Some(by)
    }

    /// Another that does all that this one does. Of two that do the same, the later is the one too many.
    fn twin(&self, n: usize) -> Option<usize> {
        let (rule, origin) = (&self.rules[n], &self.origins[n]);
        let first = match &rule.peers {
            Peers::Any => None,
            Peers::Prefixes(prefixes) => prefixes.first().map(|prefix| prefix.cidr),
        };
        let place = |n: usize| (self.origins[n].policy, self.origins[n].position);
        self.around(first).into_iter().find(|other| {
            let (known, from) = (&self.rules[*other], &self.origins[*other]);
            place(*other) != place(n)
                && from.policy.is_some()
                && (from.beyond, origin.beyond) == (None, None)
                && (known.action, known.tier, known.rate) == (rule.action, rule.tier, rule.rate)
                && covers(known, rule)
                && (!covers(rule, known) || place(*other) < place(n))
        })
    }

    /// Another policy's deny rule of the same tier that takes a part from this allow rule, and goes beyond it.
    pub fn conflict(&self, n: usize) -> Option<String> {
        let (rule, origin) = (&self.rules[n], &self.origins[n]);
        if rule.action == Action::Deny || self.denies.len() > MOST_DENIES {
            return None;
        }
        let other = self.denies.iter().copied().find(|other| {
            let deny = &self.rules[*other];
            deny.tier == rule.tier
                && self.origins[*other].policy != origin.policy
                && meets(deny, rule)
                && !covers(deny, rule)
                && !covers(rule, deny)
        })?;
        Some(format!("`{}` overlaps with deny rule {}: denied where both match", rule.name, self.place(other)))
    }

    /// `name` (file:line:column)
    fn place(&self, n: usize) -> String {
        let (rule, origin) = (&self.rules[n], &self.origins[n]);
        let file = origin.policy.and_then(|policy| self.policies[policy].source.as_ref());
        match (file, origin.position) {
            (Some(file), Some(place)) => format!("`{}` ({}:{}:{})", rule.name, file.name, place.line, place.column),
            _ => format!("`{}`", rule.name),
        }
    }
}

impl Compared {
    pub fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Needed => self.needed = true,
            Fate::Shadowed(by) => self.shadowed.extend(by),
            Fate::Said(by) => {
                self.said.insert(by);
            }
        }
    }

    /// What its author should know.
    pub fn said(self) -> Option<String> {
        let list = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(" and ");
        match (self.needed, self.said.is_empty()) {
            (true, _) => None,
            (false, true) => Some(format!("this rule never decides: it stands behind {}", list(self.shadowed))),
            (false, false) => Some(format!("this rule says nothing beyond {}", list(self.said))),
        }
    }
}
