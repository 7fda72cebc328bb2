//! The helper's side of the socket: a thread for each that asks, as many as the machine can bear.

use super::connection::Connection;
use super::log::Log;
use crate::diagnostic::Diagnostic;
use crate::kernel::load::text;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Connections at a time, of everybody together.
const MOST: usize = 64;
/// Of one user: those that wait, and those that run.
const MOST_OF_ONE: usize = 16;

/// What the helper knows.
pub struct Helper {
    /// The file of permits, read anew for each request.
    pub policy: PathBuf,
    pub log: Log,
    /// What is executed for each request: skep itself.
    pub program: PathBuf,
    /// The number of the next request.
    pub next: AtomicU64,
    /// Connections of each user.
    pub connections: Mutex<HashMap<u32, usize>>,
    /// Runs of each user.
    pub runs: Mutex<HashMap<u32, usize>>,
}

impl Helper {
    pub fn new(policy: PathBuf, log: PathBuf, program: PathBuf) -> Helper {
        Helper {
            policy,
            log: Log(log),
            program,
            next: AtomicU64::new(1),
            connections: Mutex::default(),
            runs: Mutex::default(),
        }
    }

    /// Serves whoever connects, for ever.
    ///
    /// # Errors
    /// The kernel's: nobody can connect any more.
    pub fn serve(self, listener: &UnixListener) -> io::Result<()> {
        let helper = Arc::new(self);
        loop {
            let stream = match listener.accept() {
                Ok((stream, _)) => stream,
                // Whoever it was has gone, or there is no room: the next one may have more luck.
                Err(error) if is_passing(&error) => {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let own = helper.clone();
            let serve = move || Connection::serve(&own, &stream);
            // Without a thread the stream is closed: who asks is told that nobody answers.
            let _none = std::thread::Builder::new().name("skep-request".into()).spawn(serve);
        }
    }

    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ECONNABORTED | libc::EINTR | libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN)
    )
}

/// A place among few, given back when it is dropped.
pub struct Seat<'a> {
    taken: &'a Mutex<HashMap<u32, usize>>,
    uid: u32,
}

impl<'a> Seat<'a> {
    /// One of the connections; `None`: there are too many.
    pub fn of_connections(helper: &'a Helper, uid: u32) -> Option<Seat<'a>> {
        Seat::take(&helper.connections, uid, MOST_OF_ONE, MOST)
    }

    /// One of the runs that a permit allows at a time.
    pub fn of_runs(helper: &'a Helper, uid: u32, most: usize) -> Option<Seat<'a>> {
        Seat::take(&helper.runs, uid, most, MOST)
    }

    fn take(taken: &'a Mutex<HashMap<u32, usize>>, uid: u32, most: usize, of_all: usize) -> Option<Seat<'a>> {
        let mut counts = taken.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.values().sum::<usize>() >= of_all || counts.get(&uid).is_some_and(|count| *count >= most) {
            return None;
        }
        *counts.entry(uid).or_default() += 1;
        Some(Seat { taken, uid })
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut counts = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

/// A socket that everybody may connect to: who may have what is in the file of permits.
///
/// # Errors
/// A machine diagnostic: another helper listens there, or the path cannot be made.
pub fn listen(path: &Path) -> Result<UnixListener, Diagnostic> {
    let shown = path.display();
    if UnixStream::connect(path).is_ok() {
        return Err(Diagnostic::machine(format!("a helper listens at `{shown}` already")));
    }
    let bind = || {
        // Left behind by one that was killed.
        if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        Ok(listener)
    };
    bind().map_err(|error: io::Error| {
        Diagnostic::machine(format!("failed to listen at `{shown}`: {}", text(&error))).help("run it with sudo")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_few_and_given_back() {
        let helper = Helper::new("p".into(), "l".into(), "s".into());
        let seats: Vec<_> = (0..2).map(|_| Seat::of_runs(&helper, 7, 2).unwrap()).collect();
        assert!(Seat::of_runs(&helper, 7, 2).is_none() && Seat::of_runs(&helper, 8, 2).is_some());
        drop(seats);
        assert!(Seat::of_runs(&helper, 7, 2).is_some());
        let all: Vec<_> = (0..MOST as u32).filter_map(|uid| Seat::of_connections(&helper, uid)).collect();
        assert_eq!(all.len(), MOST);
        assert!(Seat::of_connections(&helper, 1 << 20).is_none());
    }
}
