//! Arguments of USDT probes as compilers note them: `-4@%edi 8@-72(%rsp,%rax,8) 4@$5` -> where each lies. Pure text.
//!
//! `SIZE@OPERAND`, the operand in the assembler's own syntax; a size below zero is that of a signed number.

use super::elf::Machine;

/// One argument of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    /// As the file has it.
    pub text: String,
    /// In bytes.
    pub size: u8,
    pub signed: bool,
    /// Where it lies, or why that cannot be read.
    pub operand: Result<Operand, String>,
}

/// Where an argument lies. Registers by their byte in the kernel's `pt_regs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    Constant(i64),
    Register(i16),
    /// At `base + index * scale + displacement`.
    Memory {
        base: Option<i16>,
        index: Option<(i16, u8)>,
        displacement: i32,
    },
    /// A variable of the file, so many bytes from the probe's site. As parsed: from the symbol.
    Variable {
        symbol: String,
        distance: i64,
    },
}

/// All arguments of a note.
pub fn parse(text: &str, machine: Machine) -> Vec<Argument> {
    split(text).map(|one| argument(one, machine)).collect()
}

/// Blanks part arguments; in brackets they do not.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let parts = text.split(move |c: char| {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => depth -= 1,
            _ => {}
        }
        depth <= 0 && c.is_whitespace()
    });
    parts.filter(|part| !part.is_empty())
}

fn argument(text: &str, machine: Machine) -> Argument {
    let unknown = || format!("`{text}` is in no form that is known");
    let (kind, operand) = text.split_once('@').unwrap_or(("", text));
    let digits = kind.trim_start_matches('-').trim_end_matches('f');
    let size = digits.parse().unwrap_or(0);
    let operand = match (size, machine) {
        _ if kind.ends_with('f') => Err(format!("`{text}` is a floating-point number")),
        (1 | 2 | 4 | 8, Machine::X86_64) => x86(operand).unwrap_or_else(|| Err(unknown())),
        (1 | 2 | 4 | 8, Machine::Aarch64) => arm(operand).unwrap_or_else(|| Err(unknown())),
        (1 | 2 | 4 | 8, Machine::Other(_)) => Err("the file is of a processor that is not known".to_owned()),
        (0, _) => Err(unknown()),
        _ => Err(format!("`{text}` has {size} bytes")),
    };
    Argument { text: text.to_owned(), size, signed: kind.starts_with('-'), operand }
}

impl Argument {
    /// Its type as other columns show theirs: `s32`.
    pub fn declared(&self) -> String {
        let kind = match (self.signed, self.text.split('@').next().is_some_and(|kind| kind.ends_with('f'))) {
            (_, true) => 'f',
            (true, _) => 's',
            (false, _) => 'u',
        };
        format!("{kind}{}", u32::from(self.size) * 8)
    }
}

/// A whole number as assemblers write it.
fn number(text: &str) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse::<u64>().ok()?,
    };
    // Constants of 64 bits come with and without a sign.
    Some(if negative { value.wrapping_neg() } else { value } as i64)
}

/// AT&T syntax: `$5`, `%edi`, `-8(%rbp)`, `(%rsp,%rax,8)`, `counter+4(%rip)`. `None`: none of these.
fn x86(text: &str) -> Option<Result<Operand, String>> {
    if let Some(constant) = text.strip_prefix('$') {
        return Some(match number(constant) {
            Some(value) => Ok(Operand::Constant(value)),
            None => Err(format!("`{text}` is an address that the file does not keep")),
        });
    }
    if let Some(name) = text.strip_prefix('%') {
        return Some(x86_register(name).map(Operand::Register).ok_or_else(|| unseen(text)));
    }
    let (displacement, inner) = match text.split_once('(') {
        Some((displacement, rest)) => (displacement, rest.strip_suffix(')')?),
        None => (text, "%rip"),
    };
    if inner == "%rip" {
        return variable(displacement).map(Ok);
    }
    let mut parts = inner.split(',').map(str::trim);
    let mut register = || match parts.next().unwrap_or_default() {
        "" => Ok(None),
        name => name.strip_prefix('%').and_then(x86_register).map(Some).ok_or_else(|| unseen(name)),
    };
    let (base, index) = match (register(), register()) {
        (Ok(base), Ok(index)) => (base, index),
        (Err(reason), _) | (_, Err(reason)) => return Some(Err(reason)),
    };
    let scale = parts.next().map_or(Some(1), |scale| scale.parse().ok())?;
    let displacement = if displacement.is_empty() { 0 } else { i32::try_from(number(displacement)?).ok()? };
    let index = index.map(|index| (index, scale));
    (base.is_some() || index.is_some()).then_some(Ok(Operand::Memory { base, index, displacement }))
}

/// `counter`, `counter+4`, `4+counter`.
fn variable(text: &str) -> Option<Operand> {
    let name = |text: &str| number(text).is_none() && !text.is_empty();
    let (symbol, distance) = match text.rsplit_once(['+', '-']) {
        Some((symbol, digits)) if number(digits).is_some() => (symbol, number(&text[symbol.len()..].replace('+', ""))?),
        Some((digits, symbol)) if number(digits).is_some() => (symbol, number(digits)?),
        _ => (text, 0),
    };
    name(symbol).then(|| Operand::Variable { symbol: symbol.to_owned(), distance })
}

fn unseen(register: &str) -> String {
    format!("it lies in register `{register}`, which probes do not see")
}

/// Source: arch/x86/include/asm/ptrace.h.
fn x86_register(name: &str) -> Option<i16> {
    const WORDS: [(&str, i16); 9] =
        [("ax", 10), ("bx", 5), ("cx", 11), ("dx", 12), ("si", 13), ("di", 14), ("bp", 4), ("sp", 19), ("ip", 16)];
    const NUMBERED: [i16; 8] = [9, 8, 7, 6, 3, 2, 1, 0];
    if let Some(digits) = name.strip_prefix('r').map(|rest| rest.trim_end_matches(['d', 'w', 'b']))
        && let Ok(n) = digits.parse::<usize>()
    {
        return n.checked_sub(8).and_then(|n| NUMBERED.get(n)).map(|word| 8 * word);
    }
    let word = |wanted: &str| WORDS.iter().find(|(name, _)| *name == wanted).map(|(_, word)| 8 * word);
    match name.as_bytes() {
        [b'r' | b'e', _, _] => word(&name[1..]),
        [b'a'..=b'd', b'l'] => word(&format!("{}x", &name[..1])),
        // The second byte of its register.
        [b'a'..=b'd', b'h'] => word(&format!("{}x", &name[..1])).map(|byte| byte + 1),
        [_, _, b'l'] => word(&name[..2]),
        _ => word(name),
    }
}

/// `5`, `x1`, `w1`, `[sp, 60]`, `[x1, x2]`. `None`: none of these.
fn arm(text: &str) -> Option<Result<Operand, String>> {
    let plain = |text: &str| number(text.strip_prefix('#').unwrap_or(text));
    if let Some(inner) = text.strip_prefix('[') {
        let mut parts = inner.strip_suffix(']')?.split(',').map(str::trim);
        let base = Some(arm_register(parts.next()?)?);
        let (mut index, mut displacement) = (None, 0);
        match parts.next() {
            None => {}
            Some(part) => match plain(part) {
                Some(number) => displacement = i32::try_from(number).ok()?,
                None => {
                    let shift: u32 = match parts.next() {
                        None => 0,
                        Some(shift) => plain(shift.strip_prefix("lsl")?.trim())?.try_into().ok()?,
                    };
                    index = Some((arm_register(part)?, 1u8.checked_shl(shift)?));
                }
            },
        }
        return parts.next().is_none().then_some(Ok(Operand::Memory { base, index, displacement }));
    }
    if let Some(value) = plain(text) {
        return Some(Ok(Operand::Constant(value)));
    }
    if matches!(text, "xzr" | "wzr") {
        return Some(Ok(Operand::Constant(0)));
    }
    let floating = text.strip_prefix(['b', 'h', 's', 'd', 'q', 'v']).is_some_and(|rest| number(rest).is_some());
    arm_register(text).map(|register| Ok(Operand::Register(register))).or_else(|| floating.then(|| Err(unseen(text))))
}

/// Source: arch/arm64/include/uapi/asm/ptrace.h.
fn arm_register(name: &str) -> Option<i16> {
    match name {
        "sp" | "wsp" => Some(31 * 8),
        _ => name.strip_prefix(['x', 'w'])?.parse().ok().filter(|n| *n <= 30).map(|n: i16| 8 * n),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn operands(text: &str, machine: Machine) -> Vec<Operand> {
        parse(text, machine).into_iter().map(|one| one.operand.unwrap()).collect()
    }

    #[test]
    fn operands_of_real_notes_are_read() {
        use Operand::{Constant, Memory, Register};
        let memory = |base: i16, index, displacement| Memory { base: Some(8 * base), index, displacement };
        let found = operands("-4@%edi 8@%rcx -8@%rsi 1@%dl -8@-72(%rsp,%rax,8) 8@$5", Machine::X86_64);
        assert_eq!(
            found,
            [
                Register(14 * 8),
                Register(11 * 8),
                Register(13 * 8),
                Register(12 * 8),
                memory(19, Some((80, 8)), -72),
                Constant(5)
            ]
        );
        // libstdc++, glibc.
        let found = operands("8@%r8 8@-80(%rbx) 4@(%r15) -4@$-1 8@8(%rax,%r12) 1@%ah 8@(,%rdx,4)", Machine::X86_64);
        assert_eq!(
            found,
            [
                Register(9 * 8),
                memory(5, None, -80),
                memory(0, None, 0),
                Constant(-1),
                memory(10, Some((3 * 8, 1)), 8),
                Register(81),
                Memory { base: None, index: Some((96, 4)), displacement: 0 },
            ]
        );
    }

    #[test]
    fn sizes_and_signs_become_types() {
        let declared: Vec<String> =
            parse("-4@%edi 8@%rcx -1@%al 2@%ax 8f@%xmm0", Machine::X86_64).iter().map(Argument::declared).collect();
        assert_eq!(declared, ["s32", "u64", "s8", "u16", "f64"]);
    }

    #[test]
    fn every_name_of_a_register_is_its_place() {
        for (names, word) in [
            (["rax", "eax", "ax", "al"], 10),
            (["rsi", "esi", "si", "sil"], 13),
            (["rbp", "ebp", "bp", "bpl"], 4),
            (["r8", "r8d", "r8w", "r8b"], 9),
            (["r15", "r15d", "r15w", "r15b"], 0),
        ] {
            names.iter().for_each(|name| assert_eq!(x86_register(name), Some(8 * word), "{name}"));
        }
        for name in ["xmm0", "r16", "r7", "rzx", "st", "", "äl"] {
            assert_eq!(x86_register(name), None, "{name}");
        }
    }

    #[test]
    fn variables_are_found_beside_their_site() {
        let found = operands("4@counter(%rip) -8@state+16(%rip) 4@8+table(%rip) 4@here-4(%rip)", Machine::X86_64);
        let variable = |symbol: &str, distance| Operand::Variable { symbol: symbol.into(), distance };
        assert_eq!(found, [variable("counter", 0), variable("state", 16), variable("table", 8), variable("here", -4)]);
    }

    #[test]
    fn arguments_of_arm_are_read() {
        let found =
            operands("-4@[sp, 60] 8@x1 4@w3 8@[x0] -4@5 8@[x1, x2] 8@[x1, x2, lsl 3] 8@#7 8@xzr", Machine::Aarch64);
        let memory = |base: i16, index, displacement| Operand::Memory { base: Some(8 * base), index, displacement };
        assert_eq!(
            found,
            [
                memory(31, None, 60),
                Operand::Register(8),
                Operand::Register(24),
                memory(0, None, 0),
                Operand::Constant(5),
                memory(1, Some((16, 1)), 0),
                memory(1, Some((16, 8)), 0),
                Operand::Constant(7),
                Operand::Constant(0),
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let why = |text: &str, machine| parse(text, machine)[0].operand.clone().unwrap_err();
        assert_eq!(why("8f@%xmm0", Machine::X86_64), "`8f@%xmm0` is a floating-point number");
        assert_eq!(why("8@%xmm1", Machine::X86_64), "it lies in register `%xmm1`, which probes do not see");
        assert_eq!(why("8@$.LC0", Machine::X86_64), "`$.LC0` is an address that the file does not keep");
        assert_eq!(why("16@%rax", Machine::X86_64), "`16@%rax` has 16 bytes");
        assert_eq!(why("8@d0", Machine::Aarch64), "it lies in register `d0`, which probes do not see");
        for text in ["%rax", "8@", "8@()", "8@(%rax", "8@4(%rax,%rbx,x)", "8@12", "@", "-@%rax", "x@%rax", "8@)("] {
            assert!(why(text, Machine::X86_64).ends_with("is in no form that is known"), "{text}");
        }
        for text in ["8@[", "8@[x0", "8@[x0, y]", "8@[x0, x1, lsl 99]", "8@x31", "8@[x0, 1, 2]"] {
            assert!(why(text, Machine::Aarch64).ends_with("is in no form that is known"), "{text}");
        }
    }
}
