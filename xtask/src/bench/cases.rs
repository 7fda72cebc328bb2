//! What is traced: the same question to each tool, in its own words. `{pid}` stands for the load's.

use super::programs::{Programs, Tool};
use super::table::Goal;
use std::path::Path;
use std::process::Command;

/// One question.
#[derive(Clone)]
pub struct Case {
    pub name: &'static str,
    /// Events as tests/bench/events.h spells them.
    pub kind: String,
    skep: String,
    bpftrace: String,
    /// Object, program, pid and what else tests/bench/tracer.c takes.
    c: Vec<String>,
}

/// What a counted event may cost.
pub const COST_GOALS: [Goal; 2] = [Goal::AtMost(1.0, Tool::Bpftrace), Goal::AtMost(1.25, Tool::C)];

impl Case {
    fn new(name: &'static str, kind: &str, skep: &str, bpftrace: &str, c: [&str; 3]) -> Case {
        let c = c.map(str::to_owned).to_vec();
        Case { name, kind: kind.to_owned(), skep: skep.to_owned(), bpftrace: bpftrace.to_owned(), c }
    }

    /// The command line, or `None` where the tool is not installed. Quiet where nothing but results is wanted.
    pub fn command(&self, programs: &Programs, tool: Tool, pid: u32, quiet: bool) -> Option<Vec<String>> {
        let command = match tool {
            Tool::Skep => {
                let skep = programs.skep.to_string_lossy().into_owned();
                let quiet = quiet.then(|| "-q".to_owned());
                [skep].into_iter().chain(quiet).chain(["-e".to_owned(), self.skep.clone()]).collect()
            }
            Tool::Bpftrace => {
                let mut words = programs.bpftrace.as_ref()?.0.clone();
                words.extend(["-e".to_owned(), self.bpftrace.clone()]);
                words
            }
            Tool::Perf | Tool::Profile | Tool::Empty | Tool::XdpFilter | Tool::Nftables => return None,
            Tool::C if !programs.has_c => return None,
            Tool::C => {
                let mut words = vec![programs.built("tracer").to_string_lossy().into_owned()];
                words.push(programs.built(&self.c[0]).to_string_lossy().into_owned());
                words.extend_from_slice(&self.c[1..]);
                words
            }
        };
        Some(command.into_iter().map(|word: String| word.replace("{pid}", &pid.to_string())).collect())
    }
}

pub fn count_by_pid() -> Case {
    Case::new(
        "count by pid",
        "getpgid",
        r#"probe("tracepoint:syscalls:sys_enter_getpgid").by(pid).count()"#,
        "tracepoint:syscalls:sys_enter_getpgid { @[pid] = count(); }",
        ["count.bpf.o", "by_pid", "0"],
    )
}

pub fn count_by_comm() -> Case {
    Case::new(
        "count by comm",
        "getpgid",
        r#"probe("tracepoint:syscalls:sys_enter_getpgid").by(comm).count()"#,
        "tracepoint:syscalls:sys_enter_getpgid { @[comm] = count(); }",
        ["count.bpf.o", "by_comm", "0"],
    )
}

pub fn histogram() -> Case {
    Case::new(
        "histogram of read sizes",
        "read",
        r#"probe("tracepoint:syscalls:sys_exit_read").filter(pid == {pid}).hist(args.ret)"#,
        "tracepoint:syscalls:sys_exit_read /pid == {pid}/ { @ = hist(args->ret); }",
        ["hist.bpf.o", "read_sizes", "{pid}"],
    )
}

pub fn span() -> Case {
    Case::new(
        "time in a system call, as a histogram",
        "getpgid",
        r#"span("tracepoint:syscalls:sys_enter_getpgid", "tracepoint:syscalls:sys_exit_getpgid").hist(elapsed)"#,
        "tracepoint:syscalls:sys_enter_getpgid { @start[tid] = nsecs; } \
         tracepoint:syscalls:sys_exit_getpgid /@start[tid]/ { @ns = hist(nsecs - @start[tid]); delete(@start[tid]); }",
        ["span.bpf.o", "all", "0"],
    )
}

pub fn filter_miss() -> Case {
    Case::new(
        "filter that does not match",
        "getpgid",
        r#"probe("tracepoint:syscalls:sys_enter_getpgid").filter(pid == 1).by(pid).count()"#,
        "tracepoint:syscalls:sys_enter_getpgid /pid == 1/ { @[pid] = count(); }",
        ["count.bpf.o", "by_pid", "1"],
    )
}

pub fn print_each() -> Case {
    Case::new(
        "print four fields",
        "getpgid",
        r#"probe("tracepoint:syscalls:sys_enter_getpgid").filter(pid == {pid}).printf("%d %d %s %d\n", pid, tid, comm, args.pid)"#,
        r#"tracepoint:syscalls:sys_enter_getpgid /pid == {pid}/ { printf("%d %d %s %d\n", pid, tid, comm, args->pid); }"#,
        ["stream.bpf.o", "stream", "{pid}"],
    )
}

/// Functions that start with `endbr64; push` on x86-64: our own, and one of a library that distributions build.
pub fn functions(programs: &Programs) -> Vec<Case> {
    let own = programs.built("libprobed.so").to_string_lossy().into_owned();
    let mut cases = vec![function(programs, "count calls of an own function by pid", &own, "probed")];
    let folders = [format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH), "/usr/lib64".into(), "/usr/lib".into()];
    match folders.iter().map(|folder| format!("{folder}/libcrypto.so.3")).find(|path| Path::new(path).exists()) {
        Some(library) => cases.push(function(
            programs,
            "count calls of a function of libcrypto by pid",
            &library,
            "AES_set_encrypt_key",
        )),
        None => eprintln!("no libcrypto.so.3: its function is left out"),
    }
    cases
}

fn function(programs: &Programs, name: &'static str, library: &str, function: &str) -> Case {
    let place = format!("{library}:{function}");
    let skep = format!(r#"probe("uprobe:{place}").by(pid).count()"#);
    let bpftrace = format!("uprobe:{place} {{ @[pid] = count(); }}");
    let mut case = Case::new(name, &place, &skep, &bpftrace, ["count.bpf.o", "uprobe_by_pid", "0"]);
    let offset = offset(programs, &skep).unwrap_or_else(|| "0".to_owned());
    case.c.extend([library.to_owned(), function.to_owned(), offset]);
    case
}

/// Where in the function skep places the probe: whoever writes the C by hand would look for the best place, too.
fn offset(programs: &Programs, script: &str) -> Option<String> {
    let plan = Command::new(&programs.skep).args(["plan", "-e", script]).output().ok()?;
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    let (_, rest) = plan.split_once("at +")?;
    Some(rest.chars().take_while(char::is_ascii_digit).collect())
}
