//! What the slot compiler asks of a tree: its range of values, whether it calls a helper, how many registers it wants.

use super::ir::{Arithmetic, Current, Int, Memory, Packets, Place, Size, Test, Text};

/// The least and greatest value, read as signed.
pub fn range(tree: &Int) -> (i64, i64) {
    const ANY: (i64, i64) = (i64::MIN, i64::MAX);
    match tree {
        Int::Constant(c) => (*c as i64, *c as i64),
        Int::Load { size: Size::B8, .. } => ANY,
        Int::Load { size, signed, .. } => {
            let bits = 8 * u32::from(size.bytes());
            if *signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
        }
        Int::Packet { size, .. } => (0, (1 << (8 * u32::from(size.bytes()))) - 1),
        Int::Current(Current::Pid | Current::Tid | Current::Uid | Current::Gid | Current::Cpu) => (0, u32::MAX.into()),
        Int::Current(Current::PidIn(_) | Current::TidIn(_)) => (0, u32::MAX.into()),
        Int::Current(_) => ANY,
        Int::Stack(_) => (i32::MIN.into(), i32::MAX.into()),
        Int::Truth(_) => (0, 1),
        Int::Choose { yes, no, .. } => {
            let ((y0, y1), (n0, n1)) = (range(yes), range(no));
            (y0.min(n0), y1.max(n1))
        }
        Int::Let { body, .. } => range(body),
        Int::Bound(_) => ANY,
        Int::Swap { size: Size::B8, .. } => ANY,
        Int::Swap { size, .. } => (0, (1 << (8 * u32::from(size.bytes()))) - 1),
        Int::Binary { op, signed, left, right } => {
            let ((l0, l1), (r0, r1)) = (range(left), range(right));
            let shift = r0 & 63;
            match op {
                Arithmetic::Add => l0.checked_add(r0).zip(l1.checked_add(r1)).unwrap_or(ANY),
                Arithmetic::Subtract => l0.checked_sub(r1).zip(l1.checked_sub(r0)).unwrap_or(ANY),
                Arithmetic::Multiply if l0 >= 0 && r0 >= 0 => l1.checked_mul(r1).map_or(ANY, |high| (0, high)),
                Arithmetic::And if r0 >= 0 => (0, if l0 >= 0 { l1.min(r1) } else { r1 }),
                Arithmetic::And if l0 >= 0 => (0, l1),
                Arithmetic::Divide if !signed && l0 >= 0 => (0, l1),
                Arithmetic::Remainder if !signed && l0 >= 0 => (0, l1),
                Arithmetic::ShiftRight if r0 == r1 && (*signed || l0 >= 0) => (l0 >> shift, l1 >> shift),
                Arithmetic::ShiftRight if r0 == r1 && shift > 0 => (0, (u64::MAX >> shift) as i64),
                _ => ANY,
            }
        }
    }
}

/// Most bytes that a text can have before its NUL, where that is known.
pub fn capacity(text: &Text) -> Option<usize> {
    match text {
        Text::Comm => Some(15),
        Text::Context { size, .. } | Text::Event { size, .. } => Some(usize::from(*size)),
        Text::DataLocation { .. } | Text::At { .. } => None,
    }
}

/// How many of the first `size` bytes have to be compared: a text that is longer than the other can get differs
/// from it at the byte behind.
pub fn common_size(left: &Text, right: &Text, size: u16) -> u16 {
    let bound = match (capacity(left), capacity(right)) {
        (Some(l), Some(r)) => l.max(r).min(l.min(r) + 1),
        (Some(one), None) | (None, Some(one)) => one + 1,
        (None, None) => usize::MAX,
    };
    u16::try_from(bound).unwrap_or(u16::MAX).min(size)
}

pub fn calls(tree: &Int) -> bool {
    match tree {
        Int::Constant(_) | Int::Bound(_) => false,
        Int::Current(_) | Int::Stack(_) => true,
        Int::Load { place: Place::Behind { pointer, memory, .. }, .. } => *memory != Memory::Trusted || calls(pointer),
        Int::Load { .. } => false,
        Int::Packet { at, packets, .. } => *packets == Packets::Buffers || calls(at),
        Int::Swap { inner, .. } => calls(inner),
        Int::Binary { left, right, .. } => calls(left) || calls(right),
        Int::Truth(test) => test_calls(test),
        Int::Choose { test, yes, no } => test_calls(test) || calls(yes) || calls(no),
        Int::Let { value, body } => calls(value) || calls(body),
    }
}

fn test_calls(tree: &Test) -> bool {
    match tree {
        Test::Constant(_) => false,
        Test::Compare { left, right, .. } => calls(left) || calls(right),
        Test::TextIs { text: Text::Context { .. } | Text::Event { .. }, .. } => false,
        Test::TextIs { .. } | Test::TextsEqual { .. } => true,
        Test::And(tests) | Test::Or(tests) => tests.iter().any(test_calls),
        Test::Not(test) | Test::Within(test) => test_calls(test),
    }
}

/// Registers that the tree wants at once (Sethi and Ullman): the side that wants more is computed first.
pub fn weight(tree: &Int) -> u32 {
    match tree {
        Int::Binary { left, right, .. } => match (weight(left), weight(right)) {
            (l, r) if l == r => l + 1,
            (l, r) => l.max(r),
        },
        Int::Load { place: Place::Behind { pointer, .. }, .. } => weight(pointer),
        // A frame's bounds take one register more.
        Int::Packet { at, .. } => weight(at).max(3),
        Int::Swap { inner, .. } => weight(inner),
        Int::Choose { yes, no, .. } => weight(yes).max(weight(no)),
        Int::Let { value, body } => weight(value).max(weight(body)),
        Int::Bound(_) | Int::Constant(_) | Int::Current(_) | Int::Stack(_) | Int::Load { .. } | Int::Truth(_) => 1,
    }
}
