//! What is traced: the questions of all areas.

use super::case::Case;
use super::tools::Tool;

/// How far those with no language of their own answer the same question.
pub const OTHERS: &str = "libbpf-tools is `syscount -P`, which has no filter by system call: it counts all of them, where \
     they return, and none of its siblings counts or sums what these rows do. BCC is `argdist`, which compiles C at each start \
     and prints nothing when it is interrupted; it has no sums, and no pairs of tracepoints. For both, too, start ends with the \
     first run of a program that they hold.";

pub fn count_by_pid() -> Case {
    Case::new(
        "count by pid",
        "getpgid",
        r#"probe("tracepoint:syscalls:sys_enter_getpgid").by(pid).count()"#,
        "tracepoint:syscalls:sys_enter_getpgid { @[pid] = count(); }",
    )
    .c(&["count.bpf.o", "by_pid", "0"])
    .ask(Tool::LibbpfTools, &["-P"])
    .argdist(&["-C", "t:syscalls:sys_enter_getpgid():u32:$PID"])
    .at_most(0.67, Tool::Bpftrace)
    .at_most(1.05, Tool::C)
}

pub fn histogram() -> Case {
    Case::new(
        "histogram of read sizes",
        "read",
        r#"probe("tracepoint:syscalls:sys_exit_read").filter(pid == {pid}).hist(args.ret)"#,
        "tracepoint:syscalls:sys_exit_read /pid == {pid}/ { @ = hist(args->ret); }",
    )
    .c(&["hist.bpf.o", "read_sizes", "{pid}"])
    .argdist(&["-p", "{pid}", "-H", "t:syscalls:sys_exit_read():int:args->ret"])
    .at_most(0.85, Tool::Bpftrace)
}

pub fn span() -> Case {
    Case::new(
        "time in a system call, as a histogram",
        "getpgid",
        r#"span("tracepoint:syscalls:sys_enter_getpgid", "tracepoint:syscalls:sys_exit_getpgid").hist(elapsed)"#,
        "tracepoint:syscalls:sys_enter_getpgid { @start[tid] = nsecs; } \
         tracepoint:syscalls:sys_exit_getpgid /@start[tid]/ { @ns = hist(nsecs - @start[tid]); delete(@start[tid]); }",
    )
    .c(&["span.bpf.o", "all", "0"])
    .at_most(0.45, Tool::Bpftrace)
}

/// What is counted, and how: one event, at its dearest with both its stacks.
pub fn counted() -> Vec<Case> {
    let enter = |name, skep: &str, bpftrace: &str| {
        let skep = format!(r#"probe("tracepoint:syscalls:sys_enter_getpgid").{skep}"#);
        Case::new(name, "getpgid", &skep, &format!("tracepoint:syscalls:sys_enter_getpgid {bpftrace}"))
    };
    let filtered = |name, pid: &str| {
        let [skep, bpftrace] =
            [format!("filter(pid == {pid}).by(pid).count()"), format!("/pid == {pid}/ {{ @[pid] = count(); }}")];
        enter(name, &skep, &bpftrace)
            .c(&["count.bpf.o", "by_pid", pid])
            .ask(Tool::LibbpfTools, &["-P", "-p", pid])
            .argdist(&["-p", pid, "-C", "t:syscalls:sys_enter_getpgid():u32:$PID"])
    };
    let read_by_load =
        |skep: &str| format!(r#"probe("tracepoint:syscalls:sys_exit_read").filter(pid == {{pid}}).{skep}"#);
    let read = |name, skep: &str, bpftrace: &str| {
        let bpftrace = format!("tracepoint:syscalls:sys_exit_read /pid == {{pid}}/ {bpftrace}");
        Case::new(name, "read", &read_by_load(skep), &bpftrace)
    };
    vec![
        count_by_pid(),
        enter("count by comm", "by(comm).count()", "{ @[comm] = count(); }")
            .c(&["count.bpf.o", "by_comm", "0"])
            .at_most(0.67, Tool::Bpftrace)
            .at_most(1.05, Tool::C),
        enter("count by pid and comm", "by(pid, comm).count()", "{ @[pid, comm] = count(); }"),
        filtered("filter that matches", "{pid}"),
        filtered("filter that does not match", "1").at_most(0.55, Tool::Bpftrace),
        histogram(),
        read("histogram of read sizes by comm", "by(comm).hist(args.ret)", "{ @[comm] = hist(args->ret); }")
            .at_most(1.0, Tool::Bpftrace),
        read(
            "linear histogram of read sizes",
            "lhist(args.ret, 0, 4096, 256)",
            "{ @ = lhist(args->ret, 0, 4096, 256); }",
        ),
        // bpftrace has none.
        Case::new("quantiles of read sizes", "read", &read_by_load("quantiles(args.ret)"), ""),
        read("sum of read sizes", "sum(args.ret)", "{ @ = sum(args->ret); }").at_most(1.0, Tool::Bpftrace),
        enter("count by kernel stack", "by(kstack).count()", "{ @[kstack] = count(); }"),
        enter("count by user stack", "by(ustack).count()", "{ @[ustack] = count(); }"),
    ]
}

pub fn print_each() -> Case {
    printed("print four fields").c(STREAMED)
}

pub fn print_to_nobody() -> Case {
    printed("to /dev/null").c(STREAMED).discarded()
}

pub fn print_as_json() -> Case {
    printed("as JSON").ask(Tool::Skep, &["--format", "json"]).ask(Tool::Bpftrace, &["-f", "json"])
}

/// The same four fields to a closure, which adds up. bpftrace has nothing of the kind, and prints them.
pub fn each_to_closure() -> Case {
    Case::new(
        "to a closure",
        "getpgid",
        r#"let sum = 0; probe("tracepoint:syscalls:sys_enter_getpgid").filter(pid == {pid}).fields(pid, tid, comm, args.pid).each(|e| sum += e.tid); run(); print(sum);"#,
        PRINTED,
    )
    .at_most(0.2, Tool::Bpftrace)
}

fn printed(name: &'static str) -> Case {
    Case::new(
        name,
        "getpgid",
        r#"probe("tracepoint:syscalls:sys_enter_getpgid").filter(pid == {pid}).printf("%d %d %s %d\n", pid, tid, comm, args.pid)"#,
        PRINTED,
    )
}

/// By hand, and by bpftrace.
const STREAMED: &[&str] = &["stream.bpf.o", "stream", "{pid}"];
const PRINTED: &str =
    r#"tracepoint:syscalls:sys_enter_getpgid /pid == {pid}/ { printf("%d %d %s %d\n", pid, tid, comm, args->pid); }"#;

/// A table of so many keys. bpftrace has room for them where its environment says so, by one name or the other.
pub fn keys(keys: u32) -> Case {
    let room = keys + 1000;
    let names = ["BPFTRACE_MAX_MAP_KEYS", "BPFTRACE_MAP_KEYS_MAX"];
    Case::new(
        "",
        "pids",
        &format!(r#"probe("tracepoint:syscalls:sys_enter_getpgid").by(args.pid).count().entries({room})"#),
        "tracepoint:syscalls:sys_enter_getpgid { @[args->pid] = count(); }",
    )
    .environment(names.map(|name| format!("{name}={room}")).to_vec())
}

/// Calls by their chain, of which each call of `function` makes as many as the library has steps.
pub fn chains(library: &str, function: &str) -> Case {
    Case::new(
        "",
        &format!("{library}:{function}"),
        r#"probe("tracepoint:syscalls:sys_enter_getpgid").filter(pid == {pid}).by(ustack).count()"#,
        "tracepoint:syscalls:sys_enter_getpgid /pid == {pid}/ { @[ustack] = count(); }",
    )
}

/// All functions of a library, the first of which is called.
pub fn all_functions(library: &str, first: &str) -> Case {
    let names = ["BPFTRACE_MAX_PROBES", "BPFTRACE_MAX_BPF_PROGS"];
    Case::new(
        "",
        &format!("{library}:{first}"),
        &format!(r#"probe("uprobe:{library}:many_*").count()"#),
        &format!("uprobe:{library}:many_* {{ @ = count(); }}"),
    )
    .environment(names.map(|name| format!("{name}=4096")).to_vec())
}
