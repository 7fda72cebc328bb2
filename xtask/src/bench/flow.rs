//! A flow: what a load makes while a tracer hands it on, and the CPU time that the tracer takes for it.

use super::load::{Load, TRACER_CPU};
use super::programs::Programs;
use super::tracer::{Ended, Tracer};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// For its last chores of the start, and for what is left to hand on when the load is done.
const DRAIN: Duration = Duration::from_millis(400);

pub struct Flow {
    pub produced: u64,
    /// That the load took.
    pub seconds: f64,
    /// Of the tracer, its start and its end left out.
    pub cpu_seconds: f64,
    pub ended: Ended,
}

impl Flow {
    /// Of one run of the load; the tracer writes to `output`, or to a file in memory.
    ///
    /// # Errors
    /// The load fails, or the tracer does.
    pub fn of(
        programs: &Programs,
        kind: &str,
        load: &mut Load,
        command: &[String],
        output: Option<&Path>,
    ) -> Result<Flow, String> {
        let tracer = Tracer::start_into(programs, kind, Some(TRACER_CPU), command, output)?;
        sleep(DRAIN);
        let before = tracer.cpu_time()?;
        let (produced, seconds) = load.produce()?;
        sleep(DRAIN);
        let cpu_seconds = tracer.cpu_time()? - before;
        Ok(Flow { produced, seconds, cpu_seconds, ended: tracer.end()? })
    }

    /// CPU time of the tracer for an event, in microseconds.
    pub fn cost_us(&self) -> f64 {
        self.cpu_seconds / self.produced as f64 * 1e6
    }
}
