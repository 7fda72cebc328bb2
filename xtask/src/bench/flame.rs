//! Flame graphs: each tool samples a running program at 99 Hz, is interrupted, and leaves an SVG; bpftrace only prints.

use super::load::LOAD_CPU;
use super::programs::Programs;
use super::shares;
use super::stats::Samples;
use super::table::{Cell, Goal, Row};
use super::tools::Tool;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

const TOOLS: [Tool; 4] = [Tool::Skep, Tool::Perf, Tool::Bpftrace, Tool::Profile];
/// How a run ends.
#[derive(Clone, Copy)]
pub enum Until {
    /// Somebody interrupts it, so many milliseconds after its start.
    Interrupted(u32),
    /// It was told how many seconds to sample.
    Over(u32),
}

/// The slowest tool needs a second until it samples.
const INTERRUPTED: Until = Until::Interrupted(2500);
const SECONDS: u32 = 2;

/// What is sampled: its name, and its command line.
pub struct Subject {
    pub name: &'static str,
    command: Vec<String>,
}

/// A running subject, kept on one CPU.
pub struct Running(pub Child);

impl Subject {
    fn all(programs: &Programs) -> Vec<Subject> {
        let text = |path: &Path| path.display().to_string();
        let c = vec![text(&programs.built("flame")), "work".into(), "3600".into()];
        let python = vec!["python3".into(), text(&programs.workloads.join("flame.py")), "3600".into()];
        let mut subjects =
            vec![Subject { name: "C program", command: c }, Subject { name: "python3", command: python }];
        match &programs.debug_skep {
            Some(skep) => {
                // A script may compute for ten seconds.
                let command = [&text(skep), "plan", "-e", "let n = 0; loop { n += 1; }"].map(str::to_owned).to_vec();
                subjects.push(Subject { name: "Rust, debug build", command });
            }
            None => eprintln!("no debug build of skep (cargo build -p skep): it is left out"),
        }
        subjects
    }

    pub fn start(&self) -> Result<Running, String> {
        let mut command = Command::new("taskset");
        command.args(["-c", &LOAD_CPU.to_string()]).args(&self.command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("failed to start {}: {error}", self.name))?;
        // Beyond its start.
        sleep(Duration::from_millis(300));
        Ok(Running(child))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// What one command took, as tests/bench/spent.c says it.
#[derive(Default)]
pub struct Spent {
    last_ms: f64,
    cpu_s: f64,
    busy_ms: f64,
    peak_mb: f64,
}

impl Spent {
    /// Of commands one after another.
    pub fn and(self, next: Spent) -> Spent {
        Spent {
            last_ms: self.last_ms + next.last_ms,
            cpu_s: self.cpu_s + next.cpu_s,
            busy_ms: self.busy_ms,
            peak_mb: self.peak_mb.max(next.peak_mb),
        }
    }
}

/// Runs a command, interrupts it after some milliseconds, or never, and leaves what it prints in a file.
fn spend(programs: &Programs, milliseconds: u32, out: &Path, command: &[String]) -> Result<Spent, String> {
    let errors = out.with_extension("err");
    let mut spent = Command::new(programs.built("spent"));
    spent.arg(milliseconds.to_string()).args([out, &errors]).args(command);
    let said = spent.output().map_err(|error| format!("failed to start `spent`: {error}"))?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let numbers: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers.as_slice() {
        // perf ends itself by the signal that it got.
        [last_ms, cpu_s, busy_ms, peak_kb, status] if *status == 0.0 || *status == 2.0 => {
            Ok(Spent { last_ms: *last_ms, cpu_s: *cpu_s, busy_ms: *busy_ms, peak_mb: peak_kb / 1024.0 })
        }
        [.., status] if *status == 9.0 => Err(format!("{}: killed, since it did not end", command.join(" "))),
        _ => {
            let errors = fs::read_to_string(errors).unwrap_or_default();
            Err(format!("{}: `{}` {}", command.join(" "), said.trim(), errors.trim()))
        }
    }
}

/// Samples a process until the interrupt, and makes `graph` of it: an SVG, or folded text.
pub fn graph(programs: &Programs, tool: Tool, pid: u32, hz: u32, until: Until, graph: &Path) -> Result<Spent, String> {
    let (data, text, folded) = (programs.scratch("data"), programs.scratch("text"), programs.scratch("folded"));
    let words = |line: &str| -> Vec<String> {
        let places = [("{data}", &data), ("{text}", &text), ("{folded}", &folded)];
        let word = |word: &str| {
            let place = places.iter().find(|(name, _)| *name == word).map(|(_, path)| path.display().to_string());
            place.unwrap_or_else(|| word.to_owned())
        };
        line.split_whitespace().map(word).collect()
    };
    let svg = graph.extension().is_some_and(|suffix| suffix == "svg");
    let drawn = |spent: Spent| match svg {
        true => Ok(spent.and(spend(programs, 0, graph, &words("inferno-flamegraph {folded}"))?)),
        false => fs::copy(&folded, graph).map(|_| spent).map_err(|error| error.to_string()),
    };
    let (milliseconds, seconds) = match until {
        Until::Interrupted(milliseconds) => (milliseconds, None),
        Until::Over(seconds) => (0, Some(seconds)),
    };
    let told = |begin: &str, end: &str| seconds.map_or(String::new(), |seconds| format!("{begin}{seconds}{end}"));
    match tool {
        Tool::Skep => {
            let mut command = vec![programs.skep.display().to_string()];
            command.extend(words(&format!("-q flame -p {pid} --hz {hz} {} -o", told("--for ", "s"))));
            command.push(graph.display().to_string());
            spend(programs, milliseconds, &programs.scratch("said"), &command)
        }
        Tool::Perf => {
            let record = words(&format!("perf record -q -F {hz} -g -p {pid} -o {{data}} {}", told("-- sleep ", "")));
            let recorded = spend(programs, milliseconds, &text, &record)?;
            let script = spend(programs, 0, &text, &words("perf script -i {data}"))?;
            drawn(recorded.and(script).and(spend(programs, 0, &folded, &words("inferno-collapse-perf {text}"))?))
        }
        Tool::Profile => {
            let mut command = programs.line(tool).unwrap_or_default().to_vec();
            command.extend(words(&format!("-f -F {hz} -p {pid} {}", told("", ""))));
            let sampled = spend(programs, milliseconds, &folded, &command)?;
            // In another root it does not find the program, resolves nothing, and is quick.
            let said = fs::read_to_string(folded.with_extension("err")).unwrap_or_default();
            match said.lines().find(|line| line.starts_with("Could not open")) {
                Some(line) => Err(format!("profile: {line}")),
                None => drawn(sampled),
            }
        }
        Tool::Bpftrace => {
            let mut command = programs.line(tool).unwrap_or_default().to_vec();
            let end = told("interval:s:", " { exit(); }");
            let script = format!("profile:hz:{hz} /pid == {pid}/ {{ @[kstack, ustack] = count(); }} {end}");
            command.extend(["-e".to_owned(), script]);
            spend(programs, milliseconds, &text, &command)
        }
        _ => Err(format!("{} draws no graphs", tool.name())),
    }
}

/// What one run of a tool says about it, in the order of [`WHAT`].
fn figures(programs: &Programs, tool: Tool, subject: &Subject, svg: &Path) -> Result<[f64; 5], String> {
    let draw = |until| {
        let running = subject.start()?;
        // As if it were the first graph: replacing a file makes file systems write it out.
        let _gone = fs::remove_file(svg);
        graph(programs, tool, running.0.id(), 99, until, svg)
    };
    let whole = draw(Until::Over(SECONDS))?;
    let interrupted = draw(INTERRUPTED)?;
    let beside_ms = whole.last_ms - f64::from(SECONDS) * 1e3;
    Ok([interrupted.last_ms, beside_ms, whole.cpu_s * 1e3, whole.peak_mb, interrupted.busy_ms])
}

const WHAT: [(&str, &str); 5] = [
    ("end of sampling to SVG", "ms"),
    ("start to SVG, less the sampling", "ms"),
    ("CPU time in all", "ms"),
    ("peak memory", "MB"),
    ("CPU time while it samples", "ms/s"),
];

/// Five rows a program, and how much skep's names agree with perf's.
pub fn measure(programs: &Programs, repetitions: u32) -> (Vec<Row>, Vec<String>) {
    let subjects = Subject::all(programs);
    let svg = programs.scratch("graph.svg");
    let mut measured: BTreeMap<(usize, Tool), [Samples; WHAT.len()]> = BTreeMap::new();
    for repetition in 0..repetitions {
        for (n, subject) in subjects.iter().enumerate() {
            for tool in Tool::in_turn(&TOOLS, repetition).into_iter().filter(|tool| programs.has(*tool)) {
                let samples = measured.entry((n, tool)).or_default();
                if samples[0].is_given_up() {
                    continue;
                }
                match figures(programs, tool, subject, &svg) {
                    Ok(of) => samples.iter_mut().zip(of).for_each(|(samples, figure)| samples.push(figure)),
                    Err(message) => samples[0].fail(&format!("{} {}", tool.name(), subject.name), &message),
                }
            }
        }
        eprintln!("flame: repetition {} of {repetitions}", repetition + 1);
    }
    let mut rows = Vec::new();
    for (n, subject) in subjects.iter().enumerate() {
        let goals = [
            vec![Goal::AtMost(0.1, Tool::Perf), Goal::AtMost(1.0, Tool::Profile)],
            vec![Goal::AtMost(1.0, Tool::Profile)],
            vec![],
            vec![Goal::Below(25.0)],
            vec![],
        ];
        for (figure, ((what, unit), goals)) in WHAT.into_iter().zip(goals).enumerate() {
            let cell = |tool: Tool| match measured.get(&(n, tool)) {
                Some(samples) => Cell::Measured(samples[figure].clone()),
                None => Cell::NotInstalled,
            };
            let cells = TOOLS.map(|tool| (tool, cell(tool))).to_vec();
            rows.push(Row { area: "flame", what: format!("{}: {what}", subject.name), unit, cells, goals });
        }
    }
    let mut notes = vec![
        "Graphs: 99 Hz for 2 s; the first and the last row of each program are of runs that are interrupted 2.5 s after \
         their start. perf is `perf record -g`, `perf script`, inferno-collapse-perf \
         and inferno-flamegraph; profile is that of libbpf-tools and inferno-flamegraph; bpftrace prints stacks and \
         draws nothing."
            .to_owned(),
    ];
    if programs.has(Tool::Perf) {
        for subject in &subjects {
            let compared = shares::compare(programs, subject);
            notes.push(compared.unwrap_or_else(|why| format!("{}: names are not compared: {why}", subject.name)));
        }
    }
    (rows, notes)
}
