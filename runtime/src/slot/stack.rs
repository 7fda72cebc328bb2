//! Call chains: the kernel keeps each of them once, in a map, and a slot gets its number.
//!
//! A chain whose place in the map is taken by another one is tried in a second map, which hardly
//! anything else needs: of 1,500 chains some 140 would be lost to one map of 8,192 places, and about one to two. What
//! finds no place there either is counted in the trust map.

use super::assembler::{Alu, Condition, FRAME, Helper, Insn, MapRef, Operand, Reg};
use super::frame::{Frame, Input, R0, R1, R2, R3};
use super::ir::{Size, StackOf};
use crate::trust;

/// Marks numbers of the second map.
pub const SECOND: u32 = 1 << 30;

/// Flag of bpf_get_stackid: the user's side of the thread.
const USER_STACK: u64 = 1 << 8;
const PLACE_IS_TAKEN: i32 = -libc::EEXIST;
/// There is none: a kernel thread has no user's side, and a user's code no kernel's.
pub const NO_STACK: i32 = -libc::EFAULT;
/// The same of idle tasks and kernel threads, as Linux 6.18 was seen to say it.
const NO_USER_STACK: i32 = -libc::EPERM;

impl Frame {
    /// The chain's number, or a negative error.
    pub fn stack(&mut self, of: StackOf) -> Reg {
        let (found, known) = (self.code.label(), self.code.label());
        let reg = self.stack_in(MapRef::Stacks, of);
        self.jump(Condition::NotEqual, true, reg, Operand::Imm(PLACE_IS_TAKEN), found);
        self.free(reg);
        let reg = self.stack_in(MapRef::MoreStacks, of);
        self.jump(Condition::SignedLess, true, reg, Operand::Imm(0), found);
        self.alu(Alu::Or, reg, Operand::Imm(SECOND as i32));
        self.code.bind(found);
        self.jump(Condition::SignedGreaterOrEqual, true, reg, Operand::Imm(0), known);
        self.jump(Condition::Equal, true, reg, Operand::Imm(NO_STACK), known);
        if of == StackOf::User {
            self.jump(Condition::Equal, true, reg, Operand::Imm(NO_USER_STACK), known);
        }
        self.count_lost(reg);
        self.code.bind(known);
        reg
    }

    fn stack_in(&mut self, map: MapRef, of: StackOf) -> Reg {
        let context = self.input(Input::Context);
        self.move_to(R1, context);
        Insn::map(R2, map).into_iter().for_each(|half| self.code.emit(half));
        self.constant(R3, if of == StackOf::User { USER_STACK } else { 0 });
        self.call(Helper::GetStackid)
    }

    /// Adds one to the trust map's word; keeps what is in `reg`, which is r0.
    fn count_lost(&mut self, reg: Reg) {
        let depth = self.depth();
        let (kept, key) = (self.reserve(8), self.reserve(8));
        self.code.emit(Insn::store(Size::B8, FRAME, kept, Operand::Reg(reg)));
        self.code.emit(Insn::store(Size::B4, FRAME, key, Operand::Imm(0)));
        self.free(reg);
        Insn::map(R1, MapRef::Trust).into_iter().for_each(|half| self.code.emit(half));
        self.move_to(R2, FRAME);
        self.add_offset(R2, key.into());
        let cell = self.call(Helper::MapLookupElem);
        let none = self.code.label();
        self.jump(Condition::Equal, true, cell, Operand::Imm(0), none);
        self.code.emit(Insn::load(Size::B8, R1, cell, trust::LOST_STACKS));
        self.alu(Alu::Add, R1, Operand::Imm(1));
        self.code.emit(Insn::store(Size::B8, cell, trust::LOST_STACKS, Operand::Reg(R1)));
        self.code.bind(none);
        self.code.emit(Insn::load(Size::B8, R0, FRAME, kept));
        self.release(depth);
    }
}
