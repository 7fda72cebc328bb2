//! Whether names are the right ones: skep's folded text beside what inferno makes of `perf script`, both of the same program
//! at the same time.

use super::flame::{Subject, Until, graph};
use super::programs::Programs;
use super::tools::Tool;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Samples enough for shares within about a point.
const COMPARED: Until = Until::Over(4);

/// A sentence on the functions whose shares differ most.
///
/// # Errors
/// One of the tools fails, or what it leaves is no folded text.
pub fn compare(programs: &Programs, subject: &Subject) -> Result<String, String> {
    let running = subject.start()?;
    let pid = running.0.id();
    let [ours, theirs] = ["ours.folded", "theirs.folded"].map(|name| programs.scratch(name));
    std::thread::scope(|scope| {
        let skep = scope.spawn(|| graph(programs, Tool::Skep, pid, 997, COMPARED, &ours));
        let perf = graph(programs, Tool::Perf, pid, 997, COMPARED, &theirs);
        let skep = skep.join().map_err(|_| "the thread of skep died".to_owned())?;
        skep.and(perf)
    })?;
    let (ours, theirs) = (Shares::read(&ours)?, Shares::read(&theirs)?);
    let mut apart: Vec<(f64, &str)> = ours
        .of
        .keys()
        .chain(theirs.of.keys())
        .map(|name| (100.0 * (ours.share(name) - theirs.share(name)), name.as_str()))
        .collect();
    apart.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()).then(a.1.cmp(b.1)));
    apart.dedup();
    let most: Vec<String> = apart
        .iter()
        .take(3)
        .map(|(_, name)| format!("`{name}` {:.1} and {:.1} %", 100.0 * ours.share(name), 100.0 * theirs.share(name)))
        .collect();
    Ok(format!(
        "{} at 997 Hz, {} samples of skep and {:.0} of perf at the same time: the shares of functions that differ most \
         are {}.",
        subject.name,
        ours.total,
        // It counts nanoseconds.
        theirs.total as f64 * 997.0 / 1e9,
        most.join(", ")
    ))
}

/// Of each function: samples with it anywhere in their stack.
struct Shares {
    of: BTreeMap<String, u64>,
    total: u64,
}

impl Shares {
    fn read(path: &Path) -> Result<Shares, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("failed to read {}: {error}", path.display()))?;
        let mut shares = Shares { of: BTreeMap::new(), total: 0 };
        for (stack, count) in text.lines().filter_map(|line| line.rsplit_once(' ')) {
            let count: u64 = count.parse().map_err(|_| format!("no stack: {stack} {count}"))?;
            // Marks of the kernel's frames and versions of symbols are no names, and neither is what has none.
            let name =
                |frame: &str| frame.split("_[").next().and_then(|name| name.split('@').next()).map(str::to_owned);
            let named = |name: &String| !name.starts_with("0x") && !name.contains("+0x") && !name.starts_with('[');
            let mut names: Vec<String> = stack.split(';').filter_map(name).filter(named).collect();
            names.sort();
            names.dedup();
            names.into_iter().for_each(|name| *shares.of.entry(name).or_default() += count);
            shares.total += count;
        }
        Ok(shares)
    }

    fn share(&self, name: &str) -> f64 {
        self.of.get(name).map_or(0.0, |count| *count as f64 / self.total.max(1) as f64)
    }
}
