//! Limits: what a run may ask of the machine before anything is loaded, and how much it may hold while it runs.

use crate::aggregate::near;
use crate::diagnostic::Diagnostic;
use crate::plan::{Entry, Output};
use crate::prepare::{Prepared, Unit};
use crate::report::units::{bytes, grouped};
use crate::session::Sizes;
use crate::span::Spans;
use std::fs;

/// Attach points of a run, unless another number was said: more are a glob that was wider than meant.
const PROBES: usize = 4096;
/// Bytes of a page, of which /proc counts.
const PAGE: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Attach points of a run.
    pub probes: usize,
    /// Bytes of the kernel's tables, and as many again for skep itself.
    pub memory: Option<u64>,
    /// Events that reach the script or the output, in all runs together.
    pub events: Option<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { probes: PROBES, memory: None, events: None }
    }
}

impl Limits {
    /// Is what is to be loaded within them? `again` writes the command line with another option.
    ///
    /// # Errors
    /// A script diagnostic at the chain that goes beyond.
    pub fn check(
        &self,
        entries: &[(&Entry, &Prepared)],
        sizes: Sizes,
        cpus: usize,
        again: impl Fn(&str) -> String,
    ) -> Result<(), Diagnostic> {
        let mut probes = 0;
        let streams = |(entry, _): &(&Entry, &Prepared)| matches!(entry.output, Output::Stream { .. });
        let mut memory = if entries.iter().any(streams) { sizes.ring } else { 0 };
        for (entry, prepared) in entries {
            probes += units(prepared).flat_map(|unit| &unit.programs).map(|one| one.attach.len()).sum::<usize>();
            if probes > self.probes {
                let (source, most) = (entry.source_text(), grouped(self.probes as u64));
                let message = format!("`{source}` comes to {} attach points, more than {most}", grouped(probes as u64));
                let enough = probes.next_multiple_of(1000);
                return Err(Diagnostic::script(message)
                    .help(format!("a narrower glob, or {}", again(&format!("--max-probes {enough}"))))
                    .at(entry.position)
                    .span(source));
            }
            memory += tables(prepared, cpus);
            if let Some(most) = self.memory.filter(|most| memory > *most) {
                let message =
                    format!("its tables take {} of the kernel's memory, more than {}", bytes(memory), bytes(most));
                return Err(Diagnostic::script(message)
                    .help("room for fewer keys: .entries(1000), .spans(1000), --ring 1M")
                    .at(entry.position));
            }
        }
        Ok(())
    }

    /// Bytes that skep itself holds, where they are more than it may.
    pub fn exceeded(&self) -> Option<u64> {
        let most = self.memory?;
        held().filter(|held| *held > most)
    }
}

fn units(prepared: &Prepared) -> impl Iterator<Item = &Unit> {
    prepared.units.iter().chain(prepared.span.iter().flat_map(|span| &span.units))
}

/// Bytes of the tables of an entry.
fn tables(prepared: &Prepared, cpus: usize) -> u64 {
    let spans = prepared.span.iter().flat_map(Spans::shapes).map(|(_, shape)| shape);
    let shapes = prepared.aggregate.into_iter().chain(spans);
    shapes.map(|shape| shape.memory(cpus)).sum::<u64>() + near::memory(prepared.aggregate, cpus)
}

/// Bytes of this process that are its own. Source: proc_pid_statm(5): resident pages less shared ones.
fn held() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let mut pages = text.split(' ').skip(1).map(|word| word.parse::<u64>().ok());
    let (resident, shared) = (pages.next()??, pages.next()??);
    Some(resident.saturating_sub(shared) * PAGE)
}
