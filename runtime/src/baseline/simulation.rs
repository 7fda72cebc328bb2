//! How often comparisons err: samples of known distributions, from a generator with a fixed seed.

use super::comparison::{Comparison, Rules};
use super::samples::Samples;
use super::series::Series;
use crate::aggregate::Kind;
use crate::aggregate::histogram::Histogram;

/// Comparisons of each distribution.
const TRIALS: u32 = 2_003;
/// Any difference would do: the test alone keeps errors rare.
const RULES: Rules = Rules { alpha: 0.01, tolerance: 0.0 };

/// xorshift64*, after Vigna.
struct Random(u64);

impl Random {
    /// Above 0, at most 1.
    fn share(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

fn exponential(random: &mut Random) -> f64 {
    -1_000.0 * random.share().ln()
}

/// A tail so heavy that its mean is infinite.
fn pareto(random: &mut Random) -> f64 {
    100.0 / random.share()
}

/// Two humps: hits of a cache, and one in ten that misses.
fn humps(random: &mut Random) -> f64 {
    let base = if random.share() < 0.1 { 50_000.0 } else { 400.0 };
    base * (0.5 + random.share())
}

/// Five values and no others.
fn discrete(random: &mut Random) -> f64 {
    (random.share() * 5.0).ceil()
}

type Distribution = fn(&mut Random) -> f64;

/// One series, as the kernel would have counted it; `Kind::Count`: as a stream.
fn series(random: &mut Random, of: Distribution, kind: Kind, n: u32, slower: f64) -> [Series; 1] {
    let mut streamed = Samples::default();
    let mut histogram = Histogram::new(kind);
    for _ in 0..n {
        let value = (of(random) * slower) as i128;
        match kind {
            Kind::Count => streamed.record(value),
            _ => histogram.record(value),
        }
    }
    let samples = if kind == Kind::Count { streamed } else { Samples::of(&histogram) };
    [Series { title: "us".into(), key: String::new(), kind: kind.name().into(), samples }]
}

/// The share of comparisons that call something worse.
fn alarms(of: Distribution, kind: Kind, sizes: [u32; 2], slower: f64, trials: u32, rules: Rules) -> f64 {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let trial = |_: &u32| {
        let before = series(&mut random, of, kind, sizes[0], 1.0);
        let now = series(&mut random, of, kind, sizes[1], slower);
        Comparison::of(&before, &now, rules).is_worse()
    };
    (0..trials).filter(trial).count() as f64 / f64::from(trials)
}

const LHIST: Kind = Kind::LHist { min: 0, max: 5_000, step: 100 };

#[test]
fn equal_distributions_are_called_worse_no_more_often_than_stated() {
    let cases: [(Distribution, Kind, [u32; 2]); 7] = [
        (exponential, Kind::Count, [503, 503]),
        (exponential, Kind::Quantiles, [1_009, 251]),
        (pareto, Kind::Count, [251, 1_009]),
        (pareto, Kind::Hist, [503, 503]),
        (exponential, LHIST, [503, 503]),
        (humps, Kind::Quantiles, [503, 503]),
        (discrete, Kind::Count, [503, 251]),
    ];
    for (n, (of, kind, sizes)) in cases.into_iter().enumerate() {
        let rate = alarms(of, kind, sizes, 1.0, TRIALS, RULES);
        println!("{:.2} % of case {n}", 100.0 * rate);
        assert!(rate <= RULES.alpha, "case {n}: {rate}");
        // A test that never errs finds nothing either: of these, the fine ones do err.
        assert!(rate > 0.0 || kind.has_buckets() || n == 6, "case {n}: {rate}");
    }
}

#[test]
fn a_fifth_slower_is_found_where_samples_suffice() {
    for (of, kind) in
        [(exponential as Distribution, Kind::Count), (exponential, Kind::Quantiles), (pareto, Kind::Quantiles)]
    {
        let found = alarms(of, kind, [5_003, 5_003], 1.2, 101, Rules::default());
        assert!(found > 0.95, "{found}");
    }
    let few = alarms(exponential, Kind::Count, [199, 199], 1.2, 101, Rules::default());
    assert!(few < 0.5, "of so few it cannot be known: {few}");
}

#[test]
fn a_fifth_slower_is_found_in_powers_of_two() {
    let found = alarms(exponential, Kind::Hist, [5_003, 5_003], 1.2, 101, Rules::default());
    assert!(found > 0.5, "{found}");
}
