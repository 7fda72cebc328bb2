//! The binary on a pseudo-terminal, typed to as somebody types.

use crate::machine::Folder;
use crate::skep;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Nothing that is typed takes longer on a busy machine.
const LIMIT: Duration = Duration::from_secs(40);

/// A session in a terminal.
pub struct Terminal {
    child: Child,
    /// Dropped when the terminal goes away.
    master: Option<File>,
    shown: Arc<Mutex<Vec<u8>>>,
    /// What was waited for ends here, in the text without its controls.
    mark: usize,
    pub folder: Folder,
}

impl Terminal {
    /// `skep repl` with these arguments, in a folder of its own, without a history.
    #[track_caller]
    pub fn start(arguments: &[&str]) -> Terminal {
        Terminal::with(arguments, |_, _| {})
    }

    #[track_caller]
    pub fn with(arguments: &[&str], prepare: impl FnOnce(&mut Command, &Folder)) -> Terminal {
        let (mut master, mut slave) = (0, 0);
        let size = libc::winsize { ws_row: 40, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: two places for descriptors, no name, no mode, one `winsize`.
        let opened = unsafe { libc::openpty(&mut master, &mut slave, std::ptr::null_mut(), std::ptr::null(), &size) };
        assert_eq!(opened, 0, "no pseudo-terminal is to be had");
        // SAFETY: openpty has given both, and nobody else owns them.
        let (master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
        // SAFETY: a descriptor of ours; only its own flag changes.
        unsafe { libc::fcntl(master.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) };
        let folder = Folder::new();
        let mut command = Command::new(skep::binary());
        command.args(arguments).current_dir(&folder.0).env_remove("SKEP_PATH").env("NO_COLOR", "1");
        command.env("TERM", "xterm-256color").env("XDG_STATE_HOME", &folder.0);
        prepare(&mut command, &folder);
        let end = |fd: &OwnedFd| fd.try_clone().expect("a descriptor is left");
        command.stdin(end(&slave)).stdout(end(&slave)).stderr(slave);
        // SAFETY: both calls are async-signal-safe; the terminal is standard input by then.
        unsafe {
            command.pre_exec(|| {
                libc::setsid();
                libc::ioctl(0, libc::TIOCSCTTY, 0);
                Ok(())
            });
        }
        let child = command.spawn().expect("skep starts");
        // Its copies of the terminal's end would keep the terminal open.
        drop(command);
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (into, mut reader) = (shown.clone(), master.try_clone().expect("a descriptor is left"));
        std::thread::spawn(move || {
            let mut chunk = vec![0; 64 << 10];
            // The end of a pseudo-terminal is an error.
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                into.lock().expect("readers do not panic").extend_from_slice(&chunk[..count]);
            }
        });
        Terminal { child, master: Some(master), shown, mark: 0, folder }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that was shown, without what moves the cursor and colours.
    pub fn text(&self) -> String {
        plain(&self.shown.lock().expect("readers do not panic"))
    }

    /// The bytes as they came.
    pub fn raw(&self) -> Vec<u8> {
        self.shown.lock().expect("readers do not panic").clone()
    }

    /// Waits for the first prompt.
    #[track_caller]
    pub fn ready(mut self) -> Self {
        self.until("skep> ");
        self
    }

    #[track_caller]
    pub fn keys(&mut self, keys: &[u8]) -> &mut Self {
        let master = self.master.as_mut().expect("the terminal is there");
        master.write_all(keys).expect("the terminal takes keys");
        self
    }

    /// A line and Enter.
    #[track_caller]
    pub fn line(&mut self, text: &str) -> &mut Self {
        // What was shown before is no answer to this.
        self.mark = self.text().len();
        self.keys(text.as_bytes()).keys(b"\r")
    }

    /// Waits until this is shown behind what was waited for last; gives what stands between.
    #[track_caller]
    pub fn until(&mut self, wanted: &str) -> String {
        let since = Instant::now();
        loop {
            let text = self.text();
            if let Some(at) = text.get(self.mark..).and_then(|rest| rest.find(wanted)) {
                let between = text[self.mark..self.mark + at].to_owned();
                self.mark += at + wanted.len();
                return between;
            }
            let ended = self.child.try_wait().expect("it is our child");
            assert!(
                since.elapsed() < LIMIT && ended.is_none(),
                "`{wanted}` was not shown ({ended:?}), but:\n{}",
                text.get(self.mark..).unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A line, what it shows, and the prompt behind it.
    #[track_caller]
    pub fn answers(&mut self, line: &str, wanted: &str) -> String {
        self.line(line);
        self.until("\n");
        let before = self.until(wanted);
        format!("{before}{wanted}{}", self.until("skep> "))
    }

    /// How long one key takes until it is shown.
    #[track_caller]
    pub fn echo(&mut self) -> Duration {
        let typed = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'~').count();
        let mut from = self.shown.lock().expect("readers do not panic").len();
        let since = Instant::now();
        self.keys(b"~");
        loop {
            let shown = self.shown.lock().expect("readers do not panic");
            if typed(&shown[from..]) > 0 {
                return since.elapsed();
            }
            from = shown.len();
            drop(shown);
            assert!(since.elapsed() < LIMIT, "a key was not shown");
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let master = self.master.as_ref().expect("the terminal is there");
        // SAFETY: the request reads one `winsize`.
        unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &size) };
    }

    /// The terminal goes away, as when ssh does.
    pub fn hang_up(&mut self) {
        // The thread that reads has the other copy: the hang-up itself is what counts.
        // SAFETY: signals our own child's session.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGHUP) };
        self.master = None;
    }

    /// Waits for its end, and gives the exit status.
    #[track_caller]
    pub fn end(&mut self) -> Option<i32> {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status.code();
            }
            assert!(since.elapsed() < LIMIT, "the session does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A test that fails leaves no session behind.
impl Drop for Terminal {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Without escape sequences and carriage returns.
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\x1b' if chars.next_if_eq(&'[').is_some() => {
                while chars.next_if(|c| !('@'..='~').contains(c)).is_some() {}
                chars.next();
            }
            '\r' | '\x07' | '\x1b' => {}
            c => out.push(c),
        }
    }
    out
}
