//! A linked program as instructions that may be replaced: what each reads and writes, where it leads, and the same program
//! with others in their place. Pure; no privilege. Source: Documentation/bpf/standardization/instruction-set.rst.

use super::object::Linked;
use crate::slot::assembler::{BY_REG, CALL, CONSTANT64, EXIT, Insn, JUMP, JUMP32, Reg};
use aya_obj::generated::bpf_insn;
use std::ops::Range;

/// `src` of a call, of a function of the program; of a 64-bit constant, such a function's address.
pub const OF_PROGRAM: u8 = 1;
pub const FUNCTION_ADDRESS: u8 = 4;

pub const CLASS: u8 = 0x07;
pub const LOAD_LEGACY: u8 = 0;
pub const LOAD: u8 = 1;
pub const STORE: u8 = 2;
pub const STORE_REG: u8 = 3;
/// The operation of an ALU instruction or a jump.
pub const OPERATION: u8 = 0xf0;
pub const MOVE: u8 = 0xb0;
pub const ADD: u8 = 0x00;

/// All of a program's instructions, and where its functions lie: the first is the program's own.
pub struct Code {
    pub insns: Vec<Insn>,
    pub functions: Vec<Range<usize>>,
}

/// What comes to stand where an instruction stood.
pub enum Becomes {
    /// A jump or a call in its place leads where the instruction's own did.
    Insn(Insn),
    /// Code of its own: its jumps stay within.
    Body(Vec<Insn>),
    Nothing,
}

/// Registers that an instruction reads and writes, as bits.
pub struct Uses {
    pub reads: u16,
    pub writes: u16,
}

pub fn bit(reg: Reg) -> u16 {
    1 << reg
}

/// Registers of the arguments that a call takes; of helpers by their number in the kernel's `enum bpf_func_id`.
fn arguments(call: Insn) -> u16 {
    match (call.src, call.imm) {
        // Time, processor, process, user, task, control group.
        (0, 5 | 8 | 14 | 15 | 35 | 80 | 158) => 0,
        // Looking up, deleting, a name.
        (0, 1 | 3 | 16) => 0b110,
        _ => 0b11_1110,
    }
}

/// What is certain to be written, and all that may be read.
pub fn uses(insn: Insn) -> Uses {
    let (dst, src) = (bit(insn.dst), bit(insn.src));
    let by_reg = if insn.code & BY_REG != 0 { src } else { 0 };
    let (reads, writes) = match insn.code & CLASS {
        LOAD_LEGACY if insn.code == CONSTANT64 => (0, dst),
        // The other half of a constant.
        LOAD_LEGACY if insn.code == 0 => (0, 0),
        // Packet loads go by r6, and may end the program.
        LOAD_LEGACY => (bit(6) | src, 0),
        LOAD => (src, dst),
        STORE => (dst, 0),
        // Atomic operations compare with r0 and may write it, or their source.
        STORE_REG => (dst | src | bit(0), 0),
        JUMP if insn.code == CALL => (arguments(insn), 0b11_1111),
        JUMP if insn.code == EXIT => (bit(0), 0),
        JUMP if insn.code == JUMP => (0, 0),
        JUMP | JUMP32 => (dst | by_reg, 0),
        _ if insn.code & OPERATION == MOVE => (by_reg, dst),
        _ => (dst | by_reg, dst),
    };
    Uses { reads, writes }
}

/// Where a jump leads, of an instruction at `at`; `None` for what is no jump.
pub fn target(at: usize, insn: Insn) -> Option<usize> {
    let jumps = matches!(insn.code & CLASS, JUMP | JUMP32) && !matches!(insn.code, CALL | EXIT);
    jumps.then(|| at.wrapping_add_signed(isize::from(insn.off) + 1))
}

/// Does the instruction behind come after it, unless it jumps?
pub fn goes_on(insn: Insn) -> bool {
    insn.code != EXIT && insn.code != JUMP
}

pub fn is_call_of_program(insn: Insn) -> bool {
    insn.code == CALL && insn.src == OF_PROGRAM
}

impl Code {
    /// `None` where the program's functions do not lie one behind the other, or its jumps are longer than templates' are.
    pub fn of(program: &Linked) -> Option<Code> {
        let read = |insn: &bpf_insn| Insn {
            code: insn.code,
            dst: insn.dst_reg(),
            src: insn.src_reg(),
            off: insn.off,
            imm: insn.imm,
        };
        let insns: Vec<Insn> = program.instructions.iter().map(read).collect();
        let starts = program.functions.iter().map(|function| function.insn_off as usize);
        let ends = starts.clone().skip(1).chain([insns.len()]);
        let functions: Vec<Range<usize>> = starts.zip(ends).map(|(start, end)| start..end).collect();
        let in_order = functions.iter().all(|range| range.start < range.end && range.end <= insns.len());
        let far = insns.iter().any(|insn| insn.code == JUMP32);
        (functions.first()?.start == 0 && in_order && !far).then_some(Code { insns, functions })
    }

    /// The place of the function that an instruction calls, or whose address it takes.
    pub fn names_function(&self, at: usize) -> Option<usize> {
        let insn = self.insns[at];
        let names = is_call_of_program(insn) || insn.code == CONSTANT64 && insn.src == FUNCTION_ADDRESS;
        names.then(|| at.wrapping_add_signed(insn.imm as isize + 1))
    }

    /// Calls of functions of the program, and which function it is.
    pub fn calls_within(&self, range: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
        range.filter(|at| is_call_of_program(self.insns[*at])).map(|at| {
            let start = self.names_function(at);
            let callee = self.functions.iter().position(|range| Some(range.start) == start);
            (at, callee.unwrap_or(usize::MAX))
        })
    }

    /// Registers that are read after each instruction of a function before they are written; of an instruction that is gone,
    /// what the next finds.
    pub fn live_after(&self, function: &Range<usize>, is_gone: impl Fn(usize) -> bool) -> Vec<u16> {
        let mut before = vec![0u16; function.len() + 1];
        let mut after = vec![0u16; function.len()];
        loop {
            let mut changed = false;
            for at in function.clone().rev() {
                let (insn, n) = (self.insns[at], at - function.start);
                let (live, now) = if is_gone(at) {
                    (before[n + 1], before[n + 1])
                } else {
                    let jumps = target(at, insn).filter(|to| function.contains(to));
                    let jumps = jumps.map_or(0, |to| before[to - function.start]);
                    let live = if goes_on(insn) { before[n + 1] } else { 0 } | jumps;
                    let Uses { reads, writes } = uses(insn);
                    (live, live & !writes | reads)
                };
                changed |= now != before[n];
                (before[n], after[n]) = (now, live);
            }
            if !changed {
                return after;
            }
        }
    }

    /// The program with `becomes` in the place of each instruction, without the functions that do not stay. `None` where a
    /// jump would lead too far, or to what is gone.
    pub fn rewritten(&self, program: &Linked, stays: impl Fn(usize) -> bool, becomes: &[Becomes]) -> Option<Linked> {
        // Where each instruction comes to stand; where nothing does, what comes next in the function.
        let mut places = vec![None; self.insns.len() + 1];
        let mut out: Vec<Insn> = Vec::with_capacity(self.insns.len() + 64);
        for (_, function) in self.functions.iter().enumerate().filter(|(n, _)| stays(*n)) {
            for at in function.clone() {
                places[at] = Some(out.len());
                match &becomes[at] {
                    Becomes::Insn(insn) => out.push(*insn),
                    Becomes::Body(body) => out.extend(body),
                    Becomes::Nothing => {}
                }
            }
            // Nothing may stand behind the last of what is left.
            let behind = places[function.clone()].iter_mut().rev().take_while(|place| **place == Some(out.len()));
            behind.for_each(|place| *place = None);
        }
        for (at, becomes) in becomes.iter().enumerate() {
            let (Some(place), Becomes::Insn(insn)) = (places[at], becomes) else { continue };
            let to = |to: usize| places.get(to).copied().flatten().map(|to| to as i64 - place as i64 - 1);
            if target(at, *insn).is_some() {
                out[place].off = i16::try_from(to(target(at, self.insns[at])?)?).ok()?;
            } else if let Some(start) = self.names_function(at) {
                out[place].imm = i32::try_from(to(start)?).ok()?;
            }
        }
        let place = |insn: u32| places.get(insn as usize).copied().flatten().and_then(|at| u32::try_from(at).ok());
        let mut functions = program.functions.clone();
        functions.retain_mut(|function| place(function.insn_off).map(|at| function.insn_off = at).is_some());
        let mut lines = program.lines.clone();
        lines.retain_mut(|line| place(line.insn_off).map(|at| line.insn_off = at).is_some());
        // Of lines that come to begin at the same instruction, it belongs to the last.
        lines.reverse();
        lines.dedup_by_key(|line| line.insn_off);
        lines.reverse();
        let mut relocations = program.relocations.clone();
        relocations.retain_mut(|relocation| {
            let at = relocation.insn_off / 8;
            let stands = matches!(becomes.get(at as usize), Some(Becomes::Insn(_)));
            place(at).filter(|_| stands).map(|at| relocation.insn_off = at * 8).is_some()
        });
        let bytes: Vec<u8> = out.into_iter().flat_map(Insn::to_bytes).collect();
        let instructions = aya_obj::copy_instructions(&bytes).ok()?;
        Some(Linked { instructions, license: program.license.clone(), functions, lines, relocations })
    }
}
