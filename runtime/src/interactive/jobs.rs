//! Jobs: what runs in the background while somebody types: chains in the kernel, timers of `every`.

use crate::plan::{Entry, Output, Then};
use crate::report::units;
use crate::script::host::Closure;
use crate::script::run::Running;
use serde_json::{Value as Json, json};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// One chain, or the chains that the foreground waits for.
pub struct Job {
    pub number: usize,
    pub running: Running,
    /// What it looks at.
    pub what: String,
    /// A closure or a command asked it to end.
    pub stop: Cell<bool>,
    /// The line that began it.
    pub line: usize,
}

/// A closure that is called again and again.
pub struct Timer {
    pub number: usize,
    pub period: Duration,
    pub next: Cell<Instant>,
    pub closure: Closure,
    pub stop: Cell<bool>,
    pub line: usize,
    /// The numbers that it gave last, for a sparkline.
    pub history: RefCell<Vec<f64>>,
}

/// All of them.
#[derive(Default)]
pub struct Jobs {
    pub list: RefCell<Vec<Rc<Job>>>,
    pub timers: RefCell<Vec<Rc<Timer>>>,
    last: Cell<usize>,
}

impl Jobs {
    /// The number of the next one. A number is not used twice.
    pub fn next(&self) -> usize {
        self.last.set(self.last.get() + 1);
        self.last.get()
    }

    pub fn of_chain(&self, chain: usize) -> Option<Rc<Job>> {
        self.list.borrow().iter().find(|job| job.running.active.chains.contains(&chain)).cloned()
    }

    pub fn is_empty(&self) -> bool {
        self.list.borrow().is_empty() && self.timers.borrow().is_empty()
    }

    pub fn len(&self) -> usize {
        self.list.borrow().len() + self.timers.borrow().len()
    }

    pub fn numbers(&self) -> Vec<usize> {
        let list = self.list.borrow();
        let timers = self.timers.borrow();
        let mut numbers: Vec<usize> =
            list.iter().map(|job| job.number).chain(timers.iter().map(|timer| timer.number)).collect();
        numbers.sort_unstable();
        numbers
    }

    /// A line for each, as `:jobs` shows them.
    pub fn text(&self) -> String {
        let mut lines: Vec<(usize, String)> = Vec::new();
        for job in self.list.borrow().iter() {
            let since = units::duration(job.running.began.1.elapsed().as_nanos() as i128);
            let (passed, lost) = job.counts();
            let lost = if lost > 0 { format!(", {} lost", units::grouped(lost)) } else { String::new() };
            let passed = units::grouped(passed);
            lines.push((job.number, format!("{:<44} {since:>8}  {passed} events{lost}", job.what)));
        }
        for timer in self.timers.borrow().iter() {
            let period = units::duration(timer.period.as_nanos() as i128);
            lines.push((timer.number, format!("every {period}, a closure")));
        }
        lines.sort();
        lines.into_iter().map(|(number, line)| format!("{number:>3}  {line}\n")).collect()
    }

    /// The same as data.
    pub fn json(&self) -> Json {
        let mut all: Vec<(usize, Json)> = Vec::new();
        for job in self.list.borrow().iter() {
            let (events, lost) = job.counts();
            let seconds = job.running.began.1.elapsed().as_secs_f64();
            let job_json =
                json!({ "job": job.number, "what": job.what, "seconds": seconds, "events": events, "lost": lost });
            all.push((job.number, job_json));
        }
        for timer in self.timers.borrow().iter() {
            let period = timer.period.as_secs_f64();
            all.push((timer.number, json!({ "job": timer.number, "what": "every", "period": period })));
        }
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, one)| one).collect()
    }
}

impl Job {
    /// Events that passed the filter, and those that were lost; what cannot be read now is read at the end.
    pub fn counts(&self) -> (u64, u64) {
        let session = self.running.active.session.borrow();
        let counters = (0..self.running.active.chains.len()).filter_map(|n| session.trust(n).ok());
        counters.fold((0, 0), |(passed, lost), one| {
            (passed + one.seen.saturating_sub(one.filtered), lost + one.lost() + one.missed)
        })
    }
}

/// What a chain looks at and what becomes of it, in one short line.
pub fn what(entry: &Entry) -> String {
    let output = match &entry.output {
        Output::None => "count".to_owned(),
        Output::Aggregate { kind, .. } => kind.name().to_owned(),
        Output::Stream { then: Then::Each, .. } => "each".to_owned(),
        Output::Stream { .. } => "lines".to_owned(),
    };
    let by: Vec<&str> = entry.key.iter().map(|column| column.name.as_str()).collect();
    let by = if by.is_empty() { String::new() } else { format!(" by {}", by.join(", ")) };
    format!("{} -> {output}{by}", entry.source_text())
}

/// Numbers as a line of bars, the last `width` of them.
pub fn sparkline(numbers: &[f64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let numbers = &numbers[numbers.len().saturating_sub(width)..];
    let (low, high) = numbers.iter().fold((f64::MAX, f64::MIN), |(low, high), n| (low.min(*n), high.max(*n)));
    let bar = |n: &f64| {
        let share = if high > low { (n - low) / (high - low) } else { 0.0 };
        BARS[((share * 7.0).round() as usize).min(7)]
    };
    numbers.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparkline_spans_the_lowest_to_the_highest() {
        assert_eq!(sparkline(&[0.0, 1.0, 7.0], 8), "▁▂█");
        assert_eq!(sparkline(&[9.0, 0.0, 1.0, 7.0], 3), "▁▂█");
        assert_eq!(sparkline(&[5.0, 5.0], 8), "▁▁");
        assert_eq!(sparkline(&[], 8), "");
    }
}
