//! Reach: what it takes to come to a program and back, which the kernel's count of a program's time leaves out.
//!
//! Measured on a virtual machine (AMD Zen 3, Linux 6.18) as CPU time added to a call by an empty program, less the time
//! that the kernel counts for it; kprobes from the overheads that the kernel's own documentation gives
//! (Documentation/trace/kprobes.rst). They are of the right order elsewhere, and no more than that.

use crate::binary::placement;
use crate::points::Mechanism;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

const TRACEPOINT: u64 = 150;
const RAW_TRACEPOINT: u64 = 60;
const TRAMPOLINE: u64 = 30;
const KPROBE: u64 = 250;
const KRETPROBE: u64 = 500;
/// A breakpoint on an instruction that the kernel emulates, and on one that it single-steps.
const UPROBE: u64 = 750;
const STEPPED: u64 = 12_000;
/// What the way back adds.
const URETPROBE: u64 = 600;
const TIMER: u64 = 1_000;
const PACKET: u64 = 30;

/// Nanoseconds a hit.
pub fn nanos(mechanism: &Mechanism) -> u64 {
    match mechanism {
        Mechanism::Tracepoint { .. } => TRACEPOINT,
        Mechanism::RawTracepoint { .. } | Mechanism::Syscall { .. } => RAW_TRACEPOINT,
        Mechanism::Trampoline { .. } => TRAMPOLINE,
        Mechanism::Kprobe { returns, .. } => {
            if *returns {
                KRETPROBE
            } else {
                KPROBE
            }
        }
        Mechanism::Uprobe { path, offset, returns, .. } => {
            let entry = if is_emulated(path, *offset).unwrap_or(false) { UPROBE } else { STEPPED };
            entry + if *returns { URETPROBE } else { 0 }
        }
        Mechanism::Perf { .. } => TIMER,
        Mechanism::Packets { .. } => PACKET,
        Mechanism::Iterator { .. } => 0,
    }
}

/// Does the kernel emulate the instruction there? A file that cannot be read says nothing.
fn is_emulated(path: &Path, offset: u64) -> Option<bool> {
    let mut bytes = [0; 16];
    let read = File::open(path).ok()?.read_at(&mut bytes, offset).ok()?;
    Some(placement::is_emulated(&bytes[..read]))
}
