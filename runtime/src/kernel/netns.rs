//! Network namespaces of others, by the name that `ip netns` gives them or by a path such as /proc/4711/ns/net.

use crate::diagnostic::Diagnostic;
use crate::kernel::load::text;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

/// Source: iproute2; container runtimes keep theirs there too.
const FOLDERS: [&str; 2] = ["/run/netns", "/var/run/docker/netns"];

/// Moves this thread, and it alone, into a network namespace.
///
/// # Errors
/// A *script* diagnostic: there is none of that name; a machine one: no privilege.
pub fn enter(name: &str) -> Result<(), Diagnostic> {
    let candidates: Vec<PathBuf> = match name.contains('/') {
        true => vec![name.into()],
        false => FOLDERS.iter().map(|folder| [folder, name].iter().collect()).collect(),
    };
    let found = candidates.iter().find_map(|path| File::open(path).ok());
    let file = found.ok_or_else(|| {
        Diagnostic::script(format!("no network namespace `{name}`")).help("ip netns      (or a path: /proc/PID/ns/net)")
    })?;
    // SAFETY: takes an open descriptor and a flag; other threads stay where they are.
    if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } == 0 {
        return Ok(());
    }
    let error = text(&io::Error::last_os_error());
    Err(Diagnostic::machine(format!("failed to enter the network namespace `{name}`: {error}"))
        .help("run it with sudo"))
}
