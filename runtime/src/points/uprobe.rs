//! User functions: which file, which places in it, and where exactly a probe is cheapest.

use super::{Mechanism, Point, Uses, nothing, scope};
use crate::binary::elf::{Binary, Function};
use crate::binary::placement::{self, ArgumentRegisters, Placement};
use crate::binary::process::{Resolved, Target};
use crate::diagnostic::Diagnostic;
use crate::glob;
use crate::kernel::arch::REGISTERS;
use crate::resolve::Typed;
use crate::slot::ir::{Int, Memory, Place, Size};

/// Functions of a program or library: by name, glob, `name+offset` or `0xaddress`.
pub fn expand(
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
    if let Some(digits) = function.strip_prefix("0x") {
        let bad = || Diagnostic::script(format!("`{function}` is no address")).span(function);
        let address = u64::from_str_radix(digits, 16).map_err(|_| bad())?;
        let file_offset = binary.offset_of_address(address).map_err(|error| error.span(function))?;
        let place = (function.to_owned(), file_offset);
        return Ok(vec![point(place, "where asked".to_owned(), &found, returns, pid)]);
    }
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
    let mut none = if uses.stack { ArgumentRegisters::NONE.and_stack() } else { ArgumentRegisters::NONE };
    if uses.callers && !returns {
        none = none.and_stack().and_callers();
    }
    let needed = read.fold(none, ArgumentRegisters::and_argument);
    let functions: Vec<&Function> = places.iter().map(|(_, function, ..)| *function).collect();
    let placed = placement::place_all(&binary, &functions, returns, needed)?;
    let all = places.into_iter().zip(placed).map(|((name, function, extra, may_move), placed): (_, Placement)| {
        let (offset, reason) = match may_move {
            true => (placed.offset, format!("at +{}: {}", placed.offset, placed.reason)),
            false => (extra, "where asked".to_owned()),
        };
        let mut point = point((name, function.file_offset + offset), reason, &found, returns, pid);
        if uses.callers && may_move && !returns {
            point.scope.caller = Some(caller());
        }
        point
    });
    Ok(all.collect())
}

/// Where a function will return to, before it has moved the stack pointer.
fn caller() -> Int {
    let load = |place| Int::Load { place, size: Size::B8, signed: false };
    match REGISTERS.link {
        Some(register) => load(Place::Context(register)),
        None => {
            let pointer = Box::new(load(Place::Context(REGISTERS.stack_pointer)));
            load(Place::Behind { pointer, offset: 0, memory: Memory::User })
        }
    }
}

/// One place by its name and file offset.
fn point((name, offset): (String, u64), reason: String, found: &Resolved, returns: bool, pid: Option<u32>) -> Point {
    let provider = if returns { "uretprobe" } else { "uprobe" };
    let shown = format!("{provider}:{}:{name}", found.shown);
    let mut scope = scope(&shown, Memory::User);
    let register = |offset: &i16| Int::Load { place: Place::Context(*offset), size: Size::B8, signed: true };
    if returns {
        scope.return_value = Some(Typed::int(register(&REGISTERS.return_value)));
    } else {
        scope.numbered = REGISTERS.arguments.iter().map(register).collect();
    }
    let mechanism = Mechanism::Uprobe { path: found.path.clone(), offset, semaphore: 0, returns, pid };
    Point { shown, mechanism, scope, reason, id: 0 }
}
