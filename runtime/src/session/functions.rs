//! Many functions of the kernel: one that the kernel refuses does not keep us from the others.

use super::links::{attach_one, failed};
use crate::attach_point::AttachPoint;
use crate::diagnostic::Diagnostic;
use crate::glob;
use crate::kernel::attach::{self, Link};
use crate::plan::{Entry, Source};
use crate::points::Mechanism;
use crate::prepare::{Attach, Load, Program};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// A function that matches a glob and is not watched.
#[derive(Clone, Debug)]
pub struct Refused {
    pub shown: String,
    pub reason: Diagnostic,
}

/// Do the program's functions come from a glob? Then nobody asked for each of them.
pub fn are_many(entry: &Entry, program: &Program) -> bool {
    let of_kernel = |one: &Attach| matches!(one.mechanism, Mechanism::Kprobe { .. } | Mechanism::Trampoline { .. });
    // A program for many functions takes a link for many: as a perf event's it would read what is not there (cookies).
    if program.load == Load::KprobeMulti {
        return true;
    }
    let is_glob = |(text, _): &(String, AttachPoint)| glob::is_glob(text);
    let globs = match &entry.source {
        Source::Probe(written) => written.iter().any(is_glob),
        Source::Span(span) => span.start.iter().chain(&span.end).any(is_glob),
        Source::Template { .. } => false,
    };
    globs && program.attach.iter().all(of_kernel)
}

/// All of a program's functions, for one reason.
pub fn refused(program: &Program, reason: &Diagnostic) -> Vec<Refused> {
    program.attach.iter().map(|one| Refused { shown: one.shown.clone(), reason: reason.clone() }).collect()
}

/// Attaches to every function that the kernel lets us attach to.
///
/// # Errors
/// What is not about a single function: no privilege, no file descriptor.
pub fn attach(program: &Program, fd: &OwnedFd, refused: &mut Vec<Refused>) -> Result<Vec<Link>, Diagnostic> {
    let mut links = Vec::new();
    for returns in [false, true] {
        let of_direction = |one: &&Attach| match &one.mechanism {
            Mechanism::Kprobe { returns: own, .. } | Mechanism::Trampoline { returns: own, .. } => *own == returns,
            _ => false,
        };
        let chosen: Vec<&Attach> = program.attach.iter().filter(of_direction).collect();
        if program.load == Load::KprobeMulti {
            together(&chosen, returns, fd, &mut links, refused)?;
            continue;
        }
        for one in chosen {
            match attach_one(program, one, fd) {
                Ok(link) => links.push(link),
                Err(error) => refuse(one, error, refused)?,
            }
        }
    }
    Ok(links)
}

/// One link for all of them; where it fails, one for each half, until those that are to blame are found.
fn together(
    chosen: &[&Attach],
    returns: bool,
    fd: &OwnedFd,
    links: &mut Vec<Link>,
    refused: &mut Vec<Refused>,
) -> Result<(), Diagnostic> {
    let named = chosen.iter().filter_map(|one| match &one.mechanism {
        Mechanism::Kprobe { function: Some(function), .. } => Some((function.as_str(), one.cookie)),
        _ => None,
    });
    let (functions, cookies): (Vec<&str>, Vec<u64>) = named.unzip();
    match (attach::kprobe_multi(fd.as_fd(), &functions, returns, &cookies), chosen) {
        (_, []) => Ok(()),
        (Ok(link), _) => {
            links.push(link);
            Ok(())
        }
        (Err(error), [one]) => refuse(one, error, refused),
        (Err(error), [one, ..]) if !is_about_one(&error) => Err(failed(&one.shown, &error)),
        (Err(_), _) => {
            let (first, second) = chosen.split_at(chosen.len() / 2);
            together(first, returns, fd, links, refused)?;
            together(second, returns, fd, links, refused)
        }
    }
}

fn refuse(one: &Attach, error: io::Error, refused: &mut Vec<Refused>) -> Result<(), Diagnostic> {
    let reason = failed(&one.shown, &error);
    if !is_about_one(&error) {
        return Err(reason);
    }
    refused.push(Refused { shown: one.shown.clone(), reason });
    Ok(())
}

/// Is it the function's fault, not the machine's?
fn is_about_one(error: &io::Error) -> bool {
    let own =
        [libc::ESRCH, libc::ENOENT, libc::EINVAL, libc::EADDRNOTAVAIL, libc::EBUSY, libc::EOPNOTSUPP, libc::EILSEQ];
    error.raw_os_error().is_some_and(|number| own.contains(&number))
}
