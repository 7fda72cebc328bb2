//! Errors: from what Rhai says to a diagnostic that points into the script.

use super::fields::{self, FIELD, Field};
use super::host::place;
use super::written::{Written, first_word, word};
use super::{arguments, habits, written};
use crate::diagnostic::{Diagnostic, Position, nearest};
use crate::library::Library;
use rhai::{Engine, EvalAltResult, LexError, ParseError, ParseErrorType};

/// The script that failed, and what may be named in it.
pub struct Failed<'a> {
    pub written: Written<'a>,
    /// Fields.
    pub known: &'a [String],
    pub engine: &'a Engine,
    /// Where imported scripts come from.
    pub library: &'a Library,
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
                Diagnostic::script("texts stand in double quotes; single quotes hold one character")
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
                        let inside = rest[1..].split('/').next().unwrap_or_default().trim();
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
        if let Some(script) = module(error).and_then(|name| self.library.find(name)) {
            let there = Failed { written: Written(&script.text), ..*self };
            return there.of_error(error).within(&script);
        }
        self.of_error(error)
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

    /// A variable of the script that hides a field and stands in the arguments of the call that failed.
    fn hidden(&self, at: Option<Position>) -> Option<&str> {
        let (_, rest) = self.written.at(at)?;
        let arguments = self.written.arguments(at).filter(|_| arguments::is_method(first_word(rest)))?;
        let bare = |name: &&str| arguments.split(|c| !word(c) && c != '.').any(|one| one == *name);
        let known = |name: &&str| self.known.iter().any(|field| field == name);
        self.written.variables().into_iter().filter(known).find(bare)
    }

    fn unknown_name(&self, name: &str, at: Option<Position>) -> Diagnostic {
        let (_, rest) = self.written.at(at).unwrap_or_default();
        if rest.starts_with(name)
            && let Some(error) = habits::name(name, rest)
        {
            return error;
        }
        let error = Diagnostic::script(format!("unknown name `{name}`"));
        let own = self.written.variables();
        if arguments::is_function(name) || self.written.functions().iter().any(|(own, _)| *own == name) {
            return Diagnostic::script(format!("`{name}` is a function: it is called with parentheses"))
                .help(format!("{name}()"));
        }
        if own.contains(&name) {
            return error.help(format!("a function sees nothing but its parameters: pass `{name}`"));
        }
        match nearest(name, own.into_iter().chain(self.known.iter().map(String::as_str)).filter(|one| *one != name)) {
            // Every other name of one letter is near.
            Some(near) if name.len() > 1 => error.help(format!("did you mean `{near}`?")),
            _ => error.help(
                "fields: pid tid comm uid gid cpu cgroup nsecs probe retval arg0 args.NAME   (variables begin with let)",
            ),
        }
    }

    /// Rhai names a missing function with its argument types: `filtr (probe, kernel expression)`.
    fn no_function(&self, signature: &str, at: Option<Position>) -> Diagnostic {
        let (name, types) = signature.split_once(" (").unwrap_or((signature, ""));
        let types = types.strip_suffix(')').unwrap_or(types);
        let types: Vec<&str> = types.split(", ").filter(|one| !one.is_empty()).collect();
        let written = self.written.arguments(at);
        if name.starts_with(ANONYMOUS) {
            return other_parameters();
        }
        if !name.starts_with(word) {
            return no_operator(name, &types);
        }
        if let Some(error) = arguments::misfit(name, &types, written, self.known) {
            return error;
        }
        let functions = self.written.functions();
        if let Some((_, parameters)) = functions.iter().find(|(own, _)| *own == name) {
            return Diagnostic::script(format!("your `{name}` takes other arguments"))
                .help(format!("{name}({parameters})"));
        }
        let method = types.first() == Some(&"probe");
        if let Some(error) = habits::function(name, method, written) {
            return error;
        }
        let error = match types.first() {
            Some(&FIELD) => {
                return Diagnostic::script(format!("the kernel has no `{name}`"))
                    .help("it has str, buf, ntop, starts_with; anything else here: .each(|e| …)");
            }
            Some(kind) if arguments::is_quantile(name) => {
                return Diagnostic::script(format!("{} has no `{name}`: a histogram has", arguments::in_words(kind)))
                    .help(format!(
                        "for row in table {{ print(row.value.{name}()); }}   (after .hist(…) or .quantiles(…))"
                    ));
            }
            Some(_) if arguments::is_method(name) && !method => {
                return Diagnostic::script(format!("`{name}` is a method of chains and results"))
                    .help(format!("probe(\"…\").{name}(…)"));
            }
            _ => Diagnostic::script(format!("unknown function `{name}`")),
        };
        let signatures = self.engine.gen_fn_signatures(false);
        let mut candidates: Vec<&str> = functions.iter().map(|(own, _)| *own).collect();
        candidates.extend(arguments::names());
        candidates.extend(signatures.iter().map(|one| one.split('(').next().unwrap_or(one).trim()));
        match nearest(name, candidates.into_iter().filter(|one| one.starts_with(char::is_alphabetic) && *one != name)) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help("skep doc functions"),
        }
    }

    /// `&&`, `||`, `if`, `while` on a field.
    fn field_as_condition(&self, at: Option<Position>) -> Diagnostic {
        let Some(condition) = self.written.condition(at) else {
            return Diagnostic::script("a kernel expression has no value here").help(".filter(pid == 1)");
        };
        let statement = condition.split_once(char::is_whitespace).filter(|(first, _)| matches!(*first, "if" | "while"));
        if let Some((keyword, rest)) = statement {
            let condition = rest.split('{').next().unwrap_or(rest).trim();
            return Diagnostic::script(format!("`{keyword}` runs here, and `{condition}` is known in the kernel only"))
                .help(format!(
                    ".filter({})   (or on each event: .each(|e| if e.pid == 1 {{ … }}))",
                    written::with_words(condition).1
                ));
        }
        if condition.starts_with('|') {
            return Diagnostic::script("a field has no value in a closure; an event has its own")
                .help(".fields(pid).each(|e| if e.pid == 1 { … })");
        }
        let (symbol, ours) = written::with_words(condition);
        if let Some((symbol, word)) = symbol {
            return Diagnostic::script(format!("`{symbol}` cannot join kernel expressions"))
                .help(format!("write `{word}`: {ours}"));
        }
        Diagnostic::script("a kernel expression has no value here")
            .help(format!(".filter({condition}), or on each event: .each(|e| if e.pid == 1 {{ … }})"))
    }

    /// Rhai says "unknown property 'count' - a getter is not registered for type 'probe'".
    fn no_property(&self, text: &str) -> Diagnostic {
        let quoted: Vec<&str> = text.split('\'').skip(1).step_by(2).collect();
        let [name, kind, ..] = quoted.as_slice() else { return Diagnostic::script(ticked(&lower(text))) };
        if text.contains("a setter") {
            return Diagnostic::script(format!("{} cannot be changed", arguments::in_words(kind)))
                .help(format!("let {name} = …;"));
        }
        if arguments::is_method(name) {
            let error = arguments::misfit(name, &[kind], None, self.known);
            let help = error.and_then(|error| error.help.clone()).unwrap_or_else(|| format!(".{name}()"));
            return Diagnostic::script(format!("`{name}` is a method: it is called with parentheses")).help(help);
        }
        let error = Diagnostic::script(format!("{} has no `{name}`", arguments::in_words(kind)));
        match (*kind, self.known.iter().any(|field| field == name)) {
            ("probe", true) => error.help(format!(".by({name}), or .fields({name}).each(|e| print(e.{name}))")),
            _ => match nearest(name, arguments::names().filter(|_| arguments::has_methods(kind))) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error,
            },
        }
    }
}

/// The imported script whose function failed.
fn module(error: &EvalAltResult) -> Option<&str> {
    match error {
        EvalAltResult::ErrorInFunctionCall(_, source, inner, _) => {
            module(inner).or((!source.is_empty()).then_some(source.as_str()))
        }
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

fn no_operator(operator: &str, types: &[&str]) -> Diagnostic {
    let words: Vec<&str> = types.iter().map(|one| arguments::in_words(one)).collect();
    let what = words.join(" and ");
    if types.contains(&FIELD) {
        return Diagnostic::script(format!("the kernel has no `{operator}`"))
            .help("+ - * / % & | ^ << >>, == != < <= > >=, and, or, not(…)");
    }
    let error = Diagnostic::script(format!("`{operator}` does not join {what}"));
    match (operator, words.contains(&"a text")) {
        ("-" | "*" | "/" | "%", true) => error.help("a text becomes a number with parse_int(\"7\")"),
        ("index$get$" | "index$set$", _) => {
            Diagnostic::script(format!("{} has no `[…]`", words.first().unwrap_or(&"this")))
        }
        _ => error,
    }
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
fn ticked(text: &str) -> String {
    text.replace('\'', "`")
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
