//! A script's header: the one text that help, lists, documents and completion are made from.

use super::Script;

/// Parts that every header has, in their order.
pub const PARTS: [&str; 5] = ["Usage", "Example", "Columns", "Overhead", "Needs"];

/// `//! name - what it answers.`, then parts that begin with their word; what follows indented belongs to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub name: String,
    pub summary: String,
    parts: Vec<(String, Vec<String>)>,
}

impl Header {
    pub fn of(script: &Script) -> Header {
        let text = script.header();
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        let (name, summary) = first.split_once(" - ").unwrap_or(("", first));
        let mut header = Header { name: name.into(), summary: summary.trim().into(), parts: Vec::new() };
        for line in lines {
            let begins = line.split_once(':').filter(|(word, _)| PARTS.contains(word));
            match (begins, header.parts.last_mut()) {
                (Some((word, rest)), _) => header.parts.push((word.into(), vec![rest.trim().into()])),
                (None, Some((_, more))) => more.push(line.trim_end().into()),
                (None, None) => {}
            }
        }
        header
    }

    /// The lines of a part, without its word.
    pub fn part(&self, name: &str) -> Option<&[String]> {
        self.parts.iter().find(|(word, _)| word == name).map(|(_, lines)| lines.as_slice())
    }

    /// What is wrong with it, a sentence each.
    pub fn faults(&self, script: &str) -> Vec<String> {
        let name = script.rsplit('/').next().unwrap_or(script);
        let name = name.strip_suffix(".rhai").unwrap_or(name);
        let mut faults = Vec::new();
        if self.name != name || self.summary.is_empty() {
            faults.push(format!("the first line is no `//! {name} - what it answers.`"));
        }
        // A script that only finds has no columns.
        let asked = PARTS.iter().filter(|part| **part != "Columns");
        for part in asked {
            match self.part(part) {
                None => faults.push(format!("the header lacks `{part}:`")),
                Some(lines) if lines.iter().all(|line| line.trim().is_empty()) => {
                    faults.push(format!("`{part}:` of the header says nothing"));
                }
                Some(_) => {}
            }
        }
        // What was printed, and a sentence about it.
        if let Some([_, transcript @ ..]) = self.part("Example")
            && (transcript.len() < 3 || transcript[0].trim_start().starts_with('('))
        {
            faults.push("the example shows no run: what was printed, and a line about it".into());
        }
        faults
    }

    /// Does it hold all of these words, whatever their case?
    pub fn answers(&self, words: &[String]) -> bool {
        let parts = self.parts.iter().filter(|(word, _)| word != "Example").flat_map(|(_, lines)| lines);
        let text: Vec<&str> = [&self.name, &self.summary].into_iter().chain(parts).map(String::as_str).collect();
        let text = text.join(" ").to_lowercase();
        words.iter().all(|word| text.contains(&word.to_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Header {
        Header::of(&Script { name: "net/drops".into(), text: text.to_owned().into() })
    }

    const WHOLE: &str = "//! drops - packets that go.\n//!\n//! Usage:    skep run drops\n//! Example:  sudo skep run drops\n\
        //!   attached\n\
        //!   trust: 1 seen\n//!   One.\n//! Columns:  why\n//! Overhead: none.\n//! Needs:    Linux 5.10\n//!           and root\n";

    #[test]
    fn header_is_read_by_its_parts() {
        let header = header(WHOLE);
        assert_eq!((header.name.as_str(), header.summary.as_str()), ("drops", "packets that go."));
        assert_eq!(header.part("Needs").map(<[String]>::len), Some(2));
        assert!(header.faults("net/drops").is_empty(), "{:?}", header.faults("net/drops"));
        assert!(header.answers(&["PACKETS".into(), "root".into()]) && !header.answers(&["seen".into()]));
    }

    #[test]
    fn what_is_missing_is_named() {
        let faults =
            header("//! drop - packets that go.\n//! Usage: x\n//! Example: y\n//! Needs:\n").faults("net/drops");
        assert_eq!(faults.len(), 4, "{faults:?}");
        assert!(faults[0].contains("drops - what it answers"), "{faults:?}");
    }
}
