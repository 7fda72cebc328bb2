//! What a machine says of its kernel's functions, and of the ways to watch them.

use super::{Machine, no_tracefs};
use crate::diagnostic::Diagnostic;
use crate::kernel::attach;
use crate::kernel::functions::{Function, Standing};
use crate::kernel::load::{self, ProgramKind};
use crate::kernel::privilege;
use crate::kernel::sys;
use crate::slot::assembler::{Alu, Insn, Operand};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

impl Machine {
    /// Every function that can be traced.
    ///
    /// # Errors
    /// A machine diagnostic: this process may not look.
    pub fn functions(&self) -> Result<impl Iterator<Item = Function<'_>>, Diagnostic> {
        self.functions.traceable(self.tracefs()).map_err(|kind| match kind {
            io::ErrorKind::PermissionDenied => {
                let error =
                    Diagnostic::machine("this process may not read which functions of the kernel can be traced");
                match privilege::missing(&["CAP_DAC_READ_SEARCH"]).is_empty() {
                    true => error.help("name a single one, without * and ?"),
                    false => error.help("with sudo, or a single name, without * and ?"),
                }
            }
            io::ErrorKind::NotFound => Diagnostic::machine("this kernel does not say which functions can be traced")
                .help("name a single one, without * and ?"),
            kind => no_tracefs(kind),
        })
    }

    /// What is known of one function.
    pub fn function(&self, module: &str, name: &str) -> Standing {
        self.functions.standing(self.tracefs(), module, name)
    }

    /// Is it one that kprobes would harm?
    pub fn is_protected(&self, name: &str) -> bool {
        self.functions.is_protected(name)
    }

    /// Has the kernel kprobes? Linux 4.17 with CONFIG_KPROBE_EVENTS.
    pub fn has_kprobe(&self) -> bool {
        self.captured || attach::has_kprobes()
    }

    /// Can one link hold many kernel functions? Linux 5.18 with CONFIG_FPROBE.
    pub fn has_kprobe_multi(&self) -> bool {
        *self.kprobe_multi.get_or_init(|| {
            let code = [Insn::alu(Alu::Move, 0, Operand::Imm(0)), Insn::exit()];
            let kind = ProgramKind {
                prog_type: load::KPROBE,
                expected_attach_type: load::TRACE_KPROBE_MULTI,
                attach_btf_id: 0,
            };
            // Older kernels load such a program and refuse the link.
            let tried = load::load_bare(kind, &code).and_then(|program| {
                match attach::kprobe_multi(program.as_fd(), &["no function is called this"], false, &[0]) {
                    Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT)) => Ok(()),
                    other => other.map(drop),
                }
            });
            self.allowed(tried).is_ok()
        })
    }

    /// Does the kernel load programs for a function's entry and return? Linux 5.5 with BTF, on most architectures.
    ///
    /// # Errors
    /// `NotFound`: it has no type information; `PermissionDenied`: it does not allow them to this process, though it
    /// allows others.
    pub fn has_fentry(&self) -> Result<(), io::ErrorKind> {
        if self.avoid_trampolines {
            return Err(io::ErrorKind::Unsupported);
        }
        *self.fentry.get_or_init(|| {
            if self.captured {
                return Ok(());
            }
            // A function of the kernel that is there for such trials.
            let trial = self.types().function("vmlinux", "bpf_fentry_test1").ok_or(io::ErrorKind::NotFound)?;
            let code = [Insn::alu(Alu::Move, 0, Operand::Imm(0)), Insn::exit()];
            let kind = ProgramKind {
                prog_type: load::TRACING,
                expected_attach_type: load::TRACE_FENTRY,
                attach_btf_id: trial.function.id(),
            };
            // x86-64 attaches what it loads; others loaded such programs for years before they could.
            let attach = |program: OwnedFd| match cfg!(target_arch = "x86_64") {
                true => Ok(()),
                false => attach::tracing(program.as_fd(), load::TRACE_FENTRY, 0).map(drop),
            };
            self.allowed(load::load_bare(kind, &code).and_then(attach))
        })
    }

    /// Does the kernel keep a trampoline's program from running inside of itself? Linux 5.12.
    pub fn stops_recursion(&self) -> bool {
        self.captured || sys::kernel_release() >= (5, 12)
    }

    /// May this process have the types of a module handed to it? By all that load programs for its functions.
    pub fn opens_module_types(&self) -> bool {
        // One that may load nothing makes plans: with sudo it may.
        self.captured
            || privilege::missing(&["CAP_SYS_ADMIN"]).is_empty()
            || !privilege::missing(&["CAP_BPF", "CAP_PERFMON"]).is_empty()
    }

    /// As [`Machine::assume`], but where this process may load programs, a refusal is taken at its word.
    fn allowed(&self, tried: io::Result<()>) -> Result<(), io::ErrorKind> {
        match tried {
            Err(error) if self.captured || load::is_privilege(&error) => Ok(()),
            other => other.map_err(|error| error.kind()),
        }
    }
}
