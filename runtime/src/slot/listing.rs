//! Instructions as text, for plans: the verifier's own notation. Pure; no privilege.

use super::assembler::{ALU32, ALU64, BY_REG, CALL, CONSTANT64, EXIT, Helper, Insn, JUMP, JUMP32, TO_BIG_ENDIAN};
use std::fmt;

const HELPER_NAMES: [(Helper, &str); 17] = [
    (Helper::MapLookupElem, "map_lookup_elem"),
    (Helper::SkbLoadBytes, "skb_load_bytes"),
    (Helper::GetStackid, "get_stackid"),
    (Helper::KtimeGetNs, "ktime_get_ns"),
    (Helper::GetSmpProcessorId, "get_smp_processor_id"),
    (Helper::GetCurrentPidTgid, "get_current_pid_tgid"),
    (Helper::GetCurrentUidGid, "get_current_uid_gid"),
    (Helper::GetCurrentComm, "get_current_comm"),
    (Helper::GetCurrentTask, "get_current_task"),
    (Helper::GetCurrentCgroupId, "get_current_cgroup_id"),
    (Helper::ProbeReadUser, "probe_read_user"),
    (Helper::ProbeReadKernel, "probe_read_kernel"),
    (Helper::ProbeReadUserStr, "probe_read_user_str"),
    (Helper::ProbeReadKernelStr, "probe_read_kernel_str"),
    (Helper::GetNsCurrentPidTgid, "get_ns_current_pid_tgid"),
    (Helper::GetCurrentAncestorCgroupId, "get_current_ancestor_cgroup_id"),
    (Helper::GetAttachCookie, "get_attach_cookie"),
];

impl fmt::Display for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Insn { code, dst, src, off, imm } = *self;
        let bits = match code & 0x18 {
            0x10 => 8,
            0x08 => 16,
            0x00 => 32,
            _ => 64,
        };
        let letter = if matches!(code & 0x07, JUMP | ALU64) { 'r' } else { 'w' };
        let operand = if code & BY_REG != 0 { format!("{letter}{src}") } else { imm.to_string() };
        match code & 0x07 {
            _ if code == CALL => match HELPER_NAMES.iter().find(|(helper, _)| *helper as i32 == imm) {
                Some((_, name)) => write!(f, "call {name}"),
                None => write!(f, "call {imm}"),
            },
            _ if code == EXIT => f.write_str("exit"),
            _ if code == JUMP => write!(f, "goto {off:+}"),
            _ if code == TO_BIG_ENDIAN => write!(f, "r{dst} = be{imm} r{dst}"),
            _ if code == CONSTANT64 => write!(f, "r{dst} = {:#x} (low half)", imm as u32),
            1 => write!(f, "r{dst} = *(u{bits} *)(r{src} {off:+})"),
            2 => write!(f, "*(u{bits} *)(r{dst} {off:+}) = {imm}"),
            3 => write!(f, "*(u{bits} *)(r{dst} {off:+}) = r{src}"),
            ALU32 | ALU64 => {
                const OPS: [&str; 13] = ["+=", "-=", "*=", "/=", "|=", "&=", "<<=", ">>=", "", "%=", "^=", "=", "s>>="];
                match OPS.get(usize::from(code >> 4)) {
                    Some(&"") => write!(f, "{letter}{dst} = -{letter}{dst}"),
                    op => write!(f, "{letter}{dst} {} {operand}", op.unwrap_or(&"?=")),
                }
            }
            JUMP | JUMP32 => {
                const TESTS: [&str; 14] = ["", "==", ">", ">=", "&", "!=", "s>", "s>=", "", "", "<", "<=", "s<", "s<="];
                let test = TESTS.get(usize::from(code >> 4)).unwrap_or(&"?");
                write!(f, "if {letter}{dst} {test} {operand} goto {off:+}")
            }
            _ => write!(f, "high half {:#x}", imm as u32),
        }
    }
}

/// One line per instruction, numbered as jumps count them; the halves of a 64-bit constant on one line.
pub fn listing(code: &[Insn]) -> String {
    let mut out = String::new();
    for (at, insn) in code.iter().enumerate() {
        match code.get(at + 1) {
            _ if let Some(map) = insn.map_ref() => out += &format!("{at:4}: r{} = map[{}]\n", insn.dst, map.name()),
            Some(high) if insn.code == CONSTANT64 => {
                let value = u64::from(high.imm as u32) << 32 | u64::from(insn.imm as u32);
                out += &format!("{at:4}: r{} = {value:#x} ll\n", insn.dst);
            }
            _ if at > 0 && code[at - 1].code == CONSTANT64 => {}
            _ => out += &format!("{at:4}: {insn}\n"),
        }
    }
    out
}
