//! The same questions at other places than system calls: where the scheduler switches tasks, and at functions of libraries.

use super::case::Case;
use super::programs::Programs;
use super::tools::Tool;
use std::path::Path;
use std::process::Command;

/// Of a load whose two threads take turns on one CPU.
pub fn switches() -> Vec<Case> {
    let switch = |name, filter: &str, skep: &str, bpftrace: &str| {
        let skep = format!(r#"probe("tracepoint:sched:sched_switch").filter({filter}).{skep}"#);
        Case::new(name, "switch", &skep, &format!("tracepoint:sched:sched_switch /{filter}/ {bpftrace}"))
    };
    let own = "pid == {pid}";
    vec![
        switch("switches from one task to another by pid", own, "by(pid).count()", "{ @[pid] = count(); }")
            .c(&["count.bpf.o", "switch_by_pid", "{pid}"])
            .argdist(&["-p", "{pid}", "-C", "t:sched:sched_switch():u32:$PID"]),
        switch("by comm", own, "by(comm).count()", "{ @[comm] = count(); }"),
        switch("by pid and comm", own, "by(pid, comm).count()", "{ @[pid, comm] = count(); }"),
        switch("filter that does not match", "pid == 1", "by(pid).count()", "{ @[pid] = count(); }"),
        switch("histogram of priorities", own, "hist(args.prev_prio)", "{ @ = hist(args->prev_prio); }").argdist(&[
            "-p",
            "{pid}",
            "-H",
            "t:sched:sched_switch():int:args->prev_prio",
        ]),
        switch(
            "linear histogram of priorities",
            own,
            "lhist(args.prev_prio, 0, 200, 10)",
            "{ @ = lhist(args->prev_prio, 0, 200, 10); }",
        ),
        switch("sum of priorities", own, "sum(args.prev_prio)", "{ @ = sum(args->prev_prio); }"),
        switch("by kernel stack", own, "by(kstack).count()", "{ @[kstack] = count(); }"),
        switch("by user stack", own, "by(ustack).count()", "{ @[ustack] = count(); }"),
    ]
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
    let place = format!("{own}:probed");
    let call = |name, skep: &str, bpftrace: &str| {
        let skep = format!(r#"probe("uprobe:{place}").{skep}"#);
        Case::new(name, &place, &skep, &format!("uprobe:{place} {bpftrace}"))
    };
    cases.extend([
        call("calls by comm", "by(comm).count()", "{ @[comm] = count(); }"),
        call(
            "calls, filter that does not match",
            "filter(pid == 1).by(pid).count()",
            "/pid == 1/ { @[pid] = count(); }",
        ),
        call("histogram of an argument", "hist(arg1)", "{ @ = hist(arg1); }"),
        call("sum of an argument", "sum(arg1)", "{ @ = sum(arg1); }"),
        call("calls by user stack", "by(ustack).count()", "{ @[ustack] = count(); }"),
        Case::new(
            "time in a function, as a histogram",
            &place,
            &format!(r#"span("uprobe:{place}", "uretprobe:{place}").hist(elapsed)"#),
            &format!(
                "uprobe:{place} {{ @start[tid] = nsecs; }} uretprobe:{place} /@start[tid]/ \
                 {{ @ns = hist(nsecs - @start[tid]); delete(@start[tid]); }}"
            ),
        ),
    ]);
    cases
}

fn function(programs: &Programs, name: &'static str, library: &str, function: &str) -> Case {
    let place = format!("{library}:{function}");
    let skep = format!(r#"probe("uprobe:{place}").by(pid).count()"#);
    let bpftrace = format!("uprobe:{place} {{ @[pid] = count(); }}");
    let offset = offset(programs, &skep).unwrap_or_else(|| "0".to_owned());
    Case::new(name, &place, &skep, &bpftrace)
        .c(&["count.bpf.o", "uprobe_by_pid", "0", library, function, &offset])
        .argdist(&["-C", &format!("p:{place}():u32:$PID")])
        .at_most(0.08, Tool::Bpftrace)
}

/// Where in the function skep places the probe: whoever writes the C by hand would look for the best place, too.
fn offset(programs: &Programs, script: &str) -> Option<String> {
    let plan = Command::new(&programs.skep).args(["plan", "-e", script]).output().ok()?;
    let plan = String::from_utf8_lossy(&plan.stdout).into_owned();
    let (_, rest) = plan.split_once("at +")?;
    Some(rest.chars().take_while(char::is_ascii_digit).collect())
}
