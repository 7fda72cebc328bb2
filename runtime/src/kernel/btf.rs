//! The running kernel's own type information.

use super::sys::{self, BtfInfo, ById, Command, NextId, ObjectInfo};
use skep_templates::btf::{self, Kind};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

/// A file for the kernel proper, `vmlinux`, and from Linux 5.11 on one for every module.
pub const FOLDER: &str = "/sys/kernel/btf";
const PATH: &str = "/sys/kernel/btf/vmlinux";

pub fn exists() -> bool {
    std::path::Path::new(PATH).exists()
}

/// The typedef that stands for a tracepoint's prototype: what `tp_btf` programs attach to. Looked up without an index of
/// the whole, once each.
///
/// # Errors
/// The kernel has no type information; `None`: it has no such tracepoint.
pub fn tracepoint_id(name: &str) -> io::Result<Option<u32>> {
    static KNOWN: Mutex<BTreeMap<String, Option<u32>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(id) = known.get(name) {
        return Ok(*id);
    }
    let id = find_tracepoint(name)?;
    known.insert(name.to_owned(), id);
    Ok(id)
}

fn find_tracepoint(name: &str) -> io::Result<Option<u32>> {
    let file = std::fs::File::open(PATH)?;
    let name = format!("btf_trace_{name}");
    let length = file.metadata()?.len() as usize;
    // From Linux 6.16 on it can be mapped, which saves a copy of 5 MB.
    if let Some(mapped) = super::sys::Mapped::open(&file, length) {
        return Ok(btf::find_in(mapped.bytes(), Kind::Typedef, &name));
    }
    Ok(btf::find_in(&std::fs::read(PATH)?, Kind::Typedef, &name))
}

/// The type information of a module, as programs for its functions are loaded with it: searched among all that the kernel
/// has. Takes CAP_SYS_ADMIN; Linux 5.11.
///
/// # Errors
/// The kernel's; `NotFound`: no module of this name has any.
pub fn module(name: &str) -> io::Result<OwnedFd> {
    let mut next = NextId::default();
    loop {
        sys::bpf(Command::BtfGetNextId, &mut next)?;
        next.start_id = next.next_id;
        let opened = sys::bpf_fd(Command::BtfGetFdById, &mut ById { id: next.start_id, ..Default::default() });
        let fd = match opened {
            // Gone since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        if is_called(&fd, name)? {
            return Ok(fd);
        }
    }
}

/// Is this the kernel's own information on something of this name? Programs bring theirs, which have none.
fn is_called(fd: &OwnedFd, wanted: &str) -> io::Result<bool> {
    // The longest name of a module, and its NUL. Source: include/linux/moduleparam.h, MODULE_NAME_LEN.
    let mut name = [0u8; 64];
    let mut info = [BtfInfo { name: sys::address_mut(&mut name), name_len: name.len() as u32, ..Default::default() }];
    let info_len = size_of::<BtfInfo>() as u32;
    let mut asked = ObjectInfo { fd: fd.as_raw_fd() as u32, info_len, info: sys::address_mut(&mut info) };
    sys::bpf(Command::ObjectInfo, &mut asked)?;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(info[0].kernel_btf == 1 && name == wanted.as_bytes())
}
