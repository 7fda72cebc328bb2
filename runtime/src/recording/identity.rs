//! What a chain asks for, as text: by it the chains of a script are told from those of a recording. What is made of their
//! events and values (names, views, closures, formats) is no part of it.

use crate::aggregate::cell::Kind;
use crate::diagnostic::Diagnostic;
use crate::plan::{Column, Entry, Output, Setting, Source};

/// `tracepoint:…`, `filter(…)`, `by(…)`, `hist(…)` or `fields(…)`, in this order; empty where a chain has none.
pub fn of(entry: &Entry) -> Vec<String> {
    let call = |name: &str, inner: String| if inner.is_empty() { String::new() } else { format!("{name}({inner})") };
    let output = match &entry.output {
        Output::None => "count()".to_owned(),
        Output::Aggregate { kind, value } => {
            let value = value.as_ref().map(ToString::to_string).unwrap_or_default();
            match kind {
                Kind::LHist { min, max, step } => format!("lhist({value}, {min}, {max}, {step})"),
                kind => format!("{}({value})", kind.name()),
            }
        }
        Output::Stream { columns: list, .. } => format!("fields({})", columns(list)),
    };
    let filter = entry.filter.as_ref().map(ToString::to_string).unwrap_or_default();
    vec![source(&entry.source, entry), call("filter", filter), call("by", columns(&entry.key)), output]
}

fn source(source: &Source, entry: &Entry) -> String {
    let mut text = entry.source_text();
    match source {
        Source::Probe(_) => {}
        Source::Template { parameters, .. } => {
            for (name, value, _) in parameters {
                text += &match value {
                    Setting::Int(value) => format!(", {name}: {value}"),
                    Setting::Bool(value) => format!(", {name}: {value}"),
                    Setting::Text(value) => format!(", {name}: {value:?}"),
                };
            }
        }
        Source::Span(span) => {
            if let Some((start, end)) = &span.on {
                let list =
                    |all: &[crate::expr::Expr]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                text += &format!(" on ({}), ({})", list(start), list(end));
            }
            if let Some((start, end)) = &span.when {
                text += &format!(" when {start}, {end}");
            }
        }
    }
    text
}

fn columns(columns: &[Column]) -> String {
    let one = |column: &Column| match column.expr.to_string() {
        expr if expr == column.name => expr,
        expr => format!("{}: {expr}", column.name),
    };
    columns.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Does the script ask for what was recorded?
///
/// # Errors
/// A script diagnostic at the chain, with what the recording has there.
pub fn check(entry: &Entry, recorded: &[String]) -> Result<(), Diagnostic> {
    let own = of(entry);
    let differs = own.iter().zip(recorded).find(|(own, recorded)| own != recorded);
    let Some((own, recorded)) = differs else { return Ok(()) };
    let message = match (own.is_empty(), recorded.is_empty()) {
        (true, _) => format!("the recording has `{recorded}` here"),
        (_, true) => format!("the recording has no `{own}` here"),
        _ => format!("the recording has `{recorded}` here, not `{own}`"),
    };
    let help = "sources, filters, keys and columns are those that were recorded; what is made of them may differ";
    Err(Diagnostic::script(message).help(help).at(entry.position))
}
