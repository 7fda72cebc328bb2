//! Comparisons: did quantiles get worse? A test of each that holds whatever the distribution, and an effect that matters.
//!
//! Both runs' samples are put together; the threshold is the end of a bucket near the quantile of all of them. If both
//! are of one distribution, who of those below the threshold is of which run is chance: the number of the present run's
//! is hypergeometric. Source: Mood's median test at another quantile, with the tail of Fisher's exact test (Conover,
//! Practical Nonparametric Statistics, 3rd edition, 3.5 and 4.1).

use super::hypergeometric::Draw;
use super::samples::Samples;
use super::series::Series;
use std::collections::BTreeMap;

/// The quantiles that are compared.
pub const SHARES: [f64; 3] = [0.5, 0.95, 0.99];

/// When a difference counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// How probable it is at most that a comparison calls anything worse where nothing is.
    pub alpha: f64,
    /// A change up to this does not matter, as a share of the baseline's value.
    pub tolerance: f64,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules { alpha: 0.01, tolerance: 0.05 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Worse,
    Same,
    Better,
    /// So few samples that no difference between them could be told from chance.
    TooFew,
}

impl Verdict {
    /// Of two runs of the baseline.
    fn joined(self, other: Verdict) -> Verdict {
        match (self, other) {
            (one, other) if one == other => one,
            (Verdict::TooFew, _) | (_, Verdict::TooFew) => Verdict::TooFew,
            _ => Verdict::Same,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Verdict::Worse => "worse",
            Verdict::Same => "same",
            Verdict::Better => "better",
            Verdict::TooFew => "too few",
        }
    }
}

/// One quantile of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub title: String,
    pub key: String,
    pub share: f64,
    pub before: u64,
    pub now: u64,
    /// Samples of the baseline, and of the present run.
    pub samples: [u64; 2],
    /// How probable so many above the threshold are by chance alone; of the side to which it changed.
    pub p: f64,
    pub verdict: Verdict,
}

impl Row {
    /// As a share of the baseline's value; infinite where that is 0.
    pub fn change(&self) -> f64 {
        match (self.before, self.now) {
            (before, now) if before == now => 0.0,
            (before, now) => now as f64 / before as f64 - 1.0,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    pub rows: Vec<Row>,
    /// Title and key of those that only one of both has.
    pub gone: Vec<(String, String)>,
    pub new: Vec<(String, String)>,
    /// What a test's probability must not exceed: `alpha` shared by all tests.
    pub level: f64,
}

impl Comparison {
    /// Compares what a baseline has with what was measured now.
    pub fn of(before: &[Series], now: &[Series], rules: Rules) -> Comparison {
        let id = |one: &Series| (one.title.clone(), one.key.clone());
        let present: BTreeMap<(String, String), &Series> = now.iter().map(|one| (id(one), one)).collect();
        let known: BTreeMap<(String, String), &Series> = before.iter().map(|one| (id(one), one)).collect();
        let both: Vec<(&Series, &Series)> =
            before.iter().filter_map(|one| Some((one, *present.get(&id(one))?))).collect();
        let sizes = |(one, other): &(&Series, &Series)| [one.samples.count(), other.samples.count()];
        // Sizes alone say which tests can find something: they may be left out without a look at the values.
        let tests = both.iter().flat_map(|pair| SHARES.map(|share| least(sizes(pair), share) <= rules.alpha));
        let level = rules.alpha / tests.filter(|possible| *possible).count().max(1) as f64;
        let row = |pair: &(&Series, &Series), pooled: &Pooled, share| {
            let (one, other) = pair;
            let (samples, quantile) = (sizes(pair), |of: &Samples| of.quantile(share).unwrap_or(0));
            let (before, now) = (quantile(&one.samples), quantile(&other.samples));
            let (title, key) = id(one);
            let p = pooled.p_values(share);
            let row = Row { title, key, share, before, now, samples, p: p.0.min(p.1), verdict: Verdict::Same };
            let change = row.change();
            let verdict = match () {
                () if least(samples, share) > level => Verdict::TooFew,
                () if p.0 <= level && change > rules.tolerance => Verdict::Worse,
                () if p.1 <= level && change < -rules.tolerance => Verdict::Better,
                () => Verdict::Same,
            };
            Row { verdict, ..row }
        };
        let rows = |pair: &(&Series, &Series)| {
            let pooled = Pooled::of(&pair.0.samples, &pair.1.samples);
            SHARES.map(|share| row(pair, &pooled, share))
        };
        Comparison {
            rows: both.iter().flat_map(rows).collect(),
            gone: before.iter().map(id).filter(|one| !present.contains_key(one)).collect(),
            new: now.iter().map(id).filter(|one| !known.contains_key(one)).collect(),
            level,
        }
    }

    /// Compares with several runs: worse is what is worse than each of them, so that what differs between them does not
    /// count. Values are those of the slowest.
    pub fn with_all(runs: &[Vec<Series>], now: &[Series], rules: Rules) -> Comparison {
        let each = runs.iter().map(|run| Comparison::of(run, now, rules));
        each.reduce(Comparison::joined).unwrap_or_else(|| Comparison::of(&[], now, rules))
    }

    fn joined(mut self, other: Comparison) -> Comparison {
        for row in other.rows {
            let same = |one: &&mut Row| (&one.title, &one.key, one.share) == (&row.title, &row.key, row.share);
            match self.rows.iter_mut().find(same) {
                Some(one) => {
                    let (verdict, p) = (one.verdict.joined(row.verdict), one.p.max(row.p));
                    let slower = if row.before > one.before { row } else { one.clone() };
                    *one = Row { verdict, p, ..slower };
                }
                None => self.rows.push(row),
            }
        }
        let judged = |one: &(String, String)| self.rows.iter().any(|row| (&row.title, &row.key) == (&one.0, &one.1));
        let gone = other.gone.into_iter().filter(|one| !self.gone.contains(one));
        self.gone = self.gone.iter().cloned().chain(gone).filter(|one| !judged(one)).collect();
        self.new.retain(|one| other.new.contains(one));
        self.level = self.level.min(other.level);
        self
    }

    pub fn is_worse(&self) -> bool {
        self.rows.iter().any(|row| row.verdict == Verdict::Worse)
    }

    /// Quantiles that could be judged nowhere.
    pub fn unjudged(&self) -> Vec<f64> {
        let judged = |share: f64| self.rows.iter().any(|row| row.share == share && row.verdict != Verdict::TooFew);
        SHARES.into_iter().filter(|share| !judged(*share)).collect()
    }
}

/// The least probability that samples of these sizes can give, when the present ones are all above the quantile.
fn least([before, now]: [u64; 2], share: f64) -> f64 {
    let population = before + now;
    let draw = Draw { population, marked: now, drawn: (share * population as f64).ceil() as u64 };
    if before == 0 || now == 0 { 1.0 } else { draw.at_most(draw.fewest()) }
}

/// Both runs' samples together: at the end of each bucket how many of the baseline's and of the present run's do not
/// exceed it. The last one is left out, which says nothing.
struct Pooled {
    ends: Vec<[u64; 2]>,
    samples: [u64; 2],
}

impl Pooled {
    fn of(before: &Samples, now: &Samples) -> Pooled {
        let mut counts: BTreeMap<u64, [u64; 2]> = BTreeMap::new();
        for (which, samples) in [before, now].into_iter().enumerate() {
            samples.edges.iter().for_each(|(value, n)| counts.entry(*value).or_default()[which] += n);
        }
        let mut samples = [0, 0];
        let mut ends = Vec::with_capacity(counts.len());
        for [one, other] in counts.into_values() {
            samples = [samples[0] + one, samples[1] + other];
            ends.push(samples);
        }
        ends.pop();
        Pooled { ends, samples }
    }

    /// How probable it is that so few of the present run's samples, or that as many, lie below the end that is nearest to
    /// the quantile of all. Which end that is depends on both runs alike, so that it favours neither.
    fn p_values(&self, share: f64) -> (f64, f64) {
        let [before, now] = self.samples;
        let wanted = share * (before + now) as f64;
        let distance = |[one, other]: &[u64; 2]| ((one + other) as f64 - wanted).abs();
        let nearest = self.ends.iter().min_by(|one, other| distance(one).total_cmp(&distance(other)));
        let Some([one, other]) = nearest else { return (1.0, 1.0) };
        let draw = Draw { population: before + now, marked: now, drawn: one + other };
        (draw.at_most(*other), draw.at_least(*other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(title: &str, values: impl IntoIterator<Item = i128>) -> Series {
        let mut samples = Samples::default();
        values.into_iter().for_each(|value| samples.record(value));
        Series { title: title.into(), key: String::new(), kind: "values".into(), samples }
    }

    fn verdicts(before: &Series, now: &Series) -> Vec<Verdict> {
        let (before, now) = (std::slice::from_ref(before), std::slice::from_ref(now));
        Comparison::of(before, now, Rules::default()).rows.iter().map(|row| row.verdict).collect()
    }

    #[test]
    fn slower_and_faster_are_told_from_the_same() {
        let (one, slow) = (series("us", 1_000..3_003), series("us", (1_000..3_003).map(|us| us * 3 / 2)));
        assert_eq!(verdicts(&one, &slow), [Verdict::Worse; 3]);
        assert_eq!(verdicts(&slow, &one), [Verdict::Better; 3]);
        assert_eq!(verdicts(&one, &one), [Verdict::Same; 3]);
    }

    #[test]
    fn change_below_the_tolerance_is_the_same_however_sure_it_is() {
        let (one, near) = (series("us", [1_000; 10_007]), series("us", [1_040; 10_007]));
        let comparison = Comparison::of(std::slice::from_ref(&one), &[near], Rules::default());
        assert!(comparison.rows.iter().all(|row| row.p < 1e-9 && row.verdict == Verdict::Same), "{comparison:?}");
        let far = Comparison::of(&[one], &[series("us", [1_060; 10_007])], Rules::default());
        assert!(far.is_worse());
    }

    #[test]
    fn few_samples_are_not_judged_and_many_of_one_value_are_the_same() {
        assert_eq!(verdicts(&series("us", 1..5), &series("us", 100..104)), [Verdict::TooFew; 3]);
        let few = verdicts(&series("us", 1..102), &series("us", 201..302));
        assert_eq!(few, [Verdict::Worse, Verdict::Worse, Verdict::TooFew]);
        assert_eq!(verdicts(&series("us", [7; 1009]), &series("us", [7; 1013])), [Verdict::Same; 3]);
    }

    #[test]
    fn series_of_one_run_are_named_and_not_judged() {
        let comparison = Comparison::of(&[series("old", 1..100)], &[series("new", 1..100)], Rules::default());
        assert_eq!(comparison.gone, [("old".to_owned(), String::new())]);
        assert_eq!(comparison.new, [("new".to_owned(), String::new())]);
        assert_eq!((comparison.rows.len(), comparison.unjudged()), (0, SHARES.to_vec()));
    }

    #[test]
    fn worse_is_what_is_worse_than_every_run() {
        let us = |from: i128| vec![series("us", from..from + 2_003)];
        let compared = |runs: &[Vec<Series>], now: &[Series]| {
            let comparison = Comparison::with_all(runs, now, Rules::default());
            let [median, ..] = comparison.rows.as_slice() else { panic!("{comparison:?}") };
            (median.verdict, median.before)
        };
        let runs = [us(1_000), us(2_000), us(1_500)];
        assert_eq!(compared(&runs, &us(1_900)), (Verdict::Same, 3_001));
        assert_eq!(compared(&runs, &us(3_000)), (Verdict::Worse, 3_001));
        assert_eq!(compared(&runs, &us(10)), (Verdict::Better, 3_001));
        let some = Comparison::with_all(&[us(1_000), vec![series("other", 1..9)]], &us(1_000), Rules::default());
        assert_eq!((some.gone.len(), some.new.len(), some.rows.len()), (1, 0, 3), "{some:?}");
    }

    #[test]
    fn level_is_shared_by_the_tests_that_can_find_something() {
        let before = [series("a", 1..1_010), series("b", 1..1_010), series("rare", 1..4)];
        let level = Comparison::of(&before, &before, Rules::default()).level;
        assert!((level - 0.01 / 6.0).abs() < 1e-12, "{level}");
    }
}
