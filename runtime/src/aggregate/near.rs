//! Keys that are kept near: the places of `ebpf-templates/bpf/include/near.bpf.h`, which each CPU has beside a table. What
//! they hold is to be added to what the table does. Pure; no privilege.

use super::entries::Entries;
use crate::kernel::map::{self, Shape};

/// The maps: where the places are, and who has taken them.
pub const MAPS: [&str; 2] = ["near", "near_taken"];
/// On each CPU.
pub const PLACES: usize = 64;
/// The template's constant for [`words`].
pub const WORDS: &str = "near_words";
/// Words of 8 bytes: the longest key, the longest cell, a place.
const KEY: usize = 4;
const CELL: usize = 4;
const PLACE: usize = 1 + KEY + CELL;

/// States of a place: it holds nothing that happened since it was cleared, or it does; the first is 0, free.
const CLEARED: u64 = 1;
const USED: u64 = 2;

/// Words of a key of such a table, if it is kept near: 0 if it is not.
pub fn words(table: Option<Shape>) -> u32 {
    let words = table.filter(|table| table.map_type == map::PERCPU_HASH).map_or(0, |table| table.key_size.div_ceil(8));
    if words as usize <= KEY { words } else { 0 }
}

/// The map of the places, and the one that says whose they are.
pub fn shapes(cpus: usize) -> [Shape; 2] {
    let value_size = (8 * PLACE * PLACES) as u32;
    [
        Shape { map_type: map::PERCPU_ARRAY, key_size: 4, value_size, max_entries: 1 },
        Shape { map_type: map::HASH, key_size: 8, value_size: 1, max_entries: (PLACES * cpus) as u32 },
    ]
}

/// Bytes that they take of the kernel's memory beside such a table.
pub fn memory(table: Option<Shape>, cpus: usize) -> u64 {
    if words(table) == 0 { 0 } else { shapes(cpus).iter().map(|shape| shape.memory(cpus)).sum() }
}

/// What the places of all CPUs hold, for a table with keys of so many bytes and cells of so many words.
pub fn add(all: &mut Entries, places: &[u8], key: usize, cell: usize) {
    for place in places.chunks_exact(8 * PLACE) {
        let (state, rest) = place.split_at(8);
        let (own, cells) = rest.split_at(8 * KEY);
        if let (Some(own), Some(cell)) = (own.get(..key), cells.get(..8 * cell))
            && state == USED.to_ne_bytes()
        {
            all.push_bytes(own, cell);
        }
    }
}

/// The same places with their keys, where nothing has happened.
pub fn clear(places: &mut [u8]) {
    for place in places.chunks_exact_mut(8 * PLACE) {
        let (state, rest) = place.split_at_mut(8);
        if state == USED.to_ne_bytes() {
            state.copy_from_slice(&CLEARED.to_ne_bytes());
        }
        rest[8 * KEY..].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(state: u64, key: [u64; KEY], cell: [u64; CELL]) -> Vec<u8> {
        [state].into_iter().chain(key).chain(cell).flat_map(u64::to_ne_bytes).collect()
    }

    #[test]
    fn template_has_as_many_places() {
        let header = include_str!("../../../ebpf-templates/bpf/include/near.bpf.h");
        let own = [format!("_PLACES {PLACES}\n"), format!("_WORDS {KEY}\n"), format!("u64 cell[{CELL}];")];
        own.iter().for_each(|line| assert!(header.contains(line), "{line}"));
    }

    #[test]
    fn places_in_use_are_entries_until_they_are_cleared() {
        let mut places = [
            place(0, [0; KEY], [0; CELL]),
            place(USED, [23, 0, 0, 0], [7, 101, 0, 0]),
            place(CLEARED, [5, 0, 0, 0], [0; CELL]),
        ]
        .concat();
        let mut found = Entries::default();
        add(&mut found, &places, 4, 2);
        assert_eq!(Vec::from_iter(found.iter()), [(&23u32.to_ne_bytes()[..], &[7, 101][..])]);
        clear(&mut places);
        let mut found = Entries::default();
        add(&mut found, &places, 4, 2);
        assert_eq!(found.iter().len(), 0);
        assert_eq!(places[8 * PLACE..2 * 8 * PLACE], place(CLEARED, [23, 0, 0, 0], [0; CELL]));
    }

    #[test]
    fn keys_of_up_to_four_words_in_a_hash_are_kept_near() {
        let table = |map_type, key_size| Some(Shape { map_type, key_size, value_size: 8, max_entries: 7 });
        let of = |key_size| words(table(map::PERCPU_HASH, key_size));
        assert_eq!([of(4), of(8), of(20), of(32), of(33)], [1, 1, 3, 4, 0]);
        assert_eq!([words(table(map::PERCPU_ARRAY, 4)), words(None)], [0, 0]);
    }
}
