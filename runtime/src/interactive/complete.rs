//! Completion: what could stand at the cursor, from the machine, the templates, the library and the session.

use super::commands::{Argument, COMMANDS};
use super::functions;
use super::knowledge::{Known, Nature};
use crate::attach_point::PROVIDERS;
use crate::listing;
use crate::report::units::grouped;
use crate::resolve::BUILTINS;
use crate::script::reference::SECTIONS;
use serde_json::{Value as Json, json};

pub use super::knowledge::Sources;

/// More than these are shown by their next part, with counts.
const MOST: usize = 200;

/// What stands in place of the text from `start` to the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub start: usize,
    pub candidates: Vec<Candidate>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    pub text: String,
    /// As it is listed: with its type, or how many there are behind it.
    pub shown: String,
}

impl Found {
    pub fn json(&self) -> Json {
        let all: Vec<Json> =
            self.candidates.iter().map(|one| json!({ "text": one.text, "shown": one.shown })).collect();
        json!({ "start": self.start, "candidates": all })
    }
}

fn candidate(text: impl Into<String>, note: &str) -> Candidate {
    let text = text.into();
    let shown = if note.is_empty() { text.clone() } else { format!("{text}  {note}") };
    Candidate { text, shown }
}

/// What could stand at byte `at` of `line`.
pub fn complete(line: &str, at: usize, known: &Known, sources: &Sources) -> Found {
    let text = line.get(..at.min(line.len())).unwrap_or(line);
    if let Some(command) = text.strip_prefix(':') {
        return of_command(command, known, sources);
    }
    let (start, mut candidates) = match open_text(text) {
        Some(quote) => of_text(&text[..quote], &text[quote + 1..], quote + 1, known, sources),
        None => of_code(text, known, sources),
    };
    let typed = &text[start..];
    candidates.retain(|one| one.text.starts_with(typed));
    candidates.sort();
    candidates.dedup_by(|a, b| a.text == b.text);
    Found { start, candidates: grouped_by_part(candidates, typed) }
}

/// A long list by the part of the names that comes next: `vfs_` and 72.
fn grouped_by_part(candidates: Vec<Candidate>, typed: &str) -> Vec<Candidate> {
    if candidates.len() <= MOST {
        return candidates;
    }
    let texts: Vec<&str> = candidates.iter().map(|one| one.text.as_str()).collect();
    groups(&texts, typed.len()).into_iter().map(|(text, count)| group("", text, count)).collect()
}

fn group(before: &str, text: &str, count: usize) -> Candidate {
    let note = if count > 1 { format!("({})", grouped(count as u64)) } else { String::new() };
    candidate(format!("{before}{text}"), &note)
}

/// Sorted names by what comes next behind their first `typed` bytes, which all have in common: a part up to `_`, `:` or
/// `.`; where those are many, a letter. Looks at few of the names.
fn groups<T: AsRef<str>>(names: &[T], typed: usize) -> Vec<(&str, usize)> {
    let ends = |c: char| matches!(c, '_' | ':' | '.');
    let by = |part: &dyn Fn(&str) -> usize| {
        let mut found = Vec::new();
        let mut rest = names;
        while let Some(first) = rest.first() {
            let first = first.as_ref();
            let prefix = &first[..typed + part(&first[typed..])];
            let count = rest.partition_point(|name| name.as_ref().starts_with(prefix)).max(1);
            found.push((prefix, count));
            rest = &rest[count..];
        }
        found
    };
    let parts = by(&|rest| {
        let end = rest.char_indices().skip(1).find(|(_, c)| ends(*c));
        end.map_or(rest.len(), |(n, c)| n + c.len_utf8())
    });
    if parts.len() <= MOST { parts } else { by(&|rest| rest.chars().next().map_or(0, char::len_utf8)) }
}

/// Where the text begins that the cursor is in.
fn open_text(text: &str) -> Option<usize> {
    let mut open = None;
    let mut escaped = false;
    for (n, c) in text.char_indices() {
        match open {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some((_, quote)) if c == quote => open = None,
            Some(_) => {}
            None if matches!(c, '"' | '`') => open = Some((n, c)),
            None => {}
        }
    }
    open.map(|(n, _)| n)
}

fn of_command(command: &str, known: &Known, sources: &Sources) -> Found {
    let Some((name, argument)) = command.split_once(' ') else {
        let names = COMMANDS.iter().filter(|one| one.name.starts_with(command));
        return Found { start: 1, candidates: names.map(|one| candidate(one.name, one.argument.spelling())).collect() };
    };
    let argument = argument.trim_start();
    let start = 1 + command.len() - argument.len();
    let Some(command) = COMMANDS.iter().find(|one| one.name == name) else { return Found::default() };
    let mut candidates = match command.argument {
        Argument::None | Argument::Line | Argument::Time => Vec::new(),
        Argument::Job => {
            known.jobs.iter().map(ToString::to_string).chain(["all".to_owned()]).map(|one| candidate(one, "")).collect()
        }
        Argument::Chain => known
            .variables
            .iter()
            .filter(|(_, nature)| matches!(nature, Nature::Chain { .. }))
            .map(|(name, _)| candidate(name, ""))
            .collect(),
        Argument::Point | Argument::Pattern => of_point(argument, sources),
        Argument::File => files(argument),
        Argument::Script => scripts(sources).chain(files(argument)).collect(),
        Argument::Name => {
            let templates = sources.catalog.iter().map(|template| candidate(&*template.name, "template"));
            scripts(sources).chain(templates).chain([candidate("functions", "")]).collect()
        }
        Argument::Lesson => (1..=12).map(|n: usize| candidate(n.to_string(), "")).collect(),
    };
    candidates.retain(|one| one.text.starts_with(argument));
    Found { start, candidates: grouped_by_part(candidates, argument) }
}

fn scripts(sources: &Sources) -> impl Iterator<Item = Candidate> + use<> {
    sources.scripts().into_iter().map(|name| candidate(name, "script"))
}

/// Files and folders that begin so.
fn files(typed: &str) -> Vec<Candidate> {
    let (folder, _) = typed.rsplit_once('/').map_or(("", typed), |(folder, name)| (&typed[..folder.len() + 1], name));
    let read = std::fs::read_dir(if folder.is_empty() { "." } else { folder });
    let entries = read.into_iter().flatten().flatten().take(10_000);
    let named = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let slash = if entry.path().is_dir() { "/" } else { "" };
        Some(format!("{folder}{name}{slash}"))
    });
    let mut all: Vec<Candidate> =
        named.filter(|name| name.starts_with(typed)).map(|name| candidate(name, "")).collect();
    all.sort();
    all
}

fn of_point(typed: &str, sources: &Sources) -> Vec<Candidate> {
    let Some((short, rest)) = typed.split_once(':') else {
        let count = |name: &str| sources.count(name).map(|count| format!("({})", grouped(count as u64)));
        let all = PROVIDERS.iter().filter(|(name, ..)| name.starts_with(typed));
        return all.map(|(name, ..)| candidate(format!("{name}:"), &count(name).unwrap_or_default())).collect();
    };
    let Some(provider) = Sources::provider(short) else { return Vec::new() };
    if matches!(provider, "uprobe" | "uretprobe" | "usdt") && rest.contains('/') && !rest.contains(':') {
        let all = files(rest).into_iter();
        return all
            .map(|one| candidate(format!("{short}:{}{}", one.text, if one.text.ends_with('/') { "" } else { ":" }), ""))
            .collect();
    }
    if matches!(provider, "kprobe" | "kretprobe" | "fentry" | "fexit") {
        let names = sources.functions();
        let from = names.partition_point(|name| name.as_str() < rest);
        let names = &names[from..];
        let names = &names[..names.partition_point(|name| name.starts_with(rest))];
        let before = format!("{short}:");
        return match names.len() {
            0..=MOST => names.iter().map(|name| candidate(format!("{before}{name}"), "")).collect(),
            _ => groups(names, rest.len()).into_iter().map(|(text, count)| group(&before, text, count)).collect(),
        };
    }
    let note = |count: Option<usize>| count.map(|count| format!("({count})")).unwrap_or_default();
    let named = sources.points(provider, rest).into_iter();
    named.map(|(name, count)| candidate(format!("{short}:{name}"), &note(count))).collect()
}

/// Inside of a text: by the function that it is given to.
fn of_text(before: &str, inside: &str, start: usize, known: &Known, sources: &Sources) -> (usize, Vec<Candidate>) {
    let (call, _) = call(before).unwrap_or_default();
    let candidates = match call {
        "probe" | "span" | "first_of" => of_point(inside, sources),
        "template" => sources
            .catalog
            .iter()
            .filter(|one| one.manifest().is_ok_and(|manifest| !manifest.is_generic()))
            .map(|one| candidate(&*one.name, ""))
            .collect(),
        "flamegraph" | "folded" | "pprof" | "speedscope" | "flamediff" | "csv" | "flame" => files(inside),
        "sort_by" | "sort_by_ascending" => vec![candidate("value", "")],
        _ if before.trim_end().ends_with("import") => scripts(sources).collect(),
        _ => {
            let _nothing = known;
            Vec::new()
        }
    };
    (start, candidates)
}

/// The function in whose parentheses a text ends, and where its name begins.
fn call(before: &str) -> Option<(&str, usize)> {
    let mut depth = 0;
    for (n, c) in before.char_indices().rev() {
        match c {
            ')' | ']' | '}' => depth += 1,
            '[' | '{' if depth == 0 => {}
            '(' if depth == 0 => {
                let name = last_word(&before[..n]);
                return Some((name, n - name.len()));
            }
            '(' | '[' | '{' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn last_word(text: &str) -> &str {
    let start = text.char_indices().rev().take_while(|(_, c)| c.is_alphanumeric() || *c == '_').last();
    start.map_or("", |(n, _)| &text[n..])
}

fn of_code(text: &str, known: &Known, sources: &Sources) -> (usize, Vec<Candidate>) {
    let word = last_word(text);
    let start = text.len() - word.len();
    let before = &text[..start];
    if let Some(receiver) = before.strip_suffix('.') {
        return (start, members(receiver, text, known, sources));
    }
    // `template("x", #{ ` and `t.set(#{ `: parameters stand before their colons.
    if let Some(template) = parameters_of(before, known) {
        let manifest = sources.catalog.get(&template).and_then(|one| one.manifest().ok());
        let list = manifest.map(|manifest| manifest.parameters).unwrap_or_default();
        return (start, list.iter().map(|one| candidate(format!("{}: ", one.name), &one.help)).collect());
    }
    let mut all = Vec::new();
    if let Nature::Chain { template: Some(name), .. } = source(text, known)
        && let Some(manifest) = sources.catalog.get(&name).and_then(|one| one.manifest().ok())
    {
        all.extend(
            manifest.fields.iter().map(|field| candidate(&*field.name, field.unit.as_deref().unwrap_or_default())),
        );
    }
    all.extend(known.variables.iter().map(|(name, _)| candidate(name, "")));
    all.extend(known.functions.iter().map(|name| candidate(format!("{name}("), "")));
    all.extend(BUILTINS.iter().map(|(name, _)| candidate(*name, "")));
    for (signature, _) in SECTIONS.iter().flat_map(|(_, list)| *list).chain(functions::REFERENCE) {
        if let Some((name, _)) = signature
            .split_once('(')
            .filter(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_'))
        {
            all.push(Candidate { text: format!("{name}("), shown: (*signature).to_owned() });
        }
    }
    all.extend(
        ["let", "for", "in", "if", "else", "while", "fn", "return", "import", "and", "or", "args", "true", "false"]
            .map(|name| candidate(name, "")),
    );
    (start, all)
}

/// The template whose parameters are being given.
fn parameters_of(before: &str, known: &Known) -> Option<String> {
    let open = before.rfind("#{")?;
    let inside = &before[open + 2..];
    if inside.contains('}') || inside.rsplit(',').next().is_some_and(|last| last.contains(':')) {
        return None;
    }
    let head = &before[..open];
    let (name, at) = call(head)?;
    match name {
        "template" => quoted(&head[at..]).map(str::to_owned),
        "set" => match nature(head[..at].strip_suffix('.')?, known) {
            Nature::Chain { template, .. } => template,
            _ => None,
        },
        _ => None,
    }
}

/// What stands in the first pair of quotes.
fn quoted(text: &str) -> Option<&str> {
    text.split('"').nth(1)
}

/// The source that the statement at the end of a text is about.
fn source(text: &str, known: &Known) -> Nature {
    let at = ["probe(", "span(", "template("].iter().filter_map(|call| Some((text.rfind(call)?, *call))).max();
    let statement = text.rsplit(';').next().unwrap_or(text);
    match at {
        Some((at, call)) if at >= text.len() - statement.len() => {
            let texts: Vec<String> = text[at..].split('"').skip(1).step_by(2).map(str::to_owned).collect();
            match (call, texts.as_slice()) {
                ("template(", [name, ..]) => {
                    Nature::Chain { points: Vec::new(), template: Some(name.clone()), columns: Vec::new() }
                }
                ("span(", [_, end, ..]) => chain_of(end, text),
                (_, [point, ..]) => chain_of(point, text),
                _ => Nature::Other,
            }
        }
        _ => {
            let first = statement.trim_start().split('.').next().unwrap_or_default();
            variable(first.rsplit(['=', ' ', '(']).next().unwrap_or_default(), known)
        }
    }
}

fn chain_of(point: &str, text: &str) -> Nature {
    let list = text.rsplit_once(".fields(").map_or("", |(_, list)| list.split(").").next().unwrap_or_default());
    let name = |column: &str| last_word(column.trim_end_matches([')', ' '])).to_owned();
    let columns = list.split(',').map(name).filter(|name| !name.is_empty()).collect();
    Nature::Chain { points: vec![point.to_owned()], template: None, columns }
}

fn variable(name: &str, known: &Known) -> Nature {
    let found = known.variables.iter().rev().find(|(one, _)| one == name.trim());
    found.map(|(_, nature)| nature.clone()).unwrap_or_default()
}

/// What the value before a dot is.
fn nature(receiver: &str, known: &Known) -> Nature {
    let receiver = receiver.trim_end();
    if receiver.ends_with(['"', '`']) {
        return Nature::Text;
    }
    if receiver.ends_with(']') {
        return Nature::Other;
    }
    if !receiver.ends_with(')') {
        return variable(last_word(receiver), known);
    }
    let Some((name, at)) = call(&receiver[..receiver.len() - 1]) else { return Nature::Other };
    let before = receiver[..at].trim_end();
    match name {
        "probe" | "span" | "template" => source(receiver, known),
        "json" | "folded" | "to_string" | "format" => Nature::Text,
        "rows" | "buckets" => Nature::Array,
        _ => match before.strip_suffix('.') {
            // A result: a table, or a histogram where there is no key.
            Some(of) if matches!(name, "run" | "value") => match of.contains(".by(") {
                true => Nature::Table,
                false if of.contains("hist(") || of.contains(".quantiles(") => Nature::Histogram,
                false => Nature::Table,
            },
            Some(of) => nature(of, known),
            None => Nature::Other,
        },
    }
}

/// Headings of the reference whose methods a value has.
fn headings(nature: &Nature) -> &'static [&'static str] {
    match nature {
        Nature::Chain { .. } => &[
            "What passes, and its columns (kernel)",
            "Spans (kernel)",
            "Aggregations (kernel)",
            "Events (here)",
            "How a table is shown",
            "Running",
        ],
        Nature::Table => &["Tables"],
        Nature::Histogram => &["Histograms"],
        _ => &[],
    }
}

fn members(receiver: &str, text: &str, known: &Known, sources: &Sources) -> Vec<Candidate> {
    let word = last_word(receiver);
    let is_word = !receiver.trim_end().ends_with(')');
    if is_word && word == "args" {
        return arguments(text, known, sources);
    }
    let nature = nature(receiver, known);
    if let Nature::Map(keys) = &nature {
        return keys.iter().map(|key| candidate(key, "")).collect();
    }
    // The parameter of a closure: `.each(|e| e.`.
    if is_word && text.contains(&format!("|{word}|")) {
        let mut columns = match source(text, known) {
            Nature::Chain { columns, .. } => columns,
            _ => Vec::new(),
        };
        if columns.is_empty() {
            columns = ["nsecs", "pid", "comm", "probe"].map(str::to_owned).to_vec();
        }
        return columns.iter().map(|name| candidate(name, "")).collect();
    }
    let lists = SECTIONS.iter().filter(|(heading, _)| headings(&nature).contains(heading)).flat_map(|(_, list)| *list);
    let ours = functions::REFERENCE.iter().filter(|_| matches!(nature, Nature::Chain { .. }));
    let mut all = Vec::new();
    for (signature, _) in lists.chain(ours) {
        let Some((name, arguments)) = signature.strip_prefix('.').and_then(|rest| rest.split_once('(')) else {
            continue;
        };
        let text = if arguments.starts_with(')') { format!("{name}()") } else { format!("{name}(") };
        all.push(Candidate { text, shown: (*signature).to_owned() });
    }
    all
}

/// `args.`: fields of the attach point, with their types.
fn arguments(text: &str, known: &Known, sources: &Sources) -> Vec<Candidate> {
    let Nature::Chain { points, .. } = source(text, known) else { return Vec::new() };
    let Some(point) = points.first() else { return Vec::new() };
    // Of a glob the first that matches stands for all.
    let listed = listing::attach_points(Some(point), None, &sources.machine, false).unwrap_or_default();
    let Some(point) = listed.lines().next() else { return Vec::new() };
    let fields = listing::fields(point, None, &sources.machine);
    let field = |line: &str| {
        let (name, declared) = line.trim().strip_prefix("args.")?.split_once(' ')?;
        Some(candidate(name, declared.trim()))
    };
    fields.lines().filter_map(field).collect()
}
