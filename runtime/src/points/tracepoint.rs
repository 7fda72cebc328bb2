//! Tracepoints: through the kernel's record, the raw tracepoint, or, for system calls, the one that all of them pass.

use super::{ENTER_IDS, EXIT_IDS, Mechanism, Point, Uses, context, nothing, scope};
use crate::aggregate::column::{BytesShow, Show};
use crate::diagnostic::{Diagnostic, nearest};
use crate::glob;
use crate::kernel::arch::REGISTERS;
use crate::kernel::tracefs::{self, FieldKind, Format};
use crate::machine::{Lookup, Machine};
use crate::resolve::{Argument, Arguments, Typed};
use crate::slot::ir::{Arithmetic, Int, Memory, Place, Size, Text};

/// Tracepoints by category and name, either a glob.
pub fn expand(category: &str, name: &str, text: &str, uses: Uses, machine: &Machine) -> Result<Vec<Point>, Diagnostic> {
    let mut chosen: Vec<(String, String)> = Vec::new();
    if glob::is_glob(category) || glob::is_glob(name) {
        for (found, names) in machine.tracepoints()? {
            if glob::matches(category, &found) && found != "ftrace" {
                let names = names.into_iter().filter(|one| glob::matches(name, one));
                chosen.extend(names.map(|name| (found.clone(), name)));
            }
        }
        if chosen.is_empty() {
            machine.require_tracepoints()?;
            return Err(nothing(text, "tracepoint", None));
        }
    } else {
        chosen.push((category.to_owned(), name.to_owned()));
    }
    chosen.into_iter().map(|(category, name)| tracepoint(&category, &name, text, uses, machine)).collect()
}

fn tracepoint(category: &str, name: &str, text: &str, uses: Uses, machine: &Machine) -> Result<Point, Diagnostic> {
    let shown = format!("tracepoint:{category}:{name}");
    let format = match machine.tracepoint(category, name)? {
        Lookup::Found(format) => Some(format),
        Lookup::Missing(near) => return Err(nothing(text, "tracepoint", near)),
        Lookup::Unreadable => None,
    };
    let syscall = (category == "syscalls").then(|| name.split_once("_").and_then(|_| direction(name))).flatten();
    let memory = if category == "syscalls" { Memory::User } else { Memory::Kernel };
    let mut scope = scope(&shown, memory);
    let point =
        |mechanism, scope, reason: &str| Point { shown: shown.clone(), mechanism, scope, reason: reason.into(), id: 0 };
    if let Some((call, enter)) = syscall
        && let Some(number) = machine.syscall(call)
    {
        scope.arguments = match &format {
            Some(format) => Arguments::Known(syscall_arguments(format, enter, true)),
            None if uses.named && !machine.assume_fields => {
                return Err(Diagnostic::machine(format!("only root may read what `{shown}` holds"))
                    .help("sudo, or CAP_DAC_READ_SEARCH; without args.… it works as it is"));
            }
            None => Arguments::Unchecked,
        };
        let (base, number_at) =
            if enter { (ENTER_IDS, context(8, Size::B8, true)) } else { (EXIT_IDS, exit_number(Memory::Trusted)) };
        scope.probe = Int::Binary {
            op: Arithmetic::Add,
            signed: false,
            left: Box::new(number_at),
            right: Box::new(Int::Constant(base)),
        };
        let reason = format!(
            "raw tracepoint of all system calls, only number {number}: about 100 ns less an event than the call's own tracepoint"
        );
        let mechanism = Mechanism::Syscall { number, enter, arguments: uses.named };
        return Ok(Point { id: base + u64::from(number), ..point(mechanism, scope, &reason) });
    }
    let can_be_raw =
        !machine.avoid_raw && !matches!(category, "syscalls" | "ftrace" | "kprobes" | "uprobes" | "synthetic");
    let Some(format) = format else {
        if uses.named && !machine.assume_fields {
            return Err(Diagnostic::machine(format!("only root may read what `{shown}` holds"))
                .help("sudo, or CAP_DAC_READ_SEARCH; without args.… it works as it is"));
        }
        scope.arguments = Arguments::Unchecked;
        let reason = "fields not checked: what the record holds cannot be read here";
        return Ok(match can_be_raw && !uses.named {
            true => point(Mechanism::RawTracepoint { name: name.into() }, scope, reason),
            false => point(Mechanism::Tracepoint { id: 0 }, scope, reason),
        });
    };
    if category == "raw_syscalls" && !machine.avoid_raw && matches!(name, "sys_enter" | "sys_exit") {
        // What the raw tracepoint gives with next to no look into the registers.
        let second = if name == "sys_enter" { "id" } else { "ret" };
        let known = |one: &&tracefs::Field| one.name == second;
        if !uses.named || format.fields.iter().any(|one| known(&one)) {
            let mut list = record_arguments(&format);
            list.retain(|argument| argument.name == "id" || argument.name == second);
            for argument in &mut list {
                argument.typed = match argument.name.as_str() {
                    "id" if name == "sys_exit" => Typed::shown(exit_number(Memory::Kernel), Show::Syscall),
                    "id" => Typed::shown(context(8, Size::B8, true), Show::Syscall),
                    _ => Typed::shown(context(8, Size::B8, true), Show::Decimal),
                };
            }
            scope.arguments = Arguments::Known(list);
            return Ok(point(
                Mechanism::RawTracepoint { name: name.into() },
                scope,
                "raw tracepoint: no record is made, about 50 ns less an event",
            ));
        }
    }
    scope.arguments = Arguments::Known(match syscall {
        Some((_, enter)) => syscall_arguments(&format, enter, false),
        None => record_arguments(&format),
    });
    let raw = !uses.named && can_be_raw;
    Ok(match raw {
        true => point(
            Mechanism::RawTracepoint { name: name.into() },
            scope,
            "raw tracepoint: no argument is read, so no record is made",
        ),
        false => point(Mechanism::Tracepoint { id: format.id }, scope, "its record is read"),
    })
}

/// `sys_enter_openat` -> `openat`, entry.
fn direction(name: &str) -> Option<(&str, bool)> {
    let enter = name.strip_prefix("sys_enter_").map(|call| (call, true));
    enter.or_else(|| name.strip_prefix("sys_exit_").map(|call| (call, false)))
}

fn registers() -> Box<Int> {
    Box::new(context(0, Size::B8, false))
}

/// The system call's number on return: the registers keep it.
fn exit_number(memory: Memory) -> Int {
    #[cfg(target_arch = "x86_64")]
    let (offset, size) = (15 * 8, Size::B8);
    #[cfg(target_arch = "aarch64")]
    let (offset, size) = (35 * 8, Size::B4);
    Int::Load { place: Place::Behind { pointer: registers(), offset, memory }, size, signed: true }
}

/// Arguments of a system call, from the raw tracepoint's registers or from its own tracepoint's record.
fn syscall_arguments(format: &Format, enter: bool, raw: bool) -> Vec<Argument> {
    let mut arguments = Vec::new();
    let named = format.fields.iter().filter(|field| field.name != "__syscall_nr");
    for (n, field) in named.enumerate() {
        let (size, signed) = declared_size(&field.declared);
        let place = match (raw, enter) {
            (false, _) => Place::Context(field.offset as i16),
            (true, false) => Place::Context(8),
            (true, true) => match REGISTERS.syscall_arguments.get(n) {
                Some(offset) => {
                    Place::Behind { pointer: registers(), offset: (*offset).into(), memory: Memory::Trusted }
                }
                None => continue,
            },
        };
        let int = Int::Load { place, size, signed };
        let typed = match field.declared.contains('*') {
            true => Typed::address(int),
            false => Typed::Int { int, unsigned: size == Size::B8 && !signed, show: Show::Decimal },
        };
        arguments.push(Argument { name: field.name.clone(), declared: field.declared.clone(), typed });
    }
    arguments
}

/// The record holds every argument of a system call as 64 bits; its C type says how many of them count.
fn declared_size(declared: &str) -> (Size, bool) {
    let words: Vec<&str> = declared.split_whitespace().filter(|word| *word != "const").collect();
    let typed = &words[..words.len().saturating_sub(1)];
    match typed {
        _ if declared.contains('*') => (Size::B8, false),
        [
            "int" | "pid_t" | "key_t" | "clockid_t" | "timer_t" | "mqd_t" | "key_serial_t" | "rwf_t" | "s32" | "__s32",
        ] => (Size::B4, true),
        ["unsigned", "int"] | ["unsigned" | "u32" | "__u32" | "uid_t" | "gid_t" | "qid_t"] => (Size::B4, false),
        ["umode_t" | "u16" | "__u16"] | ["unsigned", "short"] => (Size::B2, false),
        ["long" | "loff_t" | "off_t" | "s64" | "__s64"] => (Size::B8, true),
        _ => (Size::B8, false),
    }
}

fn record_arguments(format: &Format) -> Vec<Argument> {
    let mut arguments = Vec::new();
    for field in &format.fields {
        let offset = field.offset as i16;
        let size = field.size.min(u16::MAX.into()) as u16;
        let typed = match field.kind {
            FieldKind::Int { signed } => match Size::of(field.size) {
                Some(bytes) => {
                    let int = context(field.offset, bytes, signed);
                    Typed::Int { int, unsigned: bytes == Size::B8 && !signed, show: show_of(field) }
                }
                None => continue,
            },
            FieldKind::TextPointer | FieldKind::Pointer => Typed::address(context(field.offset, Size::B8, false)),
            FieldKind::CharArray => {
                Typed::Text { text: Text::Context { offset, size }, size: size.next_multiple_of(8) }
            }
            FieldKind::ByteArray => Typed::Bytes { bytes: Text::Context { offset, size }, size, show: BytesShow::Hex },
            FieldKind::DynamicText { relative } => {
                Typed::Text { text: Text::DataLocation { offset, relative }, size: crate::resolve::TEXT_SIZE }
            }
            FieldKind::DynamicBytes { relative } => Typed::Bytes {
                bytes: Text::DataLocation { offset, relative },
                size: crate::resolve::TEXT_SIZE,
                show: BytesShow::Hex,
            },
        };
        arguments.push(Argument { name: field.name.clone(), declared: field.declared.clone(), typed });
    }
    arguments
}

fn show_of(field: &tracefs::Field) -> Show {
    match field.declared.split(' ').next() {
        Some("dev_t") => Show::Device,
        _ => Show::Decimal,
    }
}

/// Raw tracepoints by name or glob.
pub fn expand_raw(name: &str, text: &str, uses: Uses, machine: &Machine) -> Result<Vec<Point>, Diagnostic> {
    let chosen: Vec<String> = if glob::is_glob(name) {
        machine.require_tracepoints()?;
        let all = machine.tracepoints()?.into_iter();
        let real = all.filter(|(category, _)| !matches!(category.as_str(), "syscalls" | "ftrace"));
        let mut names: Vec<String> = real.flat_map(|(_, names)| names).filter(|one| glob::matches(name, one)).collect();
        names.sort();
        names.dedup();
        names
    } else {
        // The kernel has the last word on a single name: not every raw tracepoint has an event.
        vec![name.to_owned()]
    };
    if chosen.is_empty() {
        return Err(nothing(text, "raw tracepoint", None));
    }
    let types = machine.types();
    if let [name] = chosen.as_slice()
        && uses.named
        && types.vmlinux().is_some()
        && types.tracepoint(name).is_none()
    {
        let known = types.tracepoint_names();
        let near = nearest(name, known.iter().map(String::as_str)).map(|near| format!("rawtracepoint:{near}"));
        return Err(nothing(text, "raw tracepoint", near));
    }
    let point = |name: String| {
        let shown = format!("rawtracepoint:{name}");
        let mut scope = scope(&shown, Memory::Kernel);
        scope.numbered = (0..12).map(|n| context(8 * n, Size::B8, true)).collect();
        if uses.named
            && let Some(prototype) = machine.types().tracepoint(&name)
        {
            scope.numbered.truncate(prototype.arguments.len());
            let word = |n: usize| scope.numbered.get(n).cloned();
            scope.arguments = Arguments::Known(super::typed::arguments(&prototype, word));
        } else if machine.assume_fields && machine.types().vmlinux().is_none() {
            scope.arguments = Arguments::Unchecked;
        }
        Point { shown, mechanism: Mechanism::RawTracepoint { name }, scope, reason: "as asked".into(), id: 0 }
    };
    Ok(chosen.into_iter().map(point).collect())
}
