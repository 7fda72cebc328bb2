//! What is not there: names, functions, operators and properties that a script uses and nobody has.

use super::errors::{ANONYMOUS, Failed, lower, other_parameters, ticked};
use super::fields::FIELD;
use super::written::{self, first_word, word};
use super::{arguments, habits};
use crate::diagnostic::{Diagnostic, Position, nearest};

impl Failed<'_> {
    /// A variable of the script that hides a field and stands in the arguments of the call that failed.
    pub fn hidden(&self, at: Option<Position>) -> Option<&str> {
        let (_, rest) = self.written.at(at)?;
        let arguments = self.written.arguments(at).filter(|_| arguments::is_method(first_word(rest)))?;
        let bare = |name: &&str| arguments.split(|c| !word(c) && c != '.').any(|one| one == *name);
        let known = |name: &&str| self.known.iter().any(|field| field == name);
        self.written.variables().into_iter().filter(known).find(bare)
    }

    pub fn unknown_name(&self, name: &str, at: Option<Position>) -> Diagnostic {
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
    pub fn no_function(&self, signature: &str, at: Option<Position>) -> Diagnostic {
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
    pub fn field_as_condition(&self, at: Option<Position>) -> Diagnostic {
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
    pub fn no_property(&self, text: &str) -> Diagnostic {
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
