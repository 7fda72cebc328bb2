//! What Linux 5.10's verifier demands of a slot, as far as it needs no kernel: forward jumps, no dead code, one exit,
//! nothing read that may be unwritten (registers, stack, output), contexts read aligned through the unmodified pointer.

use crate::slot::assembler::Insn;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Unset,
    Context,
    Event,
    Stack(i64),
    Out(i64),
    Constant(i64),
    Scalar,
}

/// Registers, and which bytes of the stack (below r10) and the output are written.
#[derive(Clone, PartialEq)]
struct State {
    regs: [Kind; 11],
    stack: [bool; 512],
    out: [bool; 256],
}

impl State {
    fn read(&self, reg: u8) -> Kind {
        assert_ne!(self.regs[usize::from(reg)], Kind::Unset, "r{reg} is not written");
        self.regs[usize::from(reg)]
    }

    fn bytes(&mut self, pointer: Kind, off: i16, length: usize) -> Option<&mut [bool]> {
        match pointer {
            Kind::Stack(base) => {
                let from = 512 + base + i64::from(off);
                assert!((320..512).contains(&from), "stack is left");
                Some(&mut self.stack[from as usize..][..length])
            }
            Kind::Out(base) => Some(&mut self.out[(base + i64::from(off)) as usize..][..length]),
            _ => None,
        }
    }

    fn merge(&mut self, other: &State) {
        for (mine, theirs) in self.regs.iter_mut().zip(other.regs) {
            if *mine != theirs {
                let unset = *mine == Kind::Unset || theirs == Kind::Unset;
                *mine = if unset { Kind::Unset } else { Kind::Scalar };
            }
        }
        self.stack.iter_mut().zip(other.stack).for_each(|(mine, theirs)| *mine &= theirs);
        self.out.iter_mut().zip(other.out).for_each(|(mine, theirs)| *mine &= theirs);
    }

    fn call(&mut self, helper: i32) {
        let arguments = match helper {
            5 | 8 | 14 | 15 | 35 | 80 => 0,
            123 | 174 => 1,
            16 => 2,
            112..=115 => 3,
            _ => panic!("helper {helper}"),
        };
        (1..=arguments).for_each(|reg| assert_ne!(self.read(reg), Kind::Unset));
        match (helper, self.regs[1], self.regs[2]) {
            (174, first, _) => assert_eq!(first, Kind::Context),
            (16 | 112..=115, target, Kind::Constant(size)) => {
                assert!(size > 0 && (helper != 16 || size <= 16));
                self.bytes(target, 0, size as usize).expect("a target").fill(true);
            }
            (113, target, _) => assert!(self.bytes(target, 0, 24).is_some(), "only the output is filled so"),
            (16 | 112..=115, ..) => panic!("a size that is not known"),
            _ => {}
        }
        self.regs[1..=5].fill(Kind::Unset);
        self.regs[0] = Kind::Scalar;
    }

    fn alu(&mut self, insn: Insn) {
        // That bit says something else of a swap of bytes.
        let value = match insn.code & 8 {
            _ if insn.code == 0xdc => Kind::Scalar,
            0 => Kind::Constant(insn.imm.into()),
            _ => self.read(insn.src),
        };
        let dst = usize::from(insn.dst);
        self.regs[dst] = match (insn.code, self.regs[dst], value) {
            (0xb7 | 0xbf, _, value) => value,
            (0x07, Kind::Stack(base), Kind::Constant(by)) => Kind::Stack(base + by),
            (0x07, Kind::Out(base), Kind::Constant(by)) => Kind::Out(base + by),
            (0xb4 | 0xbc, ..) => Kind::Scalar,
            _ => {
                self.read(insn.dst);
                Kind::Scalar
            }
        };
    }
}

/// Checks every path; panics where a demand is not met. `written` bytes of the output must be written at the end.
pub fn check(code: &[Insn], written: usize) {
    let mut states: Vec<Option<State>> = vec![None; code.len()];
    let mut start = State { regs: [Kind::Unset; 11], stack: [false; 512], out: [false; 256] };
    (start.regs[1], start.regs[2], start.regs[3]) = (Kind::Context, Kind::Event, Kind::Out(0));
    start.regs[10] = Kind::Stack(0);
    states[0] = Some(start);
    let mut at = 0;
    while at < code.len() {
        let insn = code[at];
        let mut state = states[at].take().unwrap_or_else(|| panic!("dead code at {at}"));
        let size = [4, 2, 1, 8][usize::from(insn.code >> 3 & 3)];
        let mut next = vec![at + 1];
        match insn.code & 7 {
            0 => {
                assert_eq!((insn.code, code[at + 1].code), (0x18, 0));
                state.regs[usize::from(insn.dst)] = Kind::Scalar;
                at += 1;
                next = vec![at + 1];
            }
            1 => {
                let base = state.read(insn.src);
                match state.bytes(base, insn.off, size) {
                    Some(bytes) => assert!(bytes.iter().all(|byte| *byte), "unwritten bytes are read at {at}"),
                    None => assert!(matches!(base, Kind::Context | Kind::Event), "load from {base:?} at {at}"),
                }
                assert_eq!(insn.off.rem_euclid(size as i16), 0, "unaligned load at {at}");
                state.regs[usize::from(insn.dst)] = Kind::Scalar;
            }
            2 | 3 => {
                if insn.code & 7 == 3 {
                    state.read(insn.src);
                }
                let base = state.read(insn.dst);
                assert_eq!(insn.off.rem_euclid(size as i16), 0, "unaligned store at {at}");
                state.bytes(base, insn.off, size).expect("a store to stack or output").fill(true);
            }
            4 | 7 => state.alu(insn),
            _ if insn.code == 0x95 => {
                assert_eq!(at, code.len() - 1, "an early exit");
                state.read(0);
                assert!(state.out[..written].iter().all(|byte| *byte), "a key has unwritten bytes");
                return;
            }
            _ if insn.code == 0x85 => state.call(insn.imm),
            _ => {
                assert!(insn.off >= 0, "a jump backwards");
                let target = at + 1 + insn.off as usize;
                if insn.code == 0x05 {
                    next = vec![target];
                } else {
                    state.read(insn.dst);
                    if insn.code & 8 != 0 {
                        state.read(insn.src);
                    }
                    next.push(target);
                }
            }
        }
        for target in next {
            match &mut states[target] {
                Some(other) => other.merge(&state),
                empty => *empty = Some(state.clone()),
            }
        }
        at += 1;
    }
    panic!("the end is left");
}
