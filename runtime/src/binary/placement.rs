//! Where in a function its uprobe goes. Machine code in, an offset with its reason out; no privilege.
//!
//! The kernel runs the instruction that a breakpoint replaced in one of two ways: it emulates a few kinds (0.8 us per
//! hit, all in), and single-steps all others (12 us on a virtual machine). So an entry probe may move forward from the
//! function's first instruction, often `endbr64`, to the first emulated one, as long as nobody can tell: every call of
//! the function passes there exactly once, and what the probe reads is as it was.
//!
//! Source: arch/x86/kernel/uprobes.c, `branch_setup_xol_ops` and `push_setup_xol_ops`.

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, OpAccess, Register};

use super::elf::{Binary, Function, Machine};
use super::jumps;
use crate::diagnostic::Diagnostic;

/// How far a probe may move. A function's first block seldom is longer.
const MAX_INSTRUCTIONS: usize = 16;
pub(super) const MAX_BYTES: u64 = 64;
/// How much of a function is searched for jumps back to its start.
const MAX_BODY: usize = 64 << 10;
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// What a probe reads of the state at a function's start, so that it may not be moved behind a change of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArgumentRegisters {
    /// Bit n: argument n, in `rdi rsi rdx rcx r8 r9`.
    registers: u8,
    stack: bool,
    callers: bool,
}

impl ArgumentRegisters {
    const NAMES: [Register; 6] =
        [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

    /// A probe that reads nothing: it counts, or takes the time.
    pub const NONE: ArgumentRegisters = ArgumentRegisters { registers: 0, stack: false, callers: false };

    /// Also reads argument `index`, from 0; the seventh and later ones are on the stack.
    pub fn and_argument(mut self, index: usize) -> Self {
        match index {
            0..6 => self.registers |= 1 << index,
            _ => self.stack = true,
        }
        self
    }

    /// Also reads the stack pointer or what it points to, such as the return address.
    pub fn and_stack(mut self) -> Self {
        self.stack = true;
        self
    }

    /// Also takes a user stack. The kernel finds the direct caller only if the probe is on `push rbp` or `endbr64`
    /// (`is_uprobe_at_func_entry`, Linux 6.11): moved from one of them elsewhere, the caller would silently be missing.
    pub fn and_callers(mut self) -> Self {
        self.callers = true;
        self
    }

    fn reads(self, register: Register) -> bool {
        let full = register.full_register();
        let argument = |(index, name): (usize, &Register)| self.registers & (1 << index) != 0 && *name == full;
        (self.stack && full == Register::RSP)
            || (self.callers && full == Register::RBP)
            || Self::NAMES.iter().enumerate().any(argument)
    }
}

/// Where the probe goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// From the function's start.
    pub offset: u64,
    /// The kernel does the probed instruction's work itself instead of single-stepping it.
    pub emulated: bool,
    /// One short phrase for the plan.
    pub reason: String,
}

/// Places an entry or return probe on a function of x86-64 code, going by that code alone.
///
/// `returns`: a return probe, which needs the return address on top of the stack.
pub fn place(code: &[u8], address: u64, returns: bool, needed: ArgumentRegisters) -> Placement {
    place_before(code, address, returns, needed, MAX_BYTES + 1)
}

/// Places probes on functions of one binary, one placement for each; jumps from *other* functions into a start count
/// too (a cold part that comes back, assembly that shares a tail). On machines other than x86-64 always `+0`.
///
/// # Errors
/// The file can no longer be read.
pub fn place_all(
    binary: &Binary,
    functions: &[&Function],
    returns: bool,
    needed: ArgumentRegisters,
) -> Result<Vec<Placement>, Diagnostic> {
    if binary.machine() != Machine::X86_64 {
        let reason = "at the start: placement knows x86-64 only";
        let stay = Placement { offset: 0, emulated: false, reason: reason.to_owned() };
        return Ok(vec![stay; functions.len()]);
    }
    let body = |function: &Function| binary.read(function.file_offset, function.size.min(MAX_BODY as u64));
    let mut placements = Vec::with_capacity(functions.len());
    let mut moved = Vec::new();
    for (index, function) in functions.iter().enumerate() {
        let code = body(function)?;
        let placement = place(&code, function.address, returns, needed);
        // Nothing jumps behind an `endbr64` alone; so the usual case needs no search of the whole file.
        if placement.offset > 0 && !(placement.offset == 4 && code.starts_with(&ENDBR64)) {
            moved.push((index, placement.offset));
        }
        placements.push(placement);
    }
    for (index, entered) in jumps::from_elsewhere(binary, functions, &moved)? {
        placements[index] = place_before(&body(functions[index])?, functions[index].address, returns, needed, entered);
    }
    Ok(placements)
}

/// The walk; it also ends before `joined`, the offset that something outside is known to jump to.
fn place_before(code: &[u8], address: u64, returns: bool, mut needed: ArgumentRegisters, joined: u64) -> Placement {
    needed.stack |= returns;
    let (inner, unknown_jumps) = jumps::inside(&code[..code.len().min(MAX_BODY)], address);
    let joined = joined.min(inner);
    let mut info = InstructionInfoFactory::new();
    let mut crossed: Vec<Instruction> = Vec::new();
    let mut fallback = None;
    let mut stopped = "nothing emulated within reach".to_owned();
    for instruction in jumps::decoder(code, address).iter().take(MAX_INSTRUCTIONS) {
        let offset = instruction.ip().wrapping_sub(address);
        if offset > MAX_BYTES || instruction.is_invalid() {
            break;
        }
        if offset > 0 && offset >= joined {
            stopped = format!("a jump leads to +{joined}");
            break;
        }
        let bytes = &code[offset as usize..offset as usize + instruction.len()];
        let behind_endbr = offset == 4 && code.starts_with(&ENDBR64);
        // A switch may lead anywhere, but not between two parts of a prologue.
        let allowed = offset == 0 || behind_endbr || !unknown_jumps || saves_register(&instruction);
        let seen = !needed.callers || offset == 0 || bytes == [0x55] || !code.starts_with(&ENDBR64);
        match emulated(bytes) {
            Some(Emulated::Always) if allowed && seen => return on(offset, &instruction, &crossed, ""),
            Some(Emulated::Since6_18) if allowed && seen && fallback.is_none() => {
                fallback = Some(on(offset, &instruction, &crossed, " since Linux 6.18"));
            }
            _ => {}
        }
        if let Some(obstacle) = obstacle(&instruction, &mut info, needed) {
            stopped = obstacle;
            break;
        }
        crossed.push(instruction);
    }
    fallback.unwrap_or_else(|| Placement {
        offset: 0,
        emulated: false,
        reason: format!("at the start, single-stepped: {stopped}"),
    })
}

fn on(offset: u64, instruction: &Instruction, crossed: &[Instruction], since: &str) -> Placement {
    let name = match instruction.code() {
        Code::Push_r64 => format!("push {:?}", instruction.op0_register()).to_lowercase(),
        _ => format!("{:?}", instruction.mnemonic()).to_lowercase(),
    };
    let place = match crossed {
        [] => "at the start".to_owned(),
        [one] if one.code() == Code::Endbr64 => "behind endbr64".to_owned(),
        _ => format!("behind {} instructions", crossed.len()),
    };
    let reason = format!("{place}, on {name}: emulated{since}, not single-stepped");
    Placement { offset, emulated: true, reason }
}

/// Why the probe may not move behind an instruction.
fn obstacle(instruction: &Instruction, info: &mut InstructionInfoFactory, needed: ArgumentRegisters) -> Option<String> {
    let name = format!("{:?}", instruction.mnemonic()).to_lowercase();
    if instruction.flow_control() != FlowControl::Next {
        return Some(format!("{name} ends the first block"));
    }
    let writes = |access| {
        matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
    };
    let used = info.info(instruction);
    let lost = used.used_registers().iter().find(|u| writes(u.access()) && needed.reads(u.register()));
    if let Some(lost) = lost {
        return Some(format!("{name} changes {:?}", lost.register().full_register()).to_lowercase());
    }
    // What an argument points to may be read as well; the function's own stack is nobody's argument.
    let elsewhere = |base: Register| base.full_register() != Register::RSP;
    let stored = used.used_memory().iter().any(|m| writes(m.access()) && elsewhere(m.base()));
    (stored && needed.registers != 0).then(|| format!("{name} changes memory"))
}

enum Emulated {
    Always,
    Since6_18,
}

/// Does the kernel emulate the first instruction of `code`, on this version or a later one?
pub fn is_emulated(code: &[u8]) -> bool {
    let length = jumps::decoder(code, 0).iter().next().map_or(0, |instruction| instruction.len());
    emulated(&code[..length.min(code.len())]).is_some()
}

/// What the kernel emulates. Left out are forms that some kernel refuses to probe at all (`66 90` before 6.2, `cs nop`)
/// or takes for another instruction (`41 90`).
fn emulated(bytes: &[u8]) -> Option<Emulated> {
    match bytes {
        [0x50..=0x57] | [0x41, 0x50..=0x57] | [0x90] => Some(Emulated::Always),
        [0xeb | 0xe9 | 0xe8 | 0x70..=0x7f, ..] | [0x0f, 0x80..=0x8f, ..] => Some(Emulated::Always),
        [0xf2, 0xeb | 0xe9 | 0xe8 | 0x70..=0x7f, ..] | [0xf2, 0x0f, 0x80..=0x8f, ..] => Some(Emulated::Always), // bnd
        [0x0f, 0x1f, modrm, ..] | [0x66, 0x0f, 0x1f, modrm, ..] if modrm & 0x38 == 0 => Some(Emulated::Since6_18),
        _ => None,
    }
}

fn saves_register(instruction: &Instruction) -> bool {
    use Register::{R12, R13, R14, R15, RBP, RBX};
    instruction.code() == Code::Push_r64 && [RBX, RBP, R12, R13, R14, R15].contains(&instruction.op0_register())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDBR: [u8; 4] = ENDBR64;
    const NONE: ArgumentRegisters = ArgumentRegisters::NONE;

    fn placed(parts: &[&[u8]], returns: bool, needed: ArgumentRegisters) -> (u64, bool, String) {
        let Placement { offset, emulated, reason } = place(&parts.concat(), 0x40_1000, returns, needed);
        (offset, emulated, reason)
    }

    /// The offset, of a probe that reads nothing.
    fn entry(parts: &[&[u8]]) -> u64 {
        placed(parts, false, NONE).0
    }

    #[test]
    fn push_behind_endbr64_is_chosen() {
        let expected = (4, true, "behind endbr64, on push rbp: emulated, not single-stepped".to_owned());
        assert_eq!(placed(&[&ENDBR, &[0x55, 0xc3]], false, NONE), expected);
        assert_eq!(placed(&[&ENDBR, &[0x55, 0xc3]], true, NONE), expected);
        assert_eq!(entry(&[&ENDBR, &[0x41, 0x57, 0xc3]]), 4);
    }

    #[test]
    fn emulated_first_instruction_stays() {
        for first in
            [&[0x55][..], &[0x90], &[0xe9, 0, 1, 0, 0], &[0xe8, 0, 1, 0, 0], &[0x74, 0x70], &[0x0f, 0x84, 0, 1, 0, 0]]
        {
            let (offset, emulated, reason) = placed(&[first, &[0xc3]], true, NONE.and_argument(0));
            assert!(offset == 0 && emulated && reason.starts_with("at the start, on "), "{first:x?} {reason}");
        }
    }

    #[test]
    fn forms_that_a_kernel_refuses_or_single_steps_are_not_chosen() {
        // 66 90, pause, xchg r8 rax, push imm, cs nop, pushw, data16 jmp, vpshufd, push [mem]
        let forms: [&[u8]; 9] = [
            &[0x66, 0x90],
            &[0xf3, 0x90],
            &[0x41, 0x90],
            &[0x6a, 1],
            &[0x2e, 0x0f, 0x1f, 0x40, 0],
            &[0x66, 0x55],
            &[0x66, 0xe9, 0, 0, 0, 0],
            &[0xc5, 0xf9, 0x70, 0xc0, 0],
            &[0xff, 0x30],
        ];
        for form in forms {
            assert!(!placed(&[form, &[0xc3]], false, NONE).1, "{form:x?}");
        }
    }

    #[test]
    fn long_nop_is_second_choice() {
        let nop5 = [0x0f, 0x1f, 0x44, 0, 0];
        assert_eq!(entry(&[&nop5, &[0x55, 0xc3]]), 5);
        let (offset, emulated, reason) = placed(&[&nop5, &[0xc3]], false, NONE);
        assert!(offset == 0 && emulated && reason.contains("since Linux 6.18"), "{reason}");
    }

    #[test]
    fn walk_ends_before_a_needed_register_changes() {
        let code: [&[u8]; 3] = [&ENDBR, &[0x89, 0xf7], &[0x55, 0xc3]]; // mov edi, esi: the upper half goes as well
        assert_eq!(entry(&code), 6);
        let (offset, emulated, reason) = placed(&code, false, NONE.and_argument(0));
        assert_eq!((offset, emulated, reason.as_str()), (0, false, "at the start, single-stepped: mov changes rdi"));
        assert_eq!(placed(&code, false, NONE.and_argument(1)).0, 6);
        assert_eq!(placed(&[&[0xf3, 0xa4], &[0x55]], false, NONE.and_argument(3)).0, 0); // rep movsb counts rcx down
    }

    #[test]
    fn return_probes_and_stack_arguments_need_the_stack_pointer() {
        let code: [&[u8]; 2] = [&[0x48, 0x83, 0xec, 8], &[0xe8, 0, 1, 0, 0]]; // sub rsp, 8; call
        assert_eq!(entry(&code), 4);
        assert_eq!(placed(&code, true, NONE).0, 0);
        assert_eq!(placed(&code, false, NONE.and_argument(6)).0, 0);
        assert_eq!(placed(&code, false, NONE.and_stack()).0, 0);
    }

    #[test]
    fn walk_ends_before_memory_changes_that_an_argument_may_point_to() {
        let code: [&[u8]; 2] = [&[0xc6, 0x07, 0], &[0x55, 0xc3]]; // mov byte [rdi], 0
        assert_eq!((entry(&code), placed(&code, false, NONE.and_argument(0)).0), (3, 0));
        let spill: [&[u8]; 2] = [&[0x48, 0x89, 0x7c, 0x24, 0xf8], &[0x55, 0xc3]]; // mov [rsp-8], rdi
        assert_eq!(placed(&spill, false, NONE.and_argument(0)).0, 5);
    }

    #[test]
    fn user_stacks_lose_no_caller() {
        let callers = NONE.and_callers();
        assert_eq!(placed(&[&ENDBR, &[0x55, 0xc3]], false, callers).0, 4);
        assert_eq!(placed(&[&ENDBR, &[0x53, 0xc3]], false, callers).0, 0);
        assert_eq!(placed(&[&[0x31, 0xc0], &[0x53, 0xc3]], false, callers).0, 2); // the caller is missing here anyway
        assert_eq!(placed(&[&[0x31, 0xed], &[0x53, 0xc3]], false, callers).0, 0); // xor ebp, ebp
    }

    #[test]
    fn control_flow_ends_the_walk() {
        // ret, indirect jump, indirect call, syscall, ud2, int3, jrcxz
        for end in [&[0xc3][..], &[0xff, 0xe0], &[0xff, 0xd0], &[0x0f, 0x05], &[0x0f, 0x0b], &[0xcc], &[0xe3, 0x70]] {
            assert_eq!(placed(&[&ENDBR, end, &[0x55, 0xc3]], false, NONE).0, 0, "{end:x?}");
        }
    }

    #[test]
    fn loop_back_to_the_start_ends_the_walk() {
        // xor eax, eax; L: inc eax; cmp eax, edi; jne L: at the jne a call would count once per turn
        let code: [&[u8]; 4] = [&[0x31, 0xc0], &[0xff, 0xc0], &[0x39, 0xf8], &[0x75, 0xfa, 0xc3]];
        assert_eq!(
            placed(&code, false, NONE),
            (0, false, "at the start, single-stepped: a jump leads to +2".to_owned())
        );
        // The same from far behind: 200 bytes on, a jmp to the cmp; and none, for comparison.
        let once: &[u8] = &[0x31, 0xc0, 0xff, 0xc0, 0x39, 0xf8, 0x75, 0x10, 0xc3];
        let back = (4i32 - (9 + 200 + 5)).to_le_bytes();
        assert_eq!((entry(&[once]), entry(&[once, &[0x90; 200], &[0xe9], &back])), (6, 0));
    }

    #[test]
    fn switches_allow_prologues_only() {
        let switch: &[u8] = &[0x77, 0x40, 0xff, 0xe0]; // ja; jmp rax
        assert_eq!(entry(&[&[0x89, 0xf0], &[0x83, 0xff, 5], switch]), 0);
        assert_eq!(entry(&[&[0x89, 0xf0], &[0x53], switch]), 2);
        assert_eq!(entry(&[&[0x89, 0xf0], &[0x83, 0xff, 5], &[0x77, 0x40, 0xff, 0x25, 0, 0, 0, 0]]), 5); // tail call
    }

    #[test]
    fn walk_is_bounded() {
        let moves = |count: usize| [0x89, 0xf0].repeat(count);
        assert_eq!((entry(&[&moves(15), &[0x55]]), entry(&[&moves(16), &[0x55]])), (30, 0));
        let long = |count: usize| [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0].repeat(count);
        assert_eq!((entry(&[&long(6), &[0x55]]), entry(&[&long(7), &[0x55]])), (60, 0));
        assert_eq!((entry(&[&ENDBR]), entry(&[]), entry(&[&ENDBR, &[0x0f, 0x84, 0, 0]])), (0, 0, 0));
    }
}
