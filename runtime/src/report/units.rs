//! Spelling: how numbers, units, names and addresses are written for people. Pure; no privilege.

use skep_flamegraphs::profile::Frame;
pub use skep_flamegraphs::sign::may_act;
use std::borrow::Cow;
use std::fmt::{self, Display, Formatter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use std::sync::Arc;

use crate::aggregate::column::{self, BytesShow, ColumnKind, ColumnType, Names, Show, Value};

/// The edge of a bucket: 1024 is `1K`, 1048576 is `1M`, up to `16E`; what is no whole number of 1024s stays as it is.
pub fn edge(value: i128) -> String {
    let (mut scaled, mut suffixes) = (value, ["", "K", "M", "G", "T", "P", "E"].iter());
    let mut suffix = suffixes.next();
    while scaled != 0 && scaled % 1024 == 0 && suffixes.len() > 0 {
        (scaled, suffix) = (scaled / 1024, suffixes.next());
    }
    format!("{scaled}{}", suffix.unwrap_or(&""))
}

/// A number with a comma before every three digits: `1,861`.
pub fn grouped<N: Into<i128>>(value: N) -> String {
    Grouped(value.into()).to_string()
}

/// The same, where it is written to.
pub struct Grouped(pub i128);

impl Display for Grouped {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(self.0.unsigned_abs());
        f.write_str(if self.0 < 0 { "-" } else { "" })?;
        // The first ones are one to three.
        let (mut first, mut rest) = digits.split_at((digits.len() - 1) % 3 + 1);
        while !rest.is_empty() {
            f.write_str(first)?;
            f.write_str(",")?;
            (first, rest) = rest.split_at(3);
        }
        f.write_str(first)
    }
}

/// A mean, with one digit behind the point: `1,861.5`.
pub fn decimal(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.split_once('.') {
        Some((whole, tenth)) if value.abs() < 1e30 => {
            let sign = if whole.starts_with('-') { "-" } else { "" };
            let whole = whole.trim_start_matches('-').parse().map_or_else(|_| whole.into(), grouped::<i128>);
            format!("{sign}{whole}.{tenth}")
        }
        _ => text,
    }
}

/// Nanoseconds in the unit that leaves one to three digits before the point: `950ns`, `12.3us`, `4.57ms`, `2.05s`;
/// from a minute on `1m23s`, from an hour on `2h05m`.
pub fn duration(nanoseconds: i128) -> String {
    let (sign, ns) = (if nanoseconds < 0 { "-" } else { "" }, nanoseconds.unsigned_abs());
    let seconds = ns / 1_000_000_000;
    match ns {
        0..1_000 => format!("{sign}{ns}ns"),
        1_000..1_000_000 => format!("{sign}{}us", three_digits(ns, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", three_digits(ns, 1_000_000)),
        1_000_000_000..60_000_000_000 => format!("{sign}{}s", three_digits(ns, 1_000_000_000)),
        60_000_000_000..3_600_000_000_000 => format!("{sign}{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{sign}{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

/// The nanoseconds of a duration as people and [`duration`] write it: `10s`, `1.5ms`, `250us`, `1m23s`. `None` if it
/// has no unit (`ns us ms s m h d`), or is none.
pub fn parse_duration(text: &str) -> Option<u64> {
    let (mut rest, mut total) = (text.trim(), 0.0);
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (unit, next) = behind.split_at(behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len()));
        let scale = match unit.trim() {
            "ns" => 1.0,
            "us" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "d" => 86_400e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = next;
    }
    (!text.trim().is_empty() && total < u64::MAX as f64).then_some(total.round() as u64)
}

/// Bytes as options have them: `512K`, `8M`; `None` for what is none, and for zero.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let (digits, factor) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(digits) => (digits, 1u64 << (10 * (1 + "KMG".find(&text[digits.len()..]).unwrap_or(0)))),
        None => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor).filter(|count| *count > 0)
}

/// An amount of memory or data in the binary unit that leaves one to four digits before the point: `512B`, `1.50KiB`.
pub fn bytes(amount: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    match (amount.max(1).ilog2() / 10) as usize {
        0 => format!("{amount}B"),
        power => format!("{}{}", three_digits(amount.into(), 1 << (10 * power)), units[power - 1]),
    }
}

/// `value / unit` with at least three digits, cut rather than rounded: 999,999 ns are not 1000us.
fn three_digits(value: u128, unit: u128) -> String {
    let (whole, rest) = (value / unit, value % unit);
    match whole {
        0..10 => format!("{whole}.{:02}", rest * 100 / unit),
        10..100 => format!("{whole}.{}", rest * 10 / unit),
        _ => whole.to_string(),
    }
}

/// Text as it may go to a terminal: control characters and those that reverse or hide text are spelled out (`\x1b`,
/// `\n`, `\u{202e}`). A process chooses its own name and arguments, so all that comes from one passes through here.
pub fn escape(text: &str) -> Cow<'_, str> {
    // Most texts: nothing of them acts, and bytes are soon looked through.
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    spelled(text, may_act)
}

/// The same of a text of several lines: where they end, and tabs, stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    spelled(text, |c| may_act(c) && c != '\n' && c != '\t')
}

fn spelled(text: &str, acts: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&acts) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        // Writing to a String does not fail.
        let _ = match c {
            c if !acts(c) => safe.write_char(c),
            '\n' => safe.write_str("\\n"),
            '\r' => safe.write_str("\\r"),
            '\t' => safe.write_str("\\t"),
            c if c.is_ascii_control() => write!(safe, "\\x{:02x}", u32::from(c)),
            c => write!(safe, "\\u{{{:x}}}", u32::from(c)),
        };
    }
    Cow::Owned(safe)
}

/// What a value stands for, before a renderer gives it its form.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown<'a> {
    Integer(i128),
    Float(f64),
    /// Not yet escaped.
    Text(Cow<'a, str>),
}

/// What `value` stands for in its column: a name where there is one, an address in hex, else the value itself. Without
/// a column, the value itself; bytes in hex.
pub fn show<'a>(value: &'a Value, column: Option<&ColumnType>, names: &dyn Names) -> Shown<'a> {
    let kind = column.map(|column| column.kind);
    match (value, kind) {
        (Value::Int(int), Some(ColumnKind::Int { show, .. })) => {
            integer((*int).into(), int.cast_unsigned(), show, names)
        }
        (Value::Unsigned(bits), Some(ColumnKind::Int { show, .. })) => integer((*bits).into(), *bits, show, names),
        (Value::Bytes(bytes), Some(ColumnKind::Bytes { show: BytesShow::Ip, .. })) => Shown::Text(ip(bytes).into()),
        (Value::Bytes(bytes), Some(ColumnKind::Bytes { show: BytesShow::Mac, .. })) => {
            let parts: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Shown::Text(parts.join(":").into())
        }
        (Value::Bytes(bytes), Some(ColumnKind::Bytes { show: BytesShow::Text, .. })) => {
            Shown::Text(column::text(bytes).into())
        }
        (Value::Bytes(bytes), Some(ColumnKind::Bytes { show: BytesShow::UserSymbol, .. })) => {
            Shown::Text(user_symbol(bytes, names).into())
        }
        (Value::Int(int), _) => Shown::Integer((*int).into()),
        (Value::Unsigned(bits), _) => Shown::Integer((*bits).into()),
        (Value::Float(float), _) => Shown::Float(*float),
        (Value::Text(text), _) => Shown::Text(text.as_str().into()),
        (Value::Bytes(bytes), _) => Shown::Text(hex(bytes).into()),
        (Value::Stack(frames), _) => Shown::Text(chain(frames).into()),
    }
}

/// A number as it is shown where it stands for something.
pub fn named(number: i64, show: Show, names: &dyn Names) -> String {
    match integer(number.into(), number as u64, show, names) {
        Shown::Text(text) => text.into_owned(),
        _ => number.to_string(),
    }
}

fn integer(value: i128, bits: u64, show: Show, names: &dyn Names) -> Shown<'static> {
    let name = match show {
        Show::Decimal | Show::Duration | Show::Stack(_) => None,
        Show::Hex => Some(format!("{bits:#x}")),
        Show::Errno => u64::try_from(value.unsigned_abs()).ok().and_then(|number| names.name(&show, number)),
        Show::Device => names.name(&show, bits).or_else(|| Some(format!("{}:{}", bits >> 20, bits & 0xf_ffff))),
        Show::KernelSymbol => names.name(&show, bits).or_else(|| Some(format!("{bits:#x}"))),
        Show::Enum(known) => known.name_of(bits as i64).map(str::to_owned),
        Show::Probe | Show::Syscall | Show::Signal | Show::Cgroup | Show::User => names.name(&show, bits),
    };
    name.map_or(Shown::Integer(value), |name| Shown::Text(name.into()))
}

/// A call chain in one line, the outermost function first, as folded text has it.
fn chain(frames: &[Arc<Frame>]) -> String {
    let names: Vec<&str> = frames.iter().rev().map(|frame| frame.name.as_str()).collect();
    names.join(";")
}

fn user_symbol(bytes: &[u8], names: &dyn Names) -> String {
    let word = |at| Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let (Some(address), Some(pid)) = (word(0), word(8)) else {
        return hex(bytes);
    };
    names.user_symbol(pid as u32, address).unwrap_or_else(|| format!("{address:#x}"))
}

fn ip(bytes: &[u8]) -> String {
    let v4 = <[u8; 4]>::try_from(bytes).map(|octets| IpAddr::from(Ipv4Addr::from(octets)));
    let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).to_canonical()));
    address.map_or_else(|_| hex(bytes), |address| address.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::column::NoNames;

    #[test]
    fn edges_are_shortened_by_1024_only_where_exact() {
        let edges = [0, 512, 1000, 1024, 1536, 2048, 1 << 20, 1 << 63, 1 << 64, -4096].map(edge);
        assert_eq!(edges, ["0", "512", "1000", "1K", "1536", "2K", "1M", "8E", "16E", "-4K"]);
    }

    #[test]
    fn commas_stand_before_every_three_digits() {
        assert_eq!([0, 999, 1861, -1_234_567].map(grouped::<i128>), ["0", "999", "1,861", "-1,234,567"]);
        assert_eq!(grouped(i128::MIN), "-170,141,183,460,469,231,731,687,303,715,884,105,728");
        assert_eq!(grouped(1_000_007), "1,000,007");
        assert_eq!(
            [0.04, -0.5, 12_345.67, -1000.0, f64::NAN].map(decimal),
            ["0.0", "-0.5", "12,345.7", "-1,000.0", "NaN"]
        );
    }

    #[test]
    fn durations_and_bytes_keep_three_digits() {
        let durations = [950, 1_000, 12_345, 4_570_000, 999_999, -2_059_000_000, 83_000_000_000, 7_500_000_000_000];
        let expected = ["950ns", "1.00us", "12.3us", "4.57ms", "999us", "-2.05s", "1m23s", "2h05m"];
        assert_eq!(durations.map(duration), expected);
        assert_eq!([0, 1023, 1536, 300 << 20, u64::MAX].map(bytes), ["0B", "1023B", "1.50KiB", "300MiB", "15.9EiB"]);
    }

    #[test]
    fn durations_are_read_as_they_are_written() {
        let read = ["10s", "1.5ms", " 250 us", "1m23s", "0s", "2h05m"].map(parse_duration);
        let expected = [10_000_000_000, 1_500_000, 250_000, 83_000_000_000, 0, 7_500_000_000_000];
        assert_eq!(read, expected.map(Some));
        assert_eq!(["", "10", "ms", "-1s", "1e3s", "1.2.3s", "99999999999h", "5 sec"].map(parse_duration), [None; 8]);
    }

    #[test]
    fn terminal_escapes_and_reversed_text_are_spelled_out() {
        assert_eq!(escape("\x1b[2Jevil\u{202e}\u{9b}\n"), "\\x1b[2Jevil\\u{202e}\\u{9b}\\n");
        assert_eq!(escape("\u{61c}\u{ad}\u{7f}\u{fffb}\u{e0041}"), "\\u{61c}\\u{ad}\\x7f\\u{fffb}\\u{e0041}");
        assert!(matches!(escape("naïve 日本"), Cow::Borrowed(_)));
        assert_eq!(lines("a\tb\nc\r\x1b[2J\u{9b}"), "a\tb\nc\\r\\x1b[2J\\u{9b}");
    }

    #[test]
    fn address_mapped_into_ipv6_is_shown_as_ipv4() {
        let kind = ColumnKind::Bytes { size: 16, show: BytesShow::Ip };
        let column = ColumnType::new("daddr", kind);
        let shown =
            |bytes: &[u8]| show(&Value::Bytes(bytes.into()), Some(&column), &NoNames) == Shown::Text("10.0.0.1".into());
        assert!(shown(&[10, 0, 0, 1]) && shown(&Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets()));
        assert!(!shown(&[10, 0, 0]));
    }

    struct Enoent;
    impl Names for Enoent {
        fn name(&self, show: &Show, value: u64) -> Option<String> {
            (*show == Show::Errno && value == 2).then(|| "ENOENT".into())
        }
    }

    #[test]
    fn number_without_a_name_stays_a_number() {
        let shown = |value, show| integer(value, value as u64, show, &Enoent);
        assert_eq!(shown(-2, Show::Errno), Shown::Text("ENOENT".into()));
        assert_eq!(shown(0, Show::Errno), Shown::Integer(0));
        assert_eq!(shown(62, Show::Signal), Shown::Integer(62));
        assert_eq!(shown(255, Show::Hex), Shown::Text("0xff".into()));
        assert_eq!(shown(8 << 20 | 16, Show::Device), Shown::Text("8:16".into()));
    }
}
