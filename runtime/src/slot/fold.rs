//! Simplifies trees before code is made of them. Pure; a read that is dropped has no effect.

use super::facts::{capacity, common_size, range};
use super::ir::{Arithmetic, Column, Comparison, Content, Int, Path, Place, Reading, Size, Test, Text, Top};

/// The result of an operation as the slot computes it.
pub fn arithmetic(op: Arithmetic, signed: bool, left: u64, right: u64) -> u64 {
    let (l, r) = (left as i64, right as i64);
    match op {
        Arithmetic::Add => left.wrapping_add(right),
        Arithmetic::Subtract => left.wrapping_sub(right),
        Arithmetic::Multiply => left.wrapping_mul(right),
        Arithmetic::Divide if right == 0 => 0,
        Arithmetic::Divide if signed => l.wrapping_div(r) as u64,
        Arithmetic::Divide => left / right,
        Arithmetic::Remainder if right == 0 => left,
        Arithmetic::Remainder if signed => l.wrapping_rem(r) as u64,
        Arithmetic::Remainder => left % right,
        Arithmetic::And => left & right,
        Arithmetic::Or => left | right,
        Arithmetic::Xor => left ^ right,
        Arithmetic::ShiftLeft => left << (right & 63),
        Arithmetic::ShiftRight if signed => (l >> (right & 63)) as u64,
        Arithmetic::ShiftRight => left >> (right & 63),
    }
}

pub fn int(tree: &Int) -> Int {
    match tree {
        Int::Constant(_) | Int::Current(_) | Int::Stack(_) | Int::Bound(_) => tree.clone(),
        Int::Load { place: Place::Behind { pointer, offset, memory }, size, signed } => {
            let place = Place::Behind { pointer: Box::new(int(pointer)), offset: *offset, memory: *memory };
            Int::Load { place, size: *size, signed: *signed }
        }
        Int::Load { .. } => tree.clone(),
        Int::Packet { at, size, packets } => Int::Packet { at: Box::new(int(at)), size: *size, packets: *packets },
        Int::Truth(inner) => match test(inner) {
            Test::Constant(known) => Int::Constant(u64::from(known)),
            inner => Int::Truth(Box::new(inner)),
        },
        Int::Choose { test, yes, no } => match self::test(test) {
            Test::Constant(known) => int(if known { yes } else { no }),
            test => Int::Choose { test: Box::new(test), yes: Box::new(int(yes)), no: Box::new(int(no)) },
        },
        Int::Let { value, body } => Int::Let { value: Box::new(int(value)), body: Box::new(int(body)) },
        Int::Swap { size, inner } => match int(inner) {
            Int::Constant(value) => Int::Constant(swapped(*size, value)),
            inner => Int::Swap { size: *size, inner: Box::new(inner) },
        },
        Int::Binary { op, signed, left, right } => binary(*op, *signed, int(left), int(right)),
    }
}

/// The low bytes turned round.
fn swapped(size: Size, value: u64) -> u64 {
    value.swap_bytes() >> (64 - 8 * u32::from(size.bytes()))
}

fn binary(op: Arithmetic, signed: bool, left: Int, right: Int) -> Int {
    use Arithmetic::*;
    let positive = range(&left).0 >= 0 && range(&right).0 >= 0;
    let signed =
        signed && !(positive && matches!(op, Divide | Remainder)) && !(op == ShiftRight && range(&left).0 >= 0);
    let (left, right) = match (left, right) {
        (left @ Int::Constant(_), right) if matches!(op, Add | Multiply | And | Or | Xor) => (right, left),
        sides => sides,
    };
    let Int::Constant(c) = right else {
        return Int::Binary { op, signed, left: Box::new(left), right: Box::new(right) };
    };
    if let Int::Constant(l) = left {
        return Int::Constant(arithmetic(op, signed, l, c));
    }
    let shift = u64::from(c.trailing_zeros());
    let (op, c) = match op {
        Subtract => (Add, c.wrapping_neg()),
        Multiply if c.is_power_of_two() => (ShiftLeft, shift),
        Divide if !signed && c.is_power_of_two() => (ShiftRight, shift),
        Remainder if !signed && c.is_power_of_two() => (And, c - 1),
        ShiftLeft | ShiftRight => (op, c & 63),
        _ => (op, c),
    };
    match (op, c) {
        (Add | Or | Xor | ShiftLeft | ShiftRight | Remainder, 0) | (Multiply | Divide, 1) | (And, u64::MAX) => left,
        (Multiply | And | Divide, 0) | (Remainder, 1) => Int::Constant(0),
        (Remainder, u64::MAX) if signed => Int::Constant(0),
        _ => Int::Binary { op, signed, left: Box::new(left), right: Box::new(Int::Constant(c)) },
    }
}

pub fn test(tree: &Test) -> Test {
    match tree {
        Test::Constant(_) => tree.clone(),
        Test::Compare { op, reading, left, right } => comparison(*op, *reading, int(left), int(right)),
        Test::And(tests) => list(tests, false),
        Test::Or(tests) => list(tests, true),
        Test::Not(inner) => match test(inner) {
            Test::Constant(known) => Test::Constant(!known),
            Test::Not(inner) => *inner,
            inner => Test::Not(Box::new(inner)),
        },
        Test::Within(inner) => match test(inner) {
            Test::Constant(known) => Test::Constant(known),
            inner => Test::Within(Box::new(inner)),
        },
        Test::TextIs { text, literal, prefix } => match (literal.len(), capacity(text)) {
            (0, Some(0)) => Test::Constant(true),
            (0, _) if *prefix => Test::Constant(true),
            (length, Some(room)) if length > room => Test::Constant(false),
            _ => Test::TextIs { text: fold_text(text), literal: literal.clone(), prefix: *prefix },
        },
        Test::TextsEqual { left, right, size } => match common_size(left, right, *size) {
            0 => Test::Constant(true),
            size => Test::TextsEqual { left: fold_text(left), right: fold_text(right), size },
        },
    }
}

fn fold_text(text: &Text) -> Text {
    match text {
        Text::At { pointer, memory } => Text::At { pointer: int(pointer), memory: *memory },
        _ => text.clone(),
    }
}

pub fn column(column: &Column) -> Column {
    let content = match &column.content {
        Content::Int { value, size } => Content::Int { value: int(value), size: *size },
        Content::Text { text, size } => Content::Text { text: fold_text(text), size: *size },
        Content::Bytes { bytes, size } => Content::Bytes { bytes: fold_text(bytes), size: *size },
        Content::Path { path, size } => Content::Path { path: Box::new(fold_path(path)), size: *size },
    };
    Column { offset: column.offset, content }
}

fn fold_path(path: &Path) -> Path {
    let top = match &path.top {
        Top::Root(members) => Top::Root(*members),
        Top::Mounts { mount, above, point, root } => {
            Top::Mounts { mount: int(mount), above: *above, point: *point, root: *root }
        }
    };
    Path { dentry: int(&path.dentry), top, ..path.clone() }
}

/// `And` (or `Or`) of the members, flat, without those that decide nothing.
fn list(tests: &[Test], any: bool) -> Test {
    let mut members = Vec::new();
    for member in tests.iter().map(test) {
        match member {
            Test::Constant(known) if known == any => return Test::Constant(any),
            Test::Constant(_) => {}
            Test::And(inner) if !any => members.extend(inner),
            Test::Or(inner) if any => members.extend(inner),
            member => members.push(member),
        }
    }
    match members.len() {
        0 => Test::Constant(!any),
        1 => members.remove(0),
        _ if any => Test::Or(members),
        _ => Test::And(members),
    }
}

fn comparison(op: Comparison, reading: Reading, left: Int, right: Int) -> Test {
    use Comparison::*;
    let reading = match reading {
        Reading::SignedWithUnsigned if range(&left).0 >= 0 => Reading::Unsigned,
        Reading::SignedWithUnsigned if range(&right).0 >= 0 => Reading::Signed,
        reading => reading,
    };
    if reading != Reading::SignedWithUnsigned && matches!((&left, &right), (Int::Constant(_), _)) {
        let mirrored = match op {
            Less => Greater,
            LessOrEqual => GreaterOrEqual,
            Greater => Less,
            GreaterOrEqual => LessOrEqual,
            Equal | NotEqual => op,
        };
        if !matches!(right, Int::Constant(_)) {
            return comparison(mirrored, reading, right, left);
        }
    }
    if let Some(known) = decided(op, reading, &left, &right) {
        return Test::Constant(known);
    }
    match (op, left, right) {
        (NotEqual, Int::Truth(test), Int::Constant(0)) | (Equal, Int::Truth(test), Int::Constant(1)) => *test,
        (Equal, Int::Truth(test), Int::Constant(0)) | (NotEqual, Int::Truth(test), Int::Constant(1)) => {
            self::test(&Test::Not(test))
        }
        (op, left, right) => Test::Compare { op, reading, left, right },
    }
}

/// The outcome where the ranges of the two sides leave no doubt.
fn decided(op: Comparison, reading: Reading, left: &Int, right: &Int) -> Option<bool> {
    let signed = |tree| (i128::from(range(tree).0), i128::from(range(tree).1));
    let unsigned = |tree| match range(tree) {
        (low, high) if (low < 0) == (high < 0) => (i128::from(low as u64), i128::from(high as u64)),
        _ => (0, i128::from(u64::MAX)),
    };
    let ((l0, l1), (r0, r1)) = match reading {
        Reading::Signed => (signed(left), signed(right)),
        Reading::Unsigned => (unsigned(left), unsigned(right)),
        Reading::SignedWithUnsigned => (signed(left), unsigned(right)),
    };
    let (below, above) = (l1 < r0, l0 > r1);
    match op {
        Comparison::Equal if below || above => Some(false),
        Comparison::NotEqual if below || above => Some(true),
        Comparison::Equal | Comparison::NotEqual if l0 == l1 && r0 == r1 => Some(op == Comparison::Equal),
        Comparison::Less if below || l0 >= r1 => Some(below),
        Comparison::GreaterOrEqual if below || l0 >= r1 => Some(!below),
        Comparison::Greater if above || l1 <= r0 => Some(above),
        Comparison::LessOrEqual if above || l1 <= r0 => Some(!above),
        _ => None,
    }
}
