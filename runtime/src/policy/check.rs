//! A check: are policies what their author meant? Nothing is loaded; no privilege.

use super::covers::{covers, meets, shadows};
use super::inventory::Inventory;
use super::model::{Kind, Policy, Subject, Treatment};
use super::probe::{Outcome, Test};
use super::resolve::{Origin, Resolution, View, resolve};
use super::rules::{Action, Direction, Rule, Service};
use super::suite::{Case, Suite};
use crate::diagnostic::{Diagnostic, Position};
use crate::network::protocol::Protocol;
use std::collections::{BTreeMap, BTreeSet};

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    pub cases: Vec<Checked>,
    pub errors: Vec<Diagnostic>,
}

/// What was found of policies that hold together.
#[derive(Debug, Default)]
pub struct Checked {
    pub name: String,
    pub policies: Vec<Policy>,
    /// By policy: the places that it selects.
    pub selected: Vec<Vec<String>>,
    pub resolution: Resolution,
    pub warnings: Vec<Diagnostic>,
    pub errors: Vec<Diagnostic>,
    pub tests: Vec<Tested>,
}

#[derive(Debug)]
pub struct Tested {
    pub test: Test,
    /// The first that is not what was expected, else the first.
    pub outcome: Outcome,
    pub passed: bool,
}

/// Comparing each rule with each other one: beyond so many at one place it is left out, and said.
const MOST_COMPARED: usize = 2000;

impl Report {
    pub fn of(suite: Suite) -> Report {
        let Suite { inventory, cases, errors } = suite;
        let mut report = Report { cases: Vec::new(), errors };
        let empty = |case: &Case| case.policies.is_empty() && case.tests.is_empty();
        let given = inventory.is_some();
        let inventory = inventory.unwrap_or_default();
        for case in cases.into_iter().filter(|case| !empty(case)) {
            report.cases.push(Checked::of(case, &inventory, given));
        }
        report
    }

    pub fn is_good(&self) -> bool {
        self.errors.is_empty() && self.cases.iter().all(Checked::is_good)
    }

    /// Tests that passed, and all of them.
    pub fn tests(&self) -> (usize, usize) {
        let tests = || self.cases.iter().flat_map(|case| &case.tests);
        (tests().filter(|test| test.passed).count(), tests().count())
    }
}

impl Checked {
    fn of(case: Case, inventory: &Inventory, given: bool) -> Checked {
        let Case { name, mut policies, tests } = case;
        let mut checked = Checked { name, ..Checked::default() };
        for policy in &mut policies {
            for warning in std::mem::take(&mut policy.warnings) {
                checked.warnings.push(policy.locate(warning));
            }
        }
        checked.policies = policies;
        checked.selected = vec![Vec::new(); checked.policies.len()];
        match resolve(&checked.policies, inventory) {
            Ok(resolution) => checked.resolution = resolution,
            Err(fault) => {
                let error = checked.policies[fault.policy].locate(fault.diagnostic);
                checked.errors.push(error);
                return checked;
            }
        }
        for fault in std::mem::take(&mut checked.resolution.warnings) {
            checked.warnings.push(checked.policies[fault.policy].locate(fault.diagnostic));
        }
        for target in &checked.resolution.targets {
            for number in &target.policies {
                checked.selected[*number].push(target.name.clone());
            }
        }
        checked.selections(given);
        checked.requests();
        checked.names();
        checked.comparisons();
        checked.test(tests, inventory);
        let place = |diagnostic: &Diagnostic| {
            (diagnostic.script.as_ref().map(|script| script.name.clone()), diagnostic.position)
        };
        checked.warnings.sort_by_key(place);
        checked.warnings.dedup();
        checked
    }

    pub fn is_good(&self) -> bool {
        self.errors.is_empty()
            && self.tests.iter().all(|test| test.passed)
            && !self.policies.iter().any(Policy::is_refused)
    }

    fn warn(&mut self, policy: usize, position: Option<Position>, message: impl Into<String>) {
        let policy = &self.policies[policy];
        self.warnings.push(policy.locate(Diagnostic::script(message).at(position.or(policy.position))));
    }

    /// Policies that are about nothing here.
    fn selections(&mut self, given: bool) {
        let choosing: Vec<usize> =
            (0..self.policies.len()).filter(|n| matches!(self.policies[*n].subject, Subject::Endpoints(_))).collect();
        let nothing: Vec<usize> = choosing.iter().copied().filter(|n| self.selected[*n].is_empty()).collect();
        for number in &nothing {
            let id = self.policies[*number].id.clone();
            let message = match given {
                true => format!("`{id}` selects no endpoint of the inventory"),
                false => format!("`{id}` selects endpoints, and there is no inventory that has any"),
            };
            self.warn(*number, None, message);
        }
        if given && nothing.len() == self.policies.len() && !nothing.is_empty() {
            let policy = &self.policies[nothing[0]];
            let error = Diagnostic::script("no policy selects anything: nothing would be enforced").at(policy.position);
            self.errors.push(policy.locate(error));
        }
    }

    /// What asks for more than ports is void where something else lets the same pass without asking: then nothing of it
    /// is left to observe.
    fn requests(&mut self) {
        let mut fates: BTreeMap<(usize, usize), Option<String>> = BTreeMap::new();
        for target in &self.resolution.targets {
            let view = target.staged.as_ref().unwrap_or(&target.view);
            for (rule, origin, side) in each(view) {
                let (Some(policy), Some(element)) = (origin.policy, origin.beyond) else { continue };
                let origins = view.origins(side);
                let plain = view.rules.side(side).rules.iter().zip(origins).find(|(other, origin)| {
                    origin.beyond.is_none()
                        && other.action == Action::Allow
                        && other.tier <= rule.tier
                        && covers(other, rule)
                });
                let fate = plain.map(|(rule, _)| rule.name.to_string());
                let known = fates.entry((policy, element)).or_insert_with(|| fate.clone());
                if fate.is_none() {
                    *known = None;
                }
            }
        }
        for ((policy, element), fate) in fates {
            if let Some(name) = fate
                && let Some(element) = self.policies[policy].elements.get_mut(element)
            {
                element.treatment = Treatment::Enforced;
                element.note = Some(format!("void: `{name}` lets the same pass whatever it asks"));
            }
        }
    }

    /// Places that nothing but names get out of, without a way to ask for names.
    fn names(&mut self) {
        let dns = Service { protocol: Protocol::UDP, ports: 53..=53 };
        let mut found = Vec::new();
        for target in &self.resolution.targets {
            let side = target.staged.as_ref().unwrap_or(&target.view).rules.side(Direction::Egress);
            let asks = side.rules.iter().any(|rule| {
                let serves = |service: &Service| service.protocol == dns.protocol && service.ports.contains(&53);
                rule.action == Action::Allow && (rule.services.is_empty() || rule.services.iter().any(serves))
            });
            let isolating = target.policies.iter().copied().find(|number| {
                let policy = &self.policies[*number];
                policy.egress.isolates && policy.id.kind != Kind::Policy
            });
            if let Some(policy) = isolating.filter(|_| !asks) {
                found.push((policy, format!("`{}` may not ask for names: nothing lets UDP port 53 out", target.name)));
            }
        }
        for (policy, message) in found {
            self.warn(policy, None, message);
        }
    }

    /// Rules that never decide, or say what others said.
    fn comparisons(&mut self) {
        let mut clauses: BTreeMap<(usize, Option<Position>, bool), Compared> = BTreeMap::new();
        let mut conflicts: BTreeSet<(usize, Option<Position>, String)> = BTreeSet::new();
        let mut skipped = BTreeSet::new();
        for target in &self.resolution.targets {
            for side in Direction::BOTH {
                for (view, staged) in [(Some(&target.view), false), (target.staged.as_ref(), true)] {
                    let Some(view) = view else { continue };
                    let (rules, origins) = (&view.rules.side(side).rules, view.origins(side));
                    if rules.len() > MOST_COMPARED {
                        skipped.insert((target.name.clone(), rules.len()));
                        continue;
                    }
                    for (n, (rule, origin)) in rules.iter().zip(origins).enumerate() {
                        let Some(policy) = origin.policy.filter(|policy| self.policies[*policy].staged == staged)
                        else {
                            continue;
                        };
                        let key = (policy, origin.position, side == Direction::Ingress);
                        let known = clauses.entry(key).or_default();
                        known.add(self.compare(n, rules, origins));
                        if let Some(other) = self.conflict(n, rules, origins) {
                            let message =
                                format!("`{}` overlaps with deny rule {other}: denied where both match", rule.name);
                            conflicts.insert((policy, origin.position, message));
                        }
                    }
                }
            }
        }
        for ((policy, position, _), compared) in clauses {
            if let Some(message) = compared.said() {
                self.warn(policy, position, message);
            }
        }
        for (policy, position, message) in conflicts {
            self.warn(policy, position, message);
        }
        for (name, count) in skipped {
            let message =
                format!("{count} rules at `{name}` are too many to compare each with each: shadowed ones are not told");
            self.warnings.push(Diagnostic::script(message));
        }
    }

    fn compare(&self, n: usize, rules: &[Rule], origins: &[Origin]) -> Fate {
        let (rule, origin) = (&rules[n], &origins[n]);
        let named = |other: &Rule| {
            let index = rules.iter().position(|known| std::ptr::eq(known, other)).unwrap_or(n);
            self.place(&rules[index], &origins[index])
        };
        if let Some(by) = shadows(rule, rules) {
            return Fate::Shadowed(by.into_iter().map(named).collect());
        }
        // The later of two that say the same is the one too many.
        let place = |origin: &Origin| (origin.policy, origin.position);
        let twin = rules.iter().zip(origins).find(|(other, known)| {
            place(known) != place(origin)
                && known.policy.is_some()
                && other.action == rule.action
                && other.tier == rule.tier
                && other.rate == rule.rate
                && known.beyond.is_none()
                && origin.beyond.is_none()
                && covers(other, rule)
                && (!covers(rule, other) || place(known) < place(origin))
        });
        match twin {
            Some((other, known)) => Fate::Said(self.place(other, known)),
            None => Fate::Needed,
        }
    }

    /// Another policy's deny rule of the same tier that takes a part from this allow rule, and goes beyond it.
    fn conflict(&self, n: usize, rules: &[Rule], origins: &[Origin]) -> Option<String> {
        let (rule, origin) = (&rules[n], &origins[n]);
        if rule.action == Action::Deny {
            return None;
        }
        let denies = rules.iter().zip(origins).find(|(other, known)| {
            other.action == Action::Deny
                && other.tier == rule.tier
                && known.policy != origin.policy
                && meets(other, rule)
                && !covers(other, rule)
                && !covers(rule, other)
        });
        denies.map(|(rule, origin)| self.place(rule, origin))
    }

    /// `name` (file:line:column)
    fn place(&self, rule: &Rule, origin: &Origin) -> String {
        let file = origin.policy.and_then(|policy| self.policies[policy].source.as_ref());
        match (file, origin.position) {
            (Some(file), Some(place)) => format!("`{}` ({}:{}:{})", rule.name, file.name, place.line, place.column),
            _ => format!("`{}`", rule.name),
        }
    }

    fn test(&mut self, tests: Vec<Test>, inventory: &Inventory) {
        for test in tests {
            match test.outcomes(&self.resolution, inventory) {
                Ok(outcomes) => {
                    let wrong = outcomes.iter().position(|outcome| !test.holds(outcome));
                    let outcome = outcomes.into_iter().nth(wrong.unwrap_or(0));
                    self.tests.extend(outcome.map(|outcome| Tested { test, outcome, passed: wrong.is_none() }));
                }
                Err(error) => self.errors.push(error.within(&test.source)),
            }
        }
    }
}

/// The rules of both directions.
fn each(view: &View) -> impl Iterator<Item = (&Rule, &Origin, Direction)> {
    Direction::BOTH.into_iter().flat_map(move |side| {
        view.rules.side(side).rules.iter().zip(view.origins(side)).map(move |(rule, origin)| (rule, origin, side))
    })
}

/// What is left of one rule at one place.
enum Fate {
    Needed,
    Shadowed(Vec<String>),
    /// By another that does the same.
    Said(String),
}

/// What is left of a clause, over all rules that it became.
#[derive(Default)]
struct Compared {
    needed: bool,
    shadowed: BTreeSet<String>,
    said: BTreeSet<String>,
}

impl Compared {
    fn add(&mut self, fate: Fate) {
        match fate {
            Fate::Needed => self.needed = true,
            Fate::Shadowed(by) => self.shadowed.extend(by),
            Fate::Said(by) => {
                self.said.insert(by);
            }
        }
    }

    fn said(self) -> Option<String> {
        let list = |names: BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(" and ");
        match (self.needed, self.said.is_empty()) {
            (true, _) => None,
            (false, true) => Some(format!("this rule never decides: {} comes first", list(self.shadowed))),
            (false, false) => Some(format!("this rule says nothing new: {} says it already", list(self.said))),
        }
    }
}
