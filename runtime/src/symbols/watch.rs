//! Processes that start, and map code, while we look: so that one that lived for some milliseconds is still known.
//! Needs CAP_PERFMON, or kernel.perf_event_paranoid below 1.

use super::files::Files;
use super::processes::Processes;
use super::records::{self, Event, Record};
use crate::kernel::perf_ring::PerfRing;
use crate::kernel::sys;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// The rings of all CPUs.
pub struct Watch {
    rings: Vec<PerfRing>,
    /// Not yet told: older records of other CPUs may follow.
    waiting: Vec<Record>,
    lost: u64,
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// The kernel's: no privilege, no memory that may be locked.
    pub fn start() -> io::Result<Watch> {
        let rings = sys::online_cpus()?.into_iter().map(PerfRing::open).collect::<io::Result<_>>()?;
        Ok(Watch { rings, waiting: Vec::new(), lost: 0 })
    }

    /// Tells `processes` what happened since the last time.
    pub fn catch_up(&mut self, processes: &mut Processes, files: &mut Files) {
        self.read();
        let newest = self.waiting.iter().map(|record| record.time).max();
        // What happened before the newest of these is in some ring by now: the second reading has it.
        self.read();
        self.waiting.sort_by_key(|record| record.time);
        let done = self.waiting.partition_point(|record| Some(record.time) <= newest);
        for Record { event, .. } in self.waiting.drain(..done) {
            match event {
                Event::Lost(count) => self.lost += count,
                event => processes.happened(event, files),
            }
        }
    }

    /// How many records found no room.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// What becomes readable when something happens.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rings.iter().map(AsFd::as_fd)
    }

    fn read(&mut self) {
        let mut bytes = Vec::new();
        for ring in &mut self.rings {
            ring.read(&mut bytes);
            self.waiting.extend(records::records(&bytes));
            bytes.clear();
        }
    }
}
