//! What rustyline asks while somebody types: what could come next, how a line is coloured, whether it goes on.

use rustyline::Context;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::{CmdKind, Highlighter, MatchingBracketHighlighter};
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use skep_runtime::interactive::complete::{Sources, complete};
use skep_runtime::interactive::knowledge::Known;
use skep_runtime::interactive::unfinished::is_unfinished;
use std::borrow::Cow;
use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};

/// Longer texts were pasted: to colour them with each key would make keys slow.
const COLOURED: usize = 4 << 10;

const KEYWORDS: &[&str] = &[
    "let", "const", "for", "in", "if", "else", "while", "loop", "fn", "return", "import", "as", "and", "or", "not",
    "true", "false", "break", "continue", "switch",
];

pub struct Helper {
    pub known: Arc<Mutex<Known>>,
    pub sources: Sources,
    pub colour: bool,
    brackets: MatchingBracketHighlighter,
    last: Cell<usize>,
}

impl Helper {
    pub fn new(known: Arc<Mutex<Known>>, sources: Sources, colour: bool) -> Helper {
        Helper { known, sources, colour, brackets: MatchingBracketHighlighter::new(), last: Cell::new(0) }
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl rustyline::Helper for Helper {}

impl Completer for Helper {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let found = complete(line, at, &self.known(), &self.sources);
        let pair =
            |one: skep_runtime::interactive::complete::Candidate| Pair { display: one.shown, replacement: one.text };
        Ok((found.start, found.candidates.into_iter().map(pair).collect()))
    }
}

impl Hinter for Helper {
    type Hint = String;

    /// The rest of the newest line of the history that begins so.
    fn hint(&self, line: &str, at: usize, context: &Context<'_>) -> Option<String> {
        if line.is_empty() || at < line.len() || line.len() > COLOURED || line.contains('\n') {
            return None;
        }
        let history = context.history();
        let mut newest = (0..history.len()).rev().take(500);
        newest.find_map(|n| {
            let found = history.get(n, rustyline::history::SearchDirection::Forward).ok()??;
            let rest = found.entry.strip_prefix(line)?;
            (!rest.is_empty() && !rest.contains('\n')).then(|| rest.to_owned())
        })
    }
}

impl Validator for Helper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match is_unfinished(context.input()) {
            true => ValidationResult::Incomplete,
            false => ValidationResult::Valid(None),
        })
    }
}

impl Highlighter for Helper {
    fn highlight<'l>(&self, line: &'l str, at: usize) -> Cow<'l, str> {
        if !self.colour || line.len() > COLOURED {
            return Cow::Borrowed(line);
        }
        // A bracket and its partner, where the cursor is at one; else words by their kind.
        match self.brackets.highlight(line, at) {
            Cow::Owned(with_brackets) => Cow::Owned(with_brackets),
            Cow::Borrowed(_) => Cow::Owned(coloured(line)),
        }
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if self.colour { Cow::Owned(format!("\x1b[2m{hint}\x1b[0m")) } else { Cow::Borrowed(hint) }
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        if self.colour { Cow::Owned(format!("\x1b[1;33m{prompt}\x1b[0m")) } else { Cow::Borrowed(prompt) }
    }

    fn highlight_char(&self, line: &str, at: usize, kind: CmdKind) -> bool {
        if !self.colour || line.len() > COLOURED {
            return false;
        }
        let bracket = self.brackets.highlight_char(line, at, kind);
        // Colours change with the words, not with each move of the cursor.
        let changed = self.last.replace(line.len()) != line.len();
        bracket || changed || kind == CmdKind::ForcedRefresh
    }
}

/// Texts, numbers, comments and words of the language in colours.
fn coloured(line: &str) -> String {
    const TEXT: &str = "\x1b[32m";
    const NUMBER: &str = "\x1b[35m";
    const WORD: &str = "\x1b[36m";
    const DIM: &str = "\x1b[2m";
    let mut out = String::with_capacity(line.len() * 2);
    let mut rest = line;
    let put = |out: &mut String, on: &str, text: &str| *out += &format!("{on}{text}\x1b[0m");
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '"' | '`' => text_end(rest, first),
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            c if c.is_alphanumeric() || c == '_' => {
                rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            c => c.len_utf8(),
        };
        let (token, behind) = rest.split_at(end);
        match first {
            '"' | '`' => put(&mut out, TEXT, token),
            '/' if token.len() > 1 => put(&mut out, DIM, token),
            c if c.is_ascii_digit() => put(&mut out, NUMBER, token),
            _ if KEYWORDS.contains(&token) => put(&mut out, WORD, token),
            _ => out += token,
        }
        rest = behind;
    }
    out
}

fn text_end(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (n, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return n + 1,
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_change_no_character() {
        let line = "let a = \"x \\\" y\"; // für 1\nprobe(`t`).count()";
        let shown = coloured(line);
        let mut plain = String::new();
        let mut inside = false;
        for c in shown.chars() {
            match c {
                '\x1b' => inside = true,
                'm' if inside => inside = false,
                c if !inside => plain.push(c),
                _ => {}
            }
        }
        assert_eq!(plain, line);
        assert!(shown.contains("\x1b[36mlet\x1b[0m") && shown.contains("\x1b[32m\"x \\\" y\"\x1b[0m"), "{shown:?}");
    }
}
