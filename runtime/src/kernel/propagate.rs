//! What a plan's constants make of a program, before it is loaded: branches that are off are gone, and constants stand in the
//! instructions that use them. The verifier does the same in the end, for more: it walks all that a template can do, and
//! leaves a load wherever a constant was read. Pure; no privilege.
//!
//! Sparse conditional constant propagation, then dead code. Source: Wegman and Zadeck, Constant propagation with conditional
//! branches, 1991.

use super::object::Linked;
use super::rewrite::{
    ADD, Becomes, CLASS, Code, FUNCTION_ADDRESS, LOAD, LOAD_LEGACY, MOVE, OPERATION, STORE_REG, bit, goes_on, target,
    uses,
};
use crate::slot::assembler::{ALU32, ALU64, Alu, BY_REG, CONSTANT64, Condition, Insn, JUMP, Reg};
use std::ops::Range;

/// `src` of a 64-bit constant: a map's descriptor, the upper half an offset in its only value.
const MAP_VALUE: u8 = 2;
/// The mode of loads and stores that are plain ones.
const MODE: u8 = 0xe0;
const PLAIN: u8 = 0x60;

/// What a register holds, of all ways that lead to an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Unknown,
    Known(u64),
    /// So many bytes into the constants of the map with this descriptor.
    Constants(i32, i64),
}

use Value::{Constants, Known, Unknown};

/// By their numbers, as many as an instruction can name.
type Registers = [Value; 16];

/// Rounds of looking at the whole. Three do for templates; code that leads in circles may never come to an end.
const ROUNDS: usize = 16;

/// The same program, with the constants that `constant` knows by their map's descriptor, offset and size in bytes.
pub fn propagated(program: Linked, constant: impl Fn(i32, i64, usize) -> Option<u64>) -> Linked {
    let Some(code) = Code::of(&program) else { return program };
    let relocated = program.relocations.iter().map(|relocation| relocation.insn_off as usize / 8).collect();
    let gone = vec![false; code.insns.len()];
    let propagation = Propagation { code, relocated, constant, gone, before: Vec::new(), called: Vec::new() };
    propagation.written(&program).unwrap_or(program)
}

struct Propagation<F> {
    code: Code,
    /// Instructions that the kernel has yet to change.
    relocated: Vec<usize>,
    constant: F,
    /// Instructions that are not needed.
    gone: Vec<bool>,
    /// What is known when an instruction is reached; `None`: it never is.
    before: Vec<Option<Registers>>,
    /// Functions that are reached.
    called: Vec<bool>,
}

fn immediate(insn: Insn) -> u64 {
    insn.imm as i64 as u64
}

/// `None`: it depends on what is not known, or is too rare to be worth it.
fn calculated(insn: Insn, left: Value, right: Value) -> Option<Value> {
    let wide = insn.code & CLASS == ALU64;
    let low = |value: u64| if wide { value } else { value & 0xffff_ffff };
    // Sign-extending moves and signed divisions.
    if insn.off != 0 {
        return None;
    }
    let (left, right) = match (insn.code & OPERATION, left, right) {
        (MOVE, _, right) if wide => return Some(right),
        (MOVE, _, Known(right)) => return Some(Known(low(right))),
        (ADD, Constants(map, at), Known(more)) if wide => {
            return Some(Constants(map, at.wrapping_add(more as i64)));
        }
        (_, Known(left), Known(right)) => (low(left), low(right)),
        _ => return None,
    };
    let bits = right as u32 & if wide { 63 } else { 31 };
    let value = match insn.code & OPERATION {
        op if op == Alu::Add as u8 => left.wrapping_add(right),
        op if op == Alu::Subtract as u8 => left.wrapping_sub(right),
        op if op == Alu::Multiply as u8 => left.wrapping_mul(right),
        op if op == Alu::Or as u8 => left | right,
        op if op == Alu::And as u8 => left & right,
        op if op == Alu::Xor as u8 => left ^ right,
        op if op == Alu::ShiftLeft as u8 => left << bits,
        op if op == Alu::ShiftRight as u8 => left >> bits,
        op if op == Alu::ShiftRightSigned as u8 && wide => (left as i64 >> bits) as u64,
        _ => return None,
    };
    Some(Known(low(value)))
}

fn holds(insn: Insn, left: u64, right: u64) -> Option<bool> {
    let wide = insn.code & CLASS == JUMP;
    let (left, right) = if wide { (left, right) } else { (left & 0xffff_ffff, right & 0xffff_ffff) };
    let signed = |value: u64| if wide { value as i64 } else { i64::from(value as u32 as i32) };
    Some(match insn.code & OPERATION {
        op if op == Condition::Equal as u8 => left == right,
        op if op == Condition::NotEqual as u8 => left != right,
        op if op == Condition::Greater as u8 => left > right,
        op if op == Condition::GreaterOrEqual as u8 => left >= right,
        op if op == Condition::Less as u8 => left < right,
        op if op == Condition::LessOrEqual as u8 => left <= right,
        op if op == Condition::AnyBit as u8 => left & right != 0,
        op if op == Condition::SignedGreater as u8 => signed(left) > signed(right),
        op if op == Condition::SignedGreaterOrEqual as u8 => signed(left) >= signed(right),
        op if op == Condition::SignedLess as u8 => signed(left) < signed(right),
        op if op == Condition::SignedLessOrEqual as u8 => signed(left) <= signed(right),
        _ => return None,
    })
}

fn is_conditional(insn: Insn) -> bool {
    goes_on(insn) && target(0, insn).is_some()
}

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
    fn operand(insn: Insn, registers: &Registers) -> Value {
        match insn.code & BY_REG {
            0 => Known(immediate(insn)),
            _ => registers[usize::from(insn.src)],
        }
    }

    /// What a load of constants finds.
    fn loaded(&self, insn: Insn, registers: &Registers) -> Option<u64> {
        let Constants(map, at) = registers[usize::from(insn.src)] else { return None };
        let size = match insn.code & 0x18 {
            0x10 => 1,
            0x08 => 2,
            0x00 => 4,
            _ => 8,
        };
        let plain = insn.code & CLASS == LOAD && insn.code & MODE == PLAIN;
        plain.then(|| (self.constant)(map, at + i64::from(insn.off), size)).flatten()
    }

    /// What a jump does whatever the rest may be.
    fn decided(insn: Insn, registers: &Registers) -> Option<bool> {
        match (registers[usize::from(insn.dst)], Self::operand(insn, registers)) {
            (Known(left), Known(right)) if is_conditional(insn) => holds(insn, left, right),
            _ => None,
        }
    }

    fn after(&self, at: usize, registers: &Registers) -> Registers {
        let insn = self.code.insns[at];
        let dst = usize::from(insn.dst);
        let mut after = *registers;
        let mut forget = |registers: u16| {
            (0..16).filter(|reg| registers & bit(*reg as Reg) != 0).for_each(|reg| after[reg] = Unknown);
        };
        forget(uses(insn).writes);
        if self.relocated.contains(&at) {
            return after;
        }
        match insn.code & CLASS {
            LOAD_LEGACY if insn.code == CONSTANT64 => {
                let high = self.code.insns.get(at + 1).map_or(0, |half| half.imm);
                after[dst] = match insn.src {
                    0 => Known(u64::from(insn.imm as u32) | (high as u64) << 32),
                    MAP_VALUE => Constants(insn.imm, i64::from(high)),
                    _ => Unknown,
                };
            }
            // Packet loads are calls.
            LOAD_LEGACY if insn.code != 0 => forget(0b11_1111),
            LOAD => after[dst] = self.loaded(insn, registers).map_or(Unknown, Known),
            STORE_REG if insn.code & MODE != PLAIN => forget(bit(insn.src) | bit(0)),
            ALU32 | ALU64 => {
                let result = calculated(insn, registers[dst], Self::operand(insn, registers));
                after[dst] = result.unwrap_or(Unknown);
            }
            _ => {}
        }
        after
    }

    /// Follows all ways through the program that its constants leave.
    fn follow(&mut self) -> Option<()> {
        let all = self.code.insns.len();
        (self.before, self.called) = (vec![None; all], vec![false; self.code.functions.len()]);
        let mut waiting = Vec::new();
        self.enter(0, &mut waiting)?;
        while let Some(at) = waiting.pop() {
            let (insn, Some(registers)) = (self.code.insns[at], self.before[at]) else { continue };
            if self.gone[at] {
                self.arrive(at + 1, registers, &mut waiting)?;
                continue;
            }
            let after = self.after(at, &registers);
            let decided = Self::decided(insn, &registers);
            if let Some(to) = target(at, insn).filter(|_| decided != Some(false)) {
                self.arrive(to, after, &mut waiting)?;
            }
            if goes_on(insn) && decided != Some(true) {
                self.arrive(at + 1, after, &mut waiting)?;
            }
            if let Some(start) = self.code.names_function(at) {
                self.enter(start, &mut waiting)?;
            }
        }
        Some(())
    }

    fn enter(&mut self, start: usize, waiting: &mut Vec<usize>) -> Option<()> {
        let function = self.code.functions.iter().position(|range| range.start == start)?;
        if !std::mem::replace(&mut self.called[function], true) {
            self.arrive(start, [Unknown; 16], waiting)?;
        }
        Some(())
    }

    fn arrive(&mut self, at: usize, registers: Registers, waiting: &mut Vec<usize>) -> Option<()> {
        let before = self.before.get_mut(at)?;
        let mut merged = before.unwrap_or(registers);
        for (known, other) in merged.iter_mut().zip(registers) {
            if *known != other {
                *known = Unknown;
            }
        }
        if *before != Some(merged) {
            *before = Some(merged);
            waiting.push(at);
        }
        Some(())
    }

    /// What an instruction is with what is known when it is reached; `None`: nothing that is needed.
    fn simplified(&self, at: usize) -> Option<Insn> {
        let insn = self.code.insns[at];
        let registers = self.before[at].as_ref()?;
        if self.relocated.contains(&at) {
            return Some(insn);
        }
        if let Some(jumps) = Self::decided(insn, registers) {
            return jumps.then(|| Insn::goto(insn.off)).map(|insn| self.through(at, insn, registers));
        }
        if let Some(value) = self.loaded(insn, registers) {
            return Some(set(insn.dst, value).unwrap_or(insn));
        }
        if !is_alu(insn) && !is_conditional(insn) {
            return Some(self.through(at, insn, registers));
        }
        let (left, right) = (registers[usize::from(insn.dst)], Self::operand(insn, registers));
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
        for _ in 0..self.code.insns.len() {
            let Some(insn) = self.code.insns.get(to).filter(|_| to > at) else { break };
            let next = match Self::decided(*insn, registers) {
                _ if self.gone[to] => Some(to + 1),
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
            self.follow()?;
            let mut changed = self.simplify();
            for (function, called) in self.code.functions.clone().iter().zip(self.called.clone()) {
                if called {
                    changed |= drop_dead(&self.code, function, &mut self.gone) | self.turn_round(function);
                }
            }
            if !changed {
                let becomes =
                    |(insn, gone): (&Insn, &bool)| if *gone { Becomes::Nothing } else { Becomes::Insn(*insn) };
                let becomes: Vec<Becomes> = self.code.insns.iter().zip(&self.gone).map(becomes).collect();
                return self.code.rewritten(program, |function| self.called[function], &becomes);
            }
        }
        None
    }

    /// Jumps over a jump become the opposite jump to where that leads; true: there was some.
    fn turn_round(&mut self, function: &Range<usize>) -> bool {
        let stays = |from: usize, gone: &[bool]| (from..function.end).find(|at| !gone[*at]).unwrap_or(function.end);
        let mut changed = false;
        for at in function.clone() {
            let insn = self.code.insns[at];
            if self.gone[at] || !is_conditional(insn) {
                continue;
            }
            let next = stays(at + 1, &self.gone);
            let Some(goto) = self.code.insns.get(next).filter(|next| next.code == JUMP) else { continue };
            let (Some(over), Some(to), Some(other)) = (target(at, insn), target(next, *goto), insn.inverted()) else {
                continue;
            };
            let leads_over = over > next && stays(over, &self.gone) == stays(next + 1, &self.gone);
            if !leads_over || self.is_entered(function, at + 1..next + 1) {
                continue;
            }
            if let Ok(off) = i16::try_from(to as i64 - at as i64 - 1) {
                self.code.insns[at] = Insn { off, ..other };
                self.gone[next] = true;
                changed = true;
            }
        }
        changed
    }

    /// Does a jump lead there?
    fn is_entered(&self, function: &Range<usize>, place: Range<usize>) -> bool {
        let leads_there = |at: usize| target(at, self.code.insns[at]).is_some_and(|to| place.contains(&to));
        function.clone().any(|at| !self.gone[at] && leads_there(at))
    }

    /// True: something changed.
    fn simplify(&mut self) -> bool {
        let mut changed = false;
        for at in (0..self.code.insns.len()).filter(|at| !self.gone[*at]).collect::<Vec<_>>() {
            let is_half = at > 0 && self.code.insns[at - 1].code == CONSTANT64;
            match self.simplified(at) {
                _ if is_half => self.gone[at] = self.gone[at - 1],
                Some(insn) => changed |= std::mem::replace(&mut self.code.insns[at], insn) != insn,
                None => {
                    self.gone[at] = true;
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
        let leads_on = target(at, insn).is_some_and(|to| to > at && gone[at + 1..to].iter().all(|gone| *gone));
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
