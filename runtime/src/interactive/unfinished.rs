//! Does a text go on in the next line? Open brackets, texts and comments, and chains that end in a dot or an operator.

/// Is more to come?
pub fn is_unfinished(text: &str) -> bool {
    if text.trim_start().starts_with(':') {
        return false;
    }
    let mut depth = 0i32;
    let mut last = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('/', Some('/')) => while chars.next_if(|c| *c != '\n').is_some() {},
            ('/', Some('*')) => {
                chars.next();
                if !comment_ends(&mut chars) {
                    return true;
                }
            }
            ('"' | '`', _) => {
                match text_ends(&mut chars, c) {
                    End::Closed => {}
                    // A text in double quotes ends on its line: an error, that more input does not mend.
                    End::Line => return false,
                    End::Open => return c == '`',
                }
                last = Some(c);
            }
            ('(' | '[' | '{', _) => {
                depth += 1;
                last = Some(c);
            }
            (')' | ']' | '}', _) => {
                depth -= 1;
                last = Some(c);
            }
            (c, _) if !c.is_whitespace() => last = Some(c),
            _ => {}
        }
    }
    // More closed than opened is an error already.
    depth > 0
        || depth == 0
            && matches!(last, Some('.' | ',' | '=' | '+' | '-' | '*' | '&' | '|' | '<' | '>'))
            && !text.trim_end().ends_with("||")
}

enum End {
    Closed,
    Line,
    Open,
}

fn text_ends(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, quote: char) -> End {
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '\n' if quote == '"' => return End::Line,
            c if c == quote => return End::Closed,
            _ => {}
        }
    }
    if quote == '"' { End::Line } else { End::Open }
}

/// Comments nest.
fn comment_ends(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> bool {
    let mut depth = 1;
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('/', Some('*')) => {
                chars.next();
                depth += 1;
            }
            ('*', Some('/')) => {
                chars.next();
                depth -= 1;
            }
            _ => {}
        }
        if depth == 0 {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_brackets_texts_comments_and_chains_go_on() {
        for text in [
            "probe(\"x\"",
            "fn f() {",
            "let a = [1,",
            "print(`two\nlines",
            "/* a comment",
            "/* a /* nested */ one",
            "probe(\"t:a:b\").",
            "let a =",
            "1 +",
            "probe(\"t:a:b\") // with a comment\n    .by(",
        ] {
            assert!(is_unfinished(text), "{text}");
        }
    }

    #[test]
    fn whole_lines_and_errors_are_not_waited_for() {
        for text in [
            "probe(\"x\").count()",
            "print(\"(\")",
            "let a = 1; // (",
            "print(\"no end",
            "}",
            ")(",
            "/* done */",
            ":load a(",
            "",
            "let f = ||",
        ] {
            assert!(!is_unfinished(text), "{text}");
        }
    }
}
