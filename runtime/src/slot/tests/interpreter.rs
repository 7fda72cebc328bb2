//! Runs instructions as the kernel's interpreter does (kernel/bpf/core.c), on this process's memory. Calls leave
//! garbage in the registers that they may clobber.

use crate::slot::assembler::Insn;
use std::ops::Range;

const STACK: usize = 512;

/// r0 at the exit. Loads and stores must lie in `areas` or on the stack.
pub fn run(code: &[Insn], areas: &[Range<u64>], call: impl Fn(u32, [u64; 5]) -> u64) -> u64 {
    let mut stack = [0u64; STACK / 8];
    let top = stack.as_mut_ptr() as u64 + STACK as u64;
    let within = |address: u64, size: usize| {
        let end = address + size as u64;
        let on_stack = address >= top - STACK as u64 && end <= top;
        assert!(on_stack || areas.iter().any(|area| area.start <= address && end <= area.end), "stray access");
        address as *mut u8
    };
    let mut regs = [0u64; 11];
    regs[10] = top;
    let mut at = 0;
    loop {
        let insn = code[at];
        let (dst, size) = (usize::from(insn.dst), [4, 2, 1, 8][usize::from(insn.code >> 3 & 3)]);
        let operand = if insn.code & 8 != 0 { regs[usize::from(insn.src)] } else { insn.imm as i64 as u64 };
        at += 1;
        match insn.code & 7 {
            0 => {
                regs[dst] = u64::from(insn.imm as u32) | u64::from(code[at].imm as u32) << 32;
                at += 1;
            }
            1 => {
                let address = within(regs[usize::from(insn.src)].wrapping_add(insn.off as u64), size);
                let mut bytes = [0; 8];
                // SAFETY: the address was checked.
                unsafe { std::ptr::copy_nonoverlapping(address, bytes.as_mut_ptr(), size) };
                regs[dst] = u64::from_le_bytes(bytes);
            }
            2 | 3 => {
                let value = if insn.code & 7 == 3 { regs[usize::from(insn.src)] } else { insn.imm as i64 as u64 };
                let address = within(regs[dst].wrapping_add(insn.off as u64), size);
                // SAFETY: as above.
                unsafe { std::ptr::copy_nonoverlapping(value.to_le_bytes().as_ptr(), address, size) };
            }
            4 if insn.code == 0xdc => regs[dst] = regs[dst].swap_bytes() >> (64 - insn.imm),
            4 => regs[dst] = u64::from(alu32(insn.code, regs[dst] as u32, operand as u32)),
            7 => regs[dst] = alu64(insn.code, regs[dst], operand),
            _ if insn.code == 0x95 => return regs[0],
            _ if insn.code == 0x85 => {
                regs[0] = call(insn.imm as u32, [regs[1], regs[2], regs[3], regs[4], regs[5]]);
                regs[1..=5].fill(0xc10b_be2e_d000_c10b);
            }
            class => {
                let taken = match class {
                    5 => jumps(insn.code, regs[dst], operand, regs[dst] as i64, operand as i64),
                    _ => {
                        let (l, r) = (regs[dst] as u32, operand as u32);
                        jumps(insn.code, l.into(), r.into(), (l as i32).into(), (r as i32).into())
                    }
                };
                at = at.wrapping_add_signed(if taken { insn.off.into() } else { 0 });
            }
        }
    }
}

fn jumps(code: u8, l: u64, r: u64, ls: i64, rs: i64) -> bool {
    match code & 0xf0 {
        0x00 => true,
        0x10 => l == r,
        0x20 => l > r,
        0x30 => l >= r,
        0x40 => l & r != 0,
        0x50 => l != r,
        0x60 => ls > rs,
        0x70 => ls >= rs,
        0xa0 => l < r,
        0xb0 => l <= r,
        0xc0 => ls < rs,
        0xd0 => ls <= rs,
        _ => panic!("jump {code:#x}"),
    }
}

fn alu64(code: u8, l: u64, r: u64) -> u64 {
    match code & 0xf0 {
        0x00 => l.wrapping_add(r),
        0x10 => l.wrapping_sub(r),
        0x20 => l.wrapping_mul(r),
        0x30 => l.checked_div(r).unwrap_or(0),
        0x40 => l | r,
        0x50 => l & r,
        0x60 | 0x70 | 0xc0 if r > 63 => panic!("shift by {r}: not defined everywhere"),
        0x60 => l << r,
        0x70 => l >> r,
        0x80 => l.wrapping_neg(),
        0x90 => l.checked_rem(r).unwrap_or(l),
        0xa0 => l ^ r,
        0xb0 => r,
        0xc0 => (l as i64 >> r) as u64,
        _ => panic!("operation {code:#x}"),
    }
}

fn alu32(code: u8, l: u32, r: u32) -> u32 {
    match code & 0xf0 {
        0xc0 => (l as i32 >> r) as u32,
        _ => alu64(code, l.into(), r.into()) as u32,
    }
}
