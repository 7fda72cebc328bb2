//! One sample: registers and a copy of the stack, as unwound.bpf.c sends them behind the columns.

use super::registers::{COUNT, Registers};

/// What a thread was doing on the user's side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub pid: u32,
    pub registers: Registers,
    pub stack: Stack,
}

/// The stack from its top on, which is its lowest address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    pub top: u64,
    pub bytes: Vec<u8>,
    /// There was more of it than is copied at most.
    pub cut: bool,
}

impl Sample {
    /// `None`: a thread without a user's side, or a record of another form.
    pub fn decode(pid: u32, bytes: &[u8], longest: u32) -> Option<Sample> {
        let mut words = bytes.chunks_exact(8).map(|word| word.try_into().map(u64::from_ne_bytes).unwrap_or_default());
        let mut registers = Registers([0; COUNT]);
        for register in &mut registers.0 {
            *register = words.next()?;
        }
        let length = words.next()?;
        let stack = bytes.get((COUNT + 1) * 8..)?.get(..usize::try_from(length).ok()?)?;
        let stack = Stack { top: registers.sp(), bytes: stack.to_vec(), cut: length >= u64::from(longest) };
        (registers.ip() != 0).then_some(Sample { pid, registers, stack })
    }
}

impl Stack {
    /// As many bytes, as a number; `None` where nothing was copied.
    pub fn read(&self, address: u64, size: u8) -> Option<u64> {
        let begin = usize::try_from(address.checked_sub(self.top)?).ok()?;
        let bytes = self.bytes.get(begin..begin.checked_add(size.into())?)?;
        let mut word = [0; 8];
        word.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(u64::from_le_bytes(word))
    }
}
