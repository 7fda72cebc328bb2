//! What is asked for: the command line of `skep observe`, and what it means.

use super::Output;
use super::here::{self, Here};
use crate::args::Cli;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::kernel::load::text;
use skep_runtime::network::hubble::flags::{FLAGS, Flags};
use skep_runtime::network::hubble::flow_filter::FlowFilter;
use skep_runtime::network::hubble::json::Mask;
use skep_runtime::network::hubble::printer::{Form, Options, Printer};
use skep_runtime::network::source::{self, Source};
use skep_runtime::network::time::{LAYOUTS, Layout, Time};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

/// What is asked for, as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Filters in their order.
    flags: Vec<(&'static str, String)>,
    allow: Vec<String>,
    deny: Vec<String>,
    pub print_filters: bool,
    mask: Vec<String>,
    pub first: Option<u64>,
    pub last: Option<u64>,
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
    pub input: Option<PathBuf>,
    pub pcapng: Option<PathBuf>,
    pub metrics: Option<PathBuf>,
    pub map: Option<PathBuf>,
    /// Flows and what they come to.
    pub summary: bool,
    pub here: Here,
}

const EXAMPLES: &str = "\
Examples:
  sudo skep observe -i eth0 --port 443                       what passes an interface, and what the kernel throws away
  sudo skep observe --verdict DROPPED --for 1m -o summary    why packets are dropped, in a table at the end
  skep observe --input-file flows.json --verdict DROPPED     what was dropped, of flows that Hubble or skep wrote
  hubble observe -f -o jsonpb | skep observe --input-file -  the same, as they come
  skep observe --input-file a.pcapng --to-port 443 -o table  packets of a capture
  skep observe --input-file flows.json -o summary            talkers, edges, drops by reason, latencies
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
        // Apart from the options that every command has.
        .next_help_heading("Flows")
        .args(here::arguments())
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
                .help("compact (default), dict, json, jsonpb, table, or summary: what all flows come to")
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
        .arg(flag("summary", "at the end, what all flows come to"))
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
            summary: matches.get_flag("summary"),
            here: Here::of(matches),
        }
    }

    /// Filters of what is wanted, and of what is not.
    pub fn filters(&self) -> Result<(Vec<FlowFilter>, Vec<FlowFilter>), Diagnostic> {
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

    pub fn form(&self, json: bool) -> Result<Output, Diagnostic> {
        let form = match self.form.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None if !json => Form::Compact,
            Some("compact") => Form::Compact,
            Some("dict") => Form::Dict,
            Some("table" | "tab") if self.follow => {
                return Err(Diagnostic::script("a table is printed at its end, and `--follow` has none")
                    .help("skep observe --follow -o compact"));
            }
            Some("table" | "tab") => Form::Table,
            None | Some("json" | "jsonpb") if self.summary => {
                return Err(Diagnostic::script("a summary is for people, and would end up among the JSON")
                    .help("-o summary, or --summary with -o compact"));
            }
            None | Some("json" | "jsonpb") => {
                return Ok(Output::Json(Mask::parse(self.mask.iter().map(String::as_str))?));
            }
            Some("summary") if self.mask.is_empty() => return Ok(Output::Summary(Box::default())),
            Some("summary") => Form::Compact,
            Some(_) => {
                let form = self.form.as_deref().unwrap_or_default();
                return Err(Diagnostic::script(format!("`{form}` is no form of flows"))
                    .help("-o compact, -o dict, -o json, -o jsonpb, -o table or -o summary"));
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

    pub fn layout(&self) -> Layout {
        Layout::named(&self.layout).unwrap_or_default()
    }

    pub fn span(&self) -> Result<(Time, Time), Diagnostic> {
        let now = Time::now();
        let time = |text: &Option<String>, other: Time| text.as_ref().map_or(Ok(other), |text| Time::parse(text, now));
        Ok((time(&self.since, Time(0))?, time(&self.until, Time(u64::MAX))?))
    }

    /// Where flows come from; these filters are what is wanted of them.
    pub fn source(
        &self,
        cli: &Cli,
        allow: Vec<FlowFilter>,
        deny: Vec<FlowFilter>,
    ) -> Result<Box<dyn Source>, Diagnostic> {
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
            None if self.pcapng.is_some() => {
                Err(Diagnostic::script("flows of this machine hold no packets, only captures do")
                    .help("sudo skep capture -i eth0 -w out.pcapng"))
            }
            None => {
                let until = self.until.as_ref().map(|_| self.span().map(|(_, until)| until)).transpose()?;
                let adds_up = self.summary || self.map.is_some() || matches!(self.form(cli.json)?, Output::Summary(_));
                self.here.source(cli, until, adds_up, allow, deny)
            }
        }
    }
}
