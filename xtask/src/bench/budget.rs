//! The overhead budget: what a workload loses to a costly probe, with a budget and without.

use super::load::{Load, TRACER_CPU};
use super::programs::Programs;
use super::stats::Samples;
use super::table::{Cell, Goal, Row};
use super::tools::Tool;
use super::tracer::Tracer;

const KIND: &str = "read";
const SCRIPT: &str = r#"probe("tracepoint:syscalls:sys_enter_read").filter(pid == {pid}).by(kstack, ustack).count()"#;
/// Seconds until the budget is to hold, and those that are measured then: one moment that the machine itself is held up is
/// little of so many.
const SETTLES: usize = 2;
const MEASURED: usize = 10;
/// Runs with a budget; each must keep it.
const RUNS: u32 = 10;

/// What something got in the way of is told batch by batch: from one second to the next this machine may change its own
/// pace by more than the budget is.
const CALLS: u32 = 256;

/// Rows: the workload alone, what it loses without a tracer, without a budget, with one, and at worst.
///
/// # Errors
/// The load fails, or skep does.
pub fn measure(programs: &Programs, quick: bool) -> Result<Vec<Row>, String> {
    let mut load = Load::hindered(programs, KIND, CALLS, 1.0)?;
    let script = SCRIPT.replace("{pid}", &load.pid.to_string());
    let mut alone = Samples::default();
    let [mut untraced, mut unkept, mut kept] = std::array::from_fn(|_| Losses::default());
    let (free, runs) = if quick { (1, 2) } else { (3, RUNS) };
    for run in 0..free + runs {
        let (budget, losses) = if run < free { ("off", &mut unkept) } else { ("1%", &mut kept) };
        let before = Seconds::of(&mut load, 1)?;
        let words = [&programs.skep.to_string_lossy(), "--max-overhead", budget, "-e", &script].map(str::to_owned);
        let tracer = Tracer::start(programs, KIND, Some(TRACER_CPU), &words)?;
        Seconds::of(&mut load, SETTLES)?;
        let watched = Seconds::of(&mut load, MEASURED)?;
        tracer.end()?;
        alone.push(losses.push(&watched, &before, &Seconds::of(&mut load, 1)?));
        if run >= free {
            // What the machine itself does to such a measurement.
            let before = Seconds::of(&mut load, 1)?;
            Seconds::of(&mut load, SETTLES)?;
            let watched = Seconds::of(&mut load, MEASURED)?;
            untraced.push(&watched, &before, &Seconds::of(&mut load, 1)?);
        }
    }
    let worst = |losses: &Losses| losses.slow.range().into_iter().map(|(_, most)| most).collect();
    let under = format!("--max-overhead 1%, after {SETTLES} s:");
    let (worst_kept, worst_untraced) = (worst(&kept), worst(&untraced));
    let goal = || vec![Goal::Below(2.0)];
    Ok(vec![
        row("reads of /dev/zero by one thread, alone", "events/s", alone, vec![Goal::Above(1e6)]),
        row("every read by both its stacks, no budget: throughput lost", "%", unkept.whole, vec![]),
        row("no tracer: time lost by slow batches", "%", untraced.slow, vec![]),
        row(&format!("no tracer: the most of {runs} times"), "%", worst_untraced, vec![]),
        row(&format!("{under} time lost by slow batches"), "%", kept.slow, goal()),
        row(&format!("{under} the most of {runs} runs"), "%", worst_kept, goal()),
        row("no tracer: throughput lost, against the seconds before and behind", "%", untraced.whole, vec![]),
        row(&format!("{under} throughput lost, against the seconds before and behind"), "%", kept.whole, vec![]),
    ])
}

/// What the load made in some seconds, and how many of those slow batches took from it.
struct Seconds {
    events: f64,
    seconds: f64,
    lost: f64,
}

impl Seconds {
    fn of(load: &mut Load, count: usize) -> Result<Seconds, String> {
        let mut sum = Seconds { events: 0.0, seconds: 0.0, lost: 0.0 };
        for _ in 0..count {
            let [events, seconds, lost] = load.lose()?;
            sum.events += events;
            sum.seconds += seconds;
            sum.lost += lost;
        }
        Ok(sum)
    }

    fn rate(&self) -> f64 {
        self.events / self.seconds
    }
}

/// Of each run, in %.
#[derive(Default)]
struct Losses {
    /// Time lost by batches that took more than twice as long as those around them.
    slow: Samples,
    /// Throughput, against that before and behind.
    whole: Samples,
}

impl Losses {
    /// Gives the rate before and behind.
    fn push(&mut self, watched: &Seconds, before: &Seconds, behind: &Seconds) -> f64 {
        let base = (before.rate() + behind.rate()) / 2.0;
        self.slow.push(watched.lost / watched.seconds * 100.0);
        self.whole.push((1.0 - watched.rate() / base) * 100.0);
        base
    }
}

fn row(what: &str, unit: &'static str, samples: Samples, goals: Vec<Goal>) -> Row {
    let cells = vec![(Tool::Skep, Cell::Measured(samples))];
    Row { area: "budget", what: what.to_owned(), unit, cells, goals }
}
