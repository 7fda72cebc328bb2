//! A trial: one source attached, hit by this thread, and counted; and what follows from the count.
//! Needs CAP_BPF and CAP_PERFMON.

use super::report::State;
use crate::attach_point;
use crate::diagnostic::{Diagnostic, Kind};
use crate::expr::{Expr, Node, Operator};
use crate::kernel::load;
use crate::machine::Machine;
use crate::plan::{Entry, Source};
use crate::points::Mechanism;
use crate::prepare::{self, Attach, Load, Prepared, Restrict};
use crate::session::{Session, Sizes};
use skep_templates::catalog::Catalog;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often a source is hit; a prime number, so that no other count looks like it.
pub const CALLS: u64 = 7;
/// How long sampled events may take to come.
const PATIENCE: Duration = Duration::from_millis(200);
/// A length that nobody else reads; prime.
pub const LENGTH: usize = 4241;

/// What became of one source.
pub struct Verdict {
    pub state: State,
    pub reason: String,
    pub next: Option<String>,
}

/// What an error says as a row of the table.
pub fn failed(error: Diagnostic) -> Verdict {
    let bug = if error.kind == Kind::Bug { "a bug of skep: " } else { "" };
    // It is the doctor who speaks: sending the reader to him would be a circle.
    let next = match error.help.clone() {
        Some(help) if help.contains("skep doctor") => {
            "a seccomp profile, lockdown or an LSM may forbid it: try on the host itself".to_owned()
        }
        Some(help) => help,
        None => "please report it with: skep doctor --json".to_owned(),
    };
    // "failed to attach to `hardware:cycles`: …": the row says what was tried.
    let attached = error.message.strip_prefix("failed to attach to `").and_then(|rest| rest.split_once("`: "));
    let message = attached.map_or(error.message.as_str(), |(_, reason)| reason);
    Verdict { state: State::No, reason: format!("{bug}{message}"), next: Some(next) }
}

pub fn ok(reason: impl Into<String>) -> Result<Verdict, Diagnostic> {
    Ok(Verdict { state: State::Ok, reason: reason.into(), next: None })
}

pub fn degraded(reason: impl Into<String>, next: &str) -> Result<Verdict, Diagnostic> {
    Ok(Verdict { state: State::Degraded, reason: reason.into(), next: Some(next.to_owned()) })
}

/// Every call was counted, some, or none.
///
/// # Errors
/// None was: a machine diagnostic.
pub fn all_of(counted: u64, what: &str) -> Result<Verdict, Diagnostic> {
    let reason = format!("{counted} of {CALLS} {what} counted");
    match counted {
        CALLS => ok(reason),
        0 => Err(Diagnostic::machine(format!("attached, but {reason}"))),
        _ => degraded(reason, "please report it with: skep doctor --json"),
    }
}

/// For events that come by themselves.
///
/// # Errors
/// None came: a machine diagnostic.
pub fn some_of(counted: u64, what: &str) -> Result<Verdict, Diagnostic> {
    match counted {
        0 => Err(Diagnostic::machine(format!("attached, but no {what} came within {} ms", PATIENCE.as_millis()))),
        _ => ok(format!("{what} came")),
    }
}

/// What all trials share.
pub struct Bench {
    pub catalog: Catalog,
    pub machine: Machine,
    /// The same machine, its tracepoints taken by their records where a raw one would be cheaper, its functions by
    /// kprobes where trampolines would be.
    pub plain: Machine,
    /// This thread's name: a pid would be another number in a container.
    pub comm: String,
}

impl Bench {
    /// `probe(text).filter(comm == … and …).count()`
    ///
    /// # Errors
    /// As [`attach_point::parse`].
    pub fn entry(&self, text: &str, test: Option<Expr>) -> Result<Entry, Diagnostic> {
        let mut entry = Entry::new(Source::Probe(vec![(text.to_owned(), attach_point::parse(text)?)]), None);
        let own = equal(Expr::name("comm"), Expr::new(Node::Text(self.comm.clone()), None));
        entry.filter = Some(match test {
            Some(test) => Expr::and(Some(own), test),
            None => own,
        });
        Ok(entry)
    }

    /// As a script's entry number `index`.
    ///
    /// # Errors
    /// As [`prepare::prepare`].
    pub fn prepare(&self, index: usize, entry: &Entry, machine: &Machine) -> Result<Prepared, Diagnostic> {
        prepare::prepare(entry, index, &self.catalog, machine, &Restrict::default())
    }

    /// Attaches, triggers, and says how many hits passed the filter.
    ///
    /// # Errors
    /// As [`Session::start`].
    pub fn count(&self, entry: &Entry, prepared: &Prepared, trigger: impl FnOnce(&Session)) -> Result<u64, Diagnostic> {
        let session = Session::start(&[(entry, prepared)], &self.machine, Sizes::default())?;
        trigger(&session);
        counted(&session, 0)
    }
}

/// Events that passed an entry's filter so far.
///
/// # Errors
/// The counters cannot be read.
pub fn counted(session: &Session, entry: usize) -> Result<u64, Diagnostic> {
    let unread = |error| Diagnostic::machine(format!("failed to read its counters: {}", load::text(&error)));
    session.trust(entry).map(|trust| trust.counted).map_err(unread)
}

pub fn equal(left: Expr, right: Expr) -> Expr {
    Expr::binary(Operator::Equal, left, right)
}

/// `args.NAME == number`
pub fn argument_is(name: &str, number: usize) -> Expr {
    equal(Expr::new(Node::Member(Expr::name("args"), name.into()), None), Expr::int(number as i128))
}

/// One system call each, without arguments.
pub fn call() {
    for _ in 0..CALLS {
        black_box(std::os::unix::process::parent_id());
    }
}

/// One read(2) each, of [`LENGTH`] bytes.
pub fn read() {
    let mut buffer = [0u8; LENGTH];
    if let Ok(mut zero) = File::open("/dev/zero") {
        // The check counts the calls, whatever they gave.
        (0..CALLS).for_each(|_| drop(zero.read(&mut buffer)));
    }
}

/// Computes until events came, or patience ends.
pub fn work(session: &Session) {
    let start = Instant::now();
    while start.elapsed() < PATIENCE && !counted(session, 0).is_ok_and(|counted| counted > 0) {
        black_box((0..100_000u64).fold(0, |sum, n| black_box(sum ^ n)));
    }
}

// Probed, so each has a body that the compiler cannot share with the other's.
#[inline(never)]
extern "C" fn probed(n: u64) -> u64 {
    black_box(n).wrapping_add(23)
}

#[inline(never)]
extern "C" fn probed_too(n: u64) -> u64 {
    black_box(n) ^ 29
}

const PROBED: [extern "C" fn(u64) -> u64; 2] = [probed, probed_too];

/// Where our own functions lie in our own file: no libc is needed, no symbol, and the file may be stripped.
///
/// # Errors
/// /proc/self/maps cannot be read.
pub fn offsets() -> Result<Vec<u64>, Diagnostic> {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let find = |function: &extern "C" fn(u64) -> u64| {
        let address = *function as usize as u64;
        maps.lines().find_map(|line| {
            let mut words = line.split(' ');
            let (from, to) = words.next()?.split_once('-')?;
            let offset = hex(words.nth(1)?)?;
            let (from, to) = (hex(from)?, hex(to)?);
            (from..to).contains(&address).then_some(address - from + offset)
        })
    };
    let found: Option<Vec<u64>> = PROBED.iter().map(find).collect();
    found.ok_or_else(|| Diagnostic::bug("our own functions are not in /proc/self/maps"))
}

/// Counts calls of our own functions at these offsets.
///
/// # Errors
/// As [`Session::start`].
pub fn probe_ourselves(bench: &Bench, offsets: &[u64], returns: bool, load: Load) -> Result<u64, Diagnostic> {
    // Prepared for a clock, then moved to the functions: a script would name them, but they may have no name.
    let entry = bench.entry("interval:s:1", None)?;
    let mut prepared = bench.prepare(0, &entry, &bench.machine)?;
    let template =
        bench.catalog.get("uprobe").ok_or_else(|| Diagnostic::bug("template `uprobe` is not in this binary"))?;
    for unit in &mut prepared.units {
        unit.template = template.clone();
        for program in &mut unit.programs {
            program.load = load.clone();
            let attach = |(n, offset): (usize, &u64)| {
                let path = PathBuf::from("/proc/self/exe");
                let mechanism = Mechanism::Uprobe { path, offset: *offset, semaphore: 0, returns, pid: None };
                Attach { shown: "uprobe:/proc/self/exe".into(), mechanism, cookie: n as u64 + 1, by_cookie: true }
            };
            program.attach = offsets.iter().enumerate().map(attach).collect();
        }
    }
    bench.count(&entry, &prepared, |_| {
        for n in 0..CALLS {
            let function = black_box(PROBED[n as usize % offsets.len()]);
            black_box(function(n));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_were_not_all_counted_degrade_a_source() {
        assert_eq!(all_of(CALLS, "calls").map(|verdict| verdict.state), Ok(State::Ok));
        assert_eq!(all_of(3, "calls").map(|verdict| verdict.state), Ok(State::Degraded));
        assert!(all_of(0, "calls").is_err_and(|error| error.message == "attached, but 0 of 7 calls counted"));
    }

    #[test]
    fn error_does_not_send_the_reader_to_the_doctor_again() {
        let verdict =
            failed(Diagnostic::machine("failed to attach to `hardware:cycles`: no such counter").help("skep doctor"));
        assert_eq!(verdict.reason, "no such counter");
        assert!(verdict.next.is_some_and(|next| !next.contains("skep doctor")));
    }

    #[test]
    fn own_functions_lie_in_the_own_file() {
        let offsets = offsets().unwrap();
        assert!(offsets.len() == 2 && offsets[0] != offsets[1]);
    }
}
