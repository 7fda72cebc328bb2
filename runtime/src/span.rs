//! Spans: two events that become one. From an entry with a start and an end to the programs of both: what they have in
//! common, what a start keeps for its end, which threads concern them. Pure; no privilege.
//!
//! An expression that names nothing but `start.…` is computed at the start and kept, whatever it is; everything else is
//! of the end. At the end the kept columns are fields of an event, beside `elapsed`: see span.bpf.h.

use self::kept::{elapsed, field, hint, lift};
use self::pairing::{common, frame, keys, pairing, possible, thread};
use crate::aggregate::column::{self, ColumnType};
use crate::attach_point::AttachPoint;
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Node, Operator};
use crate::kernel::arch::REGISTERS;
use crate::kernel::map::{self, Map, Shape};
use crate::machine::Machine;
use crate::plan::{Column, Entry, Span};
use crate::prepare::{self, Draft, Here, Prepared, Restrict, Slots, Unit};
use crate::resolve::{self, Scope, Typed};
use crate::slot::assembler::Insn;
use crate::slot::compile;
use crate::slot::ir::{Int, Test};
use std::io;

mod kept;
mod pairing;

pub use self::kept::none_of;
pub use self::pairing::Pairing;

/// The starts of a prepared span, and where they wait.
#[derive(Clone)]
pub struct Spans {
    pub pairing: Pairing,
    pub units: Vec<Unit>,
    /// What a start keeps, as the script has it.
    pub kept: Vec<(Expr, ColumnType)>,
    pub shape: Shape,
    /// Places that threads have of their own, beside it.
    pub near: Option<Shape>,
}

impl Spans {
    /// Where starts wait, by the names that templates have for them.
    pub fn shapes(&self) -> impl Iterator<Item = (&'static str, Shape)> {
        [(SPANS, Some(self.shape)), (NEAR, self.near)].into_iter().filter_map(|(name, shape)| Some((name, shape?)))
    }
}

/// The table of spans.
pub const SPANS: &str = "spans";
/// The places of threads, and the template's constant that says that there are some.
pub const NEAR: &str = "near_spans";
pub const IS_NEAR: &str = "near_threads";
/// As many as the template has; a table with less room than that is the script's own wish.
const PLACES: u32 = 1024;
/// `struct near_span`: whose place it is, before the span.
const THREAD: usize = 8;
/// Bytes of a place: what is longer takes more memory than it saves time.
const PLACE_LONGEST: usize = 256;

/// `struct span`: when it started, and the event, which begins with `elapsed`.
const STARTED: usize = 8;
const ELAPSED: usize = 8;
const KEY_LONGEST: usize = 128;
const KEPT_LONGEST: usize = 1008;
/// A chain that has all of it.
pub const EXAMPLE: &str =
    "span(\"tracepoint:syscalls:sys_enter_read\", \"tracepoint:syscalls:sys_exit_read\").hist(elapsed)";

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
    let wish = pairing(span);
    let (mut lifted, kept) = lift(entry)?;
    let (start_key, end_key) = keys(span, wish);
    let (starts_when, ends_when) = span.when.as_ref().map(|(start, end)| (start, end)).unzip();
    let ids = (index as u64) << 16;

    let expressions: Vec<&Expr> = kept.iter().map(|column| &column.expr).chain(&start_key).chain(starts_when).collect();
    let mut starts = drafts(&span.start, &expressions, wish, ids, here).map_err(|error| error.at(entry.position))?;
    let expressions: Vec<&Expr> = lifted.expressions().chain(&end_key).chain(ends_when).collect();
    let behind = ids + starts.len() as u64;
    let mut ends = drafts(&span.end, &expressions, wish, behind, here).map_err(|error| error.at(entry.position))?;
    let pairing = possible(wish, &starts, &ends);
    let (start_key, end_key) = keys(span, pairing);
    let (starts_when, ends_when) = span.when.as_ref().map(|(start, end)| (start, end)).unzip();
    match pairing {
        Pairing::Thread | Pairing::Trampoline => {}
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

    let shape = Shape {
        map_type: map::LRU_HASH,
        key_size: key_size as u32,
        value_size: (STARTED + ELAPSED + kept_size) as u32,
        max_entries: span.room,
    };
    let near = near(pairing, shape);
    let Guards { start: start_restrict, end: end_restrict, event: event_restrict } = guards(here.restrict, pairing);
    let threads = if pairing == Pairing::Given { None } else { split_off_threads(&mut lifted) };
    let start_scope = starts.first().map(|draft| draft.scope.clone());
    let mut units = Vec::new();
    for ((draft, key_typed), kept_typed) in starts.into_iter().zip(&start_keys).zip(&keeps) {
        let slots = Slots {
            guard: guard(&start_restrict, &[threads.as_ref(), starts_when], &draft.scope, here.machine)?,
            key: key_slot(pairing, &key, key_typed)?,
            columns: prepare::columns_slot(&kept_types, kept_typed, false)?,
            ..Default::default()
        };
        let mut constants = constants(&slots, pairing, near, start_restrict.follows(&draft.scope));
        constants.push(("has_key".into(), vec![slots.columns.is_some().into()]));
        let Draft { template, takes_stacks, programs, reason, constants: own, .. } = half(draft, "start");
        let unit = Unit { template, takes_stacks, programs, constants: [own, constants].concat(), slots, reason };
        prepare::merge(&mut units, unit);
    }
    let mut drafts = Vec::with_capacity(ends.len());
    for (draft, key_typed) in ends.into_iter().zip(&end_keys) {
        let mut draft = half(draft, "end");
        draft.slots = Slots {
            guard: guard(&end_restrict, &[threads.as_ref(), ends_when], &draft.scope, here.machine)?,
            key: key_slot(pairing, &key, key_typed)?,
            ..Default::default()
        };
        draft.constants.extend(constants(&draft.slots, pairing, near, end_restrict.follows(&draft.scope)));
        draft.scope.fields.push(elapsed());
        let offsets = column::offsets(&kept_types, ELAPSED);
        draft.scope.fields.extend(kept.iter().zip(&kept_types).zip(offsets).map(field));
        drafts.push(draft);
    }
    let first = drafts.first().map(|draft| draft.scope.clone());
    let mut prepared = prepare::from_drafts(&lifted, index, drafts, here.machine, &event_restrict)
        .map_err(|error| hint(error, &lifted, first, start_scope))?;
    for attach in units.iter().flat_map(|unit: &Unit| &unit.programs).flat_map(|program| &program.attach) {
        prepared.probes.insert(attach.cookie, attach.shown.clone());
    }
    let kept = kept.into_iter().map(|column| column.expr).zip(kept_types).collect();
    prepared.span = Some(Spans { pairing, units, kept, shape, near });
    Ok(prepared)
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
    conditions: &[Option<&Expr>],
    scope: &Scope,
    machine: &Machine,
) -> Result<Option<Vec<Insn>>, Diagnostic> {
    let mut tests = restrict.tests(scope, machine)?;
    for condition in conditions.iter().copied().flatten() {
        tests.push(resolve::test(condition, scope)?);
    }
    let test = if tests.len() > 1 { Some(Test::And(tests)) } else { tests.pop() };
    test.map(|test| compile::filter(&test)).transpose().map_err(prepare::too_large)
}

/// A thread's key needs no slot.
fn key_slot(pairing: Pairing, key: &[ColumnType], typed: &[Typed]) -> Result<Option<Vec<Insn>>, Diagnostic> {
    match pairing {
        Pairing::Thread | Pairing::Trampoline => Ok(None),
        Pairing::Frame | Pairing::Given => prepare::columns_slot(key, typed, true),
    }
}

/// The places of threads beside such a table.
fn near(pairing: Pairing, table: Shape) -> Option<Shape> {
    let value_size = table.value_size + THREAD as u32;
    let worth = pairing == Pairing::Thread && table.max_entries >= PLACES && value_size as usize <= PLACE_LONGEST;
    worth.then_some(Shape { map_type: map::ARRAY, key_size: 4, value_size, max_entries: PLACES })
}

fn constants(slots: &Slots, pairing: Pairing, near: Option<Shape>, followed: bool) -> Vec<(String, Vec<u8>)> {
    let by_thread = matches!(pairing, Pairing::Thread | Pairing::Trampoline);
    vec![
        ("guard".into(), prepare::chosen(slots.guard.is_some(), followed)),
        ("by_thread".into(), vec![by_thread.into()]),
        ("by_trampoline".into(), vec![(pairing == Pairing::Trampoline).into()]),
        (IS_NEAR.into(), vec![near.is_some().into()]),
    ]
}

/// How many starts wait for their ends, in a table or in the places of threads.
///
/// # Errors
/// The kernel's.
pub fn open(spans: &Map) -> io::Result<u64> {
    let before = if spans.shape.map_type == map::ARRAY { THREAD } else { 0 };
    let mut waiting = 0;
    spans.each(|_, value| waiting += u64::from(value.iter().skip(before).take(STARTED).any(|byte| *byte != 0)))?;
    Ok(waiting)
}

/// The draft's programs as those of one half: generic templates have three of each.
fn half(mut draft: Draft, half: &str) -> Draft {
    for program in &mut draft.programs {
        program.name = if program.name == "hit" { half.to_owned() } else { format!("{}_{half}", program.name) };
    }
    draft
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_has_as_many_places() {
        let header = include_str!("../../ebpf-templates/bpf/include/span.bpf.h");
        let own =
            [("NEAR_SPANS", PLACES as usize), ("SPAN_KEY_LONGEST", KEY_LONGEST), ("SPAN_KEPT_LONGEST", KEPT_LONGEST)];
        own.iter().for_each(|(name, size)| assert!(header.contains(&format!("#define {name} {size}")), "{name}"));
    }
}
