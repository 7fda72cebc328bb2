//! The tests of kernels on every kernel, and the document that says what works where.

use super::binaries::{Binaries, TESTS};
use super::cache::Cache;
use super::document::{self, Document};
use super::guest::Guest;
use super::image::{Put, on_path};
use super::kernels::{KERNELS, Kernel};
use super::runs::{Run, run_all};
use super::table::{self, Table, difference};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Of one kernel, two of which run side by side: three times what it takes.
const TIMEOUT: Duration = Duration::from_secs(2400);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Print,
    Write,
    Check,
}

/// # Errors
/// A kernel that cannot be had, a test that fails, or a table that is not the document's.
pub fn run(root: &Path, words: &[&str]) -> Result<ExitCode, String> {
    let (kernels, then) = parse(words)?;
    let cache = Cache::open()?;
    let binaries = Binaries::build(root, &TESTS)?;
    // The oldest kernel first: it takes longest, since skep relocates there by itself.
    let runs = run_all(&cache, &kernels, &binaries, &guest(root, &binaries)?)?;
    conclude(root, &kernels, &runs, then)
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
                kernels = Kernel::all_named(names)?;
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
fn guest(root: &Path, binaries: &Binaries) -> Result<Guest, String> {
    let mut put: Vec<Put> =
        binaries.tests.iter().map(|(name, file)| Put::new(file, &format!("tests/deps/{name}"))).collect();
    put.push(Put::new(binaries.program("skep-workload"), "tests/skep-workload"));
    put.push(Put::new(binaries.compile(&root.join("tests/workloads/usdt.c"), "usdt")?, "bin/usdt"));
    // Some program with a C library, whose functions are probed by name; and what makes namespaces and networks.
    for (program, package) in
        [("setpriv", "util-linux"), ("unshare", "util-linux"), ("nsenter", "util-linux"), ("ip", "iproute2")]
    {
        let file = on_path(program).ok_or_else(|| format!("vm: no {program}\nrun: apt-get install -y {package}"))?;
        // Before the one that busybox has.
        put.push(Put { libraries: true, ..Put::new(file, &format!("sbin/{program}")) });
    }
    let script =
        "status=0; for test in /tests/deps/*; do $test --test-threads=1 --show-output || status=1; done; exit $status";
    let environment = [("SKEP_BINARY", "/bin/skep"), ("SKEP_PRIVILEGED", "1"), ("RUST_BACKTRACE", "0")];
    Ok(Guest {
        put,
        cpus: 1,
        timeout: TIMEOUT,
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..Guest::of(["sh", "-c", script].map(str::to_owned).into())
    })
}

fn conclude(root: &Path, kernels: &[Kernel], runs: &[Run], then: Then) -> Result<ExitCode, String> {
    let mut results = Table::default();
    runs.iter().for_each(|run| results.add(run.kernel.kernel.name, table::column(&run.output)));
    let names: Vec<&str> = kernels.iter().map(|kernel| kernel.name).collect();
    let found = results.markdown(&names);
    if then == Then::Print {
        println!("{found}");
    }
    let mut problems = results.failures();
    problems.extend(runs.iter().filter(|run| run.ended.status != 0).map(Run::to_string));
    let mut document = Document::read(root)?;
    if then == Then::Check {
        let lines = difference(&document.matrix, &found);
        if !lines.is_empty() {
            problems.push(format!("{} differs; run: cargo xtask vm --matrix --write", document::NAME));
        }
        problems.extend(lines);
    }
    if !problems.is_empty() {
        return Err(problems.join("\n"));
    }
    if then == Then::Write {
        document.matrix = text(runs, &found);
        document.write()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn text(runs: &[Run], table: &str) -> String {
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
         The table was last written on:\n\n{kernels}",
        kernels = document::releases(runs)
    )
}
