//! What a tracer counted, whoever printed it: a number for each key or bucket.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Nothing,
    /// Both ends belong to it; an open one is `None`.
    Bucket(Option<i64>, Option<i64>),
    Text(String),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Nothing => Ok(()),
            Key::Text(text) => write!(f, "{text}: "),
            Key::Bucket(Some(low), Some(high)) if low == high => write!(f, "{low}: "),
            Key::Bucket(low, high) => {
                let end = |end: &Option<i64>| end.map(|end| end.to_string()).unwrap_or_default();
                write!(f, "{}..{}: ", end(low), end(high))
            }
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<Key, u64>);

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<String> = self.0.iter().map(|(key, count)| format!("{key}{count}")).collect();
        f.write_str(if shown.is_empty() { "nothing" } else { "" })?;
        f.write_str(&shown.join(", "))
    }
}

impl Counts {
    /// The first table that skep prints with `--format json`.
    pub fn of_skep(text: &str) -> Option<Counts> {
        let table = objects(text).find(|object| object["type"] == "table")?;
        let mut counts = Counts::default();
        for row in table["rows"].as_array()? {
            let words: Vec<String> = row["key"].as_object()?.values().map(word).collect();
            let key = if words.is_empty() { Key::Nothing } else { Key::Text(words.join(",")) };
            counts.add(key, &row["value"])?;
        }
        Some(counts)
    }

    /// The map `@` that bpftrace prints with `-f json`.
    pub fn of_bpftrace(text: &str) -> Option<Counts> {
        let map = objects(text).find_map(|object| object["data"].get("@").cloned())?;
        let mut counts = Counts::default();
        match map.as_object() {
            Some(rows) => rows.iter().try_for_each(|(key, value)| counts.add(Key::Text(key.clone()), value))?,
            None => counts.add(Key::Nothing, &map)?,
        }
        Some(counts)
    }

    fn add(&mut self, key: Key, value: &Value) -> Option<()> {
        let buckets = value.get("buckets").unwrap_or(value);
        let Some(buckets) = buckets.as_array() else {
            self.0.insert(key, value.as_u64()?);
            return Some(());
        };
        for bucket in buckets {
            let end = |names: [&str; 2]| names.iter().find_map(|name| bucket[*name].as_i64());
            let count = bucket["count"].as_u64()?;
            // bpftrace has a row for an empty one between others.
            if count > 0 {
                self.0.insert(Key::Bucket(end(["low", "min"]), end(["high", "max"])), count);
            }
        }
        Some(())
    }

    /// Their sum only: how long something took is never the same twice.
    pub fn total(&self) -> Counts {
        Counts([(Key::Nothing, self.0.values().sum())].into())
    }
}

fn objects(text: &str) -> impl Iterator<Item = Value> {
    text.lines().filter_map(|line| serde_json::from_str(line).ok())
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn both_give_the_same_counts() {
        let pairs = [
            (r#"{"type":"table","rows":[{"key":{},"value":23}]}"#, r#"{"type": "map", "data": {"@": 23}}"#, "23"),
            (
                r#"{"type":"table","rows":[{"key":{"name":"b"},"value":2},{"key":{"name":"a"},"value":3}]}"#,
                r#"{"type": "map", "data": {"@": {"a": 3, "b": 2}}}"#,
                "a: 3, b: 2",
            ),
            (
                r#"{"type":"table","rows":[{"key":{},"value":{"buckets":[{"low":null,"high":-1,"count":5},{"low":0,"high":0,"count":2},{"low":64,"high":127,"count":3}]}}]}"#,
                r#"{"type": "hist", "data": {"@": [{"max": -1, "count": 5}, {"min": 0, "max": 0, "count": 2}, {"min": 2, "max": 3, "count": 0}, {"min": 64, "max": 127, "count": 3}]}}"#,
                "..-1: 5, 0: 2, 64..127: 3",
            ),
        ];
        for (skep, bpftrace, shown) in pairs {
            let counts = Counts::of_skep(skep);
            assert_eq!(counts, Counts::of_bpftrace(bpftrace));
            assert_eq!(counts.map(|counts| counts.to_string()).as_deref(), Some(shown));
        }
    }

    #[test]
    fn run_without_a_table_has_no_counts() {
        assert_eq!(Counts::of_skep("error: no\n"), None);
        assert_eq!(Counts::of_bpftrace(r#"{"type": "attached_probes", "data": {"probes": 1}}"#), None);
    }
}
