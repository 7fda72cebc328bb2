//! Heavy hitters: what the tables of `ebpf-templates/bpf/include/heavy.bpf.h` hold, stages and CPUs added up. Pure; no
//! privilege.
//!
//! A key may stand in several stages and on several CPUs; its estimate is what all of them hold. What was too light to
//! stay in a table is the rest, counted by places that keys share. Source: V. Sivaraman et al., "Heavy-Hitter Detection Entirely in the Data Plane"
//! (SOSR 2017).

use super::entries::Entries;
use std::collections::HashMap;

/// What the rows of a table do not say by themselves. No row is above the truth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimates {
    /// No row is below the truth by more than this.
    pub lack: i128,
    /// The sum over what was too light to keep.
    pub rest: i128,
    /// The sum over all keys.
    pub total: i128,
}

impl Estimates {
    pub fn merge(&mut self, other: Estimates) {
        self.lack += other.lack;
        self.rest += other.rest;
        self.total += other.total;
    }
}

const STAGES: u32 = 4;
/// A slot begins with its weight.
const WEIGHT: usize = 8;

/// Slots of one stage where there is to be room for so many keys.
pub fn stage_slots(room: u32) -> u32 {
    room.div_ceil(STAGES).max(1)
}

/// Slots of all stages, and those of the rest.
pub fn slots(room: u32) -> u32 {
    (STAGES + 1) * stage_slots(room)
}

/// Bytes of a slot with a key of so many; they are a multiple of 8.
pub fn slot_size(key: usize) -> usize {
    WEIGHT + key.next_multiple_of(8)
}

/// The other way round.
pub fn key_size(slot: usize) -> usize {
    slot.saturating_sub(WEIGHT)
}

/// A table's `slots`, each with those of all CPUs one behind the other, as keys with their estimates. What was too light
/// comes without a key: all of it, and the most at one place.
pub fn added_up(key: usize, slots: u32, entries: Vec<(Vec<u8>, Vec<u8>)>) -> Entries {
    let behind = slots / (STAGES + 1) * STAGES;
    let (mut sums, mut rest, mut most) = (HashMap::<Vec<u8>, u64>::new(), 0u64, 0);
    for (place, per_cpu) in entries {
        let place = place.as_slice().try_into().map_or(u32::MAX, u32::from_ne_bytes);
        let mut here = 0u64;
        for slot in per_cpu.chunks_exact(slot_size(key)) {
            let Some((weight, words)) = slot.split_first_chunk() else { continue };
            match (u64::from_ne_bytes(*weight), words.get(..key)) {
                (0, _) | (_, None) => {}
                (weight, _) if place >= behind => here = here.saturating_add(weight),
                (weight, Some(of)) => {
                    let sum = sums.entry(of.to_vec()).or_default();
                    *sum = sum.saturating_add(weight);
                }
            }
        }
        (rest, most) = (rest.saturating_add(here), here.max(most));
    }
    let all = sums.into_iter().map(|(key, sum)| (key, vec![sum]));
    all.chain([(Vec::new(), vec![rest, most])]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(place: u32, slots: &[(u64, u64)]) -> (Vec<u8>, Vec<u8>) {
        let words = slots.iter().flat_map(|(weight, key)| [*weight, *key]);
        (place.to_ne_bytes().to_vec(), words.flat_map(u64::to_ne_bytes).collect())
    }

    #[test]
    fn key_is_added_up_over_stages_and_cpus_and_free_slots_are_none() {
        let entries = vec![
            entry(0, &[(23, 7), (0, 0)]),
            entry(1, &[(5, 9), (101, 7)]),
            entry(7, &[(2, 7), (0, 9)]),
            entry(8, &[(3, 1), (8, 0)]),
            entry(9, &[(0, 0), (2, 0)]),
        ];
        let found = added_up(8, 10, entries);
        let mut found = Vec::from_iter(found.iter());
        found.sort();
        let [light, odd] = [7u64, 9].map(u64::to_ne_bytes);
        assert_eq!(found, [(&[][..], &[13, 11][..]), (&light, &[126]), (&odd, &[5])]);
    }

    #[test]
    fn room_is_a_whole_number_of_slots_in_each_stage() {
        assert_eq!([1, 4, 5, 1024].map(slots), [5, 5, 10, 1280]);
        assert_eq!((slot_size(16), key_size(24), slot_size(13)), (24, 16, 24));
    }
}
