//! `skep-workload` of this crate: started by skep (`-c`), or beforehand and stopped (`--pid`).

use crate::skep::binaries;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// No work takes longer on the slowest machine that we know.
const LIMIT: Duration = Duration::from_secs(120);

/// What the workload's threads are called unless they say otherwise.
pub const NAME: &str = "skep-workload";

/// The workload's file.
pub fn path() -> String {
    binaries().join(NAME).display().to_string()
}

/// The command line for `-c`.
pub fn line(verbs: &str) -> String {
    format!("{} {verbs}", path())
}

/// A workload that has started and stopped itself, so that none of its start is counted.
pub struct Workload(Child);

impl Workload {
    #[track_caller]
    pub fn stopped(verbs: &str) -> Workload {
        Workload::stopped_at(&path(), verbs)
    }

    /// From a copy of its file.
    #[track_caller]
    pub fn stopped_at(path: &str, verbs: &str) -> Workload {
        let words = verbs.split_whitespace();
        let mut command = Command::new(path);
        let child = command.arg("stop").args(words).stdin(Stdio::null()).spawn().expect("the workload starts");
        let workload = Workload(child);
        workload.wait_for_stop();
        workload
    }

    #[track_caller]
    fn wait_for_stop(&self) {
        self.stop_within(Duration::from_secs(10));
    }

    #[track_caller]
    fn stop_within(&self, limit: Duration) {
        let since = Instant::now();
        while self.state() != Some('T') {
            assert!(since.elapsed() < limit, "the workload does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// As [`state`].
    pub fn state(&self) -> Option<char> {
        state(self.0.id())
    }

    pub fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// Lets it go and waits for nothing.
    #[track_caller]
    pub fn cont(&self) {
        // SAFETY: signals our own child, which is not waited for yet.
        assert_eq!(unsafe { libc::kill(self.0.id() as i32, libc::SIGCONT) }, 0);
    }

    /// Lets it go until its next `stop`: a run that watches it does not end by itself.
    #[track_caller]
    pub fn go_on(&self) {
        self.cont();
        self.wait_for_stop();
    }

    /// The same of much work.
    #[track_caller]
    pub fn go_on_within(&self, limit: Duration) {
        self.cont();
        self.stop_within(limit);
    }

    /// Lets it go, and does not wait: it is killed when this value is dropped.
    #[track_caller]
    pub fn left(self) -> Workload {
        self.cont();
        self
    }

    /// Lets it go and waits for its end.
    #[track_caller]
    pub fn go(mut self) {
        self.cont();
        let since = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().expect("it is our child") {
                break status;
            }
            assert!(since.elapsed() < LIMIT, "the workload did not end within {LIMIT:?}");
            std::thread::sleep(Duration::from_millis(1));
        };
        assert!(status.success(), "the workload failed: {status}");
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// Sets this when it goes: threads that work until then are waited for, also where the test fails.
pub struct Ending<'a>(pub &'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A process's state as /proc shows it; `None`: there is no such process.
pub fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
