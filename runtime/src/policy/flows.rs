//! Flows: what programs tell of single packets, as Hubble's policy verdicts: who it is between, and which policies decided.

use super::denial::{Denial, Outcome};
use super::inventory::Inventory;
use super::model::Policy;
use super::resolve::View;
use super::rules::{Action, Direction, Packet};
use super::site::Site;
use super::tables::Counters;
use super::verdict::MatchType;
use crate::diagnostic::Diagnostic;
use crate::kernel::{load, sys};
use crate::network::drop_reason::DropReason;
use crate::network::endpoint::{Endpoints, reserved};
use crate::network::flow::{self, Flow, Icmp, Ip, IpVersion, Layer4, Ports, Tcp, Verdict, event};
use crate::network::identity::Identity;
use crate::network::message::Text;
use crate::network::protocol::Protocol;
use crate::network::stamp::Stamp;
use crate::network::time::Time;
use std::collections::HashMap;

/// Who knows what a verdict rests on.
pub struct Witness {
    endpoints: Endpoints,
    /// By number, as origins of rules name them.
    deciders: Vec<Decider>,
    /// What holds at each site, by its name, and with staged policies.
    views: HashMap<String, [View; 2]>,
    stamp: Stamp,
}

struct Decider {
    policy: flow::Policy,
    log: Option<String>,
}

/// What a verdict rests on.
#[derive(Debug, Default, PartialEq)]
struct Ground {
    match_type: u32,
    /// Why it would be dropped, if anything was wrong with it.
    reason: DropReason,
    policy: Option<flow::Policy>,
    log: Option<String>,
}

impl Witness {
    /// Of policies at their sites.
    ///
    /// # Errors
    /// The machine has no random numbers, by which flows are told apart.
    pub fn new(inventory: &Inventory, policies: &[Policy], sites: &[Site]) -> Result<Witness, Diagnostic> {
        let stamp = Stamp::new(None)
            .map_err(|error| Diagnostic::machine(format!("failed to open `/dev/urandom`: {}", load::text(&error))))?;
        let views = |site: &Site| (site.name.clone(), [site.view.clone(), site.staged.clone().unwrap_or_default()]);
        Ok(Witness {
            endpoints: known(inventory),
            deciders: policies.iter().map(Decider::of).collect(),
            views: sites.iter().map(views).collect(),
            stamp,
        })
    }

    /// A verdict in Hubble's form; `None`: another one tells the same of the packet, or more.
    ///
    /// # Errors
    /// The machine has no more random numbers.
    pub fn flow(&mut self, denial: &Denial) -> Result<Option<Flow>, Diagnostic> {
        if self.is_told_elsewhere(denial) {
            return Ok(None);
        }
        let ground = self.ground(denial);
        let mut flow = between(denial);
        let age = sys::monotonic().saturating_sub(denial.time);
        flow.time = Text(Some(Time(Time::now().0.saturating_sub(age))));
        flow.event_type = Some(flow::EventType { kind: event::POLICY_VERDICT, sub_kind: 0 });
        flow.policy_match_type = ground.match_type;
        flow.policy_log = ground.log.into_iter().collect();
        let decided_by = ground.policy.into_iter().collect();
        match (denial.outcome, denial.direction) {
            (Outcome::Passed, Direction::Ingress) => flow.ingress_allowed_by = decided_by,
            (Outcome::Passed, Direction::Egress) => flow.egress_allowed_by = decided_by,
            (_, Direction::Ingress) => flow.ingress_denied_by = decided_by,
            (_, Direction::Egress) => flow.egress_denied_by = decided_by,
        }
        match denial.outcome {
            Outcome::Passed => flow.verdict = Verdict::Forwarded,
            Outcome::WouldDrop => flow.verdict = Verdict::Audit,
            Outcome::Dropped | Outcome::Refused => flow.dropped(ground.reason),
        }
        // Hubble says it of what goes on its way only.
        if flow.verdict != Verdict::Dropped {
            flow.answers(false);
        }
        self.endpoints.name(&mut flow);
        self.stamp
            .put(&mut flow)
            .map_err(|error| Diagnostic::machine(format!("failed to read `/dev/urandom`: {}", load::text(&error))))?;
        Ok(Some(flow))
    }

    /// Where there are staged policies, packets meet two programs. What is denied anyway is no news of theirs; that it
    /// passes is less than that they would deny it.
    fn is_told_elsewhere(&self, denial: &Denial) -> bool {
        let Some([firm, staged]) = self.views.get(&denial.met.name) else { return false };
        let denies = |view: &View| view.verdict(&packet(denial)).action == Action::Deny;
        match denial.outcome {
            Outcome::Passed => denies(staged),
            _ => denial.met.staged && denies(firm),
        }
    }

    /// Asks the rules once more, which know more than the program said. Where they have been exchanged since, its word
    /// counts.
    fn ground(&self, denial: &Denial) -> Ground {
        let views = self.views.get(&denial.met.name).map(|views| &views[usize::from(denial.met.staged)]);
        let agreed = views.and_then(|view| {
            let verdict = view.verdict(&packet(denial));
            let rule = verdict.rule.and_then(|rule| view.rules.side(denial.direction).rules.get(rule));
            let name = rule.map_or(Counters::FIXED[0], |rule| &*rule.name);
            (name == &*denial.rule).then_some((view, verdict))
        });
        let is_a_rules = !denial.rule.starts_with('(');
        let by_name = is_a_rules.then(|| flow::Policy { name: denial.rule.to_string(), ..flow::Policy::default() });
        let denied = |explicitly| if explicitly { DropReason::POLICY_DENY } else { DropReason::POLICY_DENIED };
        let Some((view, verdict)) = agreed else {
            let reason = denied(is_a_rules);
            return Ground { match_type: MatchType::None as u32, reason, policy: by_name, log: None };
        };
        let origin = verdict.rule.and_then(|rule| view.origins(denial.direction).get(rule));
        let decider = origin.and_then(|origin| self.deciders.get(origin.policy?));
        Ground {
            match_type: verdict.match_type as u32,
            // An allow that drops is one whose rate is used up.
            reason: match verdict.action {
                Action::Deny => denied(verdict.rule.is_some()),
                Action::Allow => DropReason::RATE_LIMITED,
            },
            policy: match origin {
                Some(_) => decider.map(|decider| decider.policy.clone()),
                None => by_name,
            },
            log: decider.and_then(|decider| decider.log.clone()),
        }
    }
}

impl Decider {
    fn of(policy: &Policy) -> Decider {
        let id = &policy.id;
        let named = flow::Policy {
            name: id.name.to_string(),
            namespace: id.namespace.clone().unwrap_or_default(),
            labels: id.labels.clone(),
            revision: 0,
            kind: id.kind.name().to_owned(),
        };
        Decider { policy: named, log: policy.log.clone() }
    }
}

/// Who is behind an address.
fn known(inventory: &Inventory) -> Endpoints {
    let mut endpoints = Endpoints::default();
    let lists = [
        (&inventory.host, Identity::HOST),
        (&inventory.remote_nodes, Identity::REMOTE_NODE),
        (&inventory.kube_apiserver, Identity::KUBE_APISERVER),
    ];
    for (cidrs, identity) in lists {
        for cidr in cidrs.iter().flatten().filter(|cidr| cidr.is_host()) {
            endpoints.add_address(cidr.address(), reserved(identity));
        }
    }
    for one in &inventory.endpoints {
        let labels = inventory.labels(one).0.into_iter().map(|(key, value)| format!("k8s:{key}={value}"));
        let named = flow::Endpoint {
            namespace: one.namespace.clone().unwrap_or_default(),
            labels: labels.collect(),
            pod_name: one.name.clone(),
            ..flow::Endpoint::default()
        };
        one.addresses.iter().for_each(|address| endpoints.add_address(*address, named.clone()));
    }
    endpoints
}

fn packet(denial: &Denial) -> Packet {
    let peer = if denial.direction == Direction::Ingress { denial.source } else { denial.destination };
    Packet { direction: denial.direction, peer, protocol: denial.protocol, port: denial.port }
}

/// What is known of the packet itself.
fn between(denial: &Denial) -> Flow {
    let (from, to) = (denial.source_port, denial.port.unwrap_or_default());
    let ports = Ports { source_port: from, destination_port: to };
    let icmp = || denial.port.map(|kind| Icmp { kind: kind as u8, code: 0 });
    let l4 = match denial.protocol {
        Protocol::TCP => Some(Layer4::Tcp(Tcp { source_port: from, destination_port: to, flags: denial.flags })),
        Protocol::UDP => Some(Layer4::Udp(ports)),
        Protocol::SCTP => Some(Layer4::Sctp(ports)),
        Protocol::ICMP => icmp().map(Layer4::Icmpv4),
        Protocol::ICMPV6 => icmp().map(Layer4::Icmpv6),
        _ => None,
    };
    let version = if denial.destination.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
    // A call that was refused had no source yet.
    let source = Some(denial.source).filter(|address| !address.is_unspecified());
    let ip = Ip { source: Text(source), destination: Text(Some(denial.destination)), version, ..Ip::default() };
    let interface = denial.met.interface.as_ref();
    Flow {
        ip: Some(ip),
        l4: l4.filter(|_| denial.port.is_some()),
        traffic_direction: match denial.direction {
            Direction::Ingress => flow::Direction::Ingress,
            Direction::Egress => flow::Direction::Egress,
        },
        interface: interface.map(|one| flow::Interface { index: one.index, name: one.name.clone() }),
        cgroup_id: denial.met.cgroup,
        ..Flow::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::Script;
    use crate::policy::check::Report;
    use crate::policy::denial::Met;
    use crate::policy::site::sites;
    use crate::policy::suite::Suite;
    use std::sync::Arc;

    const POLICIES: &str = "\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web}}
  log: {value: by the book}
  ingress: [{fromEndpoints: [{matchLabels: {app: client}}], toPorts: [{ports: [{port: \"80\", protocol: TCP}]}]}]
  ingressDeny: [{toPorts: [{ports: [{port: \"81\", protocol: TCP}]}]}]
";
    const INVENTORY: &str = "\
endpoints:
- {name: web, namespace: shop, labels: {app: web}, match: {netns: web}, addresses: [10.9.0.3]}
- {name: client, namespace: shop, labels: {app: client}, match: {netns: client}, addresses: [10.9.0.2]}
host: [10.9.0.1]
";

    fn witness() -> Witness {
        let script = |name: &str, text: &str| Script { name: name.into(), text: text.to_owned().into() };
        let mut suite = Suite::new();
        suite.add_inventory(&script("i.yaml", INVENTORY));
        suite.add(script("p.yaml", POLICIES));
        let inventory = suite.inventory.clone().expect("it was added");
        let report = Report::of(suite);
        let found = sites(&report.cases[0]).expect("they have places");
        Witness::new(&inventory, &report.cases[0].policies, &found).expect("there are random numbers")
    }

    fn denial(rule: &str, outcome: Outcome, source: &str, port: u16) -> Denial {
        let met = Met { name: "web".into(), place: "tc:eth0".into(), staged: false, interface: None, cgroup: 0 };
        Denial {
            time: sys::monotonic(),
            met: Arc::new(met),
            rule: rule.into(),
            direction: Direction::Ingress,
            outcome,
            source: source.parse().expect("it is an address"),
            destination: "10.9.0.3".parse().expect("it is an address"),
            protocol: Protocol::TCP,
            source_port: 41234,
            port: Some(port),
            flags: flow::TcpFlags::SYN,
            bytes: 60,
        }
    }

    fn named(policies: &[flow::Policy]) -> Vec<(&str, &str)> {
        policies.iter().map(|policy| (policy.name.as_str(), policy.kind.as_str())).collect()
    }

    #[test]
    fn verdicts_name_ends_reasons_and_policies() {
        let mut witness = witness();
        let mut flow = |rule: &str, outcome, source: &str, port| {
            let flow = witness.flow(&denial(rule, outcome, source, port)).expect("there are random numbers");
            flow.expect("nobody else tells it")
        };
        let web = [("web", "CiliumNetworkPolicy")];
        let passed = flow("web", Outcome::Passed, "10.9.0.2", 80);
        assert_eq!((passed.verdict, passed.policy_match_type, passed.is_reply.0), (Verdict::Forwarded, 2, Some(false)));
        assert_eq!(named(&passed.ingress_allowed_by), web);
        assert_eq!(passed.policy_log, ["by the book"]);
        assert_eq!(passed.source.as_ref().map(|end| end.pod_name.as_str()), Some("client"));
        assert_eq!(passed.summary, "TCP Flags: SYN");
        let denied = flow("web", Outcome::Dropped, "10.9.0.2", 81);
        assert_eq!((denied.verdict, denied.drop_reason_desc), (Verdict::Dropped, DropReason::POLICY_DENY));
        assert_eq!((named(&denied.ingress_denied_by), denied.policy_match_type), (web.to_vec(), 3));
        assert_eq!(denied.is_reply.0, None);
        let nothing = flow("(no rule)", Outcome::Dropped, "198.51.100.7", 80);
        assert_eq!((nothing.drop_reason, nothing.policy_match_type), (133, 0));
        assert_eq!(nothing.ingress_denied_by.len(), 0);
        assert_eq!(nothing.source.map(|end| end.identity), Some(Identity::WORLD.0));
        let audited = flow("(no rule)", Outcome::WouldDrop, "10.9.0.1", 82);
        assert_eq!((audited.verdict, audited.drop_reason, audited.is_reply.0), (Verdict::Audit, 0, Some(false)));
        assert_eq!(audited.source.map(|end| end.identity), Some(Identity::HOST.0));
    }

    /// After a swap the program's word is all that there is.
    #[test]
    fn verdicts_of_rules_that_were_exchanged_go_by_their_names() {
        let mut witness = witness();
        let other = witness.flow(&denial("others", Outcome::Dropped, "10.9.0.2", 80));
        let other = other.expect("there are random numbers").expect("nobody else tells it");
        assert_eq!((other.drop_reason, other.policy_match_type), (181, 0));
        assert_eq!(named(&other.ingress_denied_by), [("others", "")]);
    }
}
