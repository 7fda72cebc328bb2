//! The gate: every chain of a script passes here on its way into the kernel, after its globs, aliases and parameters have
//! become what they stand for. A plan that was shown beforehand proves nothing about what is attached later.

use super::ceilings::beyond;
use super::{Permit, expressions};
use crate::attach_point::AttachPoint;
use crate::confine::capabilities;
use crate::diagnostic::Diagnostic;
use crate::glob;
use crate::plan::{Entry, Source};
use crate::points::Mechanism;
use crate::prepare::{Attach, Prepared, Restrict};
use caps::Capability;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// What a run is held to that somebody's permit allows.
pub struct Gate {
    pub permit: Permit,
    pub uid: u32,
    /// The script is not one of the library.
    pub own_script: bool,
    /// Told what is refused, and what goes through.
    pub tell: Box<dyn Fn(Passed<'_>)>,
    /// Files that are attached to: the very ones that were looked at.
    files: RefCell<Vec<(PathBuf, File)>>,
}

/// What came to the gate.
#[derive(Clone, Copy, Debug)]
pub enum Passed<'a> {
    Refused(&'a str),
    Let(&'a BTreeSet<String>),
}

impl Gate {
    pub fn new(permit: Permit, uid: u32, own_script: bool, tell: Box<dyn Fn(Passed<'_>)>) -> Gate {
        Gate { permit, uid, own_script, tell, files: RefCell::default() }
    }

    /// Prepares an entry by `prepare`, within the permit.
    ///
    /// # Errors
    /// A script diagnostic at what is not permitted; those of `prepare`.
    pub fn pass(
        &self,
        entry: &Entry,
        restrict: &Restrict,
        prepare: impl FnOnce(&Restrict) -> Result<Prepared, Diagnostic>,
    ) -> Result<Prepared, Diagnostic> {
        let told = |error: Diagnostic| {
            (self.tell)(Passed::Refused(&error.message));
            error.at(entry.position)
        };
        self.entry(entry).map_err(told)?;
        let restrict = Restrict { owner: self.permit.own_processes.then_some(self.uid), ..restrict.clone() };
        // Binaries are read as their user may read them; tracefs is for administrators.
        let given_up: &[Capability] =
            if of_binaries(entry) { &[Capability::CAP_DAC_READ_SEARCH, Capability::CAP_SYS_PTRACE] } else { &[] };
        let mut prepared = capabilities::without(given_up, || prepare(&restrict))?;
        self.places(entry, &mut prepared).map_err(told)?;
        (self.tell)(Passed::Let(&names(entry, &prepared)));
        Ok(prepared)
    }

    /// May policies for packets be put in place?
    ///
    /// # Errors
    /// A script diagnostic.
    pub fn policies(&self) -> Result<(), Diagnostic> {
        if self.permit.enforcement {
            return Ok(());
        }
        let error = beyond("a policy for packets", "", "enforcement = true");
        (self.tell)(Passed::Refused(&error.message));
        Err(error)
    }

    /// What can be told before the machine is looked at.
    fn entry(&self, entry: &Entry) -> Result<(), Diagnostic> {
        if let Source::Template { name, .. } = &entry.source
            && !self.permit.templates.iter().any(|pattern| glob::matches(pattern, name))
        {
            return Err(refused(&format!("template `{name}`"), &format!("templates = [{name:?}]")).span(name));
        }
        if self.permit.own_processes {
            let source = entry.source_text();
            let whose = match &entry.source {
                Source::Template { .. } => Some("tells of everybody"),
                Source::Span(span) if span.on.is_some() => Some("may be ended by anybody"),
                Source::Span(span) => span.start.iter().chain(&span.end).find_map(|(_, point)| of_nobody(point)),
                Source::Probe(points) => points.iter().find_map(|(_, point)| of_nobody(point)),
            };
            if let Some(whose) = whose {
                let error = refused(&format!("`{source}`"), "own_processes = false");
                return Err(error.label(format!("{whose}, not of your processes alone")).span(source));
            }
        }
        if self.own_script && !self.permit.kernel_memory {
            expressions::stay_out(entry)?;
        }
        Ok(())
    }

    /// Where it would be attached.
    fn places(&self, entry: &Entry, prepared: &mut Prepared) -> Result<(), Diagnostic> {
        let is_template = matches!(entry.source, Source::Template { .. });
        let units = prepared.units.iter_mut().chain(prepared.span.iter_mut().flat_map(|span| &mut span.units));
        for attach in units.flat_map(|unit| &mut unit.programs).flat_map(|program| &mut program.attach) {
            let shown = match self.file(attach)? {
                // Under the name that the file really has.
                Some(path) => renamed(&attach.shown, &path),
                None => attach.shown.clone(),
            };
            let is_permitted = |pattern: &String| glob::matches(pattern, &shown);
            if !is_template && !self.permit.attach_points.iter().any(is_permitted) {
                return Err(refused(&format!("`{shown}`"), &format!("attach_points = [{shown:?}]")));
            }
        }
        Ok(())
    }

    /// The file that an attachment is in, by the name that it really has. It is held open, and attached to as what it is
    /// now: whoever owns its folder may put another one there.
    fn file(&self, attach: &mut Attach) -> Result<Option<PathBuf>, Diagnostic> {
        let Mechanism::Uprobe { path, .. } = &mut attach.mechanism else { return Ok(None) };
        let mut files = self.files.borrow_mut();
        let known = files.iter().find(|(known, _)| known == path);
        let number = match known {
            Some((_, file)) => file.as_raw_fd(),
            None => {
                let readers = [Capability::CAP_DAC_READ_SEARCH, Capability::CAP_DAC_OVERRIDE];
                let opened = capabilities::without(&readers, || File::open(&*path));
                let file = opened.map_err(|_| {
                    Diagnostic::script(format!("`{}` is not permitted: you may not read it", path.display()))
                })?;
                let number = file.as_raw_fd();
                files.push((path.clone(), file));
                number
            }
        };
        let pinned = PathBuf::from(format!("/proc/self/fd/{number}"));
        let real = fs::read_link(&pinned).unwrap_or_else(|_| path.clone());
        *path = pinned;
        Ok(Some(real))
    }
}

/// `uprobe:/link:main` as `uprobe:/usr/bin/it:main`.
fn renamed(shown: &str, path: &Path) -> String {
    let (provider, rest) = shown.split_once(':').unwrap_or((shown, ""));
    let place = match provider {
        // `usdt:PATH:PROVIDER:NAME`
        "usdt" => rest.rmatch_indices(':').nth(1).map(|(at, _)| &rest[at..]),
        _ => rest.rmatch_indices(':').next().map(|(at, _)| &rest[at..]),
    };
    format!("{provider}:{}{}", path.display(), place.unwrap_or_default())
}

fn refused(what: &str, line: &str) -> Diagnostic {
    let mut error = beyond(what, "", line);
    error.placeless = false;
    error
}

fn of_binaries(entry: &Entry) -> bool {
    match &entry.source {
        Source::Probe(points) => points.iter().any(|(_, point)| is_of_a_binary(point)),
        Source::Span(span) => span.start.iter().chain(&span.end).any(|(_, point)| is_of_a_binary(point)),
        Source::Template { .. } => false,
    }
}

fn is_of_a_binary(point: &AttachPoint) -> bool {
    match point {
        AttachPoint::Uprobe { .. } | AttachPoint::Usdt { .. } => true,
        AttachPoint::FirstOf(list) => list.iter().any(|(_, point)| is_of_a_binary(point)),
        _ => false,
    }
}

/// Why the events of a place cannot be told by their process.
fn of_nobody(point: &AttachPoint) -> Option<&'static str> {
    match point {
        AttachPoint::Packets { .. } => Some("meets packets, which are of nobody"),
        AttachPoint::Iterator { .. } => Some("lists what there is"),
        AttachPoint::FirstOf(list) => list.iter().find_map(|(_, point)| of_nobody(point)),
        _ => None,
    }
}

fn names(entry: &Entry, prepared: &Prepared) -> BTreeSet<String> {
    if let Source::Template { name, .. } = &entry.source {
        return BTreeSet::from([format!("template {name}")]);
    }
    let starts = prepared.span.iter().flat_map(|span| &span.units);
    let units = prepared.units.iter().chain(starts);
    units
        .flat_map(|unit| &unit.programs)
        .flat_map(|program| &program.attach)
        .map(|attach| attach.shown.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_what_they_are() {
        let real = Path::new("/usr/sbin/sshd");
        assert_eq!(renamed("uprobe:/home/a/x:main", real), "uprobe:/usr/sbin/sshd:main");
        assert_eq!(renamed("uretprobe:/home/a:b/x:main+0x4", real), "uretprobe:/usr/sbin/sshd:main+0x4");
        assert_eq!(renamed("usdt:/home/a/x:p:n", real), "usdt:/usr/sbin/sshd:p:n");
    }
}
