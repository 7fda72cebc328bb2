//! Chains that were unwound here, each kept once, under numbers like those of the kernel's tables.

use super::walk::Walked;
use crate::slot::stack::{NO_STACK, SECOND};
use skep_flamegraphs::profile::{Frame, Origin};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Marks their numbers.
const UNWOUND: u32 = 1 << 29;
/// Different ones that are kept.
const MOST: usize = 1 << 16;
/// In place of a number where there is no chain.
pub const NONE: u32 = NO_STACK as u32;

#[derive(Default)]
pub struct Chains {
    numbers: HashMap<Rc<Walked>, u32>,
    all: Vec<Rc<Walked>>,
}

impl Chains {
    /// The number of a chain, from now on; `None`: there is no room for another one.
    pub fn number(&mut self, walked: &Walked) -> Option<u32> {
        if let Some(number) = self.numbers.get(walked) {
            return Some(*number);
        }
        let number = UNWOUND | self.all.len() as u32;
        let room = self.all.len() < MOST;
        room.then(|| {
            let walked = Rc::new(walked.clone());
            self.all.push(walked.clone());
            self.numbers.insert(walked, number);
            number
        })
    }

    /// `None`: the number is that of a chain in the kernel's tables, or of none.
    pub fn get(&self, number: u32) -> Option<&Rc<Walked>> {
        let own = (number as i32) >= 0 && number & (SECOND | UNWOUND) == UNWOUND;
        own.then(|| self.all.get((number & !UNWOUND) as usize)).flatten()
    }
}

/// The place of a chain's outer functions, which are not known for this reason.
pub fn truncated(why: &'static str) -> Arc<Frame> {
    Arc::new(Frame { unresolved: Some(why), ..Frame::named("[truncated stack]", Origin::User) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_chain_has_one_number_and_errors_have_no_chain() {
        let mut chains = Chains::default();
        let chain = |addresses: &[u64], end| Walked { addresses: addresses.to_vec(), end };
        let numbers = [(&[1, 2][..], None), (&[1][..], None), (&[1, 2][..], None), (&[1][..], Some("cut"))]
            .map(|(addresses, end)| chains.number(&chain(addresses, end)).unwrap());
        assert_eq!(numbers.map(|number| number & 7), [0, 1, 0, 2]);
        assert_eq!(chains.get(numbers[3]).unwrap().end, Some("cut"));
        assert!([NONE, 0, 7, SECOND | numbers[0], numbers[3] + 1].iter().all(|number| chains.get(*number).is_none()));
    }
}
