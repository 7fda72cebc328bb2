//! System calls that neither std nor libc wraps: bpf(2) and perf_event_open(2). Source: include/uapi/linux/{bpf,perf_event}.h.

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::LazyLock;
use std::{fs, io};
use tokio::io::unix::AsyncFd;

/// Commands of bpf(2).
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapGetNextKey = 4,
    ProgramLoad = 5,
    Pin = 6,
    OpenPinned = 7,
    ProgramTestRun = 10,
    ProgramById = 13,
    ObjectInfo = 15,
    ProgramQuery = 16,
    RawTracepointOpen = 17,
    BtfLoad = 18,
    BtfGetFdById = 19,
    MapFreeze = 22,
    BtfGetNextId = 23,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    LinkCreate = 28,
    LinkUpdate = 29,
    EnableStats = 32,
    IteratorCreate = 33,
}

/// An attribute block of bpf(2): plain integers, no padding, so that every byte of it is defined.
///
/// # Safety
/// The type is `repr(C)`, has no padding and no pointer but as a `u64`, and is what its command expects.
pub unsafe trait Attributes {}

macro_rules! attributes {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* $(,)? })*) => { $(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $name { $(pub $field: $type),* }
        // SAFETY: repr(C) integers whose sizes sum up to the struct's: checked below.
        unsafe impl Attributes for $name {}
        const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$type>())*);
    )* };
}

attributes! {
    MapCreate { map_type: u32, key_size: u32, value_size: u32, max_entries: u32, map_flags: u32, inner_map_fd: u32,
        numa_node: u32, map_name: [u8; 16] }
    /// Look-up, update, delete, next key (`value` is then where the next key goes).
    MapElement { map_fd: u32, pad: u32, key: u64, value: u64, flags: u64 }
    MapFreeze { map_fd: u32 }
    IteratorCreate { link_fd: u32, flags: u32 }
    EnableStats { kind: u32 }
    MapBatch { in_batch: u64, out_batch: u64, keys: u64, values: u64, count: u32, map_fd: u32, elem_flags: u64, flags: u64 }
    ProgramLoad { prog_type: u32, insn_cnt: u32, insns: u64, license: u64, log_level: u32, log_size: u32, log_buf: u64,
        kern_version: u32, prog_flags: u32, prog_name: [u8; 16], prog_ifindex: u32, expected_attach_type: u32,
        prog_btf_fd: u32, func_info_rec_size: u32, func_info: u64, func_info_cnt: u32, line_info_rec_size: u32,
        line_info: u64, line_info_cnt: u32, attach_btf_id: u32, attach_btf_obj_fd: u32, core_relo_cnt: u32, fd_array: u64,
        core_relos: u64, core_relo_rec_size: u32, pad: u32 }
    /// As [`ProgramLoad`] up to what Linux 5.10 knows: it refuses longer blocks only if their tail is not zero.
    BtfLoad { btf: u64, log_buf: u64, btf_size: u32, log_size: u32, log_level: u32, pad: u32 }
    RawTracepoint { name: u64, prog_fd: u32, pad: u32, cookie: u64 }
    PerfLink { prog_fd: u32, target_fd: u32, attach_type: u32, flags: u32, cookie: u64 }
    TracingLink { prog_fd: u32, target_fd: u32, attach_type: u32, flags: u32, target_btf_id: u32, pad: u32, cookie: u64 }
    KprobeMultiLink { prog_fd: u32, target_fd: u32, attach_type: u32, flags: u32, multi_flags: u32, cnt: u32, syms: u64,
        addrs: u64, cookies: u64 }
    UprobeMultiLink { prog_fd: u32, target_fd: u32, attach_type: u32, flags: u32, path: u64, offsets: u64,
        ref_ctr_offsets: u64, cookies: u64, cnt: u32, multi_flags: u32, pid: u32, pad: u32 }
    /// `relative` is a descriptor or id that a tcx link stands before or behind; 0: at an end.
    PacketLink { prog_fd: u32, target: u32, attach_type: u32, flags: u32, relative: u32, pad: u32, expected_revision: u64 }
    LinkUpdate { link_fd: u32, prog_fd: u32, flags: u32, old_prog_fd: u32 }
    /// The whole of it: for tcx the kernel writes `revision` whatever length it is told.
    ProgramQuery { target: u32, attach_type: u32, query_flags: u32, attach_flags: u32, prog_ids: u64, count: u32, pad: u32,
        prog_attach_flags: u64, link_ids: u64, link_attach_flags: u64, revision: u64 }
    Pin { path: u64, fd: u32, flags: u32 }
    /// `next_id` is where the kernel answers.
    NextId { start_id: u32, next_id: u32, open_flags: u32 }
    ById { id: u32, next_id: u32, open_flags: u32 }
    /// What [`Command::ObjectInfo`] says of type information: `struct bpf_btf_info`.
    BtfInfo { btf: u64, btf_size: u32, id: u32, name: u64, name_len: u32, kernel_btf: u32 }
    ObjectInfo { fd: u32, info_len: u32, info: u64 }
    TestRun { prog_fd: u32, retval: u32, data_size_in: u32, data_size_out: u32, data_in: u64, data_out: u64, repeat: u32,
        duration: u32, ctx_size_in: u32, ctx_size_out: u32, ctx_in: u64, ctx_out: u64, flags: u32, cpu: u32, batch_size: u32,
        pad: u32 }
    /// perf_event_open(2), the part until Linux 4.10 (112 bytes). `flags` is the bit-field; `period` is a frequency if bit 10
    /// of it is set.
    PerfEvent { kind: u32, size: u32, config: u64, period: u64, sample_type: u64, read_format: u64, flags: u64,
        wakeup_events: u32, bp_type: u32, config1: u64, config2: u64, branch_sample_type: u64, sample_regs_user: u64,
        sample_stack_user: u32, clockid: i32, sample_regs_intr: u64, aux_watermark: u32, sample_max_stack: u16, reserved: u16 }
}

/// How often a call is made that a signal keeps from its end: the verifier answers it with EAGAIN, a test run with EINTR.
const ATTEMPTS: u32 = 16;

/// Calls bpf(2); the result is the call's, often a file descriptor.
///
/// # Errors
/// The kernel's.
pub fn bpf<A: Attributes>(command: Command, attributes: &mut A) -> io::Result<i64> {
    let mut left = ATTEMPTS;
    loop {
        // SAFETY: the block is initialised, as long as said, and of the command's type (see `Attributes`); what its
        // addresses point to is kept alive by the caller's borrows.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, command as libc::c_long, std::ptr::from_mut(attributes), size_of::<A>())
        };
        if result >= 0 {
            return Ok(result);
        }
        let error = io::Error::last_os_error();
        let interrupted = match command {
            Command::ProgramLoad => error.raw_os_error() == Some(libc::EAGAIN),
            Command::ProgramTestRun => error.raw_os_error() == Some(libc::EINTR),
            _ => false,
        };
        left -= 1;
        if !interrupted || left == 0 {
            return Err(error);
        }
    }
}

/// [`bpf`] for commands that give a file descriptor.
pub fn bpf_fd<A: Attributes>(command: Command, attributes: &mut A) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: these commands return a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Opens a perf event for a process (-1: all) on a CPU (-1: any).
pub fn perf_event_open(attributes: &mut PerfEvent, pid: i32, cpu: i32) -> io::Result<OwnedFd> {
    const CLOSE_ON_EXEC: libc::c_ulong = 8;
    attributes.size = size_of::<PerfEvent>() as u32;
    // SAFETY: the block is initialised and says its own length.
    let fd = unsafe {
        libc::syscall(libc::SYS_perf_event_open, std::ptr::from_mut(attributes), pid, cpu, -1, CLOSE_ON_EXEC)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// An ioctl whose argument is an integer.
pub fn ioctl(fd: BorrowedFd<'_>, request: u64, argument: i64) -> io::Result<()> {
    // SAFETY: the requests we make (perf events' SET_BPF, ENABLE, DISABLE) take an integer, no address.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A process by a descriptor: pidfd_open(2), which is readable once the process has ended.
///
/// # Errors
/// The kernel's: there is none of this number.
pub fn open_process(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes integers alone.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Tells tokio's runtime to say when it can be read.
///
/// # Errors
/// There is no runtime here, or the kernel cannot watch such a descriptor.
pub fn ready(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned, and so open for as long as it is registered.
    unsafe { AsyncFd::register(fd) }.map_err(io::Error::other)
}

/// Waits until one of them can be read, or is at its end.
pub fn wait_readable(fds: &[BorrowedFd<'_>]) {
    let poll = |fd: &BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut fds: Vec<libc::pollfd> = fds.iter().map(poll).collect();
    // SAFETY: as many as said. An interruption is as good as an event: the caller looks anyway.
    unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, -1) };
}

/// The address of a slice as bpf(2) wants it.
pub fn address<T>(slice: &[T]) -> u64 {
    slice.as_ptr() as u64
}

/// The same for memory that the kernel writes to.
pub fn address_mut<T>(slice: &mut [T]) -> u64 {
    slice.as_mut_ptr() as u64
}

/// A file mapped for reading.
pub struct Mapped {
    at: *mut libc::c_void,
    length: usize,
}

impl Mapped {
    /// `None` where the file cannot be mapped.
    pub fn open(file: &std::fs::File, length: usize) -> Option<Mapped> {
        // SAFETY: a private read-only mapping at an address of the kernel's choice.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
        };
        (length > 0 && at != libc::MAP_FAILED).then_some(Mapped { at, length })
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: mapped, as long as said, until the drop; only used for files of sysfs, which do not shrink.
        unsafe { std::slice::from_raw_parts(self.at.cast(), self.length) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and no slice of it outlives it.
        unsafe { libc::munmap(self.at, self.length) };
    }
}

/// Has `count` pages fault, each once. Not with memory of the allocator, which hands out what was written before.
///
/// # Errors
/// The kernel's: no memory.
pub fn fault_pages(count: usize) -> io::Result<()> {
    const PAGE: usize = 4096;
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a mapping of our own at an address of the kernel's choice, written within its length, then given back.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), count * PAGE, access, kind, -1, 0);
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        (0..count).for_each(|page| at.cast::<u8>().add(page * PAGE).write_volatile(1));
        libc::munmap(at, count * PAGE);
    }
    Ok(())
}

/// A name as the kernel takes it for programs and maps: 15 bytes of letters, digits, `_` and `.`.
pub fn object_name(name: &str) -> [u8; 16] {
    let mut short = [0; 16];
    for (to, from) in short.iter_mut().take(15).zip(name.bytes()) {
        *to = if from.is_ascii_alphanumeric() || from == b'_' { from } else { b'_' };
    }
    short
}

/// The kernel's version, `(6, 1)`; `(0, 0)` where it cannot be read.
pub fn kernel_release() -> (u32, u32) {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

/// How many CPUs this kernel may ever have: the number of values in a per-CPU map's entry.
///
/// # Errors
/// /sys/devices/system/cpu/possible cannot be read or understood.
pub fn possible_cpus() -> io::Result<usize> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = cpu_list(&text).and_then(|list| list.last().copied());
    last.map(|last| last as usize + 1).ok_or_else(|| io::Error::other(format!("unexpected list of CPUs {text:?}")))
}

/// How many names an open file or folder has; 0 once it is removed.
pub fn links(file: &std::fs::File) -> u64 {
    file.metadata().map_or(0, |metadata| std::os::unix::fs::MetadataExt::nlink(&metadata))
}

/// Nanoseconds on the clock that programs read, which no setting of the time changes: CLOCK_MONOTONIC, without what a time
/// namespace makes of it.
pub fn monotonic() -> u64 {
    // A process that runs does not change its own.
    static SHIFT: LazyLock<i64> =
        LazyLock::new(|| shift(&fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default()));
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the one structure that it is given; every Linux has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    (now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64).wrapping_sub_signed(*SHIFT)
}

/// CPU time of this process so far, of all its threads, in nanoseconds.
pub fn cpu_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the one structure that it is given; every Linux has this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What a time namespace adds to the clock. Source: time_namespaces(7).
fn shift(offsets: &str) -> i64 {
    let line = offsets.lines().find_map(|line| line.strip_prefix("monotonic"));
    let words: Vec<i64> = line.unwrap_or_default().split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match words[..] {
        [seconds, nanos] => seconds.saturating_mul(1_000_000_000).saturating_add(nanos),
        _ => 0,
    }
}

/// Runs an XDP or tc program on a packet `repeat` times. Says what it returned, and what one run took in nanoseconds.
///
/// # Errors
/// The kernel's.
pub fn test_run(program: BorrowedFd<'_>, packet: &[u8], repeat: u32) -> io::Result<(u32, u32)> {
    let mut run = TestRun {
        prog_fd: program.as_raw_fd() as u32,
        data_in: address(packet),
        data_size_in: packet.len() as u32,
        repeat,
        ..Default::default()
    };
    bpf(Command::ProgramTestRun, &mut run)?;
    Ok((run.retval, run.duration))
}

/// Runs an XDP program on `repeat` frames that are real: what it does not drop goes on as if `lo` of this network namespace
/// had received it. Says what one of them took in nanoseconds, its way through the kernel included. Linux 5.18.
///
/// # Errors
/// The kernel's.
pub fn run_live(program: BorrowedFd<'_>, frame: &[u8], repeat: u32) -> io::Result<u32> {
    const LIVE_FRAMES: u32 = 2;
    let mut run = TestRun {
        prog_fd: program.as_raw_fd() as u32,
        data_in: address(frame),
        data_size_in: frame.len() as u32,
        repeat,
        flags: LIVE_FRAMES,
        ..Default::default()
    };
    bpf(Command::ProgramTestRun, &mut run)?;
    Ok(run.duration)
}

/// Frames that newer kernels, and stable ones since 6.18, refuse to run programs for buffers on: they say IP, and have
/// not all of its header (net/bpf/test_run.c).
#[cfg(test)]
pub fn refused_as_buffer(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => frame.len() < 14 + 20,
        Some([0x86, 0xdd]) => frame.len() < 14 + 40,
        _ => false,
    }
}

/// The CPUs that are running now.
///
/// # Errors
/// As [`possible_cpus`].
pub fn online_cpus() -> io::Result<Vec<u32>> {
    let text = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    cpu_list(&text).ok_or_else(|| io::Error::other(format!("unexpected list of CPUs {text:?}")))
}

/// `0-2,5` -> 0, 1, 2, 5.
fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(from.parse::<u32>().ok()?..=to.parse::<u32>().ok()?);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_list_reads_ranges_and_single_numbers() {
        assert_eq!(cpu_list("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(cpu_list("all"), None);
    }

    #[test]
    fn object_name_keeps_what_the_kernel_accepts() {
        assert_eq!(&object_name("sys-enter/very_long_name"), b"sys_enter_very_\0");
    }
}
