//! The hypergeometric distribution: how many of those that are drawn are marked, by chance alone. Pure arithmetic.

/// A population, how many of it are marked, and how many are drawn without being put back.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    pub population: u64,
    pub marked: u64,
    pub drawn: u64,
}

impl Draw {
    /// The fewest that can be marked among those drawn.
    pub fn fewest(self) -> u64 {
        (self.drawn + self.marked).saturating_sub(self.population)
    }

    fn most(self) -> u64 {
        self.marked.min(self.drawn)
    }

    /// The probability that at most `x` of those drawn are marked: the lower tail of Fisher's exact test.
    pub fn at_most(self, x: u64) -> f64 {
        if x >= self.most() {
            return 1.0;
        }
        if x < self.fewest() {
            return 0.0;
        }
        // From the side where terms shrink: what is left out is smaller than what a float can hold.
        let mode = (self.drawn + 1) as f64 * (self.marked + 1) as f64 / (self.population + 2) as f64;
        let tail = if x as f64 <= mode { self.below(x) } else { 1.0 - self.above(x + 1) };
        tail.clamp(0.0, 1.0)
    }

    /// The same for at least `x`: the upper tail.
    pub fn at_least(self, x: u64) -> f64 {
        // Those drawn that are not marked are as many fewer.
        let unmarked = Draw { marked: self.population - self.marked, ..self };
        if x > self.drawn { 0.0 } else { unmarked.at_most(self.drawn - x) }
    }

    /// The sum of the terms from `x` down.
    fn below(self, x: u64) -> f64 {
        let mut term = self.term(x);
        let (mut sum, mut at) = (term, x);
        while at > self.fewest() && term > sum * f64::EPSILON / 16.0 {
            let unmarked = (self.population - self.marked + at - self.drawn) as f64;
            term *= at as f64 * unmarked / ((self.marked - at + 1) as f64 * (self.drawn - at + 1) as f64);
            (sum, at) = (sum + term, at - 1);
        }
        sum
    }

    /// The sum of the terms from `x` up.
    fn above(self, x: u64) -> f64 {
        let mut term = self.term(x);
        let (mut sum, mut at) = (term, x);
        while at < self.most() && term > sum * f64::EPSILON / 16.0 {
            let unmarked = (self.population - self.marked + at + 1 - self.drawn) as f64;
            term *= (self.marked - at) as f64 * (self.drawn - at) as f64 / ((at + 1) as f64 * unmarked);
            (sum, at) = (sum + term, at + 1);
        }
        sum
    }

    fn term(self, x: u64) -> f64 {
        let unmarked = self.population - self.marked;
        let ways = ln_choose(self.marked, x) + ln_choose(unmarked, self.drawn - x);
        (ways - ln_choose(self.population, self.drawn)).exp()
    }
}

fn ln_choose(n: u64, k: u64) -> f64 {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// Stirling's series, whose error is below 1e-13 from 32 on.
fn ln_factorial(n: u64) -> f64 {
    if n < 32 {
        return (2..=n).map(|factor| (factor as f64).ln()).sum();
    }
    let x = n as f64;
    let series = 1.0 / (12.0 * x) - 1.0 / (360.0 * x.powi(3)) + 1.0 / (1260.0 * x.powi(5));
    x * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI * x).ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a few, by counting: all draws as bit masks.
    fn counted(draw: Draw, x: u64) -> f64 {
        let masks = (0u64..1 << draw.population).filter(|mask| u64::from(mask.count_ones()) == draw.drawn);
        let marked = |mask: u64| u64::from((mask & ((1 << draw.marked) - 1)).count_ones());
        let (mut all, mut few) = (0.0, 0.0);
        for mask in masks {
            all += 1.0;
            few += f64::from(u8::from(marked(mask) <= x));
        }
        few / all
    }

    #[test]
    fn tails_are_those_of_counting_all_draws() {
        for (population, marked, drawn) in [(13, 5, 7), (12, 12, 3), (11, 0, 4), (13, 7, 13), (12, 3, 9)] {
            let draw = Draw { population, marked, drawn };
            for x in 0..=drawn {
                let lower = counted(draw, x);
                assert!((draw.at_most(x) - lower).abs() < 1e-12, "{draw:?} {x}");
                let upper = if x == 0 { 1.0 } else { 1.0 - counted(draw, x - 1) };
                assert!((draw.at_least(x) - upper).abs() < 1e-12, "{draw:?} {x}");
            }
        }
    }

    #[test]
    fn tails_of_many_are_those_of_the_normal_distribution() {
        // Half of two million drawn, half marked: a standard deviation is 353.55.
        let draw = Draw { population: 2_000_000, marked: 1_000_000, drawn: 1_000_000 };
        let tail = draw.at_most(500_000 - 1_061);
        assert!((tail - 0.001_35).abs() < 0.000_02, "{tail}");
        assert!((draw.at_most(500_000) - 0.5).abs() < 0.001);
        assert!(draw.at_most(400_000) < 1e-300 && draw.at_most(600_000) > 1.0 - 1e-12);
    }

    #[test]
    fn logarithms_of_factorials_join_where_the_series_begins() {
        let exact: f64 = (2..=40).map(|factor| f64::from(factor).ln()).sum();
        assert!((ln_factorial(40) - exact).abs() < 1e-12);
        assert!((ln_factorial(32) - ln_factorial(31) - 32f64.ln()).abs() < 1e-12);
    }
}
