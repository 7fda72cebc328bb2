//! Does a template fit a kernel of which only the types are at hand? Its relocations are resolved against them, and those
//! that cannot be are looked for among the instructions that can run. Needs no privilege; nothing is loaded.

use crate::diagnostic::Diagnostic;
use crate::kernel::core_relo::Relocation;
use crate::kernel::object::{CoreBy, Linked, Linker};
use crate::kernel::rewrite::Code;
use crate::kernel::walk::{Value, Walk};
use crate::prepare::{Load, Unit};
use crate::types::{KernelTypes, Type};
use aya_obj::btf::BtfFeatures;
use skep_templates::btf::{Btf, Kind};
use std::borrow::Cow;
use std::collections::HashMap;

/// Would this kernel take the unit's programs?
///
/// # Errors
/// A machine diagnostic: the first tracepoint, type or member that they need and that it does not have.
pub fn check(unit: &Unit, types: &KernelTypes) -> Result<(), Diagnostic> {
    let name = &unit.template.name;
    for program in &unit.programs {
        if let Load::TracepointPrototype(point) = &program.load
            && types.tracepoint(point).is_none()
        {
            let message = format!("template `{name}` needs tracepoint `{point}`, and this kernel has none");
            return Err(Diagnostic::machine(message).help("a probe of another attach point, or a newer kernel"));
        }
    }
    let lacks = lacks(unit, types).map_err(|what| Diagnostic::bug(format!("template `{name}`: {what}")))?;
    let Some(path) = lacks else { return Ok(()) };
    let owner = path.split('.').next().unwrap_or_default();
    Err(Diagnostic::machine(format!("template `{name}` needs `{path}`, which this kernel does not have"))
        .help(format!("on that machine, what it has: skep list 'struct:{owner}'")))
}

/// The first type or member that is needed and not there, as `request_queue.disk`.
fn lacks(unit: &Unit, types: &KernelTypes) -> Result<Option<String>, String> {
    let all = BtfFeatures::new(true, true, true, true, true, true, true, true);
    let mut linker = Linker::parse(unit.template.object(), CoreBy::Kernel, &all)?;
    linker.set(&unit.constants)?;
    linker.keep(unit.programs.iter().map(|program| program.name.as_str()).collect());
    let numbers: HashMap<String, i32> = linker.maps().zip(1..).map(|(map, n)| (map.name.to_owned(), n)).collect();
    linker.link_numbers(&numbers)?;
    let own = linker.btf().to_vec();
    let own = Btf::parse(Cow::Owned(own)).map_err(|error| error.to_string())?;
    for program in &unit.programs {
        let linked = linker.program(&program.name)?;
        if let Some(path) = of_program(&linker, &linked, &own, types) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn of_program(linker: &Linker, program: &Linked, own: &Btf<'_>, types: &KernelTypes) -> Option<String> {
    let (mut known, mut missing) = (HashMap::new(), HashMap::new());
    for relocation in &program.relocations {
        let at = relocation.insn_off as usize / 8;
        match resolve(relocation, own, types) {
            Resolved::Number(number) => drop(known.insert(at, Value::Known(number))),
            Resolved::Some => drop(known.insert(at, Value::Unknown)),
            Resolved::Missing(path) => drop(missing.insert(at, path)),
        }
    }
    let mut walk = Walk::new(Code::of(program)?, known, |map, at, size| linker.constant(map, at, size));
    walk.follow()?;
    let reached = |at: &usize| walk.before.get(*at).is_some_and(Option::is_some);
    missing.into_iter().filter(|(at, _)| reached(at)).min().map(|(_, path)| path)
}

/// What a relocation comes to.
enum Resolved {
    /// One that programs decide by.
    Number(u64),
    /// Something that depends on this kernel's layout.
    Some,
    /// The kernel refuses the instruction, if it is ever reached.
    Missing(String),
}

/// Numbers of `enum bpf_core_relo_kind`.
fn resolve(relocation: &Relocation, own: &Btf<'_>, types: &KernelTypes) -> Resolved {
    let found = find(relocation, own, types);
    let exists = Resolved::Number(found.is_ok().into());
    match (relocation.kind, found) {
        // A field, a type, an enumerator: is it there?
        (2 | 8 | 10, _) => exists,
        (0..=5 | 11, Err(path)) => Resolved::Missing(path),
        // Of a type that is not there: its number and its size.
        (7 | 9, Err(_)) => Resolved::Number(0),
        _ => Resolved::Some,
    }
}

/// What the relocation is about, in this kernel.
///
/// # Errors
/// The path as far as this kernel has it not.
fn find(relocation: &Relocation, own: &Btf<'_>, types: &KernelTypes) -> Result<(), String> {
    // A typedef is looked up as what it stands for: structures have the names.
    let mut at = own.plain(relocation.type_id);
    let name = essential(own.name(at));
    let mut path = name.to_owned();
    let mut target = types.find(own.kind(at), name).ok_or(name)?;
    let mut indices = own.string(relocation.access_str_off).split(':').map(|index| index.parse().unwrap_or(usize::MAX));
    if matches!(own.kind(at), Kind::Enum | Kind::Enum64) {
        let wanted = indices.next().and_then(|n| Some(essential(own.enumerators(at).get(n)?.0).to_owned()));
        let wanted = wanted.filter(|_| matches!(relocation.kind, 10 | 11)).unwrap_or_default();
        let has = wanted.is_empty() || target.enumerators().iter().any(|(name, _)| *name == wanted);
        return if has { Ok(()) } else { Err(format!("{path}.{wanted}")) };
    }
    // The first goes to an element of an array of such structures.
    for index in indices.skip(1) {
        if own.kind(at) == Kind::Array {
            (at, target) = (own.plain(own.target(at)), target.target());
            continue;
        }
        let Some(member) = own.members(at).get(index).copied() else { return Ok(()) };
        at = own.plain(member.id);
        // Members of one without a name are looked for among its owner's.
        if member.name.is_empty() {
            continue;
        }
        path = format!("{path}.{}", essential(member.name));
        target = target.member(essential(member.name)).ok_or_else(|| path.clone())?.of;
        if !is_alike(own.kind(at), &target) {
            return Err(path);
        }
    }
    Ok(())
}

/// Kinds that stand for each other. Source: tools/lib/bpf/relo_core.c, bpf_core_fields_are_compat().
fn is_alike(own: Kind, target: &Type) -> bool {
    let composite = |kind| matches!(kind, Kind::Struct | Kind::Union);
    let enumeration = |kind| matches!(kind, Kind::Enum | Kind::Enum64);
    let kind = target.kind();
    own == kind || composite(own) && composite(kind) || enumeration(own) && enumeration(kind)
}

/// `request_queue___old` is another view of `request_queue`.
fn essential(name: &str) -> &str {
    name.split_once("___").map_or(name, |(name, _)| name)
}
