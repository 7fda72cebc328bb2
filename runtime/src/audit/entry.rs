//! One line of the log: an object that ends with the hash of the line before it and its own. Pure text.

use crate::network::time::{Layout, Time};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

/// Of what the first line of all follows.
pub const NOTHING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The version of the format, which every line says.
const VERSION: u64 = 1;

/// Stands before a line's own hash, which is of everything before this.
const OWN: &str = ",\"hash\":\"";

/// SHA-256, as it is written: 64 hexadecimal digits.
pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The end of a chain: what the next line follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the last line; 0: there is none.
    pub number: u64,
    pub hash: String,
}

impl Head {
    /// Of a chain without lines.
    pub fn none() -> Head {
        Head { number: 0, hash: NOTHING.to_owned() }
    }
}

/// Writes the line that follows `head`: members of ours first, then those of `said`. Its newline is not part of it.
pub fn written(head: &Head, said: Map<String, Json>) -> (String, Head) {
    let number = head.number + 1;
    let time = Time::now().text(Layout::Rfc3339Micro);
    let mut line =
        Map::from_iter([("v".into(), VERSION.into()), ("n".into(), number.into()), ("time".into(), time.into())]);
    line.extend(said);
    line.insert("prev".into(), head.hash.clone().into());
    let text = Json::Object(line).to_string();
    // Without its brace: the hash goes in there.
    let body = &text[..text.len() - 1];
    let hash = hash(body.as_bytes());
    (format!("{body}{OWN}{hash}\"}}"), Head { number, hash })
}

/// A line as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub number: u64,
    /// Of the line before it.
    pub previous: String,
    pub hash: String,
    pub said: Json,
}

impl Entry {
    /// Reads a line; `None` where it is not as it was written.
    pub fn read(line: &[u8]) -> Option<Entry> {
        let line = std::str::from_utf8(line).ok()?;
        let (body, end) = line.rsplit_once(OWN)?;
        let own = end.strip_suffix("\"}").filter(|own| *own == hash(body.as_bytes()))?;
        let said: Json = serde_json::from_str(line).ok()?;
        let number = said["n"].as_u64().filter(|number| *number > 0)?;
        Some(Entry { number, previous: said["prev"].as_str()?.to_owned(), hash: own.to_owned(), said })
    }

    pub fn head(&self) -> Head {
        Head { number: self.number, hash: self.hash.clone() }
    }

    /// Does it say that its file began with it, another one being before?
    pub fn continues(&self) -> bool {
        self.said["continues"].is_string()
    }
}

/// What a line says of a torn one that it stands behind: bytes that somebody could not finish.
pub fn torn(rest: &[u8]) -> Json {
    json!({ "bytes": rest.len(), "sha256": hash(rest) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(what: &str) -> Map<String, Json> {
        Map::from_iter([("event".to_owned(), what.into())])
    }

    #[test]
    fn line_that_was_written_is_read_and_follows_the_one_before_it() {
        let (first, head) = written(&Head::none(), said("begin"));
        let (second, last) = written(&head, said("end"));
        let [first, second] = [first, second].map(|line| Entry::read(line.as_bytes()).expect("it is whole"));
        assert_eq!((first.number, first.previous.as_str()), (1, NOTHING));
        assert_eq!((second.number, &second.previous, second.head()), (2, &first.hash, last));
        assert_eq!((&first.said["event"], &second.said["event"]), (&"begin".into(), &"end".into()));
    }

    #[test]
    fn line_with_any_other_byte_is_not_read() {
        let (line, _) = written(&Head::none(), said("begin"));
        for at in 0..line.len() {
            let mut altered = line.clone().into_bytes();
            altered[at] ^= 1;
            assert_eq!(Entry::read(&altered), None, "byte {at} of {line}");
        }
    }

    #[test]
    fn hash_is_that_of_everybody() {
        // FIPS 180-4's example, as NIST publishes it.
        assert_eq!(hash(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
