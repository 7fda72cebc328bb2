//! Spans: two events as one, counted exactly, with what was known at the start, and those that have no partner.
//!
//! Tests run side by side and trace one file: whoever looks beyond a process has keys of its own.

use serde_json::{Value, json};
use skep_tests::{Output, Skep, Workload, c, privileged, workload};

const GETPGID: &str = r#"span("tracepoint:syscalls:sys_enter_getpgid", "tracepoint:syscalls:sys_exit_getpgid")"#;

/// A script with BIN for the workload's file and … for a system call's span.
fn script(text: &str) -> String {
    text.replace("BIN", &workload::path()).replace('…', GETPGID)
}

/// `[counted, unmatched, nested, open]` of a run.
#[track_caller]
fn pairs(output: &Output) -> [u64; 4] {
    ["counted", "unmatched", "nested", "open"].map(|count| output.trust(count))
}

#[test]
fn calls_of_a_thread_are_counted_exactly() {
    privileged!();
    let text = script(
        r#"
        ….count();
        ….by(start.args.pid, args.ret > 0).count();
        ….filter(args.ret < 0).hist(elapsed);
    "#,
    );
    let output = Skep::on("getpgid 1009 badpgid 101", &text).run().ok();
    assert_eq!(output.table(0)["rows"], json!([{ "key": {}, "value": 1110 }]));
    let row = |pid: i64, fine: u8, value: u64| json!({ "key": { "pid": pid, "ret": fine }, "value": value });
    assert_eq!(output.table(1)["rows"], json!([row(0, 1, 1009), row(-1, 0, 101)]));
    assert_eq!(output.table(2)["rows"][0]["value"]["n"], 101);
    assert_eq!([output.trust("seen"), output.trust("filtered")], [3330, 1009]);
    assert_eq!(pairs(&output), [2321, 0, 0, 0]);
}

#[test]
fn threads_without_a_place_of_their_own_are_paired_too() {
    privileged!();
    // One after the other, more than there are places, which are never given to another.
    let text = script("….by(start.args.pid, args.ret > 0).count()");
    let output = Skep::on("fork 1103 getpgid 3", &text).run().ok();
    assert_eq!(output.table(0)["rows"], json!([{ "key": { "pid": 0, "ret": 1 }, "value": 3309 }]));
    assert_eq!(pairs(&output), [3309, 0, 0, 0]);
}

#[test]
fn elapsed_is_the_time_that_passed() {
    privileged!();
    let text = r#"span("tracepoint:syscalls:sys_enter_clock_nanosleep", "tracepoint:syscalls:sys_exit_clock_nanosleep").stats(elapsed)"#;
    let output = Skep::on("sleep 41 sleep 83", text).run().ok();
    let value = output.value();
    assert_eq!(value["n"], 2);
    // It never sleeps too short; how much too long is the machine's business.
    assert!((41_000_000..2_000_000_000).contains(&value["min"].as_u64().unwrap_or(0)), "{output}");
    assert!((83_000_000..2_000_000_000).contains(&value["max"].as_u64().unwrap_or(0)), "{output}");
}

#[test]
fn text_of_the_start_outlives_its_memory() {
    privileged!();
    let text =
        script(r#"span("uprobe:BIN:workload_erase", "uretprobe:BIN:workload_erase").by(str(start.arg0)).count()"#);
    let output = Skep::on("erase 23 hello erase 101 world", &text).run().ok();
    assert_eq!(output.rows(), [("world".to_owned(), json!(101)), ("hello".to_owned(), json!(23))]);
}

#[test]
fn start_is_known_in_filter_key_value_and_columns() {
    privileged!();
    let text = script(
        r#"
        ….filter(start.args.pid == -1).count();
        ….filter(start.comm == "before" and comm == "before").by(start.comm).sum(start.args.pid);
        span("uprobe:BIN:workload_double", "uretprobe:BIN:workload_double").filter(start.arg0 > 90).max(start.arg0 * 2 - retval);
        span("uprobe:BIN:workload_greet", "uretprobe:BIN:workload_greet").fields(tid == start.tid, str(start.arg0, 8), start.nsecs + elapsed <= nsecs);
    "#,
    );
    let output =
        Skep::on("name before badpgid 23 name after badpgid 41 double 101 greet 3 hellohello", &text).run().ok();
    assert_eq!(output.table(0)["rows"][0]["value"], 64);
    assert_eq!(output.table(1)["rows"], json!([{ "key": { "comm": "before" }, "value": -23 }]));
    assert_eq!(output.table(2)["rows"][0]["value"], 0);
    let events: Vec<Value> = output.objects("event").iter().map(|event| event["fields"].clone()).collect();
    let event = json!({ "tid == start.tid": 1, "arg0": "hellohe", "start.nsecs + elapsed <= nsecs": 1 });
    assert_eq!(events, [event.clone(), event.clone(), event]);
}

#[test]
fn calls_of_a_function_inside_each_other_are_told_apart() {
    privileged!();
    let text = script(
        r#"span("uprobe:BIN:workload_recurse", "uretprobe:BIN:workload_recurse").by(start.arg0, retval).max(elapsed)"#,
    );
    let output = Skep::on("recurse 1 23", &text).run().ok();
    let mut rows = output.rows();
    rows.sort_by_key(|(_, elapsed)| elapsed.as_u64());
    // The deeper, the shorter; and every call returns its own depth.
    let keys: Vec<String> = rows.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, (0..=23).map(|depth| format!("{depth} {depth}")).collect::<Vec<_>>(), "{output}");
    assert_eq!(pairs(&output), [24, 0, 0, 0]);
}

#[test]
fn key_of_the_script_pairs_what_no_thread_does() {
    privileged!();
    // Key by key, ends in another order than starts, two parts, one of them a text.
    let text = script(
        r#"
        span("uprobe:BIN:workload_begin", "uprobe:BIN:workload_finish").on(arg0, arg0).by(start.arg0 == arg0).count();
        span("uprobe:BIN:workload_begin", "uprobe:BIN:workload_finish").on([arg0 * 2, comm], [arg0 + arg0, comm]).count();
    "#,
    );
    let output = Skep::on("begin 101 70000 finish 41 70060 finish 60 70000 finish 23 99000", &text).run().ok();
    assert_eq!(output.table(0)["rows"], json!([{ "key": { "start.arg0 == arg0": 1 }, "value": 101 }]));
    assert_eq!(output.table(1)["rows"], json!([{ "key": {}, "value": 101 }]));
    assert_eq!(pairs(&output), [202, 46, 0, 0]);
}

#[test]
fn another_process_may_end_what_ours_began() {
    privileged!();
    let (ours, other) =
        (Workload::stopped("begin 101 81000 stop"), Workload::stopped("begin 9 82000 finish 101 81000"));
    let text = script(
        r#"
        span("uprobe:BIN:workload_begin", "uprobe:BIN:workload_finish").on(arg0, arg0)
            .filter(start.arg0 >= 81000 and start.arg0 < 83000).by(start.pid == pid).count()
    "#,
    );
    let run = Skep::script(&text).arguments(&["-p", &ours.pid()]).start().attached();
    ours.go_on();
    other.go();
    let output = run.interrupt().ok();
    assert_eq!(output.rows(), [("0".to_owned(), json!(101))]);
    assert_eq!(output.trust("open"), 0);
}

#[test]
fn start_and_end_may_be_of_different_kinds_and_several() {
    privileged!();
    let text = script(
        r#"
        span("uprobe:BIN:workload_begin", "tracepoint:syscalls:sys_enter_getppid").by(start.arg0).count();
        span(["uprobe:BIN:workload_begin", "uprobe:BIN:workload_greet"], ["uprobe:BIN:workload_finish", "t:syscalls:sys_exit_getpgid"])
            .by(start.probe, probe).count();
    "#,
    );
    let output = Skep::on("begin 1 7 getppid 1 greet 1 x getpgid 1 begin 1 9 finish 1 9", &text).run().ok();
    assert_eq!(output.table(0)["rows"], json!([{ "key": { "arg0": 7 }, "value": 1 }]));
    let row = |start: &str, end: &str| json!({ "key": { "probe": format!("uprobe:{}:workload_{start}", workload::path()), "probe2": end }, "value": 1 });
    let finish = format!("uprobe:{}:workload_finish", workload::path());
    let rows = output.table(1)["rows"].clone();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 2, "{output}");
    assert!(rows.contains(&row("begin", &finish)), "{output}");
    assert!(rows.contains(&row("greet", "tracepoint:syscalls:sys_exit_getpgid")), "{output}");
    // The first chain's last start waits; the second chain's last but one was replaced.
    assert_eq!(pairs(&output), [3, 0, 1, 1]);
}

#[test]
fn starts_and_ends_without_a_partner_are_counted() {
    privileged!();
    let text = script(r#"span("uprobe:BIN:workload_begin", "uprobe:BIN:workload_finish").max(start.arg0)"#);
    // Six starts are replaced by the next; the seventh is ended, by the first of three ends. The last start stays.
    let output = Skep::on("begin 7 1 finish 3 1 begin 5 1", &text).run().ok();
    assert_eq!(output.value(), 7);
    assert_eq!(pairs(&output), [1, 2, 6 + 4, 1]);
    let line = "trust: 1 seen, 0 filtered, 1 counted, 0 lost, 2 ends without a start, 10 starts replaced by another, 1 start still open";
    assert!(output.err.contains(line), "{output}");
}

#[test]
fn starts_take_no_more_room_than_planned() {
    privileged!();
    let text =
        script(r#"span("uprobe:BIN:workload_begin", "uprobe:BIN:workload_finish").on(arg0, arg0).spans(512).count()"#);
    let output = Skep::on("begin 5003 1000", &text).run().ok();
    assert_eq!(pairs(&output)[..3], [0, 0, 0]);
    let open = output.trust("open");
    assert!((1..=512).contains(&open), "{output}");
    assert_eq!(output.trust("evicted"), 5003 - open, "{output}");
    assert!(output.err.contains("starts given up (table full)"), "{output}");
    // Ends whose starts gave way have none; no end is lost.
    let output = Skep::on("begin 5003 1000 finish 5003 1000", &text).run().ok();
    let [counted, unmatched, nested, open] = pairs(&output);
    assert!((1..=512).contains(&counted), "{output}");
    assert_eq!([counted + unmatched, nested, open], [5003, 0, 0]);
    assert_eq!(output.trust("evicted"), unmatched, "{output}");
}

#[test]
fn ends_of_other_processes_do_not_count() {
    privileged!();
    let (ours, other) = (Workload::stopped("getpgid 101"), Workload::stopped("getpgid 1009"));
    let run = Skep::script(&script("….count()")).arguments(&["-p", &ours.pid()]).start().attached();
    let filter = format!("….filter(pid == {} and elapsed > 0).count()", ours.pid());
    let by_filter = Skep::script(&script(&filter)).start().attached();
    other.go();
    ours.go();
    for run in [run, by_filter] {
        let output = run.interrupt().ok();
        assert_eq!(output.value(), 101);
        assert_eq!(pairs(&output), [101, 0, 0, 0]);
        assert!(output.trust("filtered") >= 1009, "{output}");
    }
}

/// 7 calls of writev, and 23 by which 32-bit programs ask for their pid: those have the same number.
const NARROW: &str = "#include <fcntl.h>\n#include <sys/uio.h>\n\
    int main(void)\n{\n\tint fd = open(\"/dev/null\", O_WRONLY);\n\tstruct iovec v = { \"x\", 1 };\n\
    \tfor (int i = 0; i < 7; i++)\n\t\twritev(fd, &v, 1);\n\
    \tfor (int i = 0; i < 23; i++) {\n\t\tlong id = 20;\n\
    \t\t__asm__ volatile(\"int $0x80\" : \"+a\"(id) : : \"memory\", \"r8\", \"r9\", \"r10\", \"r11\");\n\t}\n}\n";

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_of_32_bit_are_no_calls_of_that_name() {
    privileged!();
    let program = c::program(env!("CARGO_TARGET_TMPDIR"), "narrow", NARROW, &["-O1"]).display().to_string();
    let (start, end) = ("tracepoint:syscalls:sys_enter_writev", "tracepoint:syscalls:sys_exit_writev");
    for source in [format!("probe(\"{start}\")"), format!("probe(\"{end}\")"), format!("span(\"{start}\", \"{end}\")")]
    {
        let output = Skep::script(&format!("{source}.count()")).arguments(&["-c", &program]).run().ok();
        assert_eq!(output.value(), 7, "{output}");
        assert_eq!([output.trust("seen"), output.trust("unmatched")], [7, 0], "{output}");
    }
    // What a filter leaves out is counted whatever it was.
    let output =
        Skep::script(&format!("probe(\"{start}\").filter(tid == 0).count()")).arguments(&["-c", &program]).run().ok();
    assert_eq!([output.trust("seen"), output.trust("filtered")], [30, 30], "{output}");
}
