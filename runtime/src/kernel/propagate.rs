//! What a plan's constants make of a program, before it is loaded: branches that are off are gone, and constants stand in the
//! instructions that use them. The verifier does the same in the end, for more: it walks all that a template can do, and
//! leaves a load wherever a constant was read. Pure; no privilege.
//!
//! Sparse conditional constant propagation, then dead code. Source: Wegman and Zadeck, Constant propagation with conditional
//! branches, 1991.

use super::object::Linked;
use super::rewrite::{ADD, Becomes, CLASS, Code, FUNCTION_ADDRESS, MOVE, OPERATION, bit, target};
use super::walk::{Registers, Value, Walk, calculated, is_conditional};
use crate::slot::assembler::{ALU32, ALU64, Alu, BY_REG, CONSTANT64, Condition, Insn, JUMP, Reg};
use std::ops::Range;

use Value::{Known, Unknown};

/// Rounds of looking at the whole. Three do for templates; code that leads in circles may never come to an end.
const ROUNDS: usize = 16;

/// The same program, with the constants that `constant` knows by their map's descriptor, offset and size in bytes.
pub fn propagated(program: Linked, constant: impl Fn(i32, i64, usize) -> Option<u64>) -> Linked {
    let Some(code) = Code::of(&program) else { return program };
    let relocated = program.relocations.iter().map(|relocation| (relocation.insn_off as usize / 8, Unknown)).collect();
    Propagation(Walk::new(code, relocated, constant)).written(&program).unwrap_or(program)
}

struct Propagation<F>(Walk<F>);

fn is_alu(insn: Insn) -> bool {
    matches!(insn.code & CLASS, ALU32 | ALU64)
}

/// Would it do the same with a constant for its register? Divisions by none and negations have rules of their own, and the
/// bit of a byte swap says another thing.
fn takes_constant(insn: Insn) -> bool {
    const OPERATIONS: [Alu; 8] =
        [Alu::Add, Alu::Subtract, Alu::Multiply, Alu::Or, Alu::And, Alu::Xor, Alu::ShiftLeft, Alu::ShiftRight];
    let plain = OPERATIONS.iter().any(|op| insn.code & OPERATION == *op as u8);
    is_conditional(insn) || plain && insn.off == 0
}

/// The same comparison from its other side.
fn turned(insn: Insn) -> Option<Insn> {
    use Condition::{
        AnyBit, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual, SignedGreater, SignedGreaterOrEqual,
        SignedLess, SignedLessOrEqual,
    };
    const SIDES: [(Condition, Condition); 7] = [
        (Equal, Equal),
        (NotEqual, NotEqual),
        (AnyBit, AnyBit),
        (Greater, Less),
        (GreaterOrEqual, LessOrEqual),
        (SignedGreater, SignedLess),
        (SignedGreaterOrEqual, SignedLessOrEqual),
    ];
    let is = |condition: Condition| insn.code & OPERATION == condition as u8;
    let other = SIDES.iter().find_map(|(one, other)| is(*one).then_some(*other).or(is(*other).then_some(*one)))?;
    let by_reg = insn.code & BY_REG != 0;
    by_reg.then_some(Insn { code: insn.code & !OPERATION | other as u8, dst: insn.src, src: insn.dst, ..insn })
}

/// The instruction that sets a register to this, where one of 8 bytes can.
fn set(reg: Reg, value: u64) -> Option<Insn> {
    let imm = value as i32;
    let class = match value {
        _ if imm as i64 as u64 == value => ALU64,
        _ if u64::from(imm as u32) == value => ALU32,
        _ => return None,
    };
    Some(Insn { code: class | MOVE, dst: reg, src: 0, off: 0, imm })
}

/// The same with a constant for its last operand; `None` where it does not fit.
fn with_constant(insn: Insn, value: u64) -> Option<Insn> {
    let wide = matches!(insn.code & CLASS, ALU64 | JUMP);
    let fits = !wide || value as i32 as i64 as u64 == value;
    fits.then_some(Insn { code: insn.code & !BY_REG, src: 0, imm: value as i32, ..insn })
}

impl<F: Fn(i32, i64, usize) -> Option<u64>> Propagation<F> {
    /// What an instruction is with what is known when it is reached; `None`: nothing that is needed.
    fn simplified(&self, at: usize) -> Option<Insn> {
        let insn = self.0.code.insns[at];
        let registers = self.0.before[at].as_deref()?;
        if self.0.relocated.contains_key(&at) {
            return Some(insn);
        }
        if let Some(jumps) = Walk::<F>::decided(insn, registers) {
            return jumps.then(|| Insn::goto(insn.off)).map(|insn| self.through(at, insn, registers));
        }
        if let Some(value) = self.0.loaded(insn, registers) {
            return Some(set(insn.dst, value).unwrap_or(insn));
        }
        if !is_alu(insn) && !is_conditional(insn) {
            return Some(self.through(at, insn, registers));
        }
        let (left, right) = (registers[usize::from(insn.dst)], Walk::<F>::operand(insn, registers));
        if let (true, Some(Known(value))) = (is_alu(insn), calculated(insn, left, right)) {
            return Some(set(insn.dst, value).unwrap_or(insn));
        }
        let simpler = match (left, right) {
            // Of an address and none.
            (_, Known(0)) if insn.code & !BY_REG == ALU64 | ADD => return None,
            (_, Known(value)) if insn.code & BY_REG != 0 && takes_constant(insn) => with_constant(insn, value),
            (Known(value), _) if is_conditional(insn) => turned(insn).and_then(|insn| with_constant(insn, value)),
            _ => None,
        };
        Some(self.through(at, simpler.unwrap_or(insn), registers))
    }

    /// A jump, led past the jumps behind it of which is known here what they do; anything else as it is.
    fn through(&self, at: usize, jump: Insn, registers: &Registers) -> Insn {
        let Some(mut to) = target(at, jump) else { return jump };
        for _ in 0..self.0.code.insns.len() {
            let Some(insn) = self.0.code.insns.get(to).filter(|_| to > at) else { break };
            let next = match Walk::<F>::decided(*insn, registers) {
                _ if self.0.gone[to] => Some(to + 1),
                Some(false) => Some(to + 1),
                Some(true) => target(to, *insn),
                None => target(to, *insn).filter(|_| insn.code == JUMP),
            };
            match next {
                Some(next) => to = next,
                None => break,
            }
        }
        i16::try_from(to as i64 - at as i64 - 1).map_or(jump, |off| Insn { off, ..jump })
    }

    fn written(mut self, program: &Linked) -> Option<Linked> {
        // Each leaves more to the other, and the last look finds nothing that is not reached.
        for _ in 0..ROUNDS {
            self.0.follow()?;
            let mut changed = self.simplify();
            for (function, called) in self.0.code.functions.clone().iter().zip(self.0.called.clone()) {
                if called {
                    changed |= drop_dead(&self.0.code, function, &mut self.0.gone) | self.turn_round(function);
                }
            }
            if !changed {
                let becomes =
                    |(insn, gone): (&Insn, &bool)| if *gone { Becomes::Nothing } else { Becomes::Insn(*insn) };
                let becomes: Vec<Becomes> = self.0.code.insns.iter().zip(&self.0.gone).map(becomes).collect();
                return self.0.code.rewritten(program, |function| self.0.called[function], &becomes);
            }
        }
        None
    }

    /// Jumps over a jump become the opposite jump to where that leads; true: there was some.
    fn turn_round(&mut self, function: &Range<usize>) -> bool {
        let stays = |from: usize, gone: &[bool]| (from..function.end).find(|at| !gone[*at]).unwrap_or(function.end);
        let mut changed = false;
        for at in function.clone() {
            let insn = self.0.code.insns[at];
            if self.0.gone[at] || !is_conditional(insn) {
                continue;
            }
            let next = stays(at + 1, &self.0.gone);
            let Some(goto) = self.0.code.insns.get(next).filter(|next| next.code == JUMP) else { continue };
            let (Some(over), Some(to), Some(other)) = (target(at, insn), target(next, *goto), insn.inverted()) else {
                continue;
            };
            let leads_over = over > next && stays(over, &self.0.gone) == stays(next + 1, &self.0.gone);
            if !leads_over || self.is_entered(function, at + 1..next + 1) {
                continue;
            }
            if let Ok(off) = i16::try_from(to as i64 - at as i64 - 1) {
                self.0.code.insns[at] = Insn { off, ..other };
                self.0.gone[next] = true;
                changed = true;
            }
        }
        changed
    }

    /// Does a jump lead there?
    fn is_entered(&self, function: &Range<usize>, place: Range<usize>) -> bool {
        let leads_there = |at: usize| target(at, self.0.code.insns[at]).is_some_and(|to| place.contains(&to));
        function.clone().any(|at| !self.0.gone[at] && leads_there(at))
    }

    /// True: something changed.
    fn simplify(&mut self) -> bool {
        let mut changed = false;
        for at in (0..self.0.code.insns.len()).filter(|at| !self.0.gone[*at]).collect::<Vec<_>>() {
            let is_half = at > 0 && self.0.code.insns[at - 1].code == CONSTANT64;
            match self.simplified(at) {
                _ if is_half => self.0.gone[at] = self.0.gone[at - 1],
                Some(insn) => changed |= std::mem::replace(&mut self.0.code.insns[at], insn) != insn,
                None => {
                    self.0.gone[at] = true;
                    changed = true;
                }
            }
        }
        changed
    }
}

/// Drops what sets a register that nobody reads, and jumps over nothing; true: there was some.
fn drop_dead(code: &Code, function: &Range<usize>, gone: &mut [bool]) -> bool {
    let live = code.live_after(function, |at| gone[at]);
    let mut changed = false;
    for at in function.clone() {
        let insn = code.insns[at];
        let sets = is_alu(insn) || insn.code == CONSTANT64 && insn.src != FUNCTION_ADDRESS;
        let dead = sets && live[at - function.start] & bit(insn.dst) == 0;
        let over = target(at, insn).and_then(|to| gone.get(at + 1..to));
        let leads_on = over.is_some_and(|over| over.iter().all(|gone| *gone));
        if !gone[at] && (dead || leads_on) {
            gone[at] = true;
            gone[at + usize::from(insn.code == CONSTANT64)] = true;
            changed = true;
        }
    }
    changed
}

#[cfg(test)]
mod tests;
