//! Cells: the words that the kernel keeps for one key on one CPU, and the values they add up to. Pure; no privilege.

use super::bucket;
use super::histogram::Histogram;

/// What an aggregation computes, and with it the layout of its cells: 64-bit words of the machine's byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `[n]`
    Count,
    /// `[sum]`
    Sum,
    /// `[n, sum]`
    Avg,
    /// `[n, lowest]`
    Min,
    /// `[n, highest]`
    Max,
    /// `[n, sum, lowest, highest]`
    Stats,
    /// `[sum]`, of those keys that have the greatest: see [`super::heavy`].
    Heavy,
    /// `[n, sum]` for each power of two.
    Hist,
    /// `[n, sum]` for each step. Made by [`Kind::lhist`], which rejects what cannot be drawn.
    LHist { min: i64, max: i64, step: i64 },
    /// `[n, sum]` for each 64th of a power of two.
    Quantiles,
}

impl Kind {
    /// A linear histogram from `min` up to `max`, in steps.
    ///
    /// # Errors
    /// One line for a script diagnostic: an empty range, a step that is not positive, too many buckets.
    pub fn lhist(min: i64, max: i64, step: i64) -> Result<Kind, String> {
        if step <= 0 {
            return Err(format!("`lhist` needs a positive step, got `{step}`"));
        }
        if min >= max {
            return Err(format!("`lhist` needs a minimum below its maximum, got `{min}` and `{max}`"));
        }
        match bucket::steps(min, max, step) {
            steps if steps > bucket::LHIST_LIMIT => Err(format!(
                "`lhist` from `{min}` to `{max}` by `{step}` needs {steps} buckets, at most 1000 are allowed"
            )),
            _ => Ok(Kind::LHist { min, max, step }),
        }
    }

    /// The method of a script that asks for it; also `kind` in the JSON output.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Count => "count",
            Kind::Sum => "sum",
            Kind::Avg => "avg",
            Kind::Min => "min",
            Kind::Max => "max",
            Kind::Stats => "stats",
            Kind::Heavy => "heavy",
            Kind::Hist => "hist",
            Kind::LHist { .. } => "lhist",
            Kind::Quantiles => "quantiles",
        }
    }

    /// Whether the map's key starts with a bucket number.
    pub fn has_buckets(self) -> bool {
        matches!(self, Kind::Hist | Kind::LHist { .. } | Kind::Quantiles)
    }

    /// 64-bit words of one cell.
    pub fn words(self) -> usize {
        match self {
            Kind::Count | Kind::Sum | Kind::Heavy => 1,
            Kind::Stats => 4,
            _ => 2,
        }
    }

    /// Bytes of one cell: the map's value size.
    pub fn cell_size(self) -> usize {
        8 * self.words()
    }
}

/// The cells of one key, added up. Totals are wider than the kernel's, so adding CPUs and runs never wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub n: u64,
    pub sum: i128,
    pub min: i128,
    pub max: i128,
}

impl Default for Cell {
    fn default() -> Self {
        Cell { n: 0, sum: 0, min: i128::MAX, max: i128::MIN }
    }
}

impl Cell {
    /// Adds the cells of all possible CPUs, one behind the other. A last one that is cut short is not counted, nor is
    /// one with `n` 0, whose other words mean nothing.
    pub fn add(&mut self, kind: Kind, unsigned: bool, per_cpu: &[u64]) {
        let wide = |word: u64| {
            if unsigned { i128::from(word) } else { i128::from(word.cast_signed()) }
        };
        for words in per_cpu.chunks_exact(kind.words()) {
            match *words {
                [n] if kind == Kind::Count => self.n = self.n.saturating_add(n),
                [sum] => self.sum += wide(sum),
                [0, ..] => {}
                [n, extreme] if matches!(kind, Kind::Min | Kind::Max) => {
                    let extreme = wide(extreme);
                    self.merge(&Cell { n, sum: 0, min: extreme, max: extreme });
                }
                [n, sum] => self.merge(&Cell { n, sum: wide(sum), ..Cell::default() }),
                [n, sum, min, max] => self.merge(&Cell { n, sum: wide(sum), min: wide(min), max: wide(max) }),
                _ => {}
            }
        }
    }

    /// Adds what was counted elsewhere under the same key.
    pub fn merge(&mut self, other: &Cell) {
        self.n = self.n.saturating_add(other.n);
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// The value; `None` if nothing was added, or if the kind has buckets. A sum does not count what it adds, so it
    /// always has a value.
    pub fn measure(&self, kind: Kind) -> Option<Measure> {
        let Cell { n, sum, min, max } = *self;
        match kind {
            Kind::Sum | Kind::Heavy => Some(Measure::Sum(sum)),
            _ if n == 0 => None,
            Kind::Count => Some(Measure::Count(n)),
            Kind::Avg => Some(Measure::Avg { n, sum }),
            Kind::Min => Some(Measure::Min(min)),
            Kind::Max => Some(Measure::Max(max)),
            Kind::Stats => Some(Measure::Stats { n, sum, min, max }),
            Kind::Hist | Kind::LHist { .. } | Kind::Quantiles => None,
        }
    }
}

/// The value of an aggregation under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    Count(u64),
    Sum(i128),
    Avg { n: u64, sum: i128 },
    Min(i128),
    Max(i128),
    Stats { n: u64, sum: i128, min: i128, max: i128 },
    Histogram(Histogram),
}

impl Measure {
    /// Adds a value of the same kind; returns false, and adds nothing, if the kinds differ.
    pub fn merge(&mut self, other: &Measure) -> bool {
        match (self, other) {
            (Measure::Count(n), Measure::Count(more)) => *n = n.saturating_add(*more),
            (Measure::Sum(sum), Measure::Sum(more)) => *sum += more,
            (Measure::Avg { n, sum }, Measure::Avg { n: count, sum: more }) => {
                (*n, *sum) = (n.saturating_add(*count), *sum + more);
            }
            (Measure::Min(low), Measure::Min(other)) => *low = (*low).min(*other),
            (Measure::Max(high), Measure::Max(other)) => *high = (*high).max(*other),
            (Measure::Stats { n, sum, min, max }, Measure::Stats { n: count, sum: more, min: low, max: high }) => {
                (*n, *sum) = (n.saturating_add(*count), *sum + more);
                (*min, *max) = ((*min).min(*low), (*max).max(*high));
            }
            (Measure::Histogram(histogram), Measure::Histogram(other)) => return histogram.merge(other),
            _ => return false,
        }
        true
    }

    /// How many samples there were; `None` for a sum, a minimum or a maximum.
    pub fn n(&self) -> Option<u64> {
        match self {
            Measure::Count(n) | Measure::Avg { n, .. } | Measure::Stats { n, .. } => Some(*n),
            Measure::Histogram(histogram) => Some(histogram.count()),
            Measure::Sum(_) | Measure::Min(_) | Measure::Max(_) => None,
        }
    }

    /// The mean of the samples, where they were summed and counted.
    pub fn mean(&self) -> Option<f64> {
        match self {
            Measure::Avg { n, sum } | Measure::Stats { n, sum, .. } => (*n > 0).then(|| *sum as f64 / *n as f64),
            Measure::Histogram(histogram) => histogram.mean(),
            _ => None,
        }
    }

    /// What tables are sorted by, in 1/2^20 of the unit so that means keep their order: the number itself, the mean of
    /// an `avg`, the sum of `stats`, the samples of a histogram.
    pub(super) fn rank(&self) -> i128 {
        let scaled = |value: i128| value.saturating_mul(1 << 20);
        match self {
            Measure::Count(n) => scaled((*n).into()),
            Measure::Sum(value) | Measure::Min(value) | Measure::Max(value) => scaled(*value),
            Measure::Avg { n, sum } => scaled(*sum) / i128::from((*n).max(1)),
            Measure::Stats { sum, .. } => scaled(*sum),
            Measure::Histogram(histogram) => scaled(histogram.count().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure(kind: Kind, unsigned: bool, per_cpu: &[u64]) -> Option<Measure> {
        let mut cell = Cell::default();
        cell.add(kind, unsigned, per_cpu);
        cell.measure(kind)
    }

    const MINUS_5: u64 = -5i64 as u64;

    #[test]
    fn count_and_sum_add_the_cpus() {
        assert_eq!(measure(Kind::Count, false, &[3, 0, 20]), Some(Measure::Count(23)));
        assert_eq!(measure(Kind::Sum, false, &[3, MINUS_5, 0]), Some(Measure::Sum(-2)));
        assert_eq!(measure(Kind::Count, false, &[0, 0]), None);
    }

    #[test]
    fn cpu_without_samples_does_not_take_part_in_min_and_max() {
        assert_eq!(measure(Kind::Min, false, &[0, 0, 2, 7, 1, 9]), Some(Measure::Min(7)));
        assert_eq!(measure(Kind::Max, false, &[0, 0, 2, MINUS_5]), Some(Measure::Max(-5)));
        assert_eq!(measure(Kind::Min, false, &[0, 0]), None);
    }

    #[test]
    fn stats_add_up_and_keep_the_extremes() {
        let stats = measure(Kind::Stats, false, &[2, 10, 3, 7, 0, 0, 0, 0, 1, MINUS_5, MINUS_5, MINUS_5]);
        assert_eq!(stats, Some(Measure::Stats { n: 3, sum: 5, min: -5, max: 7 }));
    }

    #[test]
    fn unsigned_totals_do_not_wrap() {
        assert_eq!(measure(Kind::Sum, true, &[u64::MAX, u64::MAX]), Some(Measure::Sum(2 * i128::from(u64::MAX))));
        assert_eq!(measure(Kind::Max, true, &[1, MINUS_5]), Some(Measure::Max(i128::from(MINUS_5))));
    }

    #[test]
    fn cell_cut_short_is_not_counted() {
        assert_eq!(measure(Kind::Avg, false, &[2, 10, 1]), Some(Measure::Avg { n: 2, sum: 10 }));
    }

    #[test]
    fn values_of_two_kinds_do_not_merge() {
        let mut count = Measure::Count(1);
        assert!(!count.merge(&Measure::Sum(1)) && count.merge(&Measure::Count(22)));
        assert_eq!(count, Measure::Count(23));
    }

    #[test]
    fn lhist_that_cannot_be_drawn_is_rejected() {
        assert!(Kind::lhist(0, 2000, 200).is_ok());
        assert_eq!(Kind::lhist(0, 10, 0), Err("`lhist` needs a positive step, got `0`".into()));
        assert!(Kind::lhist(5, 5, 1).is_err() && Kind::lhist(i64::MIN, i64::MAX, 1).is_err());
    }
}
