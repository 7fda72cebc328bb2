//! Processes, their threads, and the functions that they call.

use super::case::{Case, Wanted};
use super::tool::{Theirs, Tool, bcc, bpftrace};

pub const CASES: &[Case] = &[
    Case {
        ours: "execsnoop",
        workload: "run 23 FOLDER/true",
        reads: |ours| ours.events(&[("ppid", "PID"), ("argv", "FOLDER/true")]),
        wanted: Wanted::Exactly(23),
        theirs: &[
            bpftrace("execsnoop.bt", |said| said.lines(&["FOLDER/true"])),
            bcc("execsnoop", |said| said.lines(&["PID", "FOLDER/true"])),
        ],
    },
    Case {
        ours: "exitsnoop --failed true",
        workload: "run 29 /bin/false",
        reads: |ours| ours.events(&[("comm", "false"), ("parent", "PID"), ("status", "1")]),
        wanted: Wanted::Exactly(29),
        theirs: &[bcc("exitsnoop -x", |said| said.lines(&["false", "PID"]))],
    },
    Case {
        ours: "pidpersec",
        workload: "run 1009 /bin/true sleep 1100",
        reads: |ours| ours.values(&[]),
        wanted: Wanted::Whole(1009, 10),
        theirs: &[bpftrace("pidpersec.bt", |said| said.numbers(&["@:"])).at_its_end()],
    },
    Case {
        ours: "threadsnoop --pid PID",
        workload: "pause 31",
        reads: |ours| ours.events(&[("pid", "PID")]),
        wanted: Wanted::Exactly(31),
        theirs: &[Theirs {
            tool: Tool::Amended("threadsnoop.bt", "libpthread", "libc"),
            // Milliseconds may be the number of the process, too.
            reads: |said| said.lines(&["PID", "skep-workload"]),
            note: "With `libc` for `libpthread`, which is empty from glibc 2.34 on.",
            at_its_end: false,
        }],
    },
    Case {
        ours: "gethostlatency --pid PID",
        workload: "resolve 37 localhost",
        reads: |ours| ours.events(&[("host", "localhost")]),
        wanted: Wanted::Exactly(37),
        theirs: &[
            bpftrace("gethostlatency.bt", |said| said.lines(&["PID", "localhost"])),
            bcc("gethostlatency -p PID", |said| said.lines(&["PID", "localhost"])),
        ],
    },
    Case {
        ours: "bashreadline",
        workload: "type 41 FOLDER",
        reads: |ours| ours.events(&[("line", ": FOLDER")]),
        wanted: Wanted::Exactly(41),
        theirs: &[
            bpftrace("bashreadline.bt", |said| said.lines(&["FOLDER"])),
            bcc("bashreadline", |said| said.lines(&["FOLDER"])),
        ],
    },
    Case {
        ours: "funclatency --function BIN:workload_double --pid PID",
        workload: "double 1009",
        reads: |ours| ours.buckets(&[]),
        wanted: Wanted::Exactly(1009),
        theirs: &[bcc("funclatency -p PID :workload_double", |said| said.buckets(&["nsec"])).at_its_end()],
    },
];
