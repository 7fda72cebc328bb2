//! `cargo xtask fuzz …`: its arguments, the targets one after the other, and what came of them.

use super::target::{self, Outcome};
use super::{build, table};
use std::path::Path;
use std::sync::Mutex;

pub const USAGE: &str = "       cargo xtask fuzz [TARGET...] [--for 10s] [--jobs 1] [--seed N] [--write]   run fuzz targets, fail where one finds something
         --seed N                the same choices each time
         --write                 the totals to docs/fuzzing.md; targets: tests/fuzz/targets";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked<'a> {
    targets: Vec<&'a str>,
    seconds: u64,
    jobs: usize,
    /// 0: another one each time.
    seed: u64,
    write: bool,
}

/// # Errors
/// Wrong arguments; targets that do not compile; a finding.
pub fn run(root: &Path, words: &[&str]) -> Result<(), String> {
    let asked = parse(words)?;
    let folder = root.join("tests/fuzz");
    let names = chosen(&known(&folder)?, &asked.targets)?;
    let programs = build::programs(&folder, &names)?;
    let (next, done) = (Mutex::new(names.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..asked.jobs {
            scope.spawn(|| {
                while let Some(name) = next.lock().ok().and_then(|mut next| next.next()) {
                    let outcome = target::run(&folder, &programs, name, asked.seconds, asked.seed);
                    eprintln!("fuzz: {name}: {}", outcome.as_ref().map_or_else(String::clone, said));
                    done.lock().map(|mut done| done.push(outcome)).unwrap_or_default();
                }
            });
        }
    });
    let mut outcomes = done.into_inner().unwrap_or_default().into_iter().collect::<Result<Vec<_>, _>>()?;
    outcomes.sort_by(|a, b| a.name.cmp(&b.name));
    let table = table::table(&outcomes);
    print!("{table}");
    if asked.write {
        write(root, asked.seconds, &table)?;
    }
    match outcomes.iter().filter(|one| one.finding.is_some()).count() {
        0 => Ok(()),
        count => Err(format!("fuzz: {count} of {} targets found something", outcomes.len())),
    }
}

fn said(outcome: &Outcome) -> String {
    let Some(finding) = &outcome.finding else { return format!("{} executions", outcome.executions) };
    let input = finding.input.as_ref().map_or("none".into(), |input| input.display().to_string());
    format!("{}\n  input: {input}\n  log:   {}", finding.what, finding.log.display())
}

fn write(root: &Path, seconds: u64, table: &str) -> Result<(), String> {
    let path = root.join("docs/fuzzing.md");
    let failed = |error: std::io::Error| format!("fuzz: {}: {error}", path.display());
    let document = std::fs::read_to_string(&path).map_err(failed)?;
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = kernel.trim().split('-').next().unwrap_or_default();
    let sentence = format!("Run of {seconds} s a target, on {cpus} CPUs with Linux {kernel}:");
    let text = table::write_into(&document, &sentence, table).ok_or("fuzz: docs/fuzzing.md has no table")?;
    std::fs::write(&path, text).map_err(failed)
}

/// Every target, by its file.
fn known(folder: &Path) -> Result<Vec<String>, String> {
    let folder = folder.join("targets");
    let entries = std::fs::read_dir(&folder).map_err(|error| format!("fuzz: {}: {error}", folder.display()))?;
    let name = |entry: std::fs::DirEntry| Some(entry.path().file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> = entries.flatten().filter_map(name).collect();
    names.sort();
    Ok(names)
}

/// Those that were named; all, where none was.
fn chosen(known: &[String], wanted: &[&str]) -> Result<Vec<String>, String> {
    if wanted.is_empty() {
        return Ok(known.to_vec());
    }
    let one = |name: &&str| match known.iter().find(|known| known == name) {
        Some(name) => Ok(name.clone()),
        None => Err(format!("fuzz: no target `{name}`: {}", known.join(", "))),
    };
    wanted.iter().map(one).collect()
}

fn parse<'a>(words: &[&'a str]) -> Result<Asked<'a>, String> {
    let mut asked = Asked { targets: Vec::new(), seconds: 10, jobs: 1, seed: 0, write: false };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let wrong = || format!("fuzz: what is `{word}`?\nusage:\n{USAGE}");
        let mut number = |unit: &str| {
            let value =
                words.next().and_then(|value| value.strip_suffix(unit)?.parse().ok()).filter(|value| *value > 0);
            value.ok_or_else(|| format!("fuzz: `{word}` lacks its number\nusage:\n{USAGE}"))
        };
        match *word {
            "--for" => asked.seconds = number("s")?,
            "--jobs" => asked.jobs = number("")? as usize,
            "--seed" => asked.seed = number("")?,
            "--write" => asked.write = true,
            option if option.starts_with('-') => return Err(wrong()),
            name => asked.targets.push(name),
        }
    }
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_named_among_the_options() {
        let asked = parse(&["btf", "--for", "7s", "words", "--jobs", "2", "--seed", "5"]).expect("it parses");
        assert_eq!(asked, Asked { targets: vec!["btf", "words"], seconds: 7, jobs: 2, seed: 5, write: false });
        for wrong in [&["--for"][..], &["--for", "7"], &["--for", "0s"], &["--jobs", "x"], &["--all"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn target_that_is_not_known_is_refused() {
        let known = ["btf".to_owned(), "words".to_owned()];
        assert_eq!(chosen(&known, &[]), Ok(known.to_vec()));
        assert_eq!(chosen(&known, &["words"]), Ok(vec!["words".to_owned()]));
        assert_eq!(chosen(&known, &["word"]), Err("fuzz: no target `word`: btf, words".to_owned()));
    }
}
