//! Trust: how complete a result is. Every loss is counted where it happens and added up here.

use crate::budget::percent;
use crate::kernel::map::{self, Map, Shape};
use crate::report::units::{duration, grouped};
use std::io;

/// Counts of one run, or of one of its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Events at the attach points.
    pub seen: u64,
    /// Of them, those that the filter did not pass.
    pub filtered: u64,
    /// Of those that passed, those that a rate or a number did not let through.
    pub limited: u64,
    /// Of them, those that an aggregation took.
    pub counted: u64,
    /// Of them, those that reached the script.
    pub delivered: u64,
    /// The ring buffer was full.
    pub lost_ring: u64,
    /// The aggregation's map was full.
    pub lost_map: u64,
    /// Ends whose starts were not seen.
    pub unmatched: u64,
    /// Starts that another start with the same key replaced.
    pub nested: u64,
    /// Starts that had no end yet when the run was over.
    pub open: u64,
    /// Starts that gave way to later ones: their table was full. Their ends are among the unmatched, if they came.
    pub evicted: u64,
    /// Call chains that found no place in their map, or that the kernel could not keep just then.
    pub lost_stacks: u64,
    /// Frames of call chains that were shown, and those without a name among them.
    pub frames: u64,
    pub unresolved: u64,
    /// User stacks that were copied and unwound, and those that ended before their root.
    pub stacks: u64,
    pub incomplete: u64,
    /// Processes that were not followed: there was no room for them.
    pub left_out: u64,
    /// Events that the kernel ran no program for, as far as it counts them: not among those that were seen. Whether they
    /// would have passed the filter is not known.
    pub missed: u64,
    /// Nanoseconds that the run lasted, and of them those that its programs were attached; 0 where it had no budget.
    pub lasted: u64,
    pub attached: u64,
    /// Nanoseconds of the processors that it took, in the kernel and here.
    pub in_kernel: u64,
    pub here: u64,
    /// Nanoseconds that the latest events were late: from when they were read until the script was done with them.
    pub lag: u64,
}

/// A script that is later than this is behind, and it is said: to find the first symbols takes a second or two by itself.
const LATE: u64 = 5_000_000_000;

/// The map's value, `struct trust` of skep.bpf.h: words per CPU.
pub const WORDS: usize = 8;
/// Where in the value lost call chains are counted, in bytes: slots do that themselves.
pub const LOST_STACKS: i16 = 48;

/// The map that templates count in.
pub fn shape() -> Shape {
    Shape { map_type: map::PERCPU_ARRAY, key_size: 4, value_size: 8 * WORDS as u32, max_entries: 1 }
}

/// A counter of one word a CPU, over all of them.
///
/// # Errors
/// The kernel's.
pub fn sum(map: &Map) -> io::Result<u64> {
    let bytes = map.lookup(&0u32.to_ne_bytes())?.unwrap_or_default();
    let words = bytes.chunks_exact(8).map(|word| word.try_into().map(u64::from_ne_bytes).unwrap_or_default());
    Ok(words.fold(0, u64::wrapping_add))
}

impl Trust {
    /// Adds up an entry's counters over all CPUs. `streams`: what passed was to be delivered, not counted. All that began
    /// and did not end is said to be evicted: see [`Trust::still_there`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(map: &Map, streams: bool) -> io::Result<Trust> {
        let bytes = map.lookup(&0u32.to_ne_bytes())?.unwrap_or_default();
        let mut sums = [0u64; WORDS];
        for (n, word) in bytes.chunks_exact(8).enumerate() {
            let word = word.try_into().map(u64::from_ne_bytes).unwrap_or_default();
            sums[n % WORDS] = sums[n % WORDS].wrapping_add(word);
        }
        let [seen, filtered, lost_ring, lost_map, unmatched, nested, lost_stacks, evicted] = sums;
        let passed = seen.saturating_sub(filtered);
        let counted = if streams { 0 } else { passed.saturating_sub(lost_map) };
        let trust =
            Trust { seen, filtered, counted, lost_ring, lost_map, unmatched, nested, lost_stacks, ..Trust::default() };
        // Two processors at the same key may count one start too few.
        Ok(Trust { evicted: evicted.cast_signed().max(0).cast_unsigned(), ..trust })
    }

    /// So many of those that began wait in their tables, or were taken out of them by ourselves.
    pub fn still_there(self, waiting: u64) -> Trust {
        Trust { evicted: self.evicted.saturating_sub(waiting), ..self }
    }

    pub fn add(&mut self, other: &Trust) {
        self.seen += other.seen;
        self.filtered += other.filtered;
        self.limited += other.limited;
        self.counted += other.counted;
        self.delivered += other.delivered;
        self.lost_ring += other.lost_ring;
        self.lost_map += other.lost_map;
        self.unmatched += other.unmatched;
        self.nested += other.nested;
        self.open += other.open;
        self.evicted += other.evicted;
        self.lost_stacks += other.lost_stacks;
        self.frames += other.frames;
        self.unresolved += other.unresolved;
        self.stacks += other.stacks;
        self.incomplete += other.incomplete;
        self.left_out += other.left_out;
        self.missed += other.missed;
        self.lasted += other.lasted;
        self.attached += other.attached;
        self.in_kernel += other.in_kernel;
        self.here += other.here;
        self.lag = self.lag.max(other.lag);
    }

    pub fn lost(&self) -> u64 {
        self.lost_ring + self.lost_map
    }

    /// Passed the filter, and neither counted nor delivered nor known to be lost: must be none.
    pub fn unaccounted(&self) -> u64 {
        self.seen.saturating_sub(self.filtered + self.limited + self.counted + self.delivered + self.lost())
    }

    /// Was it attached a part of the time only, because of its budget?
    pub fn is_sample(&self) -> bool {
        self.attached < self.lasted
    }

    /// What the run took, as a share of one processor; `None` where nobody measured it.
    pub fn cost(&self) -> Option<f64> {
        (self.lasted > 0).then(|| (self.in_kernel + self.here) as f64 / self.lasted as f64)
    }

    /// Is nothing missing?
    pub fn is_complete(&self) -> bool {
        !self.is_sample()
            && self.lost() + self.unaccounted() + self.left_out + self.lost_stacks + self.missed + self.evicted == 0
    }

    /// Every count by its name, for programs; what the run took where that was measured.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let took = [
            ("lasted_ns", self.lasted),
            ("attached_ns", self.attached),
            ("kernel_ns", self.in_kernel),
            ("here_ns", self.here),
        ];
        let measured = self.lasted > 0;
        let late = (self.lag >= LATE).then_some(("lag_ns", self.lag));
        let counts = [
            ("seen", self.seen),
            ("filtered", self.filtered),
            ("limited", self.limited),
            ("counted", self.counted),
            ("delivered", self.delivered),
            ("lost", self.lost()),
            ("lost_ring", self.lost_ring),
            ("lost_map", self.lost_map),
            ("unmatched", self.unmatched),
            ("nested", self.nested),
            ("open", self.open),
            ("evicted", self.evicted),
            ("lost_stacks", self.lost_stacks),
            ("frames", self.frames),
            ("unresolved", self.unresolved),
            ("stacks", self.stacks),
            ("incomplete", self.incomplete),
            ("left_out", self.left_out),
            ("missed", self.missed),
        ];
        counts.into_iter().chain(took.into_iter().filter(move |_| measured)).chain(late)
    }

    /// `trust: 1,861 seen, 0 filtered, 1,861 counted, 0 lost`
    pub fn line(&self) -> String {
        let mut line = format!("trust: {} seen, {} filtered", grouped(self.seen), grouped(self.filtered));
        if self.limited > 0 {
            line += &format!(", {} limited", grouped(self.limited));
        }
        if self.counted > 0 || self.delivered == 0 {
            line += &format!(", {} counted", grouped(self.counted));
        }
        if self.delivered > 0 {
            line += &format!(", {} delivered", grouped(self.delivered));
        }
        line += &format!(", {} lost", grouped(self.lost()));
        let reasons: Vec<String> = [(self.lost_ring, "ring buffer full"), (self.lost_map, "map full")]
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, reason)| format!("{} {reason}", grouped(*count)))
            .collect();
        if !reasons.is_empty() {
            line += &format!(" ({})", reasons.join(", "));
        }
        if self.missed > 0 {
            line += &format!(", {} missed (the kernel could not run the probe)", grouped(self.missed));
        }
        let pairs = [
            (self.unmatched, "end", "without a start"),
            (self.nested, "start", "replaced by another"),
            (self.open, "start", "still open"),
            (self.evicted, "start", "given up (table full)"),
        ];
        for (count, what, fate) in pairs.iter().filter(|(count, ..)| *count > 0) {
            line += &format!(", {} {what}{} {fate}", grouped(*count), if *count == 1 { "" } else { "s" });
        }
        if self.lost_stacks > 0 {
            let s = if self.lost_stacks == 1 { "" } else { "s" };
            line += &format!(", {} stack{s} not kept", grouped(self.lost_stacks));
        }
        if self.incomplete > 0 {
            line += &format!(", {} of {} stacks incomplete", grouped(self.incomplete), grouped(self.stacks));
        }
        if self.unresolved > 0 {
            line += &format!(", {} of {} frames without a name", grouped(self.unresolved), grouped(self.frames));
        }
        if self.left_out > 0 {
            line += &format!(
                ", {} process{} not followed (table full)",
                grouped(self.left_out),
                if self.left_out == 1 { "" } else { "es" }
            );
        }
        if self.lag >= LATE {
            line += &format!(", events up to {} late", duration(i128::from(self.lag)));
        }
        if self.is_sample() {
            let part = percent(self.attached as f64 / self.lasted as f64);
            line += &format!(", attached {part} of the time");
        }
        if let Some(cost) = self.cost() {
            line += &format!(", {} of a processor", percent(cost));
        }
        if self.unaccounted() > 0 {
            line += &format!(", {} not accounted for", grouped(self.unaccounted()));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_line_names_every_kind_of_loss() {
        let trust =
            Trust { seen: 1861, filtered: 61, counted: 1700, lost_map: 60, lost_ring: 40, ..Default::default() };
        assert_eq!(
            trust.line(),
            "trust: 1,861 seen, 61 filtered, 1,700 counted, 100 lost (40 ring buffer full, 60 map full)"
        );
        assert_eq!(trust.unaccounted(), 0);
    }

    #[test]
    fn trust_line_names_spans_without_a_partner() {
        let trust = Trust { seen: 7, counted: 7, unmatched: 1234, nested: 2, open: 1, ..Default::default() };
        assert_eq!(
            trust.line(),
            "trust: 7 seen, 0 filtered, 7 counted, 0 lost, 1,234 ends without a start, 2 starts replaced by another, 1 start still open"
        );
        assert!(trust.is_complete());
        let trust = Trust { seen: 7, counted: 7, open: 1, evicted: 2000, ..Default::default() }.still_there(766);
        assert_eq!(
            trust.line(),
            "trust: 7 seen, 0 filtered, 7 counted, 0 lost, 1 start still open, 1,234 starts given up (table full)"
        );
        assert!(!trust.is_complete());
    }

    #[test]
    fn trust_line_names_stacks_and_frames() {
        let trust = Trust { seen: 7, counted: 7, lost_stacks: 1, frames: 1200, unresolved: 3, ..Default::default() };
        let expected =
            "trust: 7 seen, 0 filtered, 7 counted, 0 lost, 1 stack not kept, 3 of 1,200 frames without a name";
        assert_eq!(trust.line(), expected);
        assert!(!trust.is_complete());
    }

    #[test]
    fn trust_line_names_what_was_missed() {
        let trust = Trust { seen: 7, counted: 7, missed: 1234, ..Default::default() };
        let line = "trust: 7 seen, 0 filtered, 7 counted, 0 lost, 1,234 missed (the kernel could not run the probe)";
        assert_eq!((trust.line().as_str(), trust.is_complete()), (line, false));
    }

    #[test]
    fn trust_line_says_how_late_a_slow_script_was() {
        let trust = Trust { seen: 7, delivered: 7, lag: 4_999_999_999, ..Trust::default() };
        assert_eq!(trust.line(), "trust: 7 seen, 0 filtered, 7 delivered, 0 lost");
        assert!(trust.counts().all(|(name, _)| name != "lag_ns"));
        let mut late = Trust { lag: 7_300_000_000, ..trust };
        late.add(&Trust { lag: 7, ..Trust::default() });
        assert_eq!(late.line(), "trust: 7 seen, 0 filtered, 7 delivered, 0 lost, events up to 7.30s late");
        assert_eq!(late.counts().last(), Some(("lag_ns", 7_300_000_000)));
        // Late, and all there.
        assert!(late.is_complete());
    }

    #[test]
    fn trust_line_names_what_the_run_took() {
        let budget =
            Trust { lasted: 1_000_000, attached: 1_000_000, in_kernel: 7_000, here: 1_400, ..Trust::default() };
        let trust = Trust { seen: 7, counted: 7, ..budget };
        assert_eq!(trust.line(), "trust: 7 seen, 0 filtered, 7 counted, 0 lost, 0.84 % of a processor");
        assert!(trust.is_complete());
        let trust = Trust { attached: 26_000, ..trust };
        let line = "trust: 7 seen, 0 filtered, 7 counted, 0 lost, attached 2.6 % of the time, 0.84 % of a processor";
        assert_eq!((trust.line().as_str(), trust.is_complete()), (line, false));
    }

    #[test]
    fn trust_line_names_processes_without_room() {
        let trust = Trust { seen: 990, counted: 990, stacks: 990, incomplete: 7, ..Default::default() };
        assert_eq!(trust.line(), "trust: 990 seen, 0 filtered, 990 counted, 0 lost, 7 of 990 stacks incomplete");
        // As with frames that have no name, every event is there.
        assert!(trust.is_complete());
        let trust = Trust { seen: 7, counted: 7, left_out: 2, ..Default::default() };
        assert_eq!(trust.line(), "trust: 7 seen, 0 filtered, 7 counted, 0 lost, 2 processes not followed (table full)");
        assert!(!trust.is_complete());
    }
}
