//! Verifying: reads a log from its first line to its last, the rotated files beside it first, and names the first line that
//! is not as it was written, or not where it was.

use super::entry::{Entry, NOTHING, torn};
use super::log::{Log, unread};
use crate::diagnostic::Diagnostic;
use serde_json::{Value as Json, json};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// What a chain is, when nothing is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Oldest first.
    pub files: Vec<PathBuf>,
    /// Numbers of the first and the last line.
    pub first: u64,
    pub last: u64,
    /// Lines that somebody could not finish, and that are known to be so.
    pub torn: u64,
    /// The hash of the last line.
    pub head: String,
    /// Was a head given, and found?
    pub reached: bool,
}

impl Verdict {
    pub fn text(&self) -> String {
        let entries = if self.last == 0 { 0 } else { self.last - self.first + 1 };
        let files: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        let (y, span) = match entries {
            1 => ("y", format!(", number {}", self.first)),
            _ => ("ies", format!(", {} to {}", self.first, self.last)),
        };
        let mut out = format!("{}: {entries} entr{y}{span}: none altered, removed or moved\n", files.join(", "));
        if self.first > 1 {
            out += &format!("entries before number {} are in older files, which are not here\n", self.first);
        }
        if self.torn > 0 {
            let s = if self.torn == 1 { " was" } else { "s were" };
            out += &format!("{} line{s} not finished by who wrote it: a crash, or a full disk\n", self.torn);
        }
        out += &format!("head: {}\n", self.head);
        if !self.reached {
            out +=
                "whether entries were cut off at the end cannot be told: note the head elsewhere, then --head HASH\n";
        }
        out
    }

    pub fn json(&self) -> Json {
        json!({
            "type": "audit_verdict", "files": self.files, "first": self.first, "last": self.last, "torn": self.torn,
            "head": self.head, "head_found": self.reached
        })
    }
}

/// Reads the whole chain that ends with the file `path`. `head`: the hash of a line that must be in it.
///
/// # Errors
/// A machine diagnostic: the first line that is wrong; a file that cannot be read; a head that is not there.
pub fn verify(path: &Path, head: Option<&str>) -> Result<Verdict, Diagnostic> {
    let log = Log::new(path);
    let mut files: Vec<PathBuf> = (1..).map(|number| log.former(number)).take_while(|file| file.is_file()).collect();
    files.reverse();
    if path.is_file() || files.is_empty() {
        files.push(path.to_owned());
    }
    let mut chain = Chain { wanted: head, ..Chain::default() };
    for file in &files {
        chain.read(file)?;
    }
    if let (Some(head), false) = (head, chain.verdict.reached) {
        let message =
            format!("no entry of `{}` has the hash `{head}`: entries were cut off at its end", path.display());
        return Err(Diagnostic::machine(message).nowhere().help("look for them in a copy of the log"));
    }
    Ok(Verdict { files, ..chain.verdict })
}

/// How far one has read.
#[derive(Default)]
struct Chain<'a> {
    wanted: Option<&'a str>,
    verdict: Verdict,
}

impl Chain<'_> {
    fn read(&mut self, path: &Path) -> Result<(), Diagnostic> {
        let failed = |error| unread(path, &error);
        let mut reader = BufReader::new(File::open(path).map_err(failed)?);
        let (mut number, mut begins, mut rest) = (0u64, true, Vec::new());
        // Where the rest begins.
        let mut broken = 0;
        loop {
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line).map_err(failed)? == 0 {
                break;
            }
            number += 1;
            let whole = line.strip_suffix(b"\n").unwrap_or(&line);
            let Some(entry) = Entry::read(whole) else {
                if serde_json::from_slice::<Json>(whole).is_ok() {
                    return Err(wrong(path, number, "was altered"));
                }
                if rest.is_empty() {
                    broken = number;
                }
                rest.extend_from_slice(&line);
                continue;
            };
            if !rest.is_empty() {
                let rest = std::mem::take(&mut rest);
                if entry.said["torn"] != torn(rest.strip_suffix(b"\n").unwrap_or(&rest)) {
                    return Err(wrong(path, broken, "was altered"));
                }
                self.verdict.torn += 1;
            } else if !entry.said["torn"].is_null() {
                return Err(wrong(path, number, "stands behind an unfinished line that is not there any more"));
            }
            self.follow(path, number, &entry, begins)?;
            begins = false;
        }
        // Nobody came after it yet who could have said so.
        self.verdict.torn += u64::from(!rest.is_empty());
        Ok(())
    }

    /// Is it the one that comes next?
    fn follow(&mut self, path: &Path, line: u64, entry: &Entry, begins: bool) -> Result<(), Diagnostic> {
        let verdict = &mut self.verdict;
        if verdict.last == 0 {
            // The oldest file that there is: it begins the chain, or says that it goes on with another one.
            let whole = if entry.number == 1 { entry.previous == NOTHING } else { entry.continues() };
            if !whole {
                let before = entry.number - 1;
                return Err(wrong(
                    path,
                    line,
                    &format!("is entry {}: those before it, up to {before}, are not there", entry.number),
                ));
            }
            verdict.first = entry.number;
        } else if entry.number == verdict.last + 1 && entry.previous != verdict.head {
            let message =
                format!("does not follow the line before it: entry {} or {} was exchanged", verdict.last, entry.number);
            return Err(wrong(path, line, &message));
        } else if entry.previous != verdict.head || entry.number != verdict.last + 1 {
            let (number, last) = (entry.number, verdict.last);
            let message = match number > last {
                true if number == last + 2 => format!("is entry {number}: entry {} is not before it", last + 1),
                true => format!("is entry {number}: entries {} to {} are not before it", last + 1, number - 1),
                false => format!("is entry {number}, and stands behind entry {last}"),
            };
            return Err(wrong(path, line, &message));
        } else if begins != entry.continues() {
            return Err(wrong(path, line, "is not in the file that it was written to"));
        }
        verdict.reached |= self.wanted == Some(entry.hash.as_str());
        (verdict.last, verdict.head) = (entry.number, entry.hash.clone());
        Ok(())
    }
}

fn wrong(path: &Path, line: u64, what: &str) -> Diagnostic {
    let path = path.display();
    let error = Diagnostic::machine(format!("line {line} of `{path}` {what}"));
    error.nowhere().help(format!("sed -n {line}p {path}"))
}
