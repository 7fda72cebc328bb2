//! Policies of a script as a plan shows them: where they would be, and their rules as they come to hold there.

use crate::diagnostic::Diagnostic;
use crate::policy::form;
use crate::policy::model::Mode;
use crate::policy::rules::{Action, Direction, Peers, Prefix, Rule, Rules, Service};
use crate::policy::site::Site;
use crate::report::units;
use crate::script::held::sites_of;
use crate::script::policies::Said;
use serde_json::json;
use std::fmt::Write;
use std::time::Duration;

/// How many rules of a direction, and peers of a rule, are shown.
const RULES: usize = 20;
const PEERS: usize = 4;

/// One policy of a script, with a number in its plan.
///
/// # Errors
/// A script diagnostic: it says nothing at all.
pub fn plan(said: &Said, number: usize, as_json: bool) -> Result<String, Diagnostic> {
    let sites = sites_of(&[said])?;
    let mode = if said.enforces { Mode::Enforce } else { Mode::Audit };
    Ok(sites.iter().map(|site| if as_json { line(said, site, mode) } else { text(said, site, mode, number) }).collect())
}

fn line(said: &Said, site: &Site, mode: Mode) -> String {
    let millis = |time: Option<Duration>| time.map(|time| time.as_millis() as u64);
    let value = json!({
        "v": 1,
        "type": "policy_plan",
        "place": site.spot(),
        "mode": mode.name(),
        "ttl_ms": millis(site.ttl),
        "confirm_within_ms": millis(said.confirm_within),
        "rules": form::written(&site.view.rules),
    });
    format!("{value}\n")
}

fn text(said: &Said, site: &Site, mode: Mode, number: usize) -> String {
    let at = said.position.map(|at| format!("   {}:{}", at.line, at.column)).unwrap_or_default();
    let time = |what: &str, time: Option<Duration>| {
        time.map(|time| format!(", {what} {}", units::duration(time.as_nanos() as i128))).unwrap_or_default()
    };
    let (ttl, back) = (time("ends in", site.ttl), time("goes back unless confirmed in", said.confirm_within));
    let mut out = format!("{number}. policy at `{}`: {}{ttl}{back}{at}\n", site.spot(), mode.name());
    sides(&mut out, &site.view.rules);
    out
}

fn sides(out: &mut String, rules: &Rules) {
    for direction in Direction::BOTH {
        let side = rules.side(direction);
        if side.rules.is_empty() && side.otherwise == Action::Allow {
            continue;
        }
        let label = direction.name();
        // Writing to a string cannot fail.
        for rule in side.rules.iter().take(RULES) {
            let _infallible = writeln!(out, "   {label:<8} {} {}   `{}`", word(rule.action), about(rule), rule.name);
        }
        if side.rules.len() > RULES {
            let _infallible = writeln!(out, "   {label:<8} {} rules more", side.rules.len() - RULES);
        }
        let _infallible = writeln!(out, "   {label:<8} else {}", word(side.otherwise));
    }
}

fn word(action: Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
    }
}

/// Whom and what a rule is about.
fn about(rule: &Rule) -> String {
    let peer = |prefix: &Prefix| match prefix.except.len() {
        0 => prefix.cidr.to_string(),
        except => format!("{} (but for {except})", prefix.cidr),
    };
    let mut words = vec![match &rule.peers {
        Peers::Any => "anybody".to_owned(),
        Peers::Prefixes(prefixes) if prefixes.is_empty() => "nobody".to_owned(),
        Peers::Prefixes(prefixes) => first(prefixes.iter().map(peer)),
    }];
    let service = |service: &Service| match (service.ports.start(), service.ports.end()) {
        _ if service.ports == Service::EVERY_PORT => service.protocol.to_string(),
        (first, last) if first == last => format!("{}/{first}", service.protocol),
        (first, last) => format!("{}/{first}-{last}", service.protocol),
    };
    words.extend((!rule.services.is_empty()).then(|| first(rule.services.iter().map(service))));
    words.extend(rule.rate.map(|rate| format!("{}/s", rate.packets)));
    words.join(" ")
}

fn first(items: impl ExactSizeIterator<Item = String>) -> String {
    let more = items.len().saturating_sub(PEERS);
    let shown = items.take(PEERS).collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {} more", units::grouped(more as u64)) } else { shown }
}
