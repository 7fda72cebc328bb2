//! What programs cost: the kernel's own count of their runs and time, while somebody asks it to count.
//! Source: include/uapi/linux/bpf.h, `BPF_ENABLE_STATS`; Linux 5.8.

use super::missed;
use super::sys::{self, Command, EnableStats};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Nanoseconds and runs of a program, from when the kernel began to count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub nanos: u64,
    pub runs: u64,
}

/// The kernel counts for as long as this is open: for every program on the machine, some 100 ns a run.
///
/// # Errors
/// The kernel's: no privilege (CAP_SYS_ADMIN).
pub fn count() -> io::Result<OwnedFd> {
    // BPF_STATS_RUN_TIME is 0.
    sys::bpf_fd(Command::EnableStats, &mut EnableStats::default())
}

/// What a program cost so far.
pub fn of(program: BorrowedFd<'_>) -> Cost {
    let (nanos, runs) = missed::run_time(program);
    Cost { nanos, runs }
}
