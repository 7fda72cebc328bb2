//! Policies, inventories and what stands beside them: YAML of anybody's, JSON over a socket or in a file.

use crate::baseline::file::Baseline;
use crate::library::Script;
use crate::policy::check::Report;
use crate::policy::control::Request;
use crate::policy::form;
use crate::policy::inventory::Inventory;
use crate::policy::suite::Suite;
use crate::report;

/// Policies of every kind with their tests, checked and reported; and an inventory.
pub fn yaml(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _inventory = Inventory::parse(&text);
    let mut suite = Suite::new();
    suite.add(Script { name: "a.yaml".into(), text: text.into_owned().into() });
    let checked = Report::of(suite);
    let _shown = (report::policy::text(&checked), report::policy::json(&checked));
}

/// Rules and requests of another process, and a file of baselines.
pub fn json(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _request = Request::read(&text);
    if let Ok(rules) = form::read(&text) {
        assert_eq!(form::rules(&form::written(&rules)).ok().as_ref(), Some(&rules), "rules do not come back");
    }
    let _baseline = serde_json::from_str(&text).ok().and_then(|json| Baseline::read(&json));
}
