//! Connections.

use super::case::{Case, Wanted};
use super::tool::bcc;

pub const CASES: &[Case] = &[
    Case {
        ours: "tcplife --port 443",
        workload: "alone hello tcp4 23 shop.example 1",
        reads: |ours| ours.events(&[("daddr", "127.0.0.1"), ("task_pid", "PID")]),
        // Both ends of each.
        wanted: Wanted::Exactly(46),
        theirs: &[bcc("tcplife", |said| said.lines(&["PID", "443", "127.0.0.1"]))],
    },
    Case {
        ours: "tcpstates --port 8080 --lines true",
        workload: "fork 29 alone http tcp4 1 GET / 200 1",
        reads: |ours| ours.events(&[("daddr", "127.0.0.1"), ("state", "SYN_SENT"), ("next", "ESTABLISHED")]),
        wanted: Wanted::Exactly(29),
        theirs: &[bcc("tcpstates", |said| said.lines(&["127.0.0.1", "8080", "SYN_SENT", "ESTABLISHED"]))],
    },
];
