//! Samples of one figure, and their median.

/// What was measured, in the order of the repetitions, and how often it could not be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    values: Vec<f64>,
    pub failures: u32,
}

/// A tracer that fails as often is left alone.
const FAILURES: u32 = 2;

impl Samples {
    pub fn push(&mut self, sample: f64) {
        self.values.push(sample);
    }

    /// Notes a failure and says why.
    pub fn fail(&mut self, who: &str, message: &str) {
        eprintln!("{who}: {message}");
        self.failures += 1;
    }

    pub fn is_given_up(&self) -> bool {
        self.failures >= FAILURES
    }

    /// The middle sample, or the mean of the two in the middle; `None` without samples.
    pub fn median(&self) -> Option<f64> {
        let sorted = self.sorted();
        let upper = *sorted.get(sorted.len() / 2)?;
        Some(if sorted.len() % 2 == 1 { upper } else { (upper + sorted[sorted.len() / 2 - 1]) / 2.0 })
    }

    /// Smallest and largest.
    pub fn range(&self) -> Option<(f64, f64)> {
        let sorted = self.sorted();
        Some((*sorted.first()?, *sorted.last()?))
    }

    /// In another unit.
    pub fn scaled(&self, factor: f64) -> Samples {
        Samples { values: self.values.iter().map(|value| value * factor).collect(), failures: self.failures }
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Samples {
        Samples { values: samples.into_iter().collect(), failures: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_an_even_number_is_between_the_middle_two() {
        let samples: Samples = [9.0, 1.0, 3.0, 5.0].into_iter().collect();
        assert_eq!(samples.median(), Some(4.0));
        assert_eq!(samples.range(), Some((1.0, 9.0)));
        assert_eq!(Samples::default().median(), None);
    }
}
