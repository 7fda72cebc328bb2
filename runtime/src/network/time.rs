//! Points in time: nanoseconds since 1970, read and written as RFC 3339 and as Go's layouts spell them. UTC only. Pure.

use crate::diagnostic::Diagnostic;
use std::fmt;

/// Nanoseconds since the beginning of 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// 1970 began on the fifth of these.
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

/// How times are printed; the names are Hubble's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// `Nov 21 02:00:00.123`
    #[default]
    StampMilli,
    YearMonthDay,
    YearMonthDayHour,
    YearMonthDayHourMinute,
    Rfc3339,
    Rfc3339Milli,
    Rfc3339Micro,
    Rfc3339Nano,
    Rfc1123Z,
}

pub const LAYOUTS: &[(&str, Layout)] = &[
    ("StampMilli", Layout::StampMilli),
    ("YearMonthDay", Layout::YearMonthDay),
    ("YearMonthDayHour", Layout::YearMonthDayHour),
    ("YearMonthDayHourMinute", Layout::YearMonthDayHourMinute),
    ("RFC3339", Layout::Rfc3339),
    ("RFC3339Milli", Layout::Rfc3339Milli),
    ("RFC3339Micro", Layout::Rfc3339Micro),
    ("RFC3339Nano", Layout::Rfc3339Nano),
    ("RFC1123Z", Layout::Rfc1123Z),
];

impl Layout {
    /// By name, in any case.
    pub fn named(name: &str) -> Option<Layout> {
        LAYOUTS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, layout)| *layout)
    }
}

impl Time {
    pub fn now() -> Time {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Time(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    fn date(self) -> (u64, u64, u64) {
        civil(self.0 / SECOND / DAY)
    }

    /// Hours, minutes, seconds.
    fn clock(self) -> (u64, u64, u64) {
        let second = self.0 / SECOND % DAY;
        (second / 3600, second / 60 % 60, second % 60)
    }

    pub fn text(self, layout: Layout) -> String {
        let ((year, month, day), (hour, minute, second)) = (self.date(), self.clock());
        let short = MONTHS[month as usize - 1];
        let rfc = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
        match layout {
            Layout::StampMilli => {
                format!("{short} {day:>2} {hour:02}:{minute:02}:{second:02}.{:03}", self.0 % SECOND / 1_000_000)
            }
            Layout::YearMonthDay => format!("{year:04}-{month:02}-{day:02}"),
            Layout::YearMonthDayHour => format!("{year:04}-{month:02}-{day:02}T{hour:02}Z"),
            Layout::YearMonthDayHourMinute => format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}Z"),
            Layout::Rfc3339 => format!("{rfc}Z"),
            Layout::Rfc3339Milli => format!("{rfc}{}Z", self.fraction(3)),
            Layout::Rfc3339Micro => format!("{rfc}{}Z", self.fraction(6)),
            Layout::Rfc3339Nano => format!("{rfc}{}Z", self.fraction(9)),
            Layout::Rfc1123Z => {
                let week = DAYS[((self.0 / SECOND / DAY + 4) % 7) as usize];
                format!("{week}, {day:02} {short} {year:04} {hour:02}:{minute:02}:{second:02} +0000")
            }
        }
    }

    /// The fraction cut to so many digits, without zeros at its end, as Go's `.999` is.
    fn fraction(self, digits: usize) -> String {
        let text = format!("{:09}", self.0 % SECOND);
        let text = text[..digits].trim_end_matches('0');
        if text.is_empty() { String::new() } else { format!(".{text}") }
    }

    /// A time before `now` (`3s`, `4m`, `1h43m`), a date, or RFC 3339 to the hour, the minute, the second or below.
    ///
    /// # Errors
    /// A script diagnostic: it is none of these.
    pub fn parse(text: &str, now: Time) -> Result<Time, Diagnostic> {
        if let Some(ago) = duration(text) {
            return Ok(Time(now.0.saturating_sub(ago)));
        }
        absolute(text).ok_or_else(|| {
            Diagnostic::script(format!("`{text}` is no time")).help("4m, 1h43m, 2026-11-21 or 2026-11-21T02:00:00.5Z")
        })
    }

    /// RFC 3339 with seconds, as protobuf's JSON has it.
    pub fn rfc3339(text: &str) -> Option<Time> {
        text.bytes().filter(|byte| *byte == b':').nth(1)?;
        absolute(text)
    }
}

/// Protobuf's JSON: 0, 3, 6 or 9 digits behind the point.
impl fmt::Display for Time {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.text(Layout::Rfc3339);
        let whole = whole.trim_end_matches('Z');
        match self.0 % SECOND {
            0 => write!(out, "{whole}Z"),
            nanos if nanos % 1_000_000 == 0 => write!(out, "{whole}.{:03}Z", nanos / 1_000_000),
            nanos if nanos % 1_000 == 0 => write!(out, "{whole}.{:06}Z", nanos / 1_000),
            nanos => write!(out, "{whole}.{nanos:09}Z"),
        }
    }
}

/// Go's spelling of a duration, in nanoseconds: `1h43m`, `1.5s`, `250ms`.
fn duration(text: &str) -> Option<u64> {
    const UNITS: [(&str, f64); 7] =
        [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |at| end + at);
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[end..unit_end])?;
        total += number * unit;
        rest = &rest[unit_end..];
    }
    (!text.is_empty() && total < u64::MAX as f64).then_some(total as u64)
}

fn absolute(text: &str) -> Option<Time> {
    let (date, clock) = text.split_once(['T', 't']).map_or((text, None), |(date, clock)| (date, Some(clock)));
    let [year, month, day] = numbers::<3>(date, '-', [4, 2, 2])?;
    let days = days(year, month, day)?;
    let Some(clock) = clock else { return nanos(days * DAY, 0) };
    let (clock, east) = match clock.find(['Z', 'z', '+', '-']) {
        Some(at) if clock[at..].eq_ignore_ascii_case("z") => (&clock[..at], 0),
        Some(at) => {
            let [hour, minute] = numbers::<2>(&clock[at + 1..], ':', [2, 2])?;
            let seconds = i64::try_from(hour * 3600 + minute * 60).ok()?;
            (&clock[..at], if clock[at..].starts_with('-') { -seconds } else { seconds })
        }
        None => return None,
    };
    let (clock, fraction) = clock.split_once('.').map_or((clock, ""), |(clock, fraction)| (clock, fraction));
    let [hour, minute, second] = match clock.len() {
        2 => numbers::<1>(clock, ':', [2]).map(|[hour]| [hour, 0, 0]),
        5 => numbers::<2>(clock, ':', [2, 2]).map(|[hour, minute]| [hour, minute, 0]),
        _ => numbers::<3>(clock, ':', [2, 2, 2]),
    }?;
    if hour > 23 || minute > 59 || second > 59 || fraction.len() > 9 || clock.len() < 8 && !fraction.is_empty() {
        return None;
    }
    let fraction = match fraction {
        "" => 0,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => format!("{digits:0<9}").parse().ok()?,
        _ => return None,
    };
    let seconds = i64::try_from(days * DAY + hour * 3600 + minute * 60 + second).ok()?;
    nanos(u64::try_from(seconds - east).ok()?, fraction)
}

fn nanos(seconds: u64, fraction: u64) -> Option<Time> {
    seconds.checked_mul(SECOND)?.checked_add(fraction).map(Time)
}

/// Numbers of exactly so many digits, between separators.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(separator);
    let mut found = [0; N];
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

/// Year, month and day of a day since 1970. Source: Hinnant, chrono-compatible low-level date algorithms.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

/// The opposite, for days that exist, from 1970 on.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) {
        return None;
    }
    let (shifted, of_year) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let of_year = (153 * of_year + 2) / 5 + day.checked_sub(1)?;
    let (era, of_era) = (shifted / 400, shifted % 400);
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    (civil(days) == (year, month, day)).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_the_digits_that_they_need() {
        let second = 1_795_226_400 * SECOND;
        let written = |nanos: u64| Time(second + nanos).to_string();
        assert_eq!(written(0), "2026-11-21T02:00:00Z");
        assert_eq!(written(500_000_000), "2026-11-21T02:00:00.500Z");
        assert_eq!(written(123_456_000), "2026-11-21T02:00:00.123456Z");
        assert_eq!(written(123_456_789), "2026-11-21T02:00:00.123456789Z");
    }

    #[test]
    fn what_is_written_is_read_back() {
        for time in [0, 1, 951_782_399 * SECOND, 951_782_400 * SECOND + 7, 1_795_226_400_123_456_789, u64::MAX] {
            assert_eq!(Time::rfc3339(&Time(time).to_string()), Some(Time(time)), "{}", Time(time));
        }
        // Leap days and centuries, both ways.
        for day in (0..80_000).step_by(13) {
            let (year, month, date) = civil(day);
            assert_eq!(days(year, month, date), Some(day), "{year}-{month}-{date}");
        }
    }

    #[test]
    fn times_of_the_command_line_are_relative_or_absolute() {
        let now = Time(1_795_226_400 * SECOND);
        let parsed = |text: &str| Time::parse(text, now).map(|time| time.to_string());
        assert_eq!(parsed("1h43m").as_deref(), Ok("2026-11-21T00:17:00Z"));
        assert_eq!(parsed("1.5s").as_deref(), Ok("2026-11-21T01:59:58.500Z"));
        assert_eq!(parsed("2026-11-20").as_deref(), Ok("2026-11-20T00:00:00Z"));
        assert_eq!(parsed("2026-11-20T07Z").as_deref(), Ok("2026-11-20T07:00:00Z"));
        assert_eq!(parsed("2026-11-20T07:30+02:00").as_deref(), Ok("2026-11-20T05:30:00Z"));
        assert_eq!(parsed("2026-11-20T07:30:01.25Z").as_deref(), Ok("2026-11-20T07:30:01.250Z"));
        for wrong in ["", "soon", "3", "3 s", "2026-02-29", "2026-13-01", "2026-11-21T25:00:00Z", "2026-11-21T02:00:00"]
        {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn layouts_are_those_of_go() {
        let time = Time(1234 * SECOND + 567_800_000);
        let texts = LAYOUTS.iter().map(|(_, layout)| time.text(*layout)).collect::<Vec<_>>();
        assert_eq!(
            texts,
            [
                "Jan  1 00:20:34.567",
                "1970-01-01",
                "1970-01-01T00Z",
                "1970-01-01T00:20Z",
                "1970-01-01T00:20:34Z",
                "1970-01-01T00:20:34.567Z",
                "1970-01-01T00:20:34.5678Z",
                "1970-01-01T00:20:34.5678Z",
                "Thu, 01 Jan 1970 00:20:34 +0000",
            ]
        );
    }
}
