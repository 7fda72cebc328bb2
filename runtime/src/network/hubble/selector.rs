//! Label selectors, as Kubernetes spells them: `app=web,tier!=db,env in (a, b),!legacy`. Pure text.
//!
//! A label is `source:key=value`; a key without its source means that of any. Source: Kubernetes, "Labels and Selectors".

use crate::diagnostic::Diagnostic;

/// All of these hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    /// Also where the key is missing.
    NotIn(Vec<String>),
}

impl Selector {
    /// # Errors
    /// A script diagnostic at the requirement that is none.
    pub fn parse(text: &str) -> Result<Selector, Diagnostic> {
        requirements(text).into_iter().map(requirement).collect::<Result<_, _>>().map(Selector)
    }

    pub fn matches(&self, labels: &[String]) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.iter().find_map(|label| value(label, &requirement.key));
            match &requirement.test {
                Test::Exists => value.is_some(),
                Test::Missing => value.is_none(),
                Test::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
                Test::NotIn(values) => value.is_none_or(|value| !values.iter().any(|one| one == value)),
            }
        })
    }
}

/// The value of a label, if it has this key.
fn value<'a>(label: &'a str, key: &str) -> Option<&'a str> {
    let (name, value) = label.split_once('=').unwrap_or((label, ""));
    let (source, bare) = name.split_once(':').unwrap_or(("", name));
    let key = key.strip_prefix("any:").unwrap_or(key);
    let same = match key.split_once(':') {
        Some((wanted, key)) => wanted == source && key == bare,
        None => key == bare,
    };
    same.then_some(value)
}

/// Split at the commas outside of parentheses.
fn requirements(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, sign) in text.char_indices() {
        match sign {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

fn requirement(text: &str) -> Result<Requirement, Diagnostic> {
    let text = text.trim();
    let wrong =
        || Diagnostic::script(format!("`{text}` is no label selector")).help("app=web,tier in (front, back),!old");
    let (key, test) = if let Some(key) = text.strip_prefix('!') {
        (key, Test::Missing)
    } else if let Some((key, value)) = text.split_once("!=") {
        (key, Test::NotIn(vec![value.trim().to_owned()]))
    } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        (key, Test::In(vec![value.trim().to_owned()]))
    } else if let Some(head) = text.strip_suffix(')') {
        let (head, values) = head.split_once('(').ok_or_else(wrong)?;
        let values: Vec<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
        match head.trim_end().rsplit_once(char::is_whitespace) {
            Some((key, "in")) => (key, Test::In(values)),
            Some((key, "notin")) => (key, Test::NotIn(values)),
            _ => return Err(wrong()),
        }
    } else {
        (text, Test::Exists)
    };
    let key = key.trim();
    let fits = |sign: char| sign.is_ascii_alphanumeric() || "-_./:".contains(sign);
    let values = |values: &[String]| values.iter().all(|value| value.chars().all(fits));
    let valued = match &test {
        Test::In(all) | Test::NotIn(all) => values(all),
        Test::Exists | Test::Missing => true,
    };
    if key.is_empty() || !key.chars().all(fits) || !valued {
        return Err(wrong());
    }
    Ok(Requirement { key: key.to_owned(), test })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, labels: &[&str]) -> bool {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        Selector::parse(selector).unwrap_or_else(|error| panic!("{error}")).matches(&labels)
    }

    #[test]
    fn selectors_are_those_of_kubernetes() {
        let web = ["k8s:app=web", "k8s:tier=front", "k8s:io.kubernetes.pod.namespace=shop"];
        for yes in [
            "app=web",
            "app == web",
            "k8s:app=web",
            "any:app=web",
            "app",
            "app!=db",
            "zone!=a",
            "app in (db, web),tier",
            "tier notin (back)",
            "zone notin (a)",
            "!zone",
            "io.kubernetes.pod.namespace=shop",
        ] {
            assert!(matches(yes, &web), "{yes}");
        }
        for no in ["app=db", "container:app=web", "app!=web", "zone", "!app", "app in (db)", "app=web,tier=back"] {
            assert!(!matches(no, &web), "{no}");
        }
        assert!(matches("reserved:world", &["reserved:world"]) && !matches("reserved:host", &["reserved:world"]));
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for wrong in ["", "=web", "app in web", "app in (web", "app = w b", "app,,tier", "ap p"] {
            assert!(Selector::parse(wrong).is_err(), "{wrong}");
        }
    }
}
