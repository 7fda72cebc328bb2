//! What a guest boots from: agent, modules, programs, the job; and with `--root` an ext4 image of a folder.

use super::cpio::Archive;
use super::tool;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Commands of busybox that guests have as programs of their own.
const APPLETS: &str = "sh ls cat uname ip mount umount dmesg sleep seq grep head tail ps kill dd true false echo mkdir rm cp mv \
    env id wc sed awk sort tr find nc ping time ln stat sysctl free top chmod touch tee test readlink";

/// A file of this machine, and where the guest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    pub from: PathBuf,
    pub to: String,
    /// With the shared libraries that ldd names.
    pub libraries: bool,
}

impl Put {
    pub fn new(from: impl Into<PathBuf>, to: &str) -> Put {
        Put { from: from.into(), to: to.trim_start_matches('/').to_owned(), libraries: false }
    }
}

/// What the agent is to do.
#[derive(Clone, Debug, Default)]
pub struct Job {
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// The root folder comes from the disk, with everything put on top of it.
    pub has_root: bool,
}

/// The initramfs.
pub fn initramfs(agent: &Path, modules: &Path, files: &[Put], job: &Job) -> Result<Vec<u8>, String> {
    let mut archive = Archive::default();
    archive.device("dev/console", 5, 1);
    for folder in ["proc", "sys", "tmp", "run", "root", "etc"] {
        archive.folder(folder);
    }
    archive.copy(agent, "init")?;
    // Below a root of its own: a layer that the agent lays over it.
    let top = if job.has_root { "layer" } else { "" };
    if !job.has_root {
        let busybox = on_path("busybox").ok_or("vm: no busybox\nrun: apt-get install -y busybox-static")?;
        if !libraries(&busybox)?.is_empty() {
            return Err("vm: busybox needs libraries\nrun: apt-get install -y busybox-static".to_owned());
        }
        archive.copy(&busybox, "bin/busybox")?;
        APPLETS.split_whitespace().for_each(|applet| archive.link(&format!("bin/{applet}"), "busybox"));
    }
    archive.folder(&format!("{top}/root"));
    for put in files {
        archive.copy(&put.from, &format!("{top}/{}", put.to))?;
        for library in if put.libraries { libraries(&put.from)? } else { Vec::new() } {
            archive.copy(Path::new(&library), &format!("{top}{library}"))?;
        }
    }
    let mut loaded: Vec<PathBuf> =
        fs::read_dir(modules).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    loaded.sort();
    for file in loaded {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        archive.copy(&file, &format!("job/modules/{name}"))?;
    }
    let words = |words: &[String]| words.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect::<Vec<u8>>();
    let environment: Vec<String> = job.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    archive.file("job/arguments", &words(&job.arguments), 0o644);
    archive.file("job/environment", &words(&environment), 0o644);
    if job.has_root {
        archive.file("job/root", b"/dev/nvme0n1", 0o644);
    }
    Ok(archive.finish())
}

/// An ext4 image of a folder: NVMe and ext4 are built into every cloud kernel, and no daemon has to serve the files.
pub fn disk(folder: &Path, image: &Path) -> Result<(), String> {
    let said = tool::output(Command::new("du").args(["-sk", "--inodes"]).arg(folder))?;
    let inodes = first_number(&said);
    let kilobytes = first_number(&tool::output(Command::new("du").arg("-sk").arg(folder))?);
    let size = (kilobytes * 5 / 4 + inodes / 2 + (16 << 10)).next_multiple_of(1024);
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-N", &(inodes + 1024).to_string(), "-d"]);
    tool::run(command.arg(folder).arg(image).arg(format!("{size}k")))
}

fn first_number(text: &[u8]) -> u64 {
    String::from_utf8_lossy(text).split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Shared libraries with the loader, as ldd names them: `libc.so.6 => /lib/… (0x…)`, or the path alone.
fn libraries(file: &Path) -> Result<Vec<String>, String> {
    let said = match tool::output(Command::new("ldd").arg(file)) {
        Ok(said) => said,
        // "not a dynamic executable" is a failure to ldd.
        Err(_) if file.is_file() => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok(said
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(|word| word.trim_end_matches(':').to_owned())
        .collect())
}
