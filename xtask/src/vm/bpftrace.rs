//! A root folder with Debian's newest bpftrace, to compare with: made once by debootstrap, nothing is installed here.

use super::apt::Archive;
use super::cache::{Cache, create};
use super::tool;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SUITE: &str = "sid";
const PROGRAM: &str = "usr/bin/bpftrace";

pub struct Bpftrace {
    pub root: PathBuf,
    /// Of its package.
    pub version: String,
}

/// # Errors
/// It cannot be had: no debootstrap, no network, not root.
pub fn tree(cache: &Cache) -> Result<Bpftrace, String> {
    let folder = cache.sealed("bpftrace", make)?;
    let version = folder.join("version");
    let version =
        fs::read_to_string(&version).map_err(|error| format!("failed to read {}: {error}", version.display()))?;
    Ok(Bpftrace { root: folder.join("root"), version })
}

fn make(folder: &Path) -> Result<(), String> {
    eprintln!("vm: fetching bpftrace with what it needs from Debian's {SUITE}");
    let (root, archive) = (folder.join("root"), Archive::of_this_machine()?);
    // What it mounts in the folder is gone with its name space, however it ends.
    let mut command = Command::new("unshare");
    command.args(["--mount", "debootstrap", "--variant=minbase", "--include=bpftrace"]);
    command.args(archive.keyring.map(|keyring| format!("--keyring={keyring}")));
    tool::run(command.arg(SUITE).arg(&root).arg(archive.address))?;
    if !root.join(PROGRAM).is_file() {
        return Err(format!("vm: debootstrap ended well, but there is no {PROGRAM} in {}", root.display()));
    }
    // Half of it, and nobody installs anything there.
    for emptied in ["var/cache/apt/archives", "var/lib/apt/lists", "usr/share/locale", "usr/share/doc"] {
        let emptied = root.join(emptied);
        fs::remove_dir_all(&emptied).map_err(|error| format!("failed to remove {}: {error}", emptied.display()))?;
        create(&emptied)?;
    }
    let query = ["--show", "--showformat=${Version}", "bpftrace"];
    let version =
        tool::output(Command::new("dpkg-query").arg("--admindir").arg(root.join("var/lib/dpkg")).args(query))?;
    fs::write(folder.join("version"), version).map_err(|error| format!("failed to write a version: {error}"))
}
