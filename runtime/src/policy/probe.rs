//! Tests of policies: a packet from here to there, and what should become of it.

use super::cilium::{Family, icmp_type};
use super::fields::Fields;
use super::inventory::Inventory;
use super::resolve::{Resolution, Resolved};
use super::rules::{Action, Direction, Packet};
use super::verdict::{MatchType, REASONS, Reason, Verdict};
use super::yaml::Node;
use crate::diagnostic::{Diagnostic, Position};
use crate::library::Script;
use crate::network::protocol::Protocol;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// One test, as it is written.
#[derive(Clone, Debug)]
pub struct Test {
    pub position: Option<Position>,
    pub source: Arc<Script>,
    /// An endpoint of the inventory, an interface or cgroup that a policy names, or an address.
    pub from: String,
    pub to: String,
    pub protocol: Protocol,
    /// Of ICMP: the type.
    pub port: Option<u16>,
    pub expect: Expect,
    pub reason: Option<Reason>,
    pub match_type: Option<MatchType>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Allow,
    Deny,
    /// It passes, and a staged policy would have denied it.
    Audit,
}

const EXPECTED: &[&str] = &["allow", "deny", "audit"];
const MATCHES: [MatchType; 7] = [
    MatchType::None,
    MatchType::L3Only,
    MatchType::L3L4,
    MatchType::L4Only,
    MatchType::All,
    MatchType::L3Proto,
    MatchType::ProtoOnly,
];

/// What both ends say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub expect: Expect,
    /// Of the end that decides: the one that denies, else the receiver's.
    pub verdict: Option<Verdict>,
    /// The place that decides, and the rule it rests on.
    pub by: Option<(String, Option<Arc<str>>)>,
    pub from: Option<IpAddr>,
    pub to: Option<IpAddr>,
}

impl Expect {
    pub fn name(self) -> &'static str {
        EXPECTED[self as usize]
    }
}

impl Test {
    pub fn read(node: &Node, source: &Arc<Script>) -> Result<Test, Diagnostic> {
        let known = ["from", "to", "proto", "port", "icmp_type", "expect", "reason", "match"];
        let fields = Fields::of(node, "a test", &known)?;
        let text = |key: &str| Ok::<_, Diagnostic>(fields.need(key)?.text(key)?.to_owned());
        let protocol = match fields.get("proto") {
            None => Protocol::TCP,
            Some(node) => {
                let text = node.text("proto")?;
                Protocol::named(text).ok_or_else(|| node.wrong(format!("there is no protocol `{text}`")))?
            }
        };
        let mut port = fields.get("port").map(|node| node.number("port", 0..=65535)).transpose()?.map(|n| n as u16);
        if let (Some(_), false) = (port, protocol.has_ports()) {
            return Err(Diagnostic::script(format!("{protocol} has no ports")).at(fields.place("port")));
        }
        if protocol.is_icmp() {
            let v4 = protocol == Protocol::ICMP;
            let family = if v4 { Family::V4 } else { Family::V6 };
            // An echo request, unless it is said.
            let echo = if v4 { 8 } else { 128 };
            port = Some(fields.get("icmp_type").map_or(Ok(echo), |node| icmp_type(node, family))?);
        }
        let expect = [Expect::Allow, Expect::Deny, Expect::Audit][fields.need("expect")?.word("expect", EXPECTED)?];
        let reason = fields.get("reason").map(|node| node.word("reason", REASONS)).transpose()?;
        let names = MATCHES.map(MatchType::name);
        let match_type = fields.get("match").map(|node| node.word("match", &names)).transpose()?;
        if reason.is_some() && expect == Expect::Allow {
            return Err(Diagnostic::script("what is allowed has no reason").at(fields.place("reason")));
        }
        Ok(Test {
            position: node.position,
            source: source.clone(),
            from: text("from")?,
            to: text("to")?,
            protocol,
            port,
            expect,
            reason: reason.map(|word| [Reason::PolicyDenied, Reason::PolicyDeny][word]),
            match_type: match_type.map(|word| MATCHES[word]),
        })
    }

    /// What becomes of it, for each pair of addresses of one family.
    ///
    /// # Errors
    /// An end that nobody knows, or one without an address that the other would have to judge.
    pub fn outcomes(&self, resolution: &Resolution, inventory: &Inventory) -> Result<Vec<Outcome>, Diagnostic> {
        let wrong = |message: String| Diagnostic::script(message).at(self.position);
        let end = |name: &str| {
            End::of(name, resolution, inventory)
                .ok_or_else(|| wrong(format!("`{name}` is no endpoint, place of a policy, or address")).span(name))
        };
        let (from, to) = (end(&self.from)?, end(&self.to)?);
        for (judge, name, other) in [(&from, &self.to, &to), (&to, &self.from, &from)] {
            if judge.place.is_some() && other.addresses == [None] {
                return Err(wrong(format!("`{name}` has no address by which the other end could judge it")).span(name));
            }
        }
        let mut outcomes = Vec::new();
        for source in &from.addresses {
            for destination in &to.addresses {
                if self.fits(*source, *destination) {
                    outcomes.push(self.outcome(&from, &to, *source, *destination));
                }
            }
        }
        if outcomes.is_empty() {
            return Err(wrong(format!(
                "no addresses of `{}` and `{}` fit each other and {}",
                self.from, self.to, self.protocol
            )));
        }
        Ok(outcomes)
    }

    fn fits(&self, source: Option<IpAddr>, destination: Option<IpAddr>) -> bool {
        let one_family =
            source.zip(destination).is_none_or(|(source, destination)| source.is_ipv4() == destination.is_ipv4());
        let family = match self.protocol {
            Protocol::ICMP => Some(true),
            Protocol::ICMPV6 => Some(false),
            _ => None,
        };
        let right = |address: IpAddr| family.is_none_or(|v4| address.is_ipv4() == v4);
        one_family && [source, destination].into_iter().flatten().all(right)
    }

    fn outcome(&self, from: &End<'_>, to: &End<'_>, source: Option<IpAddr>, destination: Option<IpAddr>) -> Outcome {
        let mut outcome = Outcome { expect: Expect::Allow, verdict: None, by: None, from: source, to: destination };
        let ends = [(from.place, Direction::Egress, destination), (to.place, Direction::Ingress, source)];
        for (place, direction, peer) in ends {
            let (Some(place), Some(peer)) = (place, peer) else { continue };
            let packet = Packet { direction, peer, protocol: self.protocol, port: self.port };
            let verdict = place.view.verdict(&packet);
            let staged = place.staged.as_ref().map(|view| view.verdict(&packet));
            let (expect, verdict, view) = match (verdict.action, staged, &place.staged) {
                (Action::Deny, ..) => (Expect::Deny, verdict, &place.view),
                (Action::Allow, Some(staged), Some(view)) if staged.action == Action::Deny => {
                    (Expect::Audit, staged, view)
                }
                _ => (Expect::Allow, verdict, &place.view),
            };
            // An end that only allows has less to say than one that would deny.
            if outcome.expect == Expect::Audit && expect == Expect::Allow {
                continue;
            }
            let rule = verdict.rule.and_then(|rule| view.rules.side(direction).rules.get(rule));
            outcome.by = Some((place.name.clone(), rule.map(|rule| rule.name.clone())));
            (outcome.expect, outcome.verdict) = (expect, Some(verdict));
            if expect == Expect::Deny {
                break;
            }
        }
        outcome
    }

    /// Is it what was expected?
    pub fn holds(&self, outcome: &Outcome) -> bool {
        let reason = outcome.verdict.and_then(|verdict| verdict.reason);
        let matched = outcome.verdict.map_or(MatchType::None, |verdict| verdict.match_type);
        outcome.expect == self.expect
            && self.reason.is_none_or(|wanted| reason == Some(wanted))
            && self.match_type.is_none_or(|wanted| matched == wanted)
    }
}

/// One end of a test.
struct End<'a> {
    place: Option<&'a Resolved>,
    /// One `None` where it has none.
    addresses: Vec<Option<IpAddr>>,
}

impl<'a> End<'a> {
    fn of(name: &str, resolution: &'a Resolution, inventory: &Inventory) -> Option<End<'a>> {
        let some = |addresses: &[IpAddr]| match addresses {
            [] => vec![None],
            addresses => addresses.iter().copied().map(Some).collect(),
        };
        let place = |wanted: &str| resolution.targets.iter().find(|target| target.name == wanted);
        if let Some(endpoint) = inventory.endpoint(name) {
            return Some(End { place: place(name), addresses: some(&endpoint.addresses) });
        }
        if let Some(target) = place(name) {
            return Some(End { place: Some(target), addresses: some(&target.addresses) });
        }
        let address: IpAddr = name.parse().ok()?;
        let owner = inventory.owner(address).and_then(|owner| place(&owner.name));
        Some(End { place: owner, addresses: vec![Some(address)] })
    }
}

impl fmt::Display for Test {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} -> {} {}", self.from, self.to, self.protocol)?;
        match self.port {
            Some(port) if self.protocol.is_icmp() => write!(out, " type {port}"),
            Some(port) => write!(out, "/{port}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.expect.name())?;
        if let Some(Verdict { reason, match_type, direction, .. }) = self.verdict {
            if let Some(reason) = reason {
                write!(out, " {}", reason.name())?;
            }
            write!(out, " ({}, {}", direction.name(), match_type.name())?;
            if let Some((place, rule)) = &self.by {
                write!(out, ", {place}")?;
                if let Some(rule) = rule {
                    write!(out, " by {rule}")?;
                }
            }
            out.write_str(")")?;
        }
        Ok(())
    }
}
