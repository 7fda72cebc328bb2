//! Iterators: not what happens but what is there, read once from the kernel's own lists.

use super::{Mechanism, Point, nothing, scope, typed};
use crate::diagnostic::{Diagnostic, nearest};
use crate::machine::Machine;
use crate::resolve::{self, Argument, Arguments, Scope};
use crate::slot::ir::{Int, Memory, Place, Size};
use crate::types::Prototype;

/// What the current task is to other sources, the task that is looked at is here.
const OF_THE_TASK: [(&str, &str); 4] = [
    ("pid", "args.task.tgid"),
    ("tid", "args.task.pid"),
    ("comm", "args.task.comm"),
    ("uid", "args.task.cred.uid.val"),
];

/// One kind of object: `task`, `task_file`, `tcp`, …
///
/// # Errors
/// This kernel has no such iterator, with the nearest one; or no types.
pub fn expand(target: &str, text: &str, machine: &Machine) -> Result<Vec<Point>, Diagnostic> {
    let types = machine.types();
    let shown = format!("iter:{target}");
    let point = |scope: Scope| {
        let mechanism = Mechanism::Iterator { target: target.to_owned() };
        let reason = "the kernel's own list, read once".into();
        Point { shown: shown.clone(), mechanism, scope, reason, id: 0 }
    };
    if types.vmlinux().is_none() && machine.assume_fields && machine.has_btf() {
        // A plan for a machine whose types are not at hand.
        return Ok(vec![point(Scope { arguments: Arguments::Unchecked, ..scope(&shown, Memory::Kernel) })]);
    }
    if types.vmlinux().is_none() {
        return Err(Diagnostic::machine("iterators need the kernel's type information (/sys/kernel/btf/vmlinux)")
            .help("it takes a kernel with CONFIG_DEBUG_INFO_BTF=y"));
    }
    let Some(prototype) = types.function("", &format!("bpf_iter_{target}")) else {
        let known = names(machine);
        let near = nearest(target, known.iter().map(String::as_str)).map(|near| format!("iter:{near}"));
        return Err(nothing(text, "iterator", near));
    };
    let mut scope = scope(&shown, Memory::Kernel);
    // The first word says how far the iteration is, and is nobody's business.
    let word = |n: usize| {
        let place = Place::Event(8 * (n as i16 + 1));
        (n < 4).then_some(Int::Load { place, size: Size::B8, signed: false })
    };
    let own = Prototype { arguments: prototype.arguments.iter().skip(1).cloned().collect(), ..prototype.clone() };
    scope.arguments = Arguments::Known(typed::arguments(&own, word));
    scope.types = Some(types);
    scope.fields = task_fields(&scope);
    Ok(vec![point(scope)])
}

fn task_fields(scope: &Scope) -> Vec<Argument> {
    let field = |(name, chain): &(&str, &str)| {
        let mut parts = chain.split('.').map(str::to_owned);
        let first = crate::expr::Expr::name(&parts.next()?);
        let member = |inner, part| crate::expr::Expr::new(crate::expr::Node::Member(inner, part), None);
        let typed = resolve::column(&parts.fold(first, member), scope).ok()?;
        Some(Argument { name: (*name).to_owned(), declared: (*chain).to_owned(), typed })
    };
    OF_THE_TASK.iter().filter_map(field).collect()
}

/// What this kernel can list.
pub fn names(machine: &Machine) -> Vec<String> {
    let types = machine.types();
    // Each has a structure for its programs' context.
    let contexts = types.names(&[skep_templates::btf::Kind::Struct]).into_iter();
    let named: Vec<&str> = contexts.filter_map(|name| name.strip_prefix("bpf_iter__")).collect();
    named
        .into_iter()
        .filter(|name| types.function("", &format!("bpf_iter_{name}")).is_some())
        .map(str::to_owned)
        .collect()
}
