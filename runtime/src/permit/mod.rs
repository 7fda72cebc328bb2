//! Permits: what somebody without privilege may have skep do for them. docs/privileges.md describes the file.
//!
//! ```text
//! /etc/skep/policy.toml ─► file ─► Permit ─► ceilings (what is asked for)  gate (what is about to be attached)
//! ```

pub mod ceilings;
mod expressions;
pub mod file;
pub mod gate;

use crate::budget::Budget;
use std::fmt;
use std::fs;
use std::time::Duration;

/// Where the file is, unless the helper is told otherwise.
pub const FILE: &str = "/etc/skep/policy.toml";

/// What some people may do. What it does not say is as little as can be.
#[derive(Clone, Debug, PartialEq)]
pub struct Permit {
    /// Where it begins in its file.
    pub line: usize,
    pub users: Vec<Who>,
    pub groups: Vec<Who>,
    /// Scripts of the library, as globs.
    pub scripts: Vec<String>,
    /// Any other script.
    pub own_scripts: bool,
    /// Dedicated templates, as globs.
    pub templates: Vec<String>,
    /// What is attached to, as globs of what a plan shows.
    pub attach_points: Vec<String>,
    pub max_overhead: Budget,
    pub max_time: Duration,
    pub max_memory: u64,
    pub max_probes: usize,
    /// At the same time.
    pub runs: usize,
    /// Policies for packets.
    pub enforcement: bool,
    /// Nothing of other users' processes.
    pub own_processes: bool,
    /// Expressions of own scripts may follow pointers of the kernel.
    pub kernel_memory: bool,
}

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    Everybody,
    Number(u32),
    Name(String),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Everybody => f.write_str("*"),
            Who::Number(number) => write!(f, "{number}"),
            Who::Name(name) => f.write_str(name),
        }
    }
}

/// Somebody as the kernel vouches for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

impl Person {
    /// The name of the user, where /etc/passwd has one.
    pub fn name(&self) -> Option<String> {
        named("/etc/passwd", self.uid)
    }

    fn is(&self, who: &Who) -> bool {
        match who {
            Who::Everybody => true,
            Who::Number(number) => *number == self.uid,
            Who::Name(name) => self.name().as_ref() == Some(name),
        }
    }

    fn is_in(&self, who: &Who) -> bool {
        let mut all = self.groups.iter().chain([&self.gid]);
        match who {
            Who::Everybody => true,
            Who::Number(number) => all.any(|group| group == number),
            Who::Name(name) => all.any(|group| named("/etc/group", *group).as_ref() == Some(name)),
        }
    }
}

/// `name:x:number:…`
fn named(file: &str, number: u32) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)?.parse() == Ok(number)).then(|| name.to_owned())
    })
}

/// The first permit that names somebody, or a group of theirs. Later ones add nothing.
pub fn of<'a>(permits: &'a [Permit], person: &Person) -> Option<&'a Permit> {
    let is = |permit: &&Permit| {
        permit.users.iter().any(|who| person.is(who)) || permit.groups.iter().any(|who| person.is_in(who))
    };
    permits.iter().find(is)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_permit_that_names_somebody_is_theirs() {
        let text = "[[permit]]\nusers = [1000]\nruns = 1\n[[permit]]\ngroups = [7]\nruns = 2\n\
                    [[permit]]\nusers = [\"*\"]\nruns = 3\n";
        let permits = file::parse(text).unwrap();
        let person = |uid, gid, groups: &[u32]| Person { uid, gid, groups: groups.to_vec() };
        let runs = |person| of(&permits, &person).map(|permit| permit.runs);
        assert_eq!(runs(person(1000, 1000, &[7])), Some(1));
        assert_eq!(runs(person(1001, 1001, &[5, 7])), Some(2));
        assert_eq!(runs(person(1001, 7, &[])), Some(2));
        assert_eq!(runs(person(1002, 1002, &[])), Some(3));
        assert_eq!(of(&permits[..2], &person(1002, 1002, &[])), None);
    }
}
