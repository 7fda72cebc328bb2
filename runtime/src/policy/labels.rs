//! Labels, and selectors over them, as Kubernetes and Cilium write both.

use super::fields::Fields;
use super::yaml::Node;
use crate::diagnostic::Diagnostic;
use std::collections::BTreeMap;
use std::fmt;

/// The label that names an endpoint's namespace, as Cilium has it.
pub const NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Before the labels of an endpoint's namespace, as Cilium has them.
pub const OF_NAMESPACE: &str = "io.cilium.k8s.namespace.labels.";

/// By key. Of the sources that Cilium writes before a key, `k8s:` and `any:` are left out; others stay part of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(pub BTreeMap<String, String>);

impl Labels {
    /// # Errors
    /// A script diagnostic: no map of texts.
    pub fn read(node: &Node, what: &str) -> Result<Labels, Diagnostic> {
        let entries = node.entries(what)?.iter();
        let labels = entries.map(|(key, value)| Ok((bare(&key.text).to_owned(), value.text(&key.text)?.to_owned())));
        Ok(Labels(labels.collect::<Result<_, Diagnostic>>()?))
    }

    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

/// `k8s:app=web k8s:tier=front`, as Hubble spells labels.
impl fmt::Display for Labels {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (key, value)) in self.0.iter().enumerate() {
            write!(out, "{}k8s:{key}={value}", if n == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

fn bare(key: &str) -> &str {
    key.strip_prefix("k8s:").or_else(|| key.strip_prefix("any:")).unwrap_or(key)
}

/// What labels have to be; without requirements: whatever they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(pub Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
    pub values: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    In,
    /// Also where there is no such label.
    NotIn,
    Exists,
    DoesNotExist,
}

const OPERATORS: &[(&str, Operator)] = &[
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Exists", Operator::Exists),
    ("DoesNotExist", Operator::DoesNotExist),
];

impl Selector {
    /// Reads `{matchLabels, matchExpressions}`; nothing at all selects everything.
    ///
    /// # Errors
    /// A script diagnostic: unknown keys or operators, values where none belong or none where some do.
    pub fn read(node: &Node, what: &str) -> Result<Selector, Diagnostic> {
        let fields = Fields::of(node, what, &["matchLabels", "matchExpressions"])?;
        let mut requirements = Vec::new();
        if let Some(labels) = fields.get("matchLabels") {
            for (key, value) in Labels::read(labels, "matchLabels")?.0 {
                requirements.push(Requirement { key, operator: Operator::In, values: vec![value] });
            }
        }
        for item in fields.list("matchExpressions")? {
            requirements.push(Requirement::read(item)?);
        }
        Ok(Selector(requirements))
    }

    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }

    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has(&self, key: impl Fn(&str) -> bool) -> bool {
        self.0.iter().any(|requirement| key(&requirement.key))
    }
}

impl Requirement {
    fn read(node: &Node) -> Result<Requirement, Diagnostic> {
        let fields = Fields::of(node, "a match expression", &["key", "operator", "values"])?;
        let names: Vec<&str> = OPERATORS.iter().map(|(name, _)| *name).collect();
        let operator = fields.need("operator")?;
        let operator = OPERATORS[operator.word("operator", &names)?].1;
        let values = fields.list("values")?.iter().map(|value| Ok(value.text("values")?.to_owned()));
        let values = values.collect::<Result<Vec<_>, Diagnostic>>()?;
        let wants = matches!(operator, Operator::In | Operator::NotIn);
        if wants == values.is_empty() {
            let message =
                if wants { "`In` and `NotIn` need values" } else { "`Exists` and `DoesNotExist` take no values" };
            return Err(Diagnostic::script(message).at(fields.place("values")));
        }
        Ok(Requirement { key: bare(fields.need("key")?.text("key")?).to_owned(), operator, values })
    }

    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let listed = || value.is_some_and(|value| self.values.iter().any(|wanted| wanted == value));
        match self.operator {
            Operator::In => listed(),
            Operator::NotIn => !listed(),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, requirement) in self.0.iter().enumerate() {
            let Requirement { key, operator, values } = requirement;
            let values = values.join(",");
            out.write_str(if n == 0 { "" } else { ", " })?;
            match operator {
                Operator::In if requirement.values.len() == 1 => write!(out, "{key}={values}")?,
                Operator::In => write!(out, "{key} in ({values})")?,
                Operator::NotIn => write!(out, "{key} notin ({values})")?,
                Operator::Exists => write!(out, "{key}")?,
                Operator::DoesNotExist => write!(out, "!{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml::documents;
    use super::*;

    fn selector(text: &str) -> Result<Selector, Diagnostic> {
        Selector::read(&documents(text).expect("it is YAML").remove(0), "a selector")
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn operators_follow_kubernetes() {
        let web = labels(&[("app", "web")]);
        for (text, matches) in [
            ("{}", true),
            ("matchLabels: {app: web}", true),
            ("matchLabels: {'k8s:app': web}", true),
            ("matchLabels: {app: db}", false),
            ("matchExpressions: [{key: app, operator: In, values: [db, web]}]", true),
            ("matchExpressions: [{key: app, operator: NotIn, values: [web]}]", false),
            ("matchExpressions: [{key: tier, operator: NotIn, values: [web]}]", true),
            ("matchExpressions: [{key: 'any:app', operator: Exists}]", true),
            ("matchExpressions: [{key: app, operator: DoesNotExist}]", false),
            ("{matchLabels: {app: web}, matchExpressions: [{key: tier, operator: Exists}]}", false),
        ] {
            assert_eq!(selector(text).expect("it is right").matches(&web), matches, "{text}");
        }
    }

    #[test]
    fn values_belong_to_in_and_not_in_only() {
        for text in [
            "matchExpressions: [{key: app, operator: In}]",
            "matchExpressions: [{key: app, operator: Exists, values: [a]}]",
            "matchExpressions: [{key: app, operator: in, values: [a]}]",
            "matchExpressions: [{operator: Exists}]",
            "matchLables: {app: web}",
        ] {
            assert!(selector(text).is_err(), "{text}");
        }
    }
}
