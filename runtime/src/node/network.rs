//! What the protocols of a network count: /proc/net/snmp, /proc/net/netstat; and what CPUs had to leave lie, softnet_stat.

use super::{number, parsed};
use serde_json::{Map, Value as Json};

/// Lines come in pairs, names and then numbers, both behind the protocol.
pub fn protocols(text: &str) -> Map<String, Json> {
    let mut protocols: Map<String, Json> = Map::new();
    let mut lines = text.lines().filter_map(|line| line.split_once(": "));
    while let (Some((protocol, names)), Some((same, values))) = (lines.next(), lines.next()) {
        if protocol != same {
            return protocols;
        }
        let pairs = names.split_whitespace().zip(values.split_whitespace());
        // `MaxConn` is -1: there is no most.
        let counts = pairs.filter_map(|(name, value)| Some((name.to_owned(), parsed(value)?)));
        protocols.insert(protocol.to_owned(), counts.collect::<Map<_, _>>().into());
    }
    protocols
}

/// Packets that CPUs took, had no room for, and how often they had to stop before all were taken.
pub fn backlog(text: &str) -> Map<String, Json> {
    let mut sums = [0u64; 3];
    for line in text.lines() {
        for (sum, word) in sums.iter_mut().zip(line.split_whitespace()) {
            *sum = sum.saturating_add(u64::from_str_radix(word, 16).unwrap_or(0));
        }
    }
    ["taken", "dropped", "squeezed"].into_iter().zip(sums).map(|(name, sum)| (name.to_owned(), number(sum))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counters_have_the_names_of_their_line() {
        let text = "Tcp: RtoMin MaxConn RetransSegs\nTcp: 200 -1 23\nUdp: InDatagrams RcvbufErrors\nUdp: 5 7\n";
        let all: Json = protocols(text).into();
        assert_eq!(
            all,
            json!({ "Tcp": { "RtoMin": 200, "RetransSegs": 23 }, "Udp": { "InDatagrams": 5, "RcvbufErrors": 7 } })
        );
    }

    #[test]
    fn odd_lines_end_what_is_read_and_harm_nothing() {
        let all: Json = protocols("Tcp: A B C\nTcp: 1 2\nUdp: A\nIp: 3\nIp: B\n").into();
        assert_eq!(all, json!({ "Tcp": { "A": 1, "B": 2 } }));
        assert!(protocols("no colon\n\n").is_empty());
    }

    #[test]
    fn backlog_adds_up_all_cpus() {
        let sums: Json =
            backlog("0000000a 00000002 00000001 0\n00000001 00000000 000000ff\nxyz\nffffffffffffffff\n").into();
        assert_eq!((&sums["dropped"], &sums["squeezed"], &sums["taken"]), (&json!(2), &json!(256), &json!(i64::MAX)));
    }
}
