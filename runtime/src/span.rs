//! Spans: two events that become one. From an entry with a start and an end to the programs of both: what they have in
//! common, what a start keeps for its end, which threads concern them. Pure; no privilege.
//!
//! An expression that names nothing but `start.…` is computed at the start and kept, whatever it is; everything else is
//! of the end. At the end the kept columns are fields of an event, beside `elapsed`: see span.bpf.h.

use crate::aggregate::column::{self, ColumnKind, ColumnType, Show};
use crate::attach_point::AttachPoint;
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Node, Operator};
use crate::kernel::arch::REGISTERS;
use crate::kernel::map::{self, Map, Shape};
use crate::machine::Machine;
use crate::plan::{Column, Entry, Output, Span};
use crate::prepare::{self, Draft, Here, Prepared, Restrict, Slots, Unit};
use crate::resolve::{self, Argument, Scope, Typed};
use crate::slot::assembler::Insn;
use crate::slot::compile;
use crate::slot::ir::{Arithmetic, Current, Int, Place, Size, Test, Text};
use std::cell::RefCell;
use std::io;

/// How an end finds its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pairing {
    /// By the thread, which has one such span at a time.
    Thread,
    /// By the thread and the function's frame: calls of a function may be nested.
    Frame,
    /// By what the script says; any thread may end it.
    Given,
}

/// The starts of a prepared span, and where they wait.
#[derive(Clone)]
pub struct Spans {
    pub pairing: Pairing,
    pub units: Vec<Unit>,
    /// What a start keeps, as the script has it.
    pub kept: Vec<(Expr, ColumnType)>,
    pub shape: Shape,
}

/// `struct span`: when it started, and the event, which begins with `elapsed`.
const STARTED: usize = 8;
const ELAPSED: usize = 8;
const KEY_LONGEST: usize = 128;
const KEPT_LONGEST: usize = 1008;
/// A chain that has all of it.
pub const EXAMPLE: &str =
    "span(\"tracepoint:syscalls:sys_enter_read\", \"tracepoint:syscalls:sys_exit_read\").hist(elapsed)";
/// The names that expressions have for the frame and the thread, whose `tid` may be 0 in another namespace.
const FRAME: &str = "frame";
const THREAD: &str = "thread";

/// Prepares an entry whose source is `span`.
///
/// # Errors
/// As [`prepare::prepare`].
pub fn prepare(entry: &Entry, span: &Span, index: usize, here: Here<'_>) -> Result<Prepared, Diagnostic> {
    if let Some((text, _)) =
        span.start.iter().chain(&span.end).find(|(_, point)| matches!(point, AttachPoint::Iterator { .. }))
    {
        return Err(Diagnostic::script(format!("`{text}` is what is there: it neither starts nor ends"))
            .span(text.as_str())
            .help(format!("probe({text:?})"))
            .at(entry.position));
    }
    let pairing = pairing(span);
    let (mut lifted, kept) = lift(entry)?;
    let (start_key, end_key) = keys(span, pairing);
    let ids = (index as u64) << 16;

    let expressions: Vec<&Expr> = kept.iter().map(|column| &column.expr).chain(&start_key).collect();
    let mut starts = drafts(&span.start, &expressions, pairing, ids, here).map_err(|error| error.at(entry.position))?;
    let expressions: Vec<&Expr> = lifted.expressions().chain(&end_key).collect();
    let behind = ids + starts.len() as u64;
    let mut ends = drafts(&span.end, &expressions, pairing, behind, here).map_err(|error| error.at(entry.position))?;
    match pairing {
        Pairing::Thread => {}
        Pairing::Frame => {
            starts.iter_mut().for_each(|draft| draft.scope.fields.extend([thread(), frame(REGISTERS.return_address)]));
            ends.iter_mut().for_each(|draft| draft.scope.fields.extend([thread(), frame(0)]));
        }
        // `--pid` is about starts: another process may end a span.
        Pairing::Given => ends.iter_mut().for_each(Draft::in_any_process),
    }

    let start_keys = resolved(&start_key, &starts)?;
    let end_keys = resolved(&end_key, &ends)?;
    let key = common(
        unified(&start_key, &start_keys, entry)?,
        &unified(&end_key, &end_keys, entry)?,
        &start_key,
        &end_key,
        entry,
    )?;
    let expressions: Vec<Expr> = kept.iter().map(|column| column.expr.clone()).collect();
    let keeps = resolved(&expressions, &starts)?;
    let kept_types = unified(&expressions, &keeps, entry)?;
    let (key_size, kept_size) = (prepare::size(&key), prepare::size(&kept_types));
    check_sizes(key_size, kept_size).map_err(|error| error.at(entry.position))?;

    let Guards { start: start_restrict, end: end_restrict, event: event_restrict } = guards(here.restrict, pairing);
    let threads = if pairing == Pairing::Given { None } else { split_off_threads(&mut lifted) };
    let start_scope = starts.first().map(|draft| draft.scope.clone());
    let mut units = Vec::new();
    for ((draft, key_typed), kept_typed) in starts.into_iter().zip(&start_keys).zip(&keeps) {
        let slots = Slots {
            guard: guard(&start_restrict, threads.as_ref(), &draft.scope, here.machine)?,
            key: key_slot(pairing, &key, key_typed)?,
            columns: prepare::columns_slot(&kept_types, kept_typed, false)?,
            ..Default::default()
        };
        let mut constants = constants(&slots, pairing, start_restrict.follows(&draft.scope));
        constants.push(("has_key".into(), vec![slots.columns.is_some().into()]));
        let Draft { template, programs, reason, constants: own, .. } = half(draft, "start");
        let unit = Unit { template, programs, constants: [own, constants].concat(), slots, reason };
        prepare::merge(&mut units, unit, here.machine);
    }
    let mut drafts = Vec::with_capacity(ends.len());
    for (draft, key_typed) in ends.into_iter().zip(&end_keys) {
        let mut draft = half(draft, "end");
        draft.slots = Slots {
            guard: guard(&end_restrict, threads.as_ref(), &draft.scope, here.machine)?,
            key: key_slot(pairing, &key, key_typed)?,
            ..Default::default()
        };
        draft.constants.extend(constants(&draft.slots, pairing, end_restrict.follows(&draft.scope)));
        draft.scope.fields.push(elapsed());
        let offsets = column::offsets(&kept_types, ELAPSED);
        draft.scope.fields.extend(kept.iter().zip(&kept_types).zip(offsets).map(field));
        drafts.push(draft);
    }
    let first = drafts.first().map(|draft| draft.scope.clone());
    let mut prepared = prepare::from_drafts(&lifted, index, drafts, here.machine, &event_restrict)
        .map_err(|error| hint(error, &lifted, first, start_scope))?;
    let shape = Shape {
        map_type: map::LRU_HASH,
        key_size: key_size as u32,
        value_size: (STARTED + ELAPSED + kept_size) as u32,
        max_entries: span.room,
    };
    for attach in units.iter().flat_map(|unit: &Unit| &unit.programs).flat_map(|program| &program.attach) {
        prepared.probes.insert(attach.cookie, attach.shown.clone());
    }
    let kept = kept.into_iter().map(|column| column.expr).zip(kept_types).collect();
    prepared.span = Some(Spans { pairing, units, kept, shape });
    Ok(prepared)
}

/// The one place that decides it.
fn pairing(span: &Span) -> Pairing {
    let called = |(_, point): &(String, AttachPoint)| match point {
        AttachPoint::Uprobe { target, function, returns: false } => Some((target.clone(), function.clone())),
        _ => None,
    };
    let returned = |(_, point): &(String, AttachPoint)| match point {
        AttachPoint::Uprobe { target, function, returns: true } => Some((target.clone(), function.clone())),
        _ => None,
    };
    let starts: Option<Vec<_>> = span.start.iter().map(called).collect();
    let ends: Option<Vec<_>> = span.end.iter().map(returned).collect();
    match (&span.on, starts, ends) {
        (Some(_), ..) => Pairing::Given,
        (None, Some(starts), Some(ends)) if starts == ends => Pairing::Frame,
        _ => Pairing::Thread,
    }
}

/// What a start and its end have in common, as each of them says it.
fn keys(span: &Span, pairing: Pairing) -> (Vec<Expr>, Vec<Expr>) {
    let same = |names: &[&str]| {
        let names: Vec<Expr> = names.iter().map(|name| Expr::name(name)).collect();
        (names.clone(), names)
    };
    match (&span.on, pairing) {
        (Some(on), _) => on.clone(),
        (None, Pairing::Frame) => same(&[THREAD, FRAME]),
        (None, _) => same(&["tid"]),
    }
}

fn drafts(
    written: &[(String, AttachPoint)],
    expressions: &[&Expr],
    pairing: Pairing,
    ids: u64,
    here: Here<'_>,
) -> Result<Vec<Draft>, Diagnostic> {
    let mut uses = prepare::uses(expressions);
    uses.stack = pairing == Pairing::Frame;
    prepare::drafts(written, expressions, uses, ids, here)
}

/// The caller's stack pointer: the same when a function begins, with `pushed` bytes on the stack, and when it returned.
fn frame(pushed: u64) -> Argument {
    let pointer = Int::Load { place: Place::Context(REGISTERS.stack_pointer), size: Size::B8, signed: false };
    let (left, right) = (Box::new(pointer), Box::new(Int::Constant(pushed)));
    let frame = Int::Binary { op: Arithmetic::Add, signed: false, left, right };
    Argument { name: FRAME.into(), declared: String::new(), typed: Typed::address(frame) }
}

fn thread() -> Argument {
    Argument { name: THREAD.into(), declared: String::new(), typed: Typed::int(Int::Current(Current::Tid)) }
}

/// The entry as its end sees it, and what the start keeps for that: each under the name that the end has for it.
fn lift(entry: &Entry) -> Result<(Entry, Vec<Column>), Diagnostic> {
    let mut kept: Vec<Column> = Vec::new();
    for expr in entry.expressions() {
        collect(expr, &mut kept);
    }
    for column in &mut kept {
        column.expr = at_start(&column.expr);
        if column.expr.any(&is_start) {
            return Err(Diagnostic::script(
                "`start` is all of the event that began the span; name what you want of it",
            )
            .span("start")
            .help("start.comm, start.nsecs, start.args.NAME, start.arg0")
            .at(column.expr.position)
            .at(entry.position));
        }
    }
    let mut entry = entry.clone();
    let lifted = |expr: &Expr| {
        expr.replaced(&|part| of_start(part).then(|| Expr::new(Node::Name(part.to_string()), part.position)))
    };
    entry.filter = entry.filter.as_ref().map(lifted);
    let columns = match &mut entry.output {
        Output::Stream { columns, .. } => columns.as_mut_slice(),
        Output::Aggregate { value, .. } => {
            *value = value.as_ref().map(lifted);
            &mut []
        }
        Output::None => &mut [],
    };
    for column in entry.key.iter_mut().chain(columns) {
        column.expr = lifted(&column.expr);
    }
    Ok((entry, kept))
}

fn is_start(node: &Node) -> bool {
    matches!(node, Node::Name(name) if name == "start")
}

/// Does it name the start, and nothing else?
fn of_start(expr: &Expr) -> bool {
    let other = |node: &Node| matches!(node, Node::Name(name) if name != "start");
    expr.any(&is_start) && !expr.any(&other)
}

/// The largest parts of `expr` that are of the start, each once.
fn collect(expr: &Expr, kept: &mut Vec<Column>) {
    // Looked for in the order in which they are replaced, so that every part that is replaced is known.
    let found = RefCell::new(Vec::new());
    expr.replaced(&|part| {
        of_start(part).then(|| {
            found.borrow_mut().push(part.clone());
            part.clone()
        })
    });
    for part in found.into_inner() {
        let name = part.to_string();
        if kept.iter().all(|column| column.name != name) {
            kept.push(Column { name, expr: part });
        }
    }
}

/// `start.args.filename` as the start has it: `args.filename`.
fn at_start(expr: &Expr) -> Expr {
    expr.replaced(&|part| match &*part.node {
        Node::Member(inner, name) if is_start(&inner.node) => Some(Expr::new(Node::Name(name.clone()), part.position)),
        _ => None,
    })
}

/// Names of spans in a chain that is none; a template may have a field of that name.
///
/// # Errors
/// A script diagnostic at the name.
pub fn none_of(entry: &Entry, fields: &[Argument]) -> Result<(), Diagnostic> {
    for name in ["start", "elapsed"] {
        let named = |node: &Node| matches!(node, Node::Name(found) if found == name);
        let found = entry.expressions().find(|expr| expr.any(&named));
        if let Some(expr) = found.filter(|_| fields.iter().all(|field| field.name != name)) {
            return Err(Diagnostic::script(format!("`{name}` belongs to spans: this chain has no start and no end"))
                .span(name)
                .help(EXAMPLE)
                .at(expr.position)
                .at(entry.position));
        }
    }
    Ok(())
}

/// What an end lacks and a start has is asked for as `start.…`.
fn hint(error: Diagnostic, entry: &Entry, end: Option<Scope>, start: Option<Scope>) -> Diagnostic {
    let (Some(end), Some(start)) = (end, start) else { return error };
    let found = RefCell::new(None);
    for expr in entry.expressions() {
        expr.replaced(&|part| {
            let field = matches!(&*part.node, Node::Name(_) | Node::Member(..));
            if field && resolve::resolve(part, &end).is_err() && resolve::resolve(part, &start).is_ok() {
                found.borrow_mut().get_or_insert(part.to_string());
            }
            field.then(|| part.clone())
        });
    }
    match found.into_inner() {
        Some(part) => error.help(format!("start.{part}   (as it was at the start)")).span(part),
        None => error,
    }
}

fn resolved(expressions: &[Expr], drafts: &[Draft]) -> Result<Vec<Vec<Typed>>, Diagnostic> {
    let one = |expr: &Expr, scope: &Scope| match resolve::column(expr, scope)? {
        Typed::Test(test) => Ok(Typed::int(Int::Truth(Box::new(test)))),
        other => Ok(other),
    };
    drafts.iter().map(|draft| expressions.iter().map(|expr| one(expr, &draft.scope)).collect()).collect()
}

fn unified(expressions: &[Expr], typed: &[Vec<Typed>], entry: &Entry) -> Result<Vec<ColumnType>, Diagnostic> {
    let columns: Vec<Column> =
        expressions.iter().map(|expr| Column { name: expr.to_string(), expr: expr.clone() }).collect();
    let typed: Vec<&[Typed]> = typed.iter().map(Vec::as_slice).collect();
    prepare::unify(&columns.iter().collect::<Vec<_>>(), &typed, entry)
}

/// The key's columns, wide enough for both sides.
fn common(
    mut starts: Vec<ColumnType>,
    ends: &[ColumnType],
    start_key: &[Expr],
    end_key: &[Expr],
    entry: &Entry,
) -> Result<Vec<ColumnType>, Diagnostic> {
    for (n, (start, end)) in starts.iter_mut().zip(ends).enumerate() {
        start.kind = match (start.kind, end.kind) {
            (same @ ColumnKind::Int { .. }, ColumnKind::Int { .. }) => same,
            (ColumnKind::Text { size: a }, ColumnKind::Text { size: b }) => ColumnKind::Text { size: a.max(b) },
            (same @ ColumnKind::Bytes { size: a, .. }, ColumnKind::Bytes { size: b, .. }) if a == b => same,
            (start, end) => {
                let (start, end) = (what(start), what(end));
                let message = format!(
                    "`{}` is {start} at the start, `{}` is {end} at the end: they are never equal",
                    start_key[n], end_key[n]
                );
                let end = &end_key[n];
                return Err(Diagnostic::script(message).span(end.to_string()).at(end.position).at(entry.position));
            }
        };
    }
    Ok(starts)
}

fn what(kind: ColumnKind) -> String {
    match kind {
        ColumnKind::Int { .. } => "a number".into(),
        ColumnKind::Text { .. } => "a text".into(),
        ColumnKind::Bytes { size, .. } => format!("{size} bytes"),
    }
}

fn check_sizes(key: usize, kept: usize) -> Result<(), Diagnostic> {
    if key > KEY_LONGEST {
        return Err(Diagnostic::script(format!("a span's key of {key} bytes is too long: at most {KEY_LONGEST}"))
            .help("shorter texts: str(args.filename, 64)"));
    }
    if kept > KEPT_LONGEST {
        let message = format!("a start keeps {kept} bytes for its end, which is too long: at most {KEPT_LONGEST}");
        return Err(Diagnostic::script(message).help("shorter texts: str(start.args.filename, 64)"));
    }
    Ok(())
}

/// Which of the command line's restrictions hold where.
struct Guards {
    start: Restrict,
    end: Restrict,
    /// Tested as a part of the filter.
    event: Restrict,
}

fn guards(restrict: &Restrict, pairing: Pairing) -> Guards {
    let none = Restrict::default;
    match pairing {
        // The end may come in any task, an interrupted one too.
        Pairing::Given => Guards { start: restrict.clone(), end: none(), event: none() },
        // A program gives its thread another name: that is what the thread is called at the end.
        _ => {
            let both = Restrict { comm: None, ..restrict.clone() };
            Guards { start: both.clone(), end: both, event: Restrict { comm: restrict.comm.clone(), ..none() } }
        }
    }
}

/// Takes those conditions out of the filter that a thread fulfils at both sides or at none: starts of others need not
/// be stored, and their ends be looked for.
fn split_off_threads(entry: &mut Entry) -> Option<Expr> {
    let about_threads = |expr: &Expr| {
        let other = |node: &Node| match node {
            Node::Name(name) => name != "pid" && name != "tid",
            Node::Int(_) | Node::Negate(_) | Node::Not(_) | Node::Binary(..) => false,
            _ => true,
        };
        !expr.any(&other)
    };
    let mut conditions = Vec::new();
    let mut rest: Vec<Expr> = entry.filter.take().into_iter().collect();
    while let Some(expr) = rest.pop() {
        match &*expr.node {
            Node::Binary(Operator::And, left, right) => rest.extend([right.clone(), left.clone()]),
            _ => conditions.push(expr),
        }
    }
    let (threads, others): (Vec<Expr>, Vec<Expr>) = conditions.into_iter().partition(about_threads);
    let joined = |list: Vec<Expr>| list.into_iter().fold(None, |left, right| Some(Expr::and(left, right)));
    entry.filter = joined(others);
    joined(threads)
}

fn guard(
    restrict: &Restrict,
    threads: Option<&Expr>,
    scope: &Scope,
    machine: &Machine,
) -> Result<Option<Vec<Insn>>, Diagnostic> {
    let mut tests = restrict.tests(scope, machine)?;
    if let Some(threads) = threads {
        tests.push(resolve::test(threads, scope)?);
    }
    let test = if tests.len() > 1 { Some(Test::And(tests)) } else { tests.pop() };
    test.map(|test| compile::filter(&test)).transpose().map_err(prepare::too_large)
}

/// A thread's key needs no slot.
fn key_slot(pairing: Pairing, key: &[ColumnType], typed: &[Typed]) -> Result<Option<Vec<Insn>>, Diagnostic> {
    if pairing == Pairing::Thread { Ok(None) } else { prepare::columns_slot(key, typed, true) }
}

fn constants(slots: &Slots, pairing: Pairing, followed: bool) -> Vec<(String, Vec<u8>)> {
    let by_thread = pairing == Pairing::Thread;
    vec![
        ("guard".into(), prepare::chosen(slots.guard.is_some(), followed)),
        ("by_thread".into(), vec![by_thread.into()]),
    ]
}

/// How many starts wait for their ends.
///
/// # Errors
/// The kernel's.
pub fn open(spans: &Map) -> io::Result<u64> {
    let waits = |(_, value): &(Vec<u8>, Vec<u8>)| value.iter().take(STARTED).any(|byte| *byte != 0);
    Ok(spans.entries()?.iter().filter(|entry| waits(entry)).count() as u64)
}

/// The draft's programs as those of one half: generic templates have three of each.
fn half(mut draft: Draft, half: &str) -> Draft {
    for program in &mut draft.programs {
        program.name = if program.name == "hit" { half.to_owned() } else { format!("{}_{half}", program.name) };
    }
    draft
}

fn elapsed() -> Argument {
    let int = Int::Load { place: Place::Event(0), size: Size::B8, signed: false };
    let typed = Typed::Int { int, unsigned: true, show: Show::Decimal };
    Argument { name: "elapsed".into(), declared: "u64".into(), typed }
}

/// A kept column as the end finds it in its event.
fn field(((column, kind), offset): ((&Column, &ColumnType), usize)) -> Argument {
    let offset = offset as i16;
    let typed = match kind.kind {
        ColumnKind::Int { signed, show, .. } => {
            let int = Int::Load { place: Place::Event(offset), size: Size::B8, signed };
            Typed::Int { int, unsigned: !signed, show }
        }
        ColumnKind::Text { size } => Typed::Text { text: Text::Event { offset, size }, size },
        ColumnKind::Bytes { size, show } => Typed::Bytes { bytes: Text::Event { offset, size }, size, show },
    };
    Argument { name: column.name.clone(), declared: String::new(), typed }
}
