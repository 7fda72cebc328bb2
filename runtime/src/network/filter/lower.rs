//! From a filter's tree to the slot of a program that meets packets.
//!
//! A filter is about the frame as it was on the wire. At tc the outermost tag is not among a buffer's bytes where hardware
//! or the kernel has taken it off: the buffer's own notes say so, and what they say stands in its place here.

use super::check::{Check, Value};
use crate::slot::facts::range;
use crate::slot::ir::{Arithmetic, Comparison, Int, Packets, Place, Reading, Size, Test};

/// Members of `struct __sk_buff`.
const LENGTH: i16 = 0;
const TAGGED: i16 = 20;
const TAG: i16 = 24;
const TAG_KIND: i16 = 28;
/// And of `struct xdp_md`.
const DATA: i16 = 0;
const DATA_END: i16 = 4;

/// Where a tag stands, and what it takes.
const TAG_AT: u32 = 12;
const TAG_SIZE: u32 = 4;

/// The test that a slot makes.
pub fn lower(check: &Check, packets: Packets) -> Test {
    let as_it_lies = Frame { packets, taken_off: false }.filter(check);
    if packets == Packets::Frames {
        return as_it_lies;
    }
    let tagged = |op| compare(op, context(TAGGED), Int::Constant(0));
    let whole = Frame { packets, taken_off: true }.filter(check);
    Test::Or(vec![
        Test::And(vec![tagged(Comparison::Equal), as_it_lies]),
        Test::And(vec![tagged(Comparison::NotEqual), whole]),
    ])
}

/// How the bytes of a frame lie.
#[derive(Clone, Copy)]
struct Frame {
    packets: Packets,
    /// Its tag is in the buffer's notes.
    taken_off: bool,
}

impl Frame {
    fn filter(self, check: &Check) -> Test {
        Test::Within(Box::new(self.test(check)))
    }

    fn test(self, check: &Check) -> Test {
        let all = |checks: &[Check]| checks.iter().map(|check| self.test(check)).collect();
        match check {
            Check::Constant(known) => Test::Constant(*known),
            Check::Compare { op, left, right } => compare(*op, self.int(left), self.int(right)),
            Check::And(checks) => Test::And(all(checks)),
            Check::Or(checks) => Test::Or(all(checks)),
            Check::Not(check) => Test::Not(Box::new(self.test(check))),
        }
    }

    fn int(self, value: &Value) -> Int {
        match value {
            Value::Number(number) => Int::Constant((*number).into()),
            Value::Length => match self.packets {
                Packets::Frames => binary(Arithmetic::Subtract, context(DATA_END), context(DATA)),
                Packets::Buffers if self.taken_off => {
                    binary(Arithmetic::Add, context(LENGTH), Int::Constant(TAG_SIZE.into()))
                }
                Packets::Buffers => context(LENGTH),
            },
            Value::Load { base, index: None, size } => self.constant_load(*base, *size),
            Value::Load { base, index: Some(index), size } => {
                // Nothing is looked for behind a place in the tag: its kind is not that of what has such places.
                let base = if self.taken_off { base.saturating_sub(TAG_SIZE) } else { *base };
                self.load(binary(Arithmetic::Add, self.int(index), Int::Constant(base.into())), *size)
            }
            Value::Binary { op: Arithmetic::ShiftLeft | Arithmetic::ShiftRight, right, .. }
                if !matches!(**right, Value::Number(0..=31)) =>
            {
                Int::Constant(0)
            }
            Value::Binary { op, left, right } => cut(binary(*op, self.int(left), self.int(right))),
        }
    }

    /// In the machine's order.
    fn load(self, at: Int, size: Size) -> Int {
        let load = Int::Packet { at: Box::new(at), size, packets: self.packets };
        if size == Size::B1 { load } else { Int::Swap { size, inner: Box::new(load) } }
    }

    fn constant_load(self, at: u32, size: Size) -> Int {
        let end = at + u32::from(size.bytes());
        let plain = |at: u32| self.load(Int::Constant(at.into()), size);
        if !self.taken_off || end <= TAG_AT {
            return plain(at);
        }
        if at >= TAG_AT + TAG_SIZE {
            return plain(at - TAG_SIZE);
        }
        match (at, size) {
            (12, Size::B2) => kind(),
            (14, Size::B2) => context(TAG),
            // A number across the edges of the tag: byte by byte.
            _ => (at..end).map(|at| self.byte(at)).fold(Int::Constant(0), |number, byte| {
                let moved = binary(Arithmetic::Multiply, number, Int::Constant(256));
                binary(Arithmetic::Add, moved, byte)
            }),
        }
    }

    fn byte(self, at: u32) -> Int {
        let high = |number| binary(Arithmetic::And, binary(Arithmetic::ShiftRight, number, Int::Constant(8)), byte());
        let low = |number| binary(Arithmetic::And, number, byte());
        match at {
            12 => high(kind()),
            13 => low(kind()),
            14 => high(context(TAG)),
            15 => low(context(TAG)),
            at if at < TAG_AT => self.load(Int::Constant(at.into()), Size::B1),
            at => self.load(Int::Constant((at - TAG_SIZE).into()), Size::B1),
        }
    }
}

fn byte() -> Int {
    Int::Constant(0xff)
}

/// Of the tag that was taken off.
fn kind() -> Int {
    Int::Swap { size: Size::B2, inner: Box::new(context(TAG_KIND)) }
}

fn context(offset: i16) -> Int {
    Int::Load { place: Place::Context(offset), size: Size::B4, signed: false }
}

fn compare(op: Comparison, left: Int, right: Int) -> Test {
    Test::Compare { op, reading: Reading::Unsigned, left, right }
}

fn binary(op: Arithmetic, left: Int, right: Int) -> Int {
    Int::Binary { op, signed: false, left: Box::new(left), right: Box::new(right) }
}

/// The low 32 bits.
fn cut(int: Int) -> Int {
    match range(&int) {
        (0.., high) if high <= u32::MAX.into() => int,
        _ => binary(Arithmetic::And, int, Int::Constant(u32::MAX.into())),
    }
}
