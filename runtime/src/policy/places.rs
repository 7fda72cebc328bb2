//! Where policies hold: the endpoints, interfaces and cgroups that they select.

use super::inventory::{Endpoint, Inventory, Place};
use super::labels::{OF_NAMESPACE, Selector};
use super::model::{Choice, Policy, Scope, Subject};
use super::resolve::{Fault, Resolved, View};
use crate::diagnostic::{Diagnostic, Position};
use std::net::IpAddr;

/// The endpoints, interfaces and cgroups that are selected, with the policies that do it.
pub fn places(policies: &[Policy], inventory: &Inventory) -> Result<Vec<Resolved>, Fault> {
    let new = |name: &str, place: Place, addresses: &[IpAddr]| Resolved {
        name: name.to_owned(),
        place,
        addresses: addresses.to_vec(),
        policies: Vec::new(),
        view: View::default(),
        staged: None,
    };
    let mut targets: Vec<Resolved> =
        inventory.endpoints.iter().map(|one| new(&one.name, one.place.clone(), &one.addresses)).collect();
    for (number, policy) in policies.iter().enumerate() {
        let named: Vec<(&String, Place)> = match &policy.subject {
            Subject::Endpoints(choice) => {
                for (target, endpoint) in targets.iter_mut().zip(&inventory.endpoints) {
                    answerable(choice, endpoint, inventory, number, policy.position)?;
                    if choice.matches(endpoint, inventory) {
                        target.policies.push(number);
                    }
                }
                continue;
            }
            Subject::Interfaces(names) => names.iter().map(|name| (name, Place::Interface(name.clone()))).collect(),
            Subject::Cgroups(names) => names.iter().map(|name| (name, Place::Cgroup(name.clone()))).collect(),
            Subject::Nobody => continue,
        };
        for (name, place) in named {
            let known = targets.iter().position(|target| target.place == place);
            let index = known.unwrap_or_else(|| {
                targets.push(new(name, place, &[]));
                targets.len() - 1
            });
            targets[index].policies.push(number);
        }
    }
    targets.retain(|target| !target.policies.is_empty());
    Ok(targets)
}

/// Are the labels of the endpoint's namespace known, if the choice asks for them?
pub fn answerable(
    choice: &Choice,
    endpoint: &Endpoint,
    inventory: &Inventory,
    policy: usize,
    position: Option<Position>,
) -> Result<(), Fault> {
    let Some(namespace) = endpoint.namespace.as_deref().filter(|name| !inventory.namespaces.contains_key(*name)) else {
        return Ok(());
    };
    const ALWAYS: &str = "kubernetes.io/metadata.name";
    let asks = |labels: &Selector| labels.has(|key| key != ALWAYS);
    let asked = match &choice.scope {
        Scope::Namespaces(labels) => asks(labels),
        _ => choice.labels.has(|key| key.strip_prefix(OF_NAMESPACE).is_some_and(|key| key != ALWAYS)),
    };
    if !asked {
        return Ok(());
    }
    let message = format!("the inventory does not say what labels the namespace `{namespace}` has");
    let diagnostic = Diagnostic::script(message).help(format!("namespaces: [{{name: {namespace}, labels: {{}}}}]"));
    Err(Fault { policy, diagnostic: diagnostic.at(position) })
}
