//! Loading: maps created, programs verified. What the verifier says of a refused program goes to a file, not to a user.

use super::map::{self, Map};
use super::missed;
use super::object::{Content, CoreBy, Linked, Linker};
use super::sys::{self, BtfLoad, Command, ProgramLoad, bpf, bpf_fd};
use crate::aggregate::near;
use crate::diagnostic::Diagnostic;
use crate::slot::assembler::Insn;
use crate::span;
use aya_obj::btf::BtfFeatures;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// What kind of program to load; numbers of `enum bpf_prog_type` and `enum bpf_attach_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProgramKind {
    pub prog_type: u32,
    pub expected_attach_type: u32,
    /// Of the kernel's BTF: the function or typedef that a tracing program attaches to.
    pub attach_btf_id: u32,
}

pub const KPROBE: u32 = 2;
pub const SCHED_CLS: u32 = 3;
pub const TRACEPOINT: u32 = 5;
pub const XDP: u32 = 6;
pub const PERF_EVENT: u32 = 7;
pub const CGROUP_SKB: u32 = 8;
pub const RAW_TRACEPOINT: u32 = 17;
pub const CGROUP_SOCK_ADDR: u32 = 18;
pub const TRACING: u32 = 26;
/// expected_attach_type of `tp_btf` programs.
pub const TRACE_RAW_TP: u32 = 23;
/// expected_attach_type of iterators' programs.
pub const TRACE_ITER: u32 = 28;
/// expected_attach_type of programs at a function's entry, and at its return.
pub const TRACE_FENTRY: u32 = 24;
pub const TRACE_FEXIT: u32 = 25;
/// expected_attach_type of programs for one link to many kernel functions.
pub const TRACE_KPROBE_MULTI: u32 = 42;
/// expected_attach_type of programs for a multi-uprobe link.
pub const TRACE_UPROBE_MULTI: u32 = 48;

/// One template, specialised.
pub struct Request<'a> {
    pub template: &'a str,
    pub object: &'a [u8],
    /// Variables of `.rodata*` by name, each with exactly its size.
    pub constants: &'a [(String, Vec<u8>)],
    pub slots: &'a [(&'static str, Vec<Insn>)],
    pub programs: &'a [(String, ProgramKind)],
    /// The BTF of the module that has what the programs attach to; `None`: the kernel proper has it.
    pub module_types: Option<BorrowedFd<'a>>,
    /// Maps that exist already, by the name that the object has for them.
    pub maps: HashMap<String, Map>,
}

/// In the kernel; gone when dropped, unless attached.
pub struct Loaded {
    /// In the order of the request.
    pub programs: Vec<OwnedFd>,
    pub maps: HashMap<String, Map>,
}

/// Linux before 5.17 refuses CO-RE records; once seen, it is not asked again.
static KERNEL_LACKS_CORE: AtomicBool = AtomicBool::new(false);
/// Linux 5.10 does not know all kinds of types; once seen, it is told of those that it does.
static KERNEL_LACKS_KINDS: AtomicBool = AtomicBool::new(false);

/// Loads a template's programs.
///
/// # Errors
/// A *machine* diagnostic: no privilege, a kernel that refuses the program (the verifier's text is in the file that the
/// help line names); a *bug* where the object cannot be linked.
pub fn load(request: Request<'_>) -> Result<Loaded, Diagnostic> {
    let core = if KERNEL_LACKS_CORE.load(Ordering::Relaxed) { CoreBy::Us } else { CoreBy::Kernel };
    let all_btf = BtfFeatures::new(true, true, true, true, true, true, true, true);
    let lacks_kinds = KERNEL_LACKS_KINDS.load(Ordering::Relaxed);
    let features = if lacks_kinds { aya::features().btf().unwrap_or(&all_btf) } else { &all_btf };
    let broken = |what: String| Diagnostic::bug(format!("template `{}`: {what}", request.template));
    let mut linker = Linker::parse(request.object, core, features).map_err(broken)?;
    let btf = match load_btf(linker.btf()) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) && !lacks_kinds => {
            KERNEL_LACKS_KINDS.store(true, Ordering::Relaxed);
            return load(request);
        }
        // Programs do without.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => None,
        Err(error) => return Err(refused(request.template, &error)),
        Ok(fd) => Some(fd),
    };
    if core == CoreBy::Us {
        linker = linker.relocated(request.object).map_err(broken)?;
    }
    linker.set(request.constants).map_err(broken)?;
    for (name, code) in request.slots {
        linker.write_slot(name, code, &request.maps).map_err(broken)?;
    }
    let mut maps = HashMap::with_capacity(8);
    for wanted in linker.maps() {
        // Spans come with their map; programs of events have no use for one, and a table is dear to set up.
        if wanted.name == span::SPANS && !request.maps.contains_key(wanted.name) {
            continue;
        }
        // Where nobody is followed or guarded, and nothing kept near, the verifier removes what would look: any map will do.
        let is_for_some =
            matches!(wanted.name, "followed" | missed::RUNS | span::NEAR) || near::MAPS.contains(&wanted.name);
        let unused = || request.maps.get("trust").filter(|_| is_for_some);
        let map = match (request.maps.get(wanted.name).or_else(unused), wanted.content) {
            (Some(map), _) => map.try_clone(),
            (None, Content::Constants(data)) => Map::constants(wanted.name, data),
            (None, Content::Variables(data)) => Map::variables(wanted.name, data),
            (None, Content::Shape(mut shape)) => {
                if shape.map_type == map::RINGBUF {
                    (shape.key_size, shape.value_size) = (0, 0);
                }
                Map::create(wanted.name, shape)
            }
        };
        maps.insert(wanted.name.to_owned(), map.map_err(|error| refused(request.template, &error))?);
    }
    linker.keep(request.programs.iter().map(|(name, _)| name.as_str()).collect());
    linker.link(&maps).map_err(broken)?;
    let mut programs = Vec::with_capacity(request.programs.len());
    let types = Types { own: btf.as_ref(), module: request.module_types };
    for (name, kind) in request.programs {
        let program = linker.program(name).map_err(broken)?;
        match load_program(name, *kind, &program, types) {
            Ok(fd) => programs.push(fd),
            // Also what a program that is too large answers: then the second attempt ends the same way.
            Err(error)
                if error.raw_os_error() == Some(libc::E2BIG)
                    && core == CoreBy::Kernel
                    && !program.relocations.is_empty() =>
            {
                KERNEL_LACKS_CORE.store(true, Ordering::Relaxed);
                return load(request);
            }
            Err(error) if is_privilege(&error) => return Err(refused(request.template, &error)),
            Err(error) => return Err(verifier_says(request.template, name, *kind, &program, types, &error)),
        }
    }
    Ok(Loaded { programs, maps })
}

/// Loads a bare program without maps or BTF: what `skep doctor` and tests try the kernel with.
///
/// # Errors
/// The kernel's.
pub fn load_bare(kind: ProgramKind, code: &[Insn]) -> io::Result<OwnedFd> {
    let bytes: Vec<u8> = code.iter().flat_map(|insn| insn.to_bytes()).collect();
    let license = c"Dual MIT/GPL";
    let mut attributes = ProgramLoad {
        prog_type: kind.prog_type,
        expected_attach_type: kind.expected_attach_type,
        attach_btf_id: kind.attach_btf_id,
        insn_cnt: code.len() as u32,
        insns: sys::address(&bytes),
        license: license.as_ptr() as u64,
        prog_name: sys::object_name("skep_bare"),
        ..Default::default()
    };
    bpf_fd(Command::ProgramLoad, &mut attributes)
}

/// The diagnostic for a kernel that says no before it looked at a program.
pub fn refused(what: &str, error: &io::Error) -> Diagnostic {
    if is_privilege(error) {
        let missing = super::privilege::missing(&["CAP_BPF", "CAP_PERFMON"]);
        if !missing.is_empty() {
            let (verb, list) = (if missing.len() == 1 { "is" } else { "are" }, missing.join(" and "));
            return Diagnostic::machine(format!("this process may not load BPF programs: {list} {verb} missing"))
                .help("run it with sudo, or see what is allowed: skep doctor   (skep plan needs no privilege)");
        }
    }
    let error = text(error);
    Diagnostic::machine(format!("the kernel refused what `{what}` needs: {error}")).help("skep doctor")
}

/// The same for a module's types, which only administrators are handed.
pub fn refused_module(module: &str, error: &io::Error) -> Diagnostic {
    let missing = super::privilege::missing(&["CAP_SYS_ADMIN"]);
    match (error.raw_os_error(), missing.as_slice()) {
        (Some(libc::EPERM), [_, ..]) => {
            Diagnostic::machine(format!("functions of module `{module}` take CAP_SYS_ADMIN")).help("run it with sudo")
        }
        _ => Diagnostic::machine(format!("failed to open the types of module `{module}`: {}", text(error)))
            .help(format!("was it unloaded? lsmod | grep {module}")),
    }
}

/// The same for a table. Older kernels (5.10) want its key to fit on a program's stack.
pub fn refused_table(what: &str, key_size: u32, error: &io::Error) -> Diagnostic {
    const STACK: u32 = 512;
    if error.raw_os_error() == Some(libc::E2BIG) && key_size > STACK {
        return Diagnostic::machine(format!("a key of {key_size} bytes is too long for this kernel: at most {STACK}"))
            .help("shorter texts: str(args.filename, 64)");
    }
    refused(what, error)
}

/// An error of the kernel in words, without Rust's "(os error 1)".
pub fn text(error: &io::Error) -> String {
    let long = error.to_string().to_lowercase();
    long.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Does this process lack what it takes to load programs at all?
pub fn is_privilege(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES))
        && !super::privilege::missing(&["CAP_BPF", "CAP_PERFMON"]).is_empty()
}

fn load_btf(btf: &[u8]) -> io::Result<OwnedFd> {
    let mut attributes = BtfLoad { btf: sys::address(btf), btf_size: btf.len() as u32, ..Default::default() };
    bpf_fd(Command::BtfLoad, &mut attributes)
}

/// The type information that a program is loaded with: its own, and that of the module it attaches to.
#[derive(Clone, Copy)]
struct Types<'a> {
    own: Option<&'a OwnedFd>,
    module: Option<BorrowedFd<'a>>,
}

fn attributes(name: &str, kind: ProgramKind, program: &Linked, types: Types<'_>) -> ProgramLoad {
    let mut attributes = ProgramLoad {
        prog_type: kind.prog_type,
        expected_attach_type: kind.expected_attach_type,
        attach_btf_id: kind.attach_btf_id,
        insn_cnt: program.instructions.len() as u32,
        insns: sys::address(&program.instructions),
        license: program.license.as_ptr() as u64,
        prog_name: sys::object_name(&format!("skep_{name}")),
        attach_btf_obj_fd: types.module.map_or(0, |module| module.as_raw_fd() as u32),
        ..Default::default()
    };
    if let Some(btf) = types.own {
        attributes.prog_btf_fd = btf.as_raw_fd() as u32;
        attributes.func_info = sys::address(&program.functions);
        attributes.func_info_cnt = program.functions.len() as u32;
        attributes.func_info_rec_size = 8;
        attributes.line_info = sys::address(&program.lines);
        attributes.line_info_cnt = program.lines.len() as u32;
        attributes.line_info_rec_size = 16;
        if !program.relocations.is_empty() {
            attributes.core_relos = sys::address(&program.relocations);
            attributes.core_relo_cnt = program.relocations.len() as u32;
            attributes.core_relo_rec_size = 16;
        }
    }
    attributes
}

fn load_program(name: &str, kind: ProgramKind, program: &Linked, types: Types<'_>) -> io::Result<OwnedFd> {
    bpf_fd(Command::ProgramLoad, &mut attributes(name, kind, program, types))
}

/// Loads once more with a log, which goes to a file.
fn verifier_says(
    template: &str,
    name: &str,
    kind: ProgramKind,
    program: &Linked,
    types: Types<'_>,
    error: &io::Error,
) -> Diagnostic {
    let mut log = vec![0u8; 4 << 20];
    let mut attributes = attributes(name, kind, program, types);
    attributes.log_level = 1;
    attributes.log_size = log.len() as u32;
    attributes.log_buf = sys::address_mut(&mut log);
    // The outcome is known; only the log is of interest.
    drop(bpf(Command::ProgramLoad, &mut attributes));
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
    let log = String::from_utf8_lossy(&log[..end]);
    let missing = log.contains("unknown#195896080");
    let message = if missing {
        format!("this kernel lacks a type or field that template `{template}` reads")
    } else {
        format!("the kernel refused program `{name}` of template `{template}`: {}", text(error))
    };
    let diagnostic = Diagnostic::machine(message);
    match crate::kernel::privilege::save_details(&format!("skep-{template}-{name}"), log.as_bytes()) {
        Ok(path) => diagnostic.help(format!("what the verifier says is in {}", path.display())),
        Err(error) => diagnostic.help(format!("what the verifier says could not be saved: {}", text(&error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::privilege::skips;
    use crate::slot::assembler::{Alu, Condition, Operand};
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    /// Signals reach the thread that loads, whoever sends them: a terminal that is resized, a child that ends.
    #[test]
    fn signals_do_not_keep_programs_from_being_loaded() {
        static CAME: AtomicU64 = AtomicU64::new(0);
        const LOADS: u64 = 307;
        if skips(&["CAP_BPF"]) {
            return;
        }
        // SAFETY: it adds to a number.
        let registered = unsafe {
            signal_hook_registry::register(libc::SIGUSR2, || {
                CAME.fetch_add(1, Ordering::Relaxed);
            })
        };
        registered.expect("the signal is free");
        // What the verifier looks at for a while: every jump has two ends.
        let jump = Insn::jump(Condition::Equal, true, 1, Operand::Imm(0), 0);
        let code: Vec<Insn> =
            [jump; 40].into_iter().chain([Insn::alu(Alu::Move, 0, Operand::Imm(0)), Insn::exit()]).collect();
        let socket_filter = ProgramKind { prog_type: 1, expected_attach_type: 0, attach_btf_id: 0 };
        // SAFETY: a thread may always ask for its own number.
        let own = unsafe { libc::pthread_self() };
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    // SAFETY: the thread ends after this one.
                    assert_eq!(unsafe { libc::pthread_kill(own, libc::SIGUSR2) }, 0);
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let loaded = (0..LOADS).try_for_each(|_| load_bare(socket_filter, &code).map(drop));
            done.store(true, Ordering::Relaxed);
            assert_eq!(loaded.map_err(|error| error.to_string()), Ok(()));
        });
        assert!(CAME.load(Ordering::Relaxed) > LOADS / 10, "few signals came");
    }
}
