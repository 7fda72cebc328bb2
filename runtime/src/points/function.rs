//! Functions of the kernel: which of them, and the cheapest way to each that this kernel has.
//!
//! A trampoline (fentry, fexit) calls the program without what a kprobe saves and restores: a few functions whose types are
//! known are watched by trampolines. Many are not: each takes a program of its own.

use self::refusal::{no_fentry, no_number, protected};
use super::{Mechanism, Point, Uses, context, scope, typed};
use crate::attach_point::Way;
use crate::diagnostic::Diagnostic;
use crate::glob;
use crate::kernel::arch::REGISTERS;
use crate::kernel::functions::{Function, kernel_or};
use crate::machine::Machine;
use crate::resolve::{self, Arguments, Typed};
use crate::slot::ir::{Int, Memory, Size};
use crate::types::{Prototype, Type};
use std::collections::{BTreeSet, HashMap};

mod refusal;

/// More functions than these are watched by kprobes where either would do: a trampoline takes milliseconds to set up.
const FEW: usize = 8;
/// Arguments that every kernel hands to a trampoline: those in registers.
const MOST_ARGUMENTS: usize = 6;
/// No trampoline may run inside these: its own code calls them. Source: kernel/bpf/verifier.c, btf_id_deny; the last is what
/// template fentry calls before it is guarded.
const TRAMPOLINES_OWN: [&str; 8] = [
    "migrate_disable",
    "migrate_enable",
    "rcu_read_unlock_strict",
    "preempt_count_add",
    "preempt_count_sub",
    "__rcu_read_lock",
    "__rcu_read_unlock",
    "bpf_get_smp_processor_id",
];

/// The kernel refuses fexit here, and a kretprobe would wait in vain. Source: kernel/bpf/verifier.c, noreturn_deny.
const NEVER_RETURN: [&str; 9] = [
    "__x64_sys_exit",
    "__x64_sys_exit_group",
    "__arm64_sys_exit",
    "__arm64_sys_exit_group",
    "do_exit",
    "do_group_exit",
    "kthread_complete_and_exit",
    "kthread_exit",
    "make_task_dead",
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
    /// Empty: the kernel proper, or not known.
    module: &'a str,
    prototype: Option<Prototype>,
}

/// Functions by name or glob, an instruction by its offset or address.
///
/// # Errors
/// No such function, or none that can be watched, with the reason.
pub fn expand(asked: Asked<'_>, uses: Uses, machine: &Machine) -> Result<Vec<Point>, Diagnostic> {
    let place = asked.function;
    if let Some(digits) = place.strip_prefix("0x") {
        let address =
            u64::from_str_radix(digits, 16).map_err(|_| no_number(place, "address", "kprobe:0xffffffff81430990"))?;
        return Ok(vec![asked.instruction(None, address, machine)?]);
    }
    if let Some((name, digits)) = place.split_once('+') {
        let parsed = digits.strip_prefix("0x").map_or_else(|| digits.parse(), |hex| u64::from_str_radix(hex, 16));
        let offset = parsed.map_err(|_| no_number(digits, "offset", "kprobe:FUNCTION+0x1f, or +31"))?;
        asked.require(name, machine)?;
        return Ok(vec![asked.instruction(Some(name), offset, machine)?]);
    }
    if !glob::is_glob(place) {
        let module = asked.require(place, machine)?;
        let prototype = machine.types().function(&module, place);
        return Ok(vec![asked.point(Candidate { name: place, module: kernel_or(&module), prototype }, "", machine)?]);
    }
    if asked.way == Way::Any && !machine.has_kprobe() && machine.has_fentry().is_err() {
        return Err(asked.no_kprobes(place));
    }
    let (candidates, note) = asked.matching(uses, machine)?;
    let batch = match (asked.way, candidates.len() > FEW) {
        (Way::Trampoline, _) | (_, false) => None,
        _ if !machine.has_kprobe() => None,
        _ if machine.has_kprobe_multi() => Some("kprobe.multi: one link for all of them"),
        // Few calls at a time fit a kretprobe, on some kernels one for each processor: it misses the returns of others.
        _ if asked.returns => None,
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
        let mut names: Vec<Function<'a>> = found.collect();
        names.sort_unstable();
        names.dedup_by_key(|function| function.name);
        if names.is_empty() {
            let all = self.way.provider(self.returns);
            return Err(Diagnostic::script(format!("no kernel function matches `{}`", self.text))
                .span(self.text)
                .help(format!("skep list '{all}:*'   (all that can be watched)")));
        }
        let matched = names.len();
        names.retain(|function| !self.waits_in_vain(function.name));
        match self.way {
            Way::Any => names.retain(|function| !machine.is_protected(function.name)),
            Way::Trampoline => {
                machine.has_fentry().map_err(|kind| self.no_trampoline(self.function, no_fentry(kind), machine))?;
            }
        }
        let mut declared = HashMap::new();
        let read = uses.named || uses.numbered != 0 || uses.returned;
        // Kretprobes miss returns: where each would be one of its own, fexit is tried first, and that takes types.
        let fexit_first = self.returns && !machine.has_kprobe_multi();
        if self.way == Way::Trampoline || names.len() <= FEW || read || fexit_first {
            let modules: BTreeSet<&str> = names.iter().map(|function| function.module).collect();
            for module in modules {
                let at = |name: &str| names.binary_search_by_key(&name, |function| function.name);
                let of = |name: &str| at(name).is_ok_and(|n| names[n].module == module);
                let found = machine.types().functions(module, of);
                declared.extend(found.into_iter().map(|found| (found.name.clone(), found)));
            }
        }
        let candidate = |Function { name, module }| Candidate { name, module, prototype: declared.remove(name) };
        let mut candidates: Vec<Candidate<'a>> = names.into_iter().map(candidate).collect();
        if self.way == Way::Trampoline {
            candidates.retain(|one| trampoline(one, machine).is_ok());
        }
        let unwatched = matched - candidates.len();
        candidates.retain(|one| has(one, uses));
        let lacking = matched - unwatched - candidates.len();
        if candidates.is_empty() {
            let (what, instead) = match (lacking, self.way) {
                (0, Way::Any) => ("can be watched by kprobes", Way::Trampoline),
                (0, Way::Trampoline) => ("can be watched by trampolines", Way::Any),
                (_, way) => ("has such an argument or result", way),
            };
            let help = format!("skep list -v '{}:{}'", instead.provider(self.returns), self.function);
            let message = format!("no function that matches `{}` {what}", self.text);
            return Err(Diagnostic::machine(message).span(self.text).help(help));
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
            (Ok(()), _) => Ok(self.trampoline(candidate, note, machine)),
            (Err(reason), Way::Trampoline) => Err(self.no_trampoline(name, reason, machine)),
            (Err(_), Way::Any) if machine.is_protected(name) => Err(protected(name)),
            (Err(reason), Way::Any) => self.kprobe(candidate, &format!("a kprobe: {reason}{note}"), false, machine),
        }
    }

    fn trampoline(&self, candidate: Candidate<'_>, note: &str, machine: &Machine) -> Point {
        let shown = self.shown(candidate.name);
        let mut scope = scope(&shown, Memory::Kernel);
        let count = candidate.prototype.as_ref().map_or(MOST_ARGUMENTS, |prototype| prototype.arguments.len());
        if self.returns {
            // Behind the arguments lies what the function returns.
            let returns = candidate.prototype.as_ref().map(|prototype| &prototype.returns);
            scope.return_value = result(8 * count, returns);
        }
        if !self.returns || self.way == Way::Trampoline {
            scope.arguments = by_name(candidate.prototype.as_ref(), machine, |n| (n < count).then_some(8 * n));
        }
        // What a kretprobe does not have everywhere, it does not have here.
        if !self.returns || self.way == Way::Trampoline {
            scope.numbered = arguments((0..count).map(|n| 8 * n), candidate.prototype.as_ref());
        }
        let kind = if self.returns { "fexit" } else { "fentry" };
        let reason = match self.way {
            Way::Trampoline => format!("a trampoline, as asked{note}"),
            Way::Any => format!("{kind}: a trampoline, preferred to a kprobe{note}"),
        };
        let (id, module) = match candidate.prototype {
            Some(prototype) => (prototype.function.id(), prototype.module),
            None => (0, candidate.module.to_owned()),
        };
        let mechanism = Mechanism::Trampoline { id, module, returns: self.returns };
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
            scope.arguments =
                by_name(prototype, machine, |n| REGISTERS.arguments.get(n).map(|offset| *offset as usize));
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

    /// Is it the return of a function that never returns?
    fn waits_in_vain(&self, name: &str) -> bool {
        self.returns && NEVER_RETURN.contains(&name)
    }

    fn shown(&self, name: &str) -> String {
        let provider = self.way.provider(self.returns);
        match self.module {
            "" => format!("{provider}:{name}"),
            module => format!("{provider}:{module}:{name}"),
        }
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
    let name = candidate.name;
    let module = candidate.prototype.as_ref().map_or(candidate.module, |prototype| prototype.module.as_str());
    if machine.types().vmlinux().is_none() {
        return Ok(());
    }
    let Some(prototype) = &candidate.prototype else {
        return Err(match module {
            "" => format!("the kernel's type information lacks `{name}`"),
            module if machine.types().has_module(module) => {
                format!("the type information of module `{module}` lacks `{name}`")
            }
            module => format!("this kernel has no type information on module `{module}`"),
        });
    };
    if !module.is_empty() && !machine.opens_module_types() {
        return Err(format!("`{name}` belongs to module `{module}`, and that takes CAP_SYS_ADMIN"));
    }
    if TRAMPOLINES_OWN.contains(&name) {
        return Err(format!("trampolines themselves call `{name}`"));
    }
    // Behind the fixed arguments of a function with `...` stands one without a type.
    let fits = |of: &Type| !of.is_struct() && of.size().is_some_and(|size| size <= 8);
    if prototype.arguments.len() > MOST_ARGUMENTS || !prototype.arguments.iter().all(|(_, of)| fits(of)) {
        return Err(format!("`{name}` takes arguments that trampolines do not hand on"));
    }
    if prototype.returns.is_struct() {
        return Err(format!("`{name}` returns what trampolines do not hand on"));
    }
    Ok(())
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
fn by_name(prototype: Option<&Prototype>, machine: &Machine, place: impl Fn(usize) -> Option<usize>) -> Arguments {
    let word = |n: usize| place(n).map(|offset| context(offset, Size::B8, false));
    match prototype {
        Some(prototype) => Arguments::Known(typed::arguments(prototype, word)),
        // A plan for a machine whose types are not at hand lets any name pass.
        None if machine.assume_fields && machine.types().vmlinux().is_none() => Arguments::Unchecked,
        None => Arguments::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attach_point::{self, AttachPoint};
    use std::path::Path;

    fn machine() -> Machine {
        Machine::captured(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/machine"))
    }

    fn points(text: &str, uses: Uses) -> Result<Vec<Point>, Diagnostic> {
        match attach_point::parse(text)? {
            AttachPoint::Function { way, module, function, returns } => {
                expand(Asked { way, module: &module, function: &function, returns, text }, uses, &machine())
            }
            other => panic!("{other} is no function"),
        }
    }

    fn refused(text: &str) -> (String, String) {
        let error = points(text, Uses::default()).unwrap_err();
        (error.message.clone(), error.help.clone().unwrap_or_default())
    }

    #[test]
    fn few_functions_are_watched_by_trampolines_and_many_by_one_link() {
        let one = points("kretprobe:vfs_read", Uses::default()).unwrap();
        assert!(matches!(one[0].mechanism, Mechanism::Trampoline { returns: true, .. }), "{one:?}");
        let few = points("kprobe:tcp_*connect", Uses::default()).unwrap();
        assert!(few.len() == 2 && few.iter().all(|point| matches!(point.mechanism, Mechanism::Trampoline { .. })));
        let many = points("kprobe:vfs_*", Uses::default()).unwrap();
        assert!(
            many.len() > FEW && many.iter().all(|one| matches!(one.mechanism, Mechanism::Kprobe { many: true, .. }))
        );
        assert_eq!(many[0].shown, "kprobe:vfs_fstat");
    }

    #[test]
    fn place_inside_a_function_takes_a_kprobe() {
        let at = points("kprobe:vfs_read+0x4", Uses::default()).unwrap();
        let wanted = Mechanism::Kprobe { function: Some("vfs_read".into()), offset: 4, returns: false, many: false };
        assert_eq!((&at[0].mechanism, at[0].shown.as_str()), (&wanted, "kprobe:vfs_read+0x4"));
        let at = points("kprobe:0xffffffff81430990", Uses::default()).unwrap();
        let wanted = Mechanism::Kprobe { function: None, offset: 0xffff_ffff_8143_0990, returns: false, many: false };
        assert_eq!(at[0].mechanism, wanted);
    }

    #[test]
    fn function_with_several_names_is_found_by_each() {
        assert!(points("kprobe:__x64_sys_getppid", Uses::default()).is_ok());
    }

    #[test]
    fn protected_functions_are_left_out_of_globs_and_refused_by_name() {
        assert_eq!(refused("kprobe:__die*").0, "no function that matches `kprobe:__die*` can be watched by kprobes");
        assert!(refused("kprobe:asm_exc_divide_error").0.contains("protects `asm_exc_divide_error`"));
    }

    #[test]
    fn what_is_missing_is_told_from_what_cannot_be_traced() {
        assert_eq!(refused("kprobe:vfs_raed").1, "did you mean `kprobe:vfs_read`?");
        assert_eq!(refused("kretprobe:match_id").1, "one of them: kretprobe:match_id.isra.0");
        assert_eq!(refused("fexit:do_exit"), ("`do_exit` never returns".into(), "fentry:do_exit".into()));
        assert!(refused("fentry:entry_SYSCALL_64").0.contains("exists, but"));
        assert_eq!(refused("kprobe:jiffies").0, "no kernel function matches `jiffies`");
        assert_eq!(refused("kprobe:nf_tables:vfs_read").0, "no kernel function matches `vfs_read`");
        assert!(points("kprobe:nf_tables:nft_do_chain", Uses::default()).is_ok());
    }

    #[test]
    fn only_as_many_bits_count_as_a_type_has() {
        let types = crate::types::KernelTypes::folder(Path::new(crate::kernel::btf::FOLDER));
        let Some(getattr) = types.function("vmlinux", "vfs_getattr") else { return println!("skipped: no BTF here") };
        let narrow = value(0, Some(&getattr.returns));
        assert_eq!(narrow, context(0, Size::B4, true), "an int is negative where its 32 bits say so");
        assert_eq!(value(8, Some(&getattr.arguments[0].1)), context(8, Size::B8, true));
    }
}
