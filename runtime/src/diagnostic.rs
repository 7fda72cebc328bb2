//! Diagnostics: what went wrong, where in the script, and one line that helps. Pure text; no privilege.

use crate::library::Script;
use crate::report::units;
use std::cmp::Reverse;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The script or the command line: the user mends it.
    Script,
    /// This machine lacks something: a privilege, a kernel feature, a file.
    Machine,
    /// Ours.
    Bug,
}

/// A place in a script, line and column counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    pub line: usize,
    pub column: usize,
    /// The number of an imported script, from 1; 0 for the one that was started.
    pub script: u16,
}

impl Position {
    /// In the script that was started.
    pub fn new(line: usize, column: usize) -> Position {
        Position { line, column, script: 0 }
    }
}

/// One error as the user sees it. Boxed, so that results stay small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic(Box<Details>);

/// What a [`Diagnostic`] says. `message` is lower case, without a full stop, the user's text in backticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    pub kind: Kind,
    pub message: String,
    /// Stands behind the carets.
    pub label: Option<String>,
    /// One line that can be pasted.
    pub help: Option<String>,
    pub position: Option<Position>,
    /// No place of the script is at fault.
    pub placeless: bool,
    /// Text that the position's line holds and the carets should cover, when it is not the token at the position.
    pub span: Option<String>,
    /// The imported script that the position is in; without it, the script that was started.
    pub script: Option<Script>,
}

impl Diagnostic {
    pub fn script(message: impl Into<String>) -> Self {
        Self::new(Kind::Script, message)
    }

    pub fn machine(message: impl Into<String>) -> Self {
        Self::new(Kind::Machine, message)
    }

    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Kind::Bug, message)
    }

    fn new(kind: Kind, message: impl Into<String>) -> Self {
        let message = message.into();
        Diagnostic(Box::new(Details {
            kind,
            message,
            label: None,
            help: None,
            position: None,
            placeless: false,
            span: None,
            script: None,
        }))
    }

    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Sets the place unless a more exact one is known already, or the fault lies in an imported script.
    pub fn at(mut self, position: Option<Position>) -> Self {
        if !self.placeless && self.script.is_none() {
            self.position = self.position.or(position);
        }
        self
    }

    /// Says that no place of the script is at fault.
    pub fn nowhere(mut self) -> Self {
        self.placeless = true;
        self
    }

    pub fn span(mut self, text: impl Into<String>) -> Self {
        self.span = Some(text.into());
        self
    }

    /// Says that the place is in this imported script, unless it is in one that this imports.
    pub fn within(mut self, script: &Script) -> Self {
        self.script.get_or_insert_with(|| script.clone());
        self
    }

    /// The whole error as text: message, the script's line with carets under the guilty token, label, help.
    /// `name` is what the script is called, `source` its text.
    pub fn render(&self, name: &str, source: &str) -> String {
        let (name, source) = self.script.as_ref().map_or((name, source), |script| (&script.name, &script.text));
        // Names of files, functions and processes are in it, and lines of scripts that others wrote.
        let mut out = match self.kind {
            Kind::Bug => format!("bug: {}\n", units::lines(&self.message)),
            _ => format!("error: {}\n", units::lines(&self.message)),
        };
        if let Some(place) = self.position
            && let Some(line) = source.lines().nth(place.line - 1)
        {
            let (column, width) = self.underline(line, place.column);
            let gutter = " ".repeat(place.line.to_string().len());
            // One sign stays one: the carets stand below them.
            let shown = line.replace(|c: char| units::may_act(c) && c != '\t', "\u{fffd}");
            let name = units::escape(name);
            out += &format!("{gutter}--> {name}:{}:{column}\n{gutter} |\n{} | {shown}\n", place.line, place.line);
            let pad: String = line.chars().take(column - 1).map(|c| if c == '\t' { c } else { ' ' }).collect();
            out += &format!("{gutter} | {pad}{}", "^".repeat(width));
            match &self.label {
                Some(label) => out += &format!(" {}\n", units::lines(label)),
                None => out.push('\n'),
            }
        }
        if let Some(help) = &self.help {
            out += &format!("  = help: {}\n", units::lines(help));
        }
        out
    }

    /// Column (from 1) and width of the carets: the span if the line holds it, else the token at `column`.
    fn underline(&self, line: &str, column: usize) -> (usize, usize) {
        let chars: Vec<char> = line.chars().collect();
        if let Some(span) = &self.span {
            let from = chars.len().min(column.saturating_sub(1));
            let rest: String = chars[from..].iter().collect();
            let found = rest.find(span.as_str()).map(|at| from + rest[..at].chars().count());
            if let Some(at) = found.or_else(|| line.find(span.as_str()).map(|at| line[..at].chars().count())) {
                return (at + 1, span.chars().count().max(1));
            }
        }
        let start = column.saturating_sub(1).min(chars.len());
        let mut from = start;
        // Rhai points at the dot of a method call: the name behind it is what the user wrote.
        while from < chars.len() && (chars[from] == '.' || chars[from].is_whitespace()) {
            from += 1;
        }
        let word = |c: &char| c.is_alphanumeric() || *c == '_';
        let width = match chars.get(from) {
            None => return (start + 1, 1),
            Some('"' | '`') => {
                let quote = chars[from];
                chars[from + 1..].iter().position(|c| *c == quote).map_or(1, |end| end + 2)
            }
            Some(c) if word(c) => chars[from..].iter().take_while(|c| word(c)).count(),
            Some(_) => chars[from..].iter().take_while(|c| !word(c) && !c.is_whitespace()).count().min(2),
        };
        (from + 1, width)
    }
}

impl Deref for Diagnostic {
    type Target = Details;

    fn deref(&self) -> &Details {
        &self.0
    }
}

impl DerefMut for Diagnostic {
    fn deref_mut(&mut self) -> &mut Details {
        &mut self.0
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " (help: {help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// The candidate nearest to `wrong`, if it is near enough to be what was meant.
pub fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = wrong.chars().count();
    let limit = (length / 3).clamp(1, 4);
    candidates
        .into_iter()
        // A kernel has 40,000 functions: most differ in length already.
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= limit)
        .map(|candidate| (distance(wrong, candidate), candidate))
        .filter(|(far, _)| *far <= limit)
        // Of two that are as near, the one that begins alike: words are misspelt behind their start.
        .min_by_key(|(far, candidate)| (*far, Reverse(alike(wrong, candidate)), candidate.len()))
        .map(|(_, candidate)| candidate)
}

/// Characters that two words begin with.
fn alike(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count()
}

/// Edits between two words; swapping two neighbours is one edit. Source: optimal string alignment distance.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn carets_cover_the_method_name_behind_the_dot() {
        let source = "probe(\"x\")\n    .filter(|e| e.pid == 1)";
        let shown = Diagnostic::script("`filter` takes a kernel expression, got a closure")
            .label("runs in the kernel; closures run here")
            .help(".filter(pid == 1)")
            .at(Some(Position::new(2, 5)))
            .render("opens.rhai", source);
        assert_eq!(
            shown,
            "error: `filter` takes a kernel expression, got a closure\n --> opens.rhai:2:6\n  |\n\
             2 |     .filter(|e| e.pid == 1)\n  |      ^^^^^^ runs in the kernel; closures run here\n  \
             = help: .filter(pid == 1)\n"
        );
    }

    #[test]
    fn span_is_found_inside_a_string_literal() {
        let shown = Diagnostic::script("no").span("vfs_raed").at(Some(Position::new(1, 1)));
        assert!(shown.render("-e", "probe(\"kprobe:vfs_raed\")").contains("1:15"));
    }

    #[test]
    fn nearest_finds_a_swapped_pair_and_rejects_strangers() {
        assert_eq!(nearest("vfs_raed", ["vfs_read", "vfs_write"]), Some("vfs_read"));
        assert_eq!(nearest("banana", ["vfs_read", "vfs_write"]), None);
        assert_eq!(nearest("totl", ["ttl", "total"]), Some("total"));
    }
}
