//! CSV: what `--format csv` prints, as Python's csv module reads it.

use serde_json::{Value, json};
use skep_tests::{Output, Skep, privileged, workload};
use std::io::Write;
use std::process::{Command, Stdio};

/// Parts between empty lines, each a list of rows by the names of their columns.
const READER: &str = "import csv, json, sys
parts = sys.stdin.read().split('\\n\\n')
print(json.dumps([list(csv.DictReader(part.splitlines(), strict=True)) for part in parts]))";

#[track_caller]
fn read(output: &Output) -> Value {
    let mut python = Command::new("python3");
    python.args(["-c", READER]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.spawn().expect("python3 is there");
    child.stdin.take().expect("it is a pipe").write_all(output.out.as_bytes()).expect("python reads");
    let read = child.wait_with_output().expect("it is our child");
    serde_json::from_slice(&read.stdout).unwrap_or_else(|error| panic!("python read no CSV: {error}\n{output}"))
}

/// A script on a workload.
#[track_caller]
fn on(verbs: &str, script: &str) -> Output {
    let script = script.replace("DOUBLE", &format!("uprobe:{}:workload_double", workload::path()));
    Skep::new(&["--format", "csv", "-c", &workload::line(verbs), "-e", &script]).run().ok()
}

#[test]
fn table_has_a_row_for_each_key_and_says_nothing_else() {
    privileged!();
    let output = on("double 23 name other double 7", r#"print("begins"); probe("DOUBLE").by(comm).count();"#);
    let rows = json!([[{ "comm": "skep-workload", "count": "23" }, { "comm": "other", "count": "7" }]]);
    assert_eq!(read(&output), rows, "{output}");
    assert!(output.err.starts_with("begins\n") && output.err.contains(" 30 counted, 0 lost"), "{output}");
}

#[test]
fn numbers_of_a_value_are_a_column_each() {
    privileged!();
    let script = r#"
        probe("DOUBLE").sum(arg0).named("total");
        probe("DOUBLE").avg(arg0);
        probe("DOUBLE").stats(arg0);
        probe("DOUBLE").quantiles(arg0);
    "#;
    let output = on("double 23", script);
    let wanted = json!([
        [{ "title": "total", "sum": "276" }],
        [{ "n": "23", "sum": "276", "avg": "12" }],
        [{ "n": "23", "sum": "276", "avg": "12", "min": "1", "max": "23" }],
        [{ "n": "23", "mean": "12", "p50": "12", "p90": "21", "p99": "23", "p999": "23" }],
    ]);
    assert_eq!(read(&output), wanted, "{output}");
}

#[test]
fn histogram_has_a_row_for_each_bucket() {
    privileged!();
    let output = on("double 23", r#"probe("DOUBLE").lhist(arg0, 1, 21, 10);"#);
    let bucket = |low: &str, high: &str, count: &str| json!({ "low": low, "high": high, "count": count });
    let wanted = json!([[bucket("1", "10", "10"), bucket("11", "20", "10"), bucket("21", "", "3")]]);
    assert_eq!(read(&output), wanted, "{output}");
    let output = on("double 23", r#"probe("DOUBLE").by(comm).hist(arg0);"#);
    assert_eq!(read(&output)[0][4], json!({ "comm": "skep-workload", "low": "16", "high": "31", "count": "8" }));
}

#[test]
fn events_are_rows_and_names_are_no_formulas() {
    privileged!();
    let output = on("name =a,b double 3", r#"probe("DOUBLE").fields(arg0, comm);"#);
    assert!(output.out.starts_with("arg0,comm\n1,\"'=a,b\"\n"), "{output}");
    let event = |arg0: &str| json!({ "arg0": arg0, "comm": "'=a,b" });
    assert_eq!(read(&output), json!([[event("1"), event("2"), event("3")]]), "{output}");
}

#[test]
fn source_with_other_columns_begins_a_part_and_the_same_columns_go_on() {
    privileged!();
    let script = r#"
        probe("DOUBLE").filter(arg0 < 3).printf("%d\n", arg0);
        probe("DOUBLE").filter(arg0 == 3).fields(arg1);
        probe("DOUBLE").filter(arg0 > 3).fields(arg0);
        probe("DOUBLE").filter(arg0 == 99).fields(uid);
    "#;
    let output = on("double 5", script);
    assert_eq!(output.out, "arg0\n1\n2\n\narg1\n7\n\narg0\n4\n5\n\nuid\n", "{output}");
}

#[test]
fn recording_is_replayed_as_the_same_rows() {
    let file = skep_tests::machine::here("fixtures/recordings/v1.skep").display().to_string();
    let text = Skep::new(&["replay", &file, "--format", "json"]).run().ok();
    let rows = read(&Skep::new(&["replay", &file, "--format", "csv"]).run().ok());
    let read = rows.as_array().map_or(0, |parts| parts.iter().filter_map(Value::as_array).map(Vec::len).sum());
    let events = text.objects("event").len();
    let keys = text.objects("table").iter().filter_map(|table| table["rows"].as_array().map(Vec::len)).sum::<usize>();
    assert!(events + keys > 0, "{text}");
    assert_eq!(read, events + keys, "{rows}\n{text}");
}

#[test]
fn commands_without_tables_refuse() {
    for command in [&["doctor"][..], &["list", "scripts"], &["plan", "syscount"]] {
        let output = Skep::new(command).arguments(&["--format", "csv"]).run().status_is(2);
        assert!(output.err.contains("`--format csv` is for what scripts print"), "{output}");
    }
}
