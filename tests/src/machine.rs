//! This machine: privileges, programs, folders for one test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// May this process load BPF programs? Says so where it may not, and fails where SKEP_PRIVILEGED=1 promises it.
pub fn privileged() -> bool {
    // SAFETY: no arguments, cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        return true;
    }
    assert!(!must_run(), "SKEP_PRIVILEGED=1, but this is not root");
    println!("skipped: needs CAP_BPF");
    false
}

/// Is a skipped test a failure? CI says so.
pub fn must_run() -> bool {
    std::env::var_os("SKEP_PRIVILEGED").is_some_and(|value| value == "1")
}

/// A program of this machine by its name; says what is skipped where there is none.
///
/// # Panics
/// There is none, and nothing may be skipped.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    if found.is_none() {
        assert!(!must_run(), "needs `{name}`");
        println!("skipped: needs `{name}`");
    }
    found
}

/// Seconds since this machine was started.
pub fn seconds_up() -> u64 {
    let text = std::fs::read_to_string("/proc/uptime").expect("procfs is mounted");
    text.split('.').next().and_then(|seconds| seconds.parse().ok()).expect("it begins with a number")
}

/// This crate's folder.
pub fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A folder that everybody may read and that goes away with this value.
pub struct Folder(pub PathBuf);

impl Folder {
    #[expect(clippy::new_without_default, reason = "it makes something")]
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("skep-tests-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap_or_else(|error| panic!("failed to make {}: {error}", folder.display()));
        Folder(folder)
    }

    /// Writes a file and gives its path.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("failed to write {}: {error}", path.display()));
        path.display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// Blocks of 4096 bytes.
const BLOCKS: usize = 1024;

/// A disk that nobody else reads, of a file: `loop0`.
pub struct Disk(pub String);

impl Disk {
    pub fn new(folder: &Folder) -> Disk {
        let file = folder.0.join("blocks");
        std::fs::write(&file, vec![b'x'; BLOCKS * 4096]).expect("there is room");
        let made = Command::new("losetup").args(["--find", "--show"]).arg(&file).output().expect("losetup starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let path = String::from_utf8_lossy(&made.stdout);
        Disk(path.trim().trim_start_matches("/dev/").to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _gone = Command::new("losetup").args(["--detach", &format!("/dev/{}", self.0)]).status();
    }
}
