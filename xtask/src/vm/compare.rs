//! skep and bpftrace side by side: the same workload under both, in one guest, and whether they count the same.

use super::binaries::Binaries;
use super::bpftrace::{self, Bpftrace};
use super::cache::Cache;
use super::counts::Counts;
use super::document::{COMPARISON, Document, releases};
use super::guest::Guest;
use super::kernels::Kernel;
use super::runs::{Run, run_all};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// bpftrace takes ten seconds to begin in a guest, each time.
const TIMEOUT: Duration = Duration::from_secs(1200);
const KERNEL: &str = "6.12";
/// Stands before what each of them prints.
const MARK: &str = "== ";

/// One question to both. Neither has a single quote in it.
struct Question {
    what: &'static str,
    /// Verbs of skep-workload.
    workload: &'static str,
    skep: &'static str,
    /// Restricted to the workload by `cpid`; skep does it by itself.
    bpftrace: &'static str,
    /// Only how many: what is counted is time.
    is_time: bool,
}

const QUESTIONS: [Question; 9] = [
    Question {
        what: "kprobe, number",
        workload: "getpgid 1009",
        skep: r#"probe("kprobe:__x64_sys_getpgid+0").count()"#,
        bpftrace: "kprobe:__x64_sys_getpgid+0 /pid == cpid/ { @ = count(); }",
        is_time: false,
    },
    Question {
        what: "kprobes of a glob, by name",
        workload: "read 101 4241",
        skep: r#"probe("kprobe:vfs_*").filter(arg2 == 4241).by(probe).count()"#,
        bpftrace: "kprobe:vfs_* /pid == cpid && arg2 == 4241/ { @[probe] = count(); }",
        is_time: false,
    },
    Question {
        what: "kretprobe, histogram of return values",
        workload: "read 101 4241 read 41 70 read 23 1",
        skep: r#"probe("kretprobe:vfs_read").hist(retval)"#,
        bpftrace: "kretprobe:vfs_read /pid == cpid/ { @ = hist(retval); }",
        is_time: false,
    },
    Question {
        what: "fentry, number with a condition on an argument",
        workload: "read 101 4241 read 23 70",
        skep: r#"probe("fentry:vfs_read").filter(args.count == 4241).count()"#,
        bpftrace: "fentry:vfs_read /pid == cpid && args.count == 4241/ { @ = count(); }",
        is_time: false,
    },
    Question {
        what: "fexit, histogram of return values, negative ones too",
        workload: "lseek 101 4241 lseek 41 0 lseek 23 -5",
        skep: r#"probe("fexit:__x64_sys_lseek").hist(retval)"#,
        bpftrace: "fexit:__x64_sys_lseek /pid == cpid/ { @ = hist(retval); }",
        is_time: false,
    },
    Question {
        what: "time in a function, number of calls",
        workload: "getpgid 1009",
        skep: r#"span("kprobe:__x64_sys_getpgid", "kretprobe:__x64_sys_getpgid").hist(elapsed)"#,
        bpftrace: "kprobe:__x64_sys_getpgid /pid == cpid/ { @start[tid] = nsecs; } \
            kretprobe:__x64_sys_getpgid /@start[tid]/ { @ = hist(nsecs - @start[tid]); delete(@start[tid]); }",
        is_time: true,
    },
    Question {
        what: "three pointers, to a number",
        workload: "open 101 /tmp/large open 23 /tmp/small",
        skep: r#"probe("fentry:vfs_open").by(args.path.dentry.d_inode.i_size).count()"#,
        bpftrace: "fentry:vfs_open /pid == cpid/ { @[args.path->dentry->d_inode->i_size] = count(); }",
        is_time: false,
    },
    Question {
        what: "three pointers, to a text",
        workload: "open 101 /tmp/large open 23 /tmp/small",
        skep: r#"probe("fentry:vfs_open").by(str(args.path.dentry.d_name.name)).count()"#,
        bpftrace: "fentry:vfs_open /pid == cpid/ { @[str(args.path->dentry->d_name.name)] = count(); }",
        is_time: false,
    },
    Question {
        what: "tracepoint, by a text that it is given",
        workload: "open 101 /tmp/large open 23 /nowhere",
        skep: r#"probe("tracepoint:syscalls:sys_enter_openat").by(str(args.filename)).count()"#,
        bpftrace: "tracepoint:syscalls:sys_enter_openat /pid == cpid/ { @[str(args.filename)] = count(); }",
        is_time: false,
    },
];

/// What both answered.
struct Answers {
    skep: Option<Counts>,
    bpftrace: Option<Counts>,
}

impl Answers {
    fn are_equal(&self) -> bool {
        self.skep.is_some() && self.skep == self.bpftrace
    }

    /// For a cell of the table.
    fn shown(&self) -> String {
        let shown = |counts: &Option<Counts>| counts.as_ref().map_or("failed".to_owned(), Counts::to_string);
        match self.are_equal() {
            true => shown(&self.skep),
            false => format!("**differ**: {} and {}", shown(&self.skep), shown(&self.bpftrace)),
        }
    }
}

/// # Errors
/// A kernel or bpftrace that cannot be had, or answers that differ.
pub fn run(root: &Path, words: &[&str]) -> Result<ExitCode, String> {
    let (kernels, write) = parse(words)?;
    let cache = Cache::open()?;
    let bpftrace = bpftrace::tree(&cache)?;
    let binaries = Binaries::build(root, &[])?;
    let runs = run_all(&cache, &kernels, &binaries, &guest(&bpftrace))?;
    let answers: Vec<Vec<Answers>> = runs.iter().map(|run| answers(&run.output)).collect();
    let table = table(&runs, &answers);
    let is_equal = |answers: &Vec<Answers>| answers.len() == QUESTIONS.len() && answers.iter().all(Answers::are_equal);
    if !answers.iter().all(is_equal) {
        return Err(format!("{table}\nvm: skep and bpftrace differ"));
    }
    println!("{table}");
    if write {
        let mut document = Document::read(root)?;
        document.comparison = text(&bpftrace, &runs, &table);
        document.write()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn parse(words: &[&str]) -> Result<(Vec<Kernel>, bool), String> {
    let (mut kernels, mut write) = (vec![Kernel::named(KERNEL)?], false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--write" => write = true,
            "--kernels" => kernels = Kernel::all_named(words.next().ok_or("vm: `--kernels` lacks its names")?)?,
            other => return Err(format!("vm: what is `{other}`?\nusage:\n{}", super::USAGE)),
        }
    }
    Ok((kernels, write))
}

/// Both start the workload themselves, once everything is attached.
fn guest(bpftrace: &Bpftrace) -> Guest {
    // On a file system of its own: the root's is two, one above the other, and each opens a file.
    let mut script = "mount -t tmpfs tmpfs /tmp\nhead -c 4241 /dev/zero >/tmp/large\n".to_owned();
    script += "head -c 70 /dev/zero >/tmp/small\nstatus=0\n";
    for Question { workload, skep, bpftrace, .. } in QUESTIONS {
        let workload = format!("-c '/usr/bin/skep-workload {workload}' || status=1\n");
        script += &format!("echo '{MARK}'; skep --format json -e '{skep}' {workload}");
        script += &format!("echo '{MARK}'; bpftrace -f json -e '{bpftrace}' {workload}");
    }
    script += "exit $status";
    Guest {
        root: Some(bpftrace.root.clone()),
        cpus: 1,
        memory: "2G".to_owned(),
        timeout: TIMEOUT,
        ..Guest::of(["sh".to_owned(), "-c".to_owned(), script].into())
    }
}

/// Of each question, as far as the guest came.
fn answers(output: &str) -> Vec<Answers> {
    let said: Vec<&str> = output.split(&format!("{MARK}\n")).skip(1).collect();
    let both = |(question, said): (&Question, &[&str])| {
        let counts =
            |counts: Option<Counts>| if question.is_time { counts.map(|counts| counts.total()) } else { counts };
        let bpftrace = said.get(1).and_then(|said| Counts::of_bpftrace(said));
        Answers { skep: counts(Counts::of_skep(said[0])), bpftrace: counts(bpftrace) }
    };
    QUESTIONS.iter().zip(said.chunks(2)).map(both).collect()
}

fn table(runs: &[Run], answers: &[Vec<Answers>]) -> String {
    let kernels: Vec<&str> = runs.iter().map(|run| run.kernel.kernel.name).collect();
    let mut text = format!("| | skep, bpftrace | {} |\n|---|---|{}\n", kernels.join(" | "), "---|".repeat(runs.len()));
    for (n, Question { what, skep, bpftrace, .. }) in QUESTIONS.iter().enumerate() {
        let cell = |answers: &Vec<Answers>| answers.get(n).map_or("did not run".to_owned(), Answers::shown);
        let cells: Vec<String> = answers.iter().map(cell).collect();
        text += &format!("| {what} | `{skep}`<br>`{bpftrace}` | {} |\n", cells.join(" | "));
    }
    text
}

fn text(bpftrace: &Bpftrace, runs: &[Run], table: &str) -> String {
    format!(
        "{COMPARISON}\n\n\
         The same workload under skep and under bpftrace {version}, in one guest: what both counted, by key or bucket. They\n\
         are equal, or it is not written: `cargo xtask vm --compare --write`. CI does not run it: bpftrace takes ten seconds\n\
         to begin there. It takes root and `debootstrap`, which unpacks Debian's sid with bpftrace in `~/.cache/skep-vm`,\n\
         once; `--kernels 5.10,newest` for other kernels.\n\n\
         {table}\n\
         The comparison was last written on:\n\n{kernels}",
        version = bpftrace.version,
        kernels = releases(runs)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_stand_behind_their_marks_as_far_as_the_guest_came() {
        let skep = |count: u64| format!("{{\"type\":\"table\",\"rows\":[{{\"key\":{{}},\"value\":{count}}}]}}\n");
        let bpftrace = |count: u64| format!("{{\"type\": \"map\", \"data\": {{\"@\": {count}}}}}\n");
        let said = format!("{MARK}\n{}{MARK}\n{}{MARK}\n{}", skep(23), bpftrace(23), skep(29));
        let answers = answers(&said);
        assert_eq!(answers.iter().map(Answers::are_equal).collect::<Vec<_>>(), [true, false]);
        assert_eq!(answers[1].shown(), "**differ**: 29 and failed");
    }
}
