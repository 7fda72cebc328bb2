//! Patterns: names of nodes and of DNS with `*`, and names of pods and services with their namespace. Pure text.

use crate::diagnostic::Diagnostic;
use crate::glob;

/// A name of DNS; `*` stands for any run of its signs, dots too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fqdn(String);

impl Fqdn {
    /// # Errors
    /// A script diagnostic: empty, two dots at the end, or a sign that no name has.
    pub fn parse(text: &str) -> Result<Fqdn, Diagnostic> {
        let name = text.trim();
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let fits = |sign: char| sign.is_ascii_alphanumeric() || "-_.*".contains(sign);
        if name.is_empty() || name.ends_with('.') || !name.chars().all(fits) {
            return Err(Diagnostic::script(format!("`{text}` is no pattern of a name")).help("*.example.com"));
        }
        Ok(Fqdn(name))
    }

    pub fn matches(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        glob::matches(&self.0, &name.to_ascii_lowercase())
    }
}

/// A node by its name, or `cluster/node`; an empty half is any.
#[derive(Clone, Debug)]
pub struct Node {
    cluster: Option<Fqdn>,
    node: Option<Fqdn>,
}

/// What a node without a cluster is in.
const CLUSTER: &str = "default";

impl Node {
    /// # Errors
    /// A script diagnostic: empty, or with more than one slash.
    pub fn parse(text: &str) -> Result<Node, Diagnostic> {
        let half = |text: &str| if text.is_empty() { Ok(None) } else { Fqdn::parse(text).map(Some) };
        match text.split('/').collect::<Vec<_>>().as_slice() {
            [node] if !node.is_empty() => Ok(Node { cluster: None, node: half(node)? }),
            [cluster, node] => Ok(Node { cluster: half(cluster)?, node: half(node)? }),
            _ => Err(Diagnostic::script(format!("`{text}` is no pattern of a node")).help("k8s*, or cluster/k8s*")),
        }
    }

    pub fn matches(&self, name: &str) -> bool {
        let (cluster, node) = name.split_once('/').unwrap_or((CLUSTER, name));
        let half = |pattern: &Option<Fqdn>, name: &str| pattern.as_ref().is_none_or(|pattern| pattern.matches(name));
        !name.is_empty() && half(&self.cluster, cluster) && half(&self.node, node)
    }
}

/// `namespace/prefix`: names that begin so. `namespace/`: all there; `/prefix`: in any namespace; `prefix`: in `default`,
/// or in none, as those are that no Kubernetes has started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Qualified {
    namespace: Namespace,
    prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Namespace {
    Any,
    Usual,
    Named(String),
}

impl Qualified {
    /// # Errors
    /// A script diagnostic: it is empty.
    pub fn parse(text: &str) -> Result<Qualified, Diagnostic> {
        let (namespace, prefix) = match text.split_once('/') {
            Some(("", prefix)) => (Namespace::Any, prefix),
            Some((namespace, prefix)) => (Namespace::Named(namespace.to_owned()), prefix),
            None if text.is_empty() => {
                return Err(Diagnostic::script("a name is empty").help("namespace/name, namespace/ or /name"));
            }
            None => (Namespace::Usual, text),
        };
        Ok(Qualified { namespace, prefix: prefix.to_owned() })
    }

    pub fn matches(&self, namespace: &str, name: &str) -> bool {
        let inside = match &self.namespace {
            Namespace::Any => true,
            Namespace::Usual => namespace.is_empty() || namespace == "default",
            Namespace::Named(wanted) => wanted == namespace,
        };
        (!namespace.is_empty() || !name.is_empty()) && inside && name.starts_with(&self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_of_a_name_crosses_dots() {
        let pattern = Fqdn::parse("*.Cilium.io.").expect("it is one");
        assert!(
            pattern.matches("docs.cilium.io") && pattern.matches("a.b.cilium.io.") && !pattern.matches("cilium.io")
        );
        for wrong in ["", "a..", "a b", "a/b", "[a]"] {
            assert!(Fqdn::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nodes_have_a_cluster() {
        let matches = |pattern: &str, name: &str| Node::parse(pattern).expect("it is one").matches(name);
        assert!(matches("k8s*", "k8s1") && matches("k8s*", "test/k8s1") && matches("default/", "k8s1"));
        assert!(matches("test-*/*.company.com", "test-1/a.company.com") && !matches("test/", "k8s1"));
        assert!(!matches("*", "") && Node::parse("a/b/c").is_err() && Node::parse("").is_err());
    }

    #[test]
    fn names_are_prefixes_inside_of_a_namespace() {
        let matches =
            |pattern: &str, (namespace, name)| Qualified::parse(pattern).expect("it is one").matches(namespace, name);
        assert!(
            matches("web", ("default", "web-0")) && matches("web", ("", "web")) && !matches("web", ("shop", "web-0"))
        );
        assert!(
            matches("shop/", ("shop", "db")) && matches("shop/web", ("shop", "web-0")) && matches("/web", ("x", "web"))
        );
        assert!(!matches("/", ("", "")) && Qualified::parse("").is_err());
    }
}
