//! A check: are policies what their author meant? Nothing is loaded; no privilege.

use super::comparison::{Compared, Comparison};
use super::covers::covers;
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
                if rule.peers.are_nobody() {
                    continue;
                }
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

    /// Rules that never decide, or say what others said, and those that another policy takes a part from.
    fn comparisons(&mut self) {
        let mut clauses: BTreeMap<(usize, Option<Position>, bool), Compared> = BTreeMap::new();
        let mut conflicts: BTreeSet<(usize, Option<Position>, String)> = BTreeSet::new();
        for target in &self.resolution.targets {
            for side in Direction::BOTH {
                for (view, staged) in [(Some(&target.view), false), (target.staged.as_ref(), true)] {
                    let Some(view) = view else { continue };
                    let comparison = Comparison::of(&self.policies, view, side);
                    for (n, origin) in view.origins(side).iter().enumerate() {
                        let Some(policy) = origin.policy.filter(|policy| self.policies[*policy].staged == staged)
                        else {
                            continue;
                        };
                        let key = (policy, origin.position, side == Direction::Ingress);
                        clauses.entry(key).or_default().add(comparison.fate(n));
                        if let Some(message) = comparison.conflict(n) {
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

#[cfg(test)]
mod tests {
    use super::super::verdict::MatchType;
    use super::*;
    use crate::library::Script;
    use std::path::Path;

    const FILES: [&str; 4] = ["deny-table", "networkpolicy", "cilium", "own"];

    fn fixture(name: &str) -> Script {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/fixtures/policies/{name}.yaml"));
        let text = std::fs::read_to_string(&path).expect("the fixture is there");
        Script { name: format!("{name}.yaml"), text: text.into() }
    }

    fn report(files: &[Script]) -> Report {
        let mut suite = Suite::new();
        suite.add_inventory(&fixture("inventory"));
        files.iter().cloned().for_each(|file| suite.add(file));
        Report::of(suite)
    }

    fn said(text: &str) -> Vec<String> {
        let file = Script { name: "a.yaml".into(), text: text.to_owned().into() };
        let report = report(&[file]);
        assert!(report.errors.is_empty(), "{:?}", report.errors);
        report.cases.iter().flat_map(|case| &case.warnings).map(|warning| warning.message.clone()).collect()
    }

    #[test]
    fn every_case_of_the_matrix_is_judged_as_it_says() {
        let (mut cases, mut tests) = (0, 0);
        for name in FILES {
            let report = report(&[fixture(name)]);
            assert!(report.errors.is_empty(), "{name}: {:?}", report.errors);
            for case in &report.cases {
                assert!(case.errors.is_empty() && !case.tests.is_empty(), "{name}, {}: {:?}", case.name, case.errors);
                for Tested { test, outcome, passed } in &case.tests {
                    assert!(passed, "{name}, {}: {test}: {outcome}", case.name);
                }
                cases += 1;
                tests += case.tests.len();
            }
        }
        assert!(cases >= 95 && tests >= 280, "{cases} cases, {tests} tests");
    }

    /// What is looked up first decides which of several allows is named; a deny beats them all.
    #[test]
    fn verdicts_agree_with_ciliums_order_of_lookups() {
        for name in FILES {
            for case in report(&[fixture(name)]).cases {
                for target in &case.resolution.targets {
                    for side in Direction::BOTH {
                        let rules = &target.view.rules.side(side).rules;
                        let ranks = rules
                            .iter()
                            .map(|rule| (rule.tier, rule.action == Action::Allow, rule.match_type().rank()));
                        assert!(ranks.is_sorted(), "{name}, {}", case.name);
                        assert!(rules.iter().all(|rule| rule.match_type() != MatchType::None));
                    }
                }
            }
        }
    }

    #[test]
    fn rules_that_never_decide_are_told_with_what_decides_instead() {
        let warnings = said(
            "interface: eth0\nrules:\n- deny: {src: 10.0.0.0/8}\n- allow: {src: [10.1.0.0/16, 10.2.0.0/16], proto: tcp, port: 80}\n\
             - allow: {src: 11.0.0.0/8}\n- allow: {src: 11.1.0.0/16, proto: udp}\n",
        );
        assert_eq!(
            warnings,
            [
                "this rule never decides: it stands behind `policy` (a.yaml:3:9)",
                "this rule says nothing beyond `policy` (a.yaml:5:10)"
            ]
        );
    }

    #[test]
    fn several_rules_together_leave_one_nothing() {
        let rules = |last: &str| {
            format!(
                "interface: eth0\nrules:\n- deny: {{src: 10.1.0.0/16}}\n- allow: {{src: 10.2.0.0/16, proto: tcp, tier: 1}}\n- {last}\n"
            )
        };
        let both = "allow: {src: [10.1.0.0/16, 10.2.3.0/24], proto: tcp, port: 80}";
        let message = "this rule never decides: it stands behind `policy` (a.yaml:3:9) and `policy` (a.yaml:4:10)";
        assert_eq!(said(&rules(both)), [message]);
        assert_eq!(said(&rules("allow: {src: [10.1.0.0/16, 10.3.0.0/16], proto: tcp, port: 80}")), [""; 0]);
        assert_eq!(
            said(&rules("deny: {src: 10.2.0.0/16, tier: 0}")),
            ["this rule never decides: it stands behind `policy` (a.yaml:5:9)"]
        );
    }

    #[test]
    fn overlap_with_another_policys_deny_is_told_unless_one_lies_inside_the_other() {
        let policy = |rule: &str| format!("---\ninterface: eth0\nname: p\nrules:\n- {rule}\n");
        let allow = policy("allow: {src: 10.0.0.0/8, proto: tcp, port: '80-90'}");
        let warnings = said(&(allow.clone() + &*policy("deny: {src: 10.1.0.0/16, proto: tcp, port: '85-95'}")));
        assert_eq!(warnings, ["`p` overlaps with deny rule `p` (a.yaml:10:9): denied where both match"]);
        assert_eq!(said(&(allow + &*policy("deny: {src: 10.1.0.0/16, proto: tcp, port: 80}"))), [""; 0]);
    }

    #[test]
    fn what_the_inventory_cannot_answer_is_an_error() {
        let check = |inventory: &str, peer: &str| {
            let policy = format!("endpoints: {{}}\nname: p\nrules:\n- allow: {{src: {peer}}}\n");
            let mut suite = Suite::new();
            suite.add_inventory(&Script { name: "i".into(), text: inventory.to_owned().into() });
            suite.add(Script { name: "a.yaml".into(), text: policy.into() });
            let report = Report::of(suite);
            report.cases[0].errors.first().map(|error| (error.message.clone(), error.position))
        };
        let inventory = "[{name: a, match: {netns: a}}, {name: b, match: {ip: 10.0.0.1}}]";
        let (message, place) = check(inventory, "{matchLabels: {}}").expect("it has no address");
        assert_eq!(message, "the inventory has no address of `a`, which this selects");
        assert_eq!(place, Some(Position::new(4, 16)));
        let labels = "{matchLabels: {io.cilium.k8s.namespace.labels.team: red}}";
        let (message, _) = check(inventory, labels).expect("the namespace is not there");
        assert_eq!(message, "the inventory does not say what labels the namespace `default` has");
    }
}
