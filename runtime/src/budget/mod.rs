//! The overhead budget: how much of a processor a run may take, in the kernel and here, and what becomes of one that
//! takes more. It is measured while it runs ([`meter`]); above its budget it is attached a part of the time only, and
//! where that does not help, not at all ([`keeper`]).

pub mod forecast;
pub mod hot;
pub mod keeper;
pub mod limits;
pub mod meter;
pub mod reach;

use std::fmt;
use std::num::NonZeroUsize;

/// A share of one processor in percent: 100 is all of it, as top(1) counts.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Budget(f64);

/// Percent of each processor, where nobody said anything.
const USUAL: f64 = 25.0;

impl Budget {
    /// For scripts of the library and for sessions: a quarter of all processors.
    pub fn usual() -> Budget {
        Budget(USUAL * std::thread::available_parallelism().map_or(1, NonZeroUsize::get) as f64)
    }

    pub const fn percent(percent: f64) -> Budget {
        Budget(percent)
    }

    /// 1.0 is all of a processor.
    pub fn share(self) -> f64 {
        self.0 / 100.0
    }
}

impl Allowance {
    /// `1%`, `0.5 %`; `off`: no budget.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Allowance, String> {
        let text = text.trim();
        if text == "off" {
            return Ok(Allowance::Off);
        }
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        match number.parse::<f64>() {
            Ok(percent) if percent.is_finite() && percent > 0.0 && percent <= 1e6 => Ok(Allowance::Is(Budget(percent))),
            _ => Err("a share of one processor is such as 1%, 0.5% or 200%; off: none is kept".to_owned()),
        }
    }
}

/// The budget of a run, and how it is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    pub budget: Budget,
    /// Looks that may find more than it, before anything is done.
    pub tolerates: u32,
}

/// Of a budget that nobody asked for: what begins takes more for a while, and a burst is no reason to lose events.
const TOLERATES: u32 = 5;

/// What the command line says of the budget.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Allowance {
    /// Nothing: hot attach points have the usual budget, others none.
    #[default]
    Unsaid,
    Off,
    /// The usual budget, which nobody asked for.
    Usual,
    Is(Budget),
}

impl Allowance {
    /// The budget of a run, which watches a hot attach point or not.
    pub fn budget(self, hot: bool) -> Option<Kept> {
        let usual = Kept { budget: Budget::usual(), tolerates: TOLERATES };
        match self {
            Allowance::Unsaid => hot.then_some(usual),
            Allowance::Usual => Some(usual),
            Allowance::Off => None,
            Allowance::Is(budget) => Some(Kept { budget, tolerates: 0 }),
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// `0.84 %`, `31 %`.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent >= 9.95 => format!("{percent:.0} %"),
        percent if percent >= 0.995 => format!("{percent:.1} %"),
        percent => format!("{percent:.2} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_is_a_share_of_a_processor_or_off() {
        assert_eq!(Allowance::parse("1%"), Ok(Allowance::Is(Budget(1.0))));
        assert_eq!(Allowance::parse(" 0.5 % "), Ok(Allowance::Is(Budget(0.5))));
        assert_eq!(Allowance::parse("200"), Ok(Allowance::Is(Budget(200.0))));
        assert_eq!(Allowance::parse("off"), Ok(Allowance::Off));
        for wrong in ["", "%", "0", "-1%", "nan", "inf", "1e9%", "a bit"] {
            assert!(Allowance::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn percents_have_two_digits_that_matter() {
        assert_eq!(
            [0.0, 0.0084, 0.00995, 0.031, 0.0995, 1.5].map(percent),
            ["0.00 %", "0.84 %", "1.0 %", "3.1 %", "10 %", "150 %"]
        );
    }
}
