//! Programs before and after, in a machine of our own; and what is left of some that are known.

use super::*;
use crate::kernel::walk::MAP_VALUE;
use crate::slot::assembler::{FRAME, Helper, Operand};
use crate::slot::ir::Size;
use crate::slot::listing::listing;
use crate::slot::tests::interpreter;
use crate::slot::tests::random::Random;
use aya_obj::generated::{bpf_func_info, bpf_line_info};

/// The descriptor of the constants.
const MAP: i32 = 11;
const BYTES: [u8; 20] = [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xef, 0xbe, 0xad, 0xde, 2, 3, 5, 7];

fn constant(map: i32, at: i64, size: usize) -> Option<u64> {
    let at = usize::try_from(at).ok().filter(|_| map == MAP)?;
    let mut whole = [0; 8];
    whole[..size].copy_from_slice(BYTES.get(at..at + size)?);
    Some(u64::from_le_bytes(whole))
}

/// The address of so many bytes into the constants.
fn constants(reg: Reg, at: i32) -> [Insn; 2] {
    let [low, high] = Insn::constant64(reg, 0);
    [Insn { src: MAP_VALUE, imm: MAP, ..low }, Insn { imm: at, ..high }]
}

fn set(reg: Reg, value: i32) -> Insn {
    Insn::alu(Alu::Move, reg, Operand::Imm(value))
}

fn call(relative: i32) -> Insn {
    Insn { src: 1, imm: relative, ..Insn::call(Helper::MapLookupElem) }
}

/// The functions one behind the other, each instruction a line of its own.
fn linked(functions: &[&[Insn]]) -> Linked {
    let code: Vec<Insn> = functions.concat();
    let bytes: Vec<u8> = code.iter().flat_map(|insn| insn.to_bytes()).collect();
    let lengths = functions.iter().map(|code| code.len() as u32);
    let starts = lengths.scan(0, |end, length| {
        *end += length;
        Some(*end - length)
    });
    Linked {
        instructions: aya_obj::copy_instructions(&bytes).unwrap(),
        license: c"GPL".into(),
        functions: starts.enumerate().map(|(n, at)| bpf_func_info { insn_off: at, type_id: n as u32 }).collect(),
        lines: (0..code.len() as u32)
            .map(|at| bpf_line_info { insn_off: at, file_name_off: 0, line_off: at, line_col: 0 })
            .collect(),
        relocations: Vec::new(),
    }
}

fn code(program: &Linked) -> Vec<Insn> {
    Code::of(program).unwrap().insns
}

fn shown(functions: &[&[Insn]]) -> String {
    listing(&code(&propagated(linked(functions), constant)))
}

#[test]
fn branch_that_is_off_is_gone_and_so_is_what_asked() {
    let on = [&constants(2, 4)[..], &[Insn::load(Size::B4, 3, 2, -4)]].concat();
    let rest =
        [Insn::jump(Condition::Equal, true, 3, Operand::Imm(0), 2), set(0, 7), Insn::exit(), set(0, 8), Insn::exit()];
    assert_eq!(shown(&[&[on, rest.to_vec()].concat()]), "   0: r0 = 7\n   1: exit\n");
}

#[test]
fn constants_stand_where_they_are_used() {
    let first = [&constants(2, 0)[..], &[Insn::load(Size::B4, 3, 2, 12), Insn::load(Size::B8, 4, 1, 0)]].concat();
    let rest = [
        // From both sides, and of the lower halves.
        Insn::jump(Condition::Less, false, 3, Operand::Reg(4), 2),
        Insn::alu(Alu::Add, 4, Operand::Reg(5)),
        Insn::alu32(Alu::Or, 4, Operand::Reg(3)),
        Insn::alu(Alu::Move, 0, Operand::Reg(4)),
        Insn::exit(),
    ];
    let expected = "   0: r4 = *(u64 *)(r1 +0)\n   1: if w4 > -559038737 goto +2\n   2: r4 += r5\n   3: w4 |= -559038737\n   \
                    4: r0 = r4\n   5: exit\n";
    assert_eq!(shown(&[&[first, rest.to_vec()].concat()]), expected);
}

#[test]
fn what_two_ways_bring_is_known_where_both_bring_the_same() {
    let ways = |second| {
        [
            Insn::jump(Condition::Equal, true, 1, Operand::Imm(0), 2),
            set(2, 5),
            Insn::goto(1),
            set(2, second),
            Insn::load(Size::B8, 0, 1, 0),
            Insn::alu(Alu::Add, 0, Operand::Reg(2)),
            Insn::exit(),
        ]
    };
    assert_eq!(shown(&[&ways(5)]), "   0: r0 = *(u64 *)(r1 +0)\n   1: r0 += 5\n   2: exit\n");
    assert_eq!(shown(&[&ways(6)]), listing(&ways(6)));
}

#[test]
fn jump_is_led_past_those_of_which_it_knows_what_they_do() {
    let program = [
        Insn::jump(Condition::NotEqual, true, 1, Operand::Imm(7), 2),
        set(0, 1),
        Insn::goto(1),
        set(0, 0),
        Insn::jump(Condition::Equal, true, 0, Operand::Imm(0), 2),
        set(0, 11),
        Insn::exit(),
        set(0, 12),
        Insn::exit(),
    ];
    let expected = "   0: if r1 != 7 goto +2\n   1: r0 = 11\n   2: exit\n   3: r0 = 12\n   4: exit\n";
    assert_eq!(shown(&[&program]), expected);
}

#[test]
fn functions_that_nobody_calls_go_and_lines_and_relocations_follow_what_is_left() {
    let program = [
        set(6, 0),
        Insn::jump(Condition::Equal, true, 6, Operand::Imm(0), 1),
        call(4),
        Insn::load(Size::B8, 1, 1, 8),
        call(4),
        Insn::exit(),
        Insn::exit(),
    ];
    let (unused, used) = ([set(0, 1), Insn::exit()], [Insn::load(Size::B8, 0, 1, 16), Insn::exit()]);
    let mut before = linked(&[&program, &unused, &used]);
    let relocation =
        |at: u32| super::super::core_relo::Relocation { insn_off: 8 * at, type_id: at, access_str_off: 0, kind: 0 };
    before.relocations = [2, 3, 7, 9].map(relocation).to_vec();
    let after = propagated(before, constant);
    let expected =
        "   0: r1 = *(u64 *)(r1 +8)\n   1: call map_lookup_elem\n   2: exit\n   3: r0 = *(u64 *)(r1 +16)\n   4: exit\n";
    assert_eq!(listing(&code(&after)), expected);
    assert_eq!(after.instructions[1].imm, 1);
    let functions: Vec<(u32, u32)> = after.functions.iter().map(|one| (one.insn_off, one.type_id)).collect();
    assert_eq!(functions, [(0, 0), (3, 2)]);
    let relocations: Vec<(u32, u32)> = after.relocations.iter().map(|one| (one.insn_off / 8, one.type_id)).collect();
    assert_eq!(relocations, [(0, 3), (3, 9)]);
    let lines: Vec<(u32, u32)> = after.lines.iter().map(|one| (one.insn_off, one.line_off)).collect();
    assert_eq!(lines, [(0, 3), (1, 4), (2, 5), (3, 9), (4, 10)]);
}

#[test]
fn instruction_that_the_kernel_will_change_is_not_known() {
    let program =
        [set(2, 8), Insn::jump(Condition::Equal, true, 2, Operand::Imm(8), 1), set(2, 9), set(0, 0), Insn::exit()];
    let mut before = linked(&[&program]);
    before.relocations =
        vec![super::super::core_relo::Relocation { insn_off: 0, type_id: 1, access_str_off: 0, kind: 0 }];
    let after = propagated(before, constant);
    // What comes of it is used by nobody.
    assert_eq!(listing(&code(&after)), "   0: r0 = 0\n   1: exit\n");
    let program = [set(0, 8), Insn::jump(Condition::Equal, true, 0, Operand::Imm(8), 1), set(0, 9), Insn::exit()];
    let mut before = linked(&[&program]);
    before.relocations =
        vec![super::super::core_relo::Relocation { insn_off: 0, type_id: 1, access_str_off: 0, kind: 0 }];
    assert_eq!(listing(&code(&propagated(before, constant))), listing(&program));
}

#[test]
fn code_that_leads_in_circles_is_left_to_the_kernel() {
    let to = |from: i16, to: i16| Insn::goto(to - from - 1);
    let circles = [
        Insn::jump(Condition::Equal, true, 1, Operand::Imm(0), 2),
        to(1, 4),
        Insn::exit(),
        to(3, 5),
        to(4, 3),
        to(5, 3),
        Insn { dst: 15, src: 13, ..set(0, 1) },
        Insn::goto(30_000),
        Insn::exit(),
    ];
    // Whatever becomes of it, it is soon.
    let after = code(&propagated(linked(&[&circles]), constant));
    assert!(after.len() <= circles.len());
    let far = [Insn { code: 0x06, imm: 1, ..Insn::goto(0) }, set(0, 1), set(0, 2), Insn::exit()];
    let codes = |program: &Linked| program.instructions.iter().map(|insn| insn.code).collect::<Vec<_>>();
    assert_eq!(codes(&propagated(linked(&[&far]), constant)), far.map(|insn| insn.code));
}

const INPUT: Reg = 6;
const WORDS: usize = 8;

/// One instruction, or one and what it takes.
fn anything(random: &mut Random) -> Vec<Insn> {
    const ALL: [Alu; 12] = [
        Alu::Add,
        Alu::Subtract,
        Alu::Multiply,
        Alu::Divide,
        Alu::Or,
        Alu::And,
        Alu::ShiftLeft,
        Alu::ShiftRight,
        Alu::Remainder,
        Alu::Xor,
        Alu::Move,
        Alu::ShiftRightSigned,
    ];
    const SIZES: [Size; 4] = [Size::B1, Size::B2, Size::B4, Size::B8];
    let regs = [0, 1, 2, 3, 7, 8];
    let (dst, src) = (random.one_of(&regs), random.one_of(&regs));
    let imm = random.one_of(&[0, 1, -1, 7, 31, 63, i32::MIN, i32::MAX, 0x1234]);
    let operand = if random.below(2) == 0 { Operand::Reg(src) } else { Operand::Imm(imm) };
    match random.below(9) {
        0 => vec![Insn::load(random.one_of(&SIZES), dst, INPUT, 8 * random.below(WORDS) as i16)],
        1 => {
            let size = random.one_of(&SIZES);
            [&constants(dst, 3 + random.below(6) as i32)[..], &[Insn::load(size, dst, dst, random.below(8) as i16 - 3)]]
                .concat()
        }
        2 => Insn::constant64(dst, random.next()).to_vec(),
        3 => vec![Insn::call(Helper::KtimeGetNs)],
        4 => vec![Insn::store(Size::B8, FRAME, -8, Operand::Reg(src)), Insn::load(Size::B8, dst, FRAME, -8)],
        5 => vec![Insn::alu(Alu::Negate, dst, Operand::Imm(0))],
        6 => vec![Insn::to_big_endian(random.one_of(&SIZES[1..]), dst)],
        _ => {
            let op = random.one_of(&ALL);
            // The verifier refuses what divides or shifts by more than there is.
            let imm = match op {
                Alu::Divide | Alu::Remainder => imm.max(1),
                Alu::ShiftLeft | Alu::ShiftRight | Alu::ShiftRightSigned => imm & 31,
                _ => imm,
            };
            let shifts = matches!(op, Alu::ShiftLeft | Alu::ShiftRight | Alu::ShiftRightSigned);
            let operand = if shifts || matches!(operand, Operand::Imm(_)) { Operand::Imm(imm) } else { operand };
            vec![if random.below(2) == 0 { Insn::alu(op, dst, operand) } else { Insn::alu32(op, dst, operand) }]
        }
    }
}

fn random_program(random: &mut Random, input: &[u64; WORDS]) -> Vec<Insn> {
    const CONDITIONS: [Condition; 11] = [
        Condition::Equal,
        Condition::Greater,
        Condition::GreaterOrEqual,
        Condition::AnyBit,
        Condition::NotEqual,
        Condition::SignedGreater,
        Condition::SignedGreaterOrEqual,
        Condition::Less,
        Condition::LessOrEqual,
        Condition::SignedLess,
        Condition::SignedLessOrEqual,
    ];
    let steps: Vec<Vec<Insn>> = (0..60)
        .map(|_| {
            // Over how many steps: their lengths are not known as yet.
            let over = 1 + random.below(4) as i16;
            let operand = [Operand::Reg(random.one_of(&[0, 3, 7])), Operand::Imm(random.one_of(&[0, 1, -1, 7]))];
            let (condition, operand) = (random.one_of(&CONDITIONS), random.one_of(&operand));
            match random.below(16) {
                0 => vec![Insn::goto(over)],
                wide @ 1..5 => vec![Insn::jump(condition, wide % 2 == 0, random.one_of(&[0, 2, 8]), operand, over)],
                _ => anything(random),
            }
        })
        .collect();
    let mut program = Insn::constant64(INPUT, input.as_ptr() as u64).to_vec();
    for (n, step) in steps.iter().enumerate() {
        let over = |off: i16| steps[n + 1..].iter().take(off as usize).map(Vec::len).sum::<usize>() as i16;
        let jumps = |insn: &Insn| target(0, *insn).is_some();
        program.extend(step.iter().map(|insn| if jumps(insn) { Insn { off: over(insn.off), ..*insn } } else { *insn }));
    }
    program.extend([1, 2, 3, 7, 8].map(|reg| Insn::alu(Alu::Add, 0, Operand::Reg(reg))));
    program.push(Insn::exit());
    program
}

fn run(code: &[Insn], input: &[u64; WORDS]) -> u64 {
    let mut code = code.to_vec();
    for at in 0..code.len() {
        if code[at].code == CONSTANT64 && code[at].src == MAP_VALUE {
            let address = BYTES.as_ptr() as u64 + code[at + 1].imm as u64;
            let whole = Insn::constant64(code[at].dst, address);
            code[at..at + 2].copy_from_slice(&whole);
        }
    }
    let area = |start: *const u8, bytes: usize| start as u64..start as u64 + bytes as u64;
    let areas = [area(input.as_ptr().cast(), 8 * WORDS), area(BYTES.as_ptr(), BYTES.len())];
    interpreter::run(&code, &areas, |_, _| 0x0123_4567_89ab_cdef)
}

#[test]
fn programs_do_what_they_did() {
    let mut random = Random::new(7);
    let (mut before_all, mut after_all) = (0, 0);
    for _ in 0..5003 {
        let input: [u64; WORDS] = std::array::from_fn(|_| random.next() >> random.below(64));
        let program = random_program(&mut random, &input);
        let after = code(&propagated(linked(&[&program]), constant));
        (before_all, after_all) = (before_all + program.len(), after_all + after.len());
        let of_all = || format!("{}\n{}", listing(&program), listing(&after));
        assert_eq!(run(&after, &input), run(&program, &input), "{}", of_all());
        // Nothing is left that nothing leads to.
        let reached = code(&propagated(linked(&[&after]), constant));
        assert!(reached.len() <= after.len());
    }
    assert!(after_all < before_all * 3 / 4, "{after_all} of {before_all}");
}
