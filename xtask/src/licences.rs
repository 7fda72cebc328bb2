//! Licences of everything we link, against the list in deny.toml. Works offline: `cargo metadata` has them.
//!
//! Advisories need the RustSec database, which has to be fetched: where it can be, `cargo deny check` reads the same file.

use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;

pub fn check(root: &Path) -> Result<(), String> {
    let text =
        fs::read_to_string(root.join("deny.toml")).map_err(|error| format!("failed to read deny.toml: {error}"))?;
    let allowed = allowed(&text).ok_or("deny.toml has no list `allow`")?;
    let exceptions = exceptions(&text);
    let output =
        Command::new("cargo").args(["metadata", "--format-version", "1", "--locked"]).current_dir(root).output();
    let output = output.map_err(|error| format!("cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut wrong = Vec::new();
    for package in packages {
        let short = package["name"].as_str().unwrap_or("?");
        let name = format!("{short} {}", package["version"].as_str().unwrap_or("?"));
        let excepted = exceptions.iter().filter(|(of, _)| of == short).flat_map(|(_, more)| more);
        let allowed: Vec<String> = allowed.iter().chain(excepted).cloned().collect();
        match package["license"].as_str() {
            Some(licence) if satisfied(licence, &allowed) => {}
            Some(licence) => wrong.push(format!("{name}: {licence}")),
            None => wrong.push(format!("{name}: no licence")),
        }
        if package["source"].as_str().is_some_and(|source| !source.starts_with("registry+")) {
            wrong.push(format!("{name}: not from a registry"));
        }
    }
    if packages.is_empty() {
        return Err("cargo metadata lists no packages".into());
    }
    if wrong.is_empty() {
        println!("{} packages, all under allowed licences", packages.len());
        return Ok(());
    }
    Err(wrong.join("\n"))
}

fn allowed(deny: &str) -> Option<Vec<String>> {
    list(deny.split_once("\nallow = [")?.1)
}

/// One crate each, `{ crate = "NAME", allow = ["LICENCE"] }`, and what it may have beyond the list.
fn exceptions(deny: &str) -> Vec<(String, Vec<String>)> {
    let each = deny.split("{ crate = \"").skip(1);
    each.filter_map(|one| {
        let (name, rest) = one.split_once('"')?;
        let (one, _) = rest.split_once('}')?;
        Some((name.to_owned(), list(one.split_once("allow = [")?.1)?))
    })
    .collect()
}

/// The texts of a list, up to its end.
fn list(text: &str) -> Option<Vec<String>> {
    let list = text.split_once(']')?.0;
    Some(list.split(',').map(|item| item.trim().trim_matches('"').to_owned()).filter(|item| !item.is_empty()).collect())
}

/// Is an SPDX expression satisfied by the allowed licences? `OR` takes any part, `AND` all of them.
fn satisfied(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace('/', " OR ");
    let expression = expression.trim();
    if allowed.iter().any(|one| one == expression) {
        return true;
    }
    if let Some(inner) = outer(expression) {
        return satisfied(inner, allowed);
    }
    match (split(expression, " AND "), split(expression, " OR ")) {
        // `AND` binds tighter, so an `OR` outside of parentheses is split first.
        (_, Some((left, right))) => satisfied(left, allowed) || satisfied(right, allowed),
        (Some((left, right)), None) => satisfied(left, allowed) && satisfied(right, allowed),
        (None, None) => false,
    }
}

/// What one pair of parentheses around everything holds.
fn outer(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let mut depth = 0i32;
    for c in inner.chars() {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        if depth < 0 {
            return None;
        }
    }
    Some(inner)
}

fn split<'a>(text: &'a str, operator: &str) -> Option<(&'a str, &'a str)> {
    let mut depth = 0i32;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && text[at..].starts_with(operator) => {
                return Some((&text[..at], &text[at + operator.len()..]));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_for_one_crate() {
        let deny = "[licenses]\nallow = [\"MIT\"]\nexceptions = [{ crate = \"a\", allow = [\"X-1\", \"X-2\"] }]\n";
        assert_eq!(allowed(deny), Some(vec!["MIT".to_owned()]));
        assert_eq!(exceptions(deny), [("a".to_owned(), vec!["X-1".to_owned(), "X-2".to_owned()])]);
        assert_eq!(exceptions("[licenses]\nallow = [\"MIT\"]\n"), []);
    }

    #[test]
    fn expressions_follow_spdx() {
        let allowed = ["MIT", "Apache-2.0", "Unicode-3.0"].map(str::to_owned);
        assert!(satisfied("MIT OR GPL-3.0", &allowed));
        assert!(satisfied("(MIT OR Apache-2.0) AND Unicode-3.0", &allowed));
        assert!(satisfied("MIT/Apache-2.0", &allowed));
        assert!(!satisfied("MIT AND GPL-3.0", &allowed));
        assert!(!satisfied("GPL-2.0", &allowed));
    }
}
