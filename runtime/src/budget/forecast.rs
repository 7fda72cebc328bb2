//! The forecast: what an entry would take of the processors, from how often its programs run in a second, and for how long.

use super::meter::{Meter, in_kernel, nanos};
use super::{Budget, percent};
use crate::diagnostic::Diagnostic;
use crate::kernel::{cost, load};
use crate::report::units::grouped;
use crate::session::Session;
use serde_json::{Value as Json, json};
use std::time::{Duration, Instant};

/// How long an entry is watched; what takes more than the usual budget, for the first part of it only.
const WATCHED: Duration = Duration::from_secs(1);
const FIRST: Duration = Duration::from_millis(20);

/// What programs took while they were watched. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    pub time: u64,
    /// Runs of its programs; of a span those of both ends.
    pub hits: u64,
    /// What the programs took, and what it takes to reach them: see [`super::reach`].
    pub programs: u64,
    pub reach: u64,
    /// Events that would reach the script, where they do.
    pub events: Option<u64>,
}

impl Forecast {
    /// Watches a session of one entry, nobody reads its events; `streams`: they would reach the script. `None`: it is of
    /// iterators, which run once.
    ///
    /// # Errors
    /// A machine diagnostic: the kernel does not count what programs cost (before Linux 5.8, or no CAP_SYS_ADMIN).
    pub fn of(session: &Session, streams: bool) -> Result<Option<Forecast>, Diagnostic> {
        let refused = |error| {
            Diagnostic::machine(format!("the kernel does not count what programs cost: {}", load::text(&error)))
                .help("run as root, on Linux 5.8 or later; a plan without --measure needs no privilege")
        };
        let Some(programs) = session.attached() else { return Ok(None) };
        // The kernel counts for as long as the meter is there.
        let meter = Meter::start(&programs).map_err(refused)?;
        let (began, before) = (Instant::now(), session.trust(0).map_err(refused)?);
        std::thread::sleep(FIRST);
        if meter.read(&programs).kernel_share() <= Budget::usual().share() {
            std::thread::sleep(WATCHED.saturating_sub(began.elapsed()));
        }
        let time = nanos(began.elapsed());
        let runs = |one: &(cost::Cost, u64)| one.0.runs;
        let costs = programs.iter().flat_map(|one| super::meter::locked(one).costs()).collect::<Vec<_>>();
        let after = session.trust(0).map_err(refused)?;
        let passed = |trust: &crate::trust::Trust| trust.seen.saturating_sub(trust.filtered + trust.limited);
        Ok(Some(Forecast {
            time,
            hits: costs.iter().map(runs).sum(),
            programs: costs.iter().map(|one| one.0.nanos).sum(),
            reach: in_kernel(&programs).saturating_sub(costs.iter().map(|one| one.0.nanos).sum()),
            events: streams.then(|| passed(&after).saturating_sub(passed(&before))),
        }))
    }

    /// Of one processor.
    pub fn share(&self) -> f64 {
        (self.programs + self.reach) as f64 / self.time.max(1) as f64
    }

    /// `52,310 hits/s, 212 ns each and 60 ns to reach the program: 1.4 % of a processor; 1,201 events/s come here`.
    pub fn text(&self) -> String {
        let rate = |number: u64| grouped((number as f64 * 1e9 / self.time.max(1) as f64).round() as u64);
        if self.hits == 0 {
            return format!("no hit in {}", crate::report::units::duration(self.time.into()));
        }
        let (each, reach) = (grouped(self.programs / self.hits), grouped(self.reach / self.hits));
        let here = self.events.map(|events| format!("; {} events/s come here", rate(events))).unwrap_or_default();
        let (hits, share) = (rate(self.hits), percent(self.share()));
        format!("{hits} hits/s, {each} ns each and {reach} ns to reach the program: {share} of a processor{here}")
    }

    pub fn json(&self) -> Json {
        json!({
            "measured_ns": self.time, "hits": self.hits, "programs_ns": self.programs, "reach_ns": self.reach,
            "events": self.events, "share": self.share(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forecast_tells_rates_and_its_share_of_a_processor() {
        let forecast =
            Forecast { time: 500_000_000, hits: 10_000, programs: 2_000_000, reach: 600_000, events: Some(23) };
        let text =
            "20,000 hits/s, 200 ns each and 60 ns to reach the program: 0.52 % of a processor; 46 events/s come here";
        assert_eq!(forecast.text(), text);
        assert_eq!(Forecast { hits: 0, events: None, ..forecast }.text(), "no hit in 500ms");
    }
}
