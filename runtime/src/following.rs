//! Following: the process of `--pid` or `-c` and those that it and its children start, for as long as they live.

use crate::diagnostic::Diagnostic;
use crate::kernel::attach::{self, Link};
use crate::kernel::load::{self, ProgramKind, Request};
use crate::kernel::map::{self, Map, Shape};
use crate::machine::Machine;
use crate::trust::{self, Trust};
use skep_templates::catalog::Catalog;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Processes that are followed at a time, at most; 4 MB.
const ROOM: u32 = 65_536;
const TEMPLATE: &str = "followed";
/// Programs of the template, and their tracepoints.
const PROGRAMS: [(&str, &str); 2] = [("forked", "sched_process_fork"), ("freed", "sched_process_free")];
/// The program that looks for a process whose number is that of another pid namespace than the first.
const FIND: &str = "find";

/// Processes that are followed, from [`Following::start`] until this is dropped.
pub struct Following {
    processes: Map,
    trust: Map,
    _links: Vec<Link>,
    _programs: Vec<OwnedFd>,
}

impl Following {
    /// Follows `pid`.
    ///
    /// # Errors
    /// A machine diagnostic: no privilege, no type information, a kernel that refuses.
    pub fn start(pid: u32, catalog: &Catalog, machine: &Machine) -> Result<Following, Diagnostic> {
        let refused = |error: io::Error| load::refused("--follow-forks", &error);
        let template = catalog.get(TEMPLATE);
        let template =
            template.ok_or_else(|| Diagnostic::bug(format!("template `{TEMPLATE}` is not in this binary")))?;
        let namespace = machine.namespace();
        let shape = Shape { map_type: map::HASH, key_size: 4, value_size: 1, max_entries: ROOM };
        let processes = Map::create_sparse("followed", shape).map_err(refused)?;
        if namespace.is_none() {
            processes.update(&pid.to_ne_bytes(), &[1]).map_err(refused)?;
        }
        let trust = Map::create("trust", trust::shape()).map_err(refused)?;
        let mut programs = Vec::with_capacity(PROGRAMS.len());
        for (program, tracepoint) in PROGRAMS {
            let attach_btf_id = machine.tracepoint_id(tracepoint)?;
            let expected_attach_type = load::TRACE_RAW_TP;
            programs.push((
                program.to_owned(),
                ProgramKind { prog_type: load::TRACING, expected_attach_type, attach_btf_id },
            ));
        }
        let maps = HashMap::from([
            ("followed".to_owned(), processes.try_clone().map_err(refused)?),
            ("trust".to_owned(), trust.try_clone().map_err(refused)?),
        ]);
        let mut constants = Vec::new();
        if let Some(namespace) = namespace {
            constants.push(("first".to_owned(), pid.to_ne_bytes().to_vec()));
            constants.push(("first_namespace".to_owned(), namespace.inode.to_ne_bytes().to_vec()));
            let attach_btf_id = machine.function_id("bpf_iter_task")?;
            let expected_attach_type = load::TRACE_ITER;
            programs
                .push((FIND.to_owned(), ProgramKind { prog_type: load::TRACING, expected_attach_type, attach_btf_id }));
        }
        let request = Request {
            template: TEMPLATE,
            object: template.object(),
            constants: &constants,
            slots: &[],
            programs: &programs,
            module_types: None,
            maps,
        };
        let programs = load::load(request)?.programs;
        let (by_tracepoint, find) = programs.split_at(PROGRAMS.len());
        let attach = |program: &OwnedFd| attach::tracing(program.as_fd(), load::TRACE_RAW_TP, 0);
        let links = by_tracepoint.iter().map(attach).collect::<io::Result<_>>().map_err(refused)?;
        for program in find {
            drop(attach::iterator(program.as_fd()).map_err(refused)?);
        }
        Ok(Following { processes, trust, _links: links, _programs: programs })
    }

    /// Those that are followed now, by their number in the first pid namespace.
    pub fn processes(&self) -> &Map {
        &self.processes
    }

    /// How many were not followed because there was no room.
    ///
    /// # Errors
    /// The kernel's.
    pub fn left_out(&self) -> io::Result<u64> {
        Ok(Trust::read(&self.trust, true)?.lost_map)
    }
}
