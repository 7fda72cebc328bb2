//! The overhead budget: what a workload loses to a costly probe, with a budget and without.

use super::load::{Load, TRACER_CPU};
use super::programs::{Programs, Tool};
use super::stats::Samples;
use super::table::{Cell, Goal, Row};
use super::tracer::Tracer;

const KIND: &str = "read";
const SCRIPT: &str = r#"probe("tracepoint:syscalls:sys_enter_read").filter(pid == {pid}).by(kstack, ustack).count()"#;
/// Seconds until the budget is to hold, and those that are measured then.
const SETTLES: usize = 2;
const MEASURED: usize = 3;
/// Runs with a budget; each must keep it.
const RUNS: u32 = 10;

/// Rows: the workload alone, what it loses without a tracer, without a budget, with one, and at worst.
///
/// # Errors
/// The load fails, or skep does.
pub fn measure(programs: &Programs, quick: bool) -> Result<Vec<Row>, String> {
    let mut load = Load::paced(programs, KIND, 0, 1.0)?;
    let script = SCRIPT.replace("{pid}", &load.pid.to_string());
    let [mut alone, mut untraced, mut unkept, mut kept] = std::array::from_fn(|_| Samples::default());
    let (free, runs) = if quick { (1, 2) } else { (3, RUNS) };
    for run in 0..free + runs {
        let (budget, losses) = if run < free { ("off", &mut unkept) } else { ("1%", &mut kept) };
        let before = rate(&mut load, 1)?;
        let words = [&programs.skep.to_string_lossy(), "--max-overhead", budget, "-e", &script].map(str::to_owned);
        let tracer = Tracer::start(programs, KIND, Some(TRACER_CPU), &words)?;
        rate(&mut load, SETTLES)?;
        let watched = rate(&mut load, MEASURED)?;
        tracer.end()?;
        let base = (before + rate(&mut load, 1)?) / 2.0;
        alone.push(base);
        losses.push((1.0 - watched / base) * 100.0);
        if run >= free {
            // What the machine itself does to such a measurement.
            let before = rate(&mut load, 1)?;
            rate(&mut load, SETTLES)?;
            let watched = rate(&mut load, MEASURED)?;
            untraced.push((1.0 - watched / ((before + rate(&mut load, 1)?) / 2.0)) * 100.0);
        }
    }
    let worst = kept.range().into_iter().map(|(_, most)| most).collect();
    let under = format!("--max-overhead 1%, after {SETTLES} s: throughput lost");
    Ok(vec![
        row("reads of /dev/zero by one thread, alone", "events/s", alone, vec![Goal::Above(1e6)]),
        row("no tracer, measured as with one: throughput lost", "%", untraced, vec![]),
        row("every read by both its stacks, no budget: throughput lost", "%", unkept, vec![]),
        row(&under, "%", kept, vec![Goal::Below(2.0)]),
        row(&format!("the most of {runs} runs"), "%", worst, vec![Goal::Below(2.0)]),
    ])
}

/// Events a second, over some seconds.
fn rate(load: &mut Load, seconds: usize) -> Result<f64, String> {
    let parts = (0..seconds).map(|_| load.produce()).collect::<Result<Vec<_>, _>>()?;
    Ok(parts.iter().map(|part| part.0 as f64).sum::<f64>() / parts.iter().map(|part| part.1).sum::<f64>())
}

fn row(what: &str, unit: &'static str, samples: Samples, goals: Vec<Goal>) -> Row {
    let cells = vec![(Tool::Skep, Cell::Measured(samples))];
    Row { area: "budget", what: what.to_owned(), unit, cells, goals }
}
