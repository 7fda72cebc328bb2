//! Errors: from what Rhai says to a diagnostic that points into the script.

use super::fields::{self, FIELD, Field};
use super::host::place;
use super::modules::{self, Imports};
use super::written::Written;
use super::{arguments, habits};
use crate::diagnostic::Diagnostic;
use rhai::{Engine, EvalAltResult, LexError, ParseError, ParseErrorType};

/// The script that failed, and what may be named in it.
pub struct Failed<'a> {
    pub written: Written<'a>,
    /// Fields.
    pub known: &'a [String],
    pub engine: &'a Engine,
    pub imports: &'a Imports,
}

impl Failed<'_> {
    /// A script that does not parse.
    pub fn of_parse(&self, error: &ParseError) -> Diagnostic {
        let at = place(error.position());
        let (before, rest) = self.written.at(at).unwrap_or_default();
        let own = match error.err_type() {
            ParseErrorType::VariableUndefined(name) => self.unknown_name(name, at),
            ParseErrorType::UnknownOperator(operator) => habits::operator(operator, before),
            ParseErrorType::BadInput(LexError::ImproperSymbol(symbol, _)) if symbol == "eval" => {
                Diagnostic::script("`eval` is off: a script runs only what can be read in it")
                    .help("a function or a closure: fn f() { … }")
            }
            ParseErrorType::BadInput(LexError::ImproperSymbol(symbol, hint)) => {
                let error = habits::operator(symbol, before);
                match (&error.help, hint.is_empty()) {
                    (Some(_), _) => error,
                    (None, true) => Diagnostic::script(format!("`{symbol}` does not belong here")),
                    (None, false) => {
                        Diagnostic::script(format!("`{symbol}` does not belong here")).help(ticked(&lower(hint)))
                    }
                }
            }
            ParseErrorType::BadInput(LexError::MalformedChar(_)) => {
                let inside = rest.strip_prefix('\'').and_then(|rest| rest.split('\'').next()).unwrap_or("…");
                Diagnostic::script("texts stand in double quotes or back-ticks; single quotes hold one character")
                    .span(format!("'{inside}'"))
                    .help(format!("\"{inside}\"   (in a shell: skep -e with single quotes around the script)"))
            }
            ParseErrorType::BadInput(LexError::UnterminatedString) => {
                Diagnostic::script("this text has no end").help("a closing `\"` on the same line")
            }
            ParseErrorType::Reserved(word) => habits::reserved(word, before),
            ParseErrorType::MissingToken(token, why) => habits::missing(token, before, rest).unwrap_or_else(|| {
                let name = why.split('\'').nth(1).filter(|_| why.contains("arguments"));
                match name {
                    Some(name) if token == "," && !rest.starts_with(';') => {
                        Diagnostic::script(format!("`,` is missing between the arguments of `{name}`"))
                    }
                    Some(name) => Diagnostic::script(format!("the parentheses of `{name}` are not closed")).help(")"),
                    None => Diagnostic::script(format!("`{token}` is missing {}", ticked(&lower(why)))),
                }
            }),
            ParseErrorType::VariableExpected if before.trim_end().trim_end_matches('(').trim_end().ends_with("for") => {
                Diagnostic::script("`for` goes over a range, a list or a table").help("for n in 0..10 { … }")
            }
            ParseErrorType::ModuleUndefined(name) => {
                Diagnostic::script(format!("no import is called `{name}`")).help(format!("import \"…\" as {name};"))
            }
            ParseErrorType::AssignmentToConstant(name) => {
                Diagnostic::script(format!("`{name}` is a constant")).help(format!("let {name} = …;"))
            }
            other => {
                let message = ticked(&lower(&other.to_string()));
                match message.as_str() {
                    "unexpected `fn`" => {
                        Diagnostic::script("a function cannot stand here; a closure can").help("|e| print(e)")
                    }
                    "unexpected `/`" => {
                        let inside = rest.split('/').nth(1).unwrap_or_default().trim();
                        Diagnostic::script("filters have no slashes here").help(format!(".filter({inside})"))
                    }
                    _ => Diagnostic::script(message),
                }
            }
        };
        own.at(at)
    }

    /// A script that failed while it ran.
    pub fn of_run(&self, error: &EvalAltResult) -> Diagnostic {
        // A function of an imported script: the place is in that script's text.
        if let Some(script) = module(error).and_then(|number| self.imports.get(number)) {
            let there = Failed { written: Written(&script.text), ..*self };
            return there.of_error(error).within(&script);
        }
        let diagnostic = self.of_error(error);
        // A chain or an expression that was built in one.
        match diagnostic.position.and_then(|at| self.imports.get(at.script)) {
            Some(script) => diagnostic.within(&script),
            None => diagnostic,
        }
    }

    fn of_error(&self, error: &EvalAltResult) -> Diagnostic {
        let inner = error.unwrap_inner();
        let at = place(inner.position()).or_else(|| place(error.position()));
        let diagnostic = match inner {
            EvalAltResult::ErrorRuntime(value, _) | EvalAltResult::ErrorTerminated(value, _)
                if value.is::<Diagnostic>() =>
            {
                value.clone_cast::<Diagnostic>()
            }
            EvalAltResult::ErrorRuntime(value, position) => match value.read_lock::<Field>() {
                Some(field) => fields::no_value(&field, *position),
                None => Diagnostic::script(value.to_string()),
            },
            EvalAltResult::ErrorParsing(error, position) => {
                self.of_parse(&ParseError(Box::new(error.clone()), *position))
            }
            EvalAltResult::ErrorVariableNotFound(name, _) => self.unknown_name(name, at),
            EvalAltResult::ErrorFunctionNotFound(signature, _) => self.no_function(signature, at),
            // `&&`, `||` and `if` want plain conditions; a field has no value here.
            EvalAltResult::ErrorMismatchDataType(_, got, _) if got.contains(FIELD) || got.contains("Field") => {
                self.field_as_condition(at)
            }
            EvalAltResult::ErrorMismatchDataType(wanted, got, _) => Diagnostic::script(format!(
                "{} is needed, got {}",
                arguments::in_words(wanted),
                arguments::in_words(got)
            )),
            EvalAltResult::ErrorTooManyOperations(_) | EvalAltResult::ErrorTerminated(..) => endless(),
            EvalAltResult::ErrorDataTooLarge(what, _) => too_large(what),
            EvalAltResult::ErrorStackOverflow(_) => {
                Diagnostic::script("functions call each other more than 64 deep").help("a loop: for n in 0..100 { … }")
            }
            EvalAltResult::ErrorModuleNotFound(name, _) => Diagnostic::script(format!("no script `{name}` to import"))
                .span(name.as_str())
                .help("skep list scripts"),
            EvalAltResult::ErrorFor(_) => {
                Diagnostic::script("`for` goes over a range, a list or a table").help("for n in 0..10 { … }")
            }
            EvalAltResult::ErrorPropertyNotFound(name, _) => Diagnostic::script(format!("there is no `{name}` here")),
            EvalAltResult::ErrorDotExpr(text, _) => self.no_property(text),
            other => Diagnostic::script(ticked(&lower(&bare(other)))),
        };
        let diagnostic = diagnostic.at(at);
        match self.hidden(at) {
            Some(name) if diagnostic.label.is_none() => {
                diagnostic.label(format!("`{name}` is your variable here, which hides the field of that name"))
            }
            _ => diagnostic,
        }
    }
}

/// The imported script whose function failed.
fn module(error: &EvalAltResult) -> Option<u16> {
    match error {
        EvalAltResult::ErrorInFunctionCall(_, source, inner, _) => module(inner).or_else(|| modules::number(source)),
        _ => None,
    }
}

/// How Rhai calls closures.
pub const ANONYMOUS: &str = "anon$";

/// A closure that does not take what it is called with.
pub fn other_parameters() -> Diagnostic {
    Diagnostic::script("this closure has other parameters than it is called with")
        .help(".each(|e| …) has one, every(\"1s\", || …) and at_end(|| …) have none")
}

/// The script computes and nobody waits.
pub fn endless() -> Diagnostic {
    Diagnostic::script("the script computes for 10 seconds without waiting for events: an endless loop?")
        .help("let the kernel wait: every(\"1s\", || …), or .run(\"10s\")")
}

/// Is it what an ended script is taken for?
pub fn is_endless(diagnostic: &Diagnostic) -> bool {
    diagnostic.message == endless().message
}

/// Ctrl-C while a line computes.
pub fn interrupted() -> Diagnostic {
    Diagnostic::script("interrupted")
}

/// Rhai's limits, see the engine.
fn too_large(what: &str) -> Diagnostic {
    let message = match what.to_lowercase() {
        what if what.contains("string") => "a text grows beyond 16 MiB",
        what if what.contains("array") => "a list grows beyond 1,000,000 elements",
        what if what.contains("map") => "a map grows beyond 1,000,000 entries",
        _ => "a value grows too large",
    };
    Diagnostic::script(message).help("let the kernel keep the numbers: .by(comm).count()")
}

/// Rhai's message, without its "(line 1, position 2)".
fn bare(error: &EvalAltResult) -> String {
    let text = error.to_string();
    text.split(" (line ").next().unwrap_or(&text).to_owned()
}

/// Rhai's single quotes as back-ticks.
pub fn ticked(text: &str) -> String {
    text.replace('\'', "`")
}

/// Our style: lower case at the start, no full stop.
pub fn lower(text: &str) -> String {
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
