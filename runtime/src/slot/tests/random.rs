//! Random worlds and trees, the same on every run.

use super::oracle::{CONTEXT, EDGES, TEXTS, World};
use crate::slot::ir::*;

/// Where the context holds its pointer, and the bytes of memory behind it.
const POINTER: i16 = 8;
pub const MEMORY: usize = 128;
const DATA: Text = Text::DataLocation { offset: 0, relative: false };
const RELATIVE_DATA: Text = Text::DataLocation { offset: 4, relative: true };

pub struct Random {
    state: u64,
    /// `Let`s around what is made.
    bound: usize,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { state: seed, bound: 0 }
    }

    /// Source: Vigna, splitmix64.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn one_of<T: Clone>(&mut self, choice: &[T]) -> T {
        choice[self.below(choice.len())].clone()
    }

    fn letters(&mut self, into: &mut [u8]) {
        into.fill_with(|| b'a' + (self.next() % 3) as u8);
    }

    /// The integers of a context or event, and texts of letters with a few NULs between.
    fn area(&mut self) -> [u8; CONTEXT] {
        let mut area = [0; CONTEXT];
        for at in (16..TEXTS).step_by(8) {
            let value = if self.chance(50) { self.one_of(&EDGES) } else { self.next() >> self.below(64) };
            area[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        self.letters(&mut area[TEXTS..CONTEXT - 1]);
        for _ in 0..self.below(4) {
            area[TEXTS + self.below(CONTEXT - TEXTS)] = 0;
        }
        let from = TEXTS + self.below(40);
        let (length, loc) = (self.below(CONTEXT - from) as u32, from as u32);
        area[0..4].copy_from_slice(&(length << 16 | loc).to_le_bytes());
        area[4..8].copy_from_slice(&(length << 16 | (loc - 8)).to_le_bytes());
        area
    }

    pub fn world(&mut self) -> World {
        let mut memory = vec![0; MEMORY];
        self.letters(&mut memory[..64]);
        memory[self.below(60)] = 0;
        memory[63] = 0;
        for at in (64..MEMORY).step_by(8) {
            memory[at..at + 8].copy_from_slice(&self.one_of(&EDGES).to_le_bytes());
        }
        let memory: &'static [u8] = memory.leak();
        // The last word leads back to the start, so that pointers can be followed further.
        let (mut context, mut event) = (self.area(), self.area());
        for area in [&mut context, &mut event] {
            area[8..16].copy_from_slice(&(memory.as_ptr() as u64).to_le_bytes());
        }
        let mut comm = vec![0; self.below(16)];
        self.letters(&mut comm);
        let (pid_tgid, uid_gid) = (self.next(), self.next() & 0xffff_ffff_8000_0007);
        World { context, event, memory, kernel_is_readable: true, pid_tgid, uid_gid, comm, bound: Default::default() }
    }

    fn memory_kind(&mut self) -> Memory {
        self.one_of(&[Memory::Kernel, Memory::User])
    }

    fn pointer(&mut self) -> Int {
        let place = self.one_of(&[Place::Context(POINTER), Place::Event(POINTER)]);
        let base = Int::Load { place, size: Size::B8, signed: false };
        let right = Box::new(Int::Constant(self.below(60) as u64));
        match self.below(4) {
            0 => Int::Constant(self.one_of(&[0, 8, u64::MAX - 15])),
            1 => Int::Binary { op: Arithmetic::Add, signed: false, left: Box::new(base), right },
            _ => base,
        }
    }

    pub fn leaf(&mut self, stable: bool) -> Int {
        if self.bound > 0 && self.chance(30) {
            return Int::Bound(self.below(self.bound));
        }
        let size = self.one_of(&[Size::B1, Size::B2, Size::B4, Size::B8]);
        let step = size.bytes() as usize;
        let offset = (16 + self.below(32 / step) * step) as i16;
        let place = match self.below(6) {
            0 if self.chance(50) => return Int::Constant(self.one_of(&EDGES)),
            0 => return Int::Constant((self.next() >> self.below(64)).wrapping_neg()),
            1 => {
                use Current::*;
                let stable_ones = [Pid, Tid, Uid, Gid];
                let all = [Pid, Tid, Uid, Gid, Cpu, Cgroup, CgroupAncestor(2), Task, Nsecs, Cookie];
                return Int::Current(if stable { self.one_of(&stable_ones) } else { self.one_of(&all) });
            }
            2 => Place::Event(offset),
            3 => {
                let (pointer, memory) = (Box::new(self.pointer()), self.memory_kind());
                Place::Behind { pointer, offset: self.below(60) as i32, memory }
            }
            _ => Place::Context(offset),
        };
        Int::Load { place, size, signed: self.chance(50) }
    }

    pub fn int(&mut self, depth: usize, stable: bool) -> Int {
        use Arithmetic::*;
        if depth == 0 || self.chance(12) {
            return self.leaf(stable);
        }
        if self.chance(10) {
            return Int::Truth(Box::new(self.test(depth - 1, stable)));
        }
        if self.chance(6) {
            let size = self.one_of(&[Size::B2, Size::B4, Size::B8]);
            return Int::Swap { size, inner: Box::new(self.int(depth - 1, stable)) };
        }
        if self.chance(6) {
            let test = Box::new(self.test(depth.min(2) - 1, stable));
            let (yes, no) = (Box::new(self.int(depth - 1, stable)), Box::new(self.int(depth - 1, stable)));
            return Int::Choose { test, yes, no };
        }
        if self.chance(6) {
            let value = Box::new(self.int(depth - 1, stable));
            self.bound += 1;
            let body = Box::new(self.int(depth - 1, stable));
            self.bound -= 1;
            return Int::Let { value, body };
        }
        let op = self.one_of(&[Add, Subtract, Multiply, Divide, Remainder, And, Or, Xor, ShiftLeft, ShiftRight]);
        let (left, right) = (Box::new(self.int(depth - 1, stable)), Box::new(self.int(depth - 1, stable)));
        Int::Binary { op, signed: self.chance(50), left, right }
    }

    pub fn text(&mut self) -> Text {
        let from = self.below(40);
        let (offset, size) = ((TEXTS + from) as i16, self.below(CONTEXT - TEXTS - from) as u16);
        match self.below(6) {
            0 => Text::Comm,
            1 => Text::Context { offset, size },
            2 => Text::Event { offset, size },
            3 => DATA,
            4 => RELATIVE_DATA,
            _ => Text::At { pointer: self.pointer(), memory: self.memory_kind() },
        }
    }

    /// A literal that the text may well be, in this world.
    pub fn literal(&mut self, text: &[u8]) -> Vec<u8> {
        let mut literal = text.to_vec();
        match self.below(5) {
            0 => literal.truncate(self.below(text.len() + 1)),
            1 => literal.push(b'a'),
            2 if !text.is_empty() => literal[self.below(text.len())] = b'Z',
            3 => literal.extend_from_slice(b"aabb"),
            _ => {}
        }
        literal.truncate(40);
        literal
    }

    pub fn test(&mut self, depth: usize, stable: bool) -> Test {
        use Comparison::*;
        if depth > 0 && self.chance(60) {
            let members = (0..self.below(4)).map(|_| self.test(depth - 1, stable)).collect();
            return match self.below(3) {
                0 => Test::And(members),
                1 => Test::Or(members),
                _ => Test::Not(Box::new(self.test(depth - 1, stable))),
            };
        }
        match self.below(12) {
            0 => Test::Constant(self.chance(50)),
            1 | 2 => {
                let mut literal = vec![0; self.below(6)];
                self.letters(&mut literal);
                Test::TextIs { text: self.text(), literal, prefix: self.chance(50) }
            }
            3 => Test::TextsEqual { left: self.text(), right: self.text(), size: self.below(40) as u16 },
            _ => {
                let op = self.one_of(&[Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual]);
                let reading = self.one_of(&[Reading::Signed, Reading::Unsigned, Reading::SignedWithUnsigned]);
                let (left, right) = (self.int(depth.min(2), stable), self.int(depth.min(1), stable));
                Test::Compare { op, reading, left, right }
            }
        }
    }

    /// Columns side by side; the length of all.
    pub fn columns(&mut self, stable: bool) -> (Vec<Column>, usize) {
        let mut end = 0;
        let columns = (0..1 + self.below(4)).map(|_| {
            let size = 8 * (1 + self.below(4)) as u16;
            let (content, bytes) = match self.below(3) {
                0 => {
                    let size = self.one_of(&[Size::B1, Size::B2, Size::B4, Size::B8]);
                    (Content::Int { value: self.int(2, stable), size }, 8)
                }
                1 => (Content::Text { text: self.text(), size }, size),
                _ => {
                    let (bytes, size) = (self.text(), 1 + self.below(24) as u16);
                    (Content::Bytes { bytes, size }, size.next_multiple_of(8))
                }
            };
            end += bytes;
            Column { offset: end - bytes, content }
        });
        (columns.collect(), end.into())
    }
}
