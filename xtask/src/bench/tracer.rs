//! A tracer under watch: started, seen to run, interrupted. tests/bench/watch.c does the watching.

use super::programs::Programs;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A tracer whose first program has run.
pub struct Tracer {
    watch: Child,
    said: BufReader<ChildStdout>,
    output: PathBuf,
    errors: PathBuf,
    pid: u32,
    /// From its start to the first run of one of its programs.
    pub first_ms: f64,
}

/// How a tracer ended.
pub struct Ended {
    /// From SIGINT to its exit.
    pub exit_ms: f64,
    pub peak_kb: f64,
    /// Of its whole life.
    pub cpu_ms: f64,
    /// Its standard output and standard error.
    pub output: Vec<u8>,
    pub errors: String,
}

impl Tracer {
    /// Starts a command line on a CPU, or any, and returns once a program of it has run on an event of this kind.
    ///
    /// # Errors
    /// It ended, or nothing ran; with what it said.
    pub fn start(programs: &Programs, kind: &str, cpu: Option<usize>, command: &[String]) -> Result<Tracer, String> {
        Tracer::start_into(programs, kind, cpu, command, None)
    }

    /// The same, with a file for what it prints.
    pub fn start_into(
        programs: &Programs,
        kind: &str,
        cpu: Option<usize>,
        command: &[String],
        output: Option<&Path>,
    ) -> Result<Tracer, String> {
        let (output, errors) =
            (output.map_or_else(|| programs.scratch("out"), Path::to_owned), programs.scratch("err"));
        let cpu = cpu.map_or("-1".to_owned(), |cpu| cpu.to_string());
        let mut watch = Command::new(programs.built("watch"));
        watch.args([kind, &cpu]).args([&output, &errors]).args(command);
        let spawned = watch.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut watch = spawned.map_err(|error| format!("failed to start the watch: {error}"))?;
        let said = BufReader::new(watch.stdout.take().ok_or("the watch has no output")?);
        let mut tracer = Tracer { watch, said, output, errors, pid: 0, first_ms: 0.0 };
        let words = tracer.listen()?;
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["first", pid, milliseconds, _peak] => {
                tracer.pid = pid.parse().map_err(|_| format!("the watch named pid {pid}"))?;
                tracer.first_ms = number(milliseconds)?;
                Ok(tracer)
            }
            said => Err(format!("{}: {}", said.join(" "), tracer.last_words())),
        }
    }

    /// CPU time of all its threads so far, in seconds.
    pub fn cpu_time(&self) -> Result<f64, String> {
        let folder = format!("/proc/{}/task", self.pid);
        let threads = fs::read_dir(&folder).map_err(|error| format!("failed to read {folder}: {error}"))?;
        let mut nanoseconds = 0.0;
        for thread in threads.flatten() {
            // A thread may end meanwhile.
            let line = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            nanoseconds += line.split_whitespace().next().map_or(Ok(0.0), number)?;
        }
        Ok(nanoseconds / 1e9)
    }

    /// Interrupts it and waits for its end.
    pub fn end(mut self) -> Result<Ended, String> {
        drop(self.watch.stdin.take());
        let words = self.listen()?;
        match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["ended", milliseconds, peak, cpu, "0"] => {
                let output = fs::read(&self.output).map_err(|error| format!("failed to read the output: {error}"))?;
                let (exit_ms, peak_kb, cpu_ms) = (number(milliseconds)?, number(peak)?, number(cpu)?);
                Ok(Ended { exit_ms, peak_kb, cpu_ms, output, errors: self.last_words() })
            }
            said => Err(format!("{}: {}", said.join(" "), self.last_words())),
        }
    }

    fn listen(&mut self) -> Result<Vec<String>, String> {
        let mut line = String::new();
        self.said.read_line(&mut line).map_err(|error| format!("the watch does not answer: {error}"))?;
        Ok(line.split_whitespace().map(str::to_owned).collect())
    }

    fn last_words(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // The end of its input tells the watch to end the tracer.
        drop(self.watch.stdin.take());
        let _status = self.watch.wait();
    }
}

fn number(word: &str) -> Result<f64, String> {
    word.parse().map_err(|_| format!("`{word}` is not a number"))
}
