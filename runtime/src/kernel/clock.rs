//! The clock of events: what programs stamp them with counts from the boot of the machine; people want the time of day.

use std::time::Duration;

/// What has to be added to an event's time, and how far off that may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    nanos: i128,
    /// Half of how long taking both clocks took.
    pub error: Duration,
}

/// So often are both clocks taken; the shortest time counts.
const TRIES: usize = 16;

impl Offset {
    /// Between CLOCK_MONOTONIC, which `bpf_ktime_get_ns` gives, and the time of day, now. A step of the time of day later
    /// does not reach it: times of one run stay in order.
    pub fn sample() -> Offset {
        let tries = (0..TRIES).map(|_| {
            let (before, day, after) =
                (read(libc::CLOCK_MONOTONIC), read(libc::CLOCK_REALTIME), read(libc::CLOCK_MONOTONIC));
            (after - before, day - before.midpoint(after))
        });
        let (took, nanos) = tries.min().unwrap_or_default();
        Offset { nanos, error: Duration::from_nanos(u64::try_from(took / 2).unwrap_or(u64::MAX)) }
    }

    /// Nanoseconds since 1970 of an event's time.
    pub fn day(&self, event: u64) -> u64 {
        u64::try_from(i128::from(event) + self.nanos).unwrap_or(0)
    }
}

fn read(clock: libc::clockid_t) -> i128 {
    // SAFETY: plain data, filled by the call.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: the clock exists on every Linux; the call writes one `timespec`.
    unsafe { libc::clock_gettime(clock, &mut time) };
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// Does something, such as NTP, keep the time of day right?
pub fn is_synchronised() -> bool {
    // SAFETY: plain data, which asks for nothing to be changed.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the call writes one `timex`.
    let state = unsafe { libc::adjtimex(&mut state) };
    (0..libc::TIME_ERROR).contains(&state)
}

/// Seconds of local time ahead of UTC at a second since 1970.
pub fn ahead(seconds: i64) -> i32 {
    // SAFETY: plain data.
    let mut parts: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: writes only to what it is given.
    unsafe { libc::localtime_r(&seconds, &mut parts) };
    i32::try_from(parts.tm_gmtoff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_of_now_has_the_time_of_now() {
        let offset = Offset::sample();
        let event = u64::try_from(read(libc::CLOCK_MONOTONIC)).expect("the machine is up");
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
        let now = u64::try_from(since.as_nanos()).expect("it is before 2554");
        assert!(now.abs_diff(offset.day(event)) < 1_000_000_000 && offset.error < Duration::from_millis(10));
    }
}
