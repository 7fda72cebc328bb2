//! What the user wrote around a place of a script, for messages that say it back. Pure text; no privilege.

use crate::diagnostic::Position;

/// A script's text.
#[derive(Clone, Copy)]
pub struct Written<'a>(pub &'a str);

impl<'a> Written<'a> {
    /// The text from a place on, and what stands before it. Rhai points at the dot of a method: it is skipped.
    pub fn at(self, place: Option<Position>) -> Option<(&'a str, &'a str)> {
        let place = place?;
        let from: usize = self.0.split_inclusive('\n').take(place.line.checked_sub(1)?).map(str::len).sum();
        let line = self.0.get(from..)?;
        let column = line.char_indices().nth(place.column.checked_sub(1)?).map_or(line.len(), |(at, _)| at);
        let (before, behind) = self.0.split_at(from + column);
        let rest = behind.trim_start_matches(|c: char| c == '.' || c.is_whitespace());
        Some((&self.0[..before.len() + behind.len() - rest.len()], rest))
    }

    /// What stands in the parentheses of the call at a place.
    pub fn arguments(self, place: Option<Position>) -> Option<&'a str> {
        let (_, rest) = self.at(place)?;
        let inside = rest.trim_start_matches(word).trim_start().strip_prefix('(')?;
        Some(inside[..closing(inside)?].trim())
    }

    /// The condition around an operator: up to the parentheses of the call that it stands in, or to its statement's ends.
    pub fn condition(self, place: Option<Position>) -> Option<&'a str> {
        let (before, _) = self.at(place)?;
        let mut open: Vec<usize> = Vec::new();
        let mut start = 0;
        for (at, c) in code(before) {
            match c {
                '(' | '{' | '[' => open.push(at),
                ')' | '}' | ']' => drop(open.pop()),
                ';' | '=' if open.is_empty() => {
                    let double = c == '='
                        && matches!(before.as_bytes().get(at.wrapping_sub(1)), Some(b'=' | b'!' | b'<' | b'>'))
                        || before.as_bytes().get(at + 1) == Some(&b'=');
                    start = if double { start } else { at + 1 };
                }
                _ => {}
            }
        }
        // Plain groups belong to the condition; the parentheses of a call end it.
        let call = open.iter().rev().find(|at| before[..**at].ends_with(word) || !before[**at..].starts_with('('));
        let start = call.map_or(start, |at| at + 1);
        let rest = &self.0[start..];
        let mut depth = 0;
        for (at, c) in code(rest) {
            match c {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' | ';' | ',' if depth == 0 => return Some(rest[..at].trim()),
                ')' | ']' | '}' => depth -= 1,
                _ => {}
            }
        }
        Some(rest.trim())
    }

    /// Names that the script gives to variables and parameters.
    pub fn variables(self) -> Vec<&'a str> {
        let mut found = Vec::new();
        let words: Vec<(usize, &str)> = words(self.0);
        for pair in words.windows(2) {
            if matches!(pair[0].1, "let" | "const" | "for") {
                found.push(pair[1].1);
            }
        }
        // Parameters stand between bars, or in the parentheses behind `fn name`.
        for part in self.0.split('|').skip(1).step_by(2).chain(self.functions().into_iter().map(|(_, list)| list)) {
            found.extend(part.split(',').map(str::trim).filter(|name| !name.is_empty() && name.chars().all(word)));
        }
        found
    }

    /// The script's own functions with their parameters.
    pub fn functions(self) -> Vec<(&'a str, &'a str)> {
        let words = words(self.0);
        let named = words.windows(2).filter(|pair| pair[0].1 == "fn").filter_map(|pair| {
            let (at, name) = pair[1];
            let list = self.0[at + name.len()..].trim_start().strip_prefix('(')?;
            Some((name, list[..closing(list)?].trim()))
        });
        named.collect()
    }
}

/// Characters of names.
pub fn word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// A condition with `and` and `or`; with the first symbol that they replace, if there is one.
pub fn with_words(condition: &str) -> (Option<(&'static str, &'static str)>, String) {
    let (mut first, mut out, mut from) = (None, String::new(), 0);
    for (at, _) in
        code(condition).filter(|(at, _)| condition[*at..].starts_with("&&") || condition[*at..].starts_with("||"))
    {
        let (symbol, word) = if condition[at..].starts_with('&') { ("&&", "and") } else { ("||", "or") };
        if at < from {
            continue;
        }
        first.get_or_insert((symbol, word));
        out += &condition[from..at];
        out += word;
        from = at + 2;
    }
    (first, out + &condition[from..])
}

/// The name or number at the beginning of `text`.
pub fn first_word(text: &str) -> &str {
    &text[..text.find(|c| !word(c)).unwrap_or(text.len())]
}

fn words(text: &str) -> Vec<(usize, &str)> {
    let mut found: Vec<(usize, &str)> = Vec::new();
    for (at, c) in code(text) {
        let goes_on = found.last().is_some_and(|(start, one)| start + one.len() > at);
        if word(c) && !goes_on {
            found.push((at, first_word(&text[at..])));
        }
    }
    found
}

/// Where the parenthesis that was open before `text` ends.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in code(text) {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => return Some(at),
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The characters of a text that are neither in quotes nor in a comment to the line's end.
fn code(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut quote = None;
    let mut escaped = false;
    let mut comment = false;
    let mut last = ' ';
    text.char_indices().filter(move |(_, c)| {
        let before = std::mem::replace(&mut last, *c);
        if comment {
            comment = *c != '\n';
            return false;
        }
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if *c == '\\' => escaped = true,
            Some(open) if *c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '`') => quote = Some(*c),
            None => {
                comment = before == '/' && *c == '/';
                return true;
            }
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, column: usize) -> Option<Position> {
        Some(Position::new(line, column))
    }

    #[test]
    fn arguments_are_found_behind_the_dot_of_a_method() {
        let written = Written("probe(\"x:)\")\n    .by(str(args.a), \"(\").count()");
        assert_eq!(written.arguments(at(1, 1)), Some("\"x:)\""));
        assert_eq!(written.arguments(at(2, 5)), Some("str(args.a), \"(\""));
        assert_eq!(written.arguments(at(7, 1)), None);
        assert_eq!(written.arguments(at(2, 99)), None);
    }

    #[test]
    fn condition_reaches_to_its_call_and_keeps_its_groups() {
        let text = "let a = 1; p.filter((pid == 1 && tid == 1) || uid == 0).count()";
        let column = text.find("&&").unwrap() + 1;
        assert_eq!(Written(text).condition(at(1, column)), Some("(pid == 1 && tid == 1) || uid == 0"));
        assert_eq!(Written("let f = pid >= 1 && tid == 1;").condition(at(1, 18)), Some("pid >= 1 && tid == 1"));
    }

    #[test]
    fn words_replace_symbols_outside_of_texts() {
        let (first, ours) = with_words("a == \"x || y\" && b || c");
        assert_eq!((first, ours.as_str()), (Some(("&&", "and")), "a == \"x || y\" and b or c"));
        assert_eq!(with_words("a == 1"), (None, "a == 1".to_owned()));
        assert_eq!(with_words("a &&& b").1, "a and& b");
    }

    #[test]
    fn variables_and_functions_are_those_outside_of_texts() {
        let written = Written("let a = \"let b\"; // let c\nfor d in 0..1 {} f(|e, g| e); fn h(i, j) { }");
        assert_eq!(written.variables(), ["a", "d", "e", "g", "i", "j"]);
        assert_eq!(written.functions(), [("h", "i, j")]);
    }
}
