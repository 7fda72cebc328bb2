//! System calls.

use super::case::{Case, Wanted};
use super::tool::{bcc, bpftrace};

pub const CASES: &[Case] = &[
    Case {
        ours: "opensnoop --pid PID",
        workload: "open 23 FOLDER/none",
        reads: |ours| ours.events(&[("path", "FOLDER/none"), ("error", "ENOENT")]),
        wanted: Wanted::Exactly(23),
        theirs: &[
            bpftrace("opensnoop.bt", |said| said.lines(&["PID", "2", "FOLDER/none"])),
            bcc("opensnoop -p PID", |said| said.lines(&["PID", "2", "FOLDER/none"])),
        ],
    },
    Case {
        ours: "statsnoop --pid PID",
        workload: "statx 31 FOLDER/none",
        reads: |ours| ours.events(&[("path", "FOLDER/none"), ("error", "ENOENT")]),
        wanted: Wanted::Exactly(31),
        theirs: &[bpftrace("statsnoop.bt", |said| said.lines(&["PID", "2", "FOLDER/none"]))
            .noting("It knows no `newfstatat`, which is what C libraries call: so this workload.")],
    },
    Case {
        ours: "syscount --pid PID",
        workload: "getpgid 100003",
        reads: |ours| ours.values(&[("syscall", "getpgid")]),
        wanted: Wanted::Exactly(100_003),
        theirs: &[bcc("syscount -p PID", |said| said.numbers(&["getpgid"])).at_its_end()],
    },
    Case {
        ours: "syscount --by process --top 10000",
        workload: "name syscounted getpgid 300007 name over",
        reads: |ours| ours.values(&[("comm", "syscounted")]),
        // And the call that ends the name.
        wanted: Wanted::Exactly(300_008),
        theirs: &[bpftrace("syscount.bt", |said| said.numbers(&["@process[syscounted]:"])).at_its_end()],
    },
    Case {
        ours: "killsnoop --pid PID",
        workload: "kill 37 28",
        reads: |ours| ours.events(&[("target", "PID"), ("signal", "SIGWINCH")]),
        wanted: Wanted::Exactly(37),
        theirs: &[
            bpftrace("killsnoop.bt", |said| said.lines(&["PID", "28"])),
            bcc("killsnoop -p PID", |said| said.lines(&["PID", "28"])),
            bcc("sigsnoop -p PID", |said| said.lines(&["PID", "28"])),
        ],
    },
    Case {
        ours: "syncsnoop --pid PID",
        workload: "sync 41",
        reads: |ours| ours.lines(&["fsync", "0"]),
        wanted: Wanted::Exactly(41),
        theirs: &[bpftrace("syncsnoop.bt", |said| said.lines(&["PID", "tracepoint:syscalls:sys_enter_fsync"]))],
    },
    Case {
        ours: "setuids --pid PID",
        workload: "setuid 43",
        reads: |ours| ours.lines(&["setuid", "0"]),
        wanted: Wanted::Exactly(43),
        theirs: &[bpftrace("setuids.bt", |said| said.lines(&["PID", "setuid", "uid=0", "0"]))],
    },
    Case {
        ours: "mountsnoop --pid PID",
        workload: "mount 23",
        reads: |ours| ours.lines(&["/nonexistent/skep", "ENOENT"]),
        wanted: Wanted::Exactly(23),
        theirs: &[bcc("mountsnoop -p PID", |said| said.lines(&["/nonexistent/skep", "-ENOENT"]))
            .noting("Of 47 at once it loses 18: its buffer has room for 29.")],
    },
    Case {
        ours: "naptime --pid PID",
        workload: "doze 53 3",
        reads: |ours| ours.stats(&[("comm", "skep-workload")], "n"),
        wanted: Wanted::Exactly(53),
        theirs: &[bpftrace("naptime.bt", |said| said.lines(&["PID", "0.003"]))
            .noting("It knows no `clock_nanosleep`, which is what glibc calls: so this workload.")],
    },
];
