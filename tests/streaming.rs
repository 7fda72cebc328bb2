//! Streams: every event in its order, or counted as lost.

use serde_json::json;
use skep_tests::{Output, Skep, Workload, privileged, workload};

/// 1009 calls whose first argument is 1, 2, 3, …
const CALLS: &str = "double 1009";

fn script(text: &str) -> String {
    text.replace("CALLS", &format!("uprobe:{}:workload_double", workload::path()))
}

#[test]
fn every_event_is_delivered_in_its_order() {
    privileged!();
    let text = script(r#"probe("CALLS").fields(arg0, nsecs).each(|e| print(`${e.arg0} ${e.nsecs}`));"#);
    let output = Skep::on(CALLS, &text).run().ok();
    let numbers = |n: usize| -> Vec<u64> {
        let word = |line: &String| line.split(' ').nth(n).and_then(|word| word.parse().ok());
        output.texts().iter().filter_map(word).collect()
    };
    assert_eq!(numbers(0), (1..=1009).collect::<Vec<_>>());
    assert!(numbers(1).is_sorted(), "{output}");
    // A function's calls by processes that are not followed are seen, and filtered.
    let ours = output.trust("seen") - output.trust("filtered");
    assert_eq!([ours, output.trust("delivered"), output.trust("lost")], [1009, 1009, 0]);
}

#[test]
fn closure_keeps_what_it_counts() {
    privileged!();
    let text = script(
        r#"let sum = 0; let n = 0; probe("CALLS").fields(arg0).each(|e| { sum += e.arg0; n += 1; }); run(); print(`${n} ${sum}`);"#,
    );
    assert_eq!(Skep::on(CALLS, &text).run().ok().texts(), [format!("1009 {}", 1009 * 1010 / 2)]);
}

#[test]
fn events_have_the_fields_that_are_asked_for() {
    privileged!();
    let text = script(
        r#"probe("CALLS").filter(arg0 == 23).fields(comm, pid == tid, #{ twice: arg0 * 2 }).each(|e| { print(e.comm); print(e.twice); print(e); });"#,
    );
    let texts = Skep::on(CALLS, &text).run().ok().texts();
    assert_eq!(texts[..2], [workload::NAME.to_owned(), "46".to_owned()]);
    assert_eq!(texts.len(), 3);
    assert!(texts[2].contains("comm=skep-workload") && texts[2].ends_with("twice=46"), "{texts:?}");
}

#[test]
fn stream_without_fields_has_time_process_and_probe() {
    privileged!();
    let text = script(
        r#"probe("CALLS").filter(arg0 == 1).each(|e| print(`${e.pid > 0} ${e.comm} ${e.probe} ${e.nsecs > 0}`));"#,
    );
    let wanted = script("true skep-workload CALLS true");
    assert_eq!(Skep::on(CALLS, &text).run().ok().texts(), [wanted]);
}

#[test]
fn printed_events_stand_in_columns() {
    privileged!();
    let text = script(r#"probe("CALLS").filter(arg0 <= 2).fields(comm, arg0, arg1)"#);
    let output = Skep::new(&["-q", "-c", &workload::line(CALLS), "-e", &text]).run().ok();
    let rows = ["comm             arg0    arg1", "skep-workload    1       7", "skep-workload    2       7"];
    assert_eq!(output.out.lines().collect::<Vec<_>>(), rows);
}

#[test]
fn formatted_events_look_as_the_format_says() {
    privileged!();
    let text =
        script(r#"probe("CALLS").filter(arg0 <= 2).printf("%-14s|%5d|%x|%s%%\n", comm, arg0 * -1, arg0 + 254, probe)"#);
    let output = Skep::new(&["-q", "-c", &workload::line(CALLS), "-e", &text]).run().ok();
    let wanted = script("skep-workload |   -1|ff|CALLS%\nskep-workload |   -2|100|CALLS%\n");
    assert_eq!(output.out, wanted);
}

#[test]
fn json_events_are_one_object_each() {
    privileged!();
    let text = script(r#"probe("CALLS").fields(comm, arg0, #{ address: arg1 })"#);
    let output = Skep::on(CALLS, &text).run().ok();
    let events = output.objects("event");
    assert_eq!(events.len(), 1009);
    assert_eq!(
        events[22],
        json!({ "v": 1, "type": "event", "fields": { "comm": workload::NAME, "arg0": 23, "address": 7 } })
    );
    assert_eq!(
        output.json().last().map(|object| object["type"].clone()),
        Some(json!("trust")),
        "it is the last object"
    );
}

#[test]
fn streams_of_several_sources_come_to_their_own_closures() {
    privileged!();
    let text = script(
        r#"
        let calls = 0; let seeks = 0;
        probe("CALLS").fields(arg0).each(|e| calls += 1);
        probe("tracepoint:syscalls:sys_enter_lseek").fields(args.offset).each(|e| seeks += e.offset);
        let counted = probe("tracepoint:syscalls:sys_enter_lseek").count();
        run();
        print(`${calls} ${seeks} ${counted.value()}`);
    "#,
    );
    assert_eq!(Skep::on("double 1009 lseek 101 3", &text).run().ok().texts(), ["1009 303 101"]);
}

#[track_caller]
fn assert_accounted_for(output: &Output, produced: u64) {
    // A function's calls by processes that are not followed are seen, and filtered.
    assert_eq!(output.trust("seen") - output.trust("filtered"), produced, "{output}");
    assert_eq!(output.trust("delivered") + output.trust("lost"), produced, "{output}");
}

#[test]
fn full_ring_buffer_loses_events_and_counts_each() {
    privileged!();
    let text = script(
        r#"let n = 0; probe("CALLS").fields(arg0, comm).each(|e| { n += 1; for i in 0..99 { } }); run(); print(n);"#,
    );
    let run = Skep::on("double 50021", &text).arguments(&["--ring", "4K", "--strict"]).run().status_is(3);
    assert_accounted_for(&run, 50_021);
    assert!(run.trust("lost_ring") > 0 && run.trust("delivered") > 0, "{run}");
    assert_eq!(run.texts(), [run.trust("delivered").to_string()]);
    assert!(run.err.contains(" events dropped: `each` at 1:12 falls behind"), "{run}");
    let relaxed = Skep::on("double 50021", &text).arguments(&["--ring", "4K"]).run().ok();
    assert_accounted_for(&relaxed, 50_021);
}

#[test]
fn slow_closure_loses_nothing_that_the_ring_can_hold() {
    privileged!();
    let text = script(
        r#"let n = 0; probe("CALLS").fields(arg0).each(|e| { n += 1; let x = 0; while x < 500 { x += 1; } }); run(); print(n);"#,
    );
    let output = Skep::on(CALLS, &text).arguments(&["--strict"]).run().ok();
    assert_accounted_for(&output, 1009);
    assert_eq!(output.texts(), ["1009"]);
}

#[test]
fn interrupt_still_delivers_what_was_seen() {
    privileged!();
    let text = script(
        r#"let n = 0; probe("CALLS").fields(arg0).each(|e| { n += 1; let x = 0; while x < 500 { x += 1; } }); run(); print(n);"#,
    );
    let workload = Workload::stopped(CALLS);
    let run = Skep::script(&text).arguments(&["--pid", &workload.pid()]).start().attached();
    workload.go();
    let output = run.interrupt().ok();
    assert_accounted_for(&output, 1009);
    assert_eq!(output.texts(), ["1009"]);
}

/// The ring is never found empty: only the end of the run ends it.
#[test]
fn run_ends_while_events_come_faster_than_they_are_taken() {
    privileged!();
    let slow = "probe(\"t:syscalls:sys_enter_getpgid\").fields(pid).each(|e| { let x = 0; while x < 7 { x += 1; } });";
    for (text, interrupted) in [(format!("{slow} run(\"1s\");"), false), (format!("{slow} run();"), true)] {
        let workload = Workload::stopped("getpgid 4000000007");
        let options = ["--ring", "64K", "--pid", &workload.pid()];
        let run = Skep::script(&text).arguments(&options).start().attached();
        workload.cont();
        let output = if interrupted {
            std::thread::sleep(std::time::Duration::from_secs(1));
            run.interrupt().ok()
        } else {
            run.end().ok()
        };
        assert_eq!(workload.state(), Some('R'), "the calls go on");
        assert!(output.trust("lost_ring") > 0, "{output}");
        assert_accounted_for(&output, output.trust("seen") - output.trust("filtered"));
    }
}

#[test]
fn exit_in_a_closure_ends_the_run_and_still_accounts_for_all() {
    privileged!();
    let text = script(
        r#"let n = 0; probe("CALLS").fields(arg0).each(|e| { n += 1; if n == 23 { exit(7); } }); at_end(|| print(n));"#,
    );
    let output = Skep::on("double 1009 sleep 100", &text).run().status_is(7);
    assert_eq!(output.texts(), ["23"]);
    // Other tests call the function too, in processes of theirs.
    assert_accounted_for(&output, output.trust("seen") - output.trust("filtered"));
}

#[test]
fn error_in_a_closure_ends_the_run_and_points_into_it() {
    privileged!();
    let text = script("probe(\"CALLS\").fields(arg0)\n    .each(|e| print(e.agr0));");
    let output = Skep::on(CALLS, &text).run().status_is(1);
    assert!(output.err.contains("error: this event has no field `agr0`\n --> -e:2:"), "{output}");
    assert!(output.err.contains("did you mean `arg0`?"), "{output}");
}
