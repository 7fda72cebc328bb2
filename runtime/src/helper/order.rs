//! An order: what the helper tells the process that runs a request, which answers with what came to its gate. A line of
//! JSON there, lines back.

use super::request::Request;
use crate::diagnostic::Diagnostic;
use crate::permit::ceilings::{self, Granted};
use crate::permit::gate::Passed;
use crate::permit::{self, Permit, Person, file};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What is run for whom.
pub struct Order {
    pub person: Person,
    pub permit: Permit,
    pub granted: Granted,
}

/// What came to the gate, as the helper is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Refused(String),
    Let(BTreeSet<String>),
}

/// `policy` is the text of the file, as it was when the request was looked at.
pub fn written(person: &Person, policy: &str, request: &Request) -> Value {
    json!({
        "uid": person.uid, "gid": person.gid, "groups": person.groups, "policy": policy, "request": request.written(),
    })
}

/// # Errors
/// A script diagnostic, as the helper itself had it; a bug: it is no order.
pub fn read(line: &str) -> Result<Order, Diagnostic> {
    let bad = || Diagnostic::bug("what was ordered cannot be read");
    let value: Value = serde_json::from_str(line).map_err(|_| bad())?;
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok()).ok_or_else(bad);
    let groups = value["groups"].as_array().ok_or_else(bad)?.iter().map(number).collect::<Result<_, _>>()?;
    let person = Person { uid: number(&value["uid"])?, gid: number(&value["gid"])?, groups };
    let permits = file::parse(value["policy"].as_str().ok_or_else(bad)?)?;
    let permit = permit::of(&permits, &person).ok_or_else(bad)?.clone();
    let granted = ceilings::check(&permit, &person, &Request::read(&value["request"].to_string())?)?;
    Ok(Order { person, permit, granted })
}

impl Told {
    pub fn written(passed: Passed<'_>) -> Value {
        match passed {
            Passed::Refused(why) => json!({ "refused": why }),
            Passed::Let(places) => json!({ "let": places }),
        }
    }

    pub fn read(line: &str) -> Option<Told> {
        let value: Value = serde_json::from_str(line).ok()?;
        if let Some(why) = value["refused"].as_str() {
            return Some(Told::Refused(why.to_owned()));
        }
        let places = value["let"].as_array()?.iter();
        Some(Told::Let(places.filter_map(|place| place.as_str().map(str::to_owned)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helper::request::Asked;

    #[test]
    fn orders_are_read_as_they_are_written() {
        let person = Person { uid: 1000, gid: 100, groups: vec![7, 100] };
        let script = Asked::Text { called: "-e".into(), text: "print(1)".into() };
        let request = Request { script, words: Vec::new(), options: vec![("for".into(), "1s".into())] };
        let policy = "[[permit]]\ngroups = [7]\nown_scripts = true\nmax_time = \"2s\"\n";
        let order = read(&written(&person, policy, &request).to_string()).unwrap();
        assert_eq!((order.person, order.permit.line, order.granted.own_script), (person, 1, true));
        let options =
            ["--for=1s", "--ttl=2000000000ns", "--max-overhead=5 %", "--max-memory=67108864", "--max-probes=64"];
        assert_eq!(order.granted.options, options);
    }

    #[test]
    fn what_came_to_the_gate_is_read_as_it_is_written() {
        let places = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        assert_eq!(Told::read(&Told::written(Passed::Let(&places)).to_string()), Some(Told::Let(places)));
        let refused = Told::written(Passed::Refused("no")).to_string();
        assert_eq!(Told::read(&refused), Some(Told::Refused("no".into())));
    }
}
