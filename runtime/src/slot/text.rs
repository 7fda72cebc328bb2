//! Texts and columns of the slot compiler: fetched, compared with literals and each other, written to the output.
//!
//! A helper that fails to read clears what it should have filled, on every kernel since 5.10: such a text is empty.

use super::assembler::{Alu, Condition, FRAME, Helper, Insn, Label, Operand, Reg};
use super::compile::STACK;
use super::facts::capacity;
use super::frame::{Frame, Input, R2, R3, Target, imm};
use super::ir::{Memory, Size, Text};

const COMM: u16 = 16;

/// A word of a text: where it starts, how wide it is, how many of its bytes belong to the text.
pub struct Word {
    pub at: usize,
    pub size: Size,
    pub used: usize,
}

/// Splits `length` bytes that start at all of the `offsets` into naturally aligned words. One word may reach beyond,
/// up to `readable`, where that saves instructions: 3 bytes as 4, 7 as 8.
pub fn words(offsets: &[i32], length: usize, readable: usize) -> Vec<Word> {
    let mut words = Vec::new();
    let mut at = 0;
    while at < length {
        let left = length - at;
        let fits = |size: &Size| {
            let width = usize::from(size.bytes());
            let aligned = offsets.iter().all(|offset| (offset + at as i32) % width as i32 == 0);
            let reaches = at + width <= readable && matches!((width, left), (4, 3) | (8, 7));
            aligned && (width <= left || reaches)
        };
        let size = [Size::B8, Size::B4, Size::B2].into_iter().find(fits).unwrap_or(Size::B1);
        let used = left.min(size.bytes().into());
        words.push(Word { at, size, used });
        at += used;
    }
    words
}

pub fn round_up(bytes: usize) -> usize {
    bytes.next_multiple_of(8)
}

/// Memory with a constant address: a text is compared in place there.
#[derive(Clone, Copy)]
enum Base {
    Stack,
    Input(Input),
}

impl Frame {
    pub fn text_is(&mut self, text: &Text, literal: &[u8], prefix: bool, when: bool, to: Label) {
        let mut wanted = literal.to_vec();
        if !prefix && capacity(text) != Some(literal.len()) {
            wanted.push(0);
        }
        match *text {
            Text::Context { offset, size } => {
                self.bytes_are(Base::Input(Input::Context), offset, &wanted, size.into(), when, to);
            }
            Text::Event { offset, size } => {
                self.bytes_are(Base::Input(Input::Event), offset, &wanted, size.into(), when, to);
            }
            _ => {
                let depth = self.depth();
                // One byte more: the helper puts a NUL at the end even if the text goes on.
                let room = round_up(wanted.len() + 1).min(if *text == Text::Comm { COMM.into() } else { usize::MAX });
                // A text that cannot fit is refused at the end.
                let address = if room <= STACK { self.address(text) } else { None };
                let slot = self.reserve(room);
                if room <= STACK {
                    self.fetch(text, address, Target::Stack(slot), room as u16);
                    self.bytes_are(Base::Stack, slot, &wanted, room, when, to);
                }
                self.release(depth);
            }
        }
    }

    /// Jumps where the bytes at `offset`, of which `readable` may be read, begin with `wanted`: or where they do not.
    fn bytes_are(&mut self, base: Base, offset: i16, wanted: &[u8], readable: usize, when: bool, to: Label) {
        let behind = self.code.label();
        let words = words(&[offset.into()], wanted.len(), readable);
        for (index, word) in words.iter().enumerate() {
            let mut bytes = [0; 8];
            let spare = usize::from(word.size.bytes()) - word.used;
            // The spare byte is shifted out of 8, masked out of 4.
            let shift = if word.size == Size::B8 { spare } else { 0 };
            bytes[shift..shift + word.used].copy_from_slice(&wanted[word.at..word.at + word.used]);
            let value = u64::from_le_bytes(bytes);
            let at = offset + word.at as i16;
            let reg = match base {
                Base::Stack => {
                    let reg = self.pick(None);
                    self.code.emit(Insn::load(word.size, reg, FRAME, at));
                    reg
                }
                Base::Input(input) => self.load_from(input, at, word.size, None),
            };
            match word.size {
                Size::B8 if spare > 0 => self.alu(Alu::ShiftLeft, reg, Operand::Imm(8)),
                Size::B4 if spare > 0 => self.alu(Alu::And, reg, Operand::Imm(0xff_ffff)),
                _ => {}
            }
            let (outcome, target) = match index + 1 == words.len() {
                true => (when, to),
                false if when => (false, behind),
                false => (false, to),
            };
            let condition = if outcome { Condition::Equal } else { Condition::NotEqual };
            match imm(value) {
                Some(value) => self.jump(condition, true, reg, Operand::Imm(value), target),
                None if word.size == Size::B4 => {
                    self.jump(condition, false, reg, Operand::Imm(value as i32), target);
                }
                None => {
                    let constant = self.pick(None);
                    self.constant(constant, value);
                    self.jump(condition, true, reg, Operand::Reg(constant), target);
                    self.free(constant);
                }
            }
            self.free(reg);
        }
        self.code.bind(behind);
    }

    pub fn texts_equal(&mut self, left: &Text, right: &Text, size: u16, when: bool, to: Label) {
        let (depth, behind) = (self.depth(), self.code.label());
        let room = round_up(usize::from(size) + 1);
        if room > STACK {
            self.reserve(2 * room);
            return self.release(depth);
        }
        let slots = [left, right].map(|text| {
            // Both are zero behind their NUL then, and can be compared in whole words.
            let address = self.address(text);
            let slot = self.reserve(room);
            self.clear(Target::Stack(slot), room as u16);
            self.fetch(text, address, Target::Stack(slot), size + 1);
            slot
        });
        for at in (0..room as i16).step_by(8) {
            let [left, right] = slots.map(|slot| {
                let reg = self.pick(None);
                self.code.emit(Insn::load(Size::B8, reg, FRAME, slot + at));
                reg
            });
            let last = usize::from(at as u16) + 8 == room;
            let (condition, target) = match (last, when) {
                (true, true) => (Condition::Equal, to),
                (false, true) => (Condition::NotEqual, behind),
                (_, false) => (Condition::NotEqual, to),
            };
            self.jump(condition, true, left, Operand::Reg(right), target);
            self.free(left);
            self.free(right);
        }
        self.code.bind(behind);
        self.release(depth);
    }

    /// The address of a text in a register of its own; the task's name has none.
    pub fn address(&mut self, text: &Text) -> Option<Reg> {
        match text {
            Text::Comm => None,
            Text::Context { offset, .. } => Some(self.address_in(Input::Context, *offset)),
            Text::Event { offset, .. } => Some(self.address_in(Input::Event, *offset)),
            Text::DataLocation { offset, relative } => {
                // The low half of the u32, which comes first: slots run on little-endian machines.
                let reg = self.load_from(Input::Context, *offset, Size::B2, Some(R3));
                let context = self.input(Input::Context);
                self.alu(Alu::Add, reg, Operand::Reg(context));
                self.add_offset(reg, if *relative { i32::from(*offset) + 4 } else { 0 });
                Some(reg)
            }
            Text::At { pointer, .. } => Some(self.int(pointer, Some(R3), 64)),
        }
    }

    fn address_in(&mut self, input: Input, offset: i16) -> Reg {
        let base = self.input(input);
        let reg = self.pick(Some(R3));
        self.move_to(reg, base);
        self.add_offset(reg, offset.into());
        reg
    }

    /// At most `size` bytes of the text, NUL included, with the helper for its kind; nothing is written behind `size`.
    pub fn fetch(&mut self, text: &Text, address: Option<Reg>, target: Target, size: u16) {
        let room = capacity(text).map_or(usize::MAX, |most| most + 1);
        let size = Operand::Imm(room.min(size.into()) as i32);
        let helper = match text {
            Text::At { memory: Memory::User, .. } => Helper::ProbeReadUserStr,
            _ => Helper::ProbeReadKernelStr,
        };
        match address {
            Some(address) => self.read(helper, target, size, address),
            None => {
                self.pass_target(target);
                self.alu(Alu::Move, R2, size);
                let status = self.call(Helper::GetCurrentComm);
                self.free(status);
            }
        }
    }

    pub fn store(&mut self, target: Target, at: u16, size: Size, value: Operand) {
        let (base, offset) = match target {
            Target::Stack(slot) => (FRAME, slot),
            Target::Out(offset) => (self.input(Input::Out), offset as i16),
        };
        self.code.emit(Insn::store(size, base, offset + at as i16, value));
    }

    /// Writes zeros to the target's first `length` bytes.
    pub fn clear(&mut self, target: Target, length: u16) {
        let offset = match target {
            Target::Stack(slot) => slot.into(),
            Target::Out(offset) => offset.into(),
        };
        for word in words(&[offset], length.into(), 0) {
            self.store(target, word.at as u16, word.size, Operand::Imm(0));
        }
    }
}
