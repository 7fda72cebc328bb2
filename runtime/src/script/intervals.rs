//! Intervals: `--interval 1s`, `--count 5`, `--top 20`, which every script takes that has no parameter of that name.

use super::functions::time_of_day;
use super::host::{Chain, Host, arranged};
use super::params::Params;
use super::run::Running;
use crate::diagnostic::Diagnostic;
use crate::kernel::load::text;
use crate::network::time::{Layout, Time};
use crate::recording::Tape;
use crate::report::units;
use std::time::Duration;

/// What is understood behind every script's name.
pub const COMMON: [&str; 3] = ["interval", "count", "top"];

/// The shortest, as that of `every`.
pub const LEAST: Duration = Duration::from_millis(10);

/// Results are shown each time, and begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    pub period: Duration,
    /// The run ends after so many.
    pub count: Option<u64>,
}

/// What a chain has shown at the ends of intervals.
#[derive(Default)]
pub struct Shown {
    pub tables: u64,
    /// Its last interval ended with the run: nothing is left to show.
    pub all: bool,
}

impl Intervals {
    /// What the command line says, or else the script: `usual`.
    ///
    /// # Errors
    /// A script diagnostic: what is given is no time, no number, or a number of nothing.
    pub fn of(params: &Params, usual: Option<Duration>) -> Result<Option<Intervals>, Diagnostic> {
        let count = match params.common("count") {
            Some(text) => Some(positive("count", text, "a number of intervals: 5")?),
            None => None,
        };
        let period = match (params.common("interval"), usual) {
            (None, usual) => usual,
            (Some(text), _) => {
                let period = units::parse_duration(text).map(Duration::from_nanos).filter(|period| *period >= LEAST);
                Some(period.ok_or_else(|| wrong("interval", text, "a time of at least 10ms: 1s, 500ms"))?)
            }
        };
        match (period, count) {
            (Some(period), count) => Ok(Some(Intervals { period, count })),
            (None, None) => Ok(None),
            (None, Some(_)) => {
                Err(Diagnostic::script("`--count` counts intervals, and no `--interval` says how long they are")
                    .help("--interval 1s --count 5")
                    .nowhere())
            }
        }
    }

    /// In which of them a run of this length ends, if its end is one of theirs.
    pub fn last(&self, length: Option<Duration>) -> Option<u64> {
        let nanos = length?.as_nanos();
        let whole = nanos > 0 && nanos.is_multiple_of(self.period.as_nanos());
        whole.then(|| u64::try_from(nanos / self.period.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Rows that `--top` allows.
///
/// # Errors
/// A script diagnostic: it is no number of rows.
pub fn top(params: &Params) -> Result<Option<usize>, Diagnostic> {
    let text = params.common("top");
    text.map(|text| positive("top", text, "a number of rows: 20").map(|n| n as usize)).transpose()
}

fn positive(name: &str, text: &str, what: &str) -> Result<u64, Diagnostic> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| wrong(name, text, what))
}

fn wrong(name: &str, text: &str, what: &str) -> Diagnostic {
    Diagnostic::script(format!("`--{name} {text}`: it takes {what}")).nowhere()
}

/// Can what is given be done? A recording has the values of its own intervals, and of no others.
///
/// # Errors
/// A script diagnostic: it cannot.
pub fn check(host: &Host) -> Result<(), Diagnostic> {
    top(&host.params.borrow())?;
    let asked = host.intervals()?;
    if host.measured.borrow().is_some() && asked.is_some() {
        return Err(Diagnostic::script("a baseline is of a whole run: there are no intervals")
            .help("--for 10s")
            .nowhere());
    }
    let (Some(asked), Tape::Replaying(player)) = (asked, &host.tape) else {
        return Ok(());
    };
    let then = Params::parse(&player.header.words).and_then(|params| Intervals::of(&params, host.interval.get()));
    let recorded = then.ok().flatten();
    if recorded == Some(asked) {
        return Ok(());
    }
    let has = match recorded {
        Some(Intervals { period, count: None }) => {
            format!("intervals of {}", units::duration(period.as_nanos() as i128))
        }
        Some(Intervals { period, count: Some(count) }) => {
            format!("{count} intervals of {}", units::duration(period.as_nanos() as i128))
        }
        None => "no intervals: its values are those of the end".to_owned(),
    };
    Err(Diagnostic::script(format!("the recording has {has}"))
        .help("sudo skep record --interval 1s -o FILE SCRIPT")
        .nowhere())
}

/// The end of an interval, as texts for people and for programs.
struct End {
    time: String,
    stamp: String,
}

impl End {
    fn now(host: &Host) -> End {
        let clock = host.tape.clock();
        End { time: time_of_day(clock), stamp: Time(clock.nanos).text(Layout::Rfc3339Milli) }
    }
}

impl Running {
    /// An interval is over: what nobody took is shown, and begins anew.
    ///
    /// # Errors
    /// The kernel's; a view that names no column.
    pub fn interval(&self, host: &Host) -> Result<(), Diagnostic> {
        let failed = |error: std::io::Error| Diagnostic::machine(format!("failed to read values: {}", text(&error)));
        let mut tables = Vec::new();
        let session = self.active.session.borrow();
        let mut chains = host.chains.borrow_mut();
        for (n, number) in self.active.chains.iter().enumerate() {
            let chain = &mut chains[*number];
            if chain.taken.get() {
                continue;
            }
            let Some(table) = session.table(n).map_err(failed)? else { continue };
            if !host.settings.graphs.is_empty() && table.spec.key.iter().any(|column| column.is_stack()) {
                // A graph is of the whole run.
                continue;
            }
            session.clear(n).map_err(failed)?;
            chain.shown.tables += 1;
            if let Some(whole) = &mut chain.whole {
                match whole {
                    Some(whole) => drop(whole.merge(table.clone())),
                    None => *whole = Some(table.clone()),
                }
            }
            tables.push(arranged(table, &chain.entry, top(&host.params.borrow())?)?);
        }
        drop(chains);
        if tables.is_empty() {
            return Ok(());
        }
        let end = End::now(host);
        let mut output = host.output.borrow_mut();
        output.interval(&end.time);
        for (n, table) in tables.iter().enumerate() {
            if n > 0 {
                output.gap();
            }
            output.table_at(table, &host.names, Some(&end.stamp));
        }
        output.flush();
        Ok(())
    }

    /// The last interval ended with the run.
    pub fn all_shown(&self, host: &Host) {
        let mut chains = host.chains.borrow_mut();
        self.active.chains.iter().for_each(|n| chains[*n].shown.all = chains[*n].shown.tables > 0);
    }
}

/// What is left of chains behind their last whole interval.
///
/// # Errors
/// A view that names no column.
pub fn rest(host: &Host, chains: &mut [Chain]) -> Result<bool, Diagnostic> {
    let mut end = None;
    for chain in chains.iter_mut().filter(|chain| chain.shown.tables > 0) {
        let Some(table) = chain.table.take() else { continue };
        if chain.taken.get() || chain.shown.all || table.rows().is_empty() {
            continue;
        }
        let table = arranged(table, &chain.entry, top(&host.params.borrow())?)?;
        let mut output = host.output.borrow_mut();
        match &end {
            Some(_) => output.gap(),
            None => output.interval(&end.insert(End::now(host)).time),
        }
        let stamp = end.as_ref().map(|end: &End| end.stamp.as_str());
        output.table_at(&table, &host.names, stamp);
    }
    Ok(end.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(words: &str) -> Params {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        Params::parse(&words).unwrap_or_default()
    }

    fn message(words: &str) -> String {
        Intervals::of(&params(words), None).map_or_else(|error| error.message.clone(), |found| format!("{found:?}"))
    }

    #[test]
    fn intervals_are_a_time_and_perhaps_their_number() {
        let period = Duration::from_secs(1);
        assert_eq!(Intervals::of(&params("--disk sda"), None).ok(), Some(None));
        assert_eq!(Intervals::of(&params("--interval 1s"), None).ok(), Some(Some(Intervals { period, count: None })));
        let often = Intervals::of(&params("--count 5"), Some(period)).ok();
        assert_eq!(often, Some(Some(Intervals { period, count: Some(5) })));
        let five = Intervals { period, count: Some(5) };
        assert_eq!(Intervals::of(&params("--interval 1s --count 5"), None).ok(), Some(Some(five)));
    }

    #[test]
    fn what_is_no_interval_is_refused_by_its_name() {
        assert_eq!(message("--interval 1"), "`--interval 1`: it takes a time of at least 10ms: 1s, 500ms");
        assert_eq!(message("--interval 1ms"), "`--interval 1ms`: it takes a time of at least 10ms: 1s, 500ms");
        assert_eq!(message("--interval 1s --count 0"), "`--count 0`: it takes a number of intervals: 5");
        assert!(message("--count 5").contains("no `--interval` says how long"), "{}", message("--count 5"));
        assert_eq!(top(&params("--top none")).unwrap_err().message, "`--top none`: it takes a number of rows: 20");
    }

    #[test]
    fn run_of_whole_intervals_ends_with_the_last() {
        let intervals = Intervals { period: Duration::from_millis(500), count: None };
        assert_eq!(intervals.last(Some(Duration::from_secs(3))), Some(6));
        assert_eq!(intervals.last(Some(Duration::from_millis(1_700))), None);
        assert_eq!((intervals.last(None), intervals.last(Some(Duration::ZERO))), (None, None));
    }
}
