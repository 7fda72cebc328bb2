//! A skewed stream that is the same each time: the n-th most frequent of its keys comes as often as 1/n says, in an
//! order without a pattern.

/// What keys are multiples of: neighbours in frequency are no neighbours in number.
const APART: u64 = 7919;

/// So many events, of the keys that `keys` is the number of.
pub fn stream(events: usize, keys: u64) -> impl Iterator<Item = u64> {
    let mut sum = 0;
    let weights = (1..=keys).map(|rank| {
        sum += 1_000_000_000_000 / rank;
        sum
    });
    let up_to: Vec<u64> = weights.collect();
    let mut random = splitmix(0x5eed);
    (0..events).map(move |_| {
        let at = random() % up_to.last().copied().unwrap_or(1);
        (up_to.partition_point(|end| *end <= at) as u64 + 1) * APART
    })
}

/// Source: S. Vigna, splitmix64.
fn splitmix(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}
