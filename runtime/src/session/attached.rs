//! The programs of an entry and what keeps them on their attach points: taken off and put back while the entry goes on,
//! where its budget asks for it.

use super::{functions, links};
use crate::budget::reach;
use crate::diagnostic::Diagnostic;
use crate::kernel::attach::Link;
use crate::kernel::cost::{self, Cost};
use crate::kernel::load::text;
use crate::kernel::map::Map;
use crate::points::Mechanism;
use crate::prepare::Program;
use crate::session::Refused;
use crate::span;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Attached programs; dropping it detaches them.
#[derive(Default)]
pub struct Attached {
    programs: Vec<Loaded>,
    links: Vec<Link>,
    /// What programs keep of something that has begun. It is stale once they were away.
    begun: Vec<Begun>,
    /// How much of it was cleared.
    cleared: u64,
    /// What links did not hear of until they were dropped.
    missed: u64,
}

/// A table of what has begun.
pub struct Begun {
    pub map: Map,
    pub counted: Counted,
}

/// What of it is counted as begun where it is put there, and as ended where it is taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Every entry.
    Entries,
    /// Those that wait: a thread's stays for its next start.
    Spans,
    Nothing,
}

impl Begun {
    fn waiting(&self) -> io::Result<u64> {
        match self.counted {
            Counted::Entries => Ok(self.map.entries()?.len() as u64),
            Counted::Spans => span::open(&self.map),
            Counted::Nothing => Ok(0),
        }
    }
}

struct Loaded {
    program: Program,
    fd: OwnedFd,
    /// Functions of a glob: one that the kernel refuses does not keep us from the others.
    many: bool,
    /// Nanoseconds from the attach point to the program and back.
    reach: u64,
}

impl Attached {
    pub fn new(begun: Vec<Begun>) -> Attached {
        Attached { begun, ..Attached::default() }
    }

    /// Puts one more program on its attach points.
    ///
    /// # Errors
    /// As [`links::attach`].
    pub fn attach(
        &mut self,
        program: Program,
        fd: OwnedFd,
        many: bool,
        refused: &mut Vec<Refused>,
    ) -> Result<(), Diagnostic> {
        let reach = program.attach.iter().map(|one| reach::nanos(&one.mechanism)).max().unwrap_or_default();
        let loaded = Loaded { program, fd, many, reach };
        self.links.extend(loaded.links(refused)?);
        self.programs.push(loaded);
        Ok(())
    }

    /// Puts all programs back on their attach points, in their order. What had begun before is forgotten: its end may
    /// have passed unseen.
    ///
    /// # Errors
    /// As [`links::attach`]: an attach point may be gone.
    pub fn put_back(&mut self) -> Result<(), Diagnostic> {
        if !self.links.is_empty() {
            return Ok(());
        }
        let waiting = self.waiting().and_then(|waiting| {
            self.begun.iter().try_for_each(|begun| begun.map.clear())?;
            Ok(waiting)
        });
        self.cleared =
            waiting.map_err(|error| Diagnostic::machine(format!("failed to clear a table: {}", text(&error))))?;
        for loaded in &self.programs {
            self.links.extend(loaded.links(&mut Vec::new())?);
        }
        Ok(())
    }

    /// The links, for whoever drops them: detaching may take a while.
    pub fn take_links(&mut self) -> Vec<Link> {
        self.missed = self.missed();
        std::mem::take(&mut self.links)
    }

    /// Is it an iterator, which has run when it is attached, or are there no programs?
    pub fn is_over(&self) -> bool {
        let mut all = self.programs.iter().flat_map(|loaded| &loaded.program.attach);
        all.all(|one| matches!(one.mechanism, Mechanism::Iterator { .. }))
    }

    /// What began and was not evicted: it waits for its end, or was forgotten by [`Attached::put_back`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn waiting(&self) -> io::Result<u64> {
        Ok(self.cleared + self.begun.iter().map(Begun::waiting).sum::<io::Result<u64>>()?)
    }

    /// What attach points did not hear of so far.
    pub fn missed(&self) -> u64 {
        self.missed + self.links.iter().map(Link::missed).sum::<u64>()
    }

    pub fn links(&self) -> usize {
        self.links.len()
    }

    pub fn programs(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.programs.iter().map(|loaded| loaded.fd.as_fd())
    }

    /// What each program cost so far, and how much reaching it comes to a run: [`reach`].
    pub fn costs(&self) -> Vec<(Cost, u64)> {
        self.programs.iter().map(|loaded| (cost::of(loaded.fd.as_fd()), loaded.reach)).collect()
    }
}

impl Loaded {
    fn links(&self, refused: &mut Vec<Refused>) -> Result<Vec<Link>, Diagnostic> {
        match self.many {
            true => functions::attach(&self.program, &self.fd, refused),
            false => links::attach(&self.program, &self.fd),
        }
    }
}

/// Drops links side by side: each perf tracepoint waits some 50 ms for the kernel's readers.
pub fn drop_together(links: Vec<Link>) {
    if links.len() < 2 {
        return drop(links);
    }
    let share = links.len().div_ceil(8);
    let mut links = links.into_iter().peekable();
    std::thread::scope(|scope| {
        while links.peek().is_some() {
            let part: Vec<Link> = links.by_ref().take(share).collect();
            // Where no thread is to be had, they go with what it was to do: here, one after the other.
            let _none = std::thread::Builder::new().spawn_scoped(scope, move || drop(part));
        }
    });
}
