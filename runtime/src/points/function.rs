//! Functions of the kernel: which of them, and the cheapest way to each that this kernel has.
//!
//! A trampoline (fentry, fexit) costs some 25 ns an event, a kprobe about 140, so a few functions whose types are known
//! are watched by trampolines. Many are not: each takes a program of its own.

use super::{Mechanism, Point, Uses, context, nothing, scope, typed};
use crate::attach_point::Way;
use crate::diagnostic::{Diagnostic, nearest};
use crate::glob;
use crate::kernel::arch::REGISTERS;
use crate::kernel::functions::{Function, Standing, kernel_or};
use crate::machine::Machine;
use crate::resolve::{self, Arguments, Typed};
use crate::slot::ir::{Int, Memory, Size};
use crate::types::{Prototype, Type};
use std::collections::HashMap;
use std::io;

/// More functions than these are watched by kprobes where either would do: a trampoline takes milliseconds to set up.
const FEW: usize = 8;
/// Arguments that every kernel hands to a trampoline: those in registers.
const MOST_ARGUMENTS: usize = 6;
/// No trampoline may run inside these: its own code calls them. Source: kernel/bpf/verifier.c, btf_id_deny.
const TRAMPOLINES_OWN: [&str; 7] = [
    "migrate_disable",
    "migrate_enable",
    "rcu_read_unlock_strict",
    "preempt_count_add",
    "preempt_count_sub",
    "__rcu_read_lock",
    "__rcu_read_unlock",
];

/// What was asked for.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub way: Way,
    pub module: &'a str,
    /// A name, a glob, `name+offset` or `0xaddress`.
    pub function: &'a str,
    pub returns: bool,
    pub text: &'a str,
}

/// One function, and how it is declared where that is known and of use.
struct Candidate<'a> {
    name: &'a str,
    prototype: Option<Prototype>,
}

/// Functions by name or glob, an instruction by its offset or address.
///
/// # Errors
/// No such function, or none that can be watched, with the reason.
pub fn expand(asked: Asked<'_>, uses: Uses, machine: &Machine) -> Result<Vec<Point>, Diagnostic> {
    let place = asked.function;
    if let Some(digits) = place.strip_prefix("0x") {
        let address = u64::from_str_radix(digits, 16).map_err(|_| no_number(place, "address"))?;
        return Ok(vec![asked.instruction(None, address, machine)?]);
    }
    if let Some((name, digits)) = place.split_once('+') {
        let parsed = digits.strip_prefix("0x").map_or_else(|| digits.parse(), |hex| u64::from_str_radix(hex, 16));
        let offset = parsed.map_err(|_| no_number(digits, "offset"))?;
        asked.require(name, machine)?;
        return Ok(vec![asked.instruction(Some(name), offset, machine)?]);
    }
    if !glob::is_glob(place) {
        asked.require(place, machine)?;
        let prototype = machine.types().function(asked.module, place);
        return Ok(vec![asked.point(Candidate { name: place, prototype }, "", machine)?]);
    }
    let (candidates, note) = asked.matching(uses, machine)?;
    let batch = match (asked.way, candidates.len() > FEW) {
        (Way::Trampoline, _) | (_, false) => None,
        _ if machine.has_kprobe_multi() => Some("kprobe.multi: one link for all of them"),
        _ => Some("a kprobe each: this kernel has no kprobe.multi"),
    };
    let point = |candidate| match batch {
        None => asked.point(candidate, &note, machine),
        Some(reason) => asked.kprobe(candidate, &format!("{reason}{note}"), machine.has_kprobe_multi(), machine),
    };
    candidates.into_iter().map(point).collect()
}

impl<'a> Asked<'a> {
    /// Functions that match the glob and can be watched, each name once; and a note on those that are left out.
    fn matching(&self, uses: Uses, machine: &'a Machine) -> Result<(Vec<Candidate<'a>>, String), Diagnostic> {
        let module = |function: &Function<'_>| match self.module {
            "" => true,
            module => glob::matches(kernel_or(module), function.module),
        };
        let all = machine.functions()?;
        let found = all.filter(|function| glob::matches(self.function, function.name) && module(function));
        let mut names: Vec<&str> = found.map(|function| function.name).collect();
        names.sort_unstable();
        names.dedup();
        if names.is_empty() {
            return Err(nothing(self.text, "kernel function", None));
        }
        let matched = names.len();
        match self.way {
            Way::Any => names.retain(|name| !machine.is_protected(name)),
            Way::Trampoline => {
                machine.has_fentry().map_err(|kind| self.no_trampoline(self.function, no_fentry(kind)))?;
            }
        }
        let mut declared = HashMap::new();
        if self.way == Way::Trampoline || names.len() <= FEW || uses.named || uses.numbered != 0 || uses.returned {
            let of = |name: &str| names.binary_search(&name).is_ok();
            declared.extend(machine.types().functions(of).into_iter().map(|found| (found.name.clone(), found)));
        }
        let candidate = |name| Candidate { name, prototype: declared.remove(name) };
        let mut candidates: Vec<Candidate<'a>> = names.into_iter().map(candidate).collect();
        if self.way == Way::Trampoline {
            candidates.retain(|one| trampoline(one, machine).is_ok());
        }
        let unwatched = matched - candidates.len();
        candidates.retain(|one| has(one, uses));
        let lacking = matched - unwatched - candidates.len();
        if candidates.is_empty() {
            let message = format!("no function that matches `{}` can be watched for this", self.text);
            return Err(Diagnostic::machine(message).span(self.text).help(format!("skep list -v '{}'", self.text)));
        }
        let mut note = String::new();
        if unwatched > 0 {
            note += &format!("; {unwatched} that match cannot be watched so");
        }
        if lacking > 0 {
            note += &format!("; {lacking} that match have no such argument or result");
        }
        Ok((candidates, note))
    }

    /// One function, by the cheapest way.
    fn point(&self, candidate: Candidate<'_>, note: &str, machine: &Machine) -> Result<Point, Diagnostic> {
        let name = candidate.name;
        match (trampoline(&candidate, machine), self.way) {
            (Ok(()), _) => Ok(self.trampoline(candidate, note)),
            (Err(reason), Way::Trampoline) => Err(self.no_trampoline(name, reason)),
            (Err(_), Way::Any) if machine.is_protected(name) => {
                Err(Diagnostic::machine(format!("the kernel allows no kprobe on `{name}`: it would not survive one"))
                    .span(name)
                    .help("watch a function that calls it"))
            }
            (Err(reason), Way::Any) => self.kprobe(candidate, &format!("a kprobe: {reason}{note}"), false, machine),
        }
    }

    fn trampoline(&self, candidate: Candidate<'_>, note: &str) -> Point {
        let shown = self.shown(candidate.name);
        let mut scope = scope(&shown, Memory::Kernel);
        let count = candidate.prototype.as_ref().map_or(MOST_ARGUMENTS, |prototype| prototype.arguments.len());
        if self.returns {
            // Behind the arguments lies what the function returns.
            let returns = candidate.prototype.as_ref().map(|prototype| &prototype.returns);
            scope.return_value = result(8 * count, returns);
        }
        if !self.returns || self.way == Way::Trampoline {
            scope.arguments = by_name(candidate.prototype.as_ref(), |n| (n < count).then_some(8 * n));
        }
        // What a kretprobe does not have everywhere, it does not have here.
        if !self.returns || self.way == Way::Trampoline {
            scope.numbered = arguments((0..count).map(|n| 8 * n), candidate.prototype.as_ref());
        }
        let kind = if self.returns { "fexit" } else { "fentry" };
        let reason = match self.way {
            Way::Trampoline => format!("a trampoline, as asked{note}"),
            Way::Any => format!("{kind}: a trampoline, about 100 ns less an event than a kprobe{note}"),
        };
        let id = candidate.prototype.map_or(0, |prototype| prototype.function.id());
        let mechanism = Mechanism::Trampoline { id, returns: self.returns };
        Point { shown, mechanism, scope, reason, id: 0 }
    }

    /// `many`: by the one link that holds all functions of a program.
    fn kprobe(
        &self,
        candidate: Candidate<'_>,
        reason: &str,
        many: bool,
        machine: &Machine,
    ) -> Result<Point, Diagnostic> {
        if !machine.has_kprobe() {
            return Err(self.no_kprobes(candidate.name));
        }
        let shown = self.shown(candidate.name);
        let mut scope = scope(&shown, Memory::Kernel);
        let prototype = candidate.prototype.as_ref();
        if self.returns {
            let returns = prototype.map(|prototype| &prototype.returns);
            scope.return_value = result(REGISTERS.return_value as usize, returns);
        } else {
            scope.arguments = by_name(prototype, |n| REGISTERS.arguments.get(n).map(|offset| *offset as usize));
            scope.numbered = arguments(registers(), prototype);
        }
        let function = Some(candidate.name.to_owned());
        let mechanism = Mechanism::Kprobe { function, offset: 0, returns: self.returns, many };
        Ok(Point { shown, mechanism, scope, reason: reason.to_owned(), id: 0 })
    }

    /// A place in a function, or an address.
    fn instruction(&self, function: Option<&str>, offset: u64, machine: &Machine) -> Result<Point, Diagnostic> {
        if !machine.has_kprobe() {
            return Err(self.no_kprobes(function.unwrap_or_default()));
        }
        let shown = self.shown(self.function);
        let mut scope = scope(&shown, Memory::Kernel);
        scope.numbered = arguments(registers(), None);
        let mechanism =
            Mechanism::Kprobe { function: function.map(str::to_owned), offset, returns: false, many: false };
        Ok(Point { shown, mechanism, scope, reason: "a kprobe, where asked".into(), id: 0 })
    }

    fn shown(&self, name: &str) -> String {
        let provider = self.way.provider(self.returns);
        match self.module {
            "" => format!("{provider}:{name}"),
            module => format!("{provider}:{module}:{name}"),
        }
    }

    /// Says why a function cannot be watched, before anything is attached.
    fn require(&self, name: &str, machine: &Machine) -> Result<(), Diagnostic> {
        let written = |name: &str| format!("{}:{name}", self.way.provider(self.returns));
        match machine.function(self.module, name) {
            Standing::Traceable | Standing::Unknown => Ok(()),
            Standing::Untraceable => Err(Diagnostic::machine(format!(
                "function `{name}` exists, but this kernel was built without tracing it"
            ))
            .span(name)
            .help("watch a function that calls it, or that it calls")),
            Standing::Changed(copy) => {
                Err(Diagnostic::script(format!("the compiler made other functions of `{name}`"))
                    .span(name)
                    .label("may be inlined elsewhere")
                    .help(format!("one of them: {}", written(&copy))))
            }
            Standing::Missing => {
                let error = Diagnostic::script(format!("no kernel function matches `{name}`")).span(name);
                let all = machine.functions()?.map(|function| function.name);
                Err(match nearest(name, all) {
                    Some(near) => error.help(format!("did you mean `{}`?", written(near))),
                    None => error
                        .label("misspelt, of another kernel, or inlined by the compiler")
                        .help(format!("skep list '{}'", written(&format!("*{name}*")))),
                })
            }
        }
    }

    fn no_kprobes(&self, name: &str) -> Diagnostic {
        let error = Diagnostic::machine("this kernel has no kprobes (CONFIG_KPROBES)").span(self.text);
        // `__x64_sys_read` -> `read`
        match name.split_once("_sys_").filter(|(arch, _)| arch.starts_with("__")) {
            Some((_, call)) => {
                let direction = if self.returns { "exit" } else { "enter" };
                error.help(format!("tracepoint:syscalls:sys_{direction}_{call}"))
            }
            None => error.help("a tracepoint may show the same: skep list 'tracepoint:*'"),
        }
    }

    fn no_trampoline(&self, name: &str, reason: String) -> Diagnostic {
        let provider = self.way.provider(self.returns);
        let kprobe = if self.returns { "kretprobe" } else { "kprobe" };
        Diagnostic::machine(format!("no {provider} of `{name}`: {reason}"))
            .span(self.text)
            .help(format!("{kprobe}:{name}"))
    }
}

/// Has this function all that the script reads of it? Yes, where it is not known.
fn has(candidate: &Candidate<'_>, uses: Uses) -> bool {
    let Some(prototype) = &candidate.prototype else { return true };
    let read = 8 - uses.numbered.leading_zeros() as usize;
    prototype.arguments.len() >= read && (!uses.returned || prototype.returns.size().is_some())
}

/// Can a trampoline be set up at this function? Taken for granted where no types are at hand.
///
/// # Errors
/// Why not, in words.
fn trampoline(candidate: &Candidate<'_>, machine: &Machine) -> Result<(), String> {
    machine.has_fentry().map_err(no_fentry)?;
    if machine.types().vmlinux().is_none() {
        return Ok(());
    }
    let name = candidate.name;
    let Some(prototype) = &candidate.prototype else {
        return Err(format!("the kernel's type information lacks `{name}`"));
    };
    if !prototype.module.is_empty() {
        return Err(format!("`{name}` belongs to module `{}`", prototype.module));
    }
    if TRAMPOLINES_OWN.contains(&name) {
        return Err(format!("trampolines themselves call `{name}`"));
    }
    // Behind the fixed arguments of a function with `...` stands one without a type.
    let fits = |of: &Type| !of.is_struct() && of.size().is_some();
    if prototype.arguments.len() > MOST_ARGUMENTS || !prototype.arguments.iter().all(|(_, of)| fits(of)) {
        return Err(format!("`{name}` takes arguments that trampolines do not hand on"));
    }
    Ok(())
}

fn no_fentry(kind: io::ErrorKind) -> String {
    match kind {
        io::ErrorKind::NotFound => "this kernel has no type information (CONFIG_DEBUG_INFO_BTF)".into(),
        io::ErrorKind::PermissionDenied => "this machine does not allow such programs".into(),
        _ => "this kernel cannot load such programs".into(),
    }
}

fn no_number(text: &str, what: &str) -> Diagnostic {
    Diagnostic::script(format!("`{text}` is no {what}")).span(text).help("0x1f, or 31")
}

fn registers() -> impl Iterator<Item = usize> {
    REGISTERS.arguments.iter().map(|offset| *offset as usize)
}

/// `arg0` …, from where they lie in the context, in their order. Where `args.NAME` is to be known, it is known here.
fn arguments(places: impl Iterator<Item = usize>, prototype: Option<&Prototype>) -> Vec<Int> {
    match prototype {
        // A structure by value takes one register, two, or none: then only registers can be named.
        Some(prototype) if !prototype.arguments.iter().any(|(_, of)| of.is_struct()) => {
            places.zip(&prototype.arguments).map(|(offset, (_, of))| value(offset, Some(of))).collect()
        }
        _ => places.map(|offset| value(offset, None)).collect(),
    }
}

/// An argument or result that lies in 64 bits: only as many of them count as its type has.
fn value(offset: usize, of: Option<&Type>) -> Int {
    let number = of.filter(|of| !of.is_pointer() && !of.is_struct());
    let narrow = number.and_then(|of| Some((Size::of(of.size()?)?, of.signed()))).filter(|(size, _)| *size != Size::B8);
    let (size, signed) = narrow.unwrap_or((Size::B8, true));
    context(offset, size, signed)
}

/// `None` for a function that returns nothing.
fn result(offset: usize, of: Option<&Type>) -> Option<Typed> {
    match of {
        Some(of) => resolve::passed(context(offset, Size::B8, false), of),
        None => Some(Typed::int(value(offset, None))),
    }
}

/// `args.NAME`, from where each word of them lies.
fn by_name(prototype: Option<&Prototype>, place: impl Fn(usize) -> Option<usize>) -> Arguments {
    let word = |n: usize| place(n).map(|offset| context(offset, Size::B8, false));
    prototype.map_or(Arguments::None, |prototype| Arguments::Known(typed::arguments(prototype, word)))
}
