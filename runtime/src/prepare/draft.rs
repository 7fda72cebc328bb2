//! Drafts: a template for every attach point, with what names mean there; its slots are still to be written.

use super::restrict::own_program;
use super::unit::GUARDED;
use super::{Attach, Here, Load, Program, Slots};
use crate::attach_point::AttachPoint;
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Function, Node};
use crate::kernel::load;
use crate::machine::Machine;
use crate::plan::Entry;
use crate::points::{self, Mechanism, Point, Uses, packets};
use crate::resolve::Scope;
use crate::slot::ir::{Current, Int};
use skep_templates::catalog::{Catalog, Template};
use std::collections::HashMap;

/// A unit before its slots are written.
pub struct Draft {
    pub template: Template,
    /// See [`super::Unit`].
    pub takes_stacks: bool,
    pub programs: Vec<Program>,
    pub constants: Vec<(String, Vec<u8>)>,
    pub scope: Scope,
    pub reason: String,
    /// Those that do not depend on the entry's columns.
    pub slots: Slots,
}

impl Draft {
    /// A user function is watched in one process, unless others concern us too.
    pub fn in_any_process(&mut self) {
        for attach in self.programs.iter_mut().flat_map(|program| &mut program.attach) {
            if let Mechanism::Uprobe { pid, .. } = &mut attach.mechanism {
                *pid = None;
            }
        }
    }
}

/// Every attach point of a list. `ids`: what their numbers for `probe` begin behind.
pub fn drafts(
    written: &[(String, AttachPoint)],
    expressions: &[&Expr],
    uses: Uses,
    ids: u64,
    here: Here<'_>,
) -> Result<Vec<Draft>, Diagnostic> {
    let Here { catalog, machine, restrict } = here;
    let mut points: Vec<Point> = Vec::new();
    for (text, point) in written {
        points.extend(points::expand(&own_program(point, restrict), text, uses, restrict.pid, machine)?);
    }
    if let Some(point) = points.iter().find(|point| !point.scope.has_task) {
        restrict.to_no_task(&point.shown)?;
    }
    let is_probe = |node: &Node| matches!(node, Node::Name(name) if name == "probe");
    number(&mut points, ids, expressions.iter().any(|expr| expr.any(&is_probe)), machine);
    let mut drafts: Vec<Draft> =
        points.into_iter().map(|point| generic(point, catalog, machine)).collect::<Result<_, Diagnostic>>()?;
    if restrict.follow {
        drafts.iter_mut().for_each(Draft::in_any_process);
    }
    Ok(drafts)
}

pub fn uses(expressions: &[&Expr]) -> Uses {
    let mut uses = Uses::default();
    for expr in expressions {
        uses.named |= expr.any(&|node| matches!(node, Node::Member(inner, _) if matches!(&*inner.node, Node::Name(name) if name == "args")));
        uses.callers |= expr.any(&|node| match node {
            Node::Name(name) => name == "ustack",
            Node::Call(function, _) => *function == Function::Ustack,
            _ => false,
        });
        uses.returned |= expr.any(&|node| matches!(node, Node::Name(name) if name == "retval"));
        for n in 0..6 {
            let name = format!("arg{n}");
            if expr.any(&|node| matches!(node, Node::Name(found) if *found == name)) {
                uses.numbered |= 1 << n;
            }
        }
    }
    uses
}

/// Which fields of its event a template has to fill: see WANT in skep.bpf.h.
pub fn wanted(entry: &Entry, scope: &Scope) -> u64 {
    let mut bits = 0;
    for field in &scope.fields {
        let named = |node: &Node| matches!(node, Node::Name(name) if *name == field.name);
        if let Some(offset) = field.typed.event_offset()
            && entry.expressions().any(|expr| expr.any(&named))
        {
            bits |= 1 << (offset / 8 % 64);
        }
    }
    bits
}

/// Gives every point its id for `probe`, and says how the program learns it.
fn number(points: &mut [Point], ids: u64, uses_probe: bool, machine: &Machine) {
    let many = points.len() > 1;
    let mut known: HashMap<String, u64> = HashMap::new();
    for (n, point) in points.iter_mut().enumerate() {
        if matches!(point.mechanism, Mechanism::Syscall { .. }) {
            continue;
        }
        // All chains share one table of names.
        // Sites of one usdt probe are one `probe`.
        point.id = *known.entry(point.shown.clone()).or_insert(ids + n as u64 + 1);
        let own_program = matches!(point.mechanism, Mechanism::Trampoline { .. } | Mechanism::Packets { .. });
        let cookie = uses_probe && many && !own_program && machine.has_cookies(program_type(&point.mechanism));
        // Without cookies each point has a program of its own, with its number in it.
        point.scope.probe = if cookie { Int::Current(Current::Cookie) } else { Int::Constant(point.id) };
    }
}

fn program_type(mechanism: &Mechanism) -> u32 {
    match mechanism {
        Mechanism::Tracepoint { .. } => load::TRACEPOINT,
        Mechanism::RawTracepoint { .. } | Mechanism::Syscall { .. } => load::RAW_TRACEPOINT,
        Mechanism::Uprobe { .. } | Mechanism::Kprobe { .. } => load::KPROBE,
        Mechanism::Trampoline { .. } | Mechanism::Iterator { .. } => load::TRACING,
        Mechanism::Perf { .. } => load::PERF_EVENT,
        Mechanism::Packets { hook, .. } => hook.program_kind().prog_type,
    }
}

/// The generic template for a mechanism.
fn generic(mut point: Point, catalog: &Catalog, machine: &Machine) -> Result<Draft, Diagnostic> {
    let (template, program, load) = match &point.mechanism {
        Mechanism::Tracepoint { .. } => ("tracepoint", "hit", Load::Plain(load::TRACEPOINT)),
        Mechanism::RawTracepoint { .. } => ("rawtracepoint", "hit", Load::Plain(load::RAW_TRACEPOINT)),
        Mechanism::Syscall { enter: true, arguments: false, .. } => {
            ("syscall", "enter", Load::Plain(load::RAW_TRACEPOINT))
        }
        Mechanism::Syscall { enter: true, .. } => {
            ("syscall", "enter_arguments", Load::TracepointPrototype("sys_enter".into()))
        }
        Mechanism::Syscall { .. } => ("syscall", "leave", Load::TracepointPrototype("sys_exit".into())),
        Mechanism::Kprobe { many: true, .. } => ("kprobe", "hit", Load::KprobeMulti),
        Mechanism::Kprobe { .. } => ("kprobe", "hit", Load::Plain(load::KPROBE)),
        Mechanism::Trampoline { id, module, returns } => {
            let load = Load::Function { id: *id, module: module.clone(), returns: *returns };
            ("fentry", if *returns { "leave" } else { "enter" }, load)
        }
        // Perf uprobes take CAP_SYS_ADMIN, a multi-link CAP_PERFMON; and 100 ms until one is gone, where that takes 40.
        Mechanism::Uprobe { .. } if machine.has_uprobe_multi() => ("uprobe", "hit", Load::UprobeMulti),
        Mechanism::Uprobe { .. } => ("uprobe", "hit", Load::Plain(load::KPROBE)),
        Mechanism::Iterator { target } => ("iterator", "hit", Load::Iterator(target.clone())),
        Mechanism::Perf { .. } => ("perf", "hit", Load::Plain(load::PERF_EVENT)),
        Mechanism::Packets { hook, .. } => (packets::TEMPLATE, packets::program(*hook), Load::Packets(*hook)),
    };
    let template =
        catalog.get(template).ok_or_else(|| Diagnostic::bug(format!("template `{template}` is not in this binary")))?;
    let constants = match &point.mechanism {
        Mechanism::Syscall { number, .. } => {
            vec![("only_syscall".to_owned(), i64::from(*number).to_ne_bytes().to_vec())]
        }
        Mechanism::Trampoline { .. } => vec![(GUARDED.to_owned(), vec![(!machine.stops_recursion()).into()])],
        _ => Vec::new(),
    };
    if let Mechanism::Packets { .. } = point.mechanism {
        point.scope.fields = crate::template::fields(template, &machine.types())?;
    }
    let by_cookie = point.scope.probe == Int::Current(Current::Cookie);
    let attach = vec![Attach { shown: point.shown, mechanism: point.mechanism, cookie: point.id, by_cookie }];
    let programs = vec![Program { name: program.to_owned(), load, attach }];
    let slots = Slots::default();
    Ok(Draft {
        template: template.clone(),
        takes_stacks: false,
        programs,
        constants,
        scope: point.scope,
        reason: point.reason,
        slots,
    })
}
