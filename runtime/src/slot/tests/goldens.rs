//! Instruction counts and code that a change should not make worse unnoticed, and the limits.

use super::check::check;
use super::constant;
use super::random::Random;
use crate::slot::assembler::Insn;
use crate::slot::compile::{TooLarge, What, columns, filter, value};
use crate::slot::ir::*;
use crate::slot::listing::listing;

fn now(current: Current) -> Int {
    Int::Current(current)
}

fn context(offset: i16, size: Size, signed: bool) -> Int {
    Int::Load { place: Place::Context(offset), size, signed }
}

fn compare(left: Int, op: Comparison, right: u64, reading: Reading) -> Test {
    Test::Compare { op, reading, left, right: Int::Constant(right) }
}

fn equal(left: Int, right: u64) -> Test {
    compare(left, Comparison::Equal, right, Reading::Unsigned)
}

fn comm_is(name: &str) -> Test {
    Test::TextIs { text: Text::Comm, literal: name.into(), prefix: false }
}

fn binary(op: Arithmetic, left: Int, right: Int) -> Int {
    Int::Binary { op, signed: false, left: Box::new(left), right: Box::new(right) }
}

fn behind(pointer: Int, offset: i32) -> Int {
    let place = Place::Behind { pointer: Box::new(pointer), offset, memory: Memory::Kernel };
    Int::Load { place, size: Size::B4, signed: false }
}

/// The listing on one line, without numbers.
fn shown(code: &[Insn]) -> String {
    let listing = listing(code);
    let lines: Vec<&str> = listing.lines().map(|line| &line[6..]).collect();
    lines.join("; ")
}

#[test]
fn listing_reads_like_the_verifier() {
    let goldens = [
        (
            equal(now(Current::Pid), 7),
            "call get_current_pid_tgid; r0 >>= 32; if r0 != 7 goto +2; r0 = 1; goto +1; r0 = 0; exit",
        ),
        (
            equal(now(Current::PidIn(PidNamespace { device: 4, inode: 0xf000_0001 })), 7),
            "r1 = 4; w2 = -268435455; r3 = r10; r3 += -8; r4 = 8; call get_ns_current_pid_tgid; \
             r4 = *(u32 *)(r10 -4); r0 = 0; if r4 != 7 goto +1; r0 = 1; exit",
        ),
        (
            compare(context(16, Size::B4, true), Comparison::Less, 0, Reading::Signed),
            "r4 = *(u32 *)(r1 +16); r0 = 0; if w4 s>= 0 goto +1; r0 = 1; exit",
        ),
        (
            comm_is("bash"),
            "r1 = r10; r1 += -8; r2 = 8; call get_current_comm; \
             r4 = *(u32 *)(r10 -8); if r4 != 1752392034 goto +3; \
             r4 = *(u8 *)(r10 -4); r0 = 1; if r4 == 0 goto +1; r0 = 0; exit",
        ),
        (
            equal(context(16, Size::B8, false), 1 << 40),
            "r4 = *(u64 *)(r1 +16); r5 = 0x10000000000 ll; r0 = 0; if r4 != r5 goto +1; r0 = 1; exit",
        ),
    ];
    for (test, golden) in goldens {
        assert_eq!(shown(&filter(&test).unwrap()), golden);
    }
}

#[test]
fn typical_filters_keep_their_length() {
    use Comparison::*;
    let pid = |pid| equal(now(Current::Pid), pid);
    let large = || compare(context(16, Size::B8, false), Greater, 4096, Reading::Unsigned);
    let low_bits = binary(Arithmetic::And, context(24, Size::B4, false), Int::Constant(3));
    let worker = Test::TextIs { text: Text::Comm, literal: b"kworker/".to_vec(), prefix: true };
    let filters = [
        ("pid == 7", pid(7), 7),
        ("not (pid == 7)", Test::Not(Box::new(pid(7))), 7),
        ("tid == 7", equal(now(Current::Tid), 7), 6),
        ("args.ret < 0, an int", compare(context(16, Size::B4, true), Less, 0, Reading::Signed), 5),
        ("args.count > 4096", large(), 5),
        ("pid == 7 and args.count > 4096", Test::And(vec![pid(7), large()]), 9),
        ("pid == 7 or pid == 9", Test::Or(vec![pid(7), pid(9)]), 8),
        ("comm == \"bash\"", comm_is("bash"), 11),
        ("comm starts with \"kworker/\"", worker, 11),
        ("(args.flags & 3) == 0", equal(low_bits, 0), 5),
        ("a field behind a kernel pointer == 5", equal(behind(context(8, Size::B8, false), 40), 5), 12),
    ];
    for (name, test, golden) in filters {
        let code = filter(&test).unwrap();
        assert_eq!(code.len(), golden, "{name}: {}", shown(&code));
    }
}

#[test]
fn typical_values_and_columns_keep_their_length() {
    let elapsed = binary(Arithmetic::Subtract, now(Current::Nsecs), context(16, Size::B8, false));
    let micros = binary(Arithmetic::Divide, elapsed, Int::Constant(1000));
    assert_eq!(value(&micros).unwrap().len(), 6);
    let thousandth = Int::Binary {
        op: Arithmetic::Divide,
        signed: true,
        left: Box::new(context(16, Size::B8, true)),
        right: constant(1000),
    };
    assert_eq!(value(&thousandth).unwrap().len(), 8);
    let int = |offset, value, size| Column { offset, content: Content::Int { value, size } };
    let text = |offset, text, size| Column { offset, content: Content::Text { text, size } };
    let key = [text(0, Text::Comm, 16), int(16, now(Current::Pid), Size::B8)];
    assert_eq!(columns(&key, true).unwrap().len(), 11);
    let record = [
        int(0, now(Current::Tid), Size::B4),
        text(8, Text::DataLocation { offset: 8, relative: false }, 32),
        int(40, context(16, Size::B8, true), Size::B8),
    ];
    assert_eq!(columns(&record, false).unwrap().len(), 14);
}

#[test]
fn expression_that_does_not_fit_says_by_how_much() {
    let one = |at: i16| equal(context(8 * (at % 12), Size::B8, false), 0x1_0000_0000 + at as u64);
    let error = filter(&Test::And((0..1100).map(one).collect())).unwrap_err();
    assert_eq!((error.what, error.room), (What::Instructions, 4096));
    assert!(error.needed > 4096);
    assert_eq!(TooLarge { needed: 5012, ..error }.to_string(), "needs 5,012 instructions, a slot holds 4,096");
    let literal = vec![b'x'; 200];
    let text = Text::DataLocation { offset: 0, relative: false };
    let error = filter(&Test::TextIs { text, literal, prefix: false }).unwrap_err();
    assert_eq!(error, TooLarge { what: What::Stack, needed: 208, room: 192 });
    assert_eq!(error.to_string(), "needs 208 bytes of stack, a slot has 192");
}

#[test]
fn deep_trees_compile_or_are_too_large() {
    let deep = |depth: usize, leaf: &dyn Fn() -> Int, right: bool| {
        (0..depth).fold(leaf(), |tree, _| {
            let (left, right) = if right { (leaf(), tree) } else { (tree, leaf()) };
            Int::Binary { op: Arithmetic::Subtract, signed: true, left: Box::new(left), right: Box::new(right) }
        })
    };
    for right in [false, true] {
        for leaf in [now(Current::Nsecs), context(16, Size::B4, true)] {
            assert!(value(&deep(500, &|| leaf.clone(), right)).is_ok());
        }
    }
    let negated = (0..1001).fold(equal(now(Current::Pid), 7), |test, _| Test::Not(Box::new(test)));
    assert_eq!(filter(&negated).unwrap().len(), 7);
    let long = |_| Test::TextIs {
        text: Text::At { pointer: context(8, Size::B8, false), memory: Memory::User },
        literal: vec![b'x'; 300],
        prefix: true,
    };
    assert_eq!(filter(&Test::Or((0..20).map(long).collect())).unwrap_err().what, What::Stack);
    let full = |depth, leaf: &dyn Fn() -> Int| {
        (0..depth).fold(leaf(), |tree, _| Int::Binary {
            op: Arithmetic::Divide,
            signed: true,
            left: Box::new(tree.clone()),
            right: Box::new(tree),
        })
    };
    assert!(value(&full(8, &|| context(16, Size::B4, true))).is_ok());
    assert!(value(&full(7, &|| now(Current::Nsecs))).is_ok());
    assert_eq!(value(&full(11, &|| now(Current::Nsecs))).unwrap_err().what, What::Instructions);
}

#[test]
fn large_random_trees_keep_the_rules_or_are_too_large() {
    let mut random = Random::new(53);
    for _ in 0..300 {
        if let Ok(code) = value(&random.int(10, false)) {
            check(&code, 0);
        }
    }
}

#[test]
fn constant_expressions_leave_nothing_to_compute() {
    let never = Test::And(vec![equal(now(Current::Pid), 7), Test::Constant(false)]);
    assert_eq!(filter(&never).unwrap().len(), 2);
    assert_eq!(filter(&equal(now(Current::Pid), 1 << 40)).unwrap().len(), 2);
    let same = Int::Binary { op: Arithmetic::Multiply, signed: true, left: constant(6), right: constant(7) };
    assert_eq!(value(&same).unwrap().len(), 2);
    assert_eq!(columns(&[], true).unwrap().len(), 2);
}
