//! `heavy`: the heaviest keys of a skewed stream, held against exact counts of the same stream by the same kernel.

use serde_json::Value;
use skep_tests::{Output, Skep, privileged, zipf};
use std::collections::HashMap;

const EVENTS: usize = 100_003;
const KEYS: u64 = 9973;
const LISTS: [usize; 5] = [1, 5, 10, 20, 30];
/// Room for so many keys, and the share of each list that is right at least: docs/heavy-hitters.md has what was measured.
const SIZES: [(u32, [f64; 5]); 5] = [
    (64, [1.0, 0.8, 0.8, 0.5, 0.5]),
    (128, [1.0, 0.8, 0.8, 0.7, 0.7]),
    (256, [1.0, 1.0, 0.9, 0.9, 0.8]),
    (512, [1.0, 1.0, 0.9, 0.9, 0.9]),
    (1024, [1.0, 1.0, 1.0, 0.95, 0.9]),
];

/// The offsets of a table, the heaviest first, with what it says of each.
fn rows(table: &Value) -> Vec<(u64, u64)> {
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{value} is no number"));
    let rows = table["rows"].as_array().expect("it has rows");
    rows.iter().map(|row| (number(&row["key"]["offset"]), number(&row["value"]))).collect()
}

/// The share of the `k` heaviest that belong there. Who is as heavy as the last one of them does.
fn precision(found: &[(u64, u64)], exact: &[(u64, u64)], k: usize) -> f64 {
    let counts: HashMap<u64, u64> = exact.iter().copied().collect();
    let least = exact[k - 1].1;
    let right = found.iter().take(k).filter(|(key, _)| counts.get(key).is_some_and(|count| *count >= least));
    right.count() as f64 / k as f64
}

/// A script on the stream, with one exact chain and one `heavy` for each size.
fn measured() -> Output {
    let source = r#"probe("tracepoint:syscalls:sys_enter_lseek").by(args.offset)"#;
    let mut script = format!("{source}.count().entries(20000);\n");
    SIZES.iter().for_each(|(size, _)| script += &format!("{source}.heavy().entries({size});\n"));
    Skep::on(&format!("zipf {EVENTS} {KEYS}"), &script).run().ok()
}

#[test]
fn heaviest_keys_of_a_skewed_stream_are_found_in_little_memory() {
    privileged!();
    let output = measured();
    let exact = rows(&output.table(0));
    let mut stream: HashMap<u64, u64> = HashMap::new();
    zipf::stream(EVENTS, KEYS).for_each(|key| *stream.entry(key).or_default() += 1);
    assert!(stream.len() > 5000, "{} keys", stream.len());
    assert_eq!(exact.iter().copied().collect::<HashMap<_, _>>(), stream, "the exact table is what was done");

    println!("slots  at most below  p@{}", LISTS.map(|k| k.to_string()).join("   p@"));
    for (n, (size, least)) in SIZES.iter().enumerate() {
        let table = output.table(n + 1);
        let found = rows(&table);
        let [lack, rest, total] = ["lack", "rest", "total"].map(|name| table[name].as_u64().expect("a number"));
        let precisions = LISTS.map(|k| precision(&found, &exact, k));
        let share = 100.0 * lack as f64 / EVENTS as f64;
        println!("{size:5}       {share:5.2} %    {}", precisions.map(|p| format!("{p:.2}")).join("  "));
        assert!(precisions.iter().zip(least).all(|(found, least)| found >= least), "{precisions:?} of {least:?}");
        let kept: u64 = found.iter().map(|(_, estimate)| estimate).sum();
        assert_eq!((total, kept + rest), (EVENTS as u64, EVENTS as u64), "every event is in a row or in the rest");
        for (key, estimate) in &found {
            let count = stream[key];
            assert!((count.saturating_sub(lack)..=count).contains(estimate), "{key}: {estimate} of {count} - {lack}");
        }
    }
}
