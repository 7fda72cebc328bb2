//! `-c CMD`: a command that is started, held before its first instruction, and let go once everything is attached.

use skep_runtime::kernel::load::text;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

/// A command that waits; its process exists, and its id is known.
pub struct Held {
    pub pid: u32,
    name: String,
    release: io::PipeWriter,
    spawned: std::thread::JoinHandle<io::Result<Child>>,
}

impl Held {
    /// Starts `line`, split at blanks as a shell would without quotes; a line with quotes or other signs goes to /bin/sh.
    ///
    /// # Errors
    /// No process or pipe is to be had.
    pub fn start(line: &str) -> io::Result<Held> {
        let mut command = if line.contains(|c: char| "\"'\\$&|;<>()*?[]~`".contains(c)) {
            let mut shell = Command::new("/bin/sh");
            // The shell makes way for the command, so that its pid is the command's.
            shell.arg("-c").arg(format!("exec {line}"));
            shell
        } else {
            let mut words = line.split_whitespace();
            let mut command = Command::new(words.next().ok_or_else(|| io::Error::other("the command is empty"))?);
            command.args(words);
            command
        };
        let (mut told, tells) = io::pipe()?;
        let (waits, release) = io::pipe()?;
        let (tells, waits) = (tells, waits);
        let release_fd = release.as_raw_fd();
        // SAFETY: between fork and exec only getpid, write, close and read are called: async-signal-safe, no allocation.
        unsafe {
            command.pre_exec(move || {
                libc::close(release_fd);
                (&tells).write_all(&std::process::id().to_ne_bytes())?;
                // One byte lets it go; the end of the pipe means that skep is gone, and so is the reason to run.
                // Nobody waits for an error then, and std would die of not being able to report it.
                match (&waits).read(&mut [0])? {
                    1 => Ok(()),
                    _ => libc::_exit(0),
                }
            });
        }
        // `spawn` returns only after exec, so it waits in a thread of its own.
        let spawned = std::thread::spawn(move || command.spawn());
        let mut pid = [0; 4];
        told.read_exact(&mut pid)?;
        Ok(Held { pid: u32::from_ne_bytes(pid), name: line.to_owned(), release, spawned })
    }

    /// Lets it run.
    ///
    /// # Errors
    /// The command cannot be executed; the error names it.
    pub fn release(mut self) -> io::Result<Child> {
        let name = self.name;
        let failed = |error: io::Error| io::Error::other(format!("failed to start `{name}`: {}", text(&error)));
        self.release.write_all(&[1]).map_err(&failed)?;
        let spawned = self.spawned.join();
        spawned.unwrap_or_else(|_| Err(io::Error::other("its thread died"))).map_err(failed)
    }
}
