//! BPF instructions: built, collected with jumps to labels, encoded, and shown as text for plans. Pure data; no privilege.
//!
//! Only what CPU v3 has (Linux 5.10): no signed division, no sign-extending moves or loads.
//! Source: Documentation/bpf/standardization/instruction-set.rst; the text form is the verifier's.

use super::ir::Size;

/// One instruction of 8 bytes. A 64-bit constant takes two, the second with code 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Insn {
    pub code: u8,
    pub dst: u8,
    pub src: u8,
    pub off: i16,
    pub imm: i32,
}

pub type Reg = u8;
/// The stack's upper end, read-only.
pub const FRAME: Reg = 10;

/// The last operand of an instruction: a register, or 32 bits that are sign-extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    Reg(Reg),
    Imm(i32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alu {
    Add = 0x00,
    Subtract = 0x10,
    Multiply = 0x20,
    Divide = 0x30,
    Or = 0x40,
    And = 0x50,
    ShiftLeft = 0x60,
    ShiftRight = 0x70,
    Negate = 0x80,
    Remainder = 0x90,
    Xor = 0xa0,
    Move = 0xb0,
    ShiftRightSigned = 0xc0,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Equal = 0x10,
    Greater = 0x20,
    GreaterOrEqual = 0x30,
    /// Left and right have a set bit in common. Has no inverse.
    AnyBit = 0x40,
    NotEqual = 0x50,
    SignedGreater = 0x60,
    SignedGreaterOrEqual = 0x70,
    Less = 0xa0,
    LessOrEqual = 0xb0,
    SignedLess = 0xc0,
    SignedLessOrEqual = 0xd0,
}

/// The kernel's helper functions that slots call, by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Helper {
    MapLookupElem = 1,
    KtimeGetNs = 5,
    GetSmpProcessorId = 8,
    GetCurrentPidTgid = 14,
    GetCurrentUidGid = 15,
    GetCurrentComm = 16,
    SkbLoadBytes = 26,
    GetStackid = 27,
    GetCurrentTask = 35,
    GetCurrentCgroupId = 80,
    ProbeReadUser = 112,
    ProbeReadKernel = 113,
    ProbeReadUserStr = 114,
    ProbeReadKernelStr = 115,
    GetNsCurrentPidTgid = 120,
    GetCurrentAncestorCgroupId = 123,
    GetAttachCookie = 174,
}

/// A map that slots use; its descriptor is known when the program is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapRef {
    Stacks,
    MoreStacks,
    Trust,
}

impl MapRef {
    const ALL: [MapRef; 3] = [MapRef::Stacks, MapRef::MoreStacks, MapRef::Trust];

    /// As templates call it.
    pub fn name(self) -> &'static str {
        match self {
            MapRef::Stacks => "stacks",
            MapRef::MoreStacks => "more_stacks",
            MapRef::Trust => "trust",
        }
    }
}

const LDX: u8 = 0x61;
const ST: u8 = 0x62;
const STX: u8 = 0x63;
pub const ALU32: u8 = 0x04;
pub const ALU64: u8 = 0x07;
pub const JUMP: u8 = 0x05;
pub const JUMP32: u8 = 0x06;
pub const CALL: u8 = 0x85;
pub const EXIT: u8 = 0x95;
pub const CONSTANT64: u8 = 0x18;
/// `BPF_PSEUDO_MAP_FD`: the constant is a map's descriptor, and becomes its address.
const BY_DESCRIPTOR: u8 = 1;
pub(super) const TO_BIG_ENDIAN: u8 = 0xdc;
/// Bit of an ALU or jump code: the last operand is a register.
pub const BY_REG: u8 = 0x08;

fn size_code(size: Size) -> u8 {
    match size {
        Size::B1 => 0x10,
        Size::B2 => 0x08,
        Size::B4 => 0x00,
        Size::B8 => 0x18,
    }
}

impl Insn {
    fn new(code: u8, dst: Reg, src: Reg, off: i16, imm: i32) -> Insn {
        Insn { code, dst, src, off, imm }
    }

    fn with_operand(code: u8, dst: Reg, operand: Operand, off: i16) -> Insn {
        match operand {
            Operand::Reg(src) => Insn::new(code | BY_REG, dst, src, off, 0),
            Operand::Imm(imm) => Insn::new(code, dst, 0, off, imm),
        }
    }

    /// 64 bits wide.
    pub fn alu(op: Alu, dst: Reg, operand: Operand) -> Insn {
        Insn::with_operand(ALU64 | op as u8, dst, operand, 0)
    }

    /// On the low halves; clears the high half of `dst`.
    pub fn alu32(op: Alu, dst: Reg, operand: Operand) -> Insn {
        Insn::with_operand(ALU32 | op as u8, dst, operand, 0)
    }

    /// The low `size` bytes of `dst` turned round on a little-endian machine, zeros before them.
    pub fn to_big_endian(size: Size, dst: Reg) -> Insn {
        Insn::new(TO_BIG_ENDIAN, dst, 0, 0, 8 * i32::from(size.bytes()))
    }

    pub fn constant64(dst: Reg, value: u64) -> [Insn; 2] {
        [Insn::new(CONSTANT64, dst, 0, 0, value as i32), Insn::new(0, 0, 0, 0, (value >> 32) as i32)]
    }

    /// A map's address: what stands for its descriptor is [`Insn::map_ref`].
    pub fn map(dst: Reg, map: MapRef) -> [Insn; 2] {
        [Insn::new(CONSTANT64, dst, BY_DESCRIPTOR, 0, map as i32), Insn::new(0, 0, 0, 0, 0)]
    }

    /// The map that this instruction waits for.
    pub fn map_ref(self) -> Option<MapRef> {
        let waits = self.code == CONSTANT64 && self.src == BY_DESCRIPTOR;
        MapRef::ALL.into_iter().find(|map| waits && *map as i32 == self.imm)
    }

    /// `dst = *(size *)(base + off)`, zero-extended.
    pub fn load(size: Size, dst: Reg, base: Reg, off: i16) -> Insn {
        Insn::new(LDX | size_code(size), dst, base, off, 0)
    }

    /// `*(size *)(base + off) = value`.
    pub fn store(size: Size, base: Reg, off: i16, value: Operand) -> Insn {
        match value {
            Operand::Reg(src) => Insn::new(STX | size_code(size), base, src, off, 0),
            Operand::Imm(imm) => Insn::new(ST | size_code(size), base, 0, off, imm),
        }
    }

    /// A conditional jump over `off` instructions; `wide`: compares 64 bits, else the low halves.
    pub fn jump(condition: Condition, wide: bool, dst: Reg, operand: Operand, off: i16) -> Insn {
        Insn::with_operand(if wide { JUMP } else { JUMP32 } | condition as u8, dst, operand, off)
    }

    pub fn goto(off: i16) -> Insn {
        Insn::new(JUMP, 0, 0, off, 0)
    }

    pub fn call(helper: Helper) -> Insn {
        Insn::new(CALL, 0, 0, 0, helper as i32)
    }

    pub fn exit() -> Insn {
        Insn::new(EXIT, 0, 0, 0, 0)
    }

    pub fn to_bytes(self) -> [u8; 8] {
        let (off, imm) = (self.off.to_le_bytes(), self.imm.to_le_bytes());
        [self.code, self.src << 4 | self.dst, off[0], off[1], imm[0], imm[1], imm[2], imm[3]]
    }

    /// The same conditional jump taken in the opposite case; `None` for anything else and for `AnyBit`.
    pub fn inverted(self) -> Option<Insn> {
        let flipped = match self.code & 0xf0 {
            _ if !matches!(self.code & 0x07, JUMP | JUMP32) => return None,
            0x10 | 0x50 => 0x40,               // = and !=
            0x20 | 0x30 | 0xa0 | 0xb0 => 0x90, // > and <=, >= and <
            0x60 | 0xd0 | 0x70 | 0xc0 => 0xb0, // the same, signed
            _ => return None,
        };
        Some(Insn { code: self.code ^ flipped, ..self })
    }

    pub(super) fn reads(self, reg: Reg) -> bool {
        self.dst == reg || self.code & BY_REG != 0 && self.src == reg
    }
}

/// A place in the code that jumps lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label(usize);

/// Collects instructions; jumps to labels are filled in by [`Assembler::finish`].
#[derive(Debug, Default)]
pub struct Assembler {
    code: Vec<Insn>,
    labels: Vec<usize>,
    /// In the order of the code.
    jumps: Vec<(usize, Label)>,
    /// The position that a label was bound to last: the instruction before it is not the only way there.
    bound: usize,
}

impl Assembler {
    /// Instructions so far.
    pub fn position(&self) -> usize {
        self.code.len()
    }

    pub fn emit(&mut self, insn: Insn) {
        self.code.push(insn);
    }

    /// A label without a place as yet.
    pub fn label(&mut self) -> Label {
        self.labels.push(usize::MAX);
        Label(self.labels.len() - 1)
    }

    /// The label's place is here; a `goto` that would lead over nothing is dropped.
    pub fn bind(&mut self, label: Label) {
        if self.bound < self.code.len()
            && self.jumps.last() == Some(&(self.code.len() - 1, label))
            && self.code.last().is_some_and(|last| last.code == JUMP)
        {
            self.code.pop();
            self.jumps.pop();
        }
        self.labels[label.0] = self.code.len();
        if self.jumps.iter().any(|(_, to)| *to == label) {
            self.bound = self.code.len();
        }
    }

    pub fn jump(&mut self, insn: Insn, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.code.push(insn);
    }

    /// Takes back the last instruction if it is a conditional jump to `label`, does not read `reg`, and is the only
    /// way to get here; also says whether it was the only jump to `label`.
    pub(super) fn take_jump(&mut self, label: Label, reg: Reg) -> Option<(Insn, bool)> {
        let taken = self.bound < self.code.len() && self.jumps.last() == Some(&(self.code.len() - 1, label));
        let last = *self.code.last().filter(|last| taken && last.code != JUMP && !last.reads(reg))?;
        let only = self.jumps.iter().filter(|(_, to)| *to == label).count() == 1;
        if !only {
            last.inverted()?;
        }
        self.code.pop();
        self.jumps.pop();
        Some((last, only))
    }

    /// The code with all jumps resolved. Every label that is jumped to must be bound; jumps reach 32,767 instructions.
    pub fn finish(mut self) -> Vec<Insn> {
        for (at, Label(label)) in self.jumps {
            self.code[at].off = (self.labels[label] as isize - at as isize - 1) as i16;
        }
        self.code
    }
}
