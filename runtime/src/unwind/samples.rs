//! Samples of one entry with copied stacks, counted here as the kernel counts what has none: by key, in a bounded table.

use super::chains;
use super::sample::Sample;
use crate::aggregate::entries::Entries;
use crate::aggregate::table::Spec;
use crate::stacks::Stacks;
use crate::trust::Trust;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

/// What was counted so far.
pub struct Samples {
    /// Bytes of the columns, and where among them user stacks stand.
    size: usize,
    stacks: Vec<usize>,
    /// Bytes of a stack that were copied at most.
    longest: u32,
    /// Keys that have room.
    entries: usize,
    counts: RefCell<HashMap<Vec<u8>, u64>>,
    pub counters: Cell<Counters>,
}

/// For the trust line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    pub counted: u64,
    /// Samples that found no room.
    pub lost: u64,
    /// Chains that found none.
    pub lost_stacks: u64,
    /// Samples with a user's side, and those whose stack did not lead to its root.
    pub stacks: u64,
    pub incomplete: u64,
}

impl Counters {
    pub fn added_to(self, trust: Trust) -> Trust {
        Trust {
            counted: self.counted,
            lost_map: self.lost,
            lost_stacks: trust.lost_stacks + self.lost_stacks,
            stacks: self.stacks,
            incomplete: self.incomplete,
            ..trust
        }
    }
}

impl Samples {
    pub fn new(spec: &Spec, size: usize, longest: u32, entries: u32) -> Samples {
        let columns = spec.key_offsets().zip(&spec.key);
        let stacks = columns.filter(|(_, column)| column.is_user_stack()).map(|(offset, _)| offset).collect();
        let (counts, counters) = Default::default();
        Samples { size, stacks, longest, entries: entries as usize, counts, counters }
    }

    /// Unwinds and counts samples: what records hold behind their headers.
    pub fn take(&self, records: &[&[u8]], stacks: &Stacks) {
        let mut keys: Vec<Vec<u8>> = Vec::with_capacity(records.len());
        let mut samples = Vec::with_capacity(records.len());
        for (key, copied) in records.iter().filter_map(|record| record.split_at_checked(self.size)) {
            samples.extend(Sample::decode(self.process(key), copied, self.longest).map(|sample| (keys.len(), sample)));
            keys.push(key.to_vec());
        }
        let mut counters = self.counters.get();
        let mut numbers = vec![chains::NONE; keys.len()];
        let (places, samples): (Vec<usize>, Vec<Sample>) = samples.into_iter().unzip();
        counters.stacks += samples.len() as u64;
        for (place, (number, complete)) in places.into_iter().zip(stacks.unwound(samples)) {
            counters.incomplete += u64::from(!complete);
            counters.lost_stacks += u64::from(number == chains::NONE);
            numbers[place] = number;
        }
        let mut counts = self.counts.borrow_mut();
        for (mut key, number) in keys.into_iter().zip(numbers) {
            for offset in &self.stacks {
                // The number's place; above it is the process.
                if let Some(place) = key.get_mut(*offset..offset + 4) {
                    place.copy_from_slice(&number.to_ne_bytes());
                }
            }
            let room = counts.len() < self.entries;
            match counts.get_mut(&key) {
                Some(count) => *count += 1,
                None if room => drop(counts.insert(key, 1)),
                None => {
                    counters.lost += 1;
                    continue;
                }
            }
            counters.counted += 1;
        }
        self.counters.set(counters);
    }

    /// The process that the key's user stack is of.
    fn process(&self, key: &[u8]) -> u32 {
        let word = self.stacks.first().and_then(|offset| key.get(offset + 4..offset + 8));
        word.and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
    }

    /// As entries of a map.
    pub fn entries(&self) -> Entries {
        self.counts.borrow().iter().map(|(key, count)| (key, [*count])).collect()
    }

    /// Begins anew.
    pub fn clear(&self) {
        self.counts.borrow_mut().clear();
    }
}
