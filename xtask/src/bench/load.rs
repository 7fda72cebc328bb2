//! The load: a pinned process that makes events when told to, and ends when its standard input does.

use super::programs::Programs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

/// The CPU of the load. Tracers are kept on the other one.
pub const LOAD_CPU: usize = 1;
pub const TRACER_CPU: usize = 0;

/// A running tests/bench/load.c.
pub struct Load {
    child: Child,
    output: BufReader<ChildStdout>,
    pub pid: u32,
}

impl Load {
    /// `count` batches of `calls` events each time.
    pub fn batches(programs: &Programs, kind: &str, count: u32, calls: u32) -> Result<Load, String> {
        Load::start(programs, ["batches", kind], [count.to_string(), calls.to_string()])
    }

    /// `rate` events a second for some seconds each time; rate 0 is as many as it can make.
    pub fn paced(programs: &Programs, kind: &str, rate: u32, seconds: f64) -> Result<Load, String> {
        Load::start(programs, ["paced", kind], [rate.to_string(), seconds.to_string()])
    }

    /// As many events as it can make, in batches, for some seconds each time.
    pub fn hindered(programs: &Programs, kind: &str, calls: u32, seconds: f64) -> Result<Load, String> {
        Load::start(programs, ["hindered", kind], [calls.to_string(), seconds.to_string()])
    }

    fn start(programs: &Programs, [mode, kind]: [&str; 2], amounts: [String; 2]) -> Result<Load, String> {
        let mut command = Command::new(programs.built("load"));
        command.args([mode, kind, &LOAD_CPU.to_string()]).args(amounts).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("failed to start the load: {error}"))?;
        let output = child.stdout.take().ok_or("the load has no output")?;
        let mut load = Load { child, output: BufReader::new(output), pid: 0 };
        load.pid = load.numbers()?[0] as u32;
        Ok(load)
    }

    /// The least CPU time a call, in ns, of the batches.
    pub fn cost(&mut self) -> Result<f64, String> {
        Ok(self.go()?[0])
    }

    /// Events made, and seconds that it took.
    pub fn produce(&mut self) -> Result<(u64, f64), String> {
        match self.go()?.as_slice() {
            [events, seconds] => Ok((*events as u64, *seconds)),
            other => Err(format!("the load answered {other:?}")),
        }
    }

    /// Events made, seconds that it took, and those that were lost by batches that something got in the way of.
    pub fn lose(&mut self) -> Result<[f64; 3], String> {
        let answer = self.go()?;
        answer.as_slice().try_into().map_err(|_| format!("the load answered {answer:?}"))
    }

    fn go(&mut self) -> Result<Vec<f64>, String> {
        let input = self.child.stdin.as_mut().ok_or("the load has no input")?;
        input.write_all(b"\n").map_err(|error| format!("the load has ended: {error}"))?;
        self.numbers()
    }

    fn numbers(&mut self) -> Result<Vec<f64>, String> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|error| format!("the load does not answer: {error}"))?;
        let numbers: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        if numbers.is_empty() { Err(format!("the load answered `{}`", line.trim())) } else { Ok(numbers) }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It was asked to end; nobody is left to tell how that went.
        let _status = self.child.wait();
    }
}
