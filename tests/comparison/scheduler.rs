//! Processors: who runs, who waits, and what interrupts.

use super::case::{Case, Wanted};
use super::tool::{bcc, bpftrace};

pub const CASES: &[Case] = &[
    Case {
        ours: "runqlat --process PID",
        workload: "nap 1009 1",
        reads: |ours| ours.buckets(&[]),
        wanted: Wanted::Same(809),
        theirs: &[bcc("runqlat -p PID", |said| said.buckets(&["usecs"])).at_its_end()],
    },
    Case {
        ours: "runqslower --slower 40000 --process PID",
        workload: "starve 7 60",
        reads: |ours| ours.events(&[("task", "victim")]),
        // Where others run on its processor, too, the victim misses some.
        wanted: Wanted::Same(3),
        theirs: &[bcc("runqslower -p PID 40000", |said| said.lines(&["victim"]))],
    },
    Case {
        ours: "cpuwalk",
        workload: "crowd 1 5003",
        reads: |ours| ours.buckets(&[]),
        wanted: Wanted::Whole(101, 25),
        theirs: &[bpftrace("cpuwalk.bt", |said| said.buckets(&["@cpu:"])).at_its_end()],
    },
    Case {
        ours: "cpudist --task cpudisted",
        workload: "name cpudisted crowd 3 2003",
        reads: |ours| ours.buckets(&[]),
        wanted: Wanted::Near(101, 5),
        theirs: &[bcc("cpudist -p PID", |said| said.buckets(&["usecs"]))
            .at_its_end()
            .noting("It leaves out how long those ran who then went to sleep: so this workload.")],
    },
    Case {
        ours: "offcputime --min_us 1 --top 1000 --pid PID",
        workload: "nap 101 5",
        reads: |ours| ours.values(&[]),
        wanted: Wanted::Whole(101 * 5_000_000, 10),
        theirs: &[bcc("offcputime -p PID", |said| said.lone_numbers().times(1000)).at_its_end()],
    },
    Case {
        ours: "wakeuptime --min_us 1 --top 1000 --pid PID",
        workload: "nap 103 5",
        reads: |ours| ours.values(&[]),
        wanted: Wanted::Whole(103 * 5_000_000, 10),
        theirs: &[bcc("wakeuptime -p PID", |said| said.lone_numbers().times(1000)).at_its_end()],
    },
    Case {
        ours: "softirqs",
        workload: "alone noise 1009",
        reads: |ours| ours.columns_of("net_rx", 1),
        wanted: Wanted::Whole(1009, 15),
        theirs: &[bcc("softirqs -d -N", |said| said.buckets(&["net_rx"]).counted()).at_its_end()],
    },
];
