//! Streams: events printed one by one. Which rate none is lost at, how many arrive at full rate, CPU time for each.

use super::cases::print_each;
use super::flow::Flow;
use super::load::Load;
use super::programs::Programs;
use super::stats::Samples;
use super::table::{Cell, Goal, Row};
use super::tools::Tool;
use super::tracer::Ended;

const TOOLS: [Tool; 3] = [Tool::Skep, Tool::Bpftrace, Tool::C];
/// Events a second that are asked for; 0 is as many as the load makes.
pub const RATES: &[u32] =
    &[25_000, 50_000, 75_000, 100_000, 150_000, 200_000, 300_000, 400_000, 600_000, 800_000, 1_200_000, 0];
pub const FEW_RATES: &[u32] = &[50_000, 200_000, 0];
/// At this rate CPU time is compared: all tools keep up.
pub const COMMON_RATE: u32 = 50_000;

/// What one run came to.
struct Run {
    flow: Flow,
    delivered: u64,
    /// What the tool itself reports.
    reported: u64,
}

impl Run {
    fn lost(&self) -> u64 {
        self.flow.produced.saturating_sub(self.delivered)
    }
}

/// Figures of one tool.
#[derive(Default)]
struct Figures {
    lossless: Samples,
    delivered: Samples,
    share: Samples,
    cpu_us: Samples,
    runs: u32,
    runs_with_loss: u32,
    lost: u64,
    reported: u64,
}

/// Rows, and a sentence a tool on what it lost.
///
/// # Errors
/// The load fails; a tracer that fails only has no figure.
pub fn measure(
    programs: &Programs,
    rates: &[u32],
    repetitions: u32,
    seconds: f64,
) -> Result<(Vec<Row>, Vec<String>), String> {
    let mut figures: [Figures; 3] = Default::default();
    for repetition in 0..repetitions {
        let (mut best, mut losses) = ([0.0f64; 3], [0; 3]);
        for &rate in rates {
            for tool in Tool::in_turn(&TOOLS, repetition) {
                let n = tool as usize;
                // Twice in a row: one loss may be an accident. The full rate is always measured.
                if !programs.has(tool) || figures[n].cpu_us.is_given_up() || (losses[n] >= 2 && rate != 0) {
                    continue;
                }
                let run = match once(programs, tool, rate, seconds) {
                    Ok(run) => run,
                    Err(message) => {
                        figures[n].cpu_us.fail(&format!("{} stream", tool.name()), &message);
                        continue;
                    }
                };
                let is_lossless = run.lost() == 0;
                losses[n] = if is_lossless { 0 } else { losses[n] + 1 };
                if is_lossless {
                    best[n] = best[n].max(run.flow.produced as f64 / run.flow.seconds);
                }
                figures[n].add(&run, rate);
            }
        }
        for tool in TOOLS {
            if programs.has(tool) && !figures[tool as usize].cpu_us.is_given_up() {
                figures[tool as usize].lossless.push(best[tool as usize]);
            }
        }
        eprintln!("stream: repetition {} of {repetitions}", repetition + 1);
    }
    let row = |what: &str, unit, of: fn(&Figures) -> &Samples, goals| {
        let cell = |tool: Tool| match &figures[tool as usize] {
            _ if !programs.has(tool) => Cell::NotInstalled,
            figures => Cell::Measured(of(figures).clone()),
        };
        let cells = TOOLS.map(|tool| (tool, cell(tool))).to_vec();
        Row { area: "stream", what: what.to_owned(), unit, cells, goals }
    };
    let times = vec![Goal::AtLeast(6.0, Tool::Bpftrace)];
    let rows = vec![
        row("highest rate that loses nothing", "events/s", |figures| &figures.lossless, times),
        row("delivered, load unpaced", "events/s", |figures| &figures.delivered, vec![]),
        row("delivered of what was produced, load unpaced", "%", |figures| &figures.share, vec![]),
        row(
            "CPU time of the tracer at 50,000 events/s",
            "us per event",
            |figures| &figures.cpu_us,
            vec![Goal::AtMost(0.05, Tool::Bpftrace)],
        ),
    ];
    let measured = TOOLS.into_iter().filter(|tool| figures[*tool as usize].runs > 0);
    let notes = measured.map(|tool| {
        let Figures { runs, runs_with_loss, lost, reported, .. } = &figures[tool as usize];
        format!(
            "{} lost events in {runs_with_loss} of {runs} runs: {lost} events, of which it reported {reported}.",
            tool.name()
        )
    });
    Ok((rows, notes.collect()))
}

impl Figures {
    fn add(&mut self, run: &Run, rate: u32) {
        let Run { flow, delivered, reported } = run;
        self.runs += 1;
        self.runs_with_loss += u32::from(run.lost() > 0);
        self.lost += run.lost();
        self.reported += reported;
        if rate == 0 {
            self.delivered.push(*delivered as f64 / flow.seconds);
            self.share.push(100.0 * *delivered as f64 / flow.produced as f64);
        }
        if rate == COMMON_RATE && *delivered > 0 {
            self.cpu_us.push(flow.cpu_seconds / *delivered as f64 * 1e6);
        }
    }
}

fn once(programs: &Programs, tool: Tool, rate: u32, seconds: f64) -> Result<Run, String> {
    let case = print_each();
    let mut load = Load::paced(programs, &case.kind, rate, seconds)?;
    let command = case.command(programs, tool, load.pid, false).ok_or("not installed")?;
    let flow = Flow::of(programs, &case.kind, &mut load, &command, None)?;
    let start = format!("{} ", load.pid);
    let lines = flow.ended.output.split(|byte| *byte == b'\n').filter(|line| line.starts_with(start.as_bytes()));
    let delivered = lines.count() as u64;
    Ok(Run { delivered, reported: reported(tool, &flow.ended, delivered)?, flow })
}

/// What the tool says it lost. One that also says what it delivered must have printed as much.
fn reported(tool: Tool, ended: &Ended, printed: u64) -> Result<u64, String> {
    if tool == Tool::Bpftrace {
        let output = String::from_utf8_lossy(&ended.output);
        let lines = output.lines().chain(ended.errors.lines()).filter_map(|line| line.split_once("Lost "));
        return Ok(lines.filter_map(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok()).sum());
    }
    let said = ended.errors.lines().last().unwrap_or_default().replace([',', ':'], "");
    let words: Vec<&str> = said.split_whitespace().collect();
    // skep: `1861 delivered`; C: `delivered 1861`
    let number = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        let beside = if tool == Tool::Skep { at.checked_sub(1)? } else { at + 1 };
        words.get(beside)?.parse::<u64>().ok()
    };
    let (delivered, lost) = (number("delivered").unwrap_or(0), number("lost"));
    if delivered != printed {
        return Err(format!("{printed} lines printed, but it says `{said}`"));
    }
    lost.ok_or_else(|| format!("no loss is reported in `{said}`"))
}
