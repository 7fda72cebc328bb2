//! Scripts: any text through the planner, and random expressions through the kernel's verifier.

use crate::diagnostic::{Diagnostic, Kind};
use crate::kernel::privilege;
use crate::library::{Library, Script};
use crate::machine::Machine;
use crate::report;
use crate::script::engine::Runner;
use crate::script::host::{Host, Mode, Settings};
use crate::script::output::{Format, Output};
use crate::script::params::Params;
use crate::session::{Session, Sizes};
use std::cell::RefCell;
use std::fmt::Write;
use std::path::Path;

/// Far fewer than scripts may take: they are tried by the thousand.
const OPERATIONS: u64 = 20_000;

/// One engine for all inputs of a thread: to make one takes much longer than a short script does.
struct Bench {
    runner: Runner,
    /// Names that every script has.
    names: usize,
}

impl Bench {
    fn new(machine: Machine) -> RefCell<Bench> {
        let mut output = Output::new(Box::new(std::io::sink()), Format::Text, Default::default());
        output.talk = false;
        let settings = Settings { machine, ..Settings::bare(Mode::Plan) };
        let runner = Runner::new(Host::new(settings, Params::default(), output, None), Library::default());
        let mut runner = runner.unwrap_or_else(|error| panic!("no engine: {}", error.message));
        runner.engine.set_max_operations(OPERATIONS);
        RefCell::new(Bench { names: runner.scope.len(), runner })
    }

    /// Runs `script`; the one before it has left nothing.
    fn run(&mut self, script: &Script) -> Result<(), Diagnostic> {
        let host = &self.runner.host;
        host.chains.borrow_mut().clear();
        host.policies.borrow_mut().clear();
        host.timers.borrow_mut().clear();
        host.at_end.borrow_mut().clear();
        host.callees.borrow_mut().clear();
        host.findings.borrow_mut().clear();
        host.params.replace(Params::default());
        host.exit.take();
        host.ended.take();
        host.interval.take();
        self.runner.scope.rewind(self.names);
        self.runner.run(script)
    }
}

/// What is wrong with a script is shown; that skep is, is a finding.
fn show(error: &Diagnostic, script: &Script) {
    let shown = error.render(&script.name, &script.text);
    assert!(error.kind != Kind::Bug, "{shown}");
}

/// The plan of any text, on the captured machine.
pub fn plan(bytes: &[u8]) {
    thread_local! {
        static BENCH: RefCell<Bench> =
            Bench::new(Machine::captured(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/machine"))));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let script = Script { name: "a.rhai".into(), text: text.to_owned().into() };
    BENCH.with_borrow_mut(|bench| {
        if let Err(error) = bench.run(&script) {
            show(&error, &script);
        }
        let host = &bench.runner.host;
        for n in 0..host.chains.borrow().len() {
            match host.prepare(n) {
                Err(error) => show(&error, &script),
                Ok(prepared) => {
                    let (chains, restrict) = (host.chains.borrow(), &host.settings.restrict);
                    report::plan::text(n + 1, &chains[n].entry, &prepared, restrict, 4, true);
                    report::plan::json(n + 1, &chains[n].entry, &prepared, restrict, 4);
                }
            }
        }
    });
}

/// Random expressions of every type at a tracepoint: refused as a script's error, or taken by the kernel that is here.
///
/// # Panics
/// The kernel refuses a program, for another reason than that this process may not load any.
pub fn expression(bytes: &[u8]) {
    thread_local! {
        static BENCH: RefCell<Bench> = Bench::new(Machine::live());
    }
    let script = Script { name: "a.rhai".into(), text: Choices(bytes).script().into() };
    BENCH.with_borrow_mut(|bench| {
        if let Err(error) = verified(bench, &script) {
            show(&error, &script);
        }
    });
}

/// # Errors
/// What is wrong with the script; nothing of it was loaded.
fn verified(bench: &mut Bench, script: &Script) -> Result<(), Diagnostic> {
    bench.run(script)?;
    let host = &bench.runner.host;
    for n in 0..host.chains.borrow().len() {
        let prepared = host.prepare(n)?;
        let (chains, machine) = (host.chains.borrow(), &host.settings.machine);
        if let Err(error) = Session::try_load(&chains[n].entry, &prepared, machine, Sizes::default()) {
            let missing = privilege::missing(&["CAP_BPF", "CAP_PERFMON"]);
            assert!(!missing.is_empty(), "{}", error.render(&script.name, &script.text));
        }
    }
    Ok(())
}

/// Choices that the input makes, one after the other; behind its end always the first.
struct Choices<'a>(&'a [u8]);

/// Integers, addresses and texts of the tracepoints below.
const POINTS: &[(&str, &[&str], &[&str])] = &[
    (
        "tracepoint:sched:sched_switch",
        &["args.prev_pid", "args.prev_prio", "args.prev_state", "args.next_pid", "args.next_prio"],
        &["args.prev_comm", "args.next_comm", "comm"],
    ),
    (
        "tracepoint:syscalls:sys_enter_openat",
        &["args.dfd", "args.flags", "args.mode", "args.filename"],
        &["str(args.filename)", "str(args.filename, 23)", "comm"],
    ),
    ("tracepoint:sched:sched_process_exec", &["args.pid", "args.old_pid"], &["args.filename", "comm"]),
    ("tracepoint:raw_syscalls:sys_enter", &["args.id"], &["comm"]),
];
const EVERYWHERE: &[&str] = &["pid", "tid", "uid", "gid", "cpu", "nsecs", "cgroup"];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "7",
    "63",
    "64",
    "255",
    "65536",
    "2147483647",
    "-2147483648",
    "4294967295",
    "9223372036854775807",
];
const DEEPEST: usize = 6;

impl Choices<'_> {
    fn below(&mut self, limit: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % limit
    }

    fn of<'t>(&mut self, choice: &[&'t str]) -> &'t str {
        choice[self.below(choice.len())]
    }

    fn script(&mut self) -> String {
        let (point, integers, texts) = POINTS[self.below(POINTS.len())];
        let mut of = Expressions { choices: self, integers, texts };
        let mut script = format!("probe(\"{point}\")");
        for _ in 0..of.choices.below(3) {
            let _infallible = write!(script, ".filter({})", of.condition(DEEPEST));
        }
        match of.choices.below(6) {
            0 => script += ".count()",
            1 => script += &format!(".by({}, {}).count()", of.text(), of.integer(DEEPEST)),
            2 => script += &format!(".by({}).sum({})", of.integer(DEEPEST), of.integer(DEEPEST)),
            3 => script += &format!(".hist({})", of.integer(DEEPEST)),
            4 => script += &format!(".by({}).quantiles({})", of.text(), of.integer(DEEPEST)),
            _ => script += &format!(".fields({}, {}, {})", of.text(), of.integer(DEEPEST), of.integer(2)),
        }
        script
    }
}

/// Expressions of one tracepoint.
struct Expressions<'a, 'b> {
    choices: &'a mut Choices<'b>,
    integers: &'static [&'static str],
    texts: &'static [&'static str],
}

impl Expressions<'_, '_> {
    fn text(&mut self) -> &'static str {
        self.choices.of(self.texts)
    }

    fn integer(&mut self, depth: usize) -> String {
        let kind = if depth == 0 { self.choices.below(3) } else { self.choices.below(8) };
        match kind {
            0 => self.choices.of(self.integers).to_owned(),
            1 => self.choices.of(EVERYWHERE).to_owned(),
            2 => self.choices.of(NUMBERS).to_owned(),
            3 => format!("(-{})", self.integer(depth - 1)),
            4 => {
                let swap = self.choices.of(&["ntohs", "ntohl", "ntohll"]);
                format!("{swap}({})", self.integer(depth - 1))
            }
            _ => {
                let op = self.choices.of(&["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"]);
                format!("({} {op} {})", self.integer(depth - 1), self.integer(depth - 1))
            }
        }
    }

    fn condition(&mut self, depth: usize) -> String {
        let kind = if depth == 0 { self.choices.below(4) } else { self.choices.below(8) };
        match kind {
            0 => {
                let op = self.choices.of(&["==", "!=", "<", "<=", ">", ">="]);
                format!("({} {op} {})", self.integer(depth / 2), self.integer(depth / 2))
            }
            1 => {
                let op = self.choices.of(&["==", "!="]);
                format!("({} {op} \"{}\")", self.text(), self.choices.of(&["", "a", "kworker", "0123456789abcdef"]))
            }
            2 => format!("starts_with({}, \"{}\")", self.text(), self.choices.of(&["", "ba", "/usr/lib/x86_64"])),
            3 => format!("({} in [{}, {}])", self.integer(0), self.choices.of(NUMBERS), self.choices.of(NUMBERS)),
            4 => format!("not({})", self.condition(depth - 1)),
            5 => format!("({} == {})", self.text(), self.text()),
            _ => {
                let op = self.choices.of(&["and", "or"]);
                format!("({} {op} {})", self.condition(depth - 1), self.condition(depth - 1))
            }
        }
    }
}
