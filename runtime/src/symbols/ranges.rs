//! Ranges of addresses, each with a value; what is put in later covers what was there. As mmap(2) does it.

use std::collections::BTreeMap;
use std::ops::Range;

/// Ranges that do not overlap.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranges<T> {
    /// By their start: end and value.
    all: BTreeMap<u64, (u64, T)>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Ranges { all: BTreeMap::new() }
    }
}

impl<T: Clone> Ranges<T> {
    /// Cuts away, or into two parts, whatever the range covers. An empty range does nothing.
    pub fn insert(&mut self, range: Range<u64>, value: T) {
        if range.is_empty() {
            return;
        }
        let covered: Vec<u64> = self
            .all
            .range(..range.end)
            .rev()
            .map_while(|(start, (end, _))| (*end > range.start).then_some(*start))
            .collect();
        for start in covered {
            if let Some((end, old)) = self.all.remove(&start) {
                if end > range.end {
                    self.all.insert(range.end, (end, old.clone()));
                }
                if start < range.start {
                    self.all.insert(start, (range.start, old));
                }
            }
        }
        self.all.insert(range.start, (range.end, value));
    }

    /// The range that holds an address, and its value.
    pub fn get(&self, address: u64) -> Option<(Range<u64>, &T)> {
        let (start, (end, value)) = self.all.range(..=address).next_back()?;
        (address < *end).then_some((*start..*end, value))
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(inserts: &[(Range<u64>, char)]) -> Vec<(Range<u64>, char)> {
        let mut ranges = Ranges::default();
        inserts.iter().for_each(|(range, value)| ranges.insert(range.clone(), *value));
        ranges.all.iter().map(|(start, (end, value))| (*start..*end, *value)).collect()
    }

    #[test]
    fn later_range_covers_what_it_overlaps() {
        assert_eq!(after(&[(0..10, 'a'), (4..6, 'b')]), [(0..4, 'a'), (4..6, 'b'), (6..10, 'a')]);
        assert_eq!(after(&[(0..10, 'a'), (5..15, 'b')]), [(0..5, 'a'), (5..15, 'b')]);
        assert_eq!(after(&[(2..4, 'a'), (6..8, 'b'), (0..10, 'c')]), [(0..10, 'c')]);
        assert_eq!(after(&[(2..4, 'a'), (4..6, 'b'), (2..4, 'c'), (9..9, 'd')]), [(2..4, 'c'), (4..6, 'b')]);
    }

    #[test]
    fn address_belongs_to_the_range_before_its_end() {
        let mut ranges = Ranges::default();
        ranges.insert(0x10..0x20, 'a');
        let at = |address| ranges.get(address).map(|(range, value)| (range, *value));
        assert_eq!([at(0xf), at(0x20)], [None, None]);
        assert_eq!([at(0x10), at(0x1f)], [Some((0x10..0x20, 'a')), Some((0x10..0x20, 'a'))]);
    }
}
