//! What Kubernetes objects have in common: kind, name, namespace, labels.

use super::fields::Fields;
use super::labels::Labels;
use super::yaml::Node;
use crate::diagnostic::Diagnostic;

/// Who an object says it is.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    pub name: String,
    pub namespace: Option<String>,
    pub labels: Labels,
}

/// What the API server adds, and what says nothing about packets.
const KNOWN: &[&str] = &[
    "name",
    "namespace",
    "labels",
    "annotations",
    "generateName",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "finalizers",
    "managedFields",
    "ownerReferences",
    "selfLink",
];

impl Metadata {
    /// # Errors
    /// A script diagnostic: unknown keys, no name.
    pub fn read(object: Fields<'_>) -> Result<Metadata, Diagnostic> {
        let fields = Fields::of(object.need("metadata")?, "`metadata`", KNOWN)?;
        let name = fields.need("name")?.text("name")?.to_owned();
        let namespace = fields.text("namespace")?.map(str::to_owned);
        let labels = fields.get("labels").map(|labels| Labels::read(labels, "labels")).transpose()?;
        Ok(Metadata { name, namespace, labels: labels.unwrap_or_default() })
    }

    /// Of a namespaced object; kubectl's default where none is given.
    pub fn own_namespace(&self) -> String {
        self.namespace.clone().unwrap_or_else(|| "default".to_owned())
    }
}

/// `apiVersion` and `kind`; empty where they are not.
///
/// # Errors
/// A script diagnostic: it is no map.
pub fn kind(node: &Node) -> Result<(&str, &str), Diagnostic> {
    let entries = node.entries("a document")?;
    let text = |wanted: &str| match entries.iter().find(|(key, _)| key.text == wanted) {
        Some((_, node)) => node.text(wanted),
        None => Ok(""),
    };
    Ok((text("apiVersion")?, text("kind")?))
}
