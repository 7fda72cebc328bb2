//! Files of stacks: flame graphs and profiles, by what a file's name asks for.

use crate::diagnostic::Diagnostic;
use crate::kernel::load;
use skep_flamegraphs::format::{self, Format};
use skep_flamegraphs::profile::Profile;
use skep_flamegraphs::svg::Options;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file that is to be written.
#[derive(Clone, Debug)]
pub struct Target {
    pub path: PathBuf,
    pub format: Format,
    pub options: Options,
}

impl PartialEq for Target {
    fn eq(&self, other: &Target) -> bool {
        (&self.path, self.format) == (&other.path, other.format)
    }
}

impl Target {
    /// `format`: what is written whatever the name says.
    ///
    /// # Errors
    /// The name asks for no format that we know.
    pub fn new(path: &str, format: Option<Format>, options: Options) -> Result<Target, Diagnostic> {
        let path = PathBuf::from(path);
        let format = match format {
            Some(format) => format,
            None => Format::of(&path).map_err(|error| Diagnostic::script(error.to_string()))?,
        };
        Ok(Target { path, format, options })
    }

    /// Can it be written? Asked before a run, which may be long. Leaves what is there as it is.
    ///
    /// # Errors
    /// It cannot; why.
    pub fn check(&self) -> Result<(), Diagnostic> {
        let tried = match fs::metadata(&self.path) {
            Ok(_) => File::options().append(true).open(&self.path).map(drop),
            Err(_) => File::create_new(&self.path).and_then(|_| fs::remove_file(&self.path)),
        };
        tried.map_err(|error| self.failed(&error))
    }

    /// Writes the profile: to a file beside it first, so that nobody sees half of one.
    ///
    /// # Errors
    /// No room, no right to; values that the profile does not have.
    pub fn write(&self, profile: &Profile) -> Result<(), Diagnostic> {
        let regular = fs::metadata(&self.path).map_or(true, |found| found.is_file());
        if !regular {
            return self.fill(&self.path, profile);
        }
        let beside = beside(&self.path);
        let written = self
            .fill(&beside, profile)
            .and_then(|()| fs::rename(&beside, &self.path).map_err(|error| self.failed(&error)));
        if written.is_err() {
            // There may be none.
            let _gone = fs::remove_file(&beside);
        }
        written
    }

    fn fill(&self, path: &Path, profile: &Profile) -> Result<(), Diagnostic> {
        let mut file = BufWriter::new(File::create(path).map_err(|error| self.failed(&error))?);
        format::write(profile, self.format, &self.options, &mut file)
            .map_err(|error| Diagnostic::machine(format!("failed to write `{}`: {error}", self.path.display())))?;
        file.flush().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &io::Error) -> Diagnostic {
        Diagnostic::machine(format!("failed to write `{}`: {}", self.path.display(), load::text(error)))
            .help("a folder that is there and yours: -o /tmp/cpu.svg")
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}
