//! Samples: how many there are of each value, as HdrHistogram keeps them: exact below 2048, within 1/1024 above.

use crate::aggregate::Kind;
use crate::aggregate::histogram::Histogram;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use std::collections::BTreeMap;

/// Values that are told apart, each as the greatest of its cell, with their numbers. Negative ones count as 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    /// In a bucket of the kernel's histogram all samples are as its upper end: two runs have the same ends.
    pub edges: BTreeMap<u64, u64>,
    /// The same where buckets are wide, each bucket's samples spread evenly around their mean: nearer to the truth.
    pub spread: BTreeMap<u64, u64>,
}

/// The greatest value of a cell of HdrHistogram with three significant digits.
fn cell(value: u64) -> u64 {
    let shift = value.max(1).ilog2().saturating_sub(10);
    value | ((1 << shift) - 1)
}

/// In how many places a bucket's samples are put.
const PARTS: u64 = 64;

impl Samples {
    /// Of an aggregation.
    pub fn of(histogram: &Histogram) -> Samples {
        let mut samples = Samples::default();
        let wide = histogram.kind() != Kind::Quantiles;
        let natural = |value: i128| cell(u64::try_from(value.max(0)).unwrap_or(u64::MAX));
        for one in histogram.cells() {
            *samples.edges.entry(natural(one.edge)).or_default() += one.count;
            let parts = if wide { one.count.min(PARTS) } else { 0 };
            for part in 0..parts {
                let [part, of] = [part, parts].map(i128::from);
                let value = one.mean - one.reach + one.reach * (2 * part + 1) / of;
                let count = (one.count as i128 * (part + 1) / of - one.count as i128 * part / of) as u64;
                *samples.spread.entry(natural(value)).or_default() += count;
            }
        }
        samples
    }

    /// Adds one.
    pub fn record(&mut self, value: i128) {
        let value = u64::try_from(value.max(0)).unwrap_or(u64::MAX);
        *self.edges.entry(cell(value)).or_default() += 1;
    }

    /// Adds another's.
    pub fn merge(&mut self, other: &Samples) {
        for (own, others) in [(&mut self.edges, &other.edges), (&mut self.spread, &other.spread)] {
            others.iter().for_each(|(value, n)| *own.entry(*value).or_default() += n);
        }
    }

    pub fn count(&self) -> u64 {
        self.edges.values().sum()
    }

    /// The value that a share of them does not exceed.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let values = if self.spread.is_empty() { &self.edges } else { &self.spread };
        let rank = (share * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        values.iter().find_map(|(value, n)| {
            seen += n;
            (seen >= rank).then_some(*value)
        })
    }
}

/// As HdrHistogram's tools read and write it: V2, deflated, in base 64. `None`: the library refuses.
pub fn encode(values: &BTreeMap<u64, u64>) -> Option<String> {
    let highest = values.last_key_value().map_or(2, |(value, _)| (*value).max(2));
    let mut histogram = hdrhistogram::Histogram::<u64>::new_with_bounds(1, highest, 3).ok()?;
    for (value, n) in values {
        histogram.record_n(*value, *n).ok()?;
    }
    let mut bytes = Vec::new();
    V2DeflateSerializer::new().serialize(&histogram, &mut bytes).ok()?;
    Some(BASE64_STANDARD.encode(bytes))
}

/// More samples than any run has: what is beyond is damaged, and would not be counted exactly.
const MOST: u64 = 1 << 50;

/// `None`: it is none of HdrHistogram's.
pub fn decode(text: &str) -> Option<BTreeMap<u64, u64>> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    let histogram: hdrhistogram::Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).ok()?;
    let (mut values, mut total) = (BTreeMap::<u64, u64>::new(), 0u64);
    for one in histogram.iter_recorded() {
        total = total.saturating_add(one.count_at_value());
        if total > MOST {
            return None;
        }
        *values.entry(cell(one.value_iterated_to())).or_default() += one.count_at_value();
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_those_of_hdrhistogram() {
        let library = hdrhistogram::Histogram::<u64>::new_with_bounds(1, u64::MAX / 2, 3).unwrap();
        for bit in 0..62 {
            for value in [(1u64 << bit) - 1, 1 << bit, (1 << bit) + 1, (1 << bit) * 3 / 2] {
                assert_eq!(cell(value), library.highest_equivalent(value), "{value}");
            }
        }
    }

    #[test]
    fn samples_come_back_from_the_text_of_other_tools() {
        let mut samples = Samples::default();
        (0..1009).for_each(|n| samples.record(n * n * n));
        let text = encode(&samples.edges).unwrap();
        assert!(text.starts_with("HISTFAAA"), "{text}");
        assert_eq!(decode(&text).as_ref(), Some(&samples.edges));
        assert_eq!(decode(&encode(&BTreeMap::new()).unwrap()), Some(BTreeMap::new()));
        let many = encode(&BTreeMap::from([(1, MOST), (2, 1)])).unwrap();
        assert!(decode(&many).is_none());
        assert!(decode("HISTFAAA").is_none() && decode("no base 64").is_none());
    }

    #[test]
    fn ends_of_buckets_are_the_same_in_every_run_and_means_are_near_the_truth() {
        let of = |kind, values: &[i128]| {
            let mut histogram = Histogram::new(kind);
            values.iter().for_each(|value| histogram.record(*value));
            Samples::of(&histogram)
        };
        let (one, other) = (of(Kind::Hist, &[1_000, 1_010]), of(Kind::Hist, &[1_030, 1_040, -5]));
        assert_eq!(one.edges, BTreeMap::from([(1_023, 2)]));
        assert_eq!(other.edges, BTreeMap::from([(0, 1), (2_047, 2)]));
        // Around 1005 and 1035, within 18 and 11 of them.
        assert_eq!((one.quantile(0.5), one.quantile(1.0)), (Some(996), Some(1_014)));
        assert_eq!((other.quantile(0.5), other.quantile(1.0)), (Some(1_029), Some(1_040)));
        let even: Vec<i128> = (512..1_024).collect();
        let even = of(Kind::Hist, &even).quantile(0.25).unwrap();
        assert!((635..=644).contains(&even), "{even}");
        let lhist = Kind::LHist { min: 0, max: 100, step: 10 };
        assert_eq!(of(lhist, &[5, 1_000, 3_000]).edges, BTreeMap::from([(9, 1), (100, 2)]));
        assert_eq!(of(lhist, &[5, 1_000, 3_000]).quantile(0.9), Some(2_000));
        let fine = of(Kind::Quantiles, &[1_000_000]);
        assert!(fine.spread.is_empty() && fine.quantile(0.5).unwrap() < 1_000_000 + 1_000_000 / 64);
    }
}
