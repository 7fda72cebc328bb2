//! Events that came while the kernel could not run a program for them: it counts them, by program and by link.
//!
//! A function that is called inside a program's own run; a kretprobe whose places for calls that did not return yet are
//! all taken. Kernels that do not count them yet say none. Source: include/uapi/linux/bpf.h.

use super::map::{self, Map, Shape};
use super::sys::{self, Command, ObjectInfo};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct bpf_prog_info` up to `recursion_misses`, in words of 64 bits; Linux 5.12, for most kinds later.
const PROGRAM: usize = 27;
/// `struct bpf_link_info` up to `missed` and `cookie` of a kprobe.
const LINK: usize = 8;
/// `enum bpf_link_type`.
const PERF_EVENT: u32 = 7;
const KPROBE_MULTI: u32 = 8;
/// `enum bpf_perf_event_type`: a kprobe, a kretprobe.
const KPROBES: [u32; 2] = [3, 4];

/// How often a program was not run because it, or one of its kind, ran already.
pub fn by_program(program: BorrowedFd<'_>) -> u64 {
    ask::<PROGRAM>(program).map_or(0, |info| info[PROGRAM - 1])
}

/// Nanoseconds that a program ran and how often, as far as the kernel was asked to count; see [`super::cost`].
pub fn run_time(program: BorrowedFd<'_>) -> (u64, u64) {
    ask::<PROGRAM>(program).map_or((0, 0), |info| (info[PROGRAM - 3], info[PROGRAM - 2]))
}

/// How often a link's kprobes were not heard; Linux 6.7. None for what is no link, or links something else.
pub fn by_link(link: BorrowedFd<'_>) -> u64 {
    let Some(info) = ask::<LINK>(link) else { return 0 };
    match (info[0] as u32, info[2] as u32) {
        (KPROBE_MULTI, _) => info[4],
        (PERF_EVENT, kind) if KPROBES.contains(&kind) => info[6],
        _ => 0,
    }
}

/// What an older kernel does not know of stays zero.
fn ask<const WORDS: usize>(object: BorrowedFd<'_>) -> Option<[u64; WORDS]> {
    let mut info = [0u64; WORDS];
    let info_len = size_of_val(&info) as u32;
    let mut asked = ObjectInfo { fd: object.as_raw_fd() as u32, info_len, info: sys::address_mut(&mut info) };
    sys::bpf(Command::ObjectInfo, &mut asked).ok().map(|_| info)
}

/// The map in which a program of a kernel that does not count notes that it runs, and what it missed: `struct run`.
pub const RUNS: &str = "runs";

/// For every processor.
///
/// # Errors
/// The kernel's.
pub fn runs() -> io::Result<Map> {
    let cpus = sys::possible_cpus()? as u32;
    Map::create(RUNS, Shape { map_type: map::ARRAY, key_size: 4, value_size: 16, max_entries: cpus })
}

/// What programs with this map missed.
///
/// # Errors
/// The kernel's.
pub fn in_runs(runs: &Map) -> io::Result<u64> {
    let missed = |(_, run): &(Vec<u8>, Vec<u8>)| {
        run.get(8..16).and_then(|word| word.try_into().ok()).map_or(0, u64::from_ne_bytes)
    };
    Ok(runs.entries()?.iter().map(missed).sum())
}
