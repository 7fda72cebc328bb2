//! Habits: what people write who come from bpftrace, Rust, Python or C, and what it is called here.

use super::written::{first_word, word};
use crate::attach_point::PROVIDERS;
use crate::diagnostic::Diagnostic;

/// Methods of other tools and languages, with ours.
const METHODS: &[(&[&str], &str)] = &[
    (&["where", "when", "select", "only", "predicate"], ".filter(pid == 18644)"),
    (&["group_by", "groupby", "key", "keys", "per"], ".by(comm)"),
    (&["histogram", "log2", "quantize", "log2hist"], ".hist(args.ret)"),
    (&["linear", "lquantize"], ".lhist(args.ret, 0, 2000, 200)"),
    (&["percentiles", "percentile", "p50", "p90", "p95", "p99"], ".quantiles(args.ret)"),
    (&["average", "mean"], ".avg(args.ret)"),
    (&["map", "for_each", "forEach", "foreach", "then"], ".each(|e| print(e))"),
    (&["columns", "show_fields"], ".fields(comm, pid)"),
    (&["limit", "head", "take", "first"], ".top(10)"),
    (&["order_by", "sort", "sorted"], ".sort_by(\"value\")"),
    (&["title", "name", "label", "unit"], ".named(\"ns\")"),
];

/// Functions of other tools and languages, with ours.
const FUNCTIONS: &[(&[&str], &str)] = &[
    (&["println", "echo", "console", "puts", "log", "eprintln", "cat", "join"], "print(`…`)"),
    (&["sprintf", "strftime"], "format(\"%s %d\", …)"),
    (&["interval", "timer", "setInterval"], "every(\"1s\", || …)"),
    (&["quit", "abort", "die"], "exit()"),
    (&["kstr", "ustr", "string"], "str(args.filename)"),
    (
        &["hist", "lhist", "count", "sum", "avg", "min", "max", "stats"],
        "probe(\"…\").count(): aggregations are methods of a chain",
    ),
    (&["delete", "clear", "zero"], ".clear()"),
    (
        &["system", "exec", "spawn", "open", "read"],
        "a script reaches no files and processes; skep -c 'COMMAND' starts one",
    ),
    (&["assert", "panic"], "throw \"…\""),
];

/// A name that means nothing here, with what stands behind it.
pub fn name(name: &str, rest: &str) -> Option<Diagnostic> {
    let behind = rest[name.len()..].trim_start();
    let is = |message: String, help: &str| Some(Diagnostic::script(message).help(help));
    if provider(name) && behind.starts_with(':') {
        let end = rest
            .find(|c: char| c.is_whitespace() || matches!(c, '{' | '/' | ')' | ',' | ';' | '"'))
            .unwrap_or(rest.len());
        let message = format!("`{}` is an attach point: a text in `probe`", &rest[..end]);
        return Some(
            Diagnostic::script(message)
                .span(&rest[..end])
                .help(format!("probe(\"{}\").by(comm).count()", &rest[..end])),
        );
    }
    match name {
        "BEGIN" => is("`BEGIN` is not needed: a script's lines run at its start".into(), "print(\"hello\");"),
        "END" => is("`END` is a function here".into(), "at_end(|| print(\"done\"));"),
        "not" => is("`not` has parentheses".into(), "not(pid == 1)"),
        "True" | "False" => is(format!("`{name}` is written in lower case"), &name.to_lowercase()),
        "None" | "NULL" | "Null" => is(format!("`{name}` is `()` here"), "()"),
        "lambda" => is("a closure has bars".into(), ".each(|e| print(e))"),
        "f" if behind.starts_with('"') => is("texts with values stand in back-ticks".into(), "`${e.pid} ${e.comm}`"),
        _ if behind.starts_with("=>") || behind.starts_with("->") => {
            let body = behind[2..].trim_start().split(')').next().unwrap_or_default();
            let close = ")".repeat(body.matches('(').count());
            is("a closure has bars around its parameters".into(), &format!("|{name}| {body}{close}"))
        }
        _ if behind.starts_with(':') && !behind.starts_with("::") => {
            is(format!("`{name}: …` stands in a map, which begins with `#{{`"), &format!("#{{ {name}: … }}"))
        }
        _ if behind.starts_with('"') => {
            is(format!("`{name}` is no command here: functions have parentheses"), FUNCTIONS_HELP)
        }
        _ if behind.starts_with('=') && !behind.starts_with("==") => {
            let value = behind[1..].split([';', '\n']).next().unwrap_or_default().trim();
            is(format!("there is no variable `{name}` yet"), &format!("let {name} = {value};"))
        }
        _ => None,
    }
}

const FUNCTIONS_HELP: &str = "print(\"…\")   (all of them: skep doc functions)";

/// A function or method that does not exist; `arguments` as the user wrote them.
pub fn function(name: &str, method: bool, arguments: Option<&str>) -> Option<Diagnostic> {
    let unknown = || Diagnostic::script(format!("unknown function `{name}`"));
    if !method && provider(name) {
        let point = arguments.unwrap_or_default().trim_matches(|c| matches!(c, '"' | '`')).to_owned();
        return Some(unknown().help(format!("probe(\"{name}:{point}\")")));
    }
    let table = if method { METHODS } else { FUNCTIONS };
    let (_, ours) = table.iter().find(|(theirs, _)| theirs.contains(&name))?;
    let plain = |list: &&str| !list.is_empty() && !list.contains(['|', '\n', '!', '{']) && list.len() < 60;
    let simple = arguments.filter(plain).filter(|list| !method || !list.contains('"'));
    let help = match (method, simple, ours.split_once('(')) {
        // With what the user has in the parentheses, where ours takes the same.
        (true, Some(list), Some((front, back))) if back.starts_with(['a', 'c', 'p']) && !back.contains(", 0") => {
            format!("{front}({list})")
        }
        (false, Some(list), _) if *ours == "print(`…`)" => format!("print({list})"),
        _ => (*ours).to_owned(),
    };
    Some(unknown().help(help))
}

/// A token that is missing, with what stands in its place.
pub fn missing(token: &str, before: &str, rest: &str) -> Option<Diagnostic> {
    let is = |message: &str, help: String| Some(Diagnostic::script(message).help(help));
    let last = before.trim_end().rsplit(|c| !word(c)).next().unwrap_or_default();
    match token {
        ";" if rest.starts_with(':') && declared(before) => {
            is("variables have no written type", format!("let {last} = …;"))
        }
        ";" if last == "mut" => {
            is("every variable may change: `mut` is not written", format!("let {} = …;", first_word(rest)))
        }
        ";" if rest.starts_with('{') && before.trim_end().ends_with(')') => {
            is("a chain has no block: what is wanted of its events follows as methods", ".by(comm).count();".into())
        }
        ";" if before.trim_end().ends_with(')') && !first_word(rest).is_empty() && !rest.starts_with("let") => {
            let name = first_word(rest);
            super::arguments::is_method(name).then(|| {
                Diagnostic::script(format!("`.` or `;` is missing before `{name}`")).help(format!(".{name}(…)"))
            })
        }
        "," | ")" if rest.starts_with('=') && !rest.starts_with("=>") && !rest.starts_with("=~") => {
            let value = rest[1..].trim_start();
            let end = value.find([')', ',', ' ']).unwrap_or(value.len());
            is("`=` sets a variable; conditions compare with `==`", format!("{last} == {}", &value[..end]))
        }
        "," | ")" if rest.starts_with("=~") => {
            is("there are no regular expressions in the kernel", format!("starts_with({last}, \"ba\")"))
        }
        ";" => {
            let line = before.trim_end().rsplit('\n').next().unwrap_or_default().trim_start();
            is("`;` is missing at the end of this statement", format!("{line};"))
        }
        "{" => is("`{` is missing: blocks have braces", "for n in 0..3 { … }   if n > 1 { … }".into()),
        _ => None,
    }
}

/// A word that Rhai keeps for itself.
pub fn reserved(word: &str, before: &str) -> Diagnostic {
    let is = |message: String, help: String| Diagnostic::script(message).help(help);
    match word {
        "print" if !before.trim_end().ends_with('.') => {
            is("`print` is no value: a closure calls it".into(), ".each(|e| print(e))".into())
        }
        "print" => is(
            "`print` is no method".into(),
            ".fields(comm, pid) prints each event by itself; .printf(…) formats it".into(),
        ),
        "null" | "nil" => is(format!("`{word}` is `()` here"), "()".into()),
        "var" => is("`var` is `let` here".into(), "let x = 1;".into()),
        "use" => is("`use` is `import` here".into(), "import \"name\" as name;".into()),
        "$" => is("parameters of a script have names".into(), "param(\"name\", #{ value: 10, help: \"…\" })".into()),
        "#" | "#!" => is("comments begin with `//`".into(), "// …".into()),
        "@" => is("there are no `@` maps: what is counted has a chain of its own".into(), ".by(comm).count()".into()),
        _ if before.trim_end().ends_with('.') => {
            let inner: String = before
                .trim_end()
                .trim_end_matches('.')
                .chars()
                .rev()
                .take_while(|c| super::written::word(*c) || *c == '.')
                .collect();
            let inner: String = inner.chars().rev().collect();
            is(format!("`{word}` is a reserved word and cannot stand behind a dot"), format!("{inner}[\"{word}\"]"))
        }
        _ if word.chars().all(super::written::word) => {
            let declared = ["let", "const"].into_iter().find(|keyword| before.trim_end().ends_with(keyword));
            let help = declared.map_or(format!("{word}_"), |keyword| format!("{keyword} {word}_ = …;"));
            is(format!("`{word}` is a reserved word and cannot be a name"), help)
        }
        _ => Diagnostic::script(format!("`{word}` does not belong here")),
    }
}

/// An operator that is none, with the words around it.
pub fn operator(operator: &str, before: &str) -> Diagnostic {
    let last = before.trim_end().rsplit(|c| !word(c)).next().unwrap_or_default();
    let error = Diagnostic::script(format!("unknown operator `{operator}`"));
    match operator {
        "++" => error.help(format!("{last} += 1")),
        "--" => error.help(format!("{last} -= 1")),
        "?" => error.help(format!("if {last} {{ 1 }} else {{ 2 }}")),
        "===" | "!==" => error.help(&operator[..2]),
        _ => error,
    }
}

fn provider(name: &str) -> bool {
    PROVIDERS.iter().any(|(long, short, ..)| name == *long || name == *short)
        || matches!(name, "kprobe" | "kretprobe" | "k" | "kr" | "fentry" | "fexit" | "kfunc" | "kretfunc" | "usdt")
}

fn declared(before: &str) -> bool {
    let mut words = before.trim_end().rsplit(char::is_whitespace);
    words.next().is_some() && matches!(words.next(), Some("let" | "const"))
}
