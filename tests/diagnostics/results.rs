//! Runs and what they give, used wrongly.

use skep_tests::{Skep, golden, privileged, workload};

#[test]
fn run_inside_a_run_is_an_error_at_the_inner_one() {
    privileged!();
    let script = "let calls = probe(\"tracepoint:syscalls:sys_enter_getpgid\").count();\n\
                  every(\"50ms\", || calls.run(\"1s\"));\nrun(\"30s\");";
    let output = Skep::new(&["-q", "-e", script]).run().status_is(1);
    golden("diagnostics/run_inside_a_run", &output.err);
}

#[test]
fn values_of_runs_that_are_used_wrongly() {
    privileged!();
    let chain = "probe(\"t:syscalls:sys_enter_getpgid\")";
    let mut text = String::new();
    for script in [
        "….each(|e, f| print(e));",
        "….each(|e| println!(\"{}\", e.pid));",
        "….each(|e| print(pid));",
        "….each(|e| e.pid = 7);",
        "….fields(comm).each(|e| print(e.pid));",
        "….each(|e| if e.pid { print(1) });",
        "….each(|e| print(e.comm - 1));",
        "let table = ….by(comm).hist(args.pid).run();\nprint(table.p99() > 1);",
        "let table = ….by(comm).count().run();\nprint(table > 1);",
        "let hist = ….hist(args.pid).run();\nprint(hist > 1);",
        "let hist = ….hist(args.pid).run();\nprint(hist.p99);",
        "let chain = ….count();\nat_end(|| print(chain > 1));",
        "let n = 1;\nfn f(x) { x + n }\nf(1);",
    ] {
        let script = script.replace('…', chain);
        let output = Skep::new(&["-q", "-c", &workload::line("getpgid 3"), "-e", &script]).run().status_is(1);
        text += &format!("{}\n", output.err);
    }
    golden("diagnostics/results", &text);
}

#[test]
fn rows_print_their_key_and_value() {
    privileged!();
    let script = "for row in probe(\"t:syscalls:sys_enter_getpgid\").by(comm, args.pid).count().run() { print(row); }";
    let output = Skep::new(&["-q", "-c", &workload::line("getpgid 23"), "-e", script]).run().ok();
    assert_eq!(output.out, format!("comm={} pid=0 23\n", workload::NAME));
}

#[test]
fn misspelt_columns_of_results_name_the_nearest() {
    privileged!();
    let script = "let calls = probe(\"tracepoint:syscalls:sys_enter_getpgid\").by(comm).count().run();\n\
                  for row in calls { print(row.com); }";
    let output = Skep::new(&["-q", "-c", &workload::line("getpgid 23"), "-e", script]).run().status_is(1);
    golden("diagnostics/misspelt_column", &output.err);
}
