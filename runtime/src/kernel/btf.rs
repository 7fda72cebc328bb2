//! The running kernel's own type information.

use skep_templates::btf::{Btf, Kind};
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

/// The typedef that stands for a tracepoint's prototype: what `tp_btf` programs attach to.
pub fn tracepoint_id(btf: &Btf<'_>, name: &str) -> Option<u32> {
    btf.find(Kind::Typedef, &format!("btf_trace_{name}"))
}

/// How many arguments a tracepoint gives to a program.
pub fn tracepoint_arguments(btf: &Btf<'_>, name: &str) -> Option<usize> {
    let pointer = btf.target(tracepoint_id(btf, name)?);
    // The first argument is the tracepoint's own.
    btf.arguments(btf.target(pointer)).len().checked_sub(1)
}
