//! Control groups, version 2: from a path to what BPF calls a cgroup's id, and back.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where cgroup v2 is mounted.
///
/// # Errors
/// It is not, or /proc/self/mounts cannot be read.
pub fn mount_point() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let found =
        mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|words| words.get(2) == Some(&"cgroup2"));
    found.map(|words| words[1].into()).ok_or_else(|| io::Error::other("cgroup v2 is not mounted"))
}

/// A cgroup: its id (the folder's inode number), and its depth, 0 for the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cgroup {
    pub id: u64,
    pub level: u32,
}

/// The folder of a cgroup by its path, absolute or below the mount point; it may not exist.
///
/// # Errors
/// No cgroup v2.
pub fn folder(path: &str) -> io::Result<PathBuf> {
    let root = mount_point()?;
    Ok(if Path::new(path).starts_with(&root) { path.into() } else { root.join(path.trim_start_matches('/')) })
}

/// Finds a cgroup by its path, as [`folder`] does.
///
/// # Errors
/// No such folder; no cgroup v2.
pub fn find(path: &str) -> io::Result<Cgroup> {
    let (root, folder) = (mount_point()?, folder(path)?);
    let level = folder.strip_prefix(&root).map_or(0, |below| below.components().count());
    Ok(Cgroup { id: fs::metadata(&folder)?.ino(), level: level as u32 })
}

/// Every cgroup's path below the mount point, by id.
pub fn names() -> HashMap<u64, String> {
    let mut names = HashMap::new();
    let Ok(root) = mount_point() else { return names };
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        if let (Ok(metadata), Ok(below)) = (fs::metadata(&folder), folder.strip_prefix(&root)) {
            names.insert(metadata.ino(), format!("/{}", below.display()));
        }
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        folders.extend(
            entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
        );
    }
    names
}
