//! `skep observe`: flows, chosen and printed as `hubble observe` does, and what else can be made of them.

mod here;
mod products;
mod wish;

use crate::args::Cli;
use crate::audit;
use crate::run::show;
use products::Products;
use serde_json::json;
use skep_runtime::diagnostic::Diagnostic;
use skep_runtime::kernel::load::text;
use skep_runtime::network::digest::Digest;
use skep_runtime::network::hubble::filter::Filters;
use skep_runtime::network::hubble::flow_filter::FlowFilter;
use skep_runtime::network::hubble::json::Mask;
use skep_runtime::network::hubble::printer::{self, Printer};
use skep_runtime::network::life::Life;
use skep_runtime::network::message::Value;
use skep_runtime::network::source::Seen;
use skep_runtime::network::time::Layout;
use skep_runtime::report::units::grouped;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufWriter, Write};

pub use wish::{Wish, command};

/// How flows are printed.
pub enum Output {
    Printed(Printer),
    Json(Mask),
    Summary(Box<Digest>),
}

/// Rows of each table of a summary.
const TOP: usize = 10;

pub fn observe(cli: &Cli, wish: &Wish) -> u8 {
    // Flows that were written before, and filters that are only printed, attach nothing.
    let audit = match wish.input.is_none() && !wish.print_filters {
        true => audit::begun(cli, json!({ "what": "observe" })),
        false => Ok(None),
    };
    let done = audit.and_then(|audit| {
        let done = run(cli, wish);
        audit::done(audit.as_ref(), &done);
        done
    });
    done.unwrap_or_else(|diagnostic| show(&diagnostic, None))
}

/// What passes, how much of it, and where it goes.
struct Pipe<'a> {
    output: Output,
    products: Products<'a>,
    out: BufWriter<io::StdoutLock<'static>>,
    layout: Layout,
    quiet: bool,
    lost: u64,
    /// How many flows were printed, by verdict.
    verdicts: BTreeMap<&'static str, u64>,
    /// Besides what is printed.
    summary: Option<Box<Digest>>,
    /// Nobody reads any more.
    closed: bool,
}

impl Pipe<'_> {
    fn put(&mut self, seen: &Seen) -> Result<(), Diagnostic> {
        self.lost += seen.response.lost_events.as_ref().map_or(0, |lost| lost.count);
        self.products.count(seen)?;
        if let Some(flow) = &seen.response.flow {
            *self.verdicts.entry(flow.verdict.name()).or_default() += 1;
        }
        if let Some(digest) = &mut self.summary {
            digest.count(&seen.response);
        }
        let text = match &mut self.output {
            Output::Printed(printer) => {
                if let Some(loss) = printer::loss(&seen.response, self.layout).filter(|_| !self.quiet) {
                    tell(loss.trim_end());
                }
                printer.print(&seen.response)
            }
            Output::Summary(digest) => {
                digest.count(&seen.response);
                String::new()
            }
            Output::Json(mask) if mask.is_empty() => seen.response.line() + "\n",
            Output::Json(mask) => seen.response.masked_line(mask) + "\n",
        };
        self.write(&text)
    }

    /// Only what adds up asks for these.
    fn lived(&mut self, life: &Life) {
        self.products.lived(life);
        if let Some(digest) = &mut self.summary {
            digest.lived(life);
        }
        if let Output::Summary(digest) = &mut self.output {
            digest.lived(life);
        }
    }

    /// `46 flows (41 TRACED, 5 DROPPED), 0 events lost`
    fn total(&self, lost: u64) -> String {
        let flows: u64 = self.verdicts.values().sum();
        let each: Vec<String> =
            self.verdicts.iter().map(|(name, count)| format!("{} {name}", grouped(*count))).collect();
        let each = if each.is_empty() { String::new() } else { format!(" ({})", each.join(", ")) };
        let (s, of_events) = (if flows == 1 { "" } else { "s" }, if lost == 1 { "" } else { "s" });
        format!("{} flow{s}{each}, {} event{of_events} lost", grouped(flows), grouped(lost))
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
    let output = wish.form(cli.json)?;
    let mut source = wish.source(cli, allow, deny)?;
    let (products, out) = (Products::new(wish)?, BufWriter::new(io::stdout().lock()));
    let mut pipe = Pipe {
        output,
        products,
        out,
        layout: wish.layout(),
        quiet: cli.quiet,
        lost: 0,
        verdicts: BTreeMap::new(),
        summary: wish.summary.then(Box::default),
        closed: false,
    };
    let last = wish.last.map(|last| usize::try_from(last).unwrap_or(usize::MAX));
    let mut kept = VecDeque::new();
    let mut left = wish.first.unwrap_or(u64::MAX);
    while left > 0 && !pipe.closed {
        if source.waits() {
            pipe.flush()?;
        }
        let Some(seen) = source.next()? else { break };
        if seen.is_nothing() {
            pipe.products.refresh()?;
            continue;
        }
        if let Some(life) = &seen.life {
            if filters.want(&life.flow) {
                pipe.lived(life);
            }
            continue;
        }
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
    source.close()?;
    for seen in &kept {
        pipe.put(seen)?;
    }
    let rest = match &mut pipe.output {
        Output::Printed(printer) => printer.end(),
        Output::Summary(digest) => digest.text(TOP),
        Output::Json(_) => String::new(),
    };
    pipe.write(&rest)?;
    if let Some(digest) = pipe.summary.take() {
        pipe.write(&format!("\n{}", digest.text(TOP)))?;
    }
    pipe.flush()?;
    let (missing, lost) = (source.missing(), pipe.lost);
    if source.is_live() && !cli.quiet {
        tell(&pipe.total(lost));
    }
    let note = pipe.products.end(lost)?;
    for note in source.notes().iter().chain(&note).filter(|_| !cli.quiet) {
        tell(note);
    }
    Ok(if cli.strict && missing + lost > 0 { 3 } else { source.status() })
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
