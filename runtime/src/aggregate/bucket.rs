//! Bucket numbers: which bucket of a histogram a value falls into. Pure arithmetic; no privilege.
//!
//! The kernel side (`ebpf-templates/bpf/include/aggregate.bpf.h`) is a twin of this file: both must give the same
//! number for every value. Here a value is an `i128`, so that signed and unsigned 64-bit ones have one spelling; in the
//! kernel it is a `u64` that is read as `s64` unless the aggregation is unsigned. Division is unsigned and truncates,
//! `log2` is the index of the highest bit that is set (`63 - clz`), numbers are `u32`:
//!
//! ```c
//! static u32 hist_bucket(u64 v, bool is_unsigned)
//! {
//!     if (!is_unsigned && (s64)v < 0) return 0;
//!     return v ? log2(v) + 2 : 1;
//! }
//! static u32 lhist_bucket(u64 v, bool is_unsigned, s64 min, s64 max, u64 step)
//! {
//!     bool huge = is_unsigned && (s64)v < 0;                         /* above every s64 */
//!     if (huge || (s64)v >= max) return ((u64)max - (u64)min - 1) / step + 2;
//!     if ((s64)v < min) return 0;
//!     return (v - (u64)min) / step + 1;
//! }
//! static u32 quantiles_bucket(u64 v, bool is_unsigned)
//! {
//!     if (!is_unsigned && (s64)v < 0) return 0;
//!     if (v < 128) return v + 1;
//!     u32 shift = log2(v) - 6;                                       /* 1 ..= 57 */
//!     return 64 * shift + (v >> shift) + 1;                          /* (v >> shift) is 64 ..= 127 */
//! }
//! ```

use super::cell::Kind;

/// Buckets that `hist` can use: negatives, zero, and one for each power of two. The highest is 65, [2^63, 2^64).
pub const HIST: u32 = 66;

/// Buckets that `quantiles` can use: negatives, 0 to 127, and 64 for each of the 57 octaves above. The highest is 3776.
pub const QUANTILES: u32 = 1 + 128 + 57 * 64;

/// Buckets that an `lhist` may ask for, the two open ones not counted; bpftrace's limit.
pub const LHIST_LIMIT: u64 = 1000;

/// How many buckets `kind` has, numbered from 0; a map of one key needs at most so many entries. 0 for kinds without.
pub fn count(kind: Kind) -> u32 {
    match kind {
        Kind::Hist => HIST,
        Kind::Quantiles => QUANTILES,
        Kind::LHist { min, max, step } => {
            u32::try_from(steps(min, max, step)).map_or(u32::MAX, |n| n.saturating_add(2))
        }
        _ => 0,
    }
}

/// The bucket that `value` falls into; `None` for kinds without buckets. A signed value is at least -2^63, an unsigned
/// one below 2^64.
///
/// - `hist`: 0 holds the negatives, 1 the value 0, and k from 2 to 65 holds [2^(k-2), 2^(k-1)).
/// - `lhist`: 0 holds what lies below `min`, the last one what is `max` or more, and those between are `step` wide; the
///   one before the last is narrower when `step` does not divide the range.
/// - `quantiles`: 0 holds the negatives, 1 to 128 the values 0 to 127, one each; above, every octave is cut into 64.
pub fn of(kind: Kind, value: i128) -> Option<u32> {
    let natural = u64::try_from(value);
    let bucket = match (kind, natural) {
        (Kind::Hist | Kind::Quantiles, Err(_)) if value < 0 => 0,
        (Kind::Hist, _) => natural.ok().and_then(u64::checked_ilog2).map_or(1, |log2| log2 + 2),
        (Kind::Quantiles, _) => match natural.unwrap_or(u64::MAX) {
            small @ 0..128 => small as u32 + 1,
            large => {
                let shift = large.ilog2() - 6;
                64 * shift + (large >> shift) as u32 + 1
            }
        },
        (Kind::LHist { min, .. }, _) if value < i128::from(min) => 0,
        (Kind::LHist { max, .. }, _) if value >= i128::from(max) => count(kind) - 1,
        (Kind::LHist { min, step, .. }, _) => {
            let index = (value - i128::from(min)) / i128::from(step.max(1));
            u32::try_from(index).map_or(u32::MAX, |index| index.saturating_add(1))
        }
        _ => return None,
    };
    Some(bucket)
}

/// The lowest and the highest value that `bucket` can hold, both inclusive; `None` if `kind` has no such bucket.
/// Open ends are those of 64-bit values: -2^63 below, 2^64 - 1 above.
pub fn range(kind: Kind, bucket: u32) -> Option<(i128, i128)> {
    const LOWEST: i128 = i64::MIN as i128;
    const HIGHEST: i128 = u64::MAX as i128;
    if bucket >= count(kind) {
        return None;
    }
    let range = match (kind, bucket) {
        (Kind::Hist | Kind::Quantiles, 0) => (LOWEST, -1),
        (Kind::Hist, 1) => (0, 0),
        (Kind::Hist, _) => (1 << (bucket - 2), (1 << (bucket - 1)) - 1),
        (Kind::Quantiles, 1..=128) => (i128::from(bucket - 1), i128::from(bucket - 1)),
        (Kind::Quantiles, _) => {
            let (shift, part) = ((bucket - 1) / 64 - 1, (bucket - 1) % 64 + 64);
            (i128::from(part) << shift, (i128::from(part + 1) << shift) - 1)
        }
        (Kind::LHist { min, .. }, 0) => (LOWEST, i128::from(min) - 1),
        (Kind::LHist { max, .. }, _) if bucket + 1 == count(kind) => (i128::from(max), HIGHEST),
        (Kind::LHist { min, max, step }, _) => {
            let low = i128::from(min) + i128::from(bucket - 1) * i128::from(step.max(1));
            (low, (low + i128::from(step.max(1)) - 1).min(i128::from(max) - 1))
        }
        _ => return None,
    };
    Some(range)
}

/// Whether `bucket` has no lower (first) or no upper (second) limit of its own.
pub fn open(kind: Kind, bucket: u32) -> (bool, bool) {
    (bucket == 0, matches!(kind, Kind::LHist { .. }) && bucket + 1 == count(kind))
}

/// How many buckets lie between the two open ones of an `lhist`: the range divided by `step`, rounded up.
pub(super) fn steps(min: i64, max: i64, step: i64) -> u64 {
    if max <= min { 0 } else { max.abs_diff(min).div_ceil(step.max(1) as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 7] = [
        Kind::Hist,
        Kind::Quantiles,
        Kind::LHist { min: 0, max: 2000, step: 200 },
        Kind::LHist { min: -50, max: 51, step: 7 },
        Kind::LHist { min: 10, max: 11, step: 5 },
        Kind::LHist { min: i64::MIN, max: i64::MAX, step: 1 << 56 },
        Kind::LHist { min: -1_000, max: 1_000_000_007, step: 1_000_003 },
    ];

    /// Values at, just below and just above every power of two, of both signs, then pseudo-random ones of every length.
    fn values() -> impl Iterator<Item = i128> {
        let edges = (0..=64).flat_map(|bit| [-1, 0, 1].map(|off| (1i128 << bit) + off)).flat_map(|v| [v, -v]);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let random = (0..50_000).map(move |i| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let bits = state >> (i % 64);
            if i % 3 == 0 { i128::from(bits as i64) } else { i128::from(bits) }
        });
        edges.chain(random).filter(|v| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(v))
    }

    #[test]
    fn value_lies_in_the_range_of_its_bucket() {
        for kind in KINDS {
            for value in values() {
                let bucket = of(kind, value).unwrap();
                let (low, high) = range(kind, bucket).unwrap();
                assert!(low <= value && value <= high, "{kind:?} {value}: bucket {bucket} is {low}..={high}");
            }
        }
    }

    #[test]
    fn ranges_tile_without_gap_from_lowest_to_highest() {
        for kind in KINDS {
            let mut next = i128::from(i64::MIN);
            for bucket in 0..count(kind) {
                let (low, high) = range(kind, bucket).unwrap();
                // An lhist from the lowest integer has nothing below: its first bucket is empty.
                assert!(low == next && (low <= high || low == high + 1), "{kind:?} bucket {bucket}: {low}..={high}");
                if low <= high {
                    assert_eq!((of(kind, low), of(kind, high)), (Some(bucket), Some(bucket)));
                }
                next = high + 1;
            }
            assert_eq!(next, 1i128 << 64, "{kind:?}");
            assert_eq!(range(kind, count(kind)), None);
        }
    }

    #[test]
    fn hist_numbers_are_those_of_the_specification() {
        let numbers = [-1, 0, 1, 2, 3, 4, (1 << 63) - 1, 1 << 63, u64::MAX.into()].map(|v| of(Kind::Hist, v).unwrap());
        assert_eq!(numbers, [0, 1, 2, 3, 3, 4, 64, 65, 65]);
    }

    #[test]
    fn quantiles_numbers_are_those_of_the_specification() {
        let values = [-9, 0, 127, 128, 129, 130, 255, 256, i64::MAX.into(), u64::MAX.into()];
        let numbers = values.map(|v| of(Kind::Quantiles, v).unwrap());
        assert_eq!(numbers, [0, 1, 128, 129, 129, 130, 192, 193, 3712, QUANTILES - 1]);
    }

    #[test]
    fn quantiles_bucket_is_at_most_a_64th_of_its_lowest_value_wide() {
        for bucket in 1..QUANTILES {
            let (low, high) = range(Kind::Quantiles, bucket).unwrap();
            assert!((high - low) * 64 <= low, "bucket {bucket}: {low}..={high}");
        }
    }

    #[test]
    fn lhist_numbers_are_those_of_the_specification() {
        let kind = Kind::LHist { min: 0, max: 2000, step: 200 };
        assert_eq!([-1, 0, 199, 200, 1999, 2000, 1 << 63].map(|v| of(kind, v).unwrap()), [0, 1, 1, 2, 10, 11, 11]);
        assert_eq!(count(kind), 12);
    }

    #[test]
    fn kinds_without_buckets_have_none() {
        assert_eq!((of(Kind::Count, 1), range(Kind::Sum, 0), count(Kind::Stats)), (None, None, 0));
    }
}
