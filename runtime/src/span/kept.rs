//! What a start keeps for its end, and what names mean there.

use super::EXAMPLE;
use crate::aggregate::column::{ColumnKind, ColumnType, Show};
use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Node};
use crate::plan::{Column, Entry, Output};
use crate::resolve::{self, Argument, Scope, Typed, Walk};
use crate::slot::ir::{Int, Place, Size, Text};
use std::cell::RefCell;

/// The entry as its end sees it, and what the start keeps for that: each under the name that the end has for it.
pub fn lift(entry: &Entry) -> Result<(Entry, Vec<Column>), Diagnostic> {
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
pub fn hint(error: Diagnostic, entry: &Entry, end: Option<Scope>, start: Option<Scope>) -> Diagnostic {
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

pub fn elapsed() -> Argument {
    let int = Int::Load { place: Place::Event(0), size: Size::B8, signed: false };
    let typed = Typed::Int { int, unsigned: true, show: Show::Decimal };
    Argument { name: "elapsed".into(), declared: "u64".into(), typed }
}

/// A kept column as the end finds it in its event.
pub fn field(((column, kind), offset): ((&Column, &ColumnType), usize)) -> Argument {
    let offset = offset as i16;
    let typed = match kind.kind {
        ColumnKind::Int { signed, show, .. } => {
            let int = Int::Load { place: Place::Event(offset), size: Size::B8, signed };
            Typed::Int { int, unsigned: !signed, show }
        }
        ColumnKind::Text { size } => Typed::Text { text: Text::Event { offset, size }, size },
        ColumnKind::Bytes { size, show } => Typed::Bytes { bytes: Text::Event { offset, size }, size, show },
        ColumnKind::Called(show) => {
            let word = |offset| Int::Load { place: Place::Event(offset), size: Size::B8, signed: false };
            Typed::Called { number: word(offset), caller: word(offset + 8), show }
        }
        ColumnKind::Path { size } => Typed::Path { path: Walk::Kept(offset), size },
    };
    Argument { name: column.name.clone(), declared: String::new(), typed }
}
