//! Functions of the kernel, by each way there is to watch them: exact counts, arguments, return values, names. They run in
//! guests, on kernels that have kprobes; what one of those lacks is said.

use serde_json::json;
use skep_tests::guest::{heard, lacks, release};
use skep_tests::{Output, Skep, guest};
use std::path::Path;

/// What the kernel's functions of system calls are called.
const CALL: &str = if cfg!(target_arch = "x86_64") { "__x64_sys_" } else { "__arm64_sys_" };

/// A script with CALL for the prefix of a system call's function.
fn script(text: &str) -> String {
    text.replace("CALL", CALL)
}

#[track_caller]
fn on(verbs: &str, text: &str) -> Output {
    heard(|| Skep::on(verbs, &script(text)).run())
}

/// How the first chain of a script would be watched.
#[track_caller]
fn why(text: &str) -> String {
    let plan = Skep::new(&["plan", "--format", "json", "-e", &script(text)]).run().ok();
    plan.objects("plan")[0]["units"][0]["why"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn calls_of_one_function_are_exact_by_every_way() {
    guest!();
    let output = on(
        "getpgid 1009",
        r#"
        probe("kprobe:CALLgetpgid").count();
        probe("kprobe:CALLgetpgid+0").count();
        probe("kretprobe:CALLgetpgid").count();
        probe("fentry:CALLgetpgid").count();
        probe("fexit:CALLgetpgid").count();
    "#,
    );
    for n in 0..5 {
        assert_eq!(output.table(n)["rows"][0]["value"], 1009, "chain {n}: {output}");
    }
}

#[test]
fn spans_of_a_function_are_paired_call_by_call_by_every_way() {
    guest!();
    let output = on(
        "getpgid 1009 getppid 101",
        r#"
        span("kprobe:CALLgetpgid", "kretprobe:CALLgetpgid").filter(retval > 0 and elapsed > 0).count();
        span("fentry:CALLgetpgid", "fexit:CALLgetpgid").count();
        span("kprobe:CALLgetppid", "kretprobe:CALLgetppid").count();
    "#,
    );
    let counts = [0, 1, 2].map(|n| output.table(n)["rows"][0]["value"].clone());
    assert_eq!(counts, [1009, 1009, 101].map(|count| json!(count)), "{output}");
    for count in ["unmatched", "nested", "open"] {
        assert_eq!(output.trust(count), 0, "{output}");
    }
}

#[test]
fn trampoline_is_chosen_for_a_single_function() {
    guest!();
    assert!(why(r#"probe("kprobe:vfs_read").count()"#).starts_with("fentry"));
    assert!(why(r#"probe("kretprobe:vfs_read").count()"#).starts_with("fexit"));
    assert!(why(r#"probe("kprobe:vfs_read+0").count()"#).starts_with("a kprobe"));
    // One of several names of one function, and none that the type information has.
    assert!(why(r#"probe("kprobe:CALLgetppid").count()"#).starts_with("a kprobe"));
    let output = on("getppid 101", r#"probe("kprobe:CALLgetppid").count()"#);
    assert_eq!(output.value(), 101);
}

#[test]
fn results_are_exact_and_signed() {
    guest!();
    let output = on(
        "badpgid 23 read 101 4241 stat 29 /nothing/here",
        r#"
        probe("kretprobe:CALLgetpgid").by(retval).count();
        probe("kretprobe:vfs_read").filter(retval == 4241).count();
        probe("kretprobe:vfs_statx").filter(retval < 0).by(retval).count();
        probe("fexit:vfs_read").filter(arg2 == 4241).by(arg2).sum(retval);
        probe("fexit:vfs_read").filter(arg2 == 4241).hist(retval);
    "#,
    );
    let row = |key: &str, value: i64, count: u64| json!([{ "key": { key: value }, "value": count }]);
    assert_eq!(output.table(0)["rows"], row("retval", -3, 23));
    assert_eq!(output.table(1)["rows"][0]["value"], 101);
    // An int: its 32 bits alone would be 4294967294.
    assert_eq!(output.table(2)["rows"], row("retval", -2, 29));
    assert_eq!(output.table(3)["rows"], row("arg2", 4241, 101 * 4241));
    let buckets = json!([{ "low": 4096, "high": 8191, "count": 101 }]);
    assert_eq!(output.table(4)["rows"][0]["value"]["buckets"], buckets);
}

#[test]
fn arguments_are_exact_by_every_way() {
    guest!();
    let output = on(
        "read 101 4241 read 23 4243",
        r#"
        probe("kprobe:vfs_read").filter(arg2 == 4241).count();
        probe("kprobe:vfs_read+0").filter(arg2 == 4241).count();
        probe("fentry:vfs_read").filter(arg2 > 4240 and arg2 < 4244).by(arg2).count();
        probe("kprobe:vfs_*").filter(arg2 == 4243).by(probe).count();
    "#,
    );
    let value = |n: usize| output.table(n)["rows"][0]["value"].clone();
    assert_eq!([value(0), value(1)], [101, 101].map(|value| json!(value)));
    let row = |value: u64, count: u64| json!({ "key": { "arg2": value }, "value": count });
    assert_eq!(output.table(2)["rows"], json!([row(4241, 101), row(4243, 23)]));
    assert_eq!(output.table(3)["rows"], json!([{ "key": { "probe": "kprobe:vfs_read" }, "value": 23 }]));
}

#[test]
fn glob_of_many_functions_is_exact_by_one_link_or_by_many() {
    guest!();
    if !why(r#"probe("kprobe:vfs_*").count()"#).starts_with("kprobe.multi") {
        lacks("a kprobe or trampoline each");
    }
    let output = on(
        "read 101 4241",
        r#"
        probe("kprobe:vfs_*").by(probe).count();
        probe("kretprobe:vfs_*").filter(retval == 4241).by(probe).count();
    "#,
    );
    let read = |table: usize, probe: &str| {
        let rows = output.table(table)["rows"].as_array().cloned().unwrap_or_default();
        rows.iter().find(|row| row["key"]["probe"] == probe).map(|row| row["value"].clone())
    };
    // The workload's start reads libraries, if it has any, before it makes its own calls.
    assert!(read(0, "kprobe:vfs_read").and_then(|count| count.as_u64()) >= Some(101), "{output}");
    assert_eq!(read(1, "kretprobe:vfs_read"), Some(json!(101)), "{output}");
    assert_eq!(output.table(1)["rows"].as_array().map(Vec::len), Some(1), "{output}");
}

#[test]
fn globs_of_many_functions_are_both_ends_of_a_span() {
    guest!();
    let text = r#"span("kprobe:vfs_*", "kretprobe:vfs_*").filter(retval == 4241).by(start.probe, probe).count()"#;
    let output = on("read 101 4241", text);
    assert_eq!(output.rows(), [("kprobe:vfs_read kretprobe:vfs_read".to_owned(), json!(101))], "{output}");
}

#[test]
fn few_functions_of_a_glob_have_their_names() {
    guest!();
    let output = on("getpgid 101", r#"probe(["kprobe:CALLgetpg*", "kretprobe:CALLgetpg*"]).by(probe).count()"#);
    let mut rows = output.rows();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let row = |provider: &str| (format!("{provider}:{CALL}getpgid"), json!(101));
    assert_eq!(rows, [row("kprobe"), row("kretprobe")]);
}

#[test]
fn returns_that_a_kretprobe_misses_are_counted() {
    guest!();
    // A system call without arguments: no trampoline knows it. 67 calls wait at once; far fewer fit a kretprobe.
    let text = script(r#"probe("kretprobe:CALLpause").count()"#);
    let output = Skep::on("pause 67", &text).arguments(&["--strict"]).run();
    if release() < (6, 7) && output.status == Some(0) {
        assert!(output.value().as_u64() < Some(67), "{output}");
        return lacks("missed in silence");
    }
    let output = output.status_is(3);
    let (counted, missed) = (output.trust("counted"), output.trust("missed"));
    assert!(counted + missed == 67 && missed > 0, "{output}");
    assert!(output.err.contains(&format!(", {missed} missed (the kernel could not run the probe)")), "{output}");
}

#[test]
fn calls_inside_of_a_programs_own_run_are_counted_as_missed() {
    guest!();
    // Each new key of the first chain is a call for the second, which makes a new key of it: that is a call too.
    let text = script(
        r#"
        probe("fentry:CALLgetpgid").by(nsecs).count();
        probe("fentry:htab_percpu_map_update_elem").by(nsecs).count();
    "#,
    );
    let output = Skep::on("getpgid 101", &text).run().ok();
    assert_eq!(output.trust("counted"), 202, "{output}");
    assert_eq!(output.trust("missed"), 101, "{output}");
}

#[test]
fn address_is_a_place_too() {
    guest!();
    let symbols = std::fs::read_to_string("/proc/kallsyms").expect("the guest has it");
    let wanted = format!(" T {CALL}getpgid");
    let address = symbols.lines().find_map(|line| line.strip_suffix(wanted.as_str())).expect("the kernel has it");
    let output = on("getpgid 1009", &format!(r#"probe("kprobe:0x{address}").count()"#));
    assert_eq!(output.value(), 1009);
}

#[test]
fn functions_of_modules_take_kprobes() {
    guest!();
    if !Path::new("/sys/module/veth").exists() {
        return lacks("the module veth");
    }
    for point in ["kprobe:veth_xmit+0", "kretprobe:veth:veth_xmit", "kprobe:veth:veth_[xo]*"] {
        Skep::script(&format!(r#"probe("{point}").count().run("10ms");"#)).run().ok();
    }
}

#[test]
fn functions_of_modules_take_trampolines() {
    guest!();
    // New devices, by a command that does nothing else.
    let command = "sh -c 'for n in $(seq 23); do ip link add twenty$n type dummy; ip link del twenty$n; done'";
    let run = |text: &str| Skep::script(text).arguments(&["-c", command]).run();
    let output = run(r#"
        probe("kprobe:dummy_dev_init").count();
        probe("kretprobe:dummy:dummy_dev_init").by(retval).count();
        probe("kprobe:dummy_dev_in*").by(probe).count();
    "#)
    .ok();
    let counts = [0, 1, 2].map(|n| output.table(n)["rows"][0]["value"].clone());
    assert_eq!(counts, [23, 23, 23].map(|count| json!(count)), "{output}");
    let why = why(r#"probe("kprobe:dummy_dev_init").count()"#);
    let output = run(r#"
        probe("fentry:dummy_dev_init").filter(starts_with(str(args.dev.name), "twenty")).count();
        probe("fexit:dummy:dummy_dev_init").by(retval).count();
        probe("fentry:dummy:dummy_dev_in*").by(probe).count();
        span("fentry:dummy_dev_init", "fexit:dummy_dev_init").count();
    "#);
    if output.status == Some(1) && output.err.contains("no type information on module `dummy`") {
        assert!(output.err.ends_with("  = help: kprobe:dummy_dev_init\n"), "{output}");
        assert!(why.starts_with("a kprobe: this kernel has no type information on module"), "{why}");
        return lacks("a kprobe, since modules have no types");
    }
    assert!(why.starts_with("fentry"), "{why}");
    let output = output.ok();
    let counts = [0, 1, 2, 3].map(|n| output.table(n)["rows"][0]["value"].clone());
    assert_eq!(counts, [23, 23, 23, 23].map(|count| json!(count)), "{output}");
}

#[test]
fn what_cannot_be_watched_is_refused_with_its_reason() {
    guest!();
    let cases = [
        ("kprobe:vfs_raed", "no kernel function matches `vfs_raed`", "did you mean `kprobe:vfs_read`?"),
        ("kprobe:vfs_read+1", "no instruction begins there", "objdump"),
        ("kprobe:no_such_function_here", "no kernel function matches", "skep list 'kprobe:*no_such_function_here*'"),
        ("kprobe:asm_exc_divide_error", "protects `asm_exc_divide_error`", "watch a function that calls it"),
        ("kretprobe:do_exit", "`do_exit` never returns", "kprobe:do_exit"),
        ("fentry:CALLgetppid", "lacks `CALLgetppid`", "kprobe:CALLgetppid"),
    ];
    for (point, message, help) in cases.map(|(point, message, help)| (script(point), script(message), script(help))) {
        let output = Skep::new(&["-e", &format!(r#"probe("{point}").count()"#)]).run().status_is(1);
        assert!(output.err.contains(&message) && output.err.contains(&help), "{point}: {output}");
    }
    let gone = Skep::new(&["-e", r#"probe("kretprobe:vfs_read").by(arg0).count()"#]).run().status_is(1);
    assert!(gone.err.contains("fexit:vfs_read keeps them"), "{gone}");
}

#[test]
fn list_shows_what_can_be_watched() {
    guest!();
    for provider in ["kretprobe", "fentry"] {
        let listed = Skep::new(&["list", &format!("{provider}:vfs_rea*")]).run().ok();
        assert!(listed.out.contains(&format!("{provider}:vfs_read\n")), "{listed}");
    }
}
