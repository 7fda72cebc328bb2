//! Sites: policies as they are written, seen with the inventory, become rules for places of this machine. Pure up to
//! [`Site::find`], which looks for the place.

use super::check::Checked;
use super::inventory;
use super::model::{Mode, Point, Policy};
use super::place::Place;
use super::resolve::{Resolved, View};
use crate::diagnostic::Diagnostic;
use crate::kernel::netns;
use crate::kernel::network::Interface;
use std::time::Duration;

/// One endpoint, interface or cgroup, and what is to hold there.
#[derive(Clone, Debug)]
pub struct Site {
    /// The endpoint's in the inventory, or the interface's or cgroup's own.
    pub name: String,
    /// The network namespace where its interface is; `None`: this one.
    netns: Option<String>,
    spot: Spot,
    /// What is to be enforced.
    pub view: View,
    /// With staged policies too, which are only counted.
    pub staged: Option<View>,
    /// The shortest that its policies ask for.
    pub ttl: Option<Duration>,
}

/// A place that nobody has looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Spot {
    /// As [`Place::find`] takes it.
    Named(String),
    /// The interface of a namespace, at tc or XDP.
    Inside(&'static str),
}

/// Has policies that their author wants audited count only, whatever the others do.
pub fn stage_audits(policies: &mut [Policy]) {
    for policy in policies {
        policy.staged |= policy.settings.mode == Some(Mode::Audit);
    }
}

/// Where the policies of a check hold, and what.
///
/// # Errors
/// A script diagnostic: an endpoint without a place where its packets could be met, or policies that ask for different ones.
pub fn sites(checked: &Checked) -> Result<Vec<Site>, Diagnostic> {
    checked.resolution.targets.iter().map(|target| Site::of(target, &checked.policies)).collect()
}

impl Site {
    fn of(target: &Resolved, policies: &[Policy]) -> Result<Site, Diagnostic> {
        let selecting = || target.policies.iter().filter_map(|number| policies.get(*number));
        let mut asked: Vec<(Point, &Policy)> =
            selecting().filter_map(|policy| Some((policy.settings.point?, policy))).collect();
        asked.dedup_by_key(|(point, _)| *point);
        let point = match asked.as_slice() {
            [] => None,
            [(point, policy)] => Some((*point, *policy)),
            [(_, one), (_, other), ..] => {
                let message = format!("`{}` and `{}` are for `{}`, at different points", one.id, other.id, target.name);
                return Err(other.locate(Diagnostic::script(message).at(other.position)));
            }
        };
        let (netns, spot) = spot_of(target, point.map(|(point, _)| point)).map_err(|error| match point {
            Some((_, policy)) => policy.locate(error.at(policy.position)),
            None => error,
        })?;
        Ok(Site {
            name: target.name.clone(),
            netns,
            spot,
            view: target.view.clone(),
            staged: target.staged.clone(),
            ttl: selecting().filter_map(|policy| policy.settings.ttl).min(),
        })
    }

    /// A place by its own name, with one set of rules.
    pub fn at(place: &str, view: View) -> Site {
        let (name, spot) = (place.to_owned(), Spot::Named(place.to_owned()));
        Site { name, netns: None, spot, view, staged: None, ttl: None }
    }

    /// Where it is, as [`Place::find`] takes it; of a pod, in which network namespace.
    pub fn spot(&self) -> String {
        match (&self.spot, &self.netns) {
            (Spot::Named(text), _) => text.clone(),
            (Spot::Inside(kind), netns) => format!("{kind} of netns {}", netns.as_deref().unwrap_or_default()),
        }
    }

    /// The place. This thread is in its network namespace from then on.
    ///
    /// # Errors
    /// As [`netns::enter`] and [`Place::find`]; a namespace without an interface, or with several.
    pub fn find(&self) -> Result<Place, Diagnostic> {
        if let Some(name) = &self.netns {
            netns::enter(name)?;
        }
        match &self.spot {
            Spot::Named(text) => Place::find(text),
            Spot::Inside(kind) => Place::find(&format!("{kind}:{}", self.interface()?)),
        }
    }

    /// A pod's interface: `eth0`, or the only one that it has.
    fn interface(&self) -> Result<String, Diagnostic> {
        let netns = self.netns.as_deref().unwrap_or_default();
        let all = Interface::all().map_err(|error| {
            let error = crate::kernel::load::text(&error);
            Diagnostic::machine(format!("failed to list the interfaces of `{netns}`: {error}"))
        })?;
        let names: Vec<String> = all.into_iter().map(|one| one.name).filter(|name| name != "lo").collect();
        match names.as_slice() {
            [only] => Ok(only.clone()),
            _ if names.iter().any(|name| name == "eth0") => Ok("eth0".to_owned()),
            [] => Err(Diagnostic::script(format!("the network namespace `{netns}` has no interface"))),
            _ => {
                let message = format!("the network namespace `{netns}` has no `eth0`, but {}", names.join(", "));
                Err(Diagnostic::script(message).help("match: {ifname: HOST_SIDE}"))
            }
        }
    }
}

fn spot_of(target: &Resolved, point: Option<Point>) -> Result<(Option<String>, Spot), Diagnostic> {
    let name = &target.name;
    let named = |kind: &str, what: &str| Ok((None, Spot::Named(format!("{kind}:{what}"))));
    let wrong = |point: &str, what: &str| Diagnostic::script(format!("`{name}` is {what}, and has no {point}"));
    match (&target.place, point) {
        (inventory::Place::Interface(interface), Some(Point::Xdp)) => named("xdp", interface),
        (inventory::Place::Interface(interface), Some(Point::Tc) | None) => named("tc", interface),
        (inventory::Place::Veth(interface), Some(Point::Tc) | None) => named("veth", interface),
        (inventory::Place::Netns(netns), Some(Point::Xdp)) => Ok((Some(netns.clone()), Spot::Inside("xdp"))),
        (inventory::Place::Netns(netns), Some(Point::Tc) | None) => Ok((Some(netns.clone()), Spot::Inside("tc"))),
        (inventory::Place::Cgroup(path), Some(Point::Cgroup) | None) => named("cgroup", path),
        (inventory::Place::Veth(_), Some(Point::Xdp)) => {
            Err(wrong("XDP that sees what comes to it", "met at the host's end of its veth pair").help("at: tc"))
        }
        (inventory::Place::Cgroup(_), Some(_)) => Err(wrong("interface", "a cgroup").help("at: cgroup")),
        (inventory::Place::Address(_) | inventory::Place::Pod(_), _) => {
            let how = if matches!(target.place, inventory::Place::Pod(_)) { "pod" } else { "ip" };
            let message = format!("`{name}` is known by its `{how}` alone: its packets could be met anywhere");
            Err(Diagnostic::script(message).help("match: {ifname: HOST_SIDE}      (or netns, or cgroup)"))
        }
        (_, Some(Point::Cgroup)) => Err(wrong("cgroup", "an interface").help("at: tc")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::Script;
    use crate::policy::check::Report;
    use crate::policy::suite::Suite;

    fn found(inventory: &str, policy: &str) -> Result<Vec<Site>, Diagnostic> {
        let mut suite = Suite::new();
        let script = |name: &str, text: &str| Script { name: name.into(), text: text.to_owned().into() };
        suite.add_inventory(&script("i.yaml", inventory));
        suite.add(script("p.yaml", policy));
        stage_audits(&mut suite.cases[0].policies);
        let report = Report::of(suite);
        assert!(report.is_good(), "{:?}", report.errors);
        sites(&report.cases[0])
    }

    const ANY: &str = "endpoints: {}\notherwise: deny\n";

    #[test]
    fn each_kind_of_match_has_its_place() {
        let inventory =
            "- {name: a, match: {ifname: lxc1}}\n- {name: b, match: {netns: b}}\n- {name: c, match: {cgroup: /c}}";
        let sites = found(inventory, ANY).expect("each has a place");
        let of = |at: usize| (sites[at].netns.as_deref(), sites[at].spot.clone());
        assert_eq!(of(0), (None, Spot::Named("veth:lxc1".into())));
        assert_eq!(of(1), (Some("b"), Spot::Inside("tc")));
        assert_eq!(of(2), (None, Spot::Named("cgroup:/c".into())));
        let sites = found("[]", "interface: lxc1\nat: xdp\nttl: 10m\notherwise: deny\n").expect("it has a place");
        assert_eq!(sites[0].spot, Spot::Named("xdp:lxc1".into()));
        assert_eq!(sites[0].ttl, Some(Duration::from_secs(600)));
    }

    #[test]
    fn endpoints_without_a_place_are_refused_by_name() {
        let error = |inventory: &str, policy: &str| found(inventory, policy).expect_err("it has none").message.clone();
        let inventory = "- {name: a, match: {ip: 10.0.0.1}}";
        assert_eq!(error(inventory, ANY), "`a` is known by its `ip` alone: its packets could be met anywhere");
        let inventory = "- {name: a, match: {ifname: lxc1}}";
        assert_eq!(
            error(inventory, &format!("{ANY}at: xdp\n")),
            "`a` is met at the host's end of its veth pair, and has no XDP that sees what comes to it"
        );
    }

    #[test]
    fn policy_that_asks_for_an_audit_is_staged() {
        let policies = format!("{ANY}mode: audit\n---\nname: other\n{ANY}");
        let sites = found("- {name: a, match: {netns: a}}", &policies).expect("it has a place");
        assert!(sites[0].staged.is_some());
        assert_eq!(sites[0].view.ingress.len(), 0);
    }
}
