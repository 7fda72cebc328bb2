//! The log of the helper: JSON lines, one for what was asked, one for how it ended, chained as those of [`crate::audit`].

use crate::audit;
use crate::permit::Person;
use serde_json::{Map, Value, json};
use std::io;
use std::path::PathBuf;

/// Of a script's text: who wants all of it has the script.
const LONGEST_TEXT: usize = 4096;

/// Where lines go. Opened for each, so that whoever rotates it need tell nobody.
#[derive(Clone, Debug)]
pub struct Log(pub PathBuf);

impl Log {
    /// # Errors
    /// The kernel's; then nothing that was to be logged may happen.
    pub fn line(&self, line: Map<String, Value>) -> io::Result<()> {
        audit::log::Log::new(&self.0).append(line).map(drop)
    }
}

/// What all lines of one request have.
pub fn head(number: u64, event: &str, pid: u32, person: &Person) -> Map<String, Value> {
    let value = json!({
        "type": "helper", "event": event, "request": number,
        "uid": person.uid, "user": person.name(), "gid": person.gid, "pid": pid,
    });
    match value {
        Value::Object(head) => head,
        _ => Map::new(),
    }
}

/// A text as it may be shown on a terminal, not endless.
pub fn clean(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST_TEXT);
    let more = if end < text.len() { "…" } else { "" };
    // Line ends are JSON's matter; what terminals obey is not.
    let plain = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    text[..end].chars().map(plain).collect::<String>() + more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_free_of_what_terminals_obey() {
        assert_eq!(clean("a\x1b[2Jb\u{9b}c\n"), "a\u{fffd}[2Jb\u{fffd}c\n");
        let long = clean(&"é".repeat(LONGEST_TEXT));
        assert_eq!((long.len(), long.ends_with('…')), (LONGEST_TEXT + '…'.len_utf8(), true));
    }
}
