//! `skep observe`: flows, chosen and printed as `hubble observe` does, and what else can be made of them.

use crate::args::Cli;
use crate::run::show;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::kernel::load::text;
use skep_runtime::network::hubble::filter::{Filters, FlowFilter};
use skep_runtime::network::hubble::flags::{FLAGS, Flags};
use skep_runtime::network::hubble::json::Mask;
use skep_runtime::network::hubble::metrics::Metrics;
use skep_runtime::network::hubble::printer::{self, Form, Options, Printer};
use skep_runtime::network::message::Value;
use skep_runtime::network::pcapng;
use skep_runtime::network::service_map::{ServiceMap, caretta, draw, html};
use skep_runtime::network::source::{self, Seen, Source};
use skep_runtime::network::time::{LAYOUTS, Layout, Time};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// What is asked for, as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Filters in their order.
    flags: Vec<(&'static str, String)>,
    allow: Vec<String>,
    deny: Vec<String>,
    print_filters: bool,
    mask: Vec<String>,
    first: Option<u64>,
    last: Option<u64>,
    all: bool,
    follow: bool,
    since: Option<String>,
    until: Option<String>,
    form: Option<String>,
    layout: String,
    node_name: bool,
    policy_names: bool,
    translate: bool,
    numeric: bool,
    colour: String,
    input: Option<PathBuf>,
    pcapng: Option<PathBuf>,
    metrics: Option<PathBuf>,
    map: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  skep observe --input-file flows.json --verdict DROPPED     what was dropped, of flows that Hubble or skep wrote
  hubble observe -f -o jsonpb | skep observe --input-file -  the same, as they come
  skep observe --input-file a.pcapng --to-port 443 -o table  packets of a capture
  skep observe --input-file flows.json --map services.html   who talks to whom";

/// Its part of the command line.
pub fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).help(help).action(ArgAction::SetTrue);
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).overrides_with(name)
    };
    let file = |name: &'static str, value: &'static str, help: &'static str| {
        option(name, value, help).value_parser(value_parser!(PathBuf))
    };
    let number =
        |name: &'static str, help: &'static str| option(name, "N", help).value_parser(value_parser!(u64).range(1..));
    let several = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).action(ArgAction::Append)
    };
    let filters = FLAGS.iter().map(|flag| {
        let arg = Arg::new(flag.name).long(flag.name).help(flag.help).action(ArgAction::Append);
        let arg = flag.short.map_or(arg.clone(), |short| arg.short(short));
        let arg = if flag.value.is_empty() {
            arg.num_args(0).default_missing_value("")
        } else {
            arg.value_name(flag.value).num_args(1).allow_hyphen_values(true)
        };
        arg.help_heading("Filters")
    });
    Command::new("observe")
        .about("Show flows: who talks to whom, and what became of it; filters and forms are those of `hubble observe`")
        .after_help(EXAMPLES)
        .arg(file(
            "input-file",
            "FILE",
            "flows that were written before: Hubble's lines of JSON, or pcapng; -: standard input",
        ))
        .arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_name("FORM")
                .help("compact (default), dict, json, jsonpb or table")
                .value_parser(value_parser!(PathBuf))
                .action(ArgAction::Append),
        )
        .arg(file("pcapng", "FILE", "write the packets of flows to FILE"))
        .arg(file("metrics", "FILE", "write Hubble's metrics of flows to FILE, for Prometheus"))
        .arg(file(
            "map",
            "FILE",
            "write the service map to FILE: .html, .dot, .mmd (Mermaid) or .prom (Caretta's metrics)",
        ))
        .arg(number("first", "the first N flows"))
        .arg(number("last", "the last N flows").conflicts_with("first"))
        .arg(flag("all", "every flow that there is").conflicts_with_all(["first", "last"]))
        .arg(flag("follow", "flows as they come").short('f').conflicts_with("first"))
        .arg(option("since", "TIME", "not before: 3s, 4m, 1h43m ago, a date, or RFC 3339"))
        .arg(option("until", "TIME", "not after"))
        .arg(several("allowlist", "JSON", "filters as flow.proto has them: any of them holds"))
        .arg(several("denylist", "JSON", "and none of these"))
        .arg(flag("print-raw-filters", "print the filters as JSON, and nothing else"))
        .arg(several("field-mask", "PATHS", "with -o json: only these members, such as time,source.identity"))
        .arg(
            option("time-format", "NAME", "how times are printed (default StampMilli)")
                .value_parser(LAYOUTS.iter().map(|(name, _)| *name).collect::<Vec<_>>())
                .ignore_case(true),
        )
        .arg(flag("print-node-name", "the node, too"))
        .arg(flag("print-policy-names", "the policies that decided, too"))
        .arg(
            option("ip-translation", "BOOL", "names instead of addresses (default true)")
                .value_parser(["true", "false"])
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true"),
        )
        .arg(flag("numeric", "addresses instead of names"))
        .arg(option("color", "WHEN", "auto (default), always or never").value_parser(["auto", "always", "never"]))
        .args(filters)
}

impl Wish {
    pub fn of(matches: &ArgMatches) -> Wish {
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let list = |name: &str| matches.get_many::<String>(name).into_iter().flatten().cloned().collect();
        let path = |name: &str| matches.get_one::<PathBuf>(name).cloned();
        let mut flags = Vec::new();
        for flag in FLAGS {
            let places = matches.indices_of(flag.name).into_iter().flatten();
            let values = matches.get_many::<String>(flag.name).into_iter().flatten();
            flags.extend(places.zip(values).map(|(place, value)| (place, flag.name, value.clone())));
        }
        flags.sort_by_key(|(place, ..)| *place);
        let forms = matches.get_many::<PathBuf>("output").into_iter().flatten();
        Wish {
            flags: flags.into_iter().map(|(_, name, value)| (name, value)).collect(),
            allow: list("allowlist"),
            deny: list("denylist"),
            print_filters: matches.get_flag("print-raw-filters"),
            mask: list("field-mask"),
            first: matches.get_one("first").copied(),
            last: matches.get_one("last").copied(),
            all: matches.get_flag("all"),
            follow: matches.get_flag("follow"),
            since: text("since"),
            until: text("until"),
            form: forms.last().map(|form| form.display().to_string()),
            layout: text("time-format").unwrap_or_default(),
            node_name: matches.get_flag("print-node-name"),
            policy_names: matches.get_flag("print-policy-names"),
            translate: text("ip-translation").is_none_or(|wanted| wanted == "true"),
            numeric: matches.get_flag("numeric"),
            colour: text("color").unwrap_or_default(),
            input: path("input-file"),
            pcapng: path("pcapng"),
            metrics: path("metrics"),
            map: path("map"),
        }
    }

    /// Filters of what is wanted, and of what is not.
    fn filters(&self) -> Result<(Vec<FlowFilter>, Vec<FlowFilter>), Diagnostic> {
        let mut flags = Flags::default();
        for (name, value) in &self.flags {
            flags.set(name, value)?;
        }
        let (mut allow, mut deny) = flags.filters()?;
        for (raw, filters) in [(&self.allow, &mut allow), (&self.deny, &mut deny)] {
            for text in raw {
                filters.extend(FlowFilter::parse(text)?);
            }
        }
        Ok((allow, deny))
    }

    fn form(&self) -> Result<Output, Diagnostic> {
        let form = match self.form.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("compact") => Form::Compact,
            Some("dict") => Form::Dict,
            Some("table" | "tab") if self.follow => {
                return Err(Diagnostic::script("a table is printed at its end, and `--follow` has none")
                    .help("skep observe --follow -o compact"));
            }
            Some("table" | "tab") => Form::Table,
            Some("json" | "jsonpb") => return Ok(Output::Json(Mask::parse(self.mask.iter().map(String::as_str))?)),
            Some(_) => {
                let form = self.form.as_deref().unwrap_or_default();
                return Err(Diagnostic::script(format!("`{form}` is no form of flows"))
                    .help("-o compact, -o dict, -o json, -o jsonpb or -o table"));
            }
        };
        if !self.mask.is_empty() {
            return Err(Diagnostic::script("`--field-mask` is for JSON").help("-o jsonpb"));
        }
        let terminal = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let colour = match self.colour.as_str() {
            "always" => true,
            "never" => false,
            _ => terminal,
        };
        let translate = self.translate && !self.numeric;
        let (layout, node_name, policy_names) = (self.layout(), self.node_name, self.policy_names);
        Ok(Output::Printed(Printer::new(Options { form, layout, node_name, policy_names, translate, colour })))
    }

    fn layout(&self) -> Layout {
        Layout::named(&self.layout).unwrap_or_default()
    }

    fn span(&self) -> Result<(Time, Time), Diagnostic> {
        let now = Time::now();
        let time = |text: &Option<String>, other: Time| text.as_ref().map_or(Ok(other), |text| Time::parse(text, now));
        Ok((time(&self.since, Time(0))?, time(&self.until, Time(u64::MAX))?))
    }

    /// Where flows come from.
    fn source(&self) -> Result<Box<dyn Source>, Diagnostic> {
        let unread = |path: &Path, error: &io::Error| {
            Diagnostic::script(format!("failed to read `{}`: {}", path.display(), text(error)))
        };
        match &self.input {
            Some(path) if path.as_os_str() == "-" => source::of_input(io::stdin()),
            Some(path) => {
                let file = File::open(path).map_err(|error| unread(path, &error))?;
                if file.metadata().is_ok_and(|file| file.is_dir()) {
                    return Err(unread(path, &io::ErrorKind::IsADirectory.into()));
                }
                source::of_input(file)
            }
            None => live(),
        }
    }
}

/// JOIN: flows of this machine, from the template `flows`: what implements [`Source`] over its ring buffer is made here.
fn live() -> Result<Box<dyn Source>, Diagnostic> {
    Err(Diagnostic::script("flows of this machine cannot be observed yet, only those of a file")
        .help("skep observe --input-file flows.json"))
}

enum Output {
    Printed(Printer),
    Json(Mask),
}

/// What is made of flows besides printing them, each into a file.
struct Products<'a> {
    pcapng: Option<(&'a Path, pcapng::Writer<BufWriter<File>>)>,
    packets: u64,
    metrics: Option<(&'a Path, Metrics)>,
    map: Option<(&'a Path, Drawing, ServiceMap)>,
}

#[derive(Clone, Copy)]
enum Drawing {
    Html,
    Dot,
    Mermaid,
    Gauges,
}

impl Drawing {
    fn of(path: &Path) -> Result<Drawing, Diagnostic> {
        match path.extension().and_then(|end| end.to_str()) {
            Some("html" | "htm") => Ok(Drawing::Html),
            Some("dot" | "gv") => Ok(Drawing::Dot),
            Some("mmd" | "mermaid" | "md") => Ok(Drawing::Mermaid),
            Some("prom") => Ok(Drawing::Gauges),
            _ => Err(Diagnostic::script(format!("`{}` ends in no form of a map", path.display()))
                .help("--map services.html, .dot, .mmd or .prom")),
        }
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn unwritten(path: &Path, error: &io::Error) -> Diagnostic {
    Diagnostic::script(format!("failed to write `{}`: {}", path.display(), text(error)))
}

impl<'a> Products<'a> {
    fn new(wish: &'a Wish) -> Result<Products<'a>, Diagnostic> {
        let map = match &wish.map {
            Some(path) => Some((path.as_path(), Drawing::of(path)?, ServiceMap::default())),
            None => None,
        };
        let pcapng = match &wish.pcapng {
            Some(path) if wish.input.as_ref().is_some_and(|input| is_same(input, path)) => {
                let message = format!("`{}` is read and cannot be written at the same time", path.display());
                return Err(Diagnostic::script(message).help("--pcapng other.pcapng"));
            }
            Some(path) => {
                let writer = File::create(path)
                    .and_then(|file| pcapng::Writer::new(BufWriter::new(file), "times are those of the source"));
                Some((path.as_path(), writer.map_err(|error| unwritten(path, &error))?))
            }
            None => None,
        };
        let metrics = wish.metrics.as_ref().map(|path| (path.as_path(), Metrics::default()));
        Ok(Products { pcapng, packets: 0, metrics, map })
    }

    fn count(&mut self, seen: &Seen) -> Result<(), Diagnostic> {
        if let (Some((path, writer)), Some(frame)) = (&mut self.pcapng, &seen.frame) {
            let mut frame = frame.clone();
            // What the flow says now, once.
            let comment = seen.response.flow.as_deref().and_then(pcapng::comment);
            frame.comments.retain(|one| !one.starts_with("uuid=") && !one.starts_with("verdict="));
            frame.comments.extend(comment);
            writer.packet(&frame).map_err(|error| unwritten(path, &error))?;
            self.packets += 1;
        }
        if let Some((_, metrics)) = &mut self.metrics {
            metrics.count(&seen.response);
        }
        if let (Some((.., map)), Some(flow)) = (&mut self.map, &seen.response.flow) {
            map.count(flow);
        }
        Ok(())
    }

    /// Writes what is complete now; says what was asked for and is not there.
    fn end(self, lost: u64) -> Result<Option<String>, Diagnostic> {
        let mut note = None;
        if let Some((path, writer)) = self.pcapng {
            // Whose they were, nobody knows: they are told once.
            let mut lost = lost;
            writer.end(|_| std::mem::take(&mut lost)).map_err(|error| unwritten(path, &error))?;
            if self.packets == 0 {
                note = Some(format!("`{}` is empty: flows in JSON hold no packets", path.display()));
            }
        }
        if let Some((path, metrics)) = self.metrics {
            replace(path, &metrics.text())?;
        }
        if let Some((path, drawing, map)) = self.map {
            let text = match drawing {
                Drawing::Html => html::page(&map, "service map"),
                Drawing::Dot => draw::dot(&map),
                Drawing::Mermaid => draw::mermaid(&map),
                Drawing::Gauges => caretta::metrics(&map),
            };
            replace(path, &text)?;
        }
        Ok(note)
    }
}

/// A file that is never half there for its readers.
fn replace(path: &Path, text: &str) -> Result<(), Diagnostic> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path)).map_err(|error| unwritten(path, &error))
}

pub fn observe(cli: &Cli, wish: &Wish) -> u8 {
    match run(cli, wish) {
        Ok(status) => status,
        Err(diagnostic) => show(&diagnostic, None),
    }
}

/// What passes, how much of it, and where it goes.
struct Pipe<'a> {
    output: Output,
    products: Products<'a>,
    out: BufWriter<io::StdoutLock<'static>>,
    layout: Layout,
    quiet: bool,
    lost: u64,
    /// Nobody reads any more.
    closed: bool,
}

impl Pipe<'_> {
    fn put(&mut self, seen: &Seen) -> Result<(), Diagnostic> {
        self.lost += seen.response.lost_events.as_ref().map_or(0, |lost| lost.count);
        self.products.count(seen)?;
        let text = match &mut self.output {
            Output::Printed(printer) => {
                if let Some(loss) = printer::loss(&seen.response, self.layout).filter(|_| !self.quiet) {
                    tell(loss.trim_end());
                }
                printer.print(&seen.response)
            }
            Output::Json(mask) if mask.is_empty() => seen.response.line() + "\n",
            Output::Json(mask) => seen.response.masked_line(mask) + "\n",
        };
        self.write(&text)
    }

    fn write(&mut self, text: &str) -> Result<(), Diagnostic> {
        let written = self.out.write_all(text.as_bytes());
        self.written(written)
    }

    fn flush(&mut self) -> Result<(), Diagnostic> {
        let flushed = self.out.flush();
        self.written(flushed)
    }

    fn written(&mut self, result: io::Result<()>) -> Result<(), Diagnostic> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => Err(Diagnostic::machine(format!("failed to write flows: {}", text(&error)))),
            Ok(()) => Ok(()),
        }
    }
}

fn run(cli: &Cli, wish: &Wish) -> Result<u8, Diagnostic> {
    let (allow, deny) = wish.filters()?;
    let (filters, (since, until)) = (Filters::new(&allow, &deny)?, wish.span()?);
    if wish.print_filters {
        return Ok(crate::list::put(&raw_filters(&allow, &deny)));
    }
    let output = wish.form()?;
    let mut source = wish.source()?;
    let (products, out) = (Products::new(wish)?, BufWriter::new(io::stdout().lock()));
    let mut pipe = Pipe { output, products, out, layout: wish.layout(), quiet: cli.quiet, lost: 0, closed: false };
    let last = wish.last.map(|last| usize::try_from(last).unwrap_or(usize::MAX));
    let mut kept = VecDeque::new();
    let mut left = wish.first.unwrap_or(u64::MAX);
    while left > 0 && !pipe.closed {
        if source.waits() {
            pipe.flush()?;
        }
        let Some(seen) = source.next()? else { break };
        let flow = seen.response.flow.as_deref();
        let in_time = flow.and_then(|flow| flow.time.0).is_none_or(|time| since <= time && time <= until);
        if !in_time || !filters.want_line(&seen.response) {
            continue;
        }
        left -= u64::from(flow.is_some());
        match last {
            None => pipe.put(&seen)?,
            Some(last) => {
                kept.push_back(seen);
                if kept.len() > last {
                    kept.pop_front();
                }
            }
        }
    }
    for seen in &kept {
        pipe.put(seen)?;
    }
    if let Output::Printed(printer) = &mut pipe.output {
        let rest = printer.end();
        pipe.write(&rest)?;
    }
    pipe.flush()?;
    let (missing, lost) = (source.missing(), pipe.lost);
    let note = pipe.products.end(lost)?;
    for note in source.notes().iter().chain(&note).filter(|_| !cli.quiet) {
        tell(note);
    }
    Ok(if cli.strict && missing + lost > 0 { 3 } else { 0 })
}

/// To standard error, which may be closed; then nobody wants to know.
fn tell(text: &str) {
    let _nobody = writeln!(io::stderr(), "{text}");
}

/// As `hubble observe --print-raw-filters` prints them: YAML that its configuration takes.
fn raw_filters(allow: &[FlowFilter], deny: &[FlowFilter]) -> String {
    let mut out = String::new();
    for (name, filters) in [("allowlist", allow), ("denylist", deny)] {
        if !filters.is_empty() {
            out += &format!("{name}:\n");
            for filter in filters {
                out += &format!("    - '{}'\n", filter.json().to_string().replace('\'', "''"));
            }
        }
    }
    out
}
