use super::frame::{Cfa, Computed, Row, Rule, by_frame_pointer};
use super::registers::{COUNT, Registers};
use super::sample::{Sample, Stack};
use super::tables::Tables;
use super::walk::{Walked, walk};
use crate::symbols::careful::careful;
use crate::symbols::reason;
use gimli::{Encoding, Format};
use std::rc::Rc;

const TOP: u64 = 0x7fff_0000;

fn registers(ip: u64, frame: u64) -> Registers {
    Registers([0; COUNT]).returned(ip, TOP).with_frame(frame)
}

fn stack(words: &[u64], cut: bool) -> Stack {
    Stack { top: TOP, bytes: words.iter().flat_map(|word| word.to_le_bytes()).collect(), cut }
}

fn computed(code: &[u8]) -> Computed {
    Computed { code: code.into(), encoding: Encoding { address_size: 8, format: Format::Dwarf32, version: 1 } }
}

/// The return address is the last of so many words.
fn row(words: i64) -> Option<Rc<Row>> {
    let (sp, ip) = places();
    Some(Rc::new(Row {
        cfa: Cfa::Register(sp, 8 * words),
        rules: vec![(ip, Rule::Saved(-8))],
        back: ip,
        signal: false,
    }))
}

fn places() -> (usize, usize) {
    let probe = Registers([0; COUNT]).returned(1, 2);
    let place = |value| probe.0.iter().position(|register| *register == value).unwrap();
    (place(2), place(1))
}

fn sample(stack: Stack) -> Sample {
    Sample { pid: 7, registers: registers(0x1000, 0), stack }
}

#[test]
fn walk_ends_at_the_return_address_of_nobody() {
    let stack = stack(&[0, 0x2000, 0, 0, 0x3000, 0], false);
    let walked = walk(&sample(stack), |address| Ok(row(if address == 0x1000 { 2 } else { 3 })));
    // The third call has no place in the copy, and is no root.
    assert_eq!(walked.addresses, [0x1000, 0x2000, 0x3000]);
    assert_eq!(walked.end, Some(reason::STACK_UNREADABLE));
    let whole = self::stack(&[0x2000, 0], false);
    let walked = walk(&sample(whole), |_| Ok(row(1)));
    assert_eq!(walked, Walked { addresses: vec![0x1000, 0x2000], end: None });
}

#[test]
fn walk_says_why_it_ends_too_early() {
    let end = |stack, code: fn(u64) -> Result<Option<Rc<Row>>, &'static str>| walk(&sample(stack), code).end;
    assert_eq!(end(stack(&[0x2000], true), |_| Ok(row(1))), Some(reason::STACK_CUT));
    assert_eq!(end(stack(&[], false), |_| Err(reason::NOT_MAPPED)), Some(reason::NOT_MAPPED));
    // Tables that lead down the stack, or nowhere, or round for ever.
    assert_eq!(end(stack(&[0x2000; 8], false), |_| Ok(row(-1))), Some(reason::TABLES_DAMAGED));
    assert_eq!(end(stack(&[0x2000; 8], false), |_| Ok(row(1 << 59))), Some(reason::STACK_UNREADABLE));
    assert_eq!(end(stack(&[0x2000; 4096], false), |_| Ok(row(1))), Some(reason::TOO_DEEP));
}

#[test]
fn code_without_tables_is_left_by_its_frame_pointer() {
    let stack = stack(&[7, 0, 0x2000], false);
    let caller = by_frame_pointer(&registers(0x1000, TOP + 8), &stack).unwrap().unwrap();
    assert_eq!((caller.ip(), caller.sp(), caller.frame()), (0x2000, TOP + 24, 0));
    assert_eq!(by_frame_pointer(&caller, &stack), Ok(None));
    assert_eq!(by_frame_pointer(&registers(0x1000, 12345), &stack), Err(reason::NO_TABLES));
    assert_eq!(by_frame_pointer(&registers(0x1000, u64::MAX), &stack), Err(reason::NO_TABLES));
    // What it leads to must be code.
    let walked = walk(&Sample { pid: 7, registers: registers(0x1000, TOP + 8), stack }, |address| match address {
        0x1000 => Ok(None),
        _ => Err(reason::NOT_MAPPED),
    });
    assert_eq!(walked, Walked { addresses: vec![0x1000], end: Some(reason::NO_TABLES) });
}

#[test]
fn expressions_read_registers_and_memory_and_end() {
    let (sp, ip) = places();
    let number = (0..32).find(|number| Registers::place(*number) == Some(sp)).unwrap();
    let by = |code: &[u8]| {
        let cfa = Cfa::Computed(computed(code));
        let row = Row { cfa, rules: vec![(ip, Rule::Saved(-8))], back: ip, signal: false };
        row.caller(&registers(0x1000, 0), &stack(&[TOP + 24, 5, 0x2000], false))
    };
    // DW_OP_breg(sp) 0, DW_OP_deref
    let caller = by(&[0x70 + number as u8, 0, 0x06]).unwrap().unwrap();
    assert_eq!((caller.ip(), caller.sp()), (0x2000, TOP + 24));
    // DW_OP_skip to itself; a register, and memory, that are not there; nothing; half an operation.
    let wrong: [&[u8]; 5] = [&[0x2f, 0xfd, 0xff], &[0x90, 99], &[0x30, 0x06], &[], &[0x0e, 1]];
    assert!(wrong.iter().all(|code| by(code) == Err(reason::TABLES_DAMAGED)));
}

#[test]
fn damaged_tables_end_every_walk() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let path = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("/libgcc_s"));
    let Some(whole) = path.and_then(|path| std::fs::read(path).ok()) else {
        return println!("skipped: needs libgcc_s.so");
    };
    let words: Vec<u64> = (0..512).map(|n| 0x1000 + n * 311).collect();
    let mut sample = Sample { pid: 7, registers: registers(0x5000, TOP + 64), stack: stack(&words, false) };
    let mut rows = 0;
    // Repeatable noise; the first round is without it.
    let mut seed = 1u64;
    for round in 0..40 {
        let mut bytes = whole.clone();
        for _ in 0..round * 50 {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] = (seed >> 20) as u8;
        }
        let Some(mut tables) = Tables::read(&*bytes) else { continue };
        for ip in (0x2000..0x18000).step_by(97) {
            sample.registers = registers(ip, TOP + 64);
            // gimli's sums overflow where a debug build checks them: as the resolver, we take that for damage.
            let walked = careful(|| walk(&sample, |address| Ok(tables.row(address))));
            assert!(walked.is_none_or(|walked| walked.addresses.len() <= 1024));
            rows += u32::from(tables.row(ip).is_some());
        }
    }
    assert!(rows > 1000, "{rows}");
}

#[test]
fn sample_is_what_the_template_sends() {
    let mut words = vec![0u64; COUNT + 1];
    let (sp, ip) = places();
    (words[sp], words[ip], words[COUNT]) = (TOP, 0x1000, 16);
    words.extend([5, 6, 7]);
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let sample = Sample::decode(7, &bytes, 16).unwrap();
    assert_eq!(
        (sample.stack.read(TOP + 8, 8), sample.stack.read(TOP + 12, 8), sample.stack.cut),
        (Some(6), None, true)
    );
    assert_eq!(sample.stack.read(TOP - 1, 8), None);
    assert!(Sample::decode(7, &bytes[..8 * COUNT], 16).is_none());
    // A thread without a user's side.
    assert!(Sample::decode(7, &[0; 8 * (COUNT + 1)], 16).is_none());
}
