//! Which file the first part of a uprobe means: `bash`, `libc`, `./a.out`, `/usr/bin/python3`, or a process's own program.
//!
//! With a pid, names mean what that process sees: its mapped libraries, its root folder. Another process's files need the
//! privilege to look into it (same user, or CAP_SYS_PTRACE).

use std::fs;
use std::path::{Path, PathBuf};

use super::files::{files, is_program, require_elf, same_file, within};
use super::library_cache::LibraryCache;
use crate::diagnostic::{Diagnostic, nearest};
use crate::kernel::load::text;

/// Whose files are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// `None`: ours.
    pub pid: Option<u32>,
}

/// A program or library that exists and is an ELF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Opens the file from *our* mount namespace: what the kernel takes.
    pub path: PathBuf,
    /// As its own processes call it.
    pub shown: String,
}

impl Target {
    /// Finds the file that `text` means: a path, a command of `PATH`, a library; of a process, if `text` is empty, its program.
    ///
    /// # Errors
    /// A process that does not exist or has no program; nothing of that name, with the nearest; a script or other non-ELF file.
    pub fn resolve(&self, text: &str) -> Result<Resolved, Diagnostic> {
        let root = self.root()?;
        let resolved = match text {
            "" => return self.exe(),
            path if path.contains('/') => self.path(&root, path)?,
            name => self.name(&root, name)?,
        };
        require_elf(&resolved.path)?;
        Ok(resolved)
    }

    /// The program that a process runs, even if its file was deleted or replaced since.
    ///
    /// # Errors
    /// No pid is given, no such process, a kernel thread, or we may not look into the process.
    pub fn exe(&self) -> Result<Resolved, Diagnostic> {
        let Some(pid) = self.pid else {
            return Err(
                Diagnostic::script("the binary is missing").help("uprobe:/usr/bin/bash:readline, or give a pid")
            );
        };
        let root = self.root()?;
        let link = PathBuf::from(format!("/proc/{pid}/exe"));
        let shown = fs::read_link(&link).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Diagnostic::script(format!("process {pid} is a kernel thread: it runs no file"))
            }
            _ => denied(pid, &error),
        })?;
        let shown = shown.to_string_lossy().trim_end_matches(" (deleted)").to_owned();
        let path = in_use(&root, &shown, link);
        require_elf(&path)?;
        Ok(Resolved { path, shown })
    }

    /// The folder that the target calls `/`; plain `/` where that is ours as well.
    fn root(&self) -> Result<PathBuf, Diagnostic> {
        let Some(pid) = self.pid else {
            return Ok(PathBuf::from("/"));
        };
        if !Path::new(&format!("/proc/{pid}")).exists() {
            return Err(
                Diagnostic::script(format!("no process {pid}")).help("it ended, or its pid differs here: pgrep NAME")
            );
        }
        let root = PathBuf::from(format!("/proc/{pid}/root"));
        fs::metadata(&root).map_err(|error| denied(pid, &error))?;
        let namespace = |of: &str| fs::read_link(format!("/proc/{of}/ns/mnt")).ok();
        let shared = same_file(&root, Path::new("/")) && namespace("self") == namespace(&pid.to_string());
        Ok(if shared { PathBuf::from("/") } else { root })
    }

    fn path(&self, root: &Path, text: &str) -> Result<Resolved, Diagnostic> {
        // Where we stand means nothing in another root.
        if !text.starts_with('/') && root != Path::new("/") {
            return Err(Diagnostic::script(format!("`{text}` is relative, and the process has its own root"))
                .help("give the absolute path that the process would use"));
        }
        let whole = std::path::absolute(text).unwrap_or_else(|_| PathBuf::from(text));
        let path = within(root, &whole);
        if path.exists() {
            return Ok(Resolved { path, shown: whole.display().to_string() });
        }
        let error = Diagnostic::script(format!("no file `{}`{}", whole.display(), self.of_process()));
        let wanted = whole.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let beside = files(&within(root, whole.parent().unwrap_or(&whole)));
        Err(match nearest(&wanted, beside.iter().map(String::as_str)) {
            Some(found) => error.help(format!("did you mean `{}`?", whole.with_file_name(found).display())),
            None => error,
        })
    }

    fn name(&self, root: &Path, name: &str) -> Result<Resolved, Diagnostic> {
        if let Some(mapped) = self.mapped(root, name) {
            return Ok(mapped);
        }
        let folders: Vec<_> = std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect()).unwrap_or_default();
        let command = || {
            let places = folders.iter().filter(|folder| folder.is_absolute()).map(|folder| folder.join(name));
            let found = places.map(|place| (within(root, &place), place)).find(|(path, _)| is_program(path));
            found.map(|(path, place)| Resolved { path, shown: place.display().to_string() })
        };
        let cache = LibraryCache::of(root);
        let library = || {
            let library = cache.find(name).ok()?;
            let path = within(root, &library.path);
            path.exists().then(|| Resolved { path, shown: library.path.display().to_string() })
        };
        let named_like_one = name.starts_with("lib") || name.contains(".so");
        let found = if named_like_one { library().or_else(command) } else { command().or_else(library) };
        found.ok_or_else(|| {
            if named_like_one && let Err(error) = cache.find(name) {
                return error;
            }
            let commands: Vec<String> = folders.iter().flat_map(|folder| files(&within(root, folder))).collect();
            let error = Diagnostic::script(format!("no program or library `{name}`{}", self.of_process()));
            match nearest(name, commands.iter().map(String::as_str).chain(cache.short_names())) {
                _ if Path::new(name).is_file() => error.help(format!("did you mean `./{name}`?")),
                Some(found) => error.help(format!("did you mean `{found}`?")),
                None => error.help("give its path, such as /usr/bin/bash"),
            }
        })
    }

    /// A file that the process has mapped under that name or its short form; `NAME` for `NAME.so.1` and `NAME-2.31.so`.
    fn mapped(&self, root: &Path, name: &str) -> Option<Resolved> {
        let pid = self.pid?;
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
        let means = |file: &str| {
            if name == "libc" && file.starts_with("ld-musl-") {
                return Some(()); // musl's loader is its libc
            }
            let rest = file.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with(".so") || (rest.starts_with("-") && rest.ends_with(".so")))
                .then_some(())
        };
        let files = maps.lines().filter_map(|line| Some((line.split(' ').next()?, &line[line.find('/')?..])));
        for (range, file) in files {
            let shown = file.strip_suffix(" (deleted)").unwrap_or(file);
            if Path::new(shown).file_name().and_then(|base| base.to_str()).and_then(means).is_none() {
                continue;
            }
            let path = in_use(root, shown, PathBuf::from(format!("/proc/{pid}/map_files/{range}")));
            if path.exists() {
                return Some(Resolved { path, shown: shown.to_owned() });
            }
        }
        None
    }

    fn of_process(&self) -> String {
        self.pid.map(|pid| format!(" where process {pid} runs")).unwrap_or_default()
    }
}

/// The path of a file that a process has open: after an upgrade its name leads to another file, or to none, but the link
/// in `/proc` to the one in use. That link needs privilege, and lives no longer than the process: the name goes first.
fn in_use(root: &Path, shown: &str, link: PathBuf) -> PathBuf {
    let named = within(root, Path::new(shown));
    if !link.exists() {
        return named;
    }
    // The name is as *we* would spell it where the process is only chrooted.
    let found = [named, PathBuf::from(shown)].into_iter().find(|path| same_file(path, &link));
    found.unwrap_or(link)
}

fn denied(pid: u32, error: &std::io::Error) -> Diagnostic {
    Diagnostic::machine(format!("failed to look into process {pid}: {}", text(error)))
        .help("run as its user or as root (sudo)")
}
