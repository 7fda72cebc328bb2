//! Counters of the whole machine: /proc/stat, /proc/meminfo, /proc/vmstat.

use super::{number, parsed};
use serde_json::{Map, Value as Json, json};

/// The kernel counts in hundredths of a second, whatever its own clock is.
const TICK: u64 = 10;

/// What the first line of /proc/stat counts, in its order.
const TIMES: [&str; 9] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest"];

/// Times in milliseconds, the number of CPUs, and what the scheduler counts.
pub fn stat(text: &str) -> Option<Json> {
    let mut lines = text.lines();
    let all = lines.next()?.strip_prefix("cpu ")?;
    let mut words = all.split_whitespace();
    let mut counts = Map::new();
    for name in TIMES {
        let ticks: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        counts.insert(name.into(), number(ticks.saturating_mul(TICK)));
    }
    let is_cpu =
        |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    counts.insert("cpus".into(), number(text.lines().filter(is_cpu).count() as u64));
    for (ours, theirs) in
        [("switches", "ctxt"), ("forks", "processes"), ("running", "procs_running"), ("blocked", "procs_blocked")]
    {
        let value = lines.clone().find_map(|line| line.strip_prefix(theirs)?.strip_prefix(' ').and_then(parsed));
        counts.insert(ours.into(), value.unwrap_or(json!(0)));
    }
    Some(counts.into())
}

/// `MemTotal:       24684092 kB`: bytes, and numbers that have no unit as they are.
pub fn meminfo(text: &str) -> Json {
    let line = |line: &str| {
        let (name, rest) = line.split_once(':')?;
        let mut words = rest.split_whitespace();
        let value: u64 = words.next()?.parse().ok()?;
        let unit = if words.next() == Some("kB") { 1024 } else { 1 };
        Some((name.to_owned(), number(value.saturating_mul(unit))))
    };
    text.lines().filter_map(line).collect::<Map<_, _>>().into()
}

/// `name value` lines.
pub fn words(text: &str) -> Json {
    let line = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), parsed(value.trim())?))
    };
    text.lines().filter_map(line).collect::<Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_milliseconds_and_cpus_are_counted() {
        let text =
            "cpu  10 2 3 400 5 6 7 8 9 0\ncpu0 5 1 1 200\ncpu1 5 1 2 200\nctxt 77\nprocesses 41\nprocs_running 3\n";
        let counts = stat(text).unwrap();
        assert_eq!((&counts["user"], &counts["steal"], &counts["cpus"]), (&json!(100), &json!(80), &json!(2)));
        assert_eq!((&counts["switches"], &counts["forks"], &counts["blocked"]), (&json!(77), &json!(41), &json!(0)));
    }

    #[test]
    fn odd_files_give_what_can_be_read_of_them() {
        assert_eq!((stat(""), stat("intr 1\n")), (None, None));
        let short = stat("cpu 1 x 18446744073709551615").unwrap();
        assert_eq!((&short["user"], &short["nice"], &short["system"]), (&json!(10), &json!(0), &json!(i64::MAX)));
        let info =
            meminfo("MemTotal: 2 kB\nHugePages_Total:       5\nbad\nalso: bad kB\nHuge: 18446744073709551615 kB\n");
        assert_eq!(info, json!({ "MemTotal": 2048, "HugePages_Total": 5, "Huge": i64::MAX }));
        assert_eq!(words("pgscan 5\nx\ny z\n 3\n"), json!({ "pgscan": 5, "": 3 }));
    }
}
