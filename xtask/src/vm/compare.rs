//! skep and bpftrace side by side: the same workload under both, in one guest, and whether they count the same.

use super::binaries::Binaries;
use super::bpftrace::{self, Bpftrace};
use super::cache::Cache;
use super::counts::Counts;
use super::document::{COMPARISON, Document, releases};
use super::guest::Guest;
use super::kernels::{KERNELS, Kernel};
use super::runs::{Run, run_all};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// bpftrace takes ten seconds to begin in a guest, each time.
const TIMEOUT: Duration = Duration::from_secs(1200);
/// bpftrace asks for Linux 5.15: what it cannot do here is no difference.
const TOO_OLD: &str = "5.10";
/// Stands before what each of them prints.
const MARK: &str = "== ";

/// One question to both. Neither has a single quote in it.
struct Question {
    what: &'static str,
    /// Verbs of skep-workload. What its start does as well is left out by the name that it takes.
    workload: &'static str,
    skep: &'static str,
    /// Restricted to the workload by `cpid`; skep does it by itself.
    bpftrace: &'static str,
    /// The right answer.
    wanted: &'static str,
    /// Only how many: what is counted is time.
    is_time: bool,
}

const QUESTIONS: [Question; 9] = [
    Question {
        what: "kprobe, number",
        workload: "getpgid 1009",
        skep: r#"probe("kprobe:__x64_sys_getpgid+0").count()"#,
        bpftrace: "kprobe:__x64_sys_getpgid+0 /pid == cpid/ { @ = count(); }",
        wanted: "1009",
        is_time: false,
    },
    Question {
        what: "kprobes of a glob, by name",
        workload: "read 101 4241",
        skep: r#"probe("kprobe:vfs_*").filter(arg2 == 4241).by(probe).count()"#,
        bpftrace: "kprobe:vfs_* /pid == cpid && arg2 == 4241/ { @[probe] = count(); }",
        wanted: "kprobe:vfs_read: 101",
        is_time: false,
    },
    Question {
        what: "kretprobe, histogram of return values",
        workload: "name quiet read 101 4241 read 41 70 read 23 1",
        skep: r#"probe("kretprobe:vfs_read").filter(comm == "quiet").hist(retval)"#,
        bpftrace: r#"kretprobe:vfs_read /pid == cpid && comm == "quiet"/ { @ = hist(retval); }"#,
        wanted: "1: 23, 64..127: 41, 4096..8191: 101",
        is_time: false,
    },
    Question {
        what: "fentry, number with a condition on an argument",
        workload: "read 101 4241 read 23 70",
        skep: r#"probe("fentry:vfs_read").filter(args.count == 4241).count()"#,
        bpftrace: "fentry:vfs_read /pid == cpid && args.count == 4241/ { @ = count(); }",
        wanted: "101",
        is_time: false,
    },
    Question {
        what: "fexit, histogram of return values, negative ones too",
        workload: "lseek 101 4241 lseek 41 0 lseek 23 -5",
        skep: r#"probe("fexit:__x64_sys_lseek").hist(retval)"#,
        bpftrace: "fexit:__x64_sys_lseek /pid == cpid/ { @ = hist(retval); }",
        wanted: "..-1: 23, 0: 41, 4096..8191: 101",
        is_time: false,
    },
    Question {
        what: "time in a function, number of calls",
        workload: "getpgid 1009",
        skep: r#"span("kprobe:__x64_sys_getpgid", "kretprobe:__x64_sys_getpgid").hist(elapsed)"#,
        bpftrace: "kprobe:__x64_sys_getpgid /pid == cpid/ { @start[tid] = nsecs; } \
            kretprobe:__x64_sys_getpgid /@start[tid]/ { @ = hist(nsecs - @start[tid]); delete(@start[tid]); }",
        wanted: "1009",
        is_time: true,
    },
    Question {
        what: "three pointers, to a number",
        workload: "name quiet open 101 /tmp/large open 23 /tmp/small",
        skep: r#"probe("fentry:vfs_open").filter(comm == "quiet").by(args.path.dentry.d_inode.i_size).count()"#,
        bpftrace: r#"fentry:vfs_open /pid == cpid && comm == "quiet"/ { @[args.path->dentry->d_inode->i_size] = count(); }"#,
        wanted: "4241: 101, 70: 23",
        is_time: false,
    },
    Question {
        what: "three pointers, to a text",
        workload: "name quiet open 101 /tmp/large open 23 /tmp/small",
        skep: r#"probe("fentry:vfs_open").filter(comm == "quiet").by(str(args.path.dentry.d_name.name)).count()"#,
        bpftrace: r#"fentry:vfs_open /pid == cpid && comm == "quiet"/ { @[str(args.path->dentry->d_name.name)] = count(); }"#,
        wanted: "large: 101, small: 23",
        is_time: false,
    },
    Question {
        what: "tracepoint, by a text that it is given",
        workload: "name quiet open 101 /tmp/large open 23 /nowhere",
        skep: r#"probe("tracepoint:syscalls:sys_enter_openat").filter(comm == "quiet").by(str(args.filename)).count()"#,
        bpftrace: r#"tracepoint:syscalls:sys_enter_openat /pid == cpid && comm == "quiet"/ { @[str(args.filename)] = count(); }"#,
        wanted: "/nowhere: 23, /tmp/large: 101",
        is_time: false,
    },
];

/// What both answered.
struct Answers {
    skep: Option<Counts>,
    bpftrace: Option<Counts>,
}

impl Answers {
    /// Did both give the right one?
    fn are_right(&self, question: &Question, kernel: Kernel) -> bool {
        let is_right = |counts: &Counts| counts.to_string() == question.wanted;
        self.skep.as_ref().is_some_and(is_right) && self.bpftrace.as_ref().map_or(kernel.name == TOO_OLD, is_right)
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.skep, &self.bpftrace) {
            (Some(skep), Some(bpftrace)) if skep == bpftrace => write!(f, "{skep}"),
            (Some(skep), Some(bpftrace)) => write!(f, "**differ**: {skep} and {bpftrace}"),
            (Some(skep), None) => write!(f, "{skep} by skep, bpftrace fails"),
            (None, Some(bpftrace)) => write!(f, "**skep fails**, {bpftrace} by bpftrace"),
            (None, None) => f.write_str("**both fail**"),
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
    let answers: Vec<(Kernel, Vec<Answers>)> =
        runs.iter().map(|run| (run.kernel.kernel, answers(&run.output))).collect();
    let table = table(&answers);
    let are_right = |(kernel, answers): &(Kernel, Vec<Answers>)| {
        let mut each = QUESTIONS.iter().zip(answers);
        answers.len() == QUESTIONS.len() && each.all(|(question, answer)| answer.are_right(question, *kernel))
    };
    let wrong: Vec<&Run> =
        runs.iter().zip(&answers).filter(|(_, answers)| !are_right(answers)).map(|(run, _)| run).collect();
    wrong.iter().for_each(|run| eprintln!("== {}\n{}{}", run.kernel.kernel, run.output, run.errors));
    if !wrong.is_empty() {
        return Err(format!("{table}\nvm: skep and bpftrace differ, or are both wrong"));
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
    let (mut kernels, mut write) = (KERNELS.to_vec(), false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "--write" => write = true,
            "--kernels" => kernels = Kernel::all_named(words.next().ok_or("vm: `--kernels` lacks its names")?)?,
            other => return Err(format!("vm: what is `{other}`?\nusage:\n{}", super::USAGE)),
        }
    }
    if write && kernels.len() < KERNELS.len() {
        return Err("vm: `--write` takes all kernels".to_owned());
    }
    Ok((kernels, write))
}

/// Both start the workload themselves, once everything is attached.
fn guest(bpftrace: &Bpftrace) -> Guest {
    // On a file system of its own: the root's is two, one above the other, and each opens a file.
    let mut script = "mount -t tmpfs tmpfs /tmp\nhead -c 4241 /dev/zero >/tmp/large\n".to_owned();
    script += "head -c 70 /dev/zero >/tmp/small\n";
    for Question { workload, skep, bpftrace, .. } in QUESTIONS {
        let workload = format!("-c '/usr/bin/skep-workload {workload}'\n");
        script += &format!("echo '{MARK}'; skep --format json -e '{skep}' {workload}");
        script += &format!("echo '{MARK}'; bpftrace -f json -e '{bpftrace}' {workload}");
    }
    // Whether they fail shows in the answers: bpftrace may, on one kernel.
    script += "exit 0";
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

fn table(answers: &[(Kernel, Vec<Answers>)]) -> String {
    let mut text = "| | skep, bpftrace | both counted |\n|---|---|---|\n".to_owned();
    for (n, Question { what, skep, bpftrace, .. }) in QUESTIONS.iter().enumerate() {
        text += &format!("| {what} | `{skep}`<br>`{bpftrace}` | {} |\n", cell(n, answers));
    }
    text
}

/// One answer where all kernels gave it, else each with its kernels.
fn cell(question: usize, answers: &[(Kernel, Vec<Answers>)]) -> String {
    let mut kernels: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (kernel, answers) in answers {
        let shown = answers.get(question).map_or("**did not run**".to_owned(), Answers::to_string);
        kernels.entry(shown).or_default().push(kernel.name);
    }
    let several = kernels.len() > 1;
    let part = |(shown, kernels): (String, Vec<&str>)| match several {
        true => format!("{}: {shown}", kernels.join(", ")),
        false => shown,
    };
    kernels.into_iter().map(part).collect::<Vec<_>>().join("<br>")
}

fn text(bpftrace: &Bpftrace, runs: &[Run], table: &str) -> String {
    format!(
        "{COMPARISON}\n\n\
         The same workload under skep and under bpftrace {version}, in the same guest: what both counted, by key or bucket, and\n\
         that is what the workload did. Of times only the number is compared: they are never the same twice. bpftrace asks\n\
         for Linux 5.15: what it cannot do on 5.10 is no difference.\n\n\
         `cargo xtask vm --compare --write` writes it, if both are right. CI does not run it, since bpftrace takes seconds to begin\n\
         in a guest, each time. It takes root and `debootstrap`, which unpacks Debian's sid with bpftrace, once, in\n\
         `~/.cache/skep-vm`.\n\n\
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
        let [old, new] = [KERNELS[0], KERNELS[3]];
        let question = |wanted: &'static str| Question { wanted, ..QUESTIONS[0] };
        assert!(answers[0].are_right(&question("23"), new) && !answers[0].are_right(&question("29"), new));
        assert!(answers[1].are_right(&question("29"), old) && !answers[1].are_right(&question("29"), new));
        let runs = [(old, answers), (new, super::answers(&said.replace("29", "31")))];
        assert_eq!(
            [0, 1].map(|n| cell(n, &runs)),
            ["23", "5.10: 29 by skep, bpftrace fails<br>newest: 31 by skep, bpftrace fails"]
        );
    }
}
