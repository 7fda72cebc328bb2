//! The machine that a plan is made for: this one, or one whose tracefs was captured into a folder.

use crate::diagnostic::{Diagnostic, nearest};
use crate::kernel::functions::Functions;
use crate::kernel::load::{self, ProgramKind};
use crate::kernel::tracefs::{Format, Tracefs};
use crate::kernel::{arch, attach, btf, namespace};
use crate::slot::assembler::{Alu, Helper, Insn, Operand};
use crate::slot::ir::PidNamespace;
use crate::types::{KernelTypes, Record};
use skep_templates::btf::Kind;
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

mod functions;

/// Facts are looked up once, when they are first needed.
pub struct Machine {
    tracefs: OnceCell<Result<Tracefs, io::ErrorKind>>,
    captured: bool,
    /// Nothing is known of the machine but its kernel's types.
    only_types: bool,
    types: OnceCell<Rc<KernelTypes>>,
    functions: Functions,
    fentry: OnceCell<Result<(), io::ErrorKind>>,
    kprobe_multi: OnceCell<bool>,
    multi: OnceCell<bool>,
    cookies: [OnceCell<bool>; 2],
    ancestor_cgroups: OnceCell<bool>,
    namespace: OnceCell<Option<PidNamespace>>,
    /// For tests and for kernels where a raw tracepoint does not answer to its event's name.
    pub avoid_raw: bool,
    /// For trials of what is taken where a trampoline is not to be had.
    pub avoid_trampolines: bool,
    /// Fields that this process may not look up are taken for granted: for plans, which run nothing.
    pub assume_fields: bool,
}

/// What there is to know of one tracepoint.
pub enum Lookup {
    Found(Format),
    /// With the nearest name that exists.
    Missing(Option<String>),
    /// tracefs belongs to root, and we are not.
    Unreadable,
}

impl Machine {
    pub fn live() -> Machine {
        Machine {
            tracefs: OnceCell::new(),
            captured: false,
            only_types: false,
            types: OnceCell::new(),
            functions: Functions::live(),
            fentry: OnceCell::new(),
            kprobe_multi: OnceCell::new(),
            multi: OnceCell::new(),
            cookies: [OnceCell::new(), OnceCell::new()],
            ancestor_cgroups: OnceCell::new(),
            namespace: OnceCell::new(),
            avoid_raw: false,
            avoid_trampolines: false,
            assume_fields: false,
        }
    }

    /// A folder that holds `tracing/events/CATEGORY/NAME/format`, `tracing/available_filter_functions`, `kallsyms`,
    /// `blacklist` and `btf/vmlinux`, as far as a plan needs them; taken to be as able as the newest kernel.
    pub fn captured(folder: &Path) -> Machine {
        let functions = Functions::captured(folder);
        let machine = Machine { captured: true, functions, ..Machine::live() };
        machine.tracefs.get_or_init(|| Ok(Tracefs::captured(&folder.join("tracing"))));
        let btf = folder.join("btf");
        let btf = if btf.is_dir() { btf } else { PathBuf::new() };
        machine.types.get_or_init(|| Rc::new(KernelTypes::folder(&btf)));
        machine
    }

    /// A machine of which only the kernel's types are at hand, in a file.
    ///
    /// # Errors
    /// A machine diagnostic: the file cannot be read, or holds no types.
    pub fn with_types(file: &Path) -> Result<Machine, Diagnostic> {
        let types = KernelTypes::file(file).map_err(|error| {
            Diagnostic::machine(format!("`{}` holds no types of a kernel: {}", file.display(), load::text(&error)))
                .help("a copy of its /sys/kernel/btf/vmlinux, or its vmlinux with a .BTF section")
        })?;
        let functions = Functions::named(&types.names(&[Kind::Function]));
        let machine = Machine { captured: true, only_types: true, functions, ..Machine::live() };
        machine.types.get_or_init(|| Rc::new(types));
        Ok(machine)
    }

    fn tracefs(&self) -> Result<&Tracefs, io::ErrorKind> {
        let opened = self.tracefs.get_or_init(|| Tracefs::open().map_err(|error| error.kind()));
        opened.as_ref().map_err(|kind| *kind)
    }

    /// # Errors
    /// A machine diagnostic: tracefs is neither mounted nor mountable, or cannot be read.
    pub fn tracepoint(&self, category: &str, name: &str) -> Result<Lookup, Diagnostic> {
        if self.only_types {
            let near = || nearest(name, self.types().tracepoint_names().iter().map(String::as_str)).map(str::to_owned);
            return Ok(match self.types().record(category, name) {
                Record::Known(format) => Lookup::Found(format),
                Record::Exists => Lookup::Unreadable,
                Record::Missing => Lookup::Missing(near().map(|near| format!("tracepoint:{category}:{near}"))),
            });
        }
        let tracefs = match self.tracefs() {
            Ok(tracefs) => tracefs,
            Err(io::ErrorKind::PermissionDenied) => return Ok(Lookup::Unreadable),
            Err(kind) => return Err(no_tracefs(kind)),
        };
        match tracefs.format(category, name) {
            Ok(Some(format)) => Ok(Lookup::Found(format)),
            Ok(None) => Ok(Lookup::Missing(self.near(category, name))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(Lookup::Unreadable),
            Err(error) => Err(Diagnostic::machine(format!(
                "failed to read tracepoint `{category}:{name}`: {}",
                load::text(&error)
            ))),
        }
    }

    /// May this process look at the tracepoints?
    ///
    /// # Errors
    /// A machine diagnostic where it may not.
    pub fn require_tracepoints(&self) -> Result<(), Diagnostic> {
        match self.tracefs() {
            Err(io::ErrorKind::PermissionDenied) => {
                Err(Diagnostic::machine("only root may read this machine's tracepoints")
                    .help("sudo skep list 'tracepoint:*'"))
            }
            Err(kind) => Err(no_tracefs(kind)),
            Ok(_) => Ok(()),
        }
    }

    /// Every tracepoint by category; empty where this process may not look.
    ///
    /// # Errors
    /// As [`Machine::tracepoint`].
    pub fn tracepoints(&self) -> Result<BTreeMap<String, Vec<String>>, Diagnostic> {
        if self.only_types {
            return Ok(BTreeMap::from([("?".to_owned(), self.types().tracepoint_names())]));
        }
        match self.tracefs() {
            Ok(tracefs) => match tracefs.tracepoints() {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(BTreeMap::new()),
                Err(error) => Err(Diagnostic::machine(format!("failed to list tracepoints: {}", load::text(&error)))),
                Ok(all) => Ok(all),
            },
            Err(io::ErrorKind::PermissionDenied) => Ok(BTreeMap::new()),
            Err(kind) => Err(no_tracefs(kind)),
        }
    }

    fn near(&self, category: &str, name: &str) -> Option<String> {
        let all = self.tracepoints().ok()?;
        let same = all.get(category).into_iter().flatten().map(String::as_str);
        if let Some(near) = nearest(name, same) {
            return Some(format!("tracepoint:{category}:{near}"));
        }
        if let Some((other, _)) = all.iter().find(|(_, names)| names.iter().any(|one| one == name)) {
            return Some(format!("tracepoint:{other}:{name}"));
        }
        nearest(category, all.keys().map(String::as_str)).map(|near| format!("tracepoint:{near}:{name}"))
    }

    /// The pid namespace that processes are numbered by, where it is not the first one.
    pub fn namespace(&self) -> Option<PidNamespace> {
        if self.captured { None } else { *self.namespace.get_or_init(namespace::own) }
    }

    /// Does the kernel carry its own type information?
    pub fn has_btf(&self) -> bool {
        self.captured || btf::exists()
    }

    /// The number of a system call's tracepoints, where the raw one may stand for them.
    pub fn syscall(&self, name: &str) -> Option<u32> {
        if self.avoid_raw || !self.has_btf() { None } else { arch::syscall_number(name) }
    }

    /// Can a program ask at which of its attach points it runs? Tried once for each kind of program.
    pub fn has_cookies(&self, prog_type: u32) -> bool {
        let raw = usize::from(prog_type == load::RAW_TRACEPOINT);
        *self.cookies[raw].get_or_init(|| {
            let ask = [Insn::call(Helper::GetAttachCookie), Insn::exit()];
            let kind = ProgramKind { prog_type, expected_attach_type: 0, attach_btf_id: 0 };
            self.assume(load::load_bare(kind, &ask).map(drop))
        })
    }

    /// Can a program ask for the cgroups above the current task's own? All tracing programs can or none.
    pub fn has_ancestor_cgroups(&self) -> bool {
        *self.ancestor_cgroups.get_or_init(|| {
            let level = Insn::alu(Alu::Move, 1, Operand::Imm(0));
            let ask = [level, Insn::call(Helper::GetCurrentAncestorCgroupId), Insn::exit()];
            let kind = ProgramKind { prog_type: load::RAW_TRACEPOINT, expected_attach_type: 0, attach_btf_id: 0 };
            self.assume(load::load_bare(kind, &ask).map(drop))
        })
    }

    /// Can one link hold many uprobes? Linux 6.6.
    pub fn has_uprobe_multi(&self) -> bool {
        *self.multi.get_or_init(|| {
            let code = [Insn::alu(Alu::Move, 0, Operand::Imm(0)), Insn::exit()];
            let kind = ProgramKind {
                prog_type: load::KPROBE,
                expected_attach_type: load::TRACE_UPROBE_MULTI,
                attach_btf_id: 0,
            };
            let tried = load::load_bare(kind, &code).and_then(|program| {
                let folder = attach::Uprobe { path: Path::new("/"), returns: false, pid: None };
                // A folder cannot be probed: a kernel that knows the call says so, another says EINVAL.
                match attach::uprobe_multi(program.as_fd(), &folder, &[attach::UserPlace::default()]) {
                    Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Err(error),
                    _ => Ok(()),
                }
            });
            self.assume(tried)
        })
    }

    /// A plan without privilege, or for another machine, takes a feature for granted.
    fn assume(&self, tried: io::Result<()>) -> bool {
        match tried {
            Ok(()) => true,
            Err(error) => self.captured || matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES)),
        }
    }
}

fn no_tracefs(kind: io::ErrorKind) -> Diagnostic {
    Diagnostic::machine(format!("tracefs is not mounted and cannot be mounted: {kind}"))
        .help("sudo mount -t tracefs tracefs /sys/kernel/tracing")
}

impl Machine {
    /// The kernel's types; nothing is read before it is asked for.
    pub fn types(&self) -> Rc<KernelTypes> {
        self.types.get_or_init(|| Rc::new(KernelTypes::folder(Path::new(btf::FOLDER)))).clone()
    }

    /// The types of a kernel that is not here: nobody but they can say what it lacks.
    pub fn types_of_another(&self) -> Option<Rc<KernelTypes>> {
        (self.captured && self.types().vmlinux().is_some()).then(|| self.types())
    }

    /// How many arguments a tracepoint gives to its programs; `None` where it is not known.
    pub fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        Some(self.types().tracepoint(name)?.arguments.len())
    }
}
