//! The running kernel's own type information.

use skep_templates::btf::{self, Btf, Kind};
use std::borrow::Cow;
use std::io;

const PATH: &str = "/sys/kernel/btf/vmlinux";

/// Reads and indexes it: a few milliseconds, so only where a plan needs it.
///
/// # Errors
/// The kernel has none (CONFIG_DEBUG_INFO_BTF), or it is malformed.
pub fn kernel() -> io::Result<Btf<'static>> {
    Btf::parse(Cow::Owned(std::fs::read(PATH)?)).map_err(io::Error::other)
}

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

/// How many arguments a tracepoint gives to a program.
pub fn tracepoint_arguments(btf: &Btf<'_>, name: &str) -> Option<usize> {
    let typedef = btf.find(Kind::Typedef, &format!("btf_trace_{name}"))?;
    let pointer = btf.target(typedef);
    // The first argument is the tracepoint's own.
    btf.arguments(btf.target(pointer)).len().checked_sub(1)
}
