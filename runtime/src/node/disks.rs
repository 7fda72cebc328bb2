//! /proc/diskstats: requests, bytes and times of each disk (Documentation/admin-guide/iostats.rst).

use super::number;
use serde_json::{Map, Value as Json, json};

/// The kernel counts in sectors of this size, whatever the disk's are.
const SECTOR: u64 = 512;

/// By the disk's name; `is_disk` tells disks from partitions.
pub fn parse(text: &str, is_disk: impl Fn(&str) -> bool) -> Json {
    let line = |line: &str| {
        let mut words = line.split_whitespace().skip(2);
        let name = words.next().filter(|name| is_disk(name))?;
        let values: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        let [reads, _, read, read_ms, writes, _, written, write_ms, now, busy_ms, waited_ms, ..] = values[..] else {
            return None;
        };
        let disk = json!({
            "reads": number(reads), "read_bytes": number(read.saturating_mul(SECTOR)), "read_ms": number(read_ms),
            "writes": number(writes), "written_bytes": number(written.saturating_mul(SECTOR)),
            "write_ms": number(write_ms), "in_flight": number(now), "busy_ms": number(busy_ms),
            "waited_ms": number(waited_ms),
        });
        Some((name.to_owned(), disk))
    };
    text.lines().filter_map(line).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_have_their_counts_and_partitions_are_left_out() {
        let text = " 254 0 vda 23 1 46 70 29 2 58 71 1 72 73 0 0 0 0\n 254 1 vda1 1 1 1 1 1 1 1 1 1 1 1\n";
        let disks = parse(text, |name| name == "vda");
        let disk = json!({
            "reads": 23, "read_bytes": 23552, "read_ms": 70, "writes": 29, "written_bytes": 29696, "write_ms": 71,
            "in_flight": 1, "busy_ms": 72, "waited_ms": 73,
        });
        assert_eq!(disks, json!({ "vda": disk }));
    }

    #[test]
    fn lines_that_are_short_or_odd_are_left_out() {
        let text = "254 0 vda 1 2 3\n\n8 0 sda 1 2 3 4 five 6 7 8 9 10 11\n8 1\n";
        assert_eq!(parse(text, |_| true), json!({}));
    }
}
