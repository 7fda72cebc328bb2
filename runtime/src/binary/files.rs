//! Files of this machine and of other roots, such as a container's: which a path means there, and what they are.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use super::reader;
use crate::diagnostic::Diagnostic;
use crate::kernel::load::text;

/// As many symbolic links as the kernel follows.
const MAX_LINKS: usize = 40;

/// `path` inside `root`, its symbolic links followed *there*: an absolute link in a container must not lead to our files.
pub(super) fn within(root: &Path, path: &Path) -> PathBuf {
    if root == Path::new("/") {
        return path.to_owned();
    }
    let names = |path: &Path| -> Vec<OsString> {
        let inner = path.components().filter(|c| matches!(c, Component::Normal(_) | Component::ParentDir));
        inner.rev().map(|c| c.as_os_str().to_owned()).collect()
    };
    let mut rest = names(path); // last first
    let mut done: Vec<OsString> = Vec::new();
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            done.pop();
            continue;
        }
        done.push(name);
        let here: PathBuf = std::iter::once(root.as_os_str()).chain(done.iter().map(OsString::as_os_str)).collect();
        if let Ok(link) = fs::read_link(&here)
            && links < MAX_LINKS
        {
            links += 1;
            done.pop();
            if link.is_absolute() {
                done.clear();
            }
            rest.extend(names(&link));
        }
    }
    std::iter::once(root.as_os_str()).chain(done.iter().map(OsString::as_os_str)).collect()
}

/// Tells programs and libraries from everything else, before anything is parsed.
///
/// # Errors
/// Names what the file is: missing, unreadable, a folder, a script with its interpreter, or just no ELF file.
pub(super) fn require_elf(path: &Path) -> Result<(), Diagnostic> {
    let shown = path.display();
    let file = reader::open(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidInput => Diagnostic::script(format!("`{shown}` is no file that could be probed")),
        _ => unreadable(path, &error),
    })?;
    let mut start = [0; 128];
    let length = file.read_at(&mut start, 0).map_err(|error| unreadable(path, &error))?;
    match &start[..length] {
        [0x7f, b'E', b'L', b'F', ..] => Ok(()),
        [b'#', b'!', line @ ..] => {
            let line = String::from_utf8_lossy(line.split(|b| *b == b'\n').next().unwrap_or(line)).trim().to_owned();
            let message = format!("`{shown}` is a script, run by `{line}`; uprobes need a compiled program");
            Err(Diagnostic::script(message).help("probe its interpreter, or a library that it loads"))
        }
        _ => Err(Diagnostic::script(format!("`{shown}` is no ELF file; uprobes need a compiled program or library"))),
    }
}

pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::machine(format!("failed to read `{}`: {}", path.display(), text(error)))
}

pub(super) fn same_file(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| fs::metadata(path).map(|data| (data.dev(), data.ino())).ok();
    id(a).is_some_and(|found| id(b) == Some(found))
}

pub(super) fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.mode() & 0o111 != 0)
}

pub(super) fn files(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.file_name().into_string().ok()).collect()
}
