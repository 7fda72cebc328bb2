//! Expressions in the kernel: filters and computed columns against workloads of which every part is known.

use serde_json::{Value, json};
use skep_tests::{Skep, Workload, privileged, workload};

/// Offsets of the seeks, with how often each comes.
const OFFSETS: [(i64, u64); 5] = [(-5, 23), (0, 11), (3, 101), (1000, 7), (5_000_000_000, 5)];

fn verbs() -> String {
    OFFSETS.map(|(offset, count)| format!("lseek {count} {offset}")).join(" ")
}

/// How many of the seeks should pass.
fn expected(passes: impl Fn(i64) -> bool) -> u64 {
    OFFSETS.iter().filter(|(offset, _)| passes(*offset)).map(|(_, count)| count).sum()
}

/// How many of the seeks pass a filter in the kernel, for many filters in one run.
#[track_caller]
fn passing(filters: &[&str]) -> Vec<u64> {
    let chain = |filter: &&str| format!("probe(\"tracepoint:syscalls:sys_enter_lseek\").filter({filter}).count();\n");
    let output = Skep::on(&verbs(), &filters.iter().map(chain).collect::<String>()).run().ok();
    let count = |table: &Value| table["rows"][0]["value"].as_u64().unwrap_or(0);
    output.objects("table").iter().map(count).collect()
}

#[track_caller]
fn assert_passing(filters: &[(&str, &dyn Fn(i64) -> bool)]) {
    let found = passing(&filters.iter().map(|(text, _)| *text).collect::<Vec<_>>());
    for ((text, passes), found) in filters.iter().zip(found) {
        assert_eq!(found, expected(passes), "filter({text})");
    }
}

#[test]
fn comparisons_are_signed_and_64_bits_wide() {
    privileged!();
    assert_passing(&[
        ("args.offset == -5", &|offset| offset == -5),
        ("args.offset != 3", &|offset| offset != 3),
        ("args.offset < 0", &|offset| offset < 0),
        ("args.offset <= 0", &|offset| offset <= 0),
        ("args.offset > 3", &|offset| offset > 3),
        ("args.offset >= 3", &|offset| offset >= 3),
        ("args.offset == 5_000_000_000", &|offset| offset == 5_000_000_000),
        ("args.offset > 4_999_999_999", &|offset| offset > 4_999_999_999),
        ("args.offset < -5_000_000_000", &|_| false),
        ("7 > args.offset", &|offset| offset < 7),
        ("args.offset", &|offset| offset != 0),
    ]);
}

#[test]
fn conditions_join_with_and_or_not() {
    privileged!();
    assert_passing(&[
        ("args.offset > 0 and args.offset < 1000", &|offset| offset == 3),
        ("args.offset < 0 or args.offset == 1000", &|offset| offset < 0 || offset == 1000),
        ("not(args.offset == 3)", &|offset| offset != 3),
        ("not(args.offset < 0 or args.offset > 3)", &|offset| (0..=3).contains(&offset)),
        // `and` binds tighter than `or`.
        ("args.offset == -5 or args.offset > 0 and args.offset < 10", &|offset| offset == -5 || offset == 3),
        ("(args.offset == -5 or args.offset > 0) and args.offset < 10", &|offset| offset == -5 || offset == 3),
        ("pid == 1 or comm == \"skep-workload\" and args.offset == 1000", &|offset| offset == 1000),
        ("args.offset == 3 and true", &|offset| offset == 3),
    ]);
}

#[test]
fn arithmetic_is_the_kernels_own() {
    privileged!();
    assert_passing(&[
        ("args.offset + 5 == 0", &|offset| offset == -5),
        ("args.offset - 1000 == 0", &|offset| offset == 1000),
        ("args.offset * 2 == -10", &|offset| offset == -5),
        ("args.offset / 2 == -2", &|offset| offset / 2 == -2),
        ("args.offset / 1000 == 5_000_000", &|offset| offset / 1000 == 5_000_000),
        ("args.offset % 2 == -1", &|offset| offset % 2 == -1),
        ("args.offset % 7 == 3", &|offset| offset % 7 == 3),
        ("(args.offset & 3) == 3", &|offset| offset & 3 == 3),
        ("(args.offset | 1) == args.offset", &|offset| offset | 1 == offset),
        ("(args.offset ^ 3) == 0", &|offset| offset == 3),
        ("args.offset << 1 == 6", &|offset| offset << 1 == 6),
        ("args.offset >> 1 == 1", &|offset| offset >> 1 == 1),
        ("args.offset >> 1 == -3", &|offset| offset >> 1 == -3),
        ("-args.offset == 5", &|offset| offset == -5),
        ("(args.offset > 0) + (args.offset > 3) == 2", &|offset| offset > 3),
        ("(args.offset + 1) * (args.offset - 1) == 8", &|offset| (offset + 1).wrapping_mul(offset - 1) == 8),
    ]);
}

#[test]
fn division_by_a_value_that_is_zero_gives_zero() {
    privileged!();
    assert_passing(&[("1000 / args.offset == 0", &|offset| offset == 0 || 1000 / offset == 0)]);
}

#[test]
fn filters_of_one_chain_all_hold() {
    privileged!();
    let script =
        "probe(\"tracepoint:syscalls:sys_enter_lseek\").filter(args.offset > 0).filter(args.offset < 1000).count();";
    let output = Skep::on(&verbs(), script).run().ok();
    assert_eq!(output.value(), 101);
    assert_eq!(output.trust("seen") - output.trust("filtered"), 101);
}

#[test]
fn script_values_become_constants_of_the_filter() {
    privileged!();
    let script = r#"
        let wanted = [-5, 1000];
        fn near(field, value) { field > value - 2 and field < value + 2 }
        probe("tracepoint:syscalls:sys_enter_lseek").filter(near(args.offset, wanted[0]) or near(args.offset, wanted[1])).count();
    "#;
    assert_eq!(Skep::on(&verbs(), script).run().ok().value(), 30);
}

#[test]
fn comm_is_compared_as_text() {
    privileged!();
    let script = r#"
        probe("tracepoint:syscalls:sys_enter_getpgid").filter(comm == "alpha").count();
        probe("tracepoint:syscalls:sys_enter_getpgid").filter(comm != "alpha").count();
        probe("tracepoint:syscalls:sys_enter_getpgid").filter(starts_with(comm, "al")).count();
        probe("tracepoint:syscalls:sys_enter_getpgid").filter(comm == "alph").count();
        probe("tracepoint:syscalls:sys_enter_getpgid").filter("fifteen-letters" == comm).count();
    "#;
    let verbs = "name alpha getpgid 23 name alps getpgid 101 name beta getpgid 7 name fifteen-letters getpgid 11";
    let output = Skep::on(verbs, script).run().ok();
    let count = |n: usize| output.table(n)["rows"].get(0).map_or(json!(0), |row| row["value"].clone());
    assert_eq!([0, 1, 2, 3, 4].map(count), [23, 119, 124, 0, 11].map(|count| json!(count)));
}

#[test]
fn comm_of_the_command_line_restricts_every_chain() {
    privileged!();
    let script = "probe(\"tracepoint:syscalls:sys_enter_getpgid\").count();";
    let output =
        Skep::on("name alpha getpgid 23 name beta getpgid 101", script).arguments(&["--comm", "beta"]).run().ok();
    assert_eq!(output.value(), 101);
}

#[test]
fn texts_of_user_memory_are_compared() {
    privileged!();
    let script = r#"
        let opens = |condition| probe("tracepoint:syscalls:sys_enter_openat").filter(condition).count();
        opens.call(str(args.filename) == "/nowhere/a");
        opens.call(str(args.filename) != "/nowhere/a" and starts_with(str(args.filename), "/nowhere/"));
        opens.call(starts_with(str(args.filename), "/nowhere/ab"));
        opens.call(str(args.filename) == "/nowhere");
    "#;
    let output = Skep::on("open 23 /nowhere/a open 101 /nowhere/ab open 7 /nowhere/b", script).run().ok();
    let count = |n: usize| output.table(n)["rows"].get(0).map_or(json!(0), |row| row["value"].clone());
    assert_eq!([0, 1, 2, 3].map(count), [23, 108, 101, 0].map(|count| json!(count)));
}

#[test]
fn return_values_are_signed_and_sign_bits_are_bits() {
    privileged!();
    let script = r#"
        let calls = probe("tracepoint:syscalls:sys_exit_getpgid");
        calls.filter(args.ret < 0).by(#{ ret: args.ret, errno: -args.ret, low: args.ret & 0xff, odd: args.ret % 2 }).count();
    "#;
    let output = Skep::on("badpgid 23 getpgid 101", script).run().ok();
    let key = json!({ "ret": -3, "errno": 3, "low": 253, "odd": -1 });
    assert_eq!(output.table(0)["rows"], json!([{ "key": key, "value": 23 }]));
}

#[test]
fn addresses_are_unsigned_and_shown_as_hex() {
    privileged!();
    let script = r#"
        probe("tracepoint:syscalls:sys_enter_openat").filter(str(args.filename) == "/nowhere" and args.filename > 4096)
            .fields(args.filename).each(|e| print(`${e.filename} ${e.filename > 4096} ${e.filename == e.filename}`));
        probe("tracepoint:syscalls:sys_enter_openat").filter(str(args.filename) == "/nowhere").by(args.filename).count();
    "#;
    let output = Skep::on("open 23 /nowhere", script).run().ok();
    let rows = output.rows();
    let [(address, count)] = rows.as_slice() else { panic!("{output}") };
    assert!(address.starts_with("0x") && u64::from_str_radix(&address[2..], 16).is_ok() && *count == 23, "{output}");
    assert_eq!(output.texts(), vec![format!("{address} true true"); 23]);
}

#[test]
fn negative_numbers_are_less_than_every_unsigned_value() {
    privileged!();
    let script = r#"
        probe("tracepoint:syscalls:sys_enter_openat").filter(str(args.filename) == "/nowhere" and args.filename > -1).count();
        probe("tracepoint:syscalls:sys_enter_openat").filter(str(args.filename) == "/nowhere" and args.filename < -1).count();
        probe("tracepoint:syscalls:sys_enter_openat").filter(str(args.filename) == "/nowhere" and args.dfd < args.filename).count();
    "#;
    let output = Skep::on("open 23 /nowhere", script).run().ok();
    let count = |n: usize| output.table(n)["rows"].get(0).map_or(json!(0), |row| row["value"].clone());
    assert_eq!([0, 1, 2].map(count), [23, 0, 23].map(|count| json!(count)));
}

#[test]
fn buf_gives_the_bytes_that_are_there() {
    privileged!();
    let script = r#"
        probe("tracepoint:syscalls:sys_enter_openat").filter(str(args.filename) == "/nowhere")
            .by(buf(args.filename, 5), args.dfd).count();
    "#;
    let output = Skep::on("open 23 /nowhere", script).run().ok();
    assert_eq!(output.table(0)["rows"], json!([{ "key": { "filename": "2f6e6f7768", "dfd": -100 }, "value": 23 }]));
}

#[test]
fn texts_are_cut_at_sizes_that_are_no_multiple_of_8() {
    privileged!();
    let script = r#"
        probe("tracepoint:syscalls:sys_enter_openat").filter(str(args.filename) == "/nowhere")
            .by(#{ text: str(args.filename, 5) }).count();
    "#;
    assert_eq!(Skep::on("open 23 /nowhere", script).run().ok().rows(), [("/now".to_owned(), json!(23))]);
}

#[test]
fn records_of_tracepoints_hold_texts() {
    privileged!();
    // They lie behind the record's fixed part.
    let parent = Workload::stopped("exec 23");
    let script = r#"
        probe("tracepoint:sched:sched_process_exec").filter(args.filename == "/bin/true").by(args.filename, comm).count();
        probe("tracepoint:sched:sched_process_fork").filter(pid == PARENT).by(#{ own: args.parent_pid == pid }, args.parent_comm).count();
    "#;
    let run = Skep::script(&script.replace("PARENT", &parent.pid())).start().attached();
    parent.go();
    let output = run.interrupt().ok();
    // Others execute it too, perhaps.
    assert!(output.row("/bin/true true").as_u64() >= Some(23), "{output}");
    let key = json!({ "own": 1, "parent_comm": workload::NAME });
    assert_eq!(output.table(1)["rows"], json!([{ "key": key, "value": 23 }]), "{output}");
}
