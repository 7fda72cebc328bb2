//! Block devices.

use super::case::{Case, Wanted};
use super::tool::{bcc, bpftrace};

pub const CASES: &[Case] = &[
    Case {
        ours: "bitesize",
        workload: "name bitesized block 23 /dev/DISK",
        reads: |ours| ours.buckets(&[("comm", "bitesized")]),
        wanted: Wanted::Exactly(23),
        theirs: &[
            bpftrace("bitesize.bt", |said| said.buckets(&["@[bitesized]:"])).at_its_end(),
            bcc("bitesize -c bitesized", |said| said.buckets(&["Kbytes"]).times(1024)).at_its_end(),
        ],
    },
    Case {
        ours: "biolatency --disk DISK",
        workload: "block 1009 /dev/DISK",
        reads: |ours| ours.buckets(&[]),
        wanted: Wanted::Exactly(1009),
        theirs: &[bcc("biolatency -d DISK", |said| said.buckets(&["usecs"])).at_its_end()],
    },
    Case {
        ours: "biopattern",
        workload: "block 1013 /dev/DISK",
        reads: |ours| ours.columns_of("7:MINOR", 1),
        wanted: Wanted::Near(1009, 1),
        theirs: &[bcc("biopattern -d DISK", |said| said.columns(3))
            .at_its_end()
            .noting("It counts from the second I/O of a disk on.")],
    },
    Case {
        ours: "hardirqs",
        workload: "sync 1009",
        reads: |ours| ours.stats(&[], "n"),
        wanted: Wanted::Whole(101, 20),
        theirs: &[bcc("hardirqs -C", |said| said.numbers(&[])).at_its_end()],
    },
    Case {
        ours: "writeback",
        workload: "run 5 /bin/sync",
        reads: |ours| ours.events(&[("why", "WB_REASON_SYNC")]),
        wanted: Wanted::Whole(3, 20),
        theirs: &[bpftrace("writeback.bt", |said| said.lines(&["sync"]))],
    },
];
