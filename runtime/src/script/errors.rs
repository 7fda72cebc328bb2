//! Errors: from what Rhai says to a diagnostic that points into the script.

use super::fields::FIELD;
use super::host::place;
use crate::diagnostic::{Diagnostic, nearest};
use rhai::{Engine, EvalAltResult, LexError, ParseError, ParseErrorType};

/// A script that does not parse.
pub fn of_parse(error: &ParseError, known: &[String]) -> Diagnostic {
    let at = place(error.position());
    match error.err_type() {
        ParseErrorType::VariableUndefined(name) => unknown_name(name, known).at(at),
        ParseErrorType::UnknownOperator(operator) => {
            Diagnostic::script(format!("unknown operator `{operator}`")).at(at)
        }
        ParseErrorType::BadInput(LexError::ImproperSymbol(symbol, hint)) => {
            let error = Diagnostic::script(format!("`{symbol}` does not belong here")).at(at);
            if hint.is_empty() { error } else { error.help(lower(hint)) }
        }
        ParseErrorType::Reserved(word) if word == "print" => Diagnostic::script("`print` is no method")
            .help(".fields(comm, pid) prints each event by itself; .printf(…) formats it")
            .at(at),
        ParseErrorType::Reserved(word) => {
            Diagnostic::script(format!("`{word}` is a reserved word and cannot be a name"))
                .help(format!("args[\"{word}\"]"))
                .at(at)
        }
        ParseErrorType::MissingToken(token, why) => {
            Diagnostic::script(format!("`{token}` is missing {}", lower(why))).at(at)
        }
        other => Diagnostic::script(lower(&other.to_string())).at(at),
    }
}

/// A script that failed while it ran.
pub fn of_run(error: &EvalAltResult, engine: &Engine, known: &[String]) -> Diagnostic {
    if let EvalAltResult::ErrorInModule(name, cause, position) = error {
        let mut diagnostic = of_run(cause, engine, known);
        let at = diagnostic.position.map(|at| format!(" at {}:{}", at.line, at.column)).unwrap_or_default();
        diagnostic.message = format!("in `{name}`{at}: {}", diagnostic.message);
        diagnostic.position = place(*position);
        return diagnostic.span(name.as_str());
    }
    let inner = error.unwrap_inner();
    let at = place(inner.position()).or_else(|| place(error.position()));
    let diagnostic = match inner {
        EvalAltResult::ErrorRuntime(value, _) => match value.read_lock::<Diagnostic>() {
            Some(diagnostic) => diagnostic.clone(),
            None => Diagnostic::script(value.to_string()),
        },
        EvalAltResult::ErrorParsing(error, position) => {
            of_parse(&ParseError(Box::new(error.clone()), *position), known)
        }
        EvalAltResult::ErrorVariableNotFound(name, _) => unknown_name(name, known),
        EvalAltResult::ErrorFunctionNotFound(signature, _) => no_function(signature, engine),
        // `&&`, `||` and `if` want plain conditions; a field has no value here.
        EvalAltResult::ErrorMismatchDataType(wanted, got, _) if got.contains(FIELD) || got.contains("Field") => {
            Diagnostic::script(format!("a {FIELD} has no value here: {wanted} is needed"))
                .help("join kernel expressions with `and`, `or`, `not(…)`; test events here with .each(|e| if e.pid == 1 { … })")
        }
        EvalAltResult::ErrorMismatchDataType(wanted, got, _) => Diagnostic::script(format!("{wanted} is needed, got {got}")),
        EvalAltResult::ErrorTooManyOperations(_) | EvalAltResult::ErrorTerminated(..) => {
            Diagnostic::script("the script computes for 10 seconds without waiting for events: an endless loop?")
                .help("let the kernel wait: every(\"1s\", || …), or .run(\"10s\")")
        }
        EvalAltResult::ErrorDataTooLarge(what, _) => {
            Diagnostic::script(format!("{} grows too large", lower(what))).help("aggregate in the kernel: .by(…).count()")
        }
        EvalAltResult::ErrorStackOverflow(_) => Diagnostic::script("functions call each other too deeply"),
        EvalAltResult::ErrorModuleNotFound(name, _) => {
            Diagnostic::script(format!("no script `{name}` to import")).span(name.as_str()).help("skep list scripts")
        }
        EvalAltResult::ErrorPropertyNotFound(name, _) => Diagnostic::script(format!("there is no `{name}` here")),
        other => Diagnostic::script(lower(&bare(other))),
    };
    diagnostic.at(at)
}

/// Rhai's message, without its "(line 1, position 2)".
fn bare(error: &EvalAltResult) -> String {
    let text = error.to_string();
    text.split(" (line ").next().unwrap_or(&text).to_owned()
}

fn unknown_name(name: &str, known: &[String]) -> Diagnostic {
    let error = Diagnostic::script(format!("unknown name `{name}`"));
    match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help(
            "fields: pid tid comm uid gid cpu cgroup nsecs probe retval arg0 args.NAME   (variables begin with let)",
        ),
    }
}

/// Rhai names a missing function with its argument types: `filtr (probe, kernel expression)`.
fn no_function(signature: &str, engine: &Engine) -> Diagnostic {
    let (name, types) = signature.split_once(" (").unwrap_or((signature, ""));
    let types = types.trim_end_matches(')');
    let signatures = engine.gen_fn_signatures(false);
    let names: Vec<&str> = signatures.iter().map(|one| one.split('(').next().unwrap_or(one).trim()).collect();
    if names.contains(&name) {
        let error = match types {
            "" => Diagnostic::script(format!("`{name}` takes other arguments than none")),
            types => Diagnostic::script(format!("`{name}` does not take ({types})")),
        };
        let own = |one: &&String| one.split('(').next().is_some_and(|found| found.trim() == name);
        let arity = signatures.iter().filter(own).map(|one| one.split(" -> ").next().unwrap_or(one)).next();
        return match (name, types.contains(FIELD)) {
            ("&&" | "||", _) => error.help("write `and`, `or`"),
            (_, true) if !name.starts_with(|c: char| c.is_alphabetic()) => {
                error.help("a kernel expression joins fields, numbers and texts")
            }
            _ => match arity {
                Some(signature) => error.help(signature.to_owned()),
                None => error,
            },
        };
    }
    let error = Diagnostic::script(format!("unknown function `{name}`"));
    match nearest(name, names.iter().copied().filter(|name| name.starts_with(|c: char| c.is_alphabetic()))) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None => error.help("skep doc functions"),
    }
}

/// Our style: lower case at the start, no full stop.
fn lower(text: &str) -> String {
    let text = text.trim().trim_end_matches('.');
    let mut chars = text.chars();
    match (chars.next(), text.chars().nth(1)) {
        // Not a name or an acronym.
        (Some(first), Some(second)) if first.is_uppercase() && !second.is_uppercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        _ => text.to_owned(),
    }
}
