//! The log's file: lines are appended under a lock, so that several skeps have one chain. It is opened anew for every line,
//! so that whoever renames it away gets no more of them.

use super::entry::{self, Entry, Head};
use crate::diagnostic::Diagnostic;
use crate::kernel::load::text;
use serde_json::{Map, Value as Json};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where it is unless somebody says otherwise; kept if its folder is there.
pub const USUAL: &str = "/var/log/skep/audit.jsonl";

/// How long others may hold the lock: each does for one line.
const PATIENCE: Duration = Duration::from_secs(5);

/// How much of a file is read at a time to find its last line.
const STEP: u64 = 16 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    pub path: PathBuf,
}

/// The end of a file.
#[derive(Debug, PartialEq, Eq)]
struct End {
    /// Its last line; `None` where it has none.
    head: Option<Head>,
    /// What stands behind that: somebody ended in the middle of a line.
    torn: Vec<u8>,
    /// Does it end with a newline, or is it empty?
    closed: bool,
}

impl Log {
    pub fn new(path: impl Into<PathBuf>) -> Log {
        Log { path: path.into() }
    }

    /// The file that this one was renamed to when it was rotated, as logrotate calls it.
    pub fn former(&self, number: u32) -> PathBuf {
        PathBuf::from(format!("{}.{number}", self.path.display()))
    }

    /// Appends a line, which is on the disk then, and gives its number.
    ///
    /// # Errors
    /// What the file system says, and a log whose last line is none.
    pub fn append(&self, mut said: Map<String, Json>) -> io::Result<u64> {
        let mut file = self.locked()?;
        let length = file.metadata()?.len();
        let End { head, torn, closed } = end(&mut file)?;
        let (head, continues) = match head {
            Some(head) => (head, None),
            None => self.former_head()?,
        };
        if let Some(former) = continues {
            said.insert("continues".into(), former.into());
        }
        if !torn.is_empty() {
            said.insert("torn".into(), entry::torn(&torn));
        }
        let mut text = if closed { String::new() } else { "\n".to_owned() };
        let (line, head) = entry::written(&head, said);
        text += &format!("{line}\n");
        if let Err(error) = file.write_all(text.as_bytes()).and_then(|()| file.sync_data()) {
            // A full disk takes a part of it.
            file.set_len(length)?;
            return Err(error);
        }
        Ok(head.number)
    }

    /// Opens the file with its lock, and none that was renamed in between.
    fn locked(&self) -> io::Result<File> {
        let since = Instant::now();
        loop {
            let mut options = OpenOptions::new();
            options.read(true).append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
            let file = options.open(&self.path)?;
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("it is no regular file"));
            }
            match file.try_lock() {
                Ok(()) if is_at(&file, &self.path) => return Ok(file),
                Ok(()) => continue,
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if since.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::other("another process holds its lock"));
                }
            }
        }
    }

    /// The end of the file that stands beside this one since it was rotated, and its name.
    fn former_head(&self) -> io::Result<(Head, Option<String>)> {
        let path = self.former(1);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Head::none(), None)),
            file => file?,
        };
        // Who appended to it while it was renamed has done so.
        file.lock()?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(end(&mut file)?.head.map_or((Head::none(), None), |head| (head, Some(name))))
    }
}

/// Is this path still the name of this file?
fn is_at(file: &File, path: &Path) -> bool {
    let place = |of: io::Result<std::fs::Metadata>| of.map(|of| (of.dev(), of.ino())).ok();
    place(file.metadata()).is_some_and(|own| place(std::fs::symlink_metadata(path)) == Some(own))
}

/// Reads backwards until there is a line of ours.
fn end(file: &mut File) -> io::Result<End> {
    let length = file.metadata()?.len();
    let mut step = STEP;
    loop {
        let from = length.saturating_sub(step);
        file.seek(SeekFrom::Start(from))?;
        let mut tail = Vec::new();
        (&mut *file).take(length - from).read_to_end(&mut tail)?;
        let closed = tail.last().is_none_or(|byte| *byte == b'\n');
        let mut behind = tail.len();
        // Of what is before the first newline nobody knows where it begins, but at the beginning of the file.
        for begin in (0..tail.len()).rev().filter(|at| if *at == 0 { from == 0 } else { tail[*at - 1] == b'\n' }) {
            let line = &tail[begin..behind];
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            if let Some(entry) = Entry::read(line) {
                let torn = &tail[behind..];
                let torn = torn.strip_suffix(b"\n").unwrap_or(torn).to_vec();
                return Ok(End { head: Some(entry.head()), torn, closed });
            }
            if serde_json::from_slice::<Json>(line).is_ok() {
                return Err(io::Error::other("its last line was altered, or is none of the log's"));
            }
            behind = begin;
        }
        if from == 0 {
            let torn = tail.strip_suffix(b"\n").map(<[u8]>::to_vec).unwrap_or(tail);
            return Ok(End { head: None, torn, closed });
        }
        step *= 4;
    }
}

/// The diagnostic for a log that cannot be read.
pub fn unread(path: &Path, error: &io::Error) -> Diagnostic {
    let message = format!("failed to read the audit log `{}`: {}", path.display(), text(error));
    let none = path == Path::new(USUAL) && error.kind() == io::ErrorKind::NotFound;
    // With its folder it begins.
    let help = if none { "sudo mkdir -m 700 /var/log/skep" } else { "skep audit show FILE" };
    Diagnostic::machine(message).nowhere().help(help)
}

/// Why a line could not be written, in one phrase.
pub fn refusal(path: &Path, error: &io::Error) -> String {
    format!("failed to write the audit log `{}`: {}", path.display(), text(error))
}
