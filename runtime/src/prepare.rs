//! Preparing: from one entry of the plan to specialised templates: which programs, what their slots hold, how their maps
//! are sized, what they attach to. Needs no privilege; nothing is loaded.

use crate::aggregate::bucket;
use crate::aggregate::cell::Kind;
use crate::aggregate::column::{self, BytesShow, ColumnKind, ColumnType, Show};
use crate::attach_point::AttachPoint;
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Node, Operator};
use crate::kernel::map::{self, Shape};
use crate::kernel::{load, privilege};
use crate::machine::Machine;
use crate::membership;
use crate::plan::{self, Entry, Output, Source};
use crate::points::{self, Mechanism, Point, Uses};
use crate::resolve::{self, Scope, Typed};
use crate::slot::assembler::Insn;
use crate::slot::compile;
use crate::slot::ir::{Column, Content, Current, Int, Size, Test};
use crate::span::{self, Spans};
use crate::template;
use skep_templates::catalog::{Catalog, Template};
use std::collections::HashMap;

/// What the command line adds to every entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Restrict {
    pub pid: Option<u32>,
    /// With the processes that it starts: see [`crate::following`].
    pub follow: bool,
    /// What that process will execute, while it is held before its start.
    pub program: Option<String>,
    pub comm: Option<String>,
    /// Id and depth of a cgroup; its descendants belong to it.
    pub cgroup: Option<(u64, u32)>,
}

impl Restrict {
    /// What they come to at one attach point: at an iterator `pid` is the task's that is looked at.
    ///
    /// # Errors
    /// A machine diagnostic: this kernel cannot tell.
    pub fn tests(&self, scope: &Scope, machine: &Machine) -> Result<Vec<Test>, Diagnostic> {
        let equal = |name: &str, node| {
            let (left, right) = (Expr::name(name), Expr::new(node, None));
            resolve::test(&Expr::binary(Operator::Equal, left, right), scope)
        };
        let mut tests = Vec::new();
        if let Some(pid) = self.pid.filter(|_| !self.follows(scope)) {
            tests.push(equal("pid", Node::Int(pid.into()))?);
        }
        if let Some((id, level)) = self.cgroup {
            tests.push(membership::test(id, level, machine)?);
        }
        if let Some(comm) = &self.comm {
            // The kernel keeps 15 bytes of a name.
            let end = comm.floor_char_boundary(15);
            tests.push(equal("comm", Node::Text(comm[..end].to_owned()))?);
        }
        Ok(tests)
    }

    /// Does the template itself ask whether the current process is followed? Not where `pid` is another task's.
    pub fn follows(&self, scope: &Scope) -> bool {
        self.follow && scope.fields.iter().all(|field| field.name != "pid")
    }
}

/// One entry, ready to be loaded.
#[derive(Clone)]
pub struct Prepared {
    /// Where events come from; of a span, its ends.
    pub units: Vec<Unit>,
    /// The other half of a span.
    pub span: Option<Spans>,
    /// Columns of the key or of the record.
    pub columns: Vec<ColumnType>,
    /// How the aggregated value is to be shown.
    pub value_unsigned: bool,
    pub value_show: Show,
    /// The aggregation's map; `None` for streams.
    pub aggregate: Option<Shape>,
    /// Bytes of a streamed record, its header included.
    pub record_size: u32,
    /// `probe` -> attach point.
    pub probes: HashMap<u64, String>,
}

/// One template, specialised, and where it attaches.
#[derive(Clone)]
pub struct Unit {
    pub template: Template,
    pub programs: Vec<Program>,
    pub constants: Vec<(String, Vec<u8>)>,
    pub slots: Slots,
    /// Why this way.
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    pub name: String,
    pub load: Load,
    pub attach: Vec<Attach>,
}

/// How a program is loaded.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    Plain(u32),
    /// A tracing program on a tracepoint's prototype.
    TracepointPrototype(String),
    /// A tracing program on a function of the BTF of a module; empty: of the kernel proper.
    Function {
        id: u32,
        module: String,
        returns: bool,
    },
    KprobeMulti,
    UprobeMulti,
    /// A tracing program on an iterator's prototype.
    Iterator(String),
}

/// One attachment; `cookie` is what `probe` reads there.
#[derive(Clone, Debug, PartialEq)]
pub struct Attach {
    pub shown: String,
    pub mechanism: Mechanism,
    pub cookie: u64,
    /// The program asks for it.
    pub by_cookie: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Slots {
    pub filter: Option<Vec<Insn>>,
    pub value: Option<Vec<Insn>>,
    pub columns: Option<Vec<Insn>>,
    /// Of spans only: which starts and ends concern us, and their key.
    pub guard: Option<Vec<Insn>>,
    pub key: Option<Vec<Insn>>,
}

impl Unit {
    /// Do its programs take a table of who runs where?
    pub fn is_guarded(&self) -> bool {
        self.constants.iter().any(|(name, value)| name == GUARDED && value == &[1])
    }
}

impl Slots {
    /// Those that are written, under the template's names for them.
    pub fn written(&self) -> impl Iterator<Item = (&'static str, &Vec<Insn>)> {
        let all = [
            ("slot_guard", &self.guard),
            ("slot_key", &self.key),
            ("slot_filter", &self.filter),
            ("slot_value", &self.value),
            ("slot_columns", &self.columns),
        ];
        all.into_iter().filter_map(|(name, code)| Some((name, code.as_ref()?)))
    }
}

/// What an entry is prepared with.
#[derive(Clone, Copy)]
pub struct Here<'a> {
    pub catalog: &'a Catalog,
    pub machine: &'a Machine,
    pub restrict: &'a Restrict,
}

/// The constant that has a trampoline's program see to it that it does not run inside of itself.
const GUARDED: &str = "guarded";
/// A record begins with the entry's number and four bytes of room.
pub const RECORD_HEADER: u32 = 8;
const KEY_ON_STACK: usize = 64;
const KEY_LONGEST: usize = 1024;
const RECORD_LONGEST: usize = 32 << 10;

/// Prepares the plan's entry number `index`.
///
/// # Errors
/// A script diagnostic at the part that is wrong, a machine diagnostic where something is missing here.
pub fn prepare(
    entry: &Entry,
    index: usize,
    catalog: &Catalog,
    machine: &Machine,
    restrict: &Restrict,
) -> Result<Prepared, Diagnostic> {
    let here = Here { catalog, machine, restrict };
    let drafts = match &entry.source {
        Source::Probe(written) => {
            span::none_of(entry, &[])?;
            let expressions: Vec<&Expr> = entry.expressions().collect();
            drafts(written, &expressions, uses(&expressions), (index as u64) << 16, here)
                .map_err(|error| error.at(entry.position))?
        }
        Source::Span(span) => return span::prepare(entry, span, index, here),
        Source::Template { name, parameters } => {
            let (mut draft, restrict) = template::draft(name, parameters, catalog, machine, restrict, entry.position)?;
            span::none_of(entry, &draft.scope.fields)?;
            draft.constants.push(("wanted".into(), wanted(entry, &draft.scope).to_ne_bytes().to_vec()));
            let prepared = from_drafts(entry, index, vec![draft], machine, &restrict)?;
            // The kernel that is here says it itself when it loads the programs.
            if let Some(types) = machine.types_of_another() {
                prepared
                    .units
                    .iter()
                    .try_for_each(|unit| template::fit::check(unit, &types))
                    .map_err(|error| error.at(entry.position))?;
            }
            return Ok(prepared);
        }
    };
    from_drafts(entry, index, drafts, machine, restrict)
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
    let is_probe = |node: &Node| matches!(node, Node::Name(name) if name == "probe");
    number(&mut points, ids, expressions.iter().any(|expr| expr.any(&is_probe)), machine);
    let mut drafts: Vec<Draft> =
        points.into_iter().map(|point| generic(point, catalog, machine)).collect::<Result<_, Diagnostic>>()?;
    if restrict.follow {
        drafts.iter_mut().for_each(Draft::in_any_process);
    }
    Ok(drafts)
}

/// The entry's expressions compiled for every draft.
pub fn from_drafts(
    entry: &Entry,
    index: usize,
    drafts: Vec<Draft>,
    machine: &Machine,
    restrict: &Restrict,
) -> Result<Prepared, Diagnostic> {
    let mut resolved = Vec::with_capacity(drafts.len());
    for draft in &drafts {
        resolved.push(Resolved::new(entry, &draft.scope, restrict, machine)?);
    }
    let typed: Vec<&[Typed]> = resolved.iter().map(|one| one.columns.as_slice()).collect();
    let streamed = match &entry.output {
        Output::Stream { columns, .. } => columns.as_slice(),
        _ => &[],
    };
    let named: Vec<&plan::Column> = entry.key.iter().chain(streamed).collect();
    let columns = unify(&named, &typed, entry)?;
    let size = size(&columns);
    let aggregate = shape(entry, size)?;
    let record_size = RECORD_HEADER + size as u32;
    let first = &resolved[0];
    let (value_unsigned, value_show) =
        first.value.as_ref().map_or((true, Show::Decimal), |(_, unsigned, show)| (*unsigned, *show));
    let mut units: Vec<Unit> = Vec::new();
    let mut probes = HashMap::new();
    for (draft, resolved) in drafts.into_iter().zip(&resolved) {
        let slots = resolved.slots(&columns, aggregate.is_some()).map_err(|error| error.at(entry.position))?;
        let slots = Slots { guard: draft.slots.guard, key: draft.slots.key, ..slots };
        let mut constants = draft.constants;
        constants.push(("filter".into(), chosen(slots.filter.is_some(), restrict.follows(&draft.scope))));
        constants.extend(constants_of(entry, index, &slots, resolved, aggregate, record_size));
        let unit = Unit { template: draft.template, programs: draft.programs, constants, slots, reason: draft.reason };
        for attach in unit.programs.iter().flat_map(|program| &program.attach) {
            probes.insert(attach.cookie, attach.shown.clone());
        }
        merge(&mut units, unit, machine);
    }
    Ok(Prepared { units, span: None, columns, value_unsigned, value_show, aggregate, record_size, probes })
}

/// A function without a binary is one of the command's program, which its held process does not run yet.
fn own_program(point: &AttachPoint, restrict: &Restrict) -> AttachPoint {
    match (point, &restrict.program) {
        (AttachPoint::Uprobe { target, function, returns }, Some(program)) if target.is_empty() => {
            AttachPoint::Uprobe { target: program.clone(), function: function.clone(), returns: *returns }
        }
        (AttachPoint::FirstOf(list), Some(_)) => {
            let own = list.iter().map(|(text, point)| (text.clone(), own_program(point, restrict)));
            AttachPoint::FirstOf(own.collect())
        }
        (AttachPoint::Usdt { target, provider, name }, Some(program)) if target.is_empty() => {
            AttachPoint::Usdt { target: program.clone(), provider: provider.clone(), name: name.clone() }
        }
        _ => point.clone(),
    }
}

/// A unit before its slots are written.
pub struct Draft {
    pub template: Template,
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

pub fn uses(expressions: &[&Expr]) -> Uses {
    let mut uses = Uses::default();
    for expr in expressions {
        uses.named |= expr.any(&|node| matches!(node, Node::Member(inner, _) if matches!(&*inner.node, Node::Name(name) if name == "args")));
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
fn wanted(entry: &Entry, scope: &Scope) -> u64 {
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
        let own_program = matches!(point.mechanism, Mechanism::Trampoline { .. });
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
    }
}

/// The generic template for a mechanism.
fn generic(point: Point, catalog: &Catalog, machine: &Machine) -> Result<Draft, Diagnostic> {
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
        // Perf uprobes take CAP_SYS_ADMIN, a multi-link CAP_PERFMON.
        Mechanism::Uprobe { .. }
            if !privilege::missing(&["CAP_SYS_ADMIN"]).is_empty() && machine.has_uprobe_multi() =>
        {
            ("uprobe", "hit", Load::UprobeMulti)
        }
        Mechanism::Uprobe { .. } => ("uprobe", "hit", Load::Plain(load::KPROBE)),
        Mechanism::Iterator { target } => ("iterator", "hit", Load::Iterator(target.clone())),
        Mechanism::Perf { .. } => ("perf", "hit", Load::Plain(load::PERF_EVENT)),
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
    let by_cookie = point.scope.probe == Int::Current(Current::Cookie);
    let attach = vec![Attach { shown: point.shown, mechanism: point.mechanism, cookie: point.id, by_cookie }];
    let programs = vec![Program { name: program.to_owned(), load, attach }];
    let slots = Slots::default();
    Ok(Draft { template: template.clone(), programs, constants, scope: point.scope, reason: point.reason, slots })
}

/// An entry's expressions at one point.
struct Resolved {
    filter: Option<Test>,
    value: Option<(Int, bool, Show)>,
    columns: Vec<Typed>,
}

impl Resolved {
    fn new(entry: &Entry, scope: &Scope, restrict: &Restrict, machine: &Machine) -> Result<Resolved, Diagnostic> {
        let mut tests = restrict.tests(scope, machine)?;
        if let Some(filter) = &entry.filter {
            tests.push(resolve::test(filter, scope)?);
        }
        let filter = if tests.len() > 1 { Some(Test::And(tests)) } else { tests.pop() };
        let (value, streamed) = match &entry.output {
            Output::Aggregate { value: Some(value), .. } => (Some(resolve::number(value, scope)?), [].as_slice()),
            Output::Stream { columns, .. } => (None, columns.as_slice()),
            _ => (None, [].as_slice()),
        };
        let columns = entry.key.iter().chain(streamed).map(|column| match resolve::column(&column.expr, scope)? {
            Typed::Test(test) => Ok(Typed::int(Int::Truth(Box::new(test)))),
            other => Ok(other),
        });
        Ok(Resolved { filter, value, columns: columns.collect::<Result<_, Diagnostic>>()? })
    }

    fn slots(&self, columns: &[ColumnType], key: bool) -> Result<Slots, Diagnostic> {
        Ok(Slots {
            filter: self.filter.as_ref().map(compile::filter).transpose().map_err(too_large)?,
            value: self.value.as_ref().map(|(int, ..)| compile::value(int)).transpose().map_err(too_large)?,
            columns: columns_slot(columns, &self.columns, key)?,
            ..Default::default()
        })
    }
}

pub fn too_large(error: compile::TooLarge) -> Diagnostic {
    Diagnostic::script(format!("an expression is too large: it {error}"))
        .help("test less in the kernel, and the rest here: .each(|e| if … { … })")
}

/// The code that writes `columns`; `None` where there are none. `key`: see [`compile::columns`].
pub fn columns_slot(columns: &[ColumnType], typed: &[Typed], key: bool) -> Result<Option<Vec<Insn>>, Diagnostic> {
    let mut laid = Vec::with_capacity(columns.len());
    for ((column, offset), typed) in columns.iter().zip(column::offsets(columns, 0)).zip(typed) {
        let content = match (typed.clone(), column.kind) {
            (Typed::Int { int, .. }, _) => Content::Int { value: int, size: Size::B8 },
            (Typed::Text { text, .. }, ColumnKind::Text { size }) => Content::Text { text, size },
            (Typed::Bytes { bytes, size, .. }, _) => Content::Bytes { bytes, size },
            _ => return Err(Diagnostic::bug(format!("column `{}` changed its kind", column.name))),
        };
        laid.push(Column { offset: offset as u16, content });
    }
    if laid.is_empty() { Ok(None) } else { compile::columns(&laid, key).map(Some).map_err(too_large) }
}

/// Bytes that columns take together.
pub fn size(columns: &[ColumnType]) -> usize {
    let end = |(offset, column): (usize, &ColumnType)| (offset + column.kind.size()).next_multiple_of(8);
    column::offsets(columns, 0).zip(columns).map(end).max().unwrap_or(0)
}

/// Column types that hold what every point delivers: the longest text; all integers are 8 bytes.
pub fn unify(columns: &[&plan::Column], resolved: &[&[Typed]], entry: &Entry) -> Result<Vec<ColumnType>, Diagnostic> {
    let mut types = Vec::new();
    for (n, column) in columns.iter().enumerate() {
        let mut kind: Option<ColumnKind> = None;
        for one in resolved {
            let found = match &one[n] {
                Typed::Int { unsigned, show, .. } => ColumnKind::Int { size: 8, signed: !unsigned, show: *show },
                Typed::Text { size, .. } => ColumnKind::Text { size: *size },
                Typed::Bytes { size, show, .. } => ColumnKind::Bytes { size: *size, show: *show },
                // Of those left, pointers and structures were settled.
                _ => ColumnKind::Int { size: 8, signed: false, show: Show::Decimal },
            };
            kind = Some(match (kind, found) {
                (None, found) => found,
                (Some(ColumnKind::Int { signed: a, show, .. }), ColumnKind::Int { signed: b, .. }) => {
                    ColumnKind::Int { size: 8, signed: a || b, show }
                }
                (Some(ColumnKind::Text { size: a }), ColumnKind::Text { size: b }) => {
                    ColumnKind::Text { size: a.max(b) }
                }
                (Some(ColumnKind::Bytes { size: a, show }), ColumnKind::Bytes { size: b, .. }) if a == b => {
                    ColumnKind::Bytes { size: a, show }
                }
                _ => {
                    let message = format!(
                        "`{}` is of different kinds at the attach points of `{}`",
                        column.expr,
                        entry.source_text()
                    );
                    return Err(Diagnostic::script(message)
                        .at(column.expr.position.or(entry.position))
                        .help("one probe for each kind"));
                }
            });
        }
        let kind = kind.unwrap_or(ColumnKind::Bytes { size: 0, show: BytesShow::Hex });
        types.push(ColumnType { name: column.name.clone(), kind, unit: None });
    }
    Ok(types)
}

/// The aggregation's map.
fn shape(entry: &Entry, key: usize) -> Result<Option<Shape>, Diagnostic> {
    let kind = match &entry.output {
        Output::Stream { .. } if key > RECORD_LONGEST => {
            return Err(Diagnostic::script(format!("an event of {key} bytes is too long")).at(entry.position));
        }
        Output::Stream { .. } => return Ok(None),
        Output::Aggregate { kind, .. } => *kind,
        Output::None => Kind::Count,
    };
    if key + 8 > KEY_LONGEST {
        return Err(Diagnostic::script(format!("a key of {key} bytes is too long: at most {}", KEY_LONGEST - 8))
            .at(entry.position)
            .help("shorter texts: str(args.filename, 64)"));
    }
    let value_size = kind.cell_size() as u32;
    let buckets = if kind.has_buckets() { bucket::count(kind) } else { 1 };
    Ok(Some(match (key, kind.has_buckets()) {
        // A bucket alone, or nothing at all: an array needs no hashing.
        (0, _) => Shape { map_type: map::PERCPU_ARRAY, key_size: 4, value_size, max_entries: buckets },
        (_, bucketed) => Shape {
            map_type: map::PERCPU_HASH,
            key_size: if bucketed { key + 8 } else { key } as u32,
            value_size,
            max_entries: entry.entries,
        },
    }))
}

/// `enum chosen` of skep.bpf.h. A slot that is not written passes everything.
pub fn chosen(by_slot: bool, followed: bool) -> Vec<u8> {
    vec![if followed { 2 } else { by_slot.into() }]
}

fn constants_of(
    entry: &Entry,
    index: usize,
    slots: &Slots,
    resolved: &Resolved,
    aggregate: Option<Shape>,
    record_size: u32,
) -> Vec<(String, Vec<u8>)> {
    let (output, kind) = match &entry.output {
        Output::Stream { .. } => (0u32, None),
        Output::None => (1, None),
        Output::Aggregate { kind, .. } => {
            let number = match kind {
                Kind::Count => 1,
                Kind::Sum => 2,
                Kind::Avg => 3,
                Kind::Min => 4,
                Kind::Max => 5,
                Kind::Stats => 6,
                Kind::Hist => 7,
                Kind::LHist { .. } => 8,
                Kind::Quantiles => 9,
            };
            (number, Some(*kind))
        }
    };
    let wide = aggregate.is_some_and(|shape| shape.key_size as usize > KEY_ON_STACK);
    let unsigned = resolved.value.as_ref().is_some_and(|(_, unsigned, _)| *unsigned);
    let flag = |on: bool| vec![u8::from(on)];
    let mut constants = vec![
        ("output", output.to_ne_bytes().to_vec()),
        ("has_key", flag(slots.columns.is_some())),
        ("wide_key", flag(wide)),
        ("unsigned_value", flag(unsigned)),
        ("source", (index as u32).to_ne_bytes().to_vec()),
        ("record_size", record_size.to_ne_bytes().to_vec()),
    ];
    if let Some(Kind::LHist { min, max, step }) = kind {
        constants.push(("lhist_min", min.to_ne_bytes().to_vec()));
        constants.push(("lhist_max", max.to_ne_bytes().to_vec()));
        constants.push(("lhist_step", step.to_ne_bytes().to_vec()));
    }
    constants.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Adds a unit, or its attach points to one that runs the same code.
pub fn merge(units: &mut Vec<Unit>, unit: Unit, machine: &Machine) {
    let [program] = unit.programs.as_slice() else { return units.push(unit) };
    if matches!(program.load, Load::Function { .. }) {
        return units.push(unit);
    }
    let generic = |one: &Unit| one.programs.len() == 1;
    let same = units.iter_mut().filter(|one| generic(one)).find(|one| {
        one.template.name == unit.template.name
            && one.slots == unit.slots
            && one.programs[0].name == program.name
            && (one.programs[0].load == program.load || one.programs[0].load == Load::UprobeMulti)
            && without_syscall(&one.constants) == without_syscall(&unit.constants)
    });
    let Some(same) = same else { return units.push(unit) };
    let joined = &mut same.programs[0];
    joined.attach.extend(unit.programs.into_iter().flat_map(|program| program.attach));
    if joined.attach.iter().all(|attach| matches!(attach.mechanism, Mechanism::Syscall { .. })) {
        // One program for all of them: which system calls is a set of bits.
        let mut bits = [0u64; 8];
        for attach in &joined.attach {
            if let Mechanism::Syscall { number, .. } = attach.mechanism
                && let Some(word) = bits.get_mut(number as usize / 64)
            {
                *word |= 1 << (number % 64);
            }
        }
        same.constants.retain(|(name, _)| name != "only_syscall" && name != "syscall_bits");
        same.constants.push(("syscall_bits".into(), bits.iter().flat_map(|word| word.to_ne_bytes()).collect()));
        same.reason = format!("raw tracepoint of all system calls, only these {}", joined.attach.len());
    } else if matches!(joined.attach[0].mechanism, Mechanism::Uprobe { .. })
        && joined.load != Load::UprobeMulti
        && machine.has_uprobe_multi()
    {
        joined.load = Load::UprobeMulti;
    }
}

fn without_syscall(constants: &[(String, Vec<u8>)]) -> Vec<&(String, Vec<u8>)> {
    constants.iter().filter(|(name, _)| name != "only_syscall" && name != "syscall_bits").collect()
}
