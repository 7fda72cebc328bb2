//! Policies of files, for scripts: read, checked, and refused where `skep policy apply` would refuse them.

use crate::confine::outputs;
use crate::diagnostic::Diagnostic;
use crate::kernel::load;
use crate::library::Script;
use crate::policy::check::{Checked, Report};
use crate::policy::site::stage_audits;
use crate::policy::suite::Suite;

/// The policies of a file, with the inventory that says who is who.
///
/// # Errors
/// The first of what is wrong: a file that cannot be read, policies that mean nothing, that ask for what nothing here
/// enforces, or that fail the tests beside them.
pub fn open(path: &str, inventory: Option<&str>) -> Result<Checked, Diagnostic> {
    let mut suite = Suite::new();
    if let Some(path) = inventory {
        suite.add_inventory(&read(path)?);
    }
    suite.add(read(path)?);
    suite.cases.iter_mut().for_each(|case| stage_audits(&mut case.policies));
    let report = Report::of(suite);
    let mut errors = report.errors.iter().chain(report.cases.iter().flat_map(|case| &case.errors));
    if let Some(error) = errors.next() {
        return Err(error.clone());
    }
    let check = || match inventory {
        Some(inventory) => format!("skep policy check {path} --inventory {inventory}"),
        None => format!("skep policy check {path}"),
    };
    let nothing = || Diagnostic::script(format!("`{path}` has no policy")).span(path).help(check());
    let mut cases = report.cases.into_iter().filter(|case| !case.policies.is_empty());
    let found = cases.next().filter(|case| case.name.is_empty()).ok_or_else(nothing)?;
    if let Some(policy) = found.policies.iter().find(|policy| policy.is_refused()) {
        let message = format!("`{}` asks for what nothing here enforces", policy.id);
        return Err(policy.locate(Diagnostic::script(message).at(policy.position).help(check())));
    }
    if found.tests.iter().any(|test| !test.passed) {
        let message = format!("the policies of `{path}` do not do what the tests beside them expect");
        return Err(Diagnostic::script(message).span(path).help(check()));
    }
    if found.resolution.targets.is_empty() {
        return Err(Diagnostic::script(format!("no policy of `{path}` selects anything")).span(path).help(check()));
    }
    Ok(found)
}

fn read(path: &str) -> Result<Script, Diagnostic> {
    outputs::may("read", path)?;
    let text = std::fs::read_to_string(path)
        .map_err(|error| Diagnostic::script(format!("failed to read `{path}`: {}", load::text(&error))).span(path))?;
    Ok(Script { name: path.to_owned(), text: text.into() })
}
