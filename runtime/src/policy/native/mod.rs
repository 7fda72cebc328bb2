//! skep's own policies: the same fields whether a file says them or a script.

mod services;

use self::services::{rate, services};
use super::fields::Fields;
use super::labels::Selector;
use super::model::{Choice, Clause, Id, Kind, Mode, Peer, Point, Policy, Scope, Subject, TIER, Who};
use super::rules::{Action, Direction, Prefix};
use super::yaml::{Node, Value};
use crate::diagnostic::Diagnostic;
use crate::report::units::parse_duration;
use std::sync::Arc;
use std::time::Duration;

pub const POLICY: &[&str] = &[
    "apiVersion",
    "kind",
    "name",
    "at",
    "interface",
    "cgroup",
    "endpoints",
    "otherwise",
    "mode",
    "ttl",
    "log",
    "rules",
    "tests",
];
const RULE: &[&str] =
    &["name", "src", "dst", "proto", "port", "dport", "icmp_type", "direction", "tier", "rate", "interface", "cgroup"];
pub const POINTS: &[&str] = &["xdp", "tc", "cgroup"];
pub const MODES: &[&str] = &["audit", "enforce"];
const ACTIONS: &[&str] = &["allow", "deny"];

/// A policy that is being said, rule by rule.
#[derive(Clone, Debug)]
pub struct Draft {
    policy: Policy,
    otherwise: Option<Node>,
}

/// Reads a document of `kind: Policy`, or one that has `rules`.
///
/// # Errors
/// A script diagnostic: unknown keys, and what no rule can mean.
pub fn read(node: &Node) -> Result<Policy, Diagnostic> {
    let fields = Fields::of(node, "a policy", POLICY)?;
    let name = fields.text("name")?.unwrap_or("policy");
    let (subject, key) = subject(&fields)?;
    let mut draft = Draft::new(name, subject);
    draft.policy.position = node.position;
    draft.policy.enforced(fields.place(key), key);
    for (key, set) in [
        ("at", Draft::at as fn(&mut Draft, &Node) -> _),
        ("mode", Draft::mode),
        ("ttl", Draft::ttl),
        ("otherwise", Draft::otherwise),
    ] {
        if let Some(node) = fields.get(key) {
            set(&mut draft, node)?;
            draft.policy.enforced(fields.place(key), key);
        }
    }
    if fields.get("rules").is_some() {
        draft.policy.enforced(fields.place("rules"), "rules");
    }
    draft.policy.log = fields.text("log")?.map(str::to_owned);
    for item in fields.list("rules")? {
        let rule = Fields::of(item, "an item of `rules`", ACTIONS)?;
        let (action, said) = match (rule.get("allow"), rule.get("deny")) {
            (Some(said), None) => (Action::Allow, said),
            (None, Some(said)) => (Action::Deny, said),
            _ => {
                return Err(item
                    .wrong("a rule is either `allow: {…}` or `deny: {…}`")
                    .help("- deny: {src: 10.0.0.0/8}"));
            }
        };
        draft.rule(action, said)?;
    }
    draft.finish()
}

fn subject(fields: &Fields<'_>) -> Result<(Subject, &'static str), Diagnostic> {
    let names = |node: &Node, what: &str| {
        node.one_or_more().iter().map(|item| item.text(what).map(str::to_owned)).collect::<Result<Vec<_>, _>>()
    };
    match (fields.get("interface"), fields.get("cgroup"), fields.get("endpoints")) {
        (Some(node), None, None) => Ok((Subject::Interfaces(names(node, "interface")?), "interface")),
        (None, Some(node), None) => Ok((Subject::Cgroups(names(node, "cgroup")?), "cgroup")),
        (None, None, Some(node)) => Ok((Subject::Endpoints(choice(node)?), "endpoints")),
        _ => Err(Diagnostic::script("a policy says where it holds: one of `interface`, `cgroup` and `endpoints`")
            .help("interface: eth0")
            .at(fields.position)),
    }
}

fn choice(node: &Node) -> Result<Choice, Diagnostic> {
    Ok(Choice { labels: Selector::read(node, "a selector")?, scope: Scope::Anywhere })
}

impl Draft {
    pub fn new(name: &str, subject: Subject) -> Draft {
        let id = Id { kind: Kind::Policy, name: name.into(), namespace: None, labels: Vec::new() };
        Draft { policy: Policy::new(id, None, subject), otherwise: None }
    }

    /// What reports call it, and rules that have no name of their own.
    pub fn name(&mut self, name: &str) {
        self.policy.id = Arc::new(Id { name: name.into(), ..(*self.policy.id).clone() });
    }

    /// # Errors
    /// A script diagnostic: no place where packets are judged.
    pub fn at(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let point = [Point::Xdp, Point::Tc, Point::Cgroup][node.word("at", POINTS)?];
        let fits = match self.policy.subject {
            Subject::Interfaces(_) => point != Point::Cgroup,
            Subject::Cgroups(_) => point == Point::Cgroup,
            _ => true,
        };
        if !fits {
            let error = node.wrong("interfaces are guarded at `xdp` or `tc`, cgroups at `cgroup`");
            return Err(error);
        }
        self.policy.settings.point = Some(point);
        Ok(())
    }

    /// # Errors
    /// A script diagnostic: neither audit nor enforce.
    pub fn mode(&mut self, node: &Node) -> Result<(), Diagnostic> {
        self.policy.settings.mode = Some([Mode::Audit, Mode::Enforce][node.word("mode", MODES)?]);
        Ok(())
    }

    /// # Errors
    /// A script diagnostic: no time, or none at all.
    pub fn ttl(&mut self, node: &Node) -> Result<(), Diagnostic> {
        let text = node.text("ttl")?;
        let nanos = parse_duration(text).filter(|nanos| *nanos > 0);
        let nanos = nanos.ok_or_else(|| node.wrong(format!("`{text}` is no time")).help("30s, 10m or 2h"))?;
        self.policy.settings.ttl = Some(Duration::from_nanos(nanos));
        Ok(())
    }

    /// What befalls what no rule is about: `allow` or `deny`, or a map of both directions. A bare `deny` is for the
    /// directions that have rules.
    ///
    /// # Errors
    /// A script diagnostic: neither.
    pub fn otherwise(&mut self, node: &Node) -> Result<(), Diagnostic> {
        match &node.value {
            Value::Map(_) => {
                let fields = Fields::of(node, "`otherwise`", &["ingress", "egress"])?;
                for direction in Direction::BOTH {
                    fields.get(direction.name()).map(|node| node.word(direction.name(), ACTIONS)).transpose()?;
                }
            }
            _ => {
                node.word("otherwise", ACTIONS)?;
            }
        }
        self.otherwise = Some(node.clone());
        Ok(())
    }

    /// Adds a rule of these fields: `src` or `dst`, `proto`, `port` (or `dport`), `icmp_type`, `direction`, `tier`,
    /// `rate`, `name`, and `interface` or `cgroup` where it holds for one of several only.
    ///
    /// # Errors
    /// A script diagnostic: unknown fields, and what no rule can mean.
    pub fn rule(&mut self, action: Action, node: &Node) -> Result<(), Diagnostic> {
        let fields = Fields::of(node, "a rule", RULE)?;
        let (who, directions) = self.peers(&fields)?;
        let mut clause = Clause::new(node.position, action, who, services(&fields)?);
        clause.name = fields.text("name")?.map(Into::into);
        clause.tier = fields.get("tier").map_or(Ok(TIER.into()), |node| node.number("tier", 0..=9999))? as u32;
        if let Some(node) = fields.get("rate") {
            if action == Action::Deny {
                return Err(Diagnostic::script("what is denied has no rate").at(fields.place("rate")));
            }
            clause.rate = Some(rate(node)?);
        }
        if fields.get("interface").is_some() || fields.get("cgroup").is_some() {
            let known = |name: &&str| fields.get(name).is_some();
            let only: Node = ["interface", "cgroup"]
                .into_iter()
                .filter(known)
                .filter_map(|name| Some((name, fields.get(name)?.clone())))
                .collect();
            clause.only = Some(subject(&Fields::of(&only, "a rule", RULE)?)?.0);
        }
        for direction in directions {
            self.policy.part_mut(direction).clauses.push(clause.clone());
        }
        Ok(())
    }

    /// The other end, and the directions in which it is that.
    fn peers(&self, fields: &Fields<'_>) -> Result<(Who, Vec<Direction>), Diagnostic> {
        let said = fields.get("direction").map(|node| node.word("direction", &["ingress", "egress"])).transpose()?;
        let said = said.map(|word| Direction::BOTH[word]);
        let (key, implied) = match (fields.get("src"), fields.get("dst")) {
            (Some(_), Some(_)) => {
                let error = Diagnostic::script("a rule names one end; the other is where the policy holds");
                return Err(error.help("`src` of what comes in, `dst` of what goes out").at(fields.place("dst")));
            }
            (Some(_), None) => ("src", Some(Direction::Ingress)),
            (None, Some(_)) => ("dst", Some(Direction::Egress)),
            (None, None) => ("", None),
        };
        if let (Some(said), Some(implied)) = (said, implied)
            && said != implied
        {
            let other = if key == "src" { "dst" } else { "src" };
            let message = format!("`{key}` of {} is the place where the policy holds", said.name());
            return Err(Diagnostic::script(message).help(other).at(fields.place(key)));
        }
        let xdp = self.policy.settings.point == Some(Point::Xdp);
        let directions = match said.or(implied) {
            Some(Direction::Egress) if xdp => {
                let error = Diagnostic::script("xdp sees only what comes in");
                return Err(error.help("at: tc").at(fields.place(if said.is_some() { "direction" } else { key })));
            }
            Some(direction) => vec![direction],
            None if xdp => vec![Direction::Ingress],
            None => Direction::BOTH.to_vec(),
        };
        let Some(node) = fields.get(key) else { return Ok((Who::Anyone, directions)) };
        let peers = node.one_or_more().iter().map(|item| match &item.value {
            Value::Map(_) => Ok(Peer::Endpoints(choice(item)?, item.position)),
            _ => Ok(Peer::Prefix(Prefix::from(item.cidr(key)?))),
        });
        Ok((Who::Of(peers.collect::<Result<_, Diagnostic>>()?), directions))
    }

    /// # Errors
    /// A script diagnostic: it says nothing at all.
    pub fn finish(mut self) -> Result<Policy, Diagnostic> {
        let policy = &mut self.policy;
        let says = |direction| !policy.part(direction).clauses.is_empty();
        let (ingress, egress) = (says(Direction::Ingress), says(Direction::Egress));
        if !ingress && !egress && self.otherwise.is_none() {
            let error = Diagnostic::script("a policy needs `rules`, or says what befalls everything");
            return Err(error.help("otherwise: deny").at(policy.position));
        }
        if let Some(node) = &self.otherwise {
            for (direction, has) in Direction::BOTH.into_iter().zip([ingress, egress]) {
                let nothing_said = !ingress && !egress;
                let reached = direction == Direction::Ingress || policy.settings.point != Some(Point::Xdp);
                policy.part_mut(direction).isolates = match &node.value {
                    Value::Map(_) => {
                        let fields = Fields::of(node, "`otherwise`", &["ingress", "egress"])?;
                        fields.text(direction.name())? == Some("deny")
                    }
                    _ => node.text("otherwise")? == "deny" && (has || nothing_said) && reached,
                };
            }
        }
        Ok(self.policy)
    }
}

#[cfg(test)]
mod tests {
    use super::super::inventory::Inventory;
    use super::super::model::Settings;
    use super::super::resolve::resolve;
    use super::super::rules::Packet;
    use super::*;
    use crate::network::protocol::Protocol;

    /// As a script says it: `policy("xdp", "eth0").deny(#{ src: "10.0.0.0/8", proto: "tcp", dport: 22 }).otherwise("allow")`.
    #[test]
    fn script_says_the_same_fields_as_a_file() {
        let mut draft = Draft::new("guard", Subject::Interfaces(vec!["eth0".into()]));
        draft.at(&"xdp".into()).expect("it is a place");
        let fields = [("src", "10.0.0.0/8".into()), ("proto", "tcp".into()), ("dport", 22.into())];
        draft.rule(Action::Deny, &fields.into_iter().collect()).expect("it is a rule");
        draft.otherwise(&"allow".into()).expect("it is an action");
        draft.mode(&"enforce".into()).expect("it is a mode");
        draft.ttl(&"10m".into()).expect("it is a time");
        let policy = draft.finish().expect("it says something");
        let wanted =
            Settings { point: Some(Point::Xdp), mode: Some(Mode::Enforce), ttl: Some(Duration::from_secs(600)) };
        assert_eq!(policy.settings, wanted);
        let resolution = resolve(&[policy], &Inventory::default()).expect("it resolves");
        let rules = &resolution.targets[0].view.rules;
        let judge = |peer: &str, port| {
            let peer = peer.parse().expect("it is an address");
            rules
                .judge(&Packet { direction: Direction::Ingress, peer, protocol: Protocol::TCP, port: Some(port) })
                .action
        };
        assert_eq!((judge("10.1.2.3", 22), judge("10.1.2.3", 23)), (Action::Deny, Action::Allow));
        assert_eq!(judge("11.1.2.3", 22), Action::Allow);
    }

    #[test]
    fn errors_of_a_script_name_the_field() {
        let mut draft = Draft::new("guard", Subject::Interfaces(vec!["eth0".into()]));
        let fields = [("source", "10.0.0.0/8".into())];
        let error = draft.rule(Action::Deny, &fields.into_iter().collect::<Node>()).expect_err("it is unknown");
        assert_eq!((error.message.as_str(), error.position), ("a rule has no `source`", None));
        let fields = [("src", "10.0.0.1/8".into())];
        let error = draft.rule(Action::Deny, &fields.into_iter().collect::<Node>()).expect_err("it has host bits");
        assert_eq!(error.help.as_deref(), Some("10.0.0.0/8"));
    }

    #[test]
    fn bare_deny_is_for_the_directions_that_have_rules() {
        let isolates = |at: Option<&str>, rule: Option<(&'static str, &'static str)>| {
            let mut draft = Draft::new("p", Subject::Interfaces(vec!["eth0".into()]));
            if let Some(at) = at {
                draft.at(&at.into()).expect("it is a place");
            }
            if let Some((key, value)) = rule {
                draft.rule(Action::Allow, &[(key, value.into())].into_iter().collect()).expect("it is a rule");
            }
            draft.otherwise(&"deny".into()).expect("it is an action");
            let policy = draft.finish().expect("it says something");
            (policy.ingress.isolates, policy.egress.isolates)
        };
        assert_eq!(isolates(None, Some(("src", "10.0.0.0/8"))), (true, false));
        assert_eq!(isolates(None, Some(("dst", "10.0.0.0/8"))), (false, true));
        assert_eq!(isolates(None, Some(("proto", "tcp"))), (true, true));
        assert_eq!(isolates(None, None), (true, true));
        assert_eq!(isolates(Some("xdp"), None), (true, false));
    }
}
