//! The running kernel's own type information.

use skep_templates::btf::{self, Kind};
use std::io;

/// A file for the kernel proper, `vmlinux`, and from Linux 5.11 on one for every module.
pub const FOLDER: &str = "/sys/kernel/btf";
const PATH: &str = "/sys/kernel/btf/vmlinux";

pub fn exists() -> bool {
    std::path::Path::new(PATH).exists()
}

/// The typedef that stands for a tracepoint's prototype: what `tp_btf` programs attach to. Looked up without an index of
/// the whole.
///
/// # Errors
/// The kernel has no type information; `None`: it has no such tracepoint.
pub fn tracepoint_id(name: &str) -> io::Result<Option<u32>> {
    let file = std::fs::File::open(PATH)?;
    let name = format!("btf_trace_{name}");
    let length = file.metadata()?.len() as usize;
    // From Linux 6.16 on it can be mapped, which saves a copy of 5 MB.
    if let Some(mapped) = super::sys::Mapped::open(&file, length) {
        return Ok(btf::find_in(mapped.bytes(), Kind::Typedef, &name));
    }
    Ok(btf::find_in(&std::fs::read(PATH)?, Kind::Typedef, &name))
}
