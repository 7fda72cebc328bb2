//! Recordings: how many events a second a replay takes in, by what its script does with them, and what keeping an event
//! costs the tracer.

use super::flow::Flow;
use super::load::Load;
use super::programs::Programs;
use super::stats::Samples;
use super::stream::COMMON_RATE;
use super::table::{Cell, Goal, Row};
use super::tools::Tool;
use std::process::{Command, Stdio};
use std::time::Instant;

const KIND: &str = "getpgid";
const SOURCE: &str = r#"probe("tracepoint:syscalls:sys_enter_getpgid").filter(pid == {pid})"#;

/// What is done with the events of a stream when they are replayed.
const READERS: [(&str, &str); 3] = [
    (
        "each event to a closure that adds up",
        ".fields(pid, tid, comm, args.pid).each(|e| sum += e.tid); run(); print(sum);",
    ),
    ("each event printed by its format", r#".printf("%d %d %s %d\n", pid, tid, comm, args.pid)"#),
    ("events read and counted, after exit()", ".fields(pid, tid, comm, args.pid).each(|e| exit()); run();"),
];

/// Three rows for the readers of a stream, one for aggregations, two for what recording costs.
///
/// # Errors
/// The load fails, or skep does.
pub fn measure(programs: &Programs, repetitions: u32, seconds: f64) -> Result<Vec<Row>, String> {
    let file = programs.scratch("stream.skep").display().to_string();
    let mut load = Load::paced(programs, KIND, 0, seconds)?;
    let script = |rest: &str| format!("let sum = 0; {}{rest}", SOURCE.replace("{pid}", &load.pid.to_string()));
    let readers = READERS.map(|(what, rest)| (what, script(rest)));
    let tables = script(".by(comm).count(); every(\"10ms\", || sum += 1);");
    let words = |script: &str, file: &str| {
        let record = ["record", "-o", file, "--max-size", "4G", "-e", script];
        command(programs, &record)
    };
    let events = record(programs, &words(&readers[1].1, &file), &mut load)?;
    let mut rows = Vec::new();
    for (what, script) in &readers {
        let mut rates = Samples::default();
        for _ in 0..repetitions {
            rates.push(events as f64 / replay(programs, &file, script)?);
        }
        rows.push(row(format!("replay, {what}"), "events/s", rates, vec![]));
    }
    let mut rates = Samples::default();
    let events = record(programs, &words(&tables, &file), &mut load)?;
    for _ in 0..repetitions {
        rates.push(events as f64 / replay(programs, &file, &tables)?);
    }
    rows.push(row(
        "replay, aggregated in the kernel, a look each 10 ms".into(),
        "events/s",
        rates,
        vec![Goal::Above(1e6)],
    ));
    let mut paced = Load::paced(programs, KIND, COMMON_RATE, seconds)?;
    let script = format!("{}{}", SOURCE.replace("{pid}", &paced.pid.to_string()), READERS[1].1);
    let (live, kept) = (command(programs, &["-e", &script]), words(&script, &file));
    for (what, words) in [("live", live), ("recorded", kept)] {
        let mut cost = Samples::default();
        for _ in 0..repetitions {
            cost.push(Flow::of(programs, KIND, &mut paced, &words, None)?.cost_us());
        }
        rows.push(row(format!("CPU time of the tracer at 50,000 events/s, {what}"), "us per event", cost, vec![]));
    }
    Ok(rows)
}

fn command(programs: &Programs, words: &[&str]) -> Vec<String> {
    std::iter::once(programs.skep.to_string_lossy().into_owned())
        .chain(words.iter().map(|word| (*word).to_owned()))
        .collect()
}

fn row(what: String, unit: &'static str, samples: Samples, goals: Vec<Goal>) -> Row {
    Row { area: "replay", what, unit, cells: vec![(Tool::Skep, Cell::Measured(samples))], goals }
}

/// Records what the load makes; gives how many events that is.
fn record(programs: &Programs, words: &[String], load: &mut Load) -> Result<u64, String> {
    let flow = Flow::of(programs, KIND, load, words, None)?;
    let said = flow.ended.errors;
    if said.contains(" 0 lost") && said.contains("recorded ") { Ok(flow.produced) } else { Err(said) }
}

/// Seconds of a replay, from its start to its exit.
fn replay(programs: &Programs, file: &str, script: &str) -> Result<f64, String> {
    let mut replay = Command::new(&programs.skep);
    replay.args(["replay", "-q", file, "-e", script]).stdout(Stdio::null());
    let began = Instant::now();
    let status = replay.status().map_err(|error| format!("skep replay: {error}"))?;
    if status.success() { Ok(began.elapsed().as_secs_f64()) } else { Err(format!("skep replay: {status}")) }
}
