//! What the host hears of a guest: a serial line for the agent, virtio ports for the command, and the end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

/// QEMU's isa-debug-exit: a byte written there ends the machine at once.
const EXIT_PORT: u64 = 0xf4;

pub struct Report(Option<File>);

impl Report {
    pub fn open() -> Report {
        Report(OpenOptions::new().write(true).open("/dev/ttyS3").ok())
    }

    fn say(&mut self, line: &str) {
        if let Some(file) = &mut self.0 {
            // Without a host that listens there is nothing left to do.
            let _written = writeln!(file, "{line}");
        }
    }

    /// Tells of what went wrong; the command may do without it.
    pub fn check(&mut self, what: &str, done: io::Result<()>) {
        if let Err(error) = done {
            self.say(&format!("WARN {what}: {error}"));
        }
    }

    /// The end of the machine.
    pub fn exit(&mut self, status: u8) -> ! {
        self.say(&format!("EXIT {status}"));
        if let Some(file) = &self.0 {
            // SAFETY: waits until the descriptor's bytes are sent.
            unsafe { libc::tcdrain(file.as_raw_fd()) };
        }
        let ports = OpenOptions::new().write(true).open("/dev/port");
        let _gone = ports.and_then(|ports| ports.write_at(&[0], EXIT_PORT));
        // A locked-down kernel has no port for us: the orderly way, which takes longer.
        loop {
            // SAFETY: ends this machine, an emulated one.
            unsafe {
                libc::sync();
                libc::reboot(libc::RB_POWER_OFF);
                libc::reboot(libc::RB_AUTOBOOT);
            }
        }
    }
}

/// A virtio port by the name that the host gave it.
pub fn port(name: &str) -> Option<File> {
    for entry in fs::read_dir("/sys/class/virtio-ports").ok()?.flatten() {
        if fs::read_to_string(entry.path().join("name")).is_ok_and(|found| found.trim() == name) {
            return OpenOptions::new().write(true).open(std::path::Path::new("/dev").join(entry.file_name())).ok();
        }
    }
    None
}
