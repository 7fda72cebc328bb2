//! Capabilities that a plan needs, each with its reason. Pure; no privilege.

use crate::aggregate::column::{ColumnKind, Show};
use crate::points::Mechanism;
use crate::prepare::{Load, Prepared, Program};
use caps::Capability;

/// A capability, and what it is for. One that is not `required` makes the result poorer, not impossible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    pub capability: Capability,
    pub required: bool,
    pub why: &'static str,
}

/// What these entries need, in the order of importance.
pub fn of(prepared: &[Prepared]) -> Vec<Need> {
    let mut needs: Vec<Need> = Vec::new();
    let mut need = |capability, required, why| {
        if !needs.iter().any(|known| known.capability == capability) {
            needs.push(Need { capability, required, why });
        }
    };
    if prepared.is_empty() {
        return needs;
    }
    need(Capability::CAP_BPF, true, "to load programs");
    let all = || prepared.iter().flat_map(programs);
    if all().any(|program| !matches!(program.load, Load::Packets(_))) {
        need(Capability::CAP_PERFMON, true, "to trace");
    }
    if all().any(meets_packets) {
        need(Capability::CAP_NET_ADMIN, true, "to attach to interfaces and control groups");
    }
    if all().any(of_a_module) {
        need(Capability::CAP_SYS_ADMIN, true, "for functions of modules");
    }
    if all().any(is_uprobe) {
        need(Capability::CAP_SYS_ADMIN, false, "for uprobes before Linux 6.6");
    }
    let shows = |wanted: fn(&ColumnKind) -> bool| {
        prepared.iter().flat_map(|one| &one.columns).any(|column| wanted(&column.kind))
    };
    if prepared.iter().any(|one| one.has_stacks())
        || shows(|kind| matches!(kind, ColumnKind::Int { show: Show::KernelSymbol, .. }))
    {
        need(Capability::CAP_SYSLOG, false, "for names of the kernel's functions");
    }
    if prepared.iter().any(|one| one.has_stacks()) || shows(|kind| *kind == ColumnKind::USER_SYMBOL) {
        need(Capability::CAP_SYS_PTRACE, false, "for names of functions of other users' processes");
    }
    needs
}

/// `CAP_BPF, CAP_PERFMON; CAP_SYSLOG for names of the kernel's functions`
pub fn line(needs: &[Need]) -> String {
    let list = needs.iter().filter(|need| need.required).map(|need| need.capability.to_string());
    let better = needs.iter().filter(|need| !need.required).map(|need| format!("; {} {}", need.capability, need.why));
    let better: String = better.collect();
    format!("{}{better}", list.collect::<Vec<_>>().join(", "))
}

/// Is something attached to interfaces or control groups?
pub fn of_packets(prepared: &[Prepared]) -> bool {
    prepared.iter().flat_map(programs).any(meets_packets)
}

fn programs(prepared: &Prepared) -> impl Iterator<Item = &Program> {
    let starts = prepared.span.iter().flat_map(|span| &span.units);
    prepared.units.iter().chain(starts).flat_map(|unit| &unit.programs)
}

fn meets_packets(program: &Program) -> bool {
    matches!(program.load, Load::Packets(_))
}

fn is_uprobe(program: &Program) -> bool {
    program.attach.iter().any(|attach| matches!(attach.mechanism, Mechanism::Uprobe { .. }))
}

fn of_a_module(program: &Program) -> bool {
    matches!(&program.load, Load::Function { module, .. } if !module.is_empty())
}
