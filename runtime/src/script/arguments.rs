//! Arguments that a function of ours does not take: how it is called, from the reference, in the user's words.

use super::fields::FIELD;
use super::reference::SECTIONS;
use crate::diagnostic::Diagnostic;

/// A call that fits no function of this name: what it takes, what it got, and how it is written. `types` are Rhai's,
/// `written` is what stands in its parentheses. `None` for functions that are not ours.
pub fn misfit(name: &str, types: &[&str], written: Option<&str>, known: &[String]) -> Option<Diagnostic> {
    let method = types.first().copied().is_some_and(has_methods) && signatures(name, true).next().is_some();
    let got = if method { &types[1..] } else { types };
    let fits = |signature: &&Signature| signature.parameters.len() == got.len();
    let all: Vec<Signature> = signatures(name, method).collect();
    let best = all.iter().find(fits).or_else(|| all.iter().find(|one| !one.parameters.is_empty())).or(all.first())?;
    let takes: Vec<String> = best.parameters.iter().map(|one| one.what.to_owned()).collect();
    let message = format!("`{name}` takes {}, got {}", listed(&takes), counted(got));
    let dot = if method { "." } else { "" };
    let help = match (name, written) {
        ("count", Some(written)) if method && got == [FIELD] => format!(".by({written}).count()"),
        ("filter", Some(written)) if got.len() > 1 && got.iter().all(|one| *one == FIELD) => {
            format!(".filter({})", top_level(written).join(" and "))
        }
        ("print", _) => "printf(\"%s %d\", \"bash\", 7), or back-ticks: print(`${a} ${b}`)".to_owned(),
        _ => {
            let mut examples: Vec<&str> = best.parameters.iter().map(|one| one.example).collect();
            if let (Some(first), Some(meant)) = (best.parameters.first(), field(got, written, known))
                && first.field
            {
                examples[0] = meant;
            }
            format!("{dot}{name}({})", examples.join(", "))
        }
    };
    Some(Diagnostic::script(message).help(help))
}

/// The first argument, where it is a field or the name of one in quotes.
fn field<'a>(got: &[&str], written: Option<&'a str>, known: &[String]) -> Option<&'a str> {
    let first = top_level(written?).first().copied()?;
    let name = first.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match name {
        Some(name) => (known.iter().any(|one| one == name) || name.starts_with("args.")).then_some(name),
        None => (got.first() == Some(&FIELD)).then_some(first),
    }
}

/// Is `name` a function, or a method, of the reference?
pub fn is_method(name: &str) -> bool {
    is_quantile(name) || signatures(name, true).next().is_some()
}

/// Shares that a histogram has methods for; the reference names them at the first.
pub fn is_quantile(name: &str) -> bool {
    matches!(name, "p50" | "p90" | "p95" | "p99" | "p999")
}

pub fn is_function(name: &str) -> bool {
    signatures(name, false).next().is_some()
}

/// Every name of the reference.
pub fn names<'a>() -> impl Iterator<Item = &'a str> {
    all().map(|(name, ..)| name)
}

/// `name`, whether it is a method, the text of its parameters.
fn all() -> impl Iterator<Item = (&'static str, bool, &'static str)> {
    SECTIONS.iter().flat_map(|(_, list)| *list).filter_map(|(signature, _)| {
        let (name, rest) = signature.split_once('(')?;
        let plain = name.trim_start_matches('.');
        Some((plain, name.starts_with('.'), rest.strip_suffix(')')?))
    })
}

struct Signature {
    parameters: Vec<Parameter>,
}

struct Parameter {
    what: &'static str,
    example: &'static str,
    field: bool,
}

fn signatures<'a>(name: &'a str, method: bool) -> impl Iterator<Item = Signature> + 'a {
    // Statements such as `for row in table { … }` have no parentheses.
    all().filter(move |(one, is, _)| *one == name && *is == method).map(|(name, method, list)| {
        let parameters = top_level(list).into_iter().filter(|one| *one != "…");
        Signature { parameters: parameters.map(|one| parameter(name, method, one)).collect() }
    })
}

/// What stands for a parameter of the reference in words, and as an example.
fn parameter(function: &str, method: bool, name: &'static str) -> Parameter {
    let (what, example) = match (function, name) {
        ("sort_by" | "sort_by_ascending", _) => ("the name of a column", "\"value\""),
        ("printf", "column") => ("fields", "comm, pid"),
        ("by" | "fields", _) => ("1 to 8 fields", "comm, pid"),
        ("script", "name") => ("a script's name", "\"runqlat\""),
        ("script", _) => ("a map", "#{ process: 12 }"),
        ("finding", "level") => ("a level", "\"warn\""),
        ("finding", "text") => ("a text", "\"tasks wait\""),
        ("finding", "evidence") => ("what shows it", "waits.value()"),
        ("finding", "next") => ("a command", "\"sudo skep run runqlat\""),
        ("fit", "text") => ("a text", "row.file"),
        ("fit", "columns") => ("a number", "40"),
        ("pressure", "resource") => ("a resource", "\"cpu\""),
        ("pressure", "cgroup") => ("a control group", "\"/system.slice\""),
        ("since", "before") => ("a map", "before"),
        ("since", "now") => ("a map", "cgroups()"),
        ("value", "title") => ("a title", "\"usecs\""),
        ("param", "name") => ("a name", "\"top\""),
        ("policy", "point") => ("a point", "\"tc\""),
        ("policy", "name") => ("a name", "\"eth0\""),
        (_, "[name, …]") => ("a list of names", "[\"eth0\", \"eth1\"]"),
        ("import_policy", "path") => ("a file's name", "\"web.yaml\""),
        (_, "inventory") => ("a file's name", "\"endpoints.yaml\""),
        (_, "#{ field: value }") => ("a map", "#{ src: \"10.0.0.0/8\", proto: \"tcp\", dport: 22 }"),
        (_, "action") => ("a text", "\"deny\""),
        (_, "#{ direction: action }") => ("a map", "#{ ingress: \"deny\" }"),
        (_, "word") => ("a text", "\"audit\""),
        ("guard", _) => ("a text", "\"192.0.2.7\""),
        (_, "|denial| …") => ("a closure", "|denial| print(denial)"),
        ("param", "value") => ("a value", "10"),
        ("template", "name") => ("a name", "\"runqlat\""),
        ("starts_with", "text") => ("a field", "comm"),
        ("print" | "printf" | "format", "value") => ("a value", "7"),
        ("tcpdump", _) => ("a text", "\"tcp port 80\""),
        ("pcapng", "path") => ("a file's name", "\"out.pcapng\""),
        (_, "path") => ("a file's name", "\"cpu.svg\""),
        (_, "settings") => ("a map", "#{ title: \"noon\" }"),
        (_, "table") => ("a table", "before"),
        (_, "attach_point") => ("an attach point", "\"tracepoint:sched:sched_switch\""),
        (_, "[attach_point, …]") => {
            ("a list of attach points", "[\"t:sched:sched_switch\", \"t:sched:sched_wakeup\"]")
        }
        (_, "condition") => ("a kernel expression", "pid == 18644"),
        (_, "value") if method => ("a field", "args.ret"),
        ("ksym" | "usym", _) => ("a field", "arg0"),
        (_, "cidr") => ("a text", "\"10.0.0.0/8\""),
        ("in_cidr", "address") => ("a field", "sock(args.sk).daddr"),
        ("sock", "address") => ("a field", "args.sk"),
        ("skb", "address") => ("a field", "args.skb"),
        ("sockaddr", "address") => ("a field", "args.uservaddr"),
        (_, "address") => ("a field", "args.filename"),
        (_, "file") => ("a field", "args.file"),
        (_, "bytes") => ("a field", "args.daddr"),
        (_, "number") => ("a field", "args.ret"),
        (_, "\"NAME\"") => ("a text", "\"tcp_ca_state\""),
        (_, "\"struct NAME\"") => ("a text", "\"struct sock\""),
        (_, "[field, …]") => ("a list of fields", "[args.p.__state, args.p.state]"),
        (_, "title") => ("a text", "\"bytes\""),
        (_, "time") => ("a time", "\"10s\""),
        (_, "format") => ("a format", "\"%s %d\\n\""),
        (_, "\"prefix\"") => ("a text", "\"ba\""),
        ("span", "start") => ("an attach point", "\"kprobe:vfs_read\""),
        ("span", "end") => ("an attach point", "\"kretprobe:vfs_read\""),
        ("on", _) => ("a field", "args.sector"),
        (_, "|| …") => ("a closure", "|| print(time())"),
        (_, "|e| …") => ("a closure", "|e| print(e)"),
        (_, "min" | "status") => ("a number", "0"),
        (_, "max") => ("a number", "2000"),
        (_, "step") => ("a number", "200"),
        ("path", "size") => ("a number", "256"),
        (_, "size") => ("a number", "64"),
        (_, "n" | "ns") => ("a number", "10"),
        (_, "share") => ("a number from 0.0 to 1.0", "0.5"),
        (_, "[key, …]") => ("a list", "[\"bash\", 18644]"),
        (_, "#{ value: …, help: … }") => ("a map", "#{ value: 10, help: \"how many rows\" }"),
        (_, "#{ parameter: value }") => ("a map", "#{ process: 18644 }"),
        (_, other) => (other, other),
    };
    Parameter { what, example, field: matches!(what, "a field" | "1 to 8 fields") }
}

/// Types with methods of ours.
pub fn has_methods(type_name: &str) -> bool {
    matches!(type_name, "probe" | "table" | "row" | "histogram" | "unsigned" | "policy" | "report")
}

/// Rhai's name of a type in the user's words.
pub fn in_words(type_name: &str) -> &str {
    match type_name {
        "i64" | "f64" | "unsigned" => "a number",
        "bool" => "true or false",
        "char" => "a character",
        "Fn" => "a closure",
        "array" => "a list",
        "map" => "a map",
        "()" => "nothing",
        "probe" => "a chain",
        "policy" => "a policy",
        "report" => "a report",
        "table" => "a table",
        "histogram" => "a histogram",
        "row" => "a row",
        "event" => "an event",
        "range" | "range=" => "a range",
        FIELD => "a field",
        text if text.contains("String") || text == "string" => "a text",
        other => other,
    }
}

fn counted(types: &[&str]) -> String {
    let words: Vec<String> = types.iter().map(|one| in_words(one).to_owned()).collect();
    match words.as_slice() {
        [first, .., last] if words.len() > 2 && words.iter().all(|one| one == first) => {
            let many = last.split_once(' ').map_or(last.as_str(), |(_, noun)| noun);
            format!("{} {many}s", words.len())
        }
        words => listed(words),
    }
}

fn listed(words: &[String]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [front @ .., last] => format!("{} and {last}", front.join(", ")),
    }
}

/// The parts between commas that stand in no brackets of their own.
fn top_level(list: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from, mut quoted) = (Vec::new(), 0, 0, false);
    for (at, c) in list.char_indices() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(list[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    let last = list[from..].trim();
    parts.extend((!last.is_empty()).then_some(last));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "&str | ImmutableString | String";

    fn said(name: &str, types: &[&str], written: &str) -> String {
        let error = misfit(name, types, Some(written), &["pid".to_owned()]).unwrap();
        format!("{} | {}", error.message, error.help.clone().unwrap_or_default())
    }

    #[test]
    fn call_that_fits_nothing_says_how_it_is_written() {
        assert_eq!(said("sum", &["probe"], ""), "`sum` takes a field, got nothing | .sum(args.ret)");
        assert_eq!(said("run", &["probe", "i64"], "10"), "`run` takes a time, got a number | .run(\"10s\")");
        assert_eq!(said("count", &["probe", FIELD], "pid"), "`count` takes nothing, got a field | .by(pid).count()");
        assert_eq!(said("hist", &["probe", TEXT], "\"pid\""), "`hist` takes a field, got a text | .hist(pid)");
        assert_eq!(said("hist", &["probe", TEXT], "pid"), "`hist` takes a field, got a text | .hist(args.ret)");
        let lhist = said("lhist", &["probe", FIELD], "pid");
        assert!(lhist.ends_with(", got a field | .lhist(pid, 0, 2000, 200)"), "{lhist}");
        let conditions = said("filter", &["probe", FIELD, FIELD], "pid == 1, tid == 1");
        assert_eq!(
            conditions,
            "`filter` takes a kernel expression, got a field and a field | .filter(pid == 1 and tid == 1)"
        );
    }

    #[test]
    fn every_parameter_of_the_reference_has_an_example() {
        for (name, method, list) in all() {
            for one in top_level(list).into_iter().filter(|one| *one != "…") {
                let found = parameter(name, method, one);
                assert!(found.what != one || one == "n", "`{name}` says `{one}`: in which words?");
            }
        }
    }
}
