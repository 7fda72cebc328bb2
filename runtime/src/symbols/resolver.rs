//! The resolver: stacks of addresses -> frames. Every address becomes at least one frame.

use super::careful::careful;
use super::files::Files;
use super::image::Found;
use super::kernel::Kernel;
use super::mappings::{Backing, Mapping};
use super::perf_map::PerfMap;
use super::processes::{Missing, Processes};
use super::reason;
use super::service::Stack;
use super::vdso::Vdso;
use crate::unwind::frame::Row;
use crate::unwind::sample::Sample;
use crate::unwind::walk::{self, Walked};
use skep_flamegraphs::profile::{Frame, Module, Origin};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;
use std::sync::Arc;

/// Everything that is known of processes and files, and what was found so far. Stays on the thread that made it.
pub struct Resolver {
    /// Inlined functions, files and lines, from debug information.
    inlines: bool,
    pub(super) processes: Processes,
    pub(super) files: Files,
    pub(super) kernel: Kernel,
    perf_maps: HashMap<u32, PerfMap>,
    vdso: Option<Vdso>,
    /// Of files that could not be read.
    modules: HashMap<usize, Arc<Module>>,
}

impl Resolver {
    pub fn new(inlines: bool) -> Resolver {
        let (processes, files, kernel) = Default::default();
        let (perf_maps, modules) = Default::default();
        Resolver { inlines, processes, files, kernel, perf_maps, vdso: None, modules }
    }

    /// Reads what a process has mapped, for when it is gone.
    pub fn read(&mut self, pid: u32) {
        self.processes.read(pid, &mut self.files);
    }

    /// The same for all processes that there are.
    pub fn read_all(&mut self) {
        self.processes.read_all(&mut self.files);
    }

    pub fn stack(&mut self, stack: &Stack) -> Vec<Arc<Frame>> {
        match stack {
            Stack::User { pid, addresses } => self.user(*pid, addresses),
            Stack::Kernel { addresses } => self.kernel(addresses),
        }
    }

    /// The frames of a user stack, given the innermost address first; the root comes first, and inlined functions behind
    /// the one that holds their code. All addresses but the innermost are where calls return to: what stands in front
    /// of them is looked up.
    pub fn user(&mut self, pid: u32, addresses: &[u64]) -> Vec<Arc<Frame>> {
        let mut frames = Vec::with_capacity(addresses.len());
        for (depth, address) in addresses.iter().enumerate().rev() {
            let address = if depth == 0 { *address } else { address.saturating_sub(1) };
            frames.extend_from_slice(&self.at(pid, address).frames);
        }
        frames
    }

    /// The call chain of a sample. Damaged tables may lead their reader beyond what that one checks.
    pub fn unwind(&mut self, sample: &Sample) -> Walked {
        let walked = careful(|| walk::walk(sample, |address| self.row(sample.pid, address)));
        walked.unwrap_or_else(|| Walked { addresses: vec![sample.registers.ip()], end: Some(reason::TABLES_DAMAGED) })
    }

    /// What unwind tables say of an address; where no code is mapped, why.
    fn row(&mut self, pid: u32, address: u64) -> Result<Option<Rc<Row>>, &'static str> {
        let (start, mapping) = self.processes.mapping(pid, address, &mut self.files).map_err(Missing::why)?;
        Ok(match mapping.backing {
            Backing::File(number) => match self.files.image(number, self.inlines) {
                Ok(image) => image.unwind(address.wrapping_add(mapping.bias)),
                Err(_) => None,
            },
            Backing::Vdso => self.vdso.get_or_insert_with(Vdso::find).unwind(address - start),
            Backing::Anonymous | Backing::Special(_) => None,
        })
    }

    /// The frames of a kernel stack, as [`Resolver::user`]. What was inlined there is not known.
    pub fn kernel(&mut self, addresses: &[u64]) -> Vec<Arc<Frame>> {
        let stack = addresses.iter().enumerate().rev();
        stack
            .map(|(depth, address)| self.kernel.frame(if depth == 0 { *address } else { address.saturating_sub(1) }))
            .collect()
    }

    /// An address of a process as text: `main+0x1c`, and of what has no name what is known.
    pub fn user_name(&mut self, pid: u32, address: u64) -> String {
        let found = self.at(pid, address);
        // Inlined functions have no start that an offset could count from.
        let name = found.frames.first().map_or_else(|| format!("{address:#x}"), |frame| frame.name.clone());
        if found.offset == 0 { name } else { format!("{name}+{:#x}", found.offset) }
    }

    fn at(&mut self, pid: u32, address: u64) -> Rc<Found> {
        let (start, mapping) = match self.processes.mapping(pid, address, &mut self.files) {
            Ok(found) => found,
            Err(missing) => {
                let frame = Frame {
                    unresolved: Some(missing.why()),
                    address,
                    ..Frame::named(&format!("{address:#x}"), Origin::User)
                };
                return Rc::new(Found { frames: vec![Arc::new(frame)], offset: 0 });
            }
        };
        let Mapping { bias, backing } = mapping;
        let offset = address.wrapping_add(bias);
        match backing {
            Backing::File(number) => match self.files.image(number, self.inlines) {
                Ok(image) => image.at(offset),
                Err(why) => self.jit(pid, address).unwrap_or_else(|| Rc::new(self.unread(number, offset, why))),
            },
            Backing::Anonymous => self
                .jit(pid, address)
                .unwrap_or_else(|| Rc::new(Found::unresolved(&special("[anon]"), address - start, reason::JIT))),
            Backing::Vdso => {
                let (frame, offset) = self.vdso.get_or_insert_with(Vdso::find).at(address - start);
                Rc::new(Found { frames: vec![frame], offset })
            }
            Backing::Special(name) => Rc::new(Found::unresolved(&special(name), address - start, reason::KERNELS_PAGE)),
        }
    }

    /// Code written at run time, by the name that its run time gave it.
    fn jit(&mut self, pid: u32, address: u64) -> Option<Rc<Found>> {
        let map = match self.perf_maps.entry(pid) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(PerfMap::read(pid)),
        };
        if map.find(address).is_none() {
            map.read_on();
        }
        let (start, name) = map.find(address)?;
        let frame = Frame { address, ..Frame::named(name, Origin::Jit) };
        Some(Rc::new(Found { frames: vec![Arc::new(frame)], offset: address - start }))
    }

    /// Of a file that could not be read, not even the headers: its offset is the file's own.
    fn unread(&mut self, number: usize, offset: u64, why: &'static str) -> Found {
        let path = self.files.path(number);
        let module =
            self.modules.entry(number).or_insert_with(|| Arc::new(Module { path: path.into(), build_id: None }));
        Found::unresolved(module, offset, why)
    }
}

fn special(name: &str) -> Arc<Module> {
    Arc::new(Module { path: name.into(), build_id: None })
}
