//! Bytes of packets. One that is not there ends the test that it is for: see [`Test::Within`].

use super::assembler::{Alu, Condition, FRAME, Helper, Insn, Label, Operand, Reg};
use super::facts::range;
use super::frame::{Frame, Input, R1, R2, R3, R4};
use super::ir::{Int, Packets, Size, Test};

/// Members of `struct xdp_md`: where the frame begins and ends.
const DATA: i16 = 0;
const DATA_END: i16 = 4;
/// Nothing is looked for further behind: the verifier wants a bound, and no frame is longer before the kernel joins some.
const FURTHEST: i32 = 0x7fff;
/// Of a buffer, which the helper checks itself; numbers of 32 bits would wrap.
const FURTHEST_IN_BUFFER: i32 = 0x00ff_ffff;

impl Frame {
    /// Where the test is false, or the packet ends before something that it asks for, its outcome is `false`.
    pub fn within(&mut self, test: &Test, when: bool, to: Label) {
        let behind = self.code.label();
        let outer = self.beyond.replace(if when { behind } else { to });
        self.jump_when(test, when, to);
        self.beyond = outer;
        self.code.bind(behind);
    }

    /// A number of the packet, as it lies there.
    pub fn packet(&mut self, at: &Int, size: Size, packets: Packets, wish: Option<Reg>) -> Reg {
        let beyond = self.beyond.expect("a `Within` is around it");
        let furthest = if packets == Packets::Frames { FURTHEST } else { FURTHEST_IN_BUFFER };
        let place = match at {
            Int::Constant(at) if *at <= furthest as u64 => Operand::Imm(*at as i32),
            at => {
                let reg = self.int(at, Some(R2), 64);
                if range(at).1 > furthest.into() || range(at).0 < 0 {
                    self.jump(Condition::Greater, true, reg, Operand::Imm(furthest), beyond);
                }
                Operand::Reg(reg)
            }
        };
        match packets {
            Packets::Buffers => self.load_of_buffer(place, size, wish, beyond),
            Packets::Frames => self.load_of_frame(place, size, beyond),
        }
    }

    /// Much of a buffer lies in pages that a program cannot see: the helper can.
    fn load_of_buffer(&mut self, place: Operand, size: Size, wish: Option<Reg>, beyond: Label) -> Reg {
        let depth = self.depth();
        let slot = self.reserve(8);
        self.alu(Alu::Move, R2, place);
        if let Operand::Reg(reg) = place {
            self.free(reg);
        }
        let context = self.input(Input::Context);
        self.move_to(R1, context);
        self.move_to(R3, FRAME);
        self.add_offset(R3, slot.into());
        self.constant(R4, size.bytes().into());
        let status = self.call(Helper::SkbLoadBytes);
        self.jump(Condition::NotEqual, true, status, Operand::Imm(0), beyond);
        self.free(status);
        self.release(depth);
        let reg = self.pick(wish);
        self.code.emit(Insn::load(size, reg, FRAME, slot));
        reg
    }

    fn load_of_frame(&mut self, place: Operand, size: Size, beyond: Label) -> Reg {
        let at = self.load_from(Input::Context, DATA, Size::B4, None);
        self.alu(Alu::Add, at, place);
        if let Operand::Reg(reg) = place {
            self.free(reg);
        }
        let behind = self.pick(None);
        self.move_to(behind, at);
        self.add_offset(behind, size.bytes().into());
        let end = self.load_from(Input::Context, DATA_END, Size::B4, None);
        self.jump(Condition::Greater, true, behind, Operand::Reg(end), beyond);
        self.free(behind);
        self.free(end);
        self.code.emit(Insn::load(size, at, at, 0));
        at
    }
}
