//! What was fetched, outside the tree: `${XDG_CACHE_HOME:-~/.cache}/skep-vm/1`.
//!
//! ```text
//! packages/       *.deb as apt verified them
//! kernels/NAME/   vmlinux modules/ release packages SHA256SUMS
//! qemu/           usr/ packages SHA256SUMS
//! work/PID.N/     one guest's files, gone with it
//! ```
//! A folder is made under another name and renamed when it is whole; every use checks it against its SHA256SUMS.

use super::tool;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Another layout is another folder.
const LAYOUT: &str = "skep-vm/1";
const SUMS: &str = "SHA256SUMS";

pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub fn open() -> Result<Cache, String> {
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
        let base = std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()).map(PathBuf::from).or(home);
        let base = base.ok_or("vm: neither XDG_CACHE_HOME nor HOME says where to keep kernels")?;
        Ok(Cache { folder: base.join(LAYOUT) })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A folder of the cache: as it is where it is whole and unchanged, else made anew.
    ///
    /// # Errors
    /// What `make` says, or that the folder is not what was once put there.
    pub fn sealed(&self, name: &str, make: impl FnOnce(&Path) -> Result<(), String>) -> Result<PathBuf, String> {
        let folder = self.path(name);
        if !folder.join(SUMS).is_file() {
            let scratch = self.scratch()?;
            make(&scratch.0)?;
            seal(&scratch.0)?;
            create(folder.parent().unwrap_or(&folder))?;
            // Another process may have been faster; what it made is as good.
            if let Err(error) = fs::rename(&scratch.0, &folder)
                && !folder.join(SUMS).is_file()
            {
                return Err(format!("failed to create {}: {error}", folder.display()));
            }
        }
        let check = ["--check", "--quiet", "--strict", SUMS];
        tool::run(Command::new("sha256sum").current_dir(&folder).args(check)).map_err(|said| {
            format!("{}: not what was fetched; remove it to fetch it again\n{said}", folder.display())
        })?;
        Ok(folder)
    }

    /// An empty folder of this process's own.
    pub fn scratch(&self) -> Result<Scratch, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let work = self.path("work");
        sweep(&work);
        let folder = work.join(format!("{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        create(&folder)?;
        Ok(Scratch(folder))
    }
}

/// A folder that goes away with this value.
pub struct Scratch(pub PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // One that was renamed is not there any more.
        let _gone = fs::remove_dir_all(&self.0);
    }
}

pub fn create(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| format!("failed to create {}: {error}", folder.display()))
}

/// Removes what killed processes have left.
fn sweep(work: &Path) {
    for entry in fs::read_dir(work).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let alive = name.split('.').next().is_some_and(|pid| Path::new("/proc").join(pid).exists());
        if !alive {
            let _gone = fs::remove_dir_all(entry.path());
        }
    }
}

/// Records the hash of every file.
fn seal(folder: &Path) -> Result<(), String> {
    let find = "find . -type f -print0 | sort -z | xargs -0 sha256sum";
    let sums = tool::output(Command::new("sh").current_dir(folder).args(["-c", find]))?;
    fs::write(folder.join(SUMS), sums).map_err(|error| format!("failed to write {SUMS}: {error}"))
}
