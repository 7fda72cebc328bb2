//! Perf events: what overflows when. Source: include/uapi/linux/perf_event.h.

use super::sys::PerfEvent;

/// Kinds of perf events (`type`).
pub const HARDWARE: u32 = 0;
pub const SOFTWARE: u32 = 1;
pub const TRACEPOINT: u32 = 2;

/// bpftrace's names and aliases, the kernel's number, and the period where none is given.
const SOFTWARE_EVENTS: &[(&str, &str, u64, u64)] = &[
    ("cpu-clock", "cpu", 0, 1_000_000),
    ("task-clock", "", 1, 1_000_000),
    ("page-faults", "faults", 2, 100),
    ("context-switches", "cs", 3, 1_000),
    ("cpu-migrations", "", 4, 1),
    ("minor-faults", "", 5, 100),
    ("major-faults", "", 6, 1),
    ("alignment-faults", "", 7, 1),
    ("emulation-faults", "", 8, 1),
];

const HARDWARE_EVENTS: &[(&str, &str, u64, u64)] = &[
    ("cpu-cycles", "cycles", 0, 1_000_000),
    ("instructions", "", 1, 1_000_000),
    ("cache-references", "", 2, 1_000_000),
    ("cache-misses", "", 3, 1_000_000),
    ("branch-instructions", "branches", 4, 100_000),
    ("branch-misses", "", 5, 100_000),
    ("bus-cycles", "", 6, 100_000),
    ("stalled-cycles-frontend", "", 7, 1_000_000),
    ("stalled-cycles-backend", "", 8, 1_000_000),
    ("ref-cycles", "", 9, 1_000_000),
];

fn table(kind: u32) -> &'static [(&'static str, &'static str, u64, u64)] {
    if kind == SOFTWARE { SOFTWARE_EVENTS } else { HARDWARE_EVENTS }
}

/// Number and default period of a software or hardware event.
pub fn event(kind: u32, name: &str) -> Option<(u64, u64)> {
    let found = table(kind).iter().find(|(long, short, ..)| *long == name || (!short.is_empty() && *short == name));
    found.map(|(_, _, number, period)| (*number, *period))
}

/// The names that [`event`] knows.
pub fn names(kind: u32) -> impl Iterator<Item = &'static str> {
    table(kind).iter().map(|(name, ..)| *name)
}

/// When an event overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Every {
    /// Times a second.
    Hertz(u64),
    /// Occurrences (nanoseconds for clocks).
    Period(u64),
}

/// The attributes of an event that runs a program at each overflow.
pub fn attributes(kind: u32, config: u64, every: Every) -> PerfEvent {
    const FREQUENCY: u64 = 1 << 10;
    let (period, flags) = match every {
        Every::Hertz(hertz) => (hertz, FREQUENCY),
        Every::Period(period) => (period, 0),
    };
    PerfEvent { kind, config, period, flags, ..Default::default() }
}
