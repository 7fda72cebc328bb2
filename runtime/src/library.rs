//! The library: scripts inside the binary, and those of the user's folders. Found by name; a path is read as it stands.

pub mod header;

use crate::diagnostic::{Diagnostic, nearest};
use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

const EMBEDDED: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/scripts.rs"));

/// One script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// `syscall/syscount`, or the path it was read from.
    pub name: String,
    pub text: Cow<'static, str>,
}

impl Script {
    /// Is it one of the binary's own?
    pub fn is_embedded(&self) -> bool {
        matches!(self.text, Cow::Borrowed(_))
    }

    /// The first line of the header: `name - what it answers.`
    pub fn summary(&self) -> &str {
        let line = self.text.lines().next().unwrap_or_default().trim_start_matches("//!").trim();
        line.split_once(" - ").map_or(line, |(_, summary)| summary)
    }

    /// Is this its name, with or without its area?
    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.name.rsplit('/').next() == Some(name)
    }

    /// The header, without its comment marks.
    pub fn header(&self) -> String {
        let lines = self.text.lines().map_while(|line| line.strip_prefix("//!"));
        lines.map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(line))).collect()
    }
}

/// Where scripts are looked for.
#[derive(Clone, Debug, Default)]
pub struct Library {
    folders: Vec<PathBuf>,
}

impl Library {
    /// The embedded scripts and those in `folders`, which come first.
    pub fn new(folders: Vec<PathBuf>) -> Library {
        Library { folders }
    }

    /// The scripts of the folders, those that come first hiding others, then the embedded ones that they do not hide.
    pub fn all(&self) -> Vec<Script> {
        let mut all: Vec<Script> = Vec::new();
        for folder in &self.folders {
            for name in below(folder) {
                let text = fs::read_to_string(folder.join(format!("{name}.rhai")));
                if let (Ok(text), false) = (text, all.iter().any(|known| known.name == name)) {
                    all.push(Script { name, text: text.into() });
                }
            }
        }
        let own = all.len();
        for script in Library::embedded() {
            let hidden = all[..own].iter().any(|known| known.name == script.name || script.is_called(&known.name));
            if !hidden {
                all.push(script);
            }
        }
        all
    }

    /// The folder that a name is found in first, where another place has it too: which one runs should be said.
    pub fn hides(&self, name: &str) -> Option<(&Path, String)> {
        let name = name.strip_suffix(".rhai").unwrap_or(name);
        let file = |folder: &&PathBuf| folder.join(format!("{name}.rhai")).is_file();
        let mut found = self.folders.iter().filter(file);
        let first = found.next()?;
        let other = match found.next() {
            Some(folder) => folder.display().to_string(),
            None => Library::embedded().find(|script| script.is_called(name)).map(|_| "the library".to_owned())?,
        };
        Some((first, other))
    }

    /// A script by its name, with or without its area: `syscount`, `syscall/syscount`.
    pub fn find(&self, name: &str) -> Option<Script> {
        let name = name.strip_suffix(".rhai").unwrap_or(name);
        // A name is no way out of the folders.
        if name.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
            return None;
        }
        for folder in &self.folders {
            if let Ok(text) = fs::read_to_string(folder.join(format!("{name}.rhai"))) {
                return Some(Script { name: name.to_owned(), text: text.into() });
            }
        }
        Library::embedded().find(|script| script.is_called(name))
    }

    /// What `skep run` was given: a file if there is one, else a name.
    ///
    /// # Errors
    /// Neither, with the nearest name; a file that cannot be read.
    pub fn open(&self, file_or_name: &str) -> Result<Script, Diagnostic> {
        let path = Path::new(file_or_name);
        match fs::read_to_string(path) {
            Ok(text) => return Ok(Script { name: file_or_name.to_owned(), text: text.into() }),
            Err(error) if path.is_file() => {
                return Err(Diagnostic::script(format!(
                    "failed to read `{file_or_name}`: {}",
                    crate::kernel::load::text(&error)
                )));
            }
            Err(_) => {}
        }
        self.find(file_or_name).ok_or_else(|| {
            let error = Diagnostic::script(format!("no script `{file_or_name}`, neither a file nor in the library"));
            let names = EMBEDDED.iter().filter_map(|(name, _)| name.rsplit('/').next());
            match nearest(file_or_name, names) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help("skep list scripts"),
            }
        })
    }

    /// The embedded scripts, by name.
    pub fn embedded() -> impl Iterator<Item = Script> {
        EMBEDDED.iter().map(|(name, text)| Script { name: (*name).to_owned(), text: Cow::Borrowed(text) })
    }
}

/// Scripts below a folder by their names, `net/drops`.
pub fn below(folder: &Path) -> Vec<String> {
    names(folder, "", 0)
}

/// The same of one level and those below it; a few levels, so that a loop of links ends.
fn names(folder: &Path, area: &str, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        match name.strip_suffix(".rhai") {
            _ if name.starts_with('.') => {}
            Some(name) if path.is_file() => found.push(format!("{area}{name}")),
            None if path.is_dir() && depth < 4 => found.extend(names(&path, &format!("{area}{name}/"), depth + 1)),
            _ => {}
        }
    }
    found.sort();
    found
}
