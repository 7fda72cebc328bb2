//! Histograms: samples counted by bucket, with the quantiles that can be read from them. Pure; no privilege.
//!
//! A bucket keeps how many samples it holds and their sum, so that means are exact whatever the buckets' width.

use std::collections::BTreeMap;

use super::bucket;
use super::cell::Kind;

/// The widest that a `quantiles` bucket gets, as a share of its lowest value: how far a quantile may be above the
/// truth.
pub const QUANTILES_ERROR: f64 = 1.0 / 64.0;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    kind: Kind,
    /// Bucket number -> samples and their sum; no bucket is empty.
    buckets: BTreeMap<u32, (u64, i128)>,
}

/// One bucket: the values from `low` to `high`, both inclusive. An end that the kind leaves open is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub low: Option<i128>,
    pub high: Option<i128>,
    pub count: u64,
}

/// The samples of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Its upper end; the lower one where that is open.
    pub edge: i128,
    pub mean: i128,
    /// How far from their mean they can lie on both sides.
    pub reach: i128,
    pub count: u64,
}

impl Histogram {
    /// An empty one. `kind` is `Hist`, `LHist` or `Quantiles`; with another kind it stays empty.
    pub fn new(kind: Kind) -> Self {
        Histogram { kind, buckets: BTreeMap::new() }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Adds `n` samples that the kernel counted in `bucket`; returns false, and adds nothing, if there is no such
    /// bucket.
    pub fn add(&mut self, bucket: u32, n: u64, sum: i128) -> bool {
        let known = bucket < bucket::count(self.kind);
        if known && n > 0 {
            let total = self.buckets.entry(bucket).or_default();
            *total = (total.0.saturating_add(n), total.1 + sum);
        }
        known
    }

    /// Adds one sample.
    pub fn record(&mut self, value: i128) {
        if let Some(bucket) = bucket::of(self.kind, value) {
            self.add(bucket, 1, value);
        }
    }

    /// Adds another's samples; returns false, and adds nothing, if its buckets are not the same.
    pub fn merge(&mut self, other: &Histogram) -> bool {
        if self.kind != other.kind {
            return false;
        }
        for (&bucket, &(n, sum)) in &other.buckets {
            self.add(bucket, n, sum);
        }
        true
    }

    /// How many samples there are.
    pub fn count(&self) -> u64 {
        self.buckets.values().fold(0, |total, (n, _)| total.saturating_add(*n))
    }

    /// The sum of the samples.
    pub fn sum(&self) -> i128 {
        self.buckets.values().map(|(_, sum)| sum).sum()
    }

    /// The mean of the samples, exact but for the rounding of a float; `None` without samples.
    pub fn mean(&self) -> Option<f64> {
        (!self.buckets.is_empty()).then(|| self.sum() as f64 / self.count() as f64)
    }

    /// A value that no sample is below: the first bucket's lower edge, or more where its sum proves it (a bucket with
    /// one sample gives that sample). `None` without samples.
    pub fn min(&self) -> Option<i128> {
        self.buckets.first_key_value().map(|(&bucket, &(n, sum))| self.bounds(bucket, n, sum).0)
    }

    /// A value that no sample is above: the last bucket's upper edge, or less where its sum proves it. `None` without
    /// samples.
    pub fn max(&self) -> Option<i128> {
        self.buckets.last_key_value().map(|(&bucket, &(n, sum))| self.bounds(bucket, n, sum).1)
    }

    /// The value that a share `q` (0.0..=1.0) of the samples does not exceed, in their unit; `None` without samples.
    ///
    /// A bucket's upper edge, or [`Histogram::max`] if that is lower: never below the true quantile. It lies above it
    /// by at most 1/64 of it for `quantiles` (by [HdrHistogram](https://hdrhistogram.github.io/HdrHistogram/)), by less
    /// than a factor of two for `hist`, by less than a step for `lhist`. That does not hold for the open buckets: all
    /// negative values are one bucket, and so is what lies outside of an `lhist`.
    pub fn quantile(&self, q: f64) -> Option<i128> {
        let [value] = self.quantiles([q]);
        value
    }

    /// Several quantiles at once, each as [`Histogram::quantile`] gives it.
    pub fn quantiles<const N: usize>(&self, shares: [f64; N]) -> [Option<i128>; N] {
        let Some(max) = self.max() else { return [None; N] };
        let total = self.count();
        let hdr = if self.kind == Kind::Quantiles { self.to_hdr() } else { None };
        shares.map(|q| {
            let rank = rank(q, total);
            let edge = match &hdr {
                // In the middle between two ranks, so that no rounding inside gives the neighbour.
                Some((hdr, negatives)) if rank > *negatives => {
                    let rest = (rank - negatives) as f64 - 0.5;
                    i128::from(hdr.value_at_quantile(rest / hdr.len() as f64))
                }
                _ => self.edge(rank)?,
            };
            Some(edge.min(max))
        })
    }

    /// The samples as an HdrHistogram of three significant digits, each as its bucket's upper edge (in the last bucket
    /// as [`Histogram::max`]), and the number of negative ones, which it cannot hold. A `quantiles` bucket is a whole
    /// number of its cells, so the error stays the same. `None` only if the library refuses.
    pub fn to_hdr(&self) -> Option<(hdrhistogram::Histogram<u64>, u64)> {
        let max = self.max().unwrap_or(0);
        let highest = u64::try_from(max).unwrap_or(0).max(2);
        let mut hdr = hdrhistogram::Histogram::new_with_bounds(1, highest, 3).ok()?;
        let mut negatives = 0u64;
        for (&bucket, &(n, _)) in &self.buckets {
            let (_, edge) = bucket::range(self.kind, bucket)?;
            match u64::try_from(edge.min(max)) {
                Ok(edge) => hdr.record_n(edge, n).ok()?,
                Err(_) => negatives = negatives.saturating_add(n),
            }
        }
        Some((hdr, negatives))
    }

    /// Each bucket that is not empty: its end, which is the same in every run, and where its samples may lie.
    pub fn cells(&self) -> impl Iterator<Item = Cell> {
        self.buckets.iter().filter_map(|(&bucket, &(count, sum))| {
            let (low, high) = bucket::range(self.kind, bucket)?;
            let (_, open_above) = bucket::open(self.kind, bucket);
            let edge = if open_above { low } else { high };
            // The kernel's sum may have wrapped.
            let mean = Some(sum / i128::from(count)).filter(|mean| (low..=high).contains(mean)).unwrap_or(edge);
            let closed = bucket::open(self.kind, bucket) == (false, false);
            let reach = if closed { (mean - low).min(high - mean) } else { 0 };
            Some(Cell { edge, mean, reach, count })
        })
    }

    /// All buckets from the first to the last that is not empty, the empty ones between them too.
    pub fn rows(&self) -> impl Iterator<Item = Bucket> {
        let first = self.buckets.first_key_value().map_or(0, |(&bucket, _)| bucket);
        let end = self.buckets.last_key_value().map_or(0, |(&bucket, _)| bucket + 1);
        (first..end).filter_map(|bucket| {
            let (low, high) = bucket::range(self.kind, bucket)?;
            let (open_below, open_above) = bucket::open(self.kind, bucket);
            let count = self.buckets.get(&bucket).map_or(0, |(n, _)| *n);
            Some(Bucket { low: (!open_below).then_some(low), high: (!open_above).then_some(high), count })
        })
    }

    /// The bounds of the samples of one bucket: its edges, drawn in as far as the sum of its samples proves it. That
    /// fails where the kernel's 64-bit sum wrapped, or was read between two updates; then the edges hold.
    fn bounds(&self, bucket: u32, n: u64, sum: i128) -> (i128, i128) {
        let (low, high) = bucket::range(self.kind, bucket).unwrap_or_default();
        let n = i128::from(n);
        let (Some(least), Some(most)) = (low.checked_mul(n), high.checked_mul(n)) else {
            return (low, high);
        };
        if sum < least || sum > most {
            return (low, high);
        }
        ((sum - (most - high)).max(low), (sum - (least - low)).min(high))
    }

    /// The upper edge of the bucket that holds the sample of this rank, counted from 1.
    fn edge(&self, rank: u64) -> Option<i128> {
        let mut seen = 0u64;
        let holds = |(_, (n, _)): &(&u32, &(u64, i128))| {
            seen = seen.saturating_add(*n);
            seen >= rank
        };
        let (bucket, _) = self.buckets.iter().find(holds)?;
        bucket::range(self.kind, *bucket).map(|(_, high)| high)
    }
}

/// Which sample, counted from 1, is the quantile `q` of `total`: the first that `q * total` samples do not exceed.
fn rank(q: f64, total: u64) -> u64 {
    let exact = q.clamp(0.0, 1.0) * total as f64;
    // 0.07 * 100.0 is 7.000000000000001, and rounded up it would be the eighth sample.
    let near = exact.round();
    let rank = if (exact - near).abs() <= near * 4.0 * f64::EPSILON { near } else { exact.ceil() };
    (rank as u64).clamp(1, total.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(kind: Kind, values: &[i128]) -> Histogram {
        let mut histogram = Histogram::new(kind);
        values.iter().for_each(|value| histogram.record(*value));
        histogram
    }

    const SHARES: [f64; 9] = [0.0, 0.07, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1.0];

    /// Pseudo-random values of up to `bits` bits, sorted.
    fn sorted(bits: u32) -> Vec<i128> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut values = Vec::from_iter((0..997).map(|i| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            i128::from(state >> (64 - bits) >> (i % bits))
        }));
        values.sort_unstable();
        values
    }

    #[test]
    fn quantiles_are_never_below_the_truth_and_at_most_a_64th_above() {
        for bits in [7, 12, 31, 63, 64] {
            let values = sorted(bits);
            let histogram = histogram(Kind::Quantiles, &values);
            for q in SHARES {
                let truth = values[rank(q, 997) as usize - 1];
                let got = histogram.quantile(q).unwrap();
                assert!(got >= truth && (got - truth) * 64 <= truth, "{bits} bits, {q}: {got} for {truth}");
            }
        }
    }

    #[test]
    fn hdr_quantile_is_the_upper_edge_of_our_bucket() {
        let histogram = histogram(Kind::Quantiles, &sorted(64));
        for q in SHARES {
            let edge = histogram.edge(rank(q, 997)).unwrap().min(histogram.max().unwrap());
            assert_eq!(histogram.quantile(q), Some(edge), "{q}");
        }
    }

    #[test]
    fn hist_and_lhist_quantiles_stay_within_their_bucket() {
        let (values, lhist) = (sorted(20), Kind::LHist { min: 0, max: 1 << 20, step: 1 << 12 });
        for q in SHARES {
            let truth = values[rank(q, 997) as usize - 1];
            let got = histogram(Kind::Hist, &values).quantile(q).unwrap();
            assert!(got >= truth && got < 2 * truth.max(1), "{q}: {got} for {truth}");
            let got = histogram(lhist, &values).quantile(q).unwrap();
            assert!(got >= truth && got - truth < 1 << 12, "{q}: {got} for {truth}");
        }
    }

    #[test]
    fn negative_values_count_below_the_others() {
        let histogram = histogram(Kind::Quantiles, &[-7, -1, 5, 1000]);
        assert_eq!([0.5, 0.75, 1.0].map(|q| histogram.quantile(q)), [Some(-1), Some(5), Some(1000)]);
        assert_eq!(histogram.to_hdr().map(|(hdr, negatives)| (hdr.len(), negatives)), Some((2, 2)));
    }

    #[test]
    fn sums_draw_the_extremes_in() {
        let one_each = histogram(Kind::Hist, &[70, 1000]);
        assert_eq!((one_each.min(), one_each.max(), one_each.quantile(1.0)), (Some(70), Some(1000), Some(1000)));
        let overflow = histogram(Kind::LHist { min: 0, max: 100, step: 10 }, &[100, 5000]);
        assert_eq!((overflow.min(), overflow.max()), (Some(100), Some(5000)));
    }

    #[test]
    fn wrapped_sum_leaves_the_edges() {
        let mut histogram = Histogram::new(Kind::Hist);
        histogram.add(65, 2, -2);
        assert_eq!((histogram.min(), histogram.max()), (Some(1 << 63), Some(u64::MAX.into())));
    }

    #[test]
    fn empty_histogram_has_no_values() {
        let empty = Histogram::new(Kind::Quantiles);
        assert_eq!((empty.quantile(0.5), empty.mean(), empty.min(), empty.rows().count()), (None, None, None, 0));
    }

    #[test]
    fn rows_fill_the_gaps_and_open_ends_have_no_edge() {
        let rows = Vec::from_iter(histogram(Kind::LHist { min: 0, max: 30, step: 10 }, &[-5, 20, 20, 30]).rows());
        let bucket = |low, high, count| Bucket { low, high, count };
        let [below, above] = [bucket(None, Some(-1), 1), bucket(Some(30), None, 1)];
        let inner = [(0, 9, 0), (10, 19, 0), (20, 29, 2)].map(|(low, high, n)| bucket(Some(low), Some(high), n));
        assert_eq!(rows, [&[below], &inner[..], &[above]].concat());
    }

    #[test]
    fn merge_adds_samples_and_rejects_other_buckets() {
        let mut all = histogram(Kind::Hist, &[1, 2]);
        assert!(all.merge(&histogram(Kind::Hist, &[2, 300])) && !all.merge(&Histogram::new(Kind::Quantiles)));
        assert_eq!((all.count(), all.sum()), (4, 305));
        assert!(!all.add(66, 1, 1), "hist has no bucket 66");
    }
}
