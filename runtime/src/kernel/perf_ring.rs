//! What perf tells of processes beside samples: one CPU's ring of records on new processes, programs and mappings.
//! Source: perf_event_open(2), include/uapi/linux/perf_event.h. Linux 5.10; build ids in records since 5.12.

use super::perf;
use super::sys::{self, PerfEvent};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Room for the records of a dozen programs that start while nobody reads.
const BYTES: usize = 64 << 10;
const PAGE: usize = 4096;

/// Offsets in the first page, `struct perf_event_mmap_page`.
const HEAD: usize = 1024;
const TAIL: usize = 1032;

/// The ring of one CPU.
pub struct PerfRing {
    event: OwnedFd,
    pages: NonNull<u8>,
}

// SAFETY: the mapping belongs to this value alone, and no thread-local state does.
unsafe impl Send for PerfRing {}

impl PerfRing {
    /// Records on all processes, on one CPU.
    ///
    /// # Errors
    /// The kernel's: no privilege, no memory that may be locked.
    pub fn open(cpu: u32) -> io::Result<PerfRing> {
        const DUMMY: u64 = 9;
        const TID_AND_TIME: u64 = 1 << 1 | 1 << 2;
        // Bits of `struct perf_event_attr`: exclude_kernel, mmap, comm, task, watermark, sample_id_all, mmap2, comm_exec.
        const TOLD: u64 = 1 << 5 | 1 << 8 | 1 << 9 | 1 << 13 | 1 << 14 | 1 << 18 | 1 << 23 | 1 << 24;
        const BUILD_ID: u64 = 1 << 34;
        let open = |flags| {
            // Wakes after each byte: a process of some milliseconds is worth a look while it lives.
            let (kind, wakeup_events, sample_type) = (perf::SOFTWARE, 1, TID_AND_TIME);
            let mut event = PerfEvent { kind, config: DUMMY, sample_type, flags, wakeup_events, ..Default::default() };
            sys::perf_event_open(&mut event, -1, cpu as i32)
        };
        let event = match open(TOLD | BUILD_ID) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => open(TOLD)?,
            other => other?,
        };
        let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a mapping at an address of the kernel's choice, as long as the drop gives back.
        let pages = unsafe { libc::mmap(std::ptr::null_mut(), PAGE + BYTES, access, shared, event.as_raw_fd(), 0) };
        match NonNull::new(pages.cast()) {
            Some(pages) if pages.as_ptr() != libc::MAP_FAILED.cast() => Ok(PerfRing { event, pages }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Appends what was written since the last time: whole records, each with its header.
    pub fn read(&mut self, into: &mut Vec<u8>) {
        // SAFETY: both lie in the first page, aligned; the kernel changes the head while we look, hence atomics.
        let (head, tail) = unsafe {
            let counter = |offset| AtomicU64::from_ptr(self.pages.as_ptr().add(offset).cast());
            (counter(HEAD), counter(TAIL))
        };
        let (from, to) = (tail.load(Ordering::Relaxed) as usize, head.load(Ordering::Acquire) as usize);
        // Both only grow; the ring holds what lies between.
        let length = to.wrapping_sub(from).min(BYTES);
        let first = length.min(BYTES - from % BYTES);
        for (start, length) in [(from % BYTES, first), (0, length - first)] {
            // SAFETY: within the ring, which lies behind the first page; the kernel writes there only after the tail has
            // moved, below.
            into.extend_from_slice(unsafe {
                std::slice::from_raw_parts(self.pages.as_ptr().add(PAGE + start), length)
            });
        }
        tail.store(to as u64, Ordering::Release);
    }
}

impl AsFd for PerfRing {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Drop for PerfRing {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of this length, that nothing refers to any more.
        unsafe { libc::munmap(self.pages.as_ptr().cast(), PAGE + BYTES) };
    }
}
