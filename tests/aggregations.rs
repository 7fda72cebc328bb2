//! Aggregations in the kernel: exact values over workloads whose every value is known.

use serde_json::{Value, json};
use skep_tests::{Output, Skep, privileged, workload};

/// 23 times -5, 101 times 3, 7 times 1000, 5 times 70,000: 136 values.
const OFFSETS: &str = "lseek 23 -5 lseek 101 3 lseek 7 1000 lseek 5 70000";
const SUM: i64 = 23 * -5 + 101 * 3 + 7 * 1000 + 5 * 70_000;

/// Aggregates the offsets of [`OFFSETS`].
#[track_caller]
fn offsets(methods: &str) -> Output {
    let script = format!("probe(\"tracepoint:syscalls:sys_enter_lseek\").{methods};");
    Skep::on(OFFSETS, &script).run().ok()
}

fn buckets(rows: &[(Option<i64>, Option<i64>, u64)]) -> Value {
    rows.iter().map(|(low, high, count)| json!({ "low": low, "high": high, "count": count })).collect()
}

#[test]
fn count_is_exact_and_all_of_it_is_accounted_for() {
    privileged!();
    let output = offsets("count()");
    assert_eq!(output.value(), 136);
    // Other processes seek too; those that the filter stops are counted as such.
    assert_eq!(output.trust("seen") - output.trust("filtered"), 136);
    assert_eq!([output.trust("counted"), output.trust("lost")], [136, 0]);
}

#[test]
fn sum_min_max_are_exact_and_signed() {
    privileged!();
    for (method, value) in [("sum", SUM), ("min", -5), ("max", 70_000)] {
        assert_eq!(offsets(&format!("{method}(args.offset)")).value(), value, "{method}");
    }
}

#[test]
fn avg_and_stats_are_exact() {
    privileged!();
    let avg = SUM as f64 / 136.0;
    assert_eq!(offsets("avg(args.offset)").value(), json!({ "n": 136, "sum": SUM, "avg": avg }));
    let stats = json!({ "n": 136, "sum": SUM, "avg": avg, "min": -5, "max": 70_000 });
    assert_eq!(offsets("stats(args.offset)").value(), stats);
}

#[test]
fn hist_has_powers_of_two_and_one_bucket_of_negative_values() {
    privileged!();
    let value = offsets("hist(args.offset)").value();
    let edges =
        [(None, Some(-1), 23), (Some(2), Some(3), 101), (Some(512), Some(1023), 7), (Some(65_536), Some(131_071), 5)];
    assert_eq!(value["buckets"], buckets(&edges));
    assert_eq!((&value["n"], &value["mean"]), (&json!(136), &json!(SUM as f64 / 136.0)));
}

#[test]
fn lhist_has_the_steps_asked_for_and_one_bucket_on_either_side() {
    privileged!();
    let value = offsets("lhist(args.offset, 0, 1000, 100)").value();
    assert_eq!(value["buckets"], buckets(&[(None, Some(-1), 23), (Some(0), Some(99), 101), (Some(1000), None, 12)]));
}

#[test]
fn quantiles_are_never_below_and_at_most_a_64th_above() {
    privileged!();
    let value = offsets("filter(args.offset > 0).quantiles(args.offset)").value();
    assert_eq!(value["n"], 113);
    for (name, exact) in [("p50", 3), ("p90", 1000), ("p99", 70_000), ("p999", 70_000)] {
        let found = value[name].as_i64().expect("a quantile is a number");
        assert!((exact..=exact + exact / 64).contains(&found), "{name} is {found}, not {exact}");
    }
}

#[test]
fn keys_of_one_to_three_columns_are_told_apart() {
    privileged!();
    let one = offsets("by(args.offset).count()");
    let counts = [("3", 101), ("-5", 23), ("1000", 7), ("70000", 5)].map(|(key, count)| (key.to_owned(), json!(count)));
    assert_eq!(one.rows(), counts, "the greatest count comes first");
    let two = offsets("by(comm, args.offset).count()");
    assert_eq!(two.row(&format!("{} 1000", workload::NAME)), 7);
    let three = offsets("by(args.offset > 0, args.whence, comm).sum(args.offset)");
    assert_eq!(three.row(&format!("1 0 {}", workload::NAME)), SUM + 115);
    assert_eq!(three.row(&format!("0 0 {}", workload::NAME)), -115);
    assert_eq!(three.rows().len(), 2);
}

/// More keys than a CPU keeps near, in turns: each of them comes to the table, and most of them again to what is near.
#[test]
fn keys_that_are_kept_near_and_those_that_are_not_add_up() {
    privileged!();
    const KEYS: i64 = 211;
    let seeks: Vec<String> = (0..7 * KEYS).map(|n| format!("lseek 1 {}", n % KEYS)).collect();
    let seeks = seeks.join(" ");
    let rows = |methods: &str| {
        let script = format!("probe(\"tracepoint:syscalls:sys_enter_lseek\").{methods};");
        let output = Skep::on(&seeks, &script).run().ok();
        assert_eq!([output.trust("counted"), output.trust("lost")], [7 * KEYS as u64, 0]);
        assert_eq!(output.rows().len(), KEYS as usize, "{methods}");
        output
    };
    let (counts, stats) = (rows("by(args.offset).count()"), rows("by(args.offset).stats(args.offset)"));
    let wide = rows("by(args.offset, pid, tid, args.offset + 1).sum(args.offset)");
    let hists = rows("by(args.offset, comm).hist(args.offset)");
    let tid = wide.rows()[0].0.split(' ').nth(1).map(str::to_owned).expect("a key of four columns");
    for key in 0..KEYS {
        assert_eq!(counts.row(&key.to_string()), 7);
        let expected = json!({ "n": 7, "sum": 7 * key, "avg": key as f64, "min": key, "max": key });
        assert_eq!(stats.row(&key.to_string()), expected);
        assert_eq!(wide.row(&format!("{key} {tid} {tid} {}", key + 1)), 7 * key);
        assert_eq!(hists.row(&format!("{key} {}", workload::NAME))["n"], 7);
    }
}

/// As many as are read in several batches, the next while the one before is added up.
#[test]
fn each_of_20_011_keys_has_a_row_in_its_place() {
    privileged!();
    let probe = format!("probe(\"uprobe:{}:workload_double\")", workload::path());
    let chains = [".by(arg0).entries(32768).sum(arg0)", ".by(arg0, arg1).entries(32768).count()"];
    let script = chains.map(|chain| format!("{probe}{chain};")).concat();
    let output = Skep::on("double 20011", &script).run().ok();
    let rows = |n: usize| output.table(n)["rows"].as_array().cloned().unwrap_or_default();
    let row = |key: Value, value: i64| json!({ "key": key, "value": value });
    // The greatest value first; those with the same one by their keys.
    let sums: Vec<Value> = (1..=20_011).rev().map(|n| row(json!({ "arg0": n }), n)).collect();
    assert!(rows(0) == sums, "{} rows", rows(0).len());
    let counts: Vec<Value> = (1..=20_011).map(|n| row(json!({ "arg0": n, "arg1": 7 }), 1)).collect();
    assert!(rows(1) == counts, "{} rows", rows(1).len());
    assert_eq!([output.trust("counted"), output.trust("lost")], [2 * 20_011, 0]);
}

#[test]
fn buckets_are_kept_apart_by_key() {
    privileged!();
    let output = offsets("by(args.offset < 0).hist(args.offset)");
    assert_eq!(output.row("1")["buckets"], buckets(&[(None, Some(-1), 23)]));
    assert_eq!(output.row("0")["n"], 113);
}

#[test]
fn texts_are_keys() {
    privileged!();
    let verbs = "name alpha open 23 /nowhere/a name beta open 101 /nowhere/b open 7 /nowhere/a";
    let script = r#"probe("tracepoint:syscalls:sys_enter_openat").filter(starts_with(str(args.filename), "/nowhere/"))
        .by(comm, str(args.filename)).count();"#;
    let output = Skep::on(verbs, script).run().ok();
    let rows = [("beta /nowhere/b", 101), ("alpha /nowhere/a", 23), ("beta /nowhere/a", 7)];
    assert_eq!(output.rows(), rows.map(|(key, count)| (key.to_owned(), json!(count))));
}

#[test]
fn long_texts_are_cut_where_the_script_says() {
    privileged!();
    let path = format!("/nowhere/{}", "x".repeat(300));
    let size = |size: &str| {
        let script = format!(
            "probe(\"tracepoint:syscalls:sys_enter_openat\").filter(starts_with(str(args.filename), \"/nowhere\")).by(str(args.filename{size})).count();"
        );
        let rows = Skep::on(&format!("open 23 {path}"), &script).run().ok().rows();
        assert_eq!((rows.len(), &rows[0].1), (1, &json!(23)));
        rows[0].0.clone()
    };
    // Sizes count the NUL.
    assert_eq!(size(""), path[..63]);
    assert_eq!(size(", 16"), path[..15]);
    assert_eq!(size(", 400"), path);
}

#[test]
fn table_is_sorted_and_cut_as_its_chain_says() {
    privileged!();
    let keys = |methods: &str| offsets(methods).rows().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys("by(args.offset).count().top(2)"), ["3", "-5"]);
    assert_eq!(keys("by(args.offset).count().sort_by(\"offset\")"), ["70000", "1000", "3", "-5"]);
    assert_eq!(keys("by(args.offset).count().sort_by_ascending(\"offset\").top(3)"), ["-5", "3", "1000"]);
    assert_eq!(keys("by(args.offset).count().sort_by_ascending(\"value\").top(1)"), ["70000"]);
    assert_eq!(keys("by(args.offset).sum(args.offset).top(1)"), ["70000"]);
}

#[test]
fn columns_and_tables_have_the_names_that_they_are_given() {
    privileged!();
    let output = offsets("by(#{ where: args.offset }).count().named(\"seeks\")");
    let table = output.table(0);
    assert_eq!((&table["name"], &table["key"]), (&json!("seeks"), &json!(["where"])));
    let text = Skep::new(&["-q", "-c", &workload::line(OFFSETS), "-e"])
        .arguments(&["probe(\"t:syscalls:sys_enter_lseek\").by(args.offset).count().named(\"seeks\")"])
        .run()
        .ok();
    assert_eq!(text.out, "seeks:\noffset  count\n     3    101\n    -5     23\n  1000      7\n 70000      5\n");
    assert_eq!(text.err, "");
}

#[test]
fn script_reads_values_and_takes_their_printing_over() {
    privileged!();
    let script = r#"
        let offsets = probe("tracepoint:syscalls:sys_enter_lseek").by(args.offset, comm).count().run();
        for row in offsets.top(2) { print(`${row.offset} ${row.comm} ${row.value}`); }
        print(`${offsets.len()} ${offsets.total()} ${offsets.get([1000, "skep-workload"])}`);
    "#;
    let output = Skep::on(OFFSETS, script).run().ok();
    assert_eq!(output.texts(), ["3 skep-workload 101", "-5 skep-workload 23", "4 136 7"]);
    assert!(output.objects("table").is_empty(), "{output}");
}

#[test]
fn script_reads_histograms() {
    privileged!();
    let script = r#"
        let offsets = probe("tracepoint:syscalls:sys_enter_lseek").filter(args.offset > 0).quantiles(args.offset).run();
        print(`${offsets.count()} ${offsets.sum()} ${offsets.p50()} ${offsets.p90()}`);
        print(`${offsets.min()} ${offsets.buckets()[0].count}`);
    "#;
    let output = Skep::on(OFFSETS, script).run().ok();
    assert_eq!(output.texts(), [format!("113 {} 3 1007", SUM + 115), "3 101".to_owned()]);
}

#[test]
fn single_values_are_numbers_in_scripts() {
    privileged!();
    let script = r#"
        let n = probe("tracepoint:syscalls:sys_enter_lseek").count();
        let sum = probe("tracepoint:syscalls:sys_enter_lseek").sum(args.offset);
        let stats = probe("tracepoint:syscalls:sys_enter_lseek").stats(args.offset);
        run();
        let all = stats.value();
        print(`${n.value() + 1} ${sum.value() * 2} ${all.n} ${all.min} ${all.max}`);
    "#;
    assert_eq!(Skep::on(OFFSETS, script).run().ok().texts(), [format!("137 {} 136 -5 70000", SUM * 2)]);
}

#[test]
fn chains_of_one_script_count_for_themselves() {
    privileged!();
    let script = r#"
        probe("tracepoint:syscalls:sys_enter_lseek").count().named("a");
        probe("tracepoint:syscalls:sys_enter_getpgid").count().named("b");
        probe(["tracepoint:syscalls:sys_enter_lseek", "tracepoint:syscalls:sys_enter_getpgid"]).by(probe).count().named("c");
    "#;
    let output = Skep::on(&format!("{OFFSETS} getpgid 1009"), script).run().ok();
    let count = |n: usize| output.table(n)["rows"][0]["value"].clone();
    assert_eq!((count(0), count(1)), (json!(136), json!(1009)));
    let both = &output.table(2)["rows"];
    assert_eq!(both[0], json!({ "key": { "probe": "tracepoint:syscalls:sys_enter_getpgid" }, "value": 1009 }));
    assert_eq!(both[1], json!({ "key": { "probe": "tracepoint:syscalls:sys_enter_lseek" }, "value": 136 }));
    assert_eq!(output.trust("counted"), 2 * (136 + 1009));
}

#[test]
fn chain_without_a_method_counts_and_without_events_says_so() {
    privileged!();
    assert_eq!(Skep::on("getpgid 23", "probe(\"tracepoint:syscalls:sys_enter_getpgid\")").run().ok().value(), 23);
    let output = Skep::on("getpgid 23", "probe(\"tracepoint:syscalls:sys_enter_lseek\").by(comm).count()").run().ok();
    assert_eq!(output.rows(), []);
}

#[test]
fn cleared_chain_begins_anew() {
    privileged!();
    let script = r#"
        let seeks = probe("tracepoint:syscalls:sys_enter_lseek").count();
        every("200ms", || { if seeks.value() == 136 { seeks.clear(); print("cleared"); } });
        at_end(|| print(seeks.value()));
    "#;
    let output = Skep::on(&format!("{OFFSETS} sleep 1000 lseek 23 1"), script).run().ok();
    assert_eq!(output.texts(), ["cleared", "23"]);
}

#[test]
fn cleared_chain_has_no_key_that_did_not_come_again() {
    privileged!();
    let script = r#"
        let seeks = probe("tracepoint:syscalls:sys_enter_lseek").by(args.offset).sum(args.offset);
        every("200ms", || { if seeks.value().total() == SUM { seeks.clear(); print("cleared"); } });
        at_end(|| for row in seeks.value() { print(`${row.offset} ${row.value}`); });
    "#;
    let script = script.replace("SUM", &SUM.to_string());
    let output = Skep::on(&format!("{OFFSETS} sleep 1000 lseek 23 3 lseek 7 11"), &script).run().ok();
    assert_eq!(output.texts(), ["cleared", "11 77", "3 69"]);
}
