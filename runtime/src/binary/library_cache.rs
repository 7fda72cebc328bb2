//! Libraries by short name, `libc` or `libssl.so.3`, as the dynamic loader finds them: its cache, else the usual folders.
//!
//! Source: glibc, sysdeps/generic/dl-cache.h. Nothing in a cache is trusted: it may come from a container.

use std::cmp::Ordering;
use std::fs;
use std::path::{Path, PathBuf};

use super::files::within;
use crate::diagnostic::{Diagnostic, nearest};

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// Which machine a library is for; 0x0000 stands for any that needs no flag.
const MACHINE: u32 = 0xff00;
const OURS: u32 = match cfg!(target_arch = "x86_64") {
    true => 0x0300,
    false if cfg!(target_arch = "aarch64") => 0x0a00,
    false => 0,
};

/// One line of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    /// The soname, `libc.so.6`.
    pub name: String,
    /// As the loader would open it, inside its own root.
    pub path: PathBuf,
    /// For this machine's instruction set.
    ours: bool,
    /// Serves every CPU; others need features that this CPU may not have.
    plain: bool,
}

/// The libraries of one root folder.
#[derive(Debug, Default)]
pub struct LibraryCache {
    libraries: Vec<Library>,
}

impl LibraryCache {
    /// Reads the libraries of a root, `/` or `/proc/PID/root`; without a readable cache (musl) those of its library folders.
    pub fn of(root: &Path) -> LibraryCache {
        let cached =
            fs::read(within(root, Path::new("/etc/ld.so.cache"))).map(|bytes| parse(&bytes)).unwrap_or_default();
        match cached.is_empty() {
            true => LibraryCache { libraries: in_folders(root) },
            false => LibraryCache { libraries: cached },
        }
    }

    /// The library that a short name, a soname, or a file name means; of several versions the newest.
    ///
    /// # Errors
    /// No such library, with the nearest name.
    pub fn find(&self, name: &str) -> Result<&Library, Diagnostic> {
        let means = |library: &&Library| library.name == name || version(&library.name, name).is_some();
        let rank = |library: &Library| (library.ours, library.name == name, library.plain);
        let newer = |a: &&Library, b: &&Library| {
            let versions = || compare(version(&a.name, name).unwrap_or(""), version(&b.name, name).unwrap_or(""));
            rank(a).cmp(&rank(b)).then_with(versions)
        };
        // Of equals the first is taken, as the loader does: hence the reversal.
        self.libraries.iter().rev().filter(means).max_by(newer).ok_or_else(|| self.unknown(name))
    }

    /// What users would write for each library, for completion and did-you-mean: `libssl`.
    pub fn short_names(&self) -> impl Iterator<Item = &str> {
        self.libraries.iter().map(|library| library.name.split(".so").next().unwrap_or(&library.name))
    }

    fn unknown(&self, name: &str) -> Diagnostic {
        let full = self.libraries.iter().map(|library| library.name.as_str());
        let found = match name.contains(".so") {
            true => nearest(name, full),
            false => nearest(name, self.short_names()),
        };
        let help = match found {
            Some(found) => format!("did you mean `{found}`?"),
            None => "give its path, or see `ldconfig -p`".to_owned(),
        };
        Diagnostic::script(format!("no library `{name}`")).help(help)
    }
}

impl From<Vec<Library>> for LibraryCache {
    fn from(libraries: Vec<Library>) -> Self {
        LibraryCache { libraries }
    }
}

/// What stands behind `stem.so.` in a file name (`""` for `stem.so`); `None` for other libraries.
fn version<'a>(file: &'a str, stem: &str) -> Option<&'a str> {
    let rest = file.strip_prefix(stem)?;
    // musl calls its one library `libc.musl-x86_64.so.1`.
    let rest = rest.strip_prefix(".musl-").map_or(rest, |musl| musl.find('.').map_or("", |dot| &musl[dot..]));
    let rest = rest.strip_prefix(".so")?;
    if rest.is_empty() { Some("") } else { rest.strip_prefix('.') }
}

/// Orders `1.1` before `1.10` before `3`; parts that are no numbers come before those that are.
fn compare(a: &str, b: &str) -> Ordering {
    let parts =
        |text: &str| text.split('.').map(|part| (part.parse::<u64>().ok(), part.to_owned())).collect::<Vec<_>>();
    parts(a).cmp(&parts(b))
}

/// The entries of a cache file, by its own order; none of a file that is no cache in the present format.
/// Entries that point outside the file are left out.
pub fn parse(file: &[u8]) -> Vec<Library> {
    let cache = match file.strip_prefix(OLD_MAGIC).and_then(|rest| number(rest, 0)) {
        // The old table: entries of 12 bytes behind a header of 16; the present one follows, aligned to 8.
        Some(count) => {
            let end = (count as usize).saturating_mul(12).saturating_add(16 + 7) & !7;
            file.get(end..).unwrap_or_default()
        }
        None => file,
    };
    if !cache.starts_with(MAGIC) {
        return Vec::new();
    }
    let count = number(cache, 20).unwrap_or(0) as usize;
    let entries = cache.get(HEADER..).unwrap_or_default().chunks_exact(ENTRY).take(count);
    entries.filter_map(|entry| library(cache, entry)).collect()
}

fn library(cache: &[u8], entry: &[u8]) -> Option<Library> {
    let machine = number(entry, 0)? & MACHINE;
    let name = text(cache, number(entry, 4)?)?.to_owned();
    let path = PathBuf::from(text(cache, number(entry, 8)?)?);
    let plain = entry.get(16..24)?.iter().all(|byte| *byte == 0);
    Some(Library { name, path, ours: machine == OURS, plain })
}

/// The cache is written in the byte order of the machine it is for.
fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn text(cache: &[u8], at: u32) -> Option<&str> {
    let rest = cache.get(at as usize..)?;
    let text = rest.get(..rest.iter().position(|byte| *byte == 0)?)?;
    std::str::from_utf8(text).ok().filter(|text| !text.is_empty())
}

fn in_folders(root: &Path) -> Vec<Library> {
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    let folders = [format!("/lib/{triple}"), format!("/usr/lib/{triple}"), "/lib64".into(), "/usr/lib64".into()];
    let folders = folders.into_iter().chain(["/lib", "/usr/lib", "/usr/local/lib"].map(str::to_owned));
    let mut libraries = Vec::new();
    for folder in folders {
        let Ok(files) = fs::read_dir(within(root, Path::new(&folder))) else {
            continue;
        };
        let names = files.flatten().filter_map(|file| file.file_name().into_string().ok());
        let found = names.filter(|name| name.ends_with(".so") || name.contains(".so."));
        libraries.extend(found.map(|name| {
            let path = Path::new(&folder).join(&name);
            Library { name, path, ours: true, plain: true }
        }));
    }
    libraries
}
