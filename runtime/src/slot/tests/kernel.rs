//! The same trees through this machine's kernel: loaded as a raw tracepoint program and run by BPF_PROG_TEST_RUN.

use super::oracle::{CONTEXT, World};
use super::random::Random;
use super::{columns_agree, insns_to_bytes};
use crate::slot::assembler::{Alu, Insn, Operand};
use crate::slot::compile::{columns, filter, value};
use crate::slot::ir::Size;
use std::io;

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const RAW_TRACEPOINT: u32 = 17;
/// Where the output lies on the stack: below what a slot may use.
const OUT: i32 = -448;

fn bpf(command: libc::c_long, attr: &mut [u64; 16]) -> Result<libc::c_long, io::Error> {
    // SAFETY: the attributes' pointers are to live buffers of the lengths given beside them.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), size_of_val(attr)) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn may_load() -> bool {
    let mut log = Vec::new();
    let trivial = [Insn::alu(Alu::Move, 0, Operand::Imm(0)), Insn::exit()];
    let may = load(&trivial, &mut log).map(close).is_ok();
    if !may {
        println!("skipped: needs CAP_BPF");
    }
    may
}

fn close(fd: i32) {
    // SAFETY: the descriptor is ours and used nowhere else.
    unsafe { libc::close(fd) };
}

fn load(code: &[Insn], log: &mut Vec<u8>) -> Result<i32, io::Error> {
    let bytes = insns_to_bytes(code);
    let license = b"GPL\0";
    let mut attr = [0; 16];
    attr[0] = u64::from(RAW_TRACEPOINT) | (code.len() as u64) << 32;
    attr[1] = bytes.as_ptr() as u64;
    attr[2] = license.as_ptr() as u64;
    if !log.is_empty() {
        attr[3] = 1 | (log.len() as u64) << 32;
        attr[4] = log.as_mut_ptr() as u64;
    }
    bpf(BPF_PROG_LOAD, &mut attr).map(|fd| fd as i32)
}

/// Loads the slot between a prologue (event = context, output on the stack) and an epilogue, and returns r0's low half.
fn run(slot: &[Insn], epilogue: &[Insn], context: &[u8; CONTEXT]) -> u32 {
    let mut code = vec![
        Insn::alu(Alu::Move, 2, Operand::Reg(1)),
        Insn::alu(Alu::Move, 3, Operand::Reg(10)),
        Insn::alu(Alu::Add, 3, Operand::Imm(OUT)),
    ];
    code.extend_from_slice(&slot[..slot.len() - 1]);
    code.extend_from_slice(epilogue);
    code.push(Insn::exit());
    let fd = load(&code, &mut Vec::new()).unwrap_or_else(|error| {
        let mut log = vec![0; 1 << 20];
        drop(load(&code, &mut log));
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(0);
        panic!("{error}: {}", String::from_utf8_lossy(&log[end.saturating_sub(2000)..end]));
    });
    let mut attr = [0; 16];
    attr[0] = fd as u64;
    attr[5] = (CONTEXT as u64) & 0xffff_ffff;
    attr[6] = context.as_ptr() as u64;
    let result = bpf(BPF_PROG_TEST_RUN, &mut attr);
    close(fd);
    result.unwrap_or_else(|error| panic!("the program does not run: {error}"));
    (attr[0] >> 32) as u32
}

/// The world as the running kernel shows it to this thread; its own memory is all that can be read.
fn real_world(random: &mut Random) -> World {
    let mut world = random.world();
    world.event = world.context;
    world.kernel_is_readable = false;
    let name: Vec<u8> = world.comm.iter().copied().chain([0]).collect();
    // SAFETY: plain queries of this thread; the name ends with a NUL.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, name.as_ptr());
        world.pid_tgid = (libc::getpid() as u64) << 32 | libc::syscall(libc::SYS_gettid) as u64;
        world.uid_gid = u64::from(libc::getgid()) << 32 | u64::from(libc::getuid());
    }
    world
}

fn rounds() -> u64 {
    std::env::var("SLOT_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(60)
}

#[test]
fn kernel_runs_random_tests_as_the_oracle_says() {
    if !may_load() {
        return;
    }
    let mut random = Random::new(31);
    for _ in 0..rounds() {
        let (world, tree) = (real_world(&mut random), random.test(3, true));
        let Ok(code) = filter(&tree) else { continue };
        assert_eq!(run(&code, &[], &world.context), u32::from(world.test(&tree)), "{tree:?}");
    }
}

#[test]
fn kernel_computes_random_values_as_the_oracle_says() {
    if !may_load() {
        return;
    }
    let mut random = Random::new(37);
    for _ in 0..rounds() {
        let (world, tree) = (real_world(&mut random), random.int(4, true));
        let Ok(code) = value(&tree) else { continue };
        let high = [Insn::alu(Alu::ShiftRight, 0, Operand::Imm(32))];
        let halves = [run(&code, &[], &world.context), run(&code, &high, &world.context)];
        let result = u64::from(halves[1]) << 32 | u64::from(halves[0]);
        assert_eq!(result, world.int(&tree), "{tree:?}");
    }
}

#[test]
fn kernel_loads_large_trees_with_every_current_value() {
    if !may_load() {
        return;
    }
    let mut random = Random::new(41);
    for _ in 0..rounds() {
        let (world, tree) = (real_world(&mut random), random.int(9, false));
        // Raw tracepoints have cookies from 6.15 on only.
        if !format!("{tree:?}").contains("Cookie")
            && let Ok(code) = value(&tree)
        {
            run(&code, &[], &world.context);
        }
    }
}

/// The output is unwritten stack: a key of which a byte is not written would be refused before 6.x, and the epilogue
/// reads each word back.
#[test]
fn kernel_fills_keys_as_the_oracle_says() {
    if !may_load() {
        return;
    }
    let mut random = Random::new(43);
    for _ in 0..rounds() / 4 {
        let world = real_world(&mut random);
        let (list, length) = random.columns(true);
        // Bytes behind a narrow integer are the caller's.
        let clear: Vec<Insn> =
            (0..length as i16).step_by(8).map(|at| Insn::store(Size::B8, 3, at, Operand::Imm(0))).collect();
        let narrow = list.iter().any(super::narrow);
        let Ok(slot) = columns(&list, true) else { continue };
        let code: Vec<Insn> = if narrow { clear.into_iter().chain(slot).collect() } else { slot };
        let mut out = Vec::new();
        for at in (0..length).step_by(4) {
            let word = [Insn::load(Size::B4, 0, 10, (OUT + at as i32) as i16)];
            out.extend(run(&code, &word, &world.context).to_le_bytes());
        }
        columns_agree(&world, &list, true, &out, 0);
    }
}
