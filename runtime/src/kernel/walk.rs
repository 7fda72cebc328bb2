//! Which instructions of a program can run, and what registers hold there, as far as its constants tell: what the verifier
//! would look at, but for what it knows of the stack and of values that were compared. Unknown is never wrong here, only
//! less exact. Pure; no privilege.

use super::rewrite::{ADD, CLASS, Code, LOAD, LOAD_LEGACY, MOVE, OPERATION, STORE_REG, bit, goes_on, target, uses};
use crate::slot::assembler::{ALU32, ALU64, Alu, BY_REG, CONSTANT64, Condition, Insn, JUMP, Reg};
use std::collections::HashMap;

/// `src` of a 64-bit constant: a map's descriptor, the upper half an offset in its only value.
pub const MAP_VALUE: u8 = 2;
/// The mode of loads and stores that are plain ones.
const MODE: u8 = 0xe0;
const PLAIN: u8 = 0x60;

/// What a register holds, of all ways that lead to an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    Unknown,
    Known(u64),
    /// So many bytes into the constants of the map with this descriptor.
    Constants(i32, i64),
}

use Value::{Constants, Known, Unknown};

/// By their numbers, as many as an instruction can name.
pub type Registers = [Value; 16];

/// A program, and what is known of it once it was followed.
pub struct Walk<F> {
    pub code: Code,
    /// Instructions that the kernel has yet to change, and what they will set.
    pub relocated: HashMap<usize, Value>,
    /// Constants by their map's descriptor, offset and size in bytes.
    constant: F,
    /// Instructions that are not there any more.
    pub gone: Vec<bool>,
    /// What is known when an instruction is reached; `None`: it never is, as most of a template's.
    pub before: Vec<Option<Box<Registers>>>,
    /// Functions that are reached.
    pub called: Vec<bool>,
}

fn immediate(insn: Insn) -> u64 {
    insn.imm as i64 as u64
}

/// `None`: it depends on what is not known, or is too rare to be worth it.
pub fn calculated(insn: Insn, left: Value, right: Value) -> Option<Value> {
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

pub fn is_conditional(insn: Insn) -> bool {
    goes_on(insn) && target(0, insn).is_some()
}

impl<F: Fn(i32, i64, usize) -> Option<u64>> Walk<F> {
    pub fn new(code: Code, relocated: HashMap<usize, Value>, constant: F) -> Walk<F> {
        let gone = vec![false; code.insns.len()];
        Walk { code, relocated, constant, gone, before: Vec::new(), called: Vec::new() }
    }

    pub fn operand(insn: Insn, registers: &Registers) -> Value {
        match insn.code & BY_REG {
            0 => Known(immediate(insn)),
            _ => registers[usize::from(insn.src)],
        }
    }

    /// What a load of constants finds.
    pub fn loaded(&self, insn: Insn, registers: &Registers) -> Option<u64> {
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
    pub fn decided(insn: Insn, registers: &Registers) -> Option<bool> {
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
        if let Some(value) = self.relocated.get(&at) {
            if uses(insn).writes & bit(insn.dst) != 0 {
                after[dst] = *value;
            }
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

    /// Follows all ways through the program that its constants leave. `None`: one leads out of it.
    pub fn follow(&mut self) -> Option<()> {
        let all = self.code.insns.len();
        self.before.clear();
        self.before.resize(all, None);
        self.called = vec![false; self.code.functions.len()];
        let mut waiting = Vec::new();
        self.enter(0, &mut waiting)?;
        while let Some(at) = waiting.pop() {
            let (insn, Some(registers)) = (self.code.insns[at], self.before[at].as_deref().copied()) else { continue };
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
        let Some(before) = before else {
            *before = Some(Box::new(registers));
            waiting.push(at);
            return Some(());
        };
        let mut changed = false;
        for (known, other) in before.iter_mut().zip(registers) {
            if *known != other && *known != Unknown {
                *known = Unknown;
                changed = true;
            }
        }
        if changed {
            waiting.push(at);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::assembler::Operand;

    /// Of `r1 = 0; if (r1 == 0) skip; r2 = 7; exit`, with what a relocation makes of the first.
    fn reached(relocated: Option<Value>) -> Vec<usize> {
        let set = |register: Reg, value: i32| Insn::alu(Alu::Move, register, Operand::Imm(value));
        let skip = Insn::jump(Condition::Equal, true, 1, Operand::Imm(0), 1);
        let insns = vec![set(1, 0), skip, set(2, 7), Insn::exit()];
        let relocated = relocated.map(|value| (0, value)).into_iter().collect();
        let mut walk = Walk::new(Code { insns, functions: std::iter::once(0..4).collect() }, relocated, |_, _, _| None);
        walk.follow().unwrap();
        (0..4).filter(|at| walk.before[*at].is_some()).collect()
    }

    #[test]
    fn branch_that_a_constant_decides_is_walked_one_way() {
        assert_eq!(reached(None), [0, 1, 3]);
        assert_eq!(reached(Some(Known(1))), [0, 1, 2, 3]);
        assert_eq!(reached(Some(Unknown)), [0, 1, 2, 3], "what is not known may be either");
    }
}
