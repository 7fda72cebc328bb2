//! Histograms as bars, drawn as bpftrace draws them; quantiles as one line.

use std::io::{self, Write};

use super::text::Style;
use super::units;
use crate::aggregate::cell::Kind;
use crate::aggregate::histogram::{Bucket, Histogram};

/// Columns of the longest bar, where there is room.
const BAR: usize = 52;

/// Bars that are shorter tell nothing.
const SHORTEST: usize = 8;

/// Draws a histogram: a row for each bucket from the first to the last that is not empty, or the line of
/// [`quantiles_line`] for the kind that has too many buckets to draw.
///
/// # Errors
/// Those of `out`.
pub fn draw(out: &mut impl Write, histogram: &Histogram, style: &Style) -> io::Result<()> {
    if histogram.kind() == Kind::Quantiles {
        return writeln!(out, "{}", quantiles_line(histogram));
    }
    let rows: Vec<_> = histogram.rows().map(|bucket| (label(histogram.kind(), &bucket), bucket.count)).collect();
    let highest = rows.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let label_width = rows.iter().map(|(label, _)| label.len() + 1).fold(16, usize::max);
    let count_width = highest.to_string().len().max(8);
    let room = style.width.unwrap_or(usize::MAX).saturating_sub(label_width + count_width + " ||".len());
    let longest = BAR.min(room.max(SHORTEST));
    let (on, off) = style.bar();
    for (label, count) in rows {
        let filled = (u128::from(count) * longest as u128 / u128::from(highest)) as usize;
        let (bar, rest) = ("@".repeat(filled), " ".repeat(longest - filled));
        writeln!(out, "{label:<label_width$}{count:>count_width$} |{on}{bar}{off}{rest}|")?;
    }
    Ok(())
}

/// The quantiles that matter, each with its name, then the mean and the number of samples. A quantile among the negative
/// values, which share one bucket, is `<0`.
pub fn quantiles(histogram: &Histogram) -> Vec<(&'static str, String)> {
    let names = ["p50", "p90", "p99", "p99.9", "max"];
    let shown = |value: Option<i128>| match value {
        None => "-".into(),
        Some(..0) => "<0".into(),
        Some(value) => units::grouped(value),
    };
    let values = histogram.quantiles([0.5, 0.9, 0.99, 0.999, 1.0]).map(shown);
    let mean = histogram.mean().map_or("-".into(), units::decimal);
    let rest = [("mean", mean), ("n", units::grouped(histogram.count()))];
    names.into_iter().zip(values).chain(rest).collect()
}

/// The same in a line: `p50 12  p90 40  p99 80  p99.9 95  max 97  mean 20.1  n 1,861`. Without samples `no samples`.
pub fn quantiles_line(histogram: &Histogram) -> String {
    if histogram.count() == 0 {
        return "no samples".into();
    }
    let parts = quantiles(histogram).into_iter().map(|(name, value)| format!("{name} {value}"));
    parts.collect::<Vec<_>>().join("  ")
}

/// `[64, 128)`, `[0]` and `[1]` where a power of two holds one value, `(..., 0)` and `[2000, ...)` where an end is
/// open.
fn label(kind: Kind, bucket: &Bucket) -> String {
    let edge = |value: i128| match kind {
        // 1024 among 1000 and 1048 would be misread as `1K`.
        Kind::LHist { step, .. } if step % 1024 != 0 => value.to_string(),
        _ => units::edge(value),
    };
    match (bucket.low, bucket.high) {
        (Some(low), Some(high)) if low == high && kind == Kind::Hist => format!("[{low}]"),
        (Some(low), Some(high)) => format!("[{}, {})", edge(low), edge(high + 1)),
        (Some(low), None) => format!("[{}, ...)", edge(low)),
        (None, high) => format!("(..., {})", edge(high.map_or(0, |high| high + 1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style { colour: false, width: None };

    fn drawn(kind: Kind, buckets: &[(u32, u64)], style: &Style) -> String {
        let mut histogram = Histogram::new(kind);
        buckets.iter().for_each(|&(bucket, n)| assert!(histogram.add(bucket, n, 0)));
        let mut out = Vec::new();
        draw(&mut out, &histogram, style).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn hist_is_drawn_as_bpftrace_draws_it() {
        let expected = "\
[64, 128)             37 |@@                                                  |
[128, 256)           904 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|
[256, 512)             0 |                                                    |
[512, 1K)            309 |@@@@@@@@@@@@@@@@@                                   |
";
        assert_eq!(drawn(Kind::Hist, &[(8, 37), (9, 904), (11, 309)], &PLAIN), expected);
    }

    #[test]
    fn hist_negative_value_gets_its_own_row() {
        let expected = "\
(..., 0)               1 |@@@@@@@@@@                                          |
[0]                    5 |@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@|
[1]                    0 |                                                    |
[2, 4)                 1 |@@@@@@@@@@                                          |
";
        assert_eq!(drawn(Kind::Hist, &[(0, 1), (1, 5), (3, 1)], &PLAIN), expected);
    }

    #[test]
    fn lhist_shows_what_is_outside_as_open_ranges() {
        let text = drawn(Kind::LHist { min: 0, max: 2000, step: 200 }, &[(0, 1), (11, 2)], &PLAIN);
        let labels: Vec<_> = text.lines().map(|line| line[..16].trim_end()).collect();
        assert_eq!((labels.len(), labels[0], labels[1], labels[6]), (12, "(..., 0)", "[0, 200)", "[1000, 1200)"));
        assert_eq!(labels[11], "[2000, ...)");
        assert!(drawn(Kind::LHist { min: 0, max: 8192, step: 1024 }, &[(2, 1)], &PLAIN).starts_with("[1K, 2K) "));
    }

    #[test]
    fn long_labels_and_counts_widen_the_columns() {
        let text =
            drawn(Kind::LHist { min: 1_000_000_000, max: 2_000_000_000, step: 500 }, &[(1, 1_234_567_890)], &PLAIN);
        assert!(text.starts_with("[1000000000, 1000000500) 1234567890 |@@"), "{text}");
    }

    #[test]
    fn colour_surrounds_the_bar_only() {
        let text = drawn(Kind::Hist, &[(1, 1)], &Style { colour: true, width: None });
        assert!(text.starts_with("[0]                    1 |\x1b[36m@@@") && text.ends_with("@\x1b[0m|\n"), "{text:?}");
    }

    #[test]
    fn bars_give_way_where_room_is_short() {
        let narrow = |width| drawn(Kind::Hist, &[(1, 2)], &Style { colour: false, width: Some(width) });
        assert_eq!(narrow(79), drawn(Kind::Hist, &[(1, 2)], &PLAIN));
        assert_eq!(narrow(60), format!("[0]                    2 |{}|\n", "@".repeat(33)));
        assert_eq!(narrow(20), format!("[0]                    2 |{}|\n", "@".repeat(SHORTEST)));
    }

    #[test]
    fn quantiles_are_one_line() {
        let mut histogram = Histogram::new(Kind::Quantiles);
        (1..=1861).for_each(|value| histogram.record(value));
        let expected = "p50 935  p90 1,679  p99 1,855  p99.9 1,871  max 1,871  mean 931.0  n 1,861";
        assert_eq!(quantiles_line(&histogram), expected);
        histogram.add(0, 10_000, -10_000);
        assert!(quantiles_line(&histogram).starts_with("p50 <0  p90 679  "));
        assert_eq!(quantiles_line(&Histogram::new(Kind::Quantiles)), "no samples");
    }
}
