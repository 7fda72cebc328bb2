//! The meter: what a run takes of the processors, by the kernel's count of its programs and by our own CPU time.

use crate::kernel::cost;
use crate::kernel::sys;
use crate::session::attached::Attached;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The programs of a run, entry by entry.
pub type Programs = Vec<Arc<Mutex<Attached>>>;

/// What was taken in a span of time, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub time: u64,
    /// Programs, and reaching them: see [`super::reach`].
    pub kernel: u64,
    /// This process: reading, closures, printing.
    pub here: u64,
}

impl Taken {
    /// As a share of one processor.
    pub fn share(&self) -> f64 {
        (self.kernel + self.here) as f64 / self.time.max(1) as f64
    }

    /// The programs alone.
    pub fn kernel_share(&self) -> f64 {
        self.kernel as f64 / self.time.max(1) as f64
    }
}

/// From now on, until it is read; the kernel counts meanwhile, which costs every program of the machine some 60 ns a run.
pub struct Meter {
    began: Instant,
    kernel: u64,
    here: u64,
    _counting: OwnedFd,
}

impl Meter {
    /// # Errors
    /// The kernel does not count: Linux before 5.8, or no CAP_SYS_ADMIN.
    pub fn start(programs: &Programs) -> io::Result<Meter> {
        let counting = cost::count()?;
        Ok(Meter { began: Instant::now(), kernel: in_kernel(programs), here: sys::cpu_time(), _counting: counting })
    }

    pub fn read(&self, programs: &Programs) -> Taken {
        Taken {
            time: nanos(self.began.elapsed()),
            kernel: in_kernel(programs).saturating_sub(self.kernel),
            here: sys::cpu_time().saturating_sub(self.here),
        }
    }
}

/// Time of all programs so far, and of reaching them as often as they were counted.
pub fn in_kernel(programs: &Programs) -> u64 {
    let costs = programs.iter().flat_map(|one| locked(one).costs());
    costs.map(|(cost, reach)| cost.nanos.saturating_add(cost.runs.saturating_mul(reach))).sum()
}

/// Whoever panicked with it left it as it was.
pub fn locked(one: &Mutex<Attached>) -> MutexGuard<'_, Attached> {
    one.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
