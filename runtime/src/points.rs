//! Which programs can serve an attach point on a machine: the cheapest that works, and why it was chosen.

use crate::aggregate::column::{BytesShow, Show};
use crate::attach_point::AttachPoint;
use crate::binary::elf::{Binary, Function};
use crate::binary::placement::{self, ArgumentRegisters, Placement};
use crate::binary::process::Target;
use crate::diagnostic::Diagnostic;
use crate::glob;
use crate::kernel::arch::REGISTERS;
use crate::kernel::perf::{self, Every};
use crate::kernel::tracefs::{self, FieldKind, Format};
use crate::machine::{Lookup, Machine};
use crate::resolve::{Argument, Arguments, Scope, Typed};
use crate::slot::ir::{Arithmetic, Current, Int, Memory, Place, Size, Text};
use std::path::PathBuf;

/// How a program gets to an attach point.
#[derive(Clone, Debug, PartialEq)]
pub enum Mechanism {
    /// By the id of its format file.
    Tracepoint {
        id: u64,
    },
    RawTracepoint {
        name: String,
    },
    /// Through the raw tracepoint of all system calls. `arguments`: their registers are read.
    Syscall {
        number: u32,
        enter: bool,
        arguments: bool,
    },
    Uprobe {
        path: PathBuf,
        offset: u64,
        returns: bool,
        pid: Option<u32>,
    },
    /// On every CPU, or on one.
    Perf {
        kind: u32,
        config: u64,
        every: Every,
        one_cpu: bool,
    },
}

/// One place to attach to, with all names narrowed down.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// As bpftrace would write it.
    pub shown: String,
    pub mechanism: Mechanism,
    pub scope: Scope,
    /// Why this mechanism, for the plan.
    pub reason: String,
    /// Value of `probe` here.
    pub id: u64,
}

/// What the plan's expressions use, as far as it decides between mechanisms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// `args.…`
    pub named: bool,
    /// Bit n: `arg<n>`.
    pub numbered: u8,
}

/// Ids of `probe` for system calls: their number on top of this.
pub const ENTER_IDS: u64 = 1 << 32;
pub const EXIT_IDS: u64 = 1 << 33;

/// More points than this are a mistake in a glob.
const MOST: usize = 4096;

/// Expands an attach point.
///
/// # Errors
/// No such place, with the nearest one; or the machine cannot be asked.
pub fn expand(
    point: &AttachPoint,
    text: &str,
    uses: Uses,
    pid: Option<u32>,
    machine: &Machine,
) -> Result<Vec<Point>, Diagnostic> {
    let points = match point {
        AttachPoint::Tracepoint { category, name } => tracepoints(category, name, text, uses, machine)?,
        AttachPoint::RawTracepoint { name } => raw_tracepoints(name, text, machine)?,
        AttachPoint::Uprobe { target, function, returns } => uprobes(target, function, *returns, text, uses, pid)?,
        AttachPoint::Profile { every, .. } => vec![timer(point, *every, false)],
        AttachPoint::Interval { unit, count } => {
            let every = crate::attach_point::every(unit, *count).unwrap_or(Every::Hertz(1));
            vec![timer(point, every, true)]
        }
        AttachPoint::Software { event, period } => vec![counter(point, perf::SOFTWARE, event, *period)],
        AttachPoint::Hardware { event, period } => vec![counter(point, perf::HARDWARE, event, *period)],
    };
    if points.len() > MOST {
        return Err(
            Diagnostic::script(format!("`{text}` is {} attach points, more than {MOST}", points.len())).span(text)
        );
    }
    Ok(points)
}

fn scope(place: &str, memory: Memory) -> Scope {
    Scope {
        place: place.to_owned(),
        arguments: Arguments::None,
        numbered: Vec::new(),
        return_value: None,
        memory,
        probe: Int::Current(Current::Cookie),
        fields: Vec::new(),
    }
}

fn context(offset: usize, size: Size, signed: bool) -> Int {
    Int::Load { place: Place::Context(offset as i16), size, signed }
}

fn nothing(text: &str, what: &str, near: Option<String>) -> Diagnostic {
    let error = Diagnostic::script(format!("no {what} matches `{text}`")).span(text);
    match near {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(format!("skep list '{text}'")),
    }
}

fn tracepoints(
    category: &str,
    name: &str,
    text: &str,
    uses: Uses,
    machine: &Machine,
) -> Result<Vec<Point>, Diagnostic> {
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
            None => Arguments::Unchecked,
        };
        let (base, number_at) = if enter { (ENTER_IDS, context(8, Size::B8, true)) } else { (EXIT_IDS, exit_number()) };
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
    let Some(format) = format else {
        scope.arguments = Arguments::Unchecked;
        return Ok(point(
            Mechanism::Tracepoint { id: 0 },
            scope,
            "fields not checked: only root may read tracefs here",
        ));
    };
    if category == "raw_syscalls" && !machine.avoid_raw && matches!(name, "sys_enter" | "sys_exit") {
        // What the raw tracepoint gives without a look into the registers.
        let second = if name == "sys_enter" { "id" } else { "ret" };
        let known = |one: &&tracefs::Field| one.name == second;
        if !uses.named || format.fields.iter().any(|one| known(&one)) {
            let mut list = record_arguments(&format);
            for argument in &mut list {
                if argument.name == second {
                    let show = if second == "id" { Show::Syscall } else { Show::Decimal };
                    argument.typed = Typed::shown(context(8, Size::B8, true), show);
                }
            }
            list.retain(|argument| argument.name == second);
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
    let raw = !uses.named
        && !machine.avoid_raw
        && !matches!(category, "syscalls" | "ftrace" | "kprobes" | "uprobes" | "synthetic");
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
fn exit_number() -> Int {
    #[cfg(target_arch = "x86_64")]
    let (offset, size) = (15 * 8, Size::B8);
    #[cfg(target_arch = "aarch64")]
    let (offset, size) = (35 * 8, Size::B4);
    Int::Load { place: Place::Behind { pointer: registers(), offset, memory: Memory::Trusted }, size, signed: true }
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

fn raw_tracepoints(name: &str, text: &str, machine: &Machine) -> Result<Vec<Point>, Diagnostic> {
    let all = machine.tracepoints()?;
    let mut names: Vec<String> = all
        .into_iter()
        .filter(|(category, _)| !matches!(category.as_str(), "syscalls" | "ftrace"))
        .flat_map(|(_, names)| names)
        .collect();
    names.sort();
    names.dedup();
    let chosen: Vec<String> = match glob::is_glob(name) {
        true => names.into_iter().filter(|one| glob::matches(name, one)).collect(),
        // The kernel has the last word on a single name: not every raw tracepoint has an event.
        false => vec![name.to_owned()],
    };
    if chosen.is_empty() {
        return Err(nothing(text, "raw tracepoint", None));
    }
    let point = |name: String| {
        let shown = format!("rawtracepoint:{name}");
        let mut scope = scope(&shown, Memory::Kernel);
        scope.numbered = (0..12).map(|n| context(8 * n, Size::B8, true)).collect();
        Point { shown, mechanism: Mechanism::RawTracepoint { name }, scope, reason: "as asked".into(), id: 0 }
    };
    Ok(chosen.into_iter().map(point).collect())
}

fn uprobes(
    target: &str,
    function: &str,
    returns: bool,
    text: &str,
    uses: Uses,
    pid: Option<u32>,
) -> Result<Vec<Point>, Diagnostic> {
    let found = Target { pid }.resolve(target).map_err(|error| error.span(target))?;
    let binary = Binary::open(&found.path).map_err(|error| error.span(target))?;
    if returns && binary.is_go() {
        return Err(Diagnostic::script(format!(
            "`{}` is a Go program: a return probe would break its stacks",
            found.shown
        ))
        .span(text)
        .help(format!("watch the entry: uprobe:{target}:{function}")));
    }
    let mut places = Vec::new();
    if glob::is_glob(function) {
        for function in binary.matching(function)? {
            places.push((function.name.clone(), function, 0, true));
        }
    } else {
        let (symbol, extra) = match function.rsplit_once('+') {
            Some((symbol, extra)) => (symbol, Some(extra)),
            None => (function, None),
        };
        let chosen = binary.function(symbol).map_err(|error| error.span(symbol))?;
        match extra {
            None => places.push((function.to_owned(), chosen, 0, true)),
            Some(extra) => {
                let parsed = extra
                    .strip_prefix("0x")
                    .map_or_else(|| extra.parse().ok(), |hex| u64::from_str_radix(hex, 16).ok());
                let bad = || Diagnostic::script(format!("`{extra}` is no offset")).span(extra);
                let offset = parsed.ok_or_else(bad)?;
                binary.offset_of(symbol, offset).map_err(|error| error.span(function))?;
                places.push((function.to_owned(), chosen, offset, false));
            }
        }
    }
    if places.is_empty() {
        return Err(nothing(text, "function", None));
    }
    let read = (0..6).filter(|n| uses.numbered >> n & 1 != 0);
    let needed = read.fold(ArgumentRegisters::NONE, ArgumentRegisters::and_argument);
    let functions: Vec<&Function> = places.iter().map(|(_, function, ..)| *function).collect();
    let placed = placement::place_all(&binary, &functions, returns, needed)?;
    let provider = if returns { "uretprobe" } else { "uprobe" };
    let point = |((name, function, extra, may_move), placed): ((String, &Function, u64, bool), Placement)| {
        let shown = format!("{provider}:{}:{name}", found.shown);
        let mut scope = scope(&shown, Memory::User);
        let register = |offset: &i16| Int::Load { place: Place::Context(*offset), size: Size::B8, signed: true };
        if returns {
            scope.return_value = Some(register(&REGISTERS.return_value));
        } else {
            scope.numbered = REGISTERS.arguments.iter().map(register).collect();
        }
        let (offset, reason) = match may_move {
            true => (placed.offset, format!("at +{}: {}", placed.offset, placed.reason)),
            false => (extra, "where asked".to_owned()),
        };
        let mechanism =
            Mechanism::Uprobe { path: found.path.clone(), offset: function.file_offset + offset, returns, pid };
        Point { shown, mechanism, scope, reason, id: 0 }
    };
    Ok(places.into_iter().zip(placed).map(point).collect())
}

fn timer(point: &AttachPoint, every: Every, one_cpu: bool) -> Point {
    let shown = point.to_string();
    let mechanism = Mechanism::Perf { kind: perf::SOFTWARE, config: 0, every, one_cpu };
    let reason = if one_cpu { "the clock of one processor" } else { "the clock of every processor" };
    Point { scope: scope(&shown, Memory::User), shown, mechanism, reason: reason.into(), id: 0 }
}

fn counter(point: &AttachPoint, kind: u32, event: &str, period: Option<u64>) -> Point {
    let shown = point.to_string();
    let (config, preset) = perf::event(kind, event).unwrap_or((0, 1));
    let every = Every::Period(period.unwrap_or(preset));
    let mechanism = Mechanism::Perf { kind, config, every, one_cpu: false };
    Point { scope: scope(&shown, Memory::User), shown, mechanism, reason: "every processor's counter".into(), id: 0 }
}
