//! The pid namespace that this process lives in: numbers of processes are its own, those of BPF are the first one's.

use crate::slot::ir::PidNamespace;
use std::fs;
use std::os::linux::fs::MetadataExt;

/// Source: include/uapi/linux/nsfs.h, enum init_ns_ino.
const FIRST: u64 = 0xefff_fffc;

/// Ours; `None` in the first one, and where /proc does not say.
pub fn own() -> Option<PidNamespace> {
    let file = fs::metadata("/proc/self/ns/pid").ok().filter(|file| file.st_ino() != FIRST)?;
    let device = u64::from(libc::major(file.st_dev())) << 20 | u64::from(libc::minor(file.st_dev()));
    Some(PidNamespace { device, inode: u32::try_from(file.st_ino()).ok()? })
}
