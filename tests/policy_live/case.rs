//! Cases of tests/fixtures/policies: policies that hold together, and what `skep policy check` says of each test.

use serde_json::Value;
use skep_tests::Skep;
use skep_tests::machine::here;
use std::collections::BTreeSet;
use std::net::IpAddr;

pub struct Case {
    pub file: &'static str,
    pub name: String,
    /// As documents, as `skep policy apply` takes them.
    pub policies: String,
    /// Lines of `skep policy check --json`.
    pub tests: Vec<Value>,
}

const FILES: [&str; 4] = ["deny-table", "networkpolicy", "cilium", "own"];

pub fn fixture(name: &str) -> String {
    here("fixtures/policies").join(format!("{name}.yaml")).display().to_string()
}

/// All of them; each test does what it expects.
pub fn all() -> Vec<Case> {
    FILES.into_iter().flat_map(of).collect()
}

fn of(file: &'static str) -> Vec<Case> {
    let text = std::fs::read_to_string(fixture(file)).expect("the fixture is there");
    let words = ["policy", "check", &fixture(file), "--inventory", &fixture("inventory"), "--json"];
    let tests = Skep::new(&words).run().ok().objects("test");
    let case = |document: &str| {
        let name = document.lines().find_map(|line| line.strip_prefix("name: ")).expect("each has a name");
        let name = name.trim_matches('"').to_owned();
        let of_it = tests.iter().filter(|test| test["case"] == name.as_str()).cloned();
        Case { file, policies: policies(document), tests: of_it.collect(), name }
    };
    text.split("\n---\n").skip(1).map(case).collect()
}

/// The items of a case's list, each a document of its own.
fn policies(document: &str) -> String {
    let lines = document.lines().skip_while(|line| *line != "policies:").skip(1);
    let lines = lines.take_while(|line| *line != "tests:");
    lines.fold(String::new(), |text, line| match line.strip_prefix("- ") {
        Some(first) => text + "---\n" + first + "\n",
        None => text + line.strip_prefix("  ").expect("it belongs to an item") + "\n",
    })
}

/// Ends of tests that are no endpoints: addresses.
pub fn addresses(cases: &[Case]) -> BTreeSet<IpAddr> {
    let ends = cases.iter().flat_map(|case| &case.tests).flat_map(|test| [&test["from"], &test["to"]]);
    ends.filter_map(|end| end.as_str().expect("it is a text").parse().ok()).collect()
}
