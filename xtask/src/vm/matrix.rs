//! The tests of kernels on every kernel, and the document that says what works where.

use super::binaries::{Binaries, TESTS};
use super::cache::Cache;
use super::fetch::{self, Fetched};
use super::guest::{Ended, Guest};
use super::image::{Put, on_path};
use super::kernels::{KERNELS, Kernel};
use super::table::{self, Table, difference};
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const DOCUMENT: &str = "docs/kernel-matrix.md";
/// One CPU each: two such guests keep two CPUs busy better than one guest with two.
const AT_ONCE: usize = 2;
/// Ten times what it takes.
const TIMEOUT: Duration = Duration::from_secs(900);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Print,
    Write,
    Check,
}

/// One kernel's run.
struct Run {
    kernel: Fetched,
    ended: Ended,
    output: Vec<u8>,
    errors: Vec<u8>,
    seconds: u64,
}

/// # Errors
/// A kernel that cannot be had, a test that fails, or a table that is not the document's.
pub fn run(root: &Path, words: &[&str]) -> Result<ExitCode, String> {
    let (kernels, then) = parse(words)?;
    let cache = Cache::open()?;
    let binaries = Binaries::build(root, &TESTS)?;
    let qemu = fetch::qemu(&cache)?;
    // All of them before the first boot: a matrix without one of its kernels is none.
    let fetched = kernels.iter().map(|kernel| fetch::kernel(&cache, *kernel)).collect::<Result<Vec<_>, _>>()?;
    let guest = guest(&binaries)?;
    let runs = run_all(fetched, |kernel| {
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let ended = guest.run(&cache, &qemu, kernel, &binaries, &mut output, &mut errors)?;
        Ok((ended, output, errors))
    })?;
    conclude(&root.join(DOCUMENT), &kernels, &runs, then)
}

fn parse(words: &[&str]) -> Result<(Vec<Kernel>, Then), String> {
    let (mut kernels, mut then) = (KERNELS.to_vec(), Then::Print);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--write" => then = Then::Write,
            "--check" => then = Then::Check,
            "--kernels" => {
                let names = words.next().ok_or("vm: `--kernels` lacks its names, such as 5.10,newest")?;
                kernels = names.split(',').map(Kernel::named).collect::<Result<_, _>>()?;
            }
            other => return Err(format!("vm: what is `{other}`?\nusage:\n{}", super::USAGE)),
        }
    }
    if then == Then::Write && kernels.len() < KERNELS.len() {
        return Err("vm: `--write` takes all kernels".to_owned());
    }
    Ok((kernels, then))
}

/// All test binaries one after another, where the tests' harness looks for itself and for the workload.
fn guest(binaries: &Binaries) -> Result<Guest, String> {
    let mut put: Vec<Put> =
        binaries.tests.iter().map(|(name, file)| Put::new(file, &format!("tests/deps/{name}"))).collect();
    put.push(Put::new(binaries.program("skep-workload"), "tests/skep-workload"));
    // Some program with a C library, whose functions are probed by name.
    let program = on_path("setpriv").ok_or("vm: no setpriv\nrun: apt-get install -y util-linux")?;
    put.push(Put { libraries: true, ..Put::new(program, "bin/setpriv") });
    let script =
        "status=0; for test in /tests/deps/*; do $test --test-threads=1 --show-output || status=1; done; exit $status";
    let environment = [("SKEP_BINARY", "/bin/skep"), ("SKEP_PRIVILEGED", "1"), ("RUST_BACKTRACE", "0")];
    Ok(Guest {
        put,
        root: None,
        cpus: 1,
        memory: "1G".to_owned(),
        append: String::new(),
        timeout: TIMEOUT,
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        command: ["sh", "-c", script].map(str::to_owned).into(),
    })
}

/// Runs kernels, a few at a time, the oldest first: it takes longest, since skep relocates there by itself.
fn run_all(
    mut kernels: Vec<Fetched>,
    boot: impl Fn(&Fetched) -> Result<(Ended, Vec<u8>, Vec<u8>), String> + Sync,
) -> Result<Vec<Run>, String> {
    kernels.reverse();
    let (queue, runs) = (Mutex::new(kernels), Mutex::new(Vec::new()));
    let next = || queue.lock().ok()?.pop();
    let worker = || -> Result<(), String> {
        while let Some(kernel) = next() {
            let since = Instant::now();
            let (ended, output, errors) = boot(&kernel)?;
            let run = Run { kernel, ended, output, errors, seconds: since.elapsed().as_secs() };
            println!("{}", summary(&run));
            runs.lock().map_err(|_| "vm: a worker panicked")?.push(run);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| "vm: a worker panicked".to_owned())?)
    })?;
    runs.into_inner().map_err(|_| "vm: a worker panicked".to_owned())
}

fn summary(run: &Run) -> String {
    let Fetched { kernel, release, package, .. } = &run.kernel;
    format!("{:<7} Linux {release} ({package}): status {}, {} s", kernel.name, run.ended.status, run.seconds)
}

fn conclude(document: &Path, kernels: &[Kernel], runs: &[Run], then: Then) -> Result<ExitCode, String> {
    let mut results = Table::default();
    for run in runs {
        let output = String::from_utf8_lossy(&run.output);
        results.add(run.kernel.kernel.name, table::column(&output));
        if run.ended.status != 0 {
            eprintln!("== {}\n{output}{}", run.kernel.kernel, String::from_utf8_lossy(&run.errors));
            eprintln!("{}", run.ended.console.as_deref().unwrap_or_default());
        }
    }
    let names: Vec<&str> = kernels.iter().map(|kernel| kernel.name).collect();
    let found = results.markdown(&names);
    if then == Then::Print {
        println!("{found}");
    }
    let mut problems = results.failures();
    problems.extend(runs.iter().filter(|run| run.ended.status != 0).map(summary));
    if problems.is_empty() && then == Then::Write {
        fs::write(document, text(runs, &found)).map_err(|error| format!("failed to write {DOCUMENT}: {error}"))?;
    }
    if then == Then::Check {
        let wanted = fs::read_to_string(document).map_err(|error| format!("failed to read {DOCUMENT}: {error}"))?;
        let lines = difference(&wanted, &found);
        if !lines.is_empty() {
            problems.push(format!("{DOCUMENT} differs; run: cargo xtask vm --matrix --write"));
        }
        problems.extend(lines);
    }
    if problems.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(problems.join("\n")) }
}

fn text(runs: &[Run], table: &str) -> String {
    let mut kernels = String::new();
    for kernel in KERNELS {
        let ran = runs.iter().find(|run| run.kernel.kernel == kernel).map(|run| &run.kernel);
        let shown = ran.map(|ran| format!("{} ({})", ran.release, ran.package)).unwrap_or_default();
        kernels += &format!("- {kernel}: {shown}\n");
    }
    format!(
        "# Kernel matrix\n\n\
         What works on which kernel: each row is a test with a workload of known size, run in an emulated guest. Written by\n\
         `cargo xtask vm --matrix --write`; CI runs it with `--check`, which fails where a row differs or a test fails. `no`\n\
         is what a kernel cannot do by design, with what skep does instead where it does something.\n\n\
         To try something on one of them: `cargo xtask vm 5.10 -- skep doctor`. It takes Debian on x86-64, and no KVM;\n\
         `cargo xtask` lists the options. Kernels come from Debian's archive and stay in `~/.cache/skep-vm`; remove a folder\n\
         there to have its newest version. Emulated processors have no performance counters and no meaningful time, so that\n\
         hardware events and overhead are not in the table.\n\n\
         {table}\n\
         The table was last written on:\n\n{kernels}"
    )
}
