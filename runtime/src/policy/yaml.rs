//! YAML as a tree that knows where each part stands and how each scalar is written. Pure text; no privilege.
//!
//! Not by way of serde: what `null`, `[]` and `[{}]` say differs in a policy, a label `1.10` is no number, and an error
//! about meaning needs its place as much as one about syntax does.

use crate::diagnostic::{Diagnostic, Position};
use granit_parser::{Event, Parser, ScalarStyle, ScanError};
use std::collections::{HashMap, HashSet};

/// A value; of a script it has no position.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub position: Option<Position>,
    pub value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    /// `plain`: not quoted, so that it may be meant as a number or a truth value.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// In the order of the text.
    Map(Vec<(Key, Node)>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub text: String,
    pub position: Option<Position>,
}

/// What all aliases of a file may unfold to: beyond it somebody multiplies anchors.
const MOST_UNFOLDED: usize = 1_000_000;

/// The documents of a file; empty ones are left out.
///
/// # Errors
/// A script diagnostic at what is no YAML, at a key given twice, or at what policies have no use for (tags, keys that are
/// lists or maps).
pub fn documents(text: &str) -> Result<Vec<Node>, Diagnostic> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| syntax(&error))?;
        builder.take(event, position(&span.start))?;
    }
    Ok(builder.documents)
}

fn position(marker: &granit_parser::Marker) -> Option<Position> {
    Some(Position::new(marker.line().max(1), marker.col() + 1))
}

fn syntax(error: &ScanError) -> Diagnostic {
    Diagnostic::script(format!("this is no YAML: {}", error.info())).at(position(error.marker()))
}

#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    /// Lists and maps that are not at their ends, with their anchors.
    open: Vec<(Open, usize)>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    /// Those of them that aliases brought.
    unfolded: usize,
}

struct Open {
    node: Node,
    /// The key that waits for its value.
    key: Option<Key>,
    /// Those that it has.
    keys: HashSet<String>,
    /// Nodes there were when it began.
    before: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, position: Option<Position>) -> Result<(), Diagnostic> {
        let value = match event {
            Event::DocumentStart(..) => {
                self.anchors.clear();
                return Ok(());
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.untagged(tag.is_some(), position)?;
                let plain = style == ScalarStyle::Plain;
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if null { Value::Null } else { Value::Scalar { text: text.into_owned(), plain } };
                return self.put(Node { position, value }, anchor, 1);
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err(Diagnostic::script("an alias stands inside of its own anchor").at(position));
                };
                self.unfolded += size;
                if self.unfolded > MOST_UNFOLDED {
                    let message = format!("the aliases of this file unfold to more than {MOST_UNFOLDED} values");
                    return Err(Diagnostic::script(message).at(position));
                }
                return self.put(node, 0, size);
            }
            Event::SequenceStart(_, anchor, tag) => (Value::List(Vec::new()), anchor, tag.is_some()),
            Event::MappingStart(_, anchor, tag) => (Value::Map(Vec::new()), anchor, tag.is_some()),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some((open, anchor)) = self.open.pop() else { return Ok(()) };
                let size = self.nodes - open.before + 1;
                self.nodes = open.before;
                return self.put(open.node, anchor, size);
            }
            _ => return Ok(()),
        };
        let (value, anchor, tagged) = value;
        self.untagged(tagged, position)?;
        self.open.push((
            Open { node: Node { position, value }, key: None, keys: HashSet::new(), before: self.nodes },
            anchor,
        ));
        Ok(())
    }

    fn untagged(&self, tagged: bool, position: Option<Position>) -> Result<(), Diagnostic> {
        let error = || Err(Diagnostic::script("a policy has no use for tags").at(position));
        if tagged { error() } else { Ok(()) }
    }

    /// Adds a finished node of `size` nodes to the innermost list or map.
    fn put(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), Diagnostic> {
        self.nodes += size;
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some((open, _)) = self.open.last_mut() else {
            if node.value != Value::Null {
                self.documents.push(node);
            }
            self.nodes = 0;
            return Ok(());
        };
        match &mut open.node.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => match open.key.take() {
                Some(key) => entries.push((key, node)),
                None => {
                    let Value::Scalar { text, .. } = node.value else {
                        return Err(Diagnostic::script("a key has to be a word").at(node.position));
                    };
                    if !open.keys.insert(text.clone()) {
                        return Err(Diagnostic::script(format!("`{text}` is given twice")).at(node.position));
                    }
                    open.key = Some(Key { text, position: node.position });
                }
            },
            Value::Null | Value::Scalar { .. } => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Node {
        let mut documents = documents(text).expect("it is YAML");
        assert_eq!(documents.len(), 1, "{text}");
        documents.remove(0)
    }

    fn item<'a>(node: &'a Node, key: &str) -> &'a Node {
        let Value::Map(entries) = &node.value else { panic!("{node:?} is no map") };
        entries.iter().find(|(known, _)| known.text == key).map(|(_, node)| node).expect("it is there")
    }

    #[test]
    fn nothing_no_items_and_an_empty_item_stay_apart() {
        let node = only("a:\nb: []\nc: [{}]\nd:\n-\ne: null\nf: \"\"\n");
        assert_eq!(item(&node, "a").value, Value::Null);
        assert_eq!(item(&node, "b").value, Value::List(vec![]));
        assert!(matches!(&item(&node, "c").value, Value::List(items) if items[0].value == Value::Map(vec![])));
        assert!(matches!(&item(&node, "d").value, Value::List(items) if items[0].value == Value::Null));
        assert_eq!(item(&node, "e").value, Value::Null);
        assert_eq!(item(&node, "f").value, Value::Scalar { text: String::new(), plain: false });
    }

    #[test]
    fn scalars_stay_as_they_are_written_and_know_their_places() {
        let node = only("a: 1.10\nbc: [80, \"80\"]\n");
        assert_eq!(item(&node, "a").value, Value::Scalar { text: "1.10".into(), plain: true });
        let Value::List(items) = &item(&node, "bc").value else { panic!("it is a list") };
        assert_eq!(items[0].position, Some(Position::new(2, 6)));
        assert_eq!(items[1].value, Value::Scalar { text: "80".into(), plain: false });
    }

    #[test]
    fn aliases_unfold_within_bounds() {
        let node = only("a: &x [1, 2]\nb: *x\n");
        assert_eq!(item(&node, "a"), item(&node, "b"));
        let mut bomb = "a0: &a0 [1,2,3,4,5,6,7,8,9]\n".to_owned();
        for level in 1..9 {
            let below = format!("*a{},", level - 1).repeat(9);
            bomb += &format!("a{level}: &a{level} [{below}]\n");
        }
        assert!(documents(&bomb).expect_err("it is too much").message.contains("unfold"));
    }

    #[test]
    fn nesting_is_bounded_however_it_is_written() {
        for text in ["- ".repeat(100_000), "[".repeat(100_000), "{a: ".repeat(100_000)] {
            let error = documents(&text).expect_err("it is too deep");
            assert!(error.message.contains("recursion limit"), "{error}");
        }
        let mut aliases = "- &a0 [1]\n".to_owned();
        (1..3_000).for_each(|level| aliases += &format!("- &a{level} [*a{}]\n", level - 1));
        assert!(documents(&aliases).expect_err("it is too much").message.contains("unfold"));
    }

    #[test]
    fn maps_of_many_keys_are_read_in_no_time() {
        let text: String = (0..200_000).map(|n| format!("key{n}: 1\n")).collect();
        let Value::Map(entries) = only(&text).value else { panic!("it is a map") };
        assert_eq!(entries.len(), 200_000);
    }

    #[test]
    fn faults_name_their_places() {
        for (text, message, line, column) in [
            ("a: 1\na: 2\n", "`a` is given twice", 2, 1),
            ("a: !x 1\n", "a policy has no use for tags", 1, 7),
            ("a: [1\nb: 2\n", "this is no YAML: ", 2, 2),
            ("? [1]\n: 2\n", "a key has to be a word", 1, 3),
        ] {
            let error = documents(text).expect_err("it is wrong");
            assert!(error.message.starts_with(message), "{text}: {error}");
            assert_eq!(error.position, Some(Position::new(line, column)), "{text}: {error}");
        }
    }

    #[test]
    fn documents_without_content_are_left_out() {
        assert_eq!(documents("---\n---\na: 1\n---\n# nothing\n").expect("it is YAML").len(), 1);
    }
}
