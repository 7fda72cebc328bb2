//! Integers of the slot compiler: loads, what the kernel knows of the moment, arithmetic.

use super::assembler::{Alu, FRAME, Helper, Insn, Operand, Reg};
use super::frame::{Frame, Input, R1, R2, R3, R4, Target};
use super::ir::{Current, Int, Memory, PidNamespace, Place, Size};

impl Frame {
    pub fn move_to(&mut self, to: Reg, from: Reg) {
        if to != from {
            self.alu(Alu::Move, to, Operand::Reg(from));
        }
    }

    /// Computes a value into a register of its own, the wished one where that is no detour. Only the low `bits` have
    /// to be right.
    pub fn int(&mut self, tree: &Int, wish: Option<Reg>, bits: u32) -> Reg {
        match tree {
            Int::Constant(value) => {
                let reg = self.pick(wish);
                self.constant(reg, *value);
                reg
            }
            Int::Current(current) => self.current(*current, bits),
            Int::Load { place, size, signed } => {
                let reg = self.load(place, *size, wish);
                let shift = 64 - 8 * i32::from(size.bytes());
                if *signed && 64 - shift < bits as i32 {
                    self.alu(Alu::ShiftLeft, reg, Operand::Imm(shift));
                    self.alu(Alu::ShiftRightSigned, reg, Operand::Imm(shift));
                }
                reg
            }
            Int::Binary { op, signed, left, right } => self.binary(*op, *signed, left, right, wish, bits),
            Int::Swap { size: Size::B1, inner } => {
                let reg = self.int(inner, wish, 64);
                self.alu(Alu::And, reg, Operand::Imm(0xff));
                reg
            }
            Int::Swap { size, inner } => {
                let reg = self.int(inner, wish, 8 * u32::from(size.bytes()));
                self.code.emit(Insn::to_big_endian(*size, reg));
                reg
            }
            Int::Truth(test) => self.truth(test, wish),
            Int::Choose { test, yes, no } => self.choose(test, yes, no, wish, bits),
            Int::Let { value, body } => {
                let depth = self.depth();
                let reg = self.int(value, None, 64);
                let slot = self.reserve(8);
                self.code.emit(Insn::store(Size::B8, FRAME, slot, Operand::Reg(reg)));
                self.free(reg);
                self.bound.push(slot);
                let reg = self.int(body, wish, bits);
                self.bound.pop();
                self.release(depth);
                reg
            }
            Int::Bound(n) => {
                let slot = self.bound.iter().rev().nth(*n).copied();
                let reg = self.pick(wish);
                self.code.emit(Insn::load(Size::B8, reg, FRAME, slot.expect("a `Let` is around it")));
                reg
            }
            Int::Packet { at, size, packets } => self.packet(at, *size, *packets, wish),
            Int::Stack(of) => self.stack(*of),
        }
    }

    fn current(&mut self, current: Current, bits: u32) -> Reg {
        let helper = match current {
            Current::PidIn(namespace) => return self.number_in(namespace, 4),
            Current::TidIn(namespace) => return self.number_in(namespace, 0),
            Current::Pid | Current::Tid => Helper::GetCurrentPidTgid,
            Current::Uid | Current::Gid => Helper::GetCurrentUidGid,
            Current::Cpu => Helper::GetSmpProcessorId,
            Current::Cgroup => Helper::GetCurrentCgroupId,
            Current::CgroupAncestor(level) => {
                self.constant(R1, level.into());
                Helper::GetCurrentAncestorCgroupId
            }
            Current::Task => Helper::GetCurrentTask,
            Current::Nsecs => Helper::KtimeGetNs,
            Current::Cookie => {
                let context = self.input(Input::Context);
                self.move_to(R1, context);
                Helper::GetAttachCookie
            }
        };
        let reg = self.call(helper);
        match current {
            Current::Pid | Current::Gid => self.alu(Alu::ShiftRight, reg, Operand::Imm(32)),
            Current::Tid | Current::Uid if bits > 32 => {
                self.code.emit(Insn::alu32(Alu::Move, reg, Operand::Reg(reg)));
            }
            _ => {}
        }
        reg
    }

    /// A member of `struct bpf_pidns_info`, which the helper fills: zeros where the task is in another namespace.
    fn number_in(&mut self, namespace: PidNamespace, member: i16) -> Reg {
        let depth = self.depth();
        let info = self.reserve(8);
        self.constant(R1, namespace.device);
        self.constant(R2, namespace.inode.into());
        self.move_to(R3, FRAME);
        self.add_offset(R3, info.into());
        self.constant(R4, 8);
        let status = self.call(Helper::GetNsCurrentPidTgid);
        self.free(status);
        self.release(depth);
        let reg = self.pick(None);
        self.code.emit(Insn::load(Size::B4, reg, FRAME, info + member));
        reg
    }

    fn load(&mut self, place: &Place, size: Size, wish: Option<Reg>) -> Reg {
        match place {
            Place::Context(offset) => self.load_from(Input::Context, *offset, size, wish),
            Place::Event(offset) => self.load_from(Input::Event, *offset, size, wish),
            Place::Behind { pointer, offset, memory: Memory::Trusted } => {
                let reg = self.int(pointer, wish, 64);
                let near = i16::try_from(*offset).unwrap_or(0);
                self.add_offset(reg, *offset - i32::from(near));
                self.code.emit(Insn::load(size, reg, reg, near));
                reg
            }
            Place::Behind { pointer, offset, memory } => {
                let address = self.int(pointer, Some(R3), 64);
                self.add_offset(address, *offset);
                let depth = self.depth();
                let slot = self.reserve(8);
                self.code.emit(Insn::store(Size::B8, FRAME, slot, Operand::Imm(0)));
                let helper = if *memory == Memory::User { Helper::ProbeReadUser } else { Helper::ProbeReadKernel };
                self.read(helper, Target::Stack(slot), Operand::Imm(size.bytes().into()), address);
                self.release(depth);
                let reg = self.pick(wish);
                self.code.emit(Insn::load(size, reg, FRAME, slot));
                reg
            }
        }
    }

    pub fn load_from(&mut self, input: Input, offset: i16, size: Size, wish: Option<Reg>) -> Reg {
        let base = self.input(input);
        let reg = self.pick(wish);
        self.code.emit(Insn::load(size, reg, base, offset));
        reg
    }

    /// `helper(target, size, address)`; frees the registers of `size` and `address`.
    pub fn read(&mut self, helper: Helper, target: Target, size: Operand, address: Reg) {
        let address = if matches!(address, R1 | R2) {
            let other = self.pick(Some(R3));
            self.move_to(other, address);
            self.free(address);
            other
        } else {
            address
        };
        self.pass_target(target);
        match size {
            Operand::Reg(size) => {
                self.move_to(R2, size);
                self.free(size);
            }
            Operand::Imm(_) => self.alu(Alu::Move, R2, size),
        }
        self.move_to(R3, address);
        self.free(address);
        let status = self.call(helper);
        // A read that fails clears the target: no need to look.
        self.free(status);
    }

    /// The target's address into r1.
    pub fn pass_target(&mut self, target: Target) {
        match target {
            Target::Stack(slot) => {
                self.move_to(R1, FRAME);
                self.add_offset(R1, slot.into());
            }
            Target::Out(offset) => {
                let out = self.input(Input::Out);
                self.move_to(R1, out);
                self.add_offset(R1, offset.into());
            }
        }
    }
}
