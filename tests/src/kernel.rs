//! What the kernel has loaded: whether anything of a run is left behind.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Ids of the BPF programs that a process holds.
pub fn programs_of(pid: u32) -> BTreeSet<u32> {
    held(pid, "prog_id:").iter().filter_map(|id| id.parse().ok()).collect()
}

/// Kinds of the BPF links that a process holds: `tcx`, `xdp`, `tracing`.
pub fn links_of(pid: u32) -> Vec<String> {
    held(pid, "link_type:")
}

/// What a process's descriptors are said to be.
pub fn held(pid: u32, member: &str) -> Vec<String> {
    let folder = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    let texts = folder.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    let value = |line: &str| line.strip_prefix(member).map(|value| value.trim().to_owned());
    texts.flat_map(|text| text.lines().filter_map(value).collect::<Vec<_>>()).collect()
}

/// Ids of all BPF programs of this kernel.
pub fn programs() -> BTreeSet<u32> {
    const GET_NEXT_ID: i64 = 11;
    all(GET_NEXT_ID)
}

/// Ids of all objects of a kind: `BPF_PROG_GET_NEXT_ID` or one of its like, until there is none.
pub fn all(next: i64) -> BTreeSet<u32> {
    let mut ids = BTreeSet::new();
    // `start_id`, `next_id`, `open_flags` of union bpf_attr.
    let mut attributes = [0u32; 3];
    // SAFETY: the kernel writes `next_id` in a buffer of the size that it is told.
    while unsafe { libc::syscall(libc::SYS_bpf, next, attributes.as_mut_ptr(), size_of_val(&attributes)) } == 0 {
        ids.insert(attributes[1]);
        attributes[0] = attributes[1];
    }
    ids
}

/// Id of the type information that a program was loaded with; 0: none.
pub fn type_information_of(program: u32) -> u32 {
    const GET_FD_BY_ID: i64 = 13;
    const INFO_BY_FD: i64 = 15;
    /// Of struct bpf_prog_info up to `btf_id`, and its last member in words.
    const LENGTH: usize = 132;
    let call = |command: i64, attributes: &mut [u32; 4]| {
        // SAFETY: the kernel reads `attributes`, and for INFO_BY_FD writes where they say.
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(attributes)) }
    };
    let fd = call(GET_FD_BY_ID, &mut [program, 0, 0, 0]);
    assert!(fd >= 0, "there is no program {program}");
    let mut info = [0u32; LENGTH / 4];
    let address = info.as_mut_ptr() as u64;
    let asked = call(INFO_BY_FD, &mut [fd as u32, LENGTH as u32, address as u32, (address >> 32) as u32]);
    // SAFETY: a descriptor of our own.
    unsafe { libc::close(fd as i32) };
    assert_eq!(asked, 0, "program {program} cannot be asked");
    info[LENGTH / 4 - 1]
}

/// Waits until none of these programs is loaded any more; the kernel frees them some time after their last user is gone.
#[track_caller]
pub fn assert_gone(programs_of_a_run: &BTreeSet<u32>) {
    assert!(!programs_of_a_run.is_empty(), "the run had no program");
    let since = Instant::now();
    loop {
        let left: Vec<_> = programs().intersection(programs_of_a_run).copied().collect();
        if left.is_empty() {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(10), "BPF programs {left:?} are still loaded");
        std::thread::sleep(Duration::from_millis(20));
    }
}
