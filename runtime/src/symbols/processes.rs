//! Processes and the code that they have mapped: read from /proc when first asked for, kept when they end.

use super::files::{Files, Identity, Whose};
use super::mappings::{self, Backing, Mapping, Space};
use super::reason;
use super::records::{Event, Mapped};
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Processes that ended are kept until there are this many; the oldest go first.
const KEPT: usize = 8192;
/// Programs that a process ran before its present one and that are kept: a stack may be of any of them.
const EARLIER: usize = 4;
/// An address that is not mapped is worth another reading after this long.
const STALE: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Process {
    space: Rc<Space>,
    earlier: Vec<Rc<Space>>,
    /// When /proc was read last.
    read: Option<Instant>,
    /// It ended, or its number never was that of a process while we looked.
    ended: bool,
}

/// All processes that were asked for or that a watch told of.
#[derive(Default)]
pub struct Processes {
    all: HashMap<u32, Process>,
    /// Records are for the processes that were read, and their children.
    pub only_known: bool,
    /// In the order of their ends.
    ended: VecDeque<u32>,
}

/// Why an address is in no mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    NotMapped,
    /// Its process was gone before anything of it was known.
    ProcessEnded,
}

impl Missing {
    pub fn why(self) -> &'static str {
        match self {
            Missing::NotMapped => reason::NOT_MAPPED,
            Missing::ProcessEnded => reason::PROCESS_ENDED,
        }
    }
}

impl Processes {
    /// The mapping that an address of a process lies in, and where that starts.
    pub fn mapping(&mut self, pid: u32, address: u64, files: &mut Files) -> Result<(u64, Mapping), Missing> {
        if let Some(found) = self.known(pid, address) {
            return Ok(found);
        }
        let stale = |process: &Process| !process.ended && process.read.is_none_or(|at| at.elapsed() > STALE);
        if self.all.get(&pid).is_none_or(stale) {
            self.read(pid, files);
        }
        self.known(pid, address).ok_or_else(|| match self.all.get(&pid) {
            Some(process) if !process.space.is_empty() || !process.earlier.is_empty() => Missing::NotMapped,
            _ => Missing::ProcessEnded,
        })
    }

    fn known(&self, pid: u32, address: u64) -> Option<(u64, Mapping)> {
        let process = self.all.get(&pid)?;
        let spaces = std::iter::once(&process.space).chain(process.earlier.iter().rev());
        spaces.filter_map(|space| space.get(address)).map(|(range, mapping)| (range.start, *mapping)).next()
    }

    /// Reads what a process has mapped now; of one that is gone, keeps what is known.
    pub fn read(&mut self, pid: u32, files: &mut Files) {
        let text = fs::read(format!("/proc/{pid}/maps"));
        let process = self.all.entry(pid).or_default();
        process.read = Some(Instant::now());
        match text {
            Ok(text) if !text.is_empty() => {
                let mut space = Space::default();
                for mappings::Line { range, file_offset, inode, path, deleted } in
                    mappings::lines(&String::from_utf8_lossy(&text))
                {
                    let backing = mappings::without_file(&path).unwrap_or_else(|| {
                        let whose = Whose { pid, range: range.clone() };
                        Backing::File(files.seen(Identity::Inode(inode), &path, deleted, &whose))
                    });
                    space.insert(range.clone(), Mapping::new(range.start, file_offset, backing));
                }
                // Libraries may have gone since samples were taken in them.
                if *process.space != space {
                    process.replace(Rc::new(space));
                }
            }
            // A zombie or a kernel thread has an empty file.
            _ => self.ended(pid),
        }
    }

    /// Reads all processes that there are.
    pub fn read_all(&mut self, files: &mut Files) {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        for pid in pids.filter(|pid| *pid != std::process::id()).collect::<Vec<u32>>() {
            self.read(pid, files);
        }
    }

    /// A watch tells of a process. Of those that were never asked for it does so too, unless [`Processes::only_known`].
    pub fn happened(&mut self, event: Event, files: &mut Files) {
        match event {
            Event::Fork { pid, parent } => {
                let Some(space) = self.all.get(&parent).map(|parent| parent.space.clone()) else {
                    return;
                };
                let process = self.all.entry(pid).or_default();
                // One that lives was read from /proc meanwhile, which says more.
                if process.ended || process.space.is_empty() {
                    process.replace(space);
                    (process.read, process.ended) = (None, false);
                }
            }
            Event::Exec { pid } => {
                if let Some(process) = self.process(pid) {
                    process.replace(Rc::default());
                }
            }
            Event::Map { pid, mapped } => {
                let Some(process) = self.process(pid) else {
                    return;
                };
                let Mapped { range, file_offset, identity, path, deleted } = *mapped;
                let backing = mappings::without_file(&path).unwrap_or_else(|| {
                    let whose = Whose { pid, range: range.clone() };
                    Backing::File(files.seen(identity, &path, deleted, &whose))
                });
                let mapping = Mapping::new(range.start, file_offset, backing);
                Rc::make_mut(&mut process.space).insert(range, mapping);
            }
            Event::Exit { pid } => self.ended(pid),
            Event::Lost(_) => {}
        }
    }

    /// The process that a record is about; `None` if it is none of ours.
    fn process(&mut self, pid: u32) -> Option<&mut Process> {
        if self.only_known { self.all.get_mut(&pid) } else { Some(self.all.entry(pid).or_default()) }
    }

    /// A process ended: what it had mapped is kept for samples that were taken in it.
    pub fn ended(&mut self, pid: u32) {
        let Some(process) = self.all.get_mut(&pid).filter(|process| !process.ended) else {
            return;
        };
        process.ended = true;
        self.ended.push_back(pid);
        while self.ended.len() > KEPT
            && let Some(oldest) = self.ended.pop_front()
        {
            // Its number may belong to another one by now.
            if self.all.get(&oldest).is_some_and(|process| process.ended) {
                self.all.remove(&oldest);
            }
        }
    }
}

impl Process {
    fn replace(&mut self, space: Rc<Space>) {
        let old = std::mem::replace(&mut self.space, space);
        if !old.is_empty() {
            if self.earlier.len() >= EARLIER {
                self.earlier.remove(0);
            }
            self.earlier.push(old);
        }
    }
}
