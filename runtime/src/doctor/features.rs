//! Features of the kernel that no source shows, each used once and the result looked at. Needs CAP_BPF and CAP_PERFMON.

use crate::kernel::core_relo::Relocation;
use crate::kernel::load;
use crate::kernel::map::{self, Map, Shape};
use crate::kernel::sys::{self, BtfLoad, Command, MapBatch, ProgramLoad, TestRun, bpf, bpf_fd};
use crate::slot::assembler::{Alu, Insn, Operand};
use std::io;
use std::os::fd::AsRawFd;

/// Entries of the map that [`batch_reads`] reads.
pub const ENTRIES: u32 = 7;

/// The least that anything needs: a map.
///
/// # Errors
/// The kernel's; EPERM: something forbids bpf(2), whatever the capabilities say.
pub fn map() -> io::Result<Map> {
    Map::create("doctor", Shape { map_type: map::ARRAY, key_size: 4, value_size: 8, max_entries: 1 })
}

/// Reads the kind of map that aggregations have, all entries in one call; says how many came.
///
/// # Errors
/// The kernel's: it has no such call for these maps.
pub fn batch_reads() -> io::Result<u32> {
    let shape = Shape { map_type: map::PERCPU_HASH, key_size: 4, value_size: 8, max_entries: ENTRIES };
    let map = Map::create("doctor", shape)?;
    let cpus = sys::possible_cpus()?;
    let zeros = vec![0u8; 8 * cpus];
    for key in 0..ENTRIES {
        map.update(&key.to_ne_bytes(), &zeros)?;
    }
    // More room than entries: a hash bucket must fit whole.
    let room = 2 * ENTRIES as usize;
    let (mut keys, mut values, mut next) = (vec![0u32; room], vec![0u64; room * cpus], [0u64; 1]);
    let mut attributes = MapBatch {
        out_batch: sys::address_mut(&mut next),
        keys: sys::address_mut(&mut keys),
        values: sys::address_mut(&mut values),
        count: room as u32,
        map_fd: map.number(),
        ..Default::default()
    };
    match bpf(Command::MapLookupBatch, &mut attributes) {
        // ENOENT says that the end was reached; what came before it is there.
        Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
        _ => Ok(attributes.count),
    }
}

/// Has the kernel find the place of `task_struct.pid` by itself, and runs the program to learn it.
///
/// # Errors
/// The kernel's; E2BIG: it takes no relocations.
pub fn core_relocation() -> io::Result<u32> {
    let btf = type_information();
    let mut attributes = BtfLoad { btf: sys::address(&btf), btf_size: btf.len() as u32, ..Default::default() };
    let btf = bpf_fd(Command::BtfLoad, &mut attributes)?;
    let code = [Insn::alu(Alu::Move, 0, Operand::Imm(0)), Insn::exit()];
    let code: Vec<u8> = code.iter().flat_map(|insn| insn.to_bytes()).collect();
    // `insn_off, type_id` of the one function.
    let function = [0u32, FUNCTION];
    let relocation = [Relocation { insn_off: 0, type_id: TASK_STRUCT, access_str_off: ACCESS, kind: FIELD_OFFSET }];
    let license = c"Dual MIT/GPL";
    let mut attributes = ProgramLoad {
        prog_type: load::RAW_TRACEPOINT,
        insn_cnt: 2,
        insns: sys::address(&code),
        license: license.as_ptr() as u64,
        prog_name: sys::object_name("skep_doctor"),
        prog_btf_fd: btf.as_raw_fd() as u32,
        func_info_rec_size: 8,
        func_info: sys::address(&function),
        func_info_cnt: 1,
        core_relo_cnt: 1,
        core_relos: sys::address(&relocation),
        core_relo_rec_size: 16,
        ..Default::default()
    };
    let program = bpf_fd(Command::ProgramLoad, &mut attributes)?;
    let mut run = TestRun { prog_fd: program.as_raw_fd() as u32, ..Default::default() };
    bpf(Command::ProgramTestRun, &mut run)?;
    Ok(run.retval)
}

const STRINGS: &[u8] = b"\0int\0task_struct\0pid\0f\x000:0\0";
/// Place of `0:0` in the strings: the first member.
const ACCESS: u32 = 23;
const TASK_STRUCT: u32 = 2;
const FUNCTION: u32 = 4;
/// BPF_CORE_FIELD_BYTE_OFFSET
const FIELD_OFFSET: u32 = 0;

/// `struct task_struct { int pid; }; static int f(void);` Source: Documentation/bpf/btf.rst.
fn type_information() -> Vec<u8> {
    let kind = |kind: u32, members: u32| kind << 24 | members;
    let types: [u32; 16] = [
        // 1: int, 32 bits, signed
        1,
        kind(1, 0),
        4,
        1 << 24 | 32,
        // 2: struct task_struct { int pid; }
        5,
        kind(4, 1),
        4,
        17,
        1,
        0,
        // 3: int (void)
        0,
        kind(13, 0),
        1,
        // 4: static f, of type 3
        21,
        kind(12, 0),
        3,
    ];
    let length = size_of_val(&types) as u32;
    let header = [0x0001_eb9fu32, 24, 0, length, length, STRINGS.len() as u32];
    let words = header.iter().chain(&types).flat_map(|word| word.to_ne_bytes());
    words.chain(STRINGS.iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_templates::btf::{Btf, Kind};

    #[test]
    fn type_information_names_the_struct_and_the_function() {
        let bytes = type_information();
        let btf = Btf::parse(bytes.into()).unwrap();
        assert_eq!(btf.find(Kind::Struct, "task_struct"), Some(TASK_STRUCT));
        assert_eq!(btf.name(FUNCTION), "f");
        assert_eq!(btf.string(ACCESS), "0:0");
    }
}
