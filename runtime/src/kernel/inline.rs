//! Slots put in the place of their calls. A call of a function costs some 8 ns where the processor's returns are guarded
//! against speculation, as much as all that a short slot does. Pure; no privilege.
//!
//! A slot's registers are its caller's then: what the caller still needs of r6 to r9 is kept on the stack meanwhile. The
//! slot's own stack lies below the caller's. Source: Documentation/bpf/standardization/instruction-set.rst.

use super::object::Linked;
use super::rewrite::{
    ADD, Becomes, CLASS, Code, FUNCTION_ADDRESS, LOAD, LOAD_LEGACY, MOVE, STORE, STORE_REG, bit, is_call_of_program,
    target, uses,
};
use crate::slot::assembler::{ALU64, BY_REG, CONSTANT64, EXIT, FRAME, Insn, Operand, Reg};
use crate::slot::ir::Size;
use std::collections::BTreeMap;

/// A slot that is longer stays a function: it may be called from several places, and a call is little beside it.
const LONGEST: usize = 64;
/// Bytes of stack, over a program and what it calls; a frame's are multiples of 32.
const STACK: i32 = 512;
/// Bytes for r6 to r9.
const SAVED: i32 = 4 * 8;

/// The same program, with the functions for which `is_slot` says so (by their type) in the place of their calls, where
/// they fit in.
pub fn inlined(program: Linked, is_slot: impl Fn(u32) -> bool) -> Linked {
    match Inliner::new(&program, is_slot).and_then(|inliner| inliner.written(&program)) {
        Some(written) => written,
        None => program,
    }
}

struct Inliner {
    code: Code,
    /// Calls that become code: where, and which function.
    calls: BTreeMap<usize, usize>,
}

fn is_copy_of_frame(insn: Insn) -> bool {
    insn.code == ALU64 | MOVE | BY_REG && insn.src == FRAME
}

/// Bytes of stack that code uses, rounded up to words.
fn depth(code: &[Insn]) -> i32 {
    let mut addresses = bit(FRAME);
    let mut lowest = 0;
    for insn in code {
        let (dst, src) = (bit(insn.dst), bit(insn.src));
        match insn.code & CLASS {
            LOAD if insn.src == FRAME => lowest = lowest.min(i32::from(insn.off)),
            STORE | STORE_REG if insn.dst == FRAME => lowest = lowest.min(i32::from(insn.off)),
            ALU64 if insn.code == ALU64 | MOVE | BY_REG && addresses & src != 0 => addresses |= dst,
            ALU64 if insn.code == ALU64 | ADD && addresses & dst != 0 => lowest = lowest.min(insn.imm),
            _ => {}
        }
    }
    // Any number may stand there; what is far below a stack is none.
    (7 - lowest.max(-2 * STACK)) & !7
}

/// May it stand in its caller's frame? It has one way of taking its stack's address, calls helpers alone, and ends at its end.
fn is_leaf(code: &[Insn]) -> bool {
    let bound_elsewhere = |insn: &Insn| match insn.code & CLASS {
        LOAD | STORE => false,
        STORE_REG => insn.src == FRAME,
        LOAD_LEGACY => insn.code == CONSTANT64 && insn.src == FUNCTION_ADDRESS,
        _ if insn.code & BY_REG != 0 => insn.src == FRAME && !is_copy_of_frame(*insn),
        _ => is_call_of_program(*insn),
    };
    let exits = code.iter().filter(|insn| insn.code == EXIT).count();
    code.len() <= LONGEST
        && exits == 1
        && code.last().is_some_and(|last| last.code == EXIT)
        && !code.iter().any(bound_elsewhere)
}

impl Inliner {
    fn new(program: &Linked, is_slot: impl Fn(u32) -> bool) -> Option<Inliner> {
        let code = Code::of(program)?;
        let slots = code.functions.iter().zip(&program.functions);
        let slots: Vec<bool> = slots
            .map(|(range, function)| {
                is_slot(function.type_id) && range.start > 0 && is_leaf(&code.insns[range.clone()])
            })
            .collect();
        let calls = code.calls_within(0..code.insns.len());
        let calls = calls.filter(|(_, callee)| slots.get(*callee).is_some_and(|is_slot| *is_slot)).collect();
        let mut inliner = Inliner { code, calls };
        // Frames that are one add up to more than those that take turns.
        while inliner.deepest(0, &mut BTreeMap::new()) > STACK {
            let depth_of = |callee: &usize| depth(inliner.body(*callee));
            let deepest = inliner.calls.values().map(depth_of).max()?;
            let fits = inliner.calls.iter().filter(|(_, callee)| depth_of(callee) < deepest);
            inliner.calls = fits.map(|(at, callee)| (*at, *callee)).collect();
        }
        (!inliner.calls.is_empty()).then_some(inliner)
    }

    fn body(&self, function: usize) -> &[Insn] {
        &self.code.insns[self.code.functions[function].clone()]
    }

    /// Bytes of stack that a function takes, and those that it calls: `known` where that was asked before. More than there
    /// are where functions call each other in a circle, which the kernel refuses anyway.
    fn deepest(&self, function: usize, known: &mut BTreeMap<usize, i32>) -> i32 {
        const ENDLESS: i32 = STACK + 1;
        let Some(range) = self.code.functions.get(function) else { return ENDLESS };
        if let Some(depth) = known.get(&function) {
            return *depth;
        }
        known.insert(function, ENDLESS);
        let (mut inside, mut below) = (0, 0);
        for (at, callee) in self.code.calls_within(range.clone()) {
            match self.calls.contains_key(&at) {
                true => inside = inside.max(depth(self.body(callee)) + SAVED),
                false => below = below.max(self.deepest(callee, known)),
            }
        }
        let frame = depth(self.body(function)) + inside;
        let depth = (frame.max(1).saturating_add(31) & !31).saturating_add(below);
        known.insert(function, depth);
        depth
    }

    fn written(&self, program: &Linked) -> Option<Linked> {
        let insns = &self.code.insns;
        let all = self.code.calls_within(0..insns.len());
        let called: Vec<usize> = all.filter(|(at, _)| !self.calls.contains_key(at)).map(|(_, callee)| callee).collect();
        let stays = |n: usize| called.contains(&n) || !self.calls.values().any(|callee| *callee == n);
        let mut becomes: Vec<Becomes> = insns.iter().map(|insn| Becomes::Insn(*insn)).collect();
        for (n, function) in self.code.functions.iter().enumerate() {
            if self.calls.range(function.clone()).next().is_none() {
                continue;
            }
            let live = self.code.live_after(function, |_| false);
            let below = depth(self.body(n));
            for (at, callee) in self.calls.range(function.clone()) {
                let body = body_in_place(self.body(*callee), live[at - function.start], below)?;
                becomes[*at] = Becomes::Body(body);
            }
        }
        self.code.rewritten(program, stays, &becomes)
    }
}

/// A slot's code for its caller's frame, of which `below` bytes are in use: `live` registers are put back at its end.
fn body_in_place(body: &[Insn], live: u16, below: i32) -> Option<Vec<Insn>> {
    let written = body.iter().fold(0, |all, insn| all | uses(*insn).writes) & live;
    let saved: Vec<Reg> = (6..FRAME).filter(|reg| written & bit(*reg) != 0).collect();
    let place = |n: usize| i16::try_from(-below - 8 * (n as i32 + 1)).ok();
    let below = below + 8 * saved.len() as i32;
    let mut out = Vec::with_capacity(body.len() + 2 * saved.len());
    for (n, reg) in saved.iter().enumerate() {
        out.push(Insn::store(Size::B8, FRAME, place(n)?, Operand::Reg(*reg)));
    }
    let mut places = Vec::with_capacity(body.len());
    let (end, code) = body.split_last()?;
    for insn in code {
        places.push(out.len());
        let mut moved = *insn;
        let on_stack = match insn.code & CLASS {
            LOAD => insn.src == FRAME,
            STORE | STORE_REG => insn.dst == FRAME,
            _ => false,
        };
        if on_stack {
            moved.off = i16::try_from(i32::from(insn.off) - below).ok()?;
        }
        out.push(moved);
        if is_copy_of_frame(*insn) && below > 0 {
            out.push(Insn { code: ALU64 | ADD, dst: insn.dst, src: 0, off: 0, imm: -below });
        }
    }
    places.push(out.len());
    debug_assert_eq!(end.code, EXIT);
    for (at, insn) in code.iter().enumerate() {
        if let Some(to) = target(at, *insn) {
            out[places[at]].off = i16::try_from(*places.get(to)? as i64 - places[at] as i64 - 1).ok()?;
        }
    }
    for (n, reg) in saved.iter().enumerate() {
        out.push(Insn::load(Size::B8, *reg, FRAME, place(n)?));
    }
    // A slot that is nothing but its end still has a place to jump to.
    if out.is_empty() {
        out.push(Insn::goto(0));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::rewrite::OF_PROGRAM;
    use crate::slot::assembler::{Alu, Condition, Helper};
    use crate::slot::listing::listing;
    use aya_obj::generated::{bpf_func_info, bpf_line_info};

    const SLOT: u32 = 7;

    fn call(relative: i32) -> Insn {
        Insn { src: OF_PROGRAM, imm: relative, ..Insn::call(Helper::MapLookupElem) }
    }

    fn set(reg: Reg, value: i32) -> Insn {
        Insn::alu(Alu::Move, reg, Operand::Imm(value))
    }

    fn copy(to: Reg, from: Reg) -> Insn {
        Insn::alu(Alu::Move, to, Operand::Reg(from))
    }

    /// The functions one behind the other; all but the first are slots.
    fn linked(functions: &[&[Insn]]) -> Linked {
        let bytes: Vec<u8> = functions.iter().flat_map(|code| code.iter()).flat_map(|insn| insn.to_bytes()).collect();
        let mut start = 0;
        let starts: Vec<u32> = functions
            .iter()
            .map(|code| {
                start += code.len() as u32;
                start - code.len() as u32
            })
            .collect();
        let of = |insn_off: &u32| bpf_func_info { insn_off: *insn_off, type_id: if *insn_off == 0 { 1 } else { SLOT } };
        let line = |insn_off: &u32| bpf_line_info { insn_off: *insn_off, file_name_off: 0, line_off: 0, line_col: 0 };
        Linked {
            instructions: aya_obj::copy_instructions(&bytes).unwrap(),
            license: c"GPL".into(),
            functions: starts.iter().map(of).collect(),
            lines: starts.iter().map(line).collect(),
            relocations: Vec::new(),
        }
    }

    fn shown(program: &Linked) -> String {
        listing(&Code::of(program).unwrap().insns)
    }

    #[test]
    fn slot_takes_the_place_of_its_call_and_jumps_still_lead_where_they_did() {
        let program = [
            set(6, 23),
            Insn::jump(Condition::Equal, true, 1, Operand::Imm(0), 2),
            call(3),
            Insn::goto(-3),
            copy(0, 6),
            Insn::exit(),
        ];
        let slot = [Insn::jump(Condition::Equal, true, 1, Operand::Imm(5), 1), set(2, 7), copy(0, 2), Insn::exit()];
        let found = inlined(linked(&[&program, &slot]), |function| function == SLOT);
        let expected = "   0: r6 = 23\n   1: if r1 == 0 goto +4\n   2: if r1 == 5 goto +1\n   3: r2 = 7\n   4: r0 = r2\n   \
                        5: goto -5\n   6: r0 = r6\n   7: exit\n";
        assert_eq!(shown(&found), expected);
        assert_eq!((found.functions.len(), found.lines.len()), (1, 1));
    }

    #[test]
    fn registers_that_are_still_needed_are_kept_below_the_callers_stack() {
        let program = [
            set(6, 23),
            Insn::store(Size::B8, FRAME, -16, Operand::Imm(0)),
            call(3),
            Insn::alu(Alu::Add, 0, Operand::Reg(6)),
            set(7, 1),
            Insn::exit(),
        ];
        let slot = [
            copy(6, 1),
            copy(7, 1),
            copy(2, FRAME),
            Insn::alu(Alu::Add, 2, Operand::Imm(-8)),
            Insn::store(Size::B8, FRAME, -8, Operand::Reg(6)),
            Insn::exit(),
        ];
        let found = inlined(linked(&[&program, &slot]), |function| function == SLOT);
        let expected = "   0: r6 = 23\n   1: *(u64 *)(r10 -16) = 0\n   2: *(u64 *)(r10 -24) = r6\n   3: r6 = r1\n   \
                        4: r7 = r1\n   5: r2 = r10\n   6: r2 += -24\n   7: r2 += -8\n   8: *(u64 *)(r10 -32) = r6\n   \
                        9: r6 = *(u64 *)(r10 -24)\n  10: r0 += r6\n  11: r7 = 1\n  12: exit\n";
        assert_eq!(shown(&found), expected);
    }

    #[test]
    fn what_is_no_slot_or_too_long_or_too_deep_stays_a_function() {
        let program = [call(1), Insn::exit()];
        let long = [vec![set(0, 1); LONGEST], vec![Insn::exit()]].concat();
        let deep = [Insn::store(Size::B8, FRAME, -500, Operand::Imm(0)), set(0, 1), Insn::exit()];
        let twice = [Insn::jump(Condition::Equal, true, 1, Operand::Imm(0), 2), set(0, 1), Insn::exit(), Insn::exit()];
        for slot in [&long[..], &deep, &twice] {
            let linked = || linked(&[&program, slot]);
            assert_eq!(shown(&inlined(linked(), |function| function == SLOT)), shown(&linked()));
        }
        let short = || linked(&[&program, &[set(0, 1), Insn::exit()]]);
        assert_eq!(shown(&inlined(short(), |_| false)), shown(&short()));
        assert_eq!(shown(&inlined(short(), |function| function == SLOT)), "   0: r0 = 1\n   1: exit\n");
    }

    #[test]
    fn program_that_calls_itself_is_left_to_the_kernel() {
        let program = [call(2), call(-2), Insn::exit()];
        let linked = || linked(&[&program, &[set(0, 1), Insn::exit()]]);
        assert_eq!(shown(&inlined(linked(), |function| function == SLOT)), shown(&linked()));
    }

    #[test]
    fn function_behind_a_slot_is_still_found_by_its_callers() {
        let program = [call(2), call(3), Insn::exit()];
        let slot = [set(0, 1), Insn::exit()];
        let other = [set(0, 2), Insn::exit()];
        let mut linked = linked(&[&program, &slot, &other]);
        linked.functions[2].type_id = 2;
        let found = inlined(linked, |function| function == SLOT);
        assert_eq!(shown(&found), "   0: r0 = 1\n   1: call map_lookup_elem\n   2: exit\n   3: r0 = 2\n   4: exit\n");
        assert_eq!(found.instructions[1].imm, 1);
        assert_eq!(found.functions.iter().map(|one| one.insn_off).collect::<Vec<_>>(), [0, 3]);
    }
}
