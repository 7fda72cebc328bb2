//! The text of a filter, read word by word. What a word may hold depends on what is looked for: `10-20` are ports or a
//! difference.

use super::Fault;

#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a str) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    /// Where the next word begins.
    pub fn place(&mut self) -> usize {
        self.at = self.text.len() - self.text[self.at..].trim_start().len();
        self.at
    }

    fn rest(&mut self) -> &'a str {
        let at = self.place();
        &self.text[at..]
    }

    pub fn is_over(&mut self) -> bool {
        self.rest().is_empty()
    }

    fn while_all(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        &rest[..rest.find(|c| !belongs(c)).unwrap_or(rest.len())]
    }

    /// The next keyword, or name of a number: `tcp-syn`. Empty where there is none.
    pub fn peek_name(&mut self) -> &'a str {
        match self.rest().starts_with(|c: char| c.is_ascii_alphabetic()) {
            true => self.while_all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'),
            false => "",
        }
    }

    /// An address, a port, a range, a number, a name behind a backslash. Empty where there is none.
    pub fn peek_id(&mut self) -> &'a str {
        self.while_all(|c| c.is_ascii_alphanumeric() || ".:/_-\\%".contains(c))
    }

    /// A number as C writes it. Empty where there is none.
    pub fn peek_number(&mut self) -> &'a str {
        match self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            true => self.while_all(|c| c.is_ascii_alphanumeric()),
            false => "",
        }
    }

    /// Goes past what was looked at.
    pub fn pass(&mut self, word: &str) {
        self.at += word.len();
    }

    /// Passes the keyword if it is next.
    pub fn takes(&mut self, keyword: &str) -> bool {
        let next = self.peek_name() == keyword;
        if next {
            self.pass(keyword);
        }
        next
    }

    /// Passes the signs if they are next.
    pub fn takes_sign(&mut self, sign: &str) -> bool {
        let next = self.rest().starts_with(sign);
        if next {
            self.pass(sign);
        }
        next
    }

    /// What is wrong with what comes next.
    pub fn fault(&mut self, message: impl Into<String>) -> Fault {
        let from = self.place();
        let word = match self.peek_id() {
            "" => self.rest().chars().next().map_or(0, char::len_utf8),
            id => id.len(),
        };
        Fault { message: message.into(), from, to: from + word, help: None }
    }

    /// For messages: the next word in backticks, or that there is none.
    pub fn shown(&mut self) -> String {
        let fault = self.fault("");
        match &self.text[fault.from..fault.to] {
            "" => "the end".to_owned(),
            word => format!("`{word}`"),
        }
    }
}

/// Decimal, `0x…`, or octal behind a 0.
pub fn number(text: &str) -> Option<u32> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        return u32::from_str_radix(digits, 16).ok();
    }
    match text.strip_prefix('0').filter(|digits| !digits.is_empty()) {
        Some(digits) => u32::from_str_radix(digits, 8).ok(),
        None => text.parse().ok(),
    }
}
