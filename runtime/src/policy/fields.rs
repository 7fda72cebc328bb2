//! A tree read strictly: each key is known, each value is of its type, and what is not says where and what was near.

use super::yaml::{Key, Node, Value};
use crate::diagnostic::{Diagnostic, Position, nearest};
use crate::network::cidr::Cidr;
use std::ops::RangeInclusive;

/// A map whose keys are all known.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    what: &'a str,
    entries: &'a [(Key, Node)],
    pub position: Option<Position>,
}

impl<'a> Fields<'a> {
    /// `what` it is, with an article: `a rule`.
    ///
    /// # Errors
    /// A script diagnostic: no map, or a key that is not `known`.
    pub fn of(node: &'a Node, what: &'a str, known: &[&str]) -> Result<Fields<'a>, Diagnostic> {
        let entries = node.entries(what)?;
        for (key, _) in entries {
            if !known.contains(&key.text.as_str()) {
                let error =
                    Diagnostic::script(format!("{what} has no `{}`", key.text)).at(key.position).span(&key.text);
                return Err(error.help(match nearest(&key.text, known.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("it has {}", known.join(", ")),
                }));
            }
        }
        Ok(Fields { what, entries, position: node.position })
    }

    /// What stands behind `key`, which may be null.
    pub fn find(&self, key: &str) -> Option<(&'a Key, &'a Node)> {
        self.entries.iter().find(|(known, _)| known.text == key).map(|(key, node)| (key, node))
    }

    /// What stands behind `key`, unless it is null.
    pub fn get(&self, key: &str) -> Option<&'a Node> {
        self.find(key).map(|(_, node)| node).filter(|node| node.value != Value::Null)
    }

    /// # Errors
    /// A script diagnostic: it is not there, or null.
    pub fn need(&self, key: &str) -> Result<&'a Node, Diagnostic> {
        self.get(key).ok_or_else(|| Diagnostic::script(format!("{} needs `{key}`", self.what)).at(self.place(key)))
    }

    /// Where `key` stands, else where the map does.
    pub fn place(&self, key: &str) -> Option<Position> {
        self.find(key).and_then(|(key, _)| key.position).or(self.position)
    }

    /// # Errors
    /// A script diagnostic: it is there, and no text.
    pub fn text(&self, key: &str) -> Result<Option<&'a str>, Diagnostic> {
        self.get(key).map(|node| node.text(key)).transpose()
    }

    /// The items of a list; none where it is not there.
    ///
    /// # Errors
    /// A script diagnostic: it is there, and no list.
    pub fn list(&self, key: &str) -> Result<&'a [Node], Diagnostic> {
        self.get(key).map_or(Ok(&[]), |node| node.list(key))
    }
}

impl Node {
    /// An error about this place.
    pub fn wrong(&self, message: impl Into<String>) -> Diagnostic {
        let error = Diagnostic::script(message).at(self.position);
        match &self.value {
            Value::Scalar { text, .. } if !text.contains('\n') && !text.is_empty() => error.span(text.clone()),
            _ => error,
        }
    }

    /// What it is, as an error says it.
    fn is(&self) -> String {
        match &self.value {
            Value::Null => "nothing".into(),
            Value::Scalar { text, .. } => format!("`{text}`"),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
        }
    }

    /// # Errors
    /// A script diagnostic: it is no map.
    pub fn entries(&self, what: &str) -> Result<&[(Key, Node)], Diagnostic> {
        match &self.value {
            Value::Map(entries) => Ok(entries),
            _ => Err(self.wrong(format!("{what} is a map, this is {}", self.is()))),
        }
    }

    /// # Errors
    /// A script diagnostic: it is no list.
    pub fn list(&self, what: &str) -> Result<&[Node], Diagnostic> {
        match &self.value {
            Value::List(items) => Ok(items),
            _ => Err(self.wrong(format!("`{what}` is a list, this is {}", self.is()))),
        }
    }

    /// One value, or a list of them: what people write either way.
    pub fn one_or_more(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// # Errors
    /// A script diagnostic: it is no scalar.
    pub fn text(&self, what: &str) -> Result<&str, Diagnostic> {
        match &self.value {
            Value::Scalar { text, .. } => Ok(text),
            _ => Err(self.wrong(format!("`{what}` is a text, this is {}", self.is()))),
        }
    }

    /// Is it a number that is not quoted?
    pub fn is_number(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
    }

    /// # Errors
    /// A script diagnostic: no number, or out of `range`.
    pub fn number(&self, what: &str, range: RangeInclusive<u64>) -> Result<u64, Diagnostic> {
        let text = self.text(what)?;
        // With a leading zero some would read it in base eight.
        let digits = text.bytes().all(|b| b.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
        let number = text.parse().ok().filter(|number| digits && range.contains(number));
        number.ok_or_else(|| {
            self.wrong(format!("`{what}` is a number from {} to {}, this is {}", range.start(), range.end(), self.is()))
        })
    }

    /// # Errors
    /// A script diagnostic: neither true nor false.
    pub fn truth(&self, what: &str) -> Result<bool, Diagnostic> {
        match &self.value {
            Value::Scalar { text, plain: true } if text == "true" => Ok(true),
            Value::Scalar { text, plain: true } if text == "false" => Ok(false),
            _ => Err(self.wrong(format!("`{what}` is true or false, this is {}", self.is()))),
        }
    }

    /// # Errors
    /// A script diagnostic: no address or prefix.
    pub fn cidr(&self, what: &str) -> Result<Cidr, Diagnostic> {
        self.text(what)?.parse::<Cidr>().map_err(|error| error.at(self.position))
    }

    /// One of `words`, by its number in them.
    ///
    /// # Errors
    /// A script diagnostic: none of them.
    pub fn word(&self, what: &str, words: &[&str]) -> Result<usize, Diagnostic> {
        let text = self.text(what)?;
        words.iter().position(|word| *word == text).ok_or_else(|| {
            let error = self.wrong(format!("`{what}` cannot be `{text}`"));
            error.help(match nearest(text, words.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => words.join(", "),
            })
        })
    }
}

/// For scripts, whose values have no place in a file.
impl From<&str> for Node {
    fn from(text: &str) -> Node {
        Node { position: None, value: Value::Scalar { text: text.to_owned(), plain: false } }
    }
}

impl From<i64> for Node {
    fn from(number: i64) -> Node {
        Node { position: None, value: Value::Scalar { text: number.to_string(), plain: true } }
    }
}

impl From<bool> for Node {
    fn from(truth: bool) -> Node {
        Node { position: None, value: Value::Scalar { text: truth.to_string(), plain: true } }
    }
}

impl From<Vec<Node>> for Node {
    fn from(items: Vec<Node>) -> Node {
        Node { position: None, value: Value::List(items) }
    }
}

impl<K: Into<String>> FromIterator<(K, Node)> for Node {
    fn from_iter<I: IntoIterator<Item = (K, Node)>>(entries: I) -> Node {
        let entries = entries.into_iter().map(|(key, node)| (Key { text: key.into(), position: None }, node));
        Node { position: None, value: Value::Map(entries.collect()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml::documents;
    use super::*;

    #[test]
    fn unknown_key_names_the_nearest_and_its_place() {
        let node = documents("src: 1\n dport: 2\n".replace("\n ", "\n").as_str()).expect("it is YAML").remove(0);
        let error = Fields::of(&node, "a rule", &["src", "port"]).expect_err("it is unknown");
        assert_eq!(error.message, "a rule has no `dport`");
        assert_eq!(error.help.as_deref(), Some("did you mean `port`?"));
        assert_eq!(error.position, Some(Position::new(2, 1)));
    }

    #[test]
    fn numbers_are_digits_within_their_range() {
        assert_eq!(Node::from("80").number("port", 0..=65535).ok(), Some(80));
        for text in ["65536", "+1", "-1", "", "1e3", "0x10", "080"] {
            assert!(Node::from(text).number("port", 0..=65535).is_err(), "{text}");
        }
    }
}
