//! Which instructions of a program can run, as far as its constants tell: what the verifier would look at, but for the
//! values that it knows from paths. Unknown is never wrong here, only less exact.

use aya_obj::generated::bpf_insn;
use std::collections::{HashMap, HashSet};

/// What is known of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Nothing,
    Number(u64),
    /// A place in the constants of the map with this number.
    Constant {
        map: i32,
        at: u64,
    },
}

type Registers = [Known; 11];

pub struct Walk<'a> {
    code: &'a [bpf_insn],
    /// What relocations make of instructions.
    relocated: HashMap<usize, Known>,
    constants: &'a HashMap<i32, Vec<u8>>,
    /// Before each instruction that is reached.
    states: HashMap<usize, Registers>,
    waiting: Vec<usize>,
}

// Classes, operations and sources of instructions: include/uapi/linux/bpf_common.h, bpf.h.
const LD: u8 = 0;
const LDX: u8 = 1;
const ALU: u8 = 4;
const JMP: u8 = 5;
const JMP32: u8 = 6;
const ALU64: u8 = 7;
const BY_REGISTER: u8 = 8;
const OF_CONSTANTS: u8 = 2;
const OF_FUNCTION: u8 = 4;

impl<'a> Walk<'a> {
    pub fn new(
        code: &'a [bpf_insn],
        relocated: HashMap<usize, Known>,
        constants: &'a HashMap<i32, Vec<u8>>,
    ) -> Walk<'a> {
        Walk { code, relocated, constants, states: HashMap::new(), waiting: Vec::new() }
    }

    /// Numbers of the instructions.
    pub fn reached(mut self) -> HashSet<usize> {
        self.reach(0, [Known::Nothing; 11]);
        while let Some(at) = self.waiting.pop() {
            let registers = self.states[&at];
            self.step(at, registers);
        }
        self.states.into_keys().collect()
    }

    /// Goes on at `at`; what differs between the ways there is not known.
    fn reach(&mut self, at: usize, registers: Registers) {
        let joined = match self.states.get(&at) {
            None => registers,
            Some(before) => std::array::from_fn(|n| if before[n] == registers[n] { before[n] } else { Known::Nothing }),
        };
        if self.states.insert(at, joined) != Some(joined) {
            self.waiting.push(at);
        }
    }

    fn step(&mut self, at: usize, mut registers: Registers) {
        let Some(insn) = self.code.get(at) else { return };
        let (to, from) = (usize::from(insn.dst_reg()).min(10), usize::from(insn.src_reg()).min(10));
        let immediate = insn.imm as i64 as u64;
        match insn.code & 7 {
            // Of 64 bits, in two places.
            LD if insn.code == 0x18 => {
                let high = self.code.get(at + 1).map_or(0, |insn| insn.imm);
                registers[to] = match insn.src_reg() {
                    0 => Known::Number(u64::from(insn.imm as u32) | (high as u64) << 32),
                    OF_CONSTANTS => Known::Constant { map: insn.imm, at: high as u64 },
                    OF_FUNCTION => {
                        self.reach(target(at, insn.imm), [Known::Nothing; 11]);
                        Known::Nothing
                    }
                    _ => Known::Nothing,
                };
                self.relocate(at, &mut registers[to]);
                self.reach(at + 2, registers);
            }
            LD => {
                registers[0] = Known::Nothing;
                self.reach(at + 1, registers);
            }
            LDX => {
                registers[to] = self.load(registers[from], insn.off, insn.code >> 3 & 3);
                self.reach(at + 1, registers);
            }
            ALU | ALU64 => {
                let operand = if insn.code & BY_REGISTER == 0 { Known::Number(immediate) } else { registers[from] };
                registers[to] = compute(insn.code, registers[to], operand);
                self.relocate(at, &mut registers[to]);
                self.reach(at + 1, registers);
            }
            JMP | JMP32 => self.jump(at, insn, registers),
            _ => self.reach(at + 1, registers),
        }
    }

    fn jump(&mut self, at: usize, insn: &bpf_insn, mut registers: Registers) {
        match insn.code >> 4 {
            0 if insn.code & 7 == JMP32 => self.reach(target(at, insn.imm), registers),
            0 => self.reach(target(at, insn.off.into()), registers),
            8 => {
                // A function of the program itself; others are the kernel's.
                if insn.src_reg() == 1 {
                    self.reach(target(at, insn.imm), registers);
                }
                registers[..6].fill(Known::Nothing);
                self.reach(at + 1, registers);
            }
            9 => {}
            operation => {
                let (to, from) = (usize::from(insn.dst_reg()).min(10), usize::from(insn.src_reg()).min(10));
                let right = match insn.code & BY_REGISTER {
                    0 => Known::Number(insn.imm as i64 as u64),
                    _ => registers[from],
                };
                let taken = match (registers[to], right) {
                    (Known::Number(left), Known::Number(right)) => {
                        Some(is_taken(operation, left, right, insn.code & 7 == JMP32))
                    }
                    _ => None,
                };
                if taken != Some(false) {
                    self.reach(target(at, insn.off.into()), registers);
                }
                if taken != Some(true) {
                    self.reach(at + 1, registers);
                }
            }
        }
    }

    fn relocate(&self, at: usize, register: &mut Known) {
        if let Some(known) = self.relocated.get(&at) {
            *register = *known;
        }
    }

    /// `size`: of four, two, one or eight bytes, as instructions number them.
    fn load(&self, from: Known, offset: i16, size: u8) -> Known {
        let Known::Constant { map, at } = from else { return Known::Nothing };
        let size = [4, 2, 1, 8][usize::from(size & 3)];
        let start = at.wrapping_add(offset as u64) as usize;
        let bytes = self.constants.get(&map).and_then(|data| data.get(start..start.checked_add(size)?));
        let Some(bytes) = bytes else { return Known::Nothing };
        let mut number = [0; 8];
        number[..size].copy_from_slice(bytes);
        Known::Number(u64::from_le_bytes(number))
    }
}

fn target(at: usize, distance: i32) -> usize {
    (at + 1).wrapping_add_signed(distance as isize)
}

fn compute(code: u8, left: Known, right: Known) -> Known {
    use Known::{Constant, Nothing, Number};
    let narrow = |value: u64| Number(if code & 7 == ALU { u64::from(value as u32) } else { value });
    match (code >> 4, left, right) {
        (11, _, Number(right)) => narrow(right),
        (11, _, right) if code & 7 == ALU64 => right,
        (0, Constant { map, at }, Number(by)) if code & 7 == ALU64 => Constant { map, at: at.wrapping_add(by) },
        (operation, Number(left), Number(right)) => {
            let bits = if code & 7 == ALU { 31 } else { 63 };
            match operation {
                0 => narrow(left.wrapping_add(right)),
                1 => narrow(left.wrapping_sub(right)),
                4 => narrow(left | right),
                5 => narrow(left & right),
                6 => narrow(left << (right & bits)),
                7 if bits == 31 => Number(u64::from(left as u32 >> (right & bits))),
                7 => Number(left >> (right & bits)),
                10 => narrow(left ^ right),
                _ => Nothing,
            }
        }
        _ => Nothing,
    }
}

fn is_taken(operation: u8, left: u64, right: u64, narrow: bool) -> bool {
    let (left, right) = if narrow { (u64::from(left as u32), u64::from(right as u32)) } else { (left, right) };
    let signed = |value: u64| if narrow { i64::from(value as i32) } else { value as i64 };
    match operation {
        1 => left == right,
        2 => left > right,
        3 => left >= right,
        4 => left & right != 0,
        5 => left != right,
        6 => signed(left) > signed(right),
        7 => signed(left) >= signed(right),
        10 => left < right,
        11 => left <= right,
        12 => signed(left) < signed(right),
        _ => signed(left) <= signed(right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::assembler::{Alu, Insn, Operand};

    /// `r1 = 0; if (r1 == 0) skip; r2 = 7; exit`, with what a relocation makes of the first.
    fn reached(relocated: Option<Known>) -> Vec<usize> {
        let skip = [0x15, 1, 1, 0, 0, 0, 0, 0];
        let set = |register: u8, value: i32| Insn::alu(Alu::Move, register, Operand::Imm(value)).to_bytes();
        let code = [set(1, 0), skip, set(2, 7), Insn::exit().to_bytes()].concat();
        let code = aya_obj::copy_instructions(&code).unwrap();
        let constants = HashMap::new();
        let relocated = relocated.map(|known| (0, known)).into_iter().collect();
        let mut reached: Vec<usize> = Walk::new(&code, relocated, &constants).reached().into_iter().collect();
        reached.sort_unstable();
        reached
    }

    #[test]
    fn branch_that_a_constant_decides_is_walked_one_way() {
        assert_eq!(reached(None), [0, 1, 3]);
        assert_eq!(reached(Some(Known::Number(1))), [0, 1, 2, 3]);
        assert_eq!(reached(Some(Known::Nothing)), [0, 1, 2, 3], "what is not known may be either");
    }
}
