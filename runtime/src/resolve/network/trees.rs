//! Pieces of the trees that decoders are made of.

use crate::resolve::members::moved;
use crate::slot::ir::{Arithmetic, Comparison, Int, Memory, Place, Reading, Size, Test};

/// Eight bytes at a place, in loads that are aligned where the kernel insists: in contexts and events.
pub fn word(place: &Place, at: i64) -> Int {
    bytes(place, at, 8)
}

pub fn bytes(place: &Place, at: i64, count: u16) -> Int {
    let offset = match moved(place.clone(), at) {
        Place::Context(offset) | Place::Event(offset) => offset,
        Place::Behind { .. } => 0,
    };
    let fits = |size: &Size| offset % size.bytes() as i16 == 0 && size.bytes() <= count;
    let size = [Size::B8, Size::B4, Size::B2].into_iter().find(fits).unwrap_or(Size::B1);
    let load = |at| Int::Load { place: moved(place.clone(), at), size, signed: false };
    let width = size.bytes();
    let parts = (1..count / width).map(|n| (load(at + i64::from(n * width)), u64::from(n * width) * 8));
    parts.fold(load(at), |low, (part, shift)| {
        binary(Arithmetic::Or, low, binary(Arithmetic::ShiftLeft, part, Int::Constant(shift)))
    })
}

pub fn binary(op: Arithmetic, left: Int, right: Int) -> Int {
    Int::Binary { op, signed: false, left: Box::new(left), right: Box::new(right) }
}

pub fn plus(left: Int, right: u64) -> Int {
    binary(Arithmetic::Add, left, Int::Constant(right))
}

/// A load behind an address of the kernel.
pub fn load(pointer: Int, offset: i32, size: Size) -> Int {
    Int::Load {
        place: Place::Behind { pointer: Box::new(pointer), offset, memory: Memory::Kernel },
        size,
        signed: false,
    }
}

pub fn network_order(int: Int) -> Int {
    Int::Swap { size: Size::B2, inner: Box::new(int) }
}

pub fn is(left: Int, right: u64) -> Test {
    Test::Compare { op: Comparison::Equal, reading: Reading::Unsigned, left, right: Int::Constant(right) }
}

pub fn choose(test: Test, yes: Int, no: Int) -> Int {
    Int::Choose { test: Box::new(test), yes: Box::new(yes), no: Box::new(no) }
}

/// `value`, or zero.
pub fn only(test: Test, value: Int) -> Int {
    choose(test, value, Int::Constant(0))
}
