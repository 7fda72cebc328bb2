//! Slots against an oracle: in the `rbpf` machine, under the rules of the 5.10 verifier, and in the running kernel.

mod check;
mod goldens;
pub(crate) mod interpreter;
mod kernel;
mod oracle;
mod path;
pub(crate) mod random;

use super::assembler::{Insn, Operand};
use super::compile::{columns, filter, value};
use super::ir::*;
use super::listing::listing;
use check::check;
use oracle::{CGROUP, COOKIE, CPU, EDGES, NSECS, TASK, World};
use random::Random;
use std::cell::RefCell;
use std::ops::Range;

/// What the machine's helpers answer.
#[derive(Default)]
struct Now {
    readable: Vec<Range<u64>>,
    pid_tgid: u64,
    uid_gid: u64,
    comm: Vec<u8>,
}

thread_local! {
    static NOW: RefCell<Now> = RefCell::default();
}

fn insns_to_bytes(code: &[Insn]) -> Vec<u8> {
    code.iter().flat_map(|insn| insn.to_bytes()).collect()
}

fn readable(address: u64, length: u64) -> bool {
    NOW.with_borrow(|now| {
        now.readable.iter().any(|area| area.start <= address && address.saturating_add(length) <= area.end)
    })
}

fn read(to: u64, size: u64, from: u64, _: u64, _: u64) -> u64 {
    // SAFETY: the target is the slot's stack or output, the source was checked.
    unsafe {
        if readable(from, size) {
            std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, size as usize);
            return 0;
        }
        std::ptr::write_bytes(to as *mut u8, 0, size as usize);
    }
    -14i64 as u64
}

/// Like the kernel's: bytes behind the NUL stay as they were; a fault clears all.
fn read_str(to: u64, size: u64, from: u64, _: u64, _: u64) -> u64 {
    // SAFETY: as above, byte by byte.
    unsafe {
        let target = std::slice::from_raw_parts_mut(to as *mut u8, size as usize);
        for at in 0..size {
            if !readable(from.wrapping_add(at), 1) {
                target.fill(0);
                return -14i64 as u64;
            }
            target[at as usize] = *((from + at) as *const u8);
            if target[at as usize] == 0 {
                return at + 1;
            }
        }
        target[size as usize - 1] = 0;
    }
    size
}

/// Like the kernels that do not pad.
fn comm(to: u64, size: u64, _: u64, _: u64, _: u64) -> u64 {
    let name = NOW.with_borrow(|now| now.comm.clone());
    // SAFETY: as above.
    let target = unsafe { std::slice::from_raw_parts_mut(to as *mut u8, size as usize) };
    let length = name.len().min(target.len() - 1);
    target[..length].copy_from_slice(&name[..length]);
    target[length] = 0;
    0
}

/// Runs a slot with garbage in every register and on the stack; r0 and the output, which is garbage before.
fn run(code: &[Insn], world: &World) -> (u64, Vec<u8>) {
    // Registers of 8 bytes each keep the buffers aligned.
    let words =
        |bytes: &[u8]| bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect::<Vec<_>>();
    let (context, event, mut out) = (words(&world.context), words(&world.event), vec![u64::MAX / 3; 32]);
    let mut program = Vec::new();
    for at in (8..=512).step_by(8) {
        program.push(Insn::store(Size::B8, 10, -at, Operand::Imm(0x5a5a_5a5a + i32::from(at))));
    }
    let entry = [0xdead, context.as_ptr() as u64, event.as_ptr() as u64, out.as_mut_ptr() as u64];
    for reg in 0..10 {
        program.extend(Insn::constant64(
            reg,
            entry.get(usize::from(reg)).copied().unwrap_or(0xbad0_0bad_0000 + u64::from(reg)),
        ));
    }
    for insn in code {
        // rbpf's negation panics at i64::MIN.
        program.push(if insn.code == 0x87 { Insn { code: 0x27, imm: -1, ..*insn } } else { *insn });
    }
    let range = |words: &[u64]| words.as_ptr() as u64..words.as_ptr() as u64 + 8 * words.len() as u64;
    let memory = world.memory.as_ptr() as u64..world.memory.as_ptr() as u64 + world.memory.len() as u64;
    NOW.set(Now {
        readable: vec![range(&context), range(&event), memory.clone()],
        pid_tgid: world.pid_tgid,
        uid_gid: world.uid_gid,
        comm: world.comm.clone(),
    });
    let helpers: [(u32, rbpf::ebpf::Helper); 13] = [
        (5, |_, _, _, _, _| NSECS),
        (8, |_, _, _, _, _| CPU),
        (14, |_, _, _, _, _| NOW.with_borrow(|now| now.pid_tgid)),
        (15, |_, _, _, _, _| NOW.with_borrow(|now| now.uid_gid)),
        (16, comm),
        (35, |_, _, _, _, _| TASK),
        (80, |_, _, _, _, _| CGROUP),
        (112, read),
        (113, read),
        (114, read_str),
        (115, read_str),
        (123, |level, _, _, _, _| CGROUP + level),
        (174, |context, _, _, _, _| if readable(context, 1) { COOKIE } else { 0 }),
    ];
    let areas = [range(&context), range(&event), range(&out), memory];
    let result = interpreter::run(&program, &areas, |id, [a, b, c, d, e]| {
        let (_, helper) = helpers.iter().find(|(known, _)| *known == id).expect("a helper that slots use");
        helper(a, b, c, d, e)
    });
    let written = out.clone();
    // rbpf takes the immediates of equal and unsigned jumps as unsigned; the kernel sign-extends them.
    let misread = |insn: &Insn| insn.code & 0x0f == 0x05 && insn.imm < 0 && insn.code != 0x85;
    if !code.iter().any(misread) {
        out.fill(u64::MAX / 3);
        let bytes = insns_to_bytes(&program);
        let mut vm = rbpf::EbpfVmRaw::new(Some(&bytes)).unwrap();
        areas.into_iter().for_each(|area| vm.register_allowed_memory(area));
        helpers.into_iter().for_each(|(id, helper)| vm.register_helper(id, helper).unwrap());
        let again = vm.execute_program(&mut []).unwrap_or_else(|error| panic!("{error:?}\n{}", listing(code)));
        assert_eq!((again, &out), (result, &written), "{}", listing(code));
    }
    (result, out.iter().flat_map(|word| word.to_le_bytes()).collect())
}

fn constant(value: u64) -> Box<Int> {
    Box::new(Int::Constant(value))
}

fn at(place: i16) -> Box<Int> {
    Box::new(Int::Load { place: Place::Context(place), size: Size::B8, signed: false })
}

fn value_agrees(world: &World, tree: &Int) {
    let code = value(tree).unwrap();
    check(&code, 0);
    assert_eq!(run(&code, world).0, world.int(tree), "{tree:?}\n{}", listing(&code));
}

fn test_agrees(world: &World, tree: &Test) {
    let code = filter(tree).unwrap();
    check(&code, 0);
    assert_eq!(run(&code, world).0, u64::from(world.test(tree)), "{tree:?}\n{}", listing(&code));
}

/// Whether an integer leaves some of its 8 bytes to the caller.
fn narrow(column: &Column) -> bool {
    matches!(column.content, Content::Int { size: Size::B1 | Size::B2 | Size::B4, .. })
}

/// Compares what was written with what the columns mean; nothing else may be written (`garbage`).
fn columns_agree(world: &World, list: &[Column], clear: bool, out: &[u8], garbage: u8) {
    for column in list {
        let found = &out[usize::from(column.offset)..];
        match &column.content {
            Content::Int { value, size } => {
                let size = usize::from(size.bytes());
                assert_eq!(found[..size], world.int(value).to_le_bytes()[..size], "{column:?}");
                assert!(found[size..8].iter().all(|byte| *byte == garbage));
            }
            Content::Text { text, size } => {
                let size = usize::from(*size);
                let mut expected = world.text(text);
                expected.truncate(size - 1);
                if clear {
                    expected.resize(size, 0);
                    assert_eq!(found[..size], expected, "{column:?}");
                } else {
                    assert_eq!(oracle::until_nul(&found[..size]), expected, "{column:?}");
                }
            }
            // Walks have their own tests.
            Content::Path { .. } => {}
            Content::Bytes { bytes, size } => {
                let expected = world.bytes(bytes, (*size).into());
                assert_eq!(found[..expected.len()], expected, "{column:?}");
            }
        }
    }
}

/// Two values in registers, which are not constants to the compiler.
fn world_with(left: u64, right: u64) -> World {
    let mut world = Random::new(1).world();
    world.context[16..24].copy_from_slice(&left.to_le_bytes());
    world.context[24..32].copy_from_slice(&right.to_le_bytes());
    world
}

#[test]
fn arithmetic_on_edge_values_is_exact() {
    use Arithmetic::*;
    for op in [Add, Subtract, Multiply, Divide, Remainder, And, Or, Xor, ShiftLeft, ShiftRight] {
        for (left, right) in EDGES.into_iter().flat_map(|left| EDGES.map(|right| (left, right))) {
            let world = world_with(left, right);
            for signed in [true, false] {
                for sides in [
                    (at(16), at(24)),
                    (at(16), constant(right)),
                    (constant(left), at(24)),
                    (constant(left), constant(right)),
                ] {
                    value_agrees(&world, &Int::Binary { op, signed, left: sides.0, right: sides.1 });
                }
            }
        }
    }
}

#[test]
fn comparison_on_edge_values_is_exact() {
    use Comparison::*;
    for op in [Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual] {
        for reading in [Reading::Signed, Reading::Unsigned, Reading::SignedWithUnsigned] {
            for (left, right) in EDGES.into_iter().flat_map(|left| EDGES.map(|right| (left, right))) {
                let world = world_with(left, right);
                for sides in [
                    (at(16), at(24)),
                    (at(16), constant(right)),
                    (constant(left), at(24)),
                    (constant(left), constant(right)),
                ] {
                    test_agrees(&world, &Test::Compare { op, reading, left: *sides.0, right: *sides.1 });
                }
            }
        }
    }
}

#[test]
fn narrow_loads_compare_and_compute_exactly() {
    use Comparison::*;
    for (left, right) in EDGES.into_iter().flat_map(|left| EDGES.map(|right| (left, right))) {
        let world = world_with(left, right);
        for size in [Size::B1, Size::B2, Size::B4] {
            for (first, second) in [(true, true), (true, false), (false, true), (false, false)] {
                let load = |at, signed| Int::Load { place: Place::Context(at), size, signed };
                value_agrees(&world, &load(16, first));
                for reading in [Reading::Signed, Reading::Unsigned, Reading::SignedWithUnsigned] {
                    for op in [Equal, Less, Greater] {
                        let left = load(16, first);
                        test_agrees(
                            &world,
                            &Test::Compare { op, reading, left: left.clone(), right: load(24, second) },
                        );
                        test_agrees(&world, &Test::Compare { op, reading, left, right: Int::Constant(right) });
                    }
                }
            }
        }
    }
}

#[test]
fn random_values_agree_with_the_oracle() {
    let mut random = Random::new(7);
    for round in 0..6000 {
        let (world, tree) = (random.world(), random.int(1 + round % 5, false));
        if value(&tree).is_ok() {
            value_agrees(&world, &tree);
        }
    }
}

#[test]
fn random_tests_agree_with_the_oracle() {
    let mut random = Random::new(11);
    for round in 0..6000 {
        let (world, tree) = (random.world(), random.test(round % 5, false));
        if filter(&tree).is_ok() {
            test_agrees(&world, &tree);
        }
    }
}

/// The left side stays in its register for the next comparison, unless that one needs more of its bits.
#[test]
fn comparisons_of_one_left_side_agree_with_the_oracle() {
    use Comparison::*;
    let mut random = Random::new(47);
    for _ in 0..4000 {
        let (world, left, any) = (random.world(), random.leaf(false), random.below(2) == 0);
        let one = |_| {
            let op = random.one_of(&[Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual]);
            let reading = random.one_of(&[Reading::Signed, Reading::Unsigned]);
            let near = world.int(&left).wrapping_add(random.below(3) as u64).wrapping_sub(1);
            let right = Int::Constant(if random.below(2) == 0 { near } else { random.one_of(&EDGES) });
            Test::Compare { op, reading, left: left.clone(), right }
        };
        let list = (0..4).map(one).collect();
        test_agrees(&world, &if any { Test::Or(list) } else { Test::And(list) });
    }
}

#[test]
fn random_columns_agree_with_the_oracle() {
    let mut random = Random::new(13);
    for round in 0..4000 {
        let (world, (list, length), clear) = (random.world(), random.columns(false), round % 2 == 0);
        let Ok(code) = columns(&list, clear) else { continue };
        let filled = if clear && !list.iter().any(narrow) { length } else { 0 };
        check(&code, filled);
        let (status, out) = run(&code, &world);
        assert_eq!(status, 0);
        columns_agree(&world, &list, clear, &out, 0x55);
        assert!(out[length..].iter().all(|byte| *byte == 0x55), "bytes behind the columns are written");
    }
}

#[test]
fn texts_of_every_length_and_alignment_equal_what_they_are() {
    let mut random = Random::new(17);
    for length in 0..=40 {
        for offset in 48..56 {
            let mut world = random.world();
            let end = usize::from(offset as u16) + length;
            world.context[usize::from(offset as u16)..95].fill_with(|| b'a' + random.below(2) as u8);
            if random.below(3) > 0 {
                world.context[end] = 0;
            }
            for size in [length, length + 1, 39].map(|size| size as u16) {
                let text = Text::Context { offset, size };
                let plain = world.text(&text);
                for literal in [plain.clone(), random.literal(&plain), random.literal(&plain), vec![b'a'; length]] {
                    for prefix in [true, false] {
                        test_agrees(&world, &Test::TextIs { text: text.clone(), literal: literal.clone(), prefix });
                    }
                }
            }
        }
    }
}

#[test]
fn texts_of_every_kind_equal_literals_near_them() {
    let mut random = Random::new(19);
    for _ in 0..6000 {
        let (world, text) = (random.world(), random.text());
        let (literal, prefix) = (random.literal(&world.text(&text)), random.below(2) == 0);
        test_agrees(&world, &Test::TextIs { text, literal, prefix });
    }
}

#[test]
fn texts_equal_their_copies_elsewhere() {
    let mut random = Random::new(23);
    for _ in 0..6000 {
        let mut world = random.world();
        let (left, right, size) = (random.text(), random.text(), random.below(64) as u16);
        if random.below(2) == 0 {
            let copy = world.context;
            world.event = copy;
            world.comm = oracle::until_nul(&copy[48..63]);
        }
        test_agrees(&world, &Test::TextsEqual { left, right, size });
    }
}

#[test]
fn trusted_pointers_are_followed_with_plain_loads() {
    let world = Random::new(29).world();
    for offset in [64, 72, 80] {
        let tree = Int::Load {
            place: Place::Behind { pointer: at(8), offset, memory: Memory::Trusted },
            size: Size::B4,
            signed: true,
        };
        assert_eq!(run(&value(&tree).unwrap(), &world).0, world.int(&tree));
    }
}
