//! The plan: what a script asked for, before anything of the machine is looked at. Pure data; no privilege.

use crate::aggregate::cell::Kind;
use crate::attach_point::AttachPoint;
use crate::diagnostic::Position;
use crate::expr::Expr;
use crate::report::graph::Target;
use crate::report::packets;

/// Everything that one script asked for, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub entries: Vec<Entry>,
}

/// One chain, `probe(…)…` or `template(…)…`.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub source: Source,
    pub position: Option<Position>,
    pub filter: Option<Expr>,
    pub key: Vec<Column>,
    pub output: Output,
    /// Title of what is printed, often the unit.
    pub name: Option<String>,
    /// Entries of the aggregation's map, where the script says it.
    pub entries: Option<u32>,
    pub view: View,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// Any of these attach points; each with the text that the script has for it.
    Probe(Vec<(String, AttachPoint)>),
    Template {
        name: String,
        parameters: Vec<(String, Setting, Option<Position>)>,
    },
    Span(Span),
}

/// Two events that become one: any of the starts, any of the ends.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub start: Vec<(String, AttachPoint)>,
    pub end: Vec<(String, AttachPoint)>,
    /// What both have in common, as each of them says it; `None`: the thread.
    pub on: Option<(Vec<Expr>, Vec<Expr>)>,
    /// Which events are starts, and which are ends; `None`: all.
    pub when: Option<(Expr, Expr)>,
    /// Starts that may wait for their ends.
    pub room: u32,
}

/// A parameter's value as a script gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    Int(i128),
    Bool(bool),
    Text(String),
}

/// A named expression.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: String,
    pub expr: Expr,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Nothing was asked for yet: events are counted.
    None,
    /// `value` is missing for counts only.
    Aggregate { kind: Kind, value: Option<Expr> },
    /// Every event reaches user space.
    Stream { columns: Vec<Column>, then: Then },
}

/// What happens to a streamed event here.
#[derive(Clone, Debug, PartialEq)]
pub enum Then {
    /// One line, columns aligned.
    Print,
    /// A line after this format; the columns are its arguments.
    Printf(String),
    /// A closure of the script.
    Each,
    /// Packets themselves, as lines or in a file.
    Packets(packets::Wish),
}

/// How a table is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    pub top: Option<usize>,
    /// Column and direction; without it the greatest value comes first.
    pub sort: Option<(String, Direction)>,
    /// Graphs of its call chains, written instead of the table.
    pub files: Vec<Target>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    Ascending,
    Descending,
}

/// Room of an aggregation's map unless `.entries(n)` says otherwise, and for starts unless `.spans(n)` does.
pub const DEFAULT_ENTRIES: u32 = 10_240;
/// The same of `heavy`, on each CPU: precise for some tens of keys, see docs/heavy-hitters.md.
pub const HEAVY_ENTRIES: u32 = 1024;

impl Entry {
    pub fn new(source: Source, position: Option<Position>) -> Entry {
        Entry {
            source,
            position,
            filter: None,
            key: Vec::new(),
            output: Output::None,
            name: None,
            entries: None,
            view: View::default(),
        }
    }

    /// Keys that the aggregation has room for.
    pub fn room(&self) -> u32 {
        self.entries.unwrap_or(match self.output {
            Output::Aggregate { kind: Kind::Heavy, .. } => HEAVY_ENTRIES,
            _ => DEFAULT_ENTRIES,
        })
    }

    /// Every expression that runs in the kernel.
    pub fn expressions(&self) -> impl Iterator<Item = &Expr> {
        let (value, columns) = match &self.output {
            Output::Aggregate { value, .. } => (value.as_ref(), [].as_slice()),
            Output::Stream { columns, .. } => (None, columns.as_slice()),
            Output::None => (None, [].as_slice()),
        };
        let columns = self.key.iter().chain(columns).map(|column| &column.expr);
        self.filter.iter().chain(value).chain(columns)
    }

    /// The attach points or the template, as the script has them.
    pub fn source_text(&self) -> String {
        let texts = |points: &[(String, AttachPoint)]| {
            points.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(", ")
        };
        match &self.source {
            Source::Probe(points) => texts(points),
            Source::Template { name, .. } => format!("template {name}"),
            Source::Span(span) => format!("span {} -> {}", texts(&span.start), texts(&span.end)),
        }
    }
}
