//! printf: formats values as C's printf does. Pure text; no privilege.
//!
//! `%[flags][width][.precision][modifier]conversion` with the flags `-`, `0`, `+`, space and `#`, and the conversions
//! `d i u x X o c s p f g e`; `%%` is a percent sign. The modifiers `h l z j t` are accepted and mean nothing, since
//! all integers have 64 bits. `%d` never wraps; `%u` and `%x` show negative values as their 64 bits, as C does.

use std::fmt::Write;

use super::units::{self, Shown};
use crate::aggregate::column::{ColumnType, Names, Value};

/// A format, parsed once and rendered for every event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    pieces: Vec<Piece>,
    arguments: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Directive(Directive),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Directive {
    /// As it is written, for when its value is missing.
    text: String,
    flags: String,
    width: usize,
    precision: Option<usize>,
    conversion: char,
    /// Nothing is asked for but the value.
    plain: bool,
}

/// The widest field; a slip of the finger must not fill the memory.
const WIDEST: usize = 1024;

impl Format {
    /// # Errors
    /// One line for a script diagnostic, naming the directive that is wrong.
    pub fn parse(text: &str) -> Result<Format, String> {
        let (mut pieces, mut arguments) = (Vec::new(), 0);
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            literal.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("%%") {
                literal.push('%');
                rest = after;
                continue;
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            let directive = Directive::parse(rest)?;
            rest = &rest[directive.text.len()..];
            pieces.push(Piece::Directive(directive));
            arguments += 1;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Format { pieces, arguments })
    }

    /// How many values it takes.
    pub fn arguments(&self) -> usize {
        self.arguments
    }

    /// The text for `values`. Where `columns` has one for a value, `%s` gives what it stands for: a name, an IP
    /// address.
    ///
    /// Never fails: a text where a number belongs is printed as text, a directive without a value as it is written.
    /// What comes from values is escaped, the format itself is not.
    pub fn render(&self, values: &[Value], columns: &[ColumnType], names: &dyn Names) -> String {
        let mut out = String::new();
        self.render_into(&mut out, values, columns, names);
        out
    }

    /// Appends to `out` what [`Format::render`] gives, so that a buffer can serve many events.
    pub fn render_into(&self, out: &mut String, values: &[Value], columns: &[ColumnType], names: &dyn Names) {
        let mut index = 0;
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Directive(directive) => {
                    match values.get(index) {
                        Some(value) => directive.render(out, value, columns.get(index), names),
                        None => out.push_str(&directive.text),
                    }
                    index += 1;
                }
            }
        }
    }
}

impl Directive {
    /// Parses the directive that `text` starts with.
    fn parse(text: &str) -> Result<Directive, String> {
        let body = &text[1..];
        let after_flags = body.trim_start_matches(['-', '0', '+', ' ', '#']);
        let flags = &body[..body.len() - after_flags.len()];
        let (width, after_width) = number(after_flags);
        let (precision, after_precision) = match after_width.strip_prefix('.') {
            Some(digits) => number(digits),
            None => (None, after_width),
        };
        let precision = precision.or(after_width.starts_with('.').then_some(0));
        let after_modifier = after_precision.trim_start_matches(['h', 'l', 'z', 'j', 't']);
        let conversion = after_modifier.chars().next();
        let length = text.len() - after_modifier.len() + conversion.map_or(0, char::len_utf8);
        let written = units::escape(&text[..length]);
        match conversion {
            None => Err(format!("`{written}` ends before its conversion; a percent sign is `%%`")),
            Some('*') => Err(format!("`{written}` takes its width from a value; write the number")),
            Some(conversion) if !"diuxXocspfge".contains(conversion) => {
                Err(format!("`{written}` is not one of `%d %i %u %x %X %o %c %s %p %f %g %e`; a percent sign is `%%`"))
            }
            _ if width.max(precision).is_some_and(|columns| columns > WIDEST) => {
                Err(format!("`{written}` is wider than {WIDEST} columns"))
            }
            Some(conversion) => Ok(Directive {
                text: text[..length].into(),
                flags: flags.into(),
                width: width.unwrap_or(0),
                precision,
                conversion,
                plain: flags.is_empty() && width.unwrap_or(0) == 0 && precision.is_none(),
            }),
        }
    }

    fn render(&self, out: &mut String, value: &Value, column: Option<&ColumnType>, names: &dyn Names) {
        // What most formats ask for, of most values.
        match (self.conversion, value) {
            ('d' | 'i' | 'u', Value::Int(int @ 0..)) if self.plain => {
                return out.push_str(itoa::Buffer::new().format(*int));
            }
            ('s', Value::Text(text)) if self.plain => return out.push_str(&units::escape(text)),
            _ => {}
        }
        let start = out.len();
        let integer = match value {
            Value::Float(float) if float.is_finite() => Some(*float as i128),
            _ => value.integer(),
        };
        let float = match value {
            Value::Float(float) => Some(*float),
            _ => value.integer().map(|integer| integer as f64),
        };
        // Zeros that widen a number go behind its sign and prefix.
        let mut zeros_at = None;
        match (self.conversion, integer, float) {
            ('c', Some(code), _) => {
                let c = u32::try_from(code).ok().and_then(char::from_u32).unwrap_or('\u{fffd}');
                out.push_str(&units::escape(c.encode_utf8(&mut [0; 4])));
            }
            ('f' | 'g' | 'e', _, Some(value)) => {
                zeros_at = value.is_finite().then_some(self.float(out, value));
            }
            ('c' | 's' | 'f' | 'g' | 'e', ..) | (_, None, _) => self.text(out, value, column, names),
            (_, Some(value), _) => {
                let digits = self.integer(out, value);
                zeros_at = self.precision.is_none().then_some(digits);
            }
        }
        let missing = self.width.saturating_sub(out[start..].chars().count());
        match zeros_at {
            _ if self.has('-') => out.extend(std::iter::repeat_n(' ', missing)),
            Some(digits) if self.has('0') => fill(out, digits, '0', missing),
            _ => fill(out, start, ' ', missing),
        }
    }

    fn text(&self, out: &mut String, value: &Value, column: Option<&ColumnType>, names: &dyn Names) {
        match units::show(value, column, names) {
            Shown::Text(text) => {
                let length = match self.conversion {
                    's' => self.precision.unwrap_or(usize::MAX),
                    'c' => 1,
                    _ => usize::MAX,
                };
                let end = text.char_indices().nth(length).map_or(text.len(), |(end, _)| end);
                out.push_str(&units::escape(&text[..end]));
            }
            Shown::Integer(integer) => write(out, format_args!("{integer}")),
            Shown::Float(float) => write(out, format_args!("{float}")),
        }
    }

    /// Writes an integer without padding; returns where its digits begin.
    fn integer(&self, out: &mut String, value: i128) -> usize {
        let bits = value as u64;
        match self.conversion {
            'd' | 'i' => self.sign(out, value < 0),
            'p' => out.push_str("0x"),
            'x' if self.has('#') && bits != 0 => out.push_str("0x"),
            'X' if self.has('#') && bits != 0 => out.push_str("0X"),
            _ => {}
        }
        let digits = out.len();
        match self.conversion {
            _ if self.precision == Some(0) && value == 0 => {}
            'x' | 'p' => write(out, format_args!("{bits:x}")),
            'X' => write(out, format_args!("{bits:X}")),
            'o' => write(out, format_args!("{bits:o}")),
            'u' => write(out, format_args!("{bits}")),
            _ => write(out, format_args!("{}", value.unsigned_abs())),
        }
        let missing = self.precision.unwrap_or(0).saturating_sub(out.len() - digits);
        fill(out, digits, '0', missing);
        if self.conversion == 'o' && self.has('#') && !out[digits..].starts_with('0') {
            out.insert(digits, '0');
        }
        digits
    }

    /// Writes a float without padding; returns where its digits begin.
    fn float(&self, out: &mut String, value: f64) -> usize {
        self.sign(out, value.is_sign_negative() && !value.is_nan());
        let (digits, value, precision) = (out.len(), value.abs(), self.precision.unwrap_or(6));
        match self.conversion {
            _ if value.is_nan() => out.push_str("nan"),
            _ if value.is_infinite() => out.push_str("inf"),
            'f' => write(out, format_args!("{value:.precision$}")),
            'e' => {
                exponential(out, value, precision, false);
            }
            _ => {
                // C's rule: scientific if the exponent is below -4 or not below the precision.
                let significant = precision.max(1);
                let exponent = exponential(out, value, significant - 1, !self.has('#'));
                if (-4..significant as i32).contains(&exponent) {
                    out.truncate(digits);
                    let decimals = (significant as i32 - 1 - exponent) as usize;
                    write(out, format_args!("{value:.decimals$}"));
                    if !self.has('#') {
                        trim(out, digits);
                    }
                }
            }
        }
        if self.has('#') && value.is_finite() && !out[digits..].contains('.') {
            let end = out[digits..].find('e').map_or(out.len(), |at| digits + at);
            out.insert(end, '.');
        }
        digits
    }

    fn sign(&self, out: &mut String, negative: bool) {
        if negative {
            out.push('-');
        } else if self.has('+') {
            out.push('+');
        } else if self.has(' ') {
            out.push(' ');
        }
    }

    fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }
}

/// Writes `1.5e+03`, without the fraction's last zeros if `trimmed`; returns the exponent.
fn exponential(out: &mut String, value: f64, precision: usize, trimmed: bool) -> i32 {
    let start = out.len();
    write(out, format_args!("{value:.precision$e}"));
    let Some(at) = out[start..].find('e').map(|at| start + at) else {
        return 0;
    };
    let exponent = out[at + 1..].parse().unwrap_or(0);
    out.truncate(at);
    if trimmed {
        trim(out, start);
    }
    write(out, format_args!("e{exponent:+03}"));
    exponent
}

/// Cuts the last zeros of the fraction that follows `start`, and the point if nothing is left.
fn trim(out: &mut String, start: usize) {
    if out[start..].contains('.') {
        out.truncate(out.trim_end_matches('0').trim_end_matches('.').len());
    }
}

/// The digits at the start of a text as a number, if there are any, and what follows. Too many digits are the largest.
fn number(text: &str) -> (Option<usize>, &str) {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &text[..text.len() - rest.len()];
    ((!digits.is_empty()).then(|| digits.parse().unwrap_or(usize::MAX)), rest)
}

fn fill(out: &mut String, at: usize, with: char, count: usize) {
    (0..count).for_each(|_| out.insert(at, with));
}

fn write(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = out.write_fmt(arguments);
}

/// What to say of a format with another number of values than it wants.
pub fn miscounted(wants: usize, gets: usize) -> String {
    format!("the format wants {wants} value{}, got {gets}", if wants == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::column::{ColumnKind, NoNames, Show};

    fn printed(format: &str, value: Value) -> String {
        Format::parse(format).unwrap().render(&[value], &[], &NoNames)
    }

    #[rustfmt::skip]
    #[test]
    fn every_directive_prints_as_in_c() {
        let integer = [
            ("%d", 7, "7"), ("%i", -7, "-7"), ("%5d|", 7, "    7|"), ("%-5d|", 7, "7    |"), ("%05d", -7, "-0007"),
            ("%+d", 7, "+7"), ("% d", 7, " 7"), ("%.3d", 7, "007"), ("%08.3d", -7, "    -007"), ("%.0d", 0, ""),
            ("%u", -1, "18446744073709551615"), ("%x", 255, "ff"), ("%#X", 255, "0XFF"), ("%#010x", 255, "0x000000ff"),
            ("%x", -1, "ffffffffffffffff"), ("%o", 8, "10"), ("%#o", 8, "010"), ("%#x", 0, "0"), ("%p", 4096, "0x1000"),
            ("%c", 65, "A"), ("%3c|", 65, "  A|"), ("%lld %%", 7, "7 %"), ("%zu", 7, "7"), ("%hd", 70_000, "70000"),
            ("%s", 42, "42"), ("%f", 2, "2.000000"), ("%#.0o", 0, "0"), ("%-05d|", 7, "7    |"),
        ];
        for (format, value, expected) in integer {
            assert_eq!(printed(format, Value::Int(value)), expected, "{format} of {value}");
        }
        let float = [
            ("%f", 1.5, "1.500000"), ("%.1f", -0.25, "-0.2"), ("%08.2f", -3.25159, "-0003.25"), ("%e", 12345.678, "1.234568e+04"),
            ("%.0e", 12345.0, "1e+04"), ("%e", 0.0, "0.000000e+00"), ("%g", 100_000.0, "100000"), ("%g", 1e6, "1e+06"),
            ("%g", 0.0001, "0.0001"), ("%g", 0.00001, "1e-05"), ("%g", 1.5, "1.5"), ("%.3g", 1234.5, "1.23e+03"),
            ("%#g", 1.5, "1.50000"), ("%g", 0.0, "0"), ("%g", 999_999.5, "1e+06"), ("%+.1f", 2.0, "+2.0"),
            ("%05f", f64::INFINITY, "  inf"), ("%f", f64::NAN, "nan"), ("%d", 3.99, "3"), ("%s", 0.5, "0.5"),
            ("%e", 1e-300, "1.000000e-300"),
        ];
        for (format, value, expected) in float {
            assert_eq!(printed(format, Value::Float(value)), expected, "{format} of {value}");
        }
        let text = [
            ("%s", "bash"), ("%6s|", "  bash|"), ("%-6s|", "bash  |"), ("%.2s", "ba"), ("%06s", "  bash"), ("%c", "b"),
        ];
        for (format, expected) in text {
            assert_eq!(printed(format, Value::Text("bash".into())), expected, "{format}");
        }
    }

    #[test]
    fn unsigned_value_does_not_turn_negative() {
        assert_eq!(printed("%d %%", Value::Unsigned(u64::MAX)), "18446744073709551615 %");
    }

    #[test]
    fn text_where_a_number_belongs_is_printed() {
        assert_eq!(printed("%6d|%.1x", Value::Text("bash".into())), "  bash|%.1x");
        assert_eq!(printed("%.1d", Value::Bytes(vec![1, 0xab])), "01ab");
    }

    #[test]
    fn escapes_in_values_are_neutralised_and_those_of_the_format_kept() {
        assert_eq!(printed("\x1b[1m%s\n", Value::Text("a\x1b[2J".into())), "\x1b[1ma\\x1b[2J\n");
        assert_eq!(printed("%c", Value::Int(27)), "\\x1b");
    }

    #[test]
    fn column_tells_what_a_value_stands_for() {
        let columns = [ColumnType::new("disk", ColumnKind::int(4, false, Show::Device))];
        let format = Format::parse("%s %d").unwrap();
        assert_eq!(format.render(&[Value::Int(8 << 20), Value::Int(5)], &columns, &NoNames), "8:0 5");
        assert_eq!(format.arguments(), 2);
    }

    #[test]
    fn directive_that_is_wrong_is_named() {
        let error = |text| Format::parse(text).unwrap_err();
        assert!(error("a %5y b").starts_with("`%5y` is not one of `%d "));
        assert_eq!(error("100%"), "`%` ends before its conversion; a percent sign is `%%`");
        assert_eq!(error("%-*d"), "`%-*` takes its width from a value; write the number");
        assert_eq!(error("%99999999999999999999d"), "`%99999999999999999999d` is wider than 1024 columns");
        assert!(
            error("%n").starts_with("`%n`") && error("%é").starts_with("`%é`") && error("% %").starts_with("`% %`")
        );
        assert_eq!(Format::parse("no directives, 100%%").map(|format| format.arguments()), Ok(0));
    }
}
