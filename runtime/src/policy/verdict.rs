//! Verdicts in Hubble's words: what matched, and why something was dropped.

use super::resolve::View;
use super::rules::{Action, Direction, Judged, Packet, Peers, Rule, Service};

/// What of a packet a rule went by. The numbers are those of Hubble's `policy_match_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchType {
    None = 0,
    L3Only = 1,
    L3L4 = 2,
    L4Only = 3,
    All = 4,
    L3Proto = 5,
    ProtoOnly = 6,
}

impl MatchType {
    /// Which is looked up first. Source: Cilium's order of lookups.
    pub fn rank(self) -> u8 {
        match self {
            MatchType::L3L4 => 0,
            MatchType::L3Proto => 1,
            MatchType::L3Only => 2,
            MatchType::L4Only => 3,
            MatchType::ProtoOnly => 4,
            MatchType::All => 5,
            MatchType::None => 6,
        }
    }

    /// As Hubble's compact text has it.
    pub fn name(self) -> &'static str {
        match self {
            MatchType::None => "none",
            MatchType::L3Only => "L3-Only",
            MatchType::L3L4 => "L3-L4",
            MatchType::L4Only => "L4-Only",
            MatchType::All => "all",
            MatchType::L3Proto => "L3-Proto",
            MatchType::ProtoOnly => "Proto-Only",
        }
    }
}

impl Rule {
    /// Of a rule whose services are all of one kind, as [`super::resolve`] makes them.
    pub fn match_type(&self) -> MatchType {
        let anyone = self.peers == Peers::Any;
        let whole = self.services.iter().all(|service| service.ports == Service::EVERY_PORT);
        match (self.services.is_empty(), whole, anyone) {
            (true, _, true) => MatchType::All,
            (true, _, false) => MatchType::L3Only,
            (_, true, true) => MatchType::ProtoOnly,
            (_, true, false) => MatchType::L3Proto,
            (_, false, true) => MatchType::L4Only,
            (_, false, false) => MatchType::L3L4,
        }
    }
}

/// Why a packet is dropped. The numbers are those of Hubble's `drop_reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nothing allows it.
    PolicyDenied = 133,
    /// A rule denies it.
    PolicyDeny = 181,
}

pub const REASONS: &[&str] = &["POLICY_DENIED", "POLICY_DENY"];

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Reason::PolicyDenied => REASONS[0],
            Reason::PolicyDeny => REASONS[1],
        }
    }
}

/// What one end says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub direction: Direction,
    pub action: Action,
    /// The rule it rests on, by number.
    pub rule: Option<usize>,
    pub match_type: MatchType,
    pub reason: Option<Reason>,
}

impl View {
    pub fn verdict(&self, packet: &Packet) -> Verdict {
        let Judged { action, rule } = self.rules.judge(packet);
        let rules = &self.rules.side(packet.direction).rules;
        let match_type = rule.and_then(|rule| rules.get(rule)).map_or(MatchType::None, Rule::match_type);
        let reason =
            (action == Action::Deny).then_some(if rule.is_some() { Reason::PolicyDeny } else { Reason::PolicyDenied });
        Verdict { direction: packet.direction, action, rule, match_type, reason }
    }
}
