//! A flame graph of two runs: what grew is red, what shrank is blue.

use crate::error::Error;
use crate::fold;
use crate::profile::Profile;
use crate::svg::{self, Graph};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// How two runs are compared.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its subtitle stands in the place of what tells the colours.
    pub svg: svg::Options,
    /// Scale the run that gives no widths to the total of the other, so that shares are compared. Without it a run of
    /// twice the time is twice as red.
    pub normalise: bool,
    pub widths: Widths,
}

impl Default for Options {
    fn default() -> Self {
        Options { svg: svg::Options::default(), normalise: true, widths: Widths::After }
    }
}

/// Whose values the widths are. Stacks of the other run alone have none, and are not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Widths {
    Before,
    After,
}

/// Draws the difference. A frame is coloured by its own value, without what it called.
///
/// # Errors
/// No such type of value in one of them; types of different units; those of `out`.
pub fn write(before: &Profile, after: &Profile, options: &Options, out: &mut dyn Write) -> Result<(), Error> {
    let value = options.svg.value;
    let (old, of) = (svg::value_type(before, value)?, svg::value_type(after, value)?);
    if old.unit != of.unit {
        return Err(Error::new(format!("values of different units: `{}` and `{}`", old.unit, of.unit)));
    }
    let compared = Compared::new(before, after, options);
    let graph = Graph {
        title: options.svg.title.clone().unwrap_or_else(|| format!("{} against {}", after.title, before.title)),
        subtitle: options.svg.subtitle.clone().unwrap_or_else(|| compared.subtitle(options.widths)),
        of,
        values: compared.values,
        colours: None,
        // The second value is inferno's width.
        negated: options.widths == Widths::Before,
    };
    graph.draw(&options.svg, out)
}

struct Compared {
    values: Vec<(String, String)>,
    /// Of the run that gives the widths, the share in stacks that the other has not; and the other way round.
    here_alone: f64,
    there_alone: f64,
}

impl Compared {
    fn new(before: &Profile, after: &Profile, options: &Options) -> Compared {
        let value = options.svg.value;
        let (here, there) = match options.widths {
            Widths::After => (after, before),
            Widths::Before => (before, after),
        };
        let (mut here, mut there) = (fold::merged(here, value), fold::merged(there, value));
        let (here_total, there_total) = (total(&here), total(&there));
        let here_alone = share(&here, &there, here_total);
        let there_alone = share(&there, &here, there_total);
        if options.normalise && there_total > 0 {
            for value in there.values_mut() {
                let scaled = (u128::from(*value) * here_total + there_total / 2) / there_total;
                *value = u64::try_from(scaled).unwrap_or(u64::MAX);
            }
        }
        let stacks: BTreeSet<String> = here.keys().chain(there.keys()).cloned().collect();
        let values = stacks.into_iter().map(|stack| {
            let both = format!("{} {}", there.remove(&stack).unwrap_or(0), here.remove(&stack).unwrap_or(0));
            (stack, both)
        });
        let values = if here_total == 0 { Vec::new() } else { values.collect() };
        Compared { values, here_alone, there_alone }
    }

    /// What the colours mean, and what is not seen.
    fn subtitle(&self, widths: Widths) -> String {
        let (here, there) = (percent(self.here_alone), percent(self.there_alone));
        match widths {
            Widths::After => {
                format!("red grew, blue shrank; {here} in new stacks; not drawn: stacks that are gone, {there} before")
            }
            Widths::Before => {
                format!("red grew, blue shrank; {here} in stacks that are gone; not drawn: new stacks, {there} after")
            }
        }
    }
}

fn total(stacks: &BTreeMap<String, u64>) -> u128 {
    stacks.values().map(|value| u128::from(*value)).sum()
}

fn share(of: &BTreeMap<String, u64>, without: &BTreeMap<String, u64>, total: u128) -> f64 {
    let alone: u128 = of.iter().filter(|(stack, _)| !without.contains_key(*stack)).map(|(_, v)| u128::from(*v)).sum();
    if total == 0 { 0.0 } else { alone as f64 / total as f64 }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}
