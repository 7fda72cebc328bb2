//! Values as people read them: `12.3 ms`, `4.0 MiB`, `1,234`.

/// A value in a unit of pprof's, scaled to what reads well: `nanoseconds` and its kin as time, `bytes` by 1024. Other
/// units stay as they are, with thousands marked; `count` is not said.
pub fn show(value: u64, unit: &str) -> String {
    match unit {
        "nanoseconds" => scaled(value as f64, &TIMES),
        "microseconds" => scaled(value as f64 * 1e3, &TIMES),
        "milliseconds" => scaled(value as f64 * 1e6, &TIMES),
        "seconds" => scaled(value as f64 * 1e9, &TIMES),
        "bytes" => scaled(value as f64, &BYTES),
        "count" | "" => thousands(value),
        unit => format!("{} {unit}", thousands(value)),
    }
}

/// Is a value of this unit shown without what it counts: `12.3 ms`, but `1,234 samples`?
pub(crate) fn speaks(unit: &str) -> bool {
    !matches!(unit, "count" | "")
}

const TIMES: [(f64, &str); 4] = [(1e9, "s"), (1e6, "ms"), (1e3, "us"), (1.0, "ns")];
const BYTES: [(f64, &str); 4] =
    [((1u64 << 30) as f64, "GiB"), ((1u64 << 20) as f64, "MiB"), (1024.0, "KiB"), (1.0, "B")];

fn scaled(value: f64, scale: &[(f64, &str); 4]) -> String {
    let (size, unit) = scale.iter().find(|(size, _)| value >= *size).unwrap_or(&scale[3]);
    let value = value / size;
    // Three digits that mean something, and no fraction of what does not divide.
    if *size == 1.0 {
        format!("{value:.0} {unit}")
    } else if value < 9.995 {
        format!("{value:.2} {unit}")
    } else if value < 99.95 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_in_the_unit_that_fits() {
        for (value, unit, text) in [
            (0, "nanoseconds", "0 ns"),
            (999, "nanoseconds", "999 ns"),
            (12_345_678, "nanoseconds", "12.3 ms"),
            (1_500, "milliseconds", "1.50 s"),
            (90_000_000_000, "nanoseconds", "90.0 s"),
            (1536, "bytes", "1.50 KiB"),
            (1_234_567, "count", "1,234,567"),
            (42, "pages", "42 pages"),
        ] {
            assert_eq!(show(value, unit), text);
        }
        assert!(show(u64::MAX, "seconds").ends_with(" s"), "the largest value overflows nothing");
    }
}
