//! Who asks, and who a process becomes: peers of a socket, users, what a process may not do any more.

use crate::confine::capabilities;
use crate::permit::Person;
use caps::{CapSet, Capability};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

/// More groups than anybody is in.
const MOST_GROUPS: usize = 1 << 16;
/// The first descriptor that systemd hands over. Source: sd_listen_fds(3).
const FIRST_HANDED_OVER: i32 = 3;

/// The process at the other end, as it was when it connected, and its user.
///
/// # Errors
/// The kernel's.
pub fn peer(stream: &UnixStream) -> io::Result<(u32, Person)> {
    let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    // SAFETY: `ucred` is plain data, and the kernel writes no more than its length.
    unsafe { option(stream, libc::SO_PEERCRED, std::slice::from_mut(&mut found))? };
    let mut groups = vec![u32::MAX; MOST_GROUPS];
    // SAFETY: numbers, as above.
    let bytes = unsafe { option(stream, libc::SO_PEERGROUPS, &mut groups)? };
    groups.truncate(bytes / size_of::<u32>());
    Ok((found.pid as u32, Person { uid: found.uid, gid: found.gid, groups }))
}

/// How many bytes of `into` the kernel has written.
///
/// # Safety
/// `T` is plain data of which every value is one.
unsafe fn option<T>(stream: &UnixStream, name: i32, into: &mut [T]) -> io::Result<usize> {
    let mut length = size_of_val(into) as libc::socklen_t;
    // SAFETY: the slice is as long as `length` says.
    let done = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, name, into.as_mut_ptr().cast(), &raw mut length)
    };
    if done == 0 { Ok(length as usize) } else { Err(io::Error::last_os_error()) }
}

/// From now on this process is somebody's, with these capabilities and no others. There is one thread.
///
/// # Errors
/// The kernel's: it is not root, or a capability is missing. The process must end then.
pub fn become_person(person: &Person, kept: &[Capability]) -> io::Result<()> {
    let refused = |error: caps::errors::CapsError| io::Error::other(error.to_string());
    caps::clear(None, CapSet::Bounding).map_err(refused)?;
    let check = |done: i32| if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: numbers alone.
    check(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) })?;
    // SAFETY: as many groups as are said.
    check(unsafe { libc::setgroups(person.groups.len(), person.groups.as_ptr()) })?;
    // SAFETY: numbers alone.
    check(unsafe { libc::setresgid(person.gid, person.gid, person.gid) })?;
    // SAFETY: numbers alone.
    check(unsafe { libc::setresuid(person.uid, person.uid, person.uid) })?;
    if !capabilities::keep(kept) {
        return Err(io::Error::other("no capability is left"));
    }
    Ok(())
}

/// From now on this process ends with the one that started it, makes no file larger than nothing, leaves no core behind,
/// and belongs to nobody who would trace it.
pub fn fence() {
    let nothing = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limits and numbers are read; SIGXFSZ is ignored, so that a write says why it failed.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        libc::setrlimit(libc::RLIMIT_FSIZE, &raw const nothing);
        libc::setrlimit(libc::RLIMIT_CORE, &raw const nothing);
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
    }
}

/// The socket that systemd listens at for this process; `None`: it does not.
pub fn handed_over() -> Option<UnixListener> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    if number("LISTEN_PID")? != std::process::id() || number("LISTEN_FDS")? != 1 {
        return None;
    }
    // SAFETY: numbers alone. What is run for somebody is not to have it, too.
    if unsafe { libc::fcntl(FIRST_HANDED_OVER, libc::F_SETFD, libc::FD_CLOEXEC) } != 0 {
        return None;
    }
    // SAFETY: systemd opened it for this process, and nobody else here knows of it.
    let fd = unsafe { OwnedFd::from_raw_fd(FIRST_HANDED_OVER) };
    Some(UnixListener::from(fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_of_a_socket_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let (pid, person) = peer(&one).unwrap();
        // SAFETY: no arguments, cannot fail.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        assert_eq!((pid, person.uid, person.gid), (std::process::id(), uid, gid));
    }
}
