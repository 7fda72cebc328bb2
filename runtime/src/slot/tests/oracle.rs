//! What the trees mean, in plain arithmetic over i128, and a source of random trees and of memory to read.

use crate::slot::ir::*;
use std::cell::RefCell;

pub const CONTEXT: usize = 96;
/// Texts lie behind the integers of a context or event, up to one byte before its end.
pub const TEXTS: usize = 48;
pub const EDGES: [u64; 18] = [
    0,
    1,
    2,
    7,
    63,
    64,
    1000,
    u64::MAX,
    u64::MAX - 6,
    i64::MIN as u64,
    i64::MAX as u64,
    i64::MIN as u64 + 1,
    u32::MAX as u64,
    1 << 31,
    (1 << 31) - 1,
    1 << 32,
    -(1i64 << 31) as u64,
    0x1234_5678_9abc_def0,
];

/// Everything a slot can see. Pointers are addresses of this process; `memory` is all that can be read.
pub struct World {
    pub context: [u8; CONTEXT],
    pub event: [u8; CONTEXT],
    pub memory: &'static [u8],
    pub kernel_is_readable: bool,
    pub pid_tgid: u64,
    pub uid_gid: u64,
    pub comm: Vec<u8>,
    /// Values of the `Let`s around what is looked at.
    pub bound: RefCell<Vec<u64>>,
}

pub const CPU: u64 = 3;
pub const NSECS: u64 = 123_456_789_012_345;
pub const CGROUP: u64 = 4711;
pub const TASK: u64 = 0xffff_8880_0042_0000;
pub const COOKIE: u64 = 0xfeed_0000_0042;

pub fn until_nul(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().copied().take_while(|byte| *byte != 0).collect()
}

impl World {
    /// `length` bytes at an address; `None` where a read faults.
    pub fn read(&self, address: u64, length: usize, memory: Memory) -> Option<&'static [u8]> {
        let from = (address as usize).checked_sub(self.memory.as_ptr() as usize)?;
        let readable = memory == Memory::User || self.kernel_is_readable;
        self.memory.get(from..from.checked_add(length)?).filter(|_| readable)
    }

    pub fn int(&self, tree: &Int) -> u64 {
        let number = |tree, signed| {
            let value = self.int(tree);
            if signed { i128::from(value as i64) } else { i128::from(value) }
        };
        match tree {
            Int::Constant(value) => *value,
            Int::Load { place, size, signed } => {
                let width = usize::from(size.bytes());
                let bytes = match place {
                    Place::Context(offset) => &self.context[*offset as usize..][..width],
                    Place::Event(offset) => &self.event[*offset as usize..][..width],
                    Place::Behind { pointer, offset, memory } => {
                        let address = self.int(pointer).wrapping_add(*offset as u64);
                        self.read(address, width, *memory).unwrap_or(&[0; 8][..width])
                    }
                };
                let value = bytes.iter().rev().fold(0, |value, byte| value * 256 + i128::from(*byte));
                let limit = 1i128 << (8 * width - 1);
                (if *signed && value >= limit { value - 2 * limit } else { value }) as u64
            }
            Int::Current(current) => match current {
                Current::Pid | Current::PidIn(_) => self.pid_tgid / (1 << 32),
                Current::Tid | Current::TidIn(_) => self.pid_tgid % (1 << 32),
                Current::Uid => self.uid_gid % (1 << 32),
                Current::Gid => self.uid_gid / (1 << 32),
                Current::Cpu => CPU,
                Current::Cgroup => CGROUP,
                Current::CgroupAncestor(level) => CGROUP + u64::from(*level),
                Current::Task => TASK,
                Current::Nsecs => NSECS,
                Current::Cookie => COOKIE,
            },
            Int::Binary { op, signed, left, right } => {
                let (l, r) = (number(left, *signed), number(right, *signed));
                let power = 1i128 << (self.int(right) % 64);
                (match op {
                    Arithmetic::Add => l + r,
                    Arithmetic::Subtract => l - r,
                    Arithmetic::Multiply => l.wrapping_mul(r),
                    Arithmetic::Divide => l.checked_div(r).unwrap_or(0),
                    Arithmetic::Remainder => l.checked_rem(r).unwrap_or(l),
                    Arithmetic::And => l & r,
                    Arithmetic::Or => l | r,
                    Arithmetic::Xor => l ^ r,
                    Arithmetic::ShiftLeft => l.wrapping_mul(power),
                    Arithmetic::ShiftRight => l.div_euclid(power),
                }) as u64
            }
            Int::Swap { size, inner } => {
                let width = usize::from(size.bytes());
                let bytes = self.int(inner).to_le_bytes();
                bytes[..width].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
            }
            Int::Truth(test) => u64::from(self.test(test)),
            Int::Choose { test, yes, no } => self.int(if self.test(test) { yes } else { no }),
            Int::Let { value, body } => {
                let value = self.int(value);
                self.bound.borrow_mut().push(value);
                let body = self.int(body);
                self.bound.borrow_mut().pop();
                body
            }
            Int::Bound(n) => self.bound.borrow().iter().rev().nth(*n).copied().expect("a `Let` is around it"),
            Int::Stack(_) => unreachable!("no stacks among random trees: the kernel tests have them"),
            Int::Packet { .. } => unreachable!("no packets among random trees: tests of filters have them"),
        }
    }

    pub fn test(&self, tree: &Test) -> bool {
        match tree {
            Test::Constant(known) => *known,
            Test::Compare { op, reading, left, right } => {
                let (l, r) = (self.int(left), self.int(right));
                let (ls, rs) = (i128::from(l as i64), i128::from(r as i64));
                let (l, r) = match reading {
                    Reading::Signed => (ls, rs),
                    Reading::Unsigned => (i128::from(l), i128::from(r)),
                    Reading::SignedWithUnsigned => (ls, i128::from(r)),
                };
                match op {
                    Comparison::Equal => l == r,
                    Comparison::NotEqual => l != r,
                    Comparison::Less => l < r,
                    Comparison::LessOrEqual => l <= r,
                    Comparison::Greater => l > r,
                    Comparison::GreaterOrEqual => l >= r,
                }
            }
            Test::TextIs { text, literal, prefix: true } => self.text(text).starts_with(literal),
            Test::TextIs { text, literal, prefix: false } => self.text(text) == *literal,
            Test::TextsEqual { left, right, size } => {
                let cut = |text| self.text(text).into_iter().take(usize::from(*size)).collect::<Vec<u8>>();
                cut(left) == cut(right)
            }
            Test::And(tests) => tests.iter().all(|test| self.test(test)),
            Test::Or(tests) => tests.iter().any(|test| self.test(test)),
            Test::Not(test) => !self.test(test),
            Test::Within(test) => self.test(test),
        }
    }

    /// A dynamic string's place in the context and its length.
    fn location(&self, offset: i16, relative: bool) -> (usize, usize) {
        let at = offset as usize;
        let location = u32::from_le_bytes(self.context[at..at + 4].try_into().unwrap());
        let base = if relative { at + 4 } else { 0 };
        (base + (location & 0xffff) as usize, (location >> 16) as usize)
    }

    /// The text up to its NUL or the end of its array; a text that cannot be read is empty.
    pub fn text(&self, text: &Text) -> Vec<u8> {
        match text {
            Text::Comm => self.comm.clone(),
            Text::Context { offset, size } => until_nul(&self.context[*offset as usize..][..usize::from(*size)]),
            Text::Event { offset, size } => until_nul(&self.event[*offset as usize..][..usize::from(*size)]),
            Text::DataLocation { offset, relative } => until_nul(&self.context[self.location(*offset, *relative).0..]),
            Text::At { pointer, memory } => {
                let address = self.int(pointer);
                (0..)
                    .map_while(|at| self.read(address + at, 1, *memory))
                    .map(|byte| byte[0])
                    .take_while(|b| *b != 0)
                    .collect()
            }
        }
    }

    /// What a `Bytes` column of `size` bytes holds; rounded up with zeros.
    pub fn bytes(&self, text: &Text, size: usize) -> Vec<u8> {
        let within = |area: &[u8], from: usize, length: usize| area[from..from + length.min(size)].to_vec();
        let mut bytes = match text {
            Text::Comm => self.comm[..self.comm.len().min(size - 1)].to_vec(),
            Text::Context { offset, size } => within(&self.context, *offset as usize, usize::from(*size)),
            Text::Event { offset, size } => within(&self.event, *offset as usize, usize::from(*size)),
            Text::DataLocation { offset, relative } => {
                let (from, length) = self.location(*offset, *relative);
                within(&self.context, from, length)
            }
            Text::At { pointer, memory } => {
                self.read(self.int(pointer), size, *memory).map_or(Vec::new(), <[u8]>::to_vec)
            }
        };
        bytes.resize(size.next_multiple_of(8), 0);
        bytes
    }
}
