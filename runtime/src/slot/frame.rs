//! Registers, stack and inputs of a slot while its code is written.
//!
//! Code is written twice. The first round only counts: how often each argument is used, and whether a helper call
//! comes before. The second round keeps an argument in the register it arrives in where no call threatens it, else
//! saves it on entry, and hands its register out behind the last use. Both rounds make the same uses and calls.

use super::assembler::{Alu, Assembler, Condition, FRAME, Helper, Insn, Label, Operand, Reg};
use super::ir::Size;

pub const R0: Reg = 0;
pub const R1: Reg = 1;
pub const R2: Reg = 2;
pub const R3: Reg = 3;
pub const R4: Reg = 4;
/// The first register that survives a call; r9 is the last.
const SAVED: Reg = 6;
/// Registers that any subtree may count on: two operands and the sign of a division.
const RESERVE: usize = 3;
/// r0 comes after the others that calls clobber: results of calls and the slot's own result want it.
const ORDER: [Reg; 10] = [4, 5, 3, 2, 1, 0, 6, 7, 8, 9];

/// A slot's arguments, in the order of the registers that they arrive in, from r1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    Context,
    Event,
    Out,
}

const INPUTS: usize = 3;

/// What the first round learns of an argument.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    uses: usize,
    behind_a_call: bool,
}

/// A value kept while another one is computed.
#[derive(Clone, Copy, Debug)]
pub enum Held {
    Reg(Reg),
    Stack(i16),
}

/// Where a helper writes.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    Stack(i16),
    Out(u16),
}

pub struct Frame {
    pub code: Assembler,
    busy: u16,
    homes: [Reg; INPUTS],
    left: [usize; INPUTS],
    usage: [Usage; INPUTS],
    called: bool,
    /// Where a test of a packet goes that ends before what is asked for.
    pub beyond: Option<Label>,
    /// Where on the stack the values of `Let` are, the innermost last.
    pub bound: Vec<i16>,
    depth: usize,
    deepest: usize,
}

impl Frame {
    /// The first round has no `usage` as yet.
    pub fn new(usage: Option<[Usage; INPUTS]>) -> Frame {
        let mut frame = Frame {
            code: Assembler::default(),
            busy: 0,
            homes: [R1, R2, R3],
            left: [usize::MAX; INPUTS],
            usage: Default::default(),
            called: false,
            beyond: None,
            bound: Vec::new(),
            depth: 0,
            deepest: 0,
        };
        let mut saved = SAVED;
        for at in 0..INPUTS {
            if let Some(Usage { uses, behind_a_call }) = usage.map(|usage| usage[at]) {
                frame.left[at] = uses;
                if behind_a_call {
                    frame.alu(Alu::Move, saved, Operand::Reg(frame.homes[at]));
                    frame.homes[at] = saved;
                    saved += 1;
                }
            }
            if frame.left[at] > 0 {
                frame.busy |= 1 << frame.homes[at];
            }
        }
        frame
    }

    pub fn usage(&self) -> [Usage; INPUTS] {
        self.usage
    }

    /// Instructions, and the deepest stack in bytes.
    pub fn finish(self) -> (Vec<Insn>, usize) {
        (self.code.finish(), self.deepest)
    }

    /// The argument's register for the next instruction, which may overwrite it if this was its last use.
    pub fn input(&mut self, input: Input) -> Reg {
        let at = input as usize;
        self.usage[at].uses += 1;
        self.usage[at].behind_a_call |= self.called;
        self.left[at] -= 1;
        if self.left[at] == 0 {
            self.free(self.homes[at]);
        }
        self.homes[at]
    }

    fn is_free(&self, reg: Reg) -> bool {
        self.busy & (1 << reg) == 0
    }

    fn free_registers(&self) -> usize {
        ORDER.iter().filter(|reg| self.is_free(**reg)).count()
    }

    /// A free register, the wished one if it is; it stays taken until [`Frame::free`].
    pub fn pick(&mut self, wish: Option<Reg>) -> Reg {
        let wished = wish.filter(|reg| self.is_free(*reg));
        let reg = wished.or_else(|| ORDER.into_iter().find(|reg| self.is_free(*reg)));
        let reg = reg.expect("a register is free: `hold` keeps some in reserve");
        self.busy |= 1 << reg;
        reg
    }

    pub fn free(&mut self, reg: Reg) {
        self.busy &= !(1 << reg);
    }

    /// A free register that survives calls.
    pub fn survivor(&self) -> Option<Reg> {
        (SAVED..FRAME).find(|reg| self.is_free(*reg))
    }

    /// Keeps a value while another one is computed, which calls helpers or does not.
    pub fn hold(&mut self, reg: Reg, over_calls: bool) -> Held {
        let safe = if over_calls { reg >= SAVED } else { self.free_registers() >= RESERVE };
        if safe {
            return Held::Reg(reg);
        }
        self.free(reg);
        match self.survivor() {
            Some(survivor) if over_calls => {
                let survivor = self.pick(Some(survivor));
                self.alu(Alu::Move, survivor, Operand::Reg(reg));
                Held::Reg(survivor)
            }
            _ => {
                let slot = self.reserve(8);
                self.code.emit(Insn::store(Size::B8, FRAME, slot, Operand::Reg(reg)));
                Held::Stack(slot)
            }
        }
    }

    pub fn unhold(&mut self, held: Held) -> Reg {
        match held {
            Held::Reg(reg) => reg,
            Held::Stack(slot) => {
                let reg = self.pick(None);
                self.code.emit(Insn::load(Size::B8, reg, FRAME, slot));
                reg
            }
        }
    }

    /// Takes `bytes` (a multiple of 8) of stack, until the depth is set back with [`Frame::release`].
    pub fn reserve(&mut self, bytes: usize) -> i16 {
        self.depth += bytes;
        self.deepest = self.deepest.max(self.depth);
        // Wraps only far beyond what the kernel's stack holds: the code is refused then.
        (self.depth as i16).wrapping_neg()
    }

    pub fn depth(&self) -> usize {
        self.depth
    }

    pub fn release(&mut self, depth: usize) {
        self.depth = depth;
    }

    pub fn alu(&mut self, op: Alu, dst: Reg, operand: Operand) {
        self.code.emit(Insn::alu(op, dst, operand));
    }

    pub fn negate(&mut self, reg: Reg) {
        self.alu(Alu::Negate, reg, Operand::Imm(0));
    }

    pub fn add_offset(&mut self, reg: Reg, offset: i32) {
        if offset != 0 {
            self.alu(Alu::Add, reg, Operand::Imm(offset));
        }
    }

    pub fn constant(&mut self, reg: Reg, value: u64) {
        match imm(value) {
            Some(value) => self.alu(Alu::Move, reg, Operand::Imm(value)),
            None if value <= u32::MAX.into() => {
                self.code.emit(Insn::alu32(Alu::Move, reg, Operand::Imm(value as i32)));
            }
            None => Insn::constant64(reg, value).into_iter().for_each(|half| self.code.emit(half)),
        }
    }

    pub fn jump(&mut self, condition: Condition, wide: bool, left: Reg, right: Operand, to: Label) {
        self.code.jump(Insn::jump(condition, wide, left, right, 0), to);
    }

    /// Calls a helper whose arguments are in place; the result's register, r0, is taken.
    pub fn call(&mut self, helper: Helper) -> Reg {
        self.called = true;
        self.code.emit(Insn::call(helper));
        self.pick(Some(R0))
    }
}

/// The value as an immediate, if sign extension gives it back.
pub fn imm(value: u64) -> Option<i32> {
    i32::try_from(value as i64).ok()
}
