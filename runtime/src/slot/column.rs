//! Columns of the slot compiler: integers, texts and bytes written to a slot's output.

use super::assembler::{Alu, Condition, Helper, Operand};
use super::frame::{Frame, Input, R2, Target, imm};
use super::ir::{Column, Content, Int, Memory, Size, Text};
use super::text::{Word, round_up, words};

/// A text at a constant place is copied with plain loads up to this many of them; a helper call costs about as much.
const PLAIN_LOADS: usize = 8;

impl Frame {
    pub fn column(&mut self, Column { offset, content }: &Column, clear: bool) {
        let target = Target::Out(*offset);
        match content {
            Content::Int { value, size } => {
                let bits = 8 * u32::from(size.bytes());
                let immediate = match value {
                    Int::Constant(value) if bits <= 32 => Some(*value as i32),
                    Int::Constant(value) => imm(*value),
                    _ => None,
                };
                match immediate {
                    Some(value) => self.store(target, 0, *size, Operand::Imm(value)),
                    None => {
                        let reg = self.int(value, None, bits);
                        self.store(target, 0, *size, Operand::Reg(reg));
                        self.free(reg);
                    }
                }
            }
            Content::Text { text, size } => self.text_column(text, *offset, *size, clear),
            Content::Bytes { bytes, size } => self.bytes_column(bytes, *offset, *size),
            Content::Path { path, size } => self.path_column(path, *offset, *size),
        }
    }

    fn text_column(&mut self, text: &Text, offset: u16, size: u16, clear: bool) {
        if size == 0 {
            return;
        }
        if let Some((input, from, length)) = constant_place(text)
            && !clear
            && let Some(words) = plain_copy(from, offset, length.min(size))
        {
            self.copy(input, from, offset, &words);
            return self.store(Target::Out(offset), length.min(size - 1), Size::B1, Operand::Imm(0));
        }
        if clear {
            self.clear(Target::Out(offset), round_up(size.into()) as u16);
        }
        let address = self.address(text);
        self.fetch(text, address, Target::Out(offset), size);
    }

    fn bytes_column(&mut self, bytes: &Text, offset: u16, size: u16) {
        let column = round_up(size.into()) as u16;
        let place = constant_place(bytes);
        let (known, longest) = match (bytes, place) {
            (Text::DataLocation { .. } | Text::Comm, _) => (0, size),
            (_, Some((_, _, length))) => (length.min(size), length.min(size)),
            _ => (size, size),
        };
        // Whatever no read is sure to fill.
        self.clear(Target::Out(offset + known), column - known);
        if let Some((input, from, _)) = place
            && let Some(words) = plain_copy(from, offset, known)
        {
            return self.copy(input, from, offset, &words);
        }
        let Some(address) = self.address(bytes) else {
            return self.fetch(bytes, None, Target::Out(offset), size);
        };
        let size = match bytes {
            Text::DataLocation { offset, .. } => {
                let length = self.load_from(Input::Context, *offset + 2, Size::B2, Some(R2));
                self.skip_one(Condition::LessOrEqual, length, Operand::Imm(longest.into()));
                self.alu(Alu::Move, length, Operand::Imm(longest.into()));
                Operand::Reg(length)
            }
            _ => Operand::Imm(longest.into()),
        };
        let user = matches!(bytes, Text::At { memory: Memory::User, .. });
        let helper = if user { Helper::ProbeReadUser } else { Helper::ProbeReadKernel };
        self.read(helper, Target::Out(offset), size, address);
    }

    fn copy(&mut self, input: Input, from: i16, to: u16, words: &[Word]) {
        for word in words {
            let reg = self.load_from(input, from + word.at as i16, word.size, None);
            self.store(Target::Out(to), word.at as u16, word.size, Operand::Reg(reg));
            self.free(reg);
        }
    }
}

/// Where a text of constant place and length lies.
fn constant_place(text: &Text) -> Option<(Input, i16, u16)> {
    match *text {
        Text::Context { offset, size } => Some((Input::Context, offset, size)),
        Text::Event { offset, size } => Some((Input::Event, offset, size)),
        _ => None,
    }
}

/// The words of a copy that is aligned on both sides, if they are few.
fn plain_copy(from: i16, to: u16, length: u16) -> Option<Vec<Word>> {
    let words = words(&[from.into(), to.into()], length.into(), 0);
    (words.len() <= PLAIN_LOADS).then_some(words)
}
