//! Programs of a unit, specialised and loaded.

use crate::diagnostic::Diagnostic;
use crate::kernel::btf;
use crate::kernel::load::{self, Loaded, ProgramKind, Request};
use crate::kernel::map::Map;
use crate::machine::Machine;
use crate::prepare::{Load, Unit};
use std::collections::HashMap;
use std::os::fd::AsFd;

/// Loads the unit's programs on these maps; `ring` is the one that streams go to.
///
/// # Errors
/// As [`load::load`]; a machine diagnostic where the kernel lacks the type of a target.
pub fn load(
    unit: &Unit,
    maps: HashMap<String, Map>,
    machine: &Machine,
    ring: Option<&Map>,
) -> Result<Loaded, Diagnostic> {
    let mut constants = unit.constants.clone();
    if let Some(ring) = ring {
        // The reader looks every 50 ms anyway; it is woken earlier when an eighth of the room is used.
        constants.push(("wake_at".into(), u64::from(ring.shape.max_entries / 8).to_ne_bytes().to_vec()));
    }
    let slots: Vec<_> = unit.slots.written().map(|(name, code)| (name, code.clone())).collect();
    let mut programs = Vec::new();
    let mut module_types = None;
    for program in &unit.programs {
        let kind = match &program.load {
            Load::Plain(prog_type) => ProgramKind { prog_type: *prog_type, expected_attach_type: 0, attach_btf_id: 0 },
            Load::UprobeMulti => ProgramKind {
                prog_type: load::KPROBE,
                expected_attach_type: load::TRACE_UPROBE_MULTI,
                attach_btf_id: 0,
            },
            Load::Iterator(target) => ProgramKind {
                prog_type: load::TRACING,
                expected_attach_type: load::TRACE_ITER,
                attach_btf_id: machine.function_id(&format!("bpf_iter_{target}"))?,
            },
            Load::Packets(hook) => hook.program_kind(),
            Load::KprobeMulti => ProgramKind {
                prog_type: load::KPROBE,
                expected_attach_type: load::TRACE_KPROBE_MULTI,
                attach_btf_id: 0,
            },
            Load::Function { id, module, returns } => {
                if !module.is_empty() {
                    module_types = Some(btf::module(module).map_err(|error| load::refused_module(module, &error))?);
                }
                ProgramKind {
                    prog_type: load::TRACING,
                    expected_attach_type: if *returns { load::TRACE_FEXIT } else { load::TRACE_FENTRY },
                    attach_btf_id: *id,
                }
            }
            Load::TracepointPrototype(name) => ProgramKind {
                prog_type: load::TRACING,
                expected_attach_type: load::TRACE_RAW_TP,
                attach_btf_id: machine.tracepoint_id(name)?,
            },
        };
        programs.push((program.name.clone(), kind));
    }
    load::load(Request {
        template: &unit.template.name,
        object: unit.template.object(),
        constants: &constants,
        slots: &slots,
        programs: &programs,
        module_types: module_types.as_ref().map(AsFd::as_fd),
        maps,
    })
}

impl Machine {
    /// The type of the kernel's BTF that a `tp_btf` program attaches to.
    ///
    /// # Errors
    /// A machine diagnostic: no BTF, or no such tracepoint.
    pub fn tracepoint_id(&self, name: &str) -> Result<u32, Diagnostic> {
        let none = || {
            Diagnostic::machine("this kernel has no type information (/sys/kernel/btf/vmlinux)")
                .help("it takes a kernel with CONFIG_DEBUG_INFO_BTF=y")
        };
        let found = btf::tracepoint_id(name).map_err(|_| none())?;
        found.ok_or_else(|| Diagnostic::machine(format!("this kernel has no tracepoint `{name}`")))
    }

    /// The function of the kernel's BTF that a tracing program attaches to.
    ///
    /// # Errors
    /// A machine diagnostic: no BTF, or no such function.
    pub fn function_id(&self, name: &str) -> Result<u32, Diagnostic> {
        let found = self.types().function("", name);
        found
            .map(|found| found.function.id())
            .ok_or_else(|| Diagnostic::machine(format!("this kernel's types have no function `{name}`")))
    }
}
