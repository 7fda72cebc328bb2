//! One guest job on several kernels, a few at a time.

use super::binaries::Binaries;
use super::cache::Cache;
use super::fetch::{self, Fetched};
use super::guest::{Ended, Guest};
use super::kernels::Kernel;
use std::fmt;
use std::sync::Mutex;
use std::time::Instant;

/// One CPU each: two such guests keep two CPUs busy better than one guest with two.
const AT_ONCE: usize = 2;

/// One kernel's run.
pub struct Run {
    pub kernel: Fetched,
    pub ended: Ended,
    pub output: String,
    pub errors: String,
    seconds: u64,
}

/// What it ran on, and how it ended.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fetched { kernel, release, package, .. } = &self.kernel;
        write!(f, "{:<7} Linux {release} ({package}): status {}, {} s", kernel.name, self.ended.status, self.seconds)
    }
}

/// Runs the guest on every kernel; the runs are in the same order.
///
/// # Errors
/// A kernel or the emulator cannot be had, or a guest cannot be started.
pub fn run_all(cache: &Cache, kernels: &[Kernel], binaries: &Binaries, guest: &Guest) -> Result<Vec<Run>, String> {
    let qemu = fetch::qemu(cache)?;
    // All of them before the first boot: a matrix without one of its kernels is none.
    let fetched = kernels.iter().rev().map(|kernel| fetch::kernel(cache, *kernel)).collect::<Result<Vec<_>, _>>()?;
    let (queue, runs) = (Mutex::new(fetched), Mutex::new(Vec::new()));
    let next = || queue.lock().ok()?.pop();
    let worker = || -> Result<(), String> {
        while let Some(kernel) = next() {
            let (since, mut output, mut errors) = (Instant::now(), Vec::new(), Vec::new());
            let ended = guest.run(cache, &qemu, &kernel, binaries, &mut output, &mut errors)?;
            let [output, errors] = [output, errors].map(|text| String::from_utf8_lossy(&text).into_owned());
            let run = Run { kernel, ended, output, errors, seconds: since.elapsed().as_secs() };
            println!("{run}");
            if run.ended.status != 0 {
                eprintln!("== {}\n{}{}", run.kernel.kernel, run.output, run.errors);
                eprintln!("{}", run.ended.console.as_deref().unwrap_or_default());
            }
            runs.lock().map_err(|_| "vm: a worker panicked")?.push(run);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "vm: a worker panicked".to_owned())?)
    })?;
    let mut runs = runs.into_inner().map_err(|_| "vm: a worker panicked")?;
    runs.sort_by_key(|run| kernels.iter().position(|kernel| *kernel == run.kernel.kernel));
    Ok(runs)
}
