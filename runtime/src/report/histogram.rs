//! Histograms as bars, drawn as bpftrace draws them; quantiles as one line.

use std::io::{self, Write};

use super::text::Style;
use super::units;
use crate::aggregate::cell::Kind;
use crate::aggregate::histogram::{Bucket, Histogram, QUANTILES_ERROR};

/// Columns of the longest bar.
const BAR: u128 = 52;

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
    let (on, off) = style.bar();
    for (label, count) in rows {
        let filled = (u128::from(count) * BAR / u128::from(highest)) as usize;
        let (bar, rest) = ("@".repeat(filled), " ".repeat(BAR as usize - filled));
        writeln!(out, "{label:<label_width$}{count:>count_width$} |{on}{bar}{off}{rest}|")?;
    }
    Ok(())
}

/// The quantiles that matter, with what they may be wrong by. Without samples `no samples`.
///
/// `p50 12  p90 40  p99 80  p99.9 95  max 97  mean 20.1  n 1,861  (within 1.6 %)`; a quantile among the negative
/// values, which share one bucket, is `<0`.
pub fn quantiles_line(histogram: &Histogram) -> String {
    let values = histogram.quantiles([0.5, 0.9, 0.99, 0.999, 1.0]);
    let (Some(_), Some(mean)) = (values[0], histogram.mean()) else {
        return "no samples".into();
    };
    let mut line = String::new();
    for (name, value) in ["p50", "p90", "p99", "p99.9", "max"].iter().zip(values.into_iter().flatten()) {
        let value = if value < 0 { "<0".into() } else { units::grouped(value) };
        line += &format!("{name} {value}  ");
    }
    let (mean, n) = (units::decimal(mean), units::grouped(histogram.count()));
    format!("{line}mean {mean}  n {n}  (within {:.1} %)", QUANTILES_ERROR * 100.0)
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
    fn quantiles_are_one_line_that_states_its_error() {
        let mut histogram = Histogram::new(Kind::Quantiles);
        (1..=1861).for_each(|value| histogram.record(value));
        let expected = "p50 935  p90 1,679  p99 1,855  p99.9 1,871  max 1,871  mean 931.0  n 1,861  (within 1.6 %)";
        assert_eq!(quantiles_line(&histogram), expected);
        histogram.add(0, 10_000, -10_000);
        assert!(quantiles_line(&histogram).starts_with("p50 <0  p90 679  "));
        assert_eq!(quantiles_line(&Histogram::new(Kind::Quantiles)), "no samples");
    }
}
