//! One target: run for a while on a copy of its corpus, what libFuzzer tells of it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// What may not be: an input that takes longer, on a machine much slower than any of ours; more memory.
const LIMITS: [&str; 3] = ["-timeout=20", "-rss_limit_mb=1024", "-malloc_limit_mb=512"];

/// What became of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub name: String,
    pub executions: u64,
    /// Parts of the program that were reached.
    pub edges: u64,
    /// Files of the corpus that is checked in, and their bytes.
    pub corpus: (usize, u64),
    pub took: Duration,
    pub finding: Option<Finding>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The first line that says what it is.
    pub what: String,
    /// The input; libFuzzer writes none where the program does not start.
    pub input: Option<PathBuf>,
    pub log: PathBuf,
}

/// Runs one. Inputs that it finds worth keeping stay in `target/corpus`, and are begun with the next time.
///
/// # Errors
/// Its corpus cannot be read, or its program not run.
pub fn run(folder: &Path, programs: &Path, name: &str, seconds: u64, seed: u64) -> Result<Outcome, String> {
    let failed = |error: io::Error| format!("fuzz: {name}: {error}");
    let (seeds, own) = (folder.join("corpus").join(name), folder.join("target/corpus").join(name));
    let findings = folder.join("target/findings");
    fs::create_dir_all(&own).and_then(|()| fs::create_dir_all(&findings)).map_err(failed)?;
    let mut corpus = (0, 0);
    for entry in fs::read_dir(&seeds).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let copied = fs::copy(&path, own.join(path.file_name().unwrap_or_default())).map_err(failed)?;
        corpus = (corpus.0 + 1, corpus.1 + copied);
    }
    let log = findings.join(format!("{name}.log"));
    let begun = Instant::now();
    let mut program = Command::new(programs.join(name));
    program.arg(&own).args(LIMITS).arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1");
    program.arg(format!("-seed={seed}"));
    program.arg(format!("-artifact_prefix={}/{name}-", findings.display()));
    let said = File::create(&log).map_err(failed)?;
    let status = program.stdout(said.try_clone().map_err(failed)?).stderr(said).status().map_err(failed)?;
    let text = String::from_utf8_lossy(&fs::read(&log).map_err(failed)?).into_owned();
    let (executions, edges) = (number(&text, "number_of_executed_units:"), number(&text, " cov:"));
    let finding = (!status.success()).then(|| Finding { what: what(&text), input: input(&text), log });
    Ok(Outcome { name: name.to_owned(), executions, edges, corpus, took: begun.elapsed(), finding })
}

/// The last number behind `word`.
fn number(text: &str, word: &str) -> u64 {
    let last = text.rsplit_once(word).and_then(|(_, rest)| rest.split_whitespace().next());
    last.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn what(text: &str) -> String {
    let mut lines = text.lines().skip_while(|line| !line.contains("panicked at") && !line.contains("ERROR: libFuzzer"));
    let first = lines.next().unwrap_or("it did not run to its end");
    let place = first.split_once("panicked at ").map(|(_, place)| place.trim_end_matches(':'));
    match (place, lines.next()) {
        (Some(place), Some(message)) => format!("{place}: {message}"),
        _ => first.to_owned(),
    }
}

fn input(text: &str) -> Option<PathBuf> {
    let written = text.lines().find_map(|line| line.split_once("Test unit written to "))?;
    Some(PathBuf::from(written.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
#2\tINITED cov: 23 ft: 24 corp: 1/1b exec/s: 0 rss: 40Mb
#97\tNEW    cov: 37 ft: 41 corp: 2/9b lim: 4 exec/s: 0 rss: 41Mb L: 8/8 MS: 1 CMP-
thread '<unnamed>' (7) panicked at runtime/src/a.rs:7:9:
attempt to add with overflow
stack backtrace:
==7== ERROR: libFuzzer: deadly signal
artifact_prefix='x/btf-'; Test unit written to x/btf-crash-0123
stat::number_of_executed_units: 101
";

    #[test]
    fn log_says_how_far_it_came_and_what_was_found() {
        assert_eq!((number(LOG, "number_of_executed_units:"), number(LOG, " cov:")), (101, 37));
        assert_eq!(what(LOG), "runtime/src/a.rs:7:9: attempt to add with overflow");
        assert_eq!(input(LOG), Some("x/btf-crash-0123".into()));
    }

    #[test]
    fn log_without_a_panic_says_what_libfuzzer_does() {
        assert_eq!(
            what("a\n==7== ERROR: libFuzzer: timeout after 20 seconds\n"),
            "==7== ERROR: libFuzzer: timeout after 20 seconds"
        );
        assert_eq!((what(""), input(""), number("", " cov:")), ("it did not run to its end".to_owned(), None, 0));
    }
}
