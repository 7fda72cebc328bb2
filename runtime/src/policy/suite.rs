//! Files of policies, inventories and tests: each document goes to who reads its kind.

use super::cilium;
use super::fields::Fields;
use super::inventory::{self, Inventory};
use super::kubernetes;
use super::metadata::kind;
use super::model::{Kind, Policy};
use super::native;
use super::probe::Test;
use super::yaml::{Node, documents};
use crate::diagnostic::{Diagnostic, nearest};
use crate::library::Script;
use std::sync::Arc;

/// What a check is about.
#[derive(Debug, Default)]
pub struct Suite {
    pub inventory: Option<Inventory>,
    /// What stands by itself, with the policies that hold together first; then each `PolicyCase`.
    pub cases: Vec<Case>,
    pub errors: Vec<Diagnostic>,
}

/// Policies that hold together, and what is expected of them.
#[derive(Debug, Default)]
pub struct Case {
    /// Empty: what the files hold beside their cases.
    pub name: String,
    pub policies: Vec<Policy>,
    pub tests: Vec<Test>,
}

/// A kind of document: its API, its name, how it is read.
type Reader = fn(&Node) -> Result<Vec<Policy>, Diagnostic>;
const KINDS: &[(&str, &str, Reader)] = &[
    ("networking.k8s.io/v1", "NetworkPolicy", |node| one(kubernetes::read(node, Kind::NetworkPolicy))),
    ("projectcalico.org/v3", "StagedKubernetesNetworkPolicy", |node| {
        one(kubernetes::read(node, Kind::StagedNetworkPolicy))
    }),
    ("cilium.io/v2", "CiliumNetworkPolicy", |node| cilium::read(node, Kind::CiliumNetworkPolicy)),
    ("cilium.io/v2", "CiliumClusterwideNetworkPolicy", |node| cilium::read(node, Kind::CiliumClusterwideNetworkPolicy)),
    (OWN, "Policy", |node| one(native::read(node))),
];

/// The API of our own kinds.
pub const OWN: &str = "skep/v1";
const TEST: &str = "PolicyTest";
const CASE: &str = "PolicyCase";

fn one(policy: Result<Policy, Diagnostic>) -> Result<Vec<Policy>, Diagnostic> {
    policy.map(|policy| vec![policy])
}

impl Suite {
    pub fn new() -> Suite {
        Suite { cases: vec![Case::default()], ..Suite::default() }
    }

    /// Adds a file. What is wrong in one document leaves the others be.
    pub fn add(&mut self, script: Script) {
        let source = Arc::new(script);
        match documents(&source.text) {
            Ok(documents) => {
                for document in &documents {
                    if let Err(error) = self.document(document, &source) {
                        self.errors.push(error.at(document.position).within(&source));
                    }
                }
            }
            Err(error) => self.errors.push(error.within(&source)),
        }
    }

    /// Adds a file that is an inventory alone.
    pub fn add_inventory(&mut self, script: &Script) {
        match Inventory::parse(&script.text) {
            Ok(inventory) => self.inventory = Some(inventory),
            Err(error) => self.errors.push(error.within(script)),
        }
    }

    fn document(&mut self, node: &Node, source: &Arc<Script>) -> Result<(), Diagnostic> {
        match kind(node)? {
            (OWN, inventory::KIND) => {
                if self.inventory.is_some() {
                    return Err(node.wrong("there is an inventory already"));
                }
                self.inventory = Some(Inventory::read(node)?);
            }
            (OWN, TEST) => {
                let fields = Fields::of(node, "a PolicyTest", &["apiVersion", "kind", "tests"])?;
                fields.need("tests")?;
                let tests = tests(&fields, source)?;
                self.cases[0].tests.extend(tests);
            }
            (OWN, CASE) => {
                let known = ["apiVersion", "kind", "name", "policies", "tests"];
                let fields = Fields::of(node, "a PolicyCase", &known)?;
                let mut case = Case { name: fields.need("name")?.text("name")?.to_owned(), ..Case::default() };
                for item in fields.list("policies")? {
                    case.policies.extend(policies(item, source)?);
                }
                case.tests = tests(&fields, source)?;
                self.cases.push(case);
            }
            (_, kind) if kind.ends_with("List") => {
                let fields = Fields::of(node, "a list", &["apiVersion", "kind", "metadata", "items"])?;
                for item in fields.list("items")? {
                    self.document(item, source)?;
                }
            }
            _ => {
                let fields = node.entries("a document")?.iter().find(|(key, _)| key.text == "tests");
                let own = policies(node, source)?;
                if fields.is_some() {
                    let listed = Fields::of(node, "a policy", &[native::POLICY, &["metadata", "spec"]].concat())?;
                    self.cases[0].tests.extend(tests(&listed, source)?);
                }
                self.cases[0].policies.extend(own);
            }
        }
        Ok(())
    }
}

fn tests(fields: &Fields<'_>, source: &Arc<Script>) -> Result<Vec<Test>, Diagnostic> {
    fields.list("tests")?.iter().map(|item| Test::read(item, source)).collect()
}

/// The policies of one object.
fn policies(node: &Node, source: &Arc<Script>) -> Result<Vec<Policy>, Diagnostic> {
    let mut policies = match kind(node)? {
        ("", "") => vec![native::read(node)?],
        (api, kind) => reader(node, api, kind)?(node)?,
    };
    for policy in &mut policies {
        policy.source = Some(source.clone());
    }
    Ok(policies)
}

fn reader(node: &Node, api: &str, kind: &str) -> Result<Reader, Diagnostic> {
    let place = |wanted: &str| {
        node.entries("a document").ok()?.iter().find(|(key, _)| key.text == wanted).and_then(|(_, node)| node.position)
    };
    let known: Vec<&(&str, &str, Reader)> = KINDS.iter().filter(|(_, name, _)| *name == kind).collect();
    if let Some((_, _, reader)) = known.iter().find(|(known, ..)| *known == api) {
        return Ok(*reader);
    }
    if let Some((wanted, ..)) = known.first() {
        let message = match api {
            "" => format!("a {kind} needs its `apiVersion`"),
            _ => format!("a {kind} of `{api}` is not read here"),
        };
        let error = Diagnostic::script(message);
        return Err(error.help(format!("apiVersion: {wanted}")).at(place("apiVersion").or(place("kind"))));
    }
    let names = KINDS.iter().map(|(_, name, _)| *name).chain([inventory::KIND, TEST, CASE]);
    let error =
        Diagnostic::script(format!("a document of kind `{kind}` is no policy")).at(place("kind").or(node.position));
    Err(error.help(match nearest(kind, names.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => names.collect::<Vec<_>>().join(", "),
    }))
}

#[cfg(test)]
mod tests {
    use super::super::check::Report;
    use super::*;

    fn fixture(name: &str) -> String {
        let path = format!("{}/../tests/fixtures/policies/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).expect("the fixture is there")
    }

    /// Nothing that a file holds may end the program.
    #[test]
    fn files_cut_or_mangled_anywhere_are_read_or_refused() {
        let inventory = Inventory::parse(&fixture("inventory")).expect("it is right");
        let check = |text: String| {
            let mut suite = Suite { inventory: Some(inventory.clone()), ..Suite::new() };
            suite.add(Script { name: "a.yaml".into(), text: text.into() });
            Report::of(suite)
        };
        for (name, step) in [("elements", 53), ("own", 83)] {
            let text = fixture(name);
            for cut in (0..text.len()).step_by(step).filter(|cut| text.is_char_boundary(*cut)) {
                check(text[..cut].to_owned());
                for with in ["", "-", ":", "{", "\0", "\u{fe0f}", "18446744073709551616", "&a *a"] {
                    check(format!("{}{with}{}", &text[..cut], &text[(cut + 1).min(text.len())..]));
                }
            }
        }
    }

    #[test]
    fn one_wrong_document_leaves_the_others() {
        let mut suite = Suite::new();
        let text = "kind: Nothing\n---\ninterface: eth0\notherwise: deny\n---\napiVersion: v1\nkind: List\nitems:\n- interface: eth1\n  otherwise: deny\n";
        suite.add(Script { name: "a.yaml".into(), text: text.into() });
        assert_eq!((suite.errors.len(), suite.cases[0].policies.len()), (1, 2), "{:?}", suite.errors);
    }
}
