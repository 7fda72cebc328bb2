//! Where instructions start and where jumps lead: what keeps a probe from being moved, or put, to a wrong place.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};

use super::elf::{Binary, Function, Machine};
use super::placement::MAX_BYTES;
use crate::diagnostic::Diagnostic;

/// Code in front of a function is decoded from this much before it matters, to fall in step with its instructions.
const SYNC: u64 = 64;
/// The reach of a two-byte jump.
const NEAR: u64 = 130;
/// Code is searched for five-byte jumps in pieces of this size; the last bytes of one are the first of the next.
const PIECE: u64 = 1 << 20;
const OVERLAP: u64 = 5;

pub(super) fn decoder(code: &[u8], address: u64) -> Decoder<'_> {
    Decoder::with_ip(64, code, address, DecoderOptions::NONE)
}

/// The instruction that covers `offset`: its start and, if that is another place, the start of the next one.
pub(super) fn boundaries(machine: Machine, code: &[u8], offset: u64) -> (u64, Option<u64>) {
    match machine {
        Machine::X86_64 => {
            let covering = decoder(code, 0).into_iter().find(|i| i.next_ip() > offset);
            let (start, next) = covering.map_or((offset, offset), |i| (i.ip(), i.next_ip()));
            (start, (start < offset).then_some(next))
        }
        Machine::Aarch64 => (offset & !3, (!offset.is_multiple_of(4)).then_some((offset & !3) + 4)),
        Machine::Other(_) => (offset, None),
    }
}

/// The earliest offset behind a function's start that its own code jumps to (`u64::MAX`: none within reach of a
/// placement), and whether it holds jumps to places that only a table or a register knows.
pub(super) fn inside(code: &[u8], address: u64) -> (u64, bool) {
    let mut earliest = u64::MAX;
    let mut unknown = false;
    for instruction in decoder(code, address).iter() {
        if let Some(target) = target(&instruction).and_then(|to| to.checked_sub(address))
            && (1..=MAX_BYTES).contains(&target)
        {
            earliest = earliest.min(target);
        }
        // A jump through the GOT is a tail call.
        unknown |= instruction.flow_control() == FlowControl::IndirectBranch
            && !(instruction.op0_kind() == OpKind::Memory && instruction.memory_base() == Register::RIP);
    }
    (earliest, unknown)
}

fn target(instruction: &Instruction) -> Option<u64> {
    let near = matches!(instruction.op0_kind(), OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64);
    near.then(|| instruction.near_branch_target())
}

/// So much code is searched; in a larger file, one with holes, functions are taken to be entered right behind their starts.
const MOST: u64 = 2 << 30;

/// For functions (by index) whose probe moved to an offset: which of them something else may enter behind its start and
/// not behind the probe, and where at the earliest. Found are other symbols there, five-byte jumps and calls
/// anywhere in the file (any bytes that look so), two-byte jumps of the neighbours; not other functions' jump tables.
pub(super) fn from_elsewhere(
    binary: &Binary,
    functions: &[&Function],
    moved: &[(usize, u64)],
) -> Result<Vec<(usize, u64)>, Diagnostic> {
    if moved.is_empty() {
        return Ok(Vec::new());
    }
    let mut starts: Vec<(u64, u64, usize)> = // first and last address that must not be entered, index
        moved.iter().map(|(i, offset)| (functions[*i].address + 1, functions[*i].address + offset, *i)).collect();
    starts.sort_unstable();
    let mut entered = Vec::new();
    let mut enter = |to: u64| {
        let before = starts.partition_point(|(first, ..)| *first <= to);
        for (first, last, index) in starts[..before].iter().rev() {
            if first + MAX_BYTES < to {
                break;
            }
            if to <= *last {
                entered.push((*index, to - first + 1));
            }
        }
    };
    binary.functions().iter().for_each(|function| enter(function.address));
    for index in moved.iter().map(|(index, _)| *index) {
        let Function { address, file_offset, size, .. } = *functions[index];
        let segment = binary.segments().iter().find(|segment| segment.holds(address));
        let lead = (SYNC + NEAR).min(address - segment.map_or(address, |segment| segment.address));
        let neighbours = [(lead, lead), (size.wrapping_neg(), (MAX_BYTES + NEAR).saturating_sub(size))];
        for (back, length) in neighbours {
            let code = binary.read(file_offset.wrapping_sub(back), length)?;
            decoder(&code, address.wrapping_sub(back)).iter().filter_map(|i| target(&i)).for_each(&mut enter);
        }
    }
    if binary.segments().iter().map(|segment| segment.size).fold(0, u64::saturating_add) > MOST {
        return Ok(moved.iter().map(|(index, _)| (*index, 1)).collect());
    }
    let (low, high) = (starts[0].0, starts[starts.len() - 1].1);
    for segment in binary.segments() {
        let mut from = 0;
        while from < segment.size {
            let code = binary.read(segment.file_offset + from, PIECE + OVERLAP)?;
            // Any four bytes that would lead there as a distance, then those that a jump's or call's opcode precedes: the
            // first test alone decides for nearly all, at one addition each. 32 bits do: no such jump goes further.
            let origin = (segment.address + from + 6).wrapping_sub(low) as u32;
            for (at, window) in code.windows(6).enumerate() {
                let distance = u32::from_le_bytes([window[2], window[3], window[4], window[5]]);
                let to = distance.wrapping_add(origin).wrapping_add(at as u32);
                if u64::from(to) <= high - low && matches!(window, [_, 0xe8 | 0xe9, ..] | [0x0f, 0x80..=0x8f, ..]) {
                    enter(low + u64::from(to));
                }
            }
            from += PIECE;
        }
    }
    // The earliest entry of each.
    entered.sort_unstable();
    entered.dedup_by_key(|(index, _)| *index);
    Ok(entered)
}
