//! One guest from boot to end: a command in a fresh machine, and its exit status.

use super::binaries::Binaries;
use super::cache::Cache;
use super::fetch::Fetched;
use super::image::{self, Job, Put};
use super::qemu::Qemu;
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// The command took too long.
pub const TIMED_OUT: u8 = 124;
/// The guest crashed, or never came as far as the command.
pub const CRASHED: u8 = 125;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// What a kernel prints when it is at fault.
const FAULTS: [&str; 3] = ["Kernel panic", "Oops", "BUG:"];
/// An empty disk for tests of block I/O, where there is no root on it.
const EMPTY_DISK: u64 = 64 << 20;

pub struct Guest {
    pub put: Vec<Put>,
    /// A folder that becomes the guest's root.
    pub root: Option<PathBuf>,
    pub cpus: u32,
    pub memory: String,
    /// For the kernel's command line.
    pub append: String,
    pub timeout: Duration,
    pub environment: Vec<(String, String)>,
    pub command: Vec<String>,
}

/// How it ended.
pub struct Ended {
    pub status: u8,
    /// The end of the console, where the guest itself failed or the command took too long.
    pub console: Option<String>,
}

impl Guest {
    /// A command on a machine of usual size.
    pub fn of(command: Vec<String>) -> Guest {
        Guest {
            put: Vec::new(),
            root: None,
            cpus: 2,
            memory: "1G".to_owned(),
            append: String::new(),
            timeout: Duration::from_secs(120),
            environment: Vec::new(),
            command,
        }
    }

    /// Runs the command with `skep` and `skep-workload` in its path; its outputs go to `out` and `err` as they come.
    ///
    /// # Errors
    /// The guest cannot be started.
    pub fn run(
        &self,
        cache: &Cache,
        qemu: &[String],
        kernel: &Fetched,
        binaries: &Binaries,
        out: impl Write + Send,
        err: impl Write + Send,
    ) -> Result<Ended, String> {
        let scratch = cache.scratch()?;
        let file = |name: &str| scratch.0.join(name);
        let mut environment: Vec<(String, String)> =
            [("PATH", PATH), ("HOME", "/root"), ("TERM", "dumb"), ("SKEP_VM", kernel.kernel.name)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        environment.extend(self.environment.iter().cloned());
        let job = Job { arguments: self.command.clone(), environment, has_root: self.root.is_some() };
        let mut files = self.put.clone();
        // Another root's /bin may be a link, which a folder laid over it would hide.
        let folder = if self.root.is_some() { "usr/bin" } else { "bin" };
        let programs = ["skep", "skep-workload"];
        files.extend(programs.map(|name| Put::new(binaries.program(name), &format!("{folder}/{name}"))));
        let modules = kernel.folder.join("modules");
        let initramfs = image::initramfs(&binaries.program("guest-agent"), &modules, &files, &job)?;
        let failed = |error| format!("failed to write a guest's files: {error}");
        fs::write(file("initramfs"), initramfs).map_err(failed)?;
        match &self.root {
            Some(folder) => image::disk(folder, &file("disk"))?,
            None => fs::File::create(file("disk")).and_then(|disk| disk.set_len(EMPTY_DISK)).map_err(failed)?,
        }
        let machine = Qemu {
            program: qemu,
            vmlinux: kernel.folder.join("vmlinux"),
            cpus: self.cpus,
            memory: &self.memory,
            append: &self.append,
            timeout: self.timeout,
            folder: &scratch.0,
        };
        let in_time = machine.run(out, err)?;
        let read = |name: &str| String::from_utf8_lossy(&fs::read(file(name)).unwrap_or_default()).into_owned();
        Ok(judge(in_time, &read("reports"), &read("console")))
    }
}

/// A command that ended well on a kernel that did not has not ended well.
fn judge(in_time: bool, reports: &str, console: &str) -> Ended {
    let said = reports.lines().find_map(|line| line.trim().strip_prefix("EXIT ")?.parse().ok());
    let is_faulty = FAULTS.iter().any(|fault| console.contains(fault));
    let status = match said {
        _ if !in_time => TIMED_OUT,
        None => CRASHED,
        Some(0) if is_faulty => CRASHED,
        Some(status) => status,
    };
    let tail = || {
        let lines: Vec<&str> = console.lines().collect();
        let warnings: String =
            reports.lines().filter(|line| line.starts_with("WARN ")).map(|line| format!("{line}\n")).collect();
        format!("{warnings}{}", lines[lines.len().saturating_sub(60)..].join("\n"))
    };
    Ended { status, console: (is_faulty || !in_time || said.is_none()).then(tail) }
}

#[cfg(test)]
mod tests {
    use super::judge;

    #[test]
    fn status_is_the_commands_unless_the_kernel_failed() {
        let status = |in_time, reports, console| judge(in_time, reports, console).status;
        assert_eq!(status(true, "READY\r\nEXIT 7\r\n", ""), 7);
        assert_eq!(status(true, "EXIT 0\n", "Oops: int3"), 125);
        assert_eq!(status(true, "EXIT 3\n", "BUG: bad page"), 3);
        assert_eq!(status(true, "", "Kernel panic - not syncing"), 125);
        assert_eq!(status(false, "EXIT 0\n", ""), 124);
        assert!(judge(true, "EXIT 7", "").console.is_none() && judge(true, "", "early").console.is_some());
    }
}
