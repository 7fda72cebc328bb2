//! Attaching: one call for each mechanism, each giving a link that detaches when dropped.

use super::missed;
use super::network::Attachment;
use super::perf::{self, Every};
use super::sys::{
    self, Command, IteratorCreate, KprobeMultiLink, PerfEvent, PerfLink, RawTracepoint, TracingLink, UprobeMultiLink,
    bpf_fd,
};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// What keeps a program attached: drop it, and it is not. The kernel drops it when this process dies, however it dies.
#[derive(Debug)]
pub struct Link {
    /// Held for their drop.
    fds: Vec<OwnedFd>,
    #[expect(dead_code, reason = "held for its drop")]
    packets: Option<Attachment>,
}

impl From<Attachment> for Link {
    fn from(attachment: Attachment) -> Link {
        Link { fds: Vec::new(), packets: Some(attachment) }
    }
}

impl From<Vec<OwnedFd>> for Link {
    fn from(fds: Vec<OwnedFd>) -> Link {
        Link { fds, packets: None }
    }
}

impl Link {
    /// How often its attach points were hit without being heard, as far as the kernel counts it.
    pub fn missed(&self) -> u64 {
        self.fds.iter().map(|fd| missed::by_link(fd.as_fd())).sum()
    }
}

const BPF_PERF_EVENT: u32 = 41;

/// A tracepoint by the id of its format file.
///
/// # Errors
/// The kernel's.
pub fn tracepoint(program: BorrowedFd<'_>, id: u64, cookie: u64) -> io::Result<Link> {
    let mut event = perf::attributes(perf::TRACEPOINT, id, Every::Period(1));
    perf_link(program, sys::perf_event_open(&mut event, -1, 0)?, cookie)
}

/// A tracepoint by its name in the kernel, before its record is made. No cookie: Linux 6.1 has none here.
///
/// # Errors
/// The kernel's; `NotFound`: no such tracepoint.
pub fn raw_tracepoint(program: BorrowedFd<'_>, name: &str, cookie: u64) -> io::Result<Link> {
    let name = CString::new(name)?;
    let mut attributes =
        RawTracepoint { name: name.as_ptr() as u64, prog_fd: program.as_raw_fd() as u32, cookie, ..Default::default() };
    Ok(Link::from(vec![bpf_fd(Command::RawTracepointOpen, &mut attributes)?]))
}

/// A tracing program (`tp_btf`, …): what it attaches to was said when it was loaded.
///
/// # Errors
/// The kernel's.
pub fn tracing(program: BorrowedFd<'_>, attach_type: u32, cookie: u64) -> io::Result<Link> {
    let prog_fd = program.as_raw_fd() as u32;
    let mut attributes = TracingLink { prog_fd, attach_type, cookie, ..Default::default() };
    match bpf_fd(Command::LinkCreate, &mut attributes) {
        // Linux 5.10 attaches tracing programs by the older call only.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) && cookie == 0 => {
            let mut attributes = RawTracepoint { prog_fd, ..Default::default() };
            Ok(Link::from(vec![bpf_fd(Command::RawTracepointOpen, &mut attributes)?]))
        }
        other => Ok(Link::from(vec![other?])),
    }
}

/// An iterator's program: runs once for every object that the kernel has, before this returns.
///
/// # Errors
/// The kernel's.
pub fn iterator(program: BorrowedFd<'_>) -> io::Result<Link> {
    let attach_type = super::load::TRACE_ITER;
    let mut attributes = TracingLink { prog_fd: program.as_raw_fd() as u32, attach_type, ..Default::default() };
    let link = bpf_fd(Command::LinkCreate, &mut attributes)?;
    let mut create = IteratorCreate { link_fd: link.as_raw_fd() as u32, flags: 0 };
    let mut reading = std::fs::File::from(bpf_fd(Command::IteratorCreate, &mut create)?);
    // The program writes nothing here; reading drives it, and ends with the list.
    io::copy(&mut reading, &mut io::sink())?;
    Ok(Link::from(vec![link]))
}

/// Timed samples or a counter's overflows, on each of `cpus`.
///
/// # Errors
/// The kernel's; `NotFound`: this machine has no such counter.
pub fn perf_event(program: BorrowedFd<'_>, event: PerfEvent, cpus: &[u32], cookie: u64) -> io::Result<Link> {
    let mut fds = Vec::with_capacity(cpus.len());
    for cpu in cpus {
        let opened = sys::perf_event_open(&mut event.clone(), -1, *cpu as i32)?;
        fds.append(&mut perf_link(program, opened, cookie)?.fds);
    }
    Ok(Link::from(fds))
}

/// A function of the kernel, or an instruction `offset` bytes into it; without a function, at an address.
///
/// # Errors
/// The kernel's; `NotFound` too where it has no kprobes.
pub fn kprobe(
    program: BorrowedFd<'_>,
    function: Option<&str>,
    offset: u64,
    returns: bool,
    cookie: u64,
) -> io::Result<Link> {
    let function = function.map(CString::new).transpose()?;
    let mut event = PerfEvent {
        kind: source("kprobe", "type")? as u32,
        config: if returns { 1 << source("kprobe", "format/retprobe")? } else { 0 },
        config1: function.as_ref().map_or(0, |function| function.as_ptr() as u64),
        config2: offset,
        ..Default::default()
    };
    perf_link(program, sys::perf_event_open(&mut event, -1, 0)?, cookie)
}

/// Functions of the kernel, all at once; Linux 5.18 with CONFIG_FPROBE. The program must be loaded for it.
///
/// # Errors
/// The kernel's; `ESRCH`: one of them does not exist, and none is attached.
pub fn kprobe_multi(program: BorrowedFd<'_>, functions: &[&str], returns: bool, cookies: &[u64]) -> io::Result<Link> {
    let names = functions.iter().map(|name| CString::new(*name)).collect::<Result<Vec<_>, _>>()?;
    let addresses: Vec<u64> = names.iter().map(|name| name.as_ptr() as u64).collect();
    let mut attributes = KprobeMultiLink {
        prog_fd: program.as_raw_fd() as u32,
        attach_type: super::load::TRACE_KPROBE_MULTI,
        multi_flags: u32::from(returns),
        cnt: addresses.len().min(cookies.len()) as u32,
        syms: sys::address(&addresses),
        cookies: sys::address(cookies),
        ..Default::default()
    };
    Ok(Link::from(vec![bpf_fd(Command::LinkCreate, &mut attributes)?]))
}

/// Has the kernel kprobes, as perf events?
pub fn has_kprobes() -> bool {
    Path::new("/sys/bus/event_source/devices/kprobe").exists()
}

/// A number that a kind of perf events is described by.
fn source(kind: &str, name: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string(format!("/sys/bus/event_source/devices/{kind}/{name}"))?;
    let digits = text.trim().trim_start_matches("config:");
    digits.parse().map_err(|_| io::Error::other(format!("unexpected {name} of the {kind} events: {text:?}")))
}

/// Places in one user binary.
#[derive(Clone, Debug)]
pub struct Uprobe<'a> {
    /// As the kernel finds it from our mount namespace.
    pub path: &'a Path,
    pub returns: bool,
    /// Only this process; `None`: every process that maps the file.
    pub pid: Option<u32>,
}

/// One of them. Offsets in the file.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserPlace {
    pub offset: u64,
    /// A counter that the kernel keeps up in every process while it is attached; 0: none.
    pub semaphore: u64,
    pub cookie: u64,
}

/// One place: one perf event.
///
/// # Errors
/// The kernel's; `NotFound` too where it has no uprobes.
pub fn uprobe(program: BorrowedFd<'_>, at: &Uprobe<'_>, place: UserPlace) -> io::Result<Link> {
    let path = CString::new(at.path.as_os_str().as_encoded_bytes())?;
    let semaphore = u32::try_from(place.semaphore).map_err(|_| io::Error::other("its semaphore lies too far back"))?;
    let direction = if at.returns { 1 << source("uprobe", "format/retprobe")? } else { 0 };
    let mut event = PerfEvent {
        kind: source("uprobe", "type")? as u32,
        // Its upper half is `ref_ctr_offset`.
        config: direction | u64::from(semaphore) << 32,
        config1: path.as_ptr() as u64,
        config2: place.offset,
        ..Default::default()
    };
    let (pid, cpu) = at.pid.map_or((-1, 0), |pid| (pid as i32, -1));
    perf_link(program, sys::perf_event_open(&mut event, pid, cpu)?, place.cookie)
}

/// All places at once; Linux 6.6. The program must be loaded for it.
///
/// # Errors
/// The kernel's.
pub fn uprobe_multi(program: BorrowedFd<'_>, at: &Uprobe<'_>, places: &[UserPlace]) -> io::Result<Link> {
    let path = CString::new(at.path.as_os_str().as_encoded_bytes())?;
    let list = |of: fn(&UserPlace) -> u64| places.iter().map(of).collect::<Vec<u64>>();
    let (offsets, cookies) = (list(|place| place.offset), list(|place| place.cookie));
    let semaphores = list(|place| place.semaphore);
    let mut attributes = UprobeMultiLink {
        prog_fd: program.as_raw_fd() as u32,
        attach_type: super::load::TRACE_UPROBE_MULTI,
        path: path.as_ptr() as u64,
        offsets: sys::address(&offsets),
        ref_ctr_offsets: sys::address(&semaphores),
        cookies: sys::address(&cookies),
        cnt: places.len() as u32,
        multi_flags: u32::from(at.returns),
        pid: at.pid.unwrap_or(0),
        ..Default::default()
    };
    Ok(Link::from(vec![bpf_fd(Command::LinkCreate, &mut attributes)?]))
}

/// Runs the program at each overflow of an open perf event.
fn perf_link(program: BorrowedFd<'_>, event: OwnedFd, cookie: u64) -> io::Result<Link> {
    const SET_BPF: u64 = 0x4004_2408;
    const ENABLE: u64 = 0x2400;
    let mut attributes = PerfLink {
        prog_fd: program.as_raw_fd() as u32,
        target_fd: event.as_raw_fd() as u32,
        attach_type: BPF_PERF_EVENT,
        cookie,
        ..Default::default()
    };
    match bpf_fd(Command::LinkCreate, &mut attributes) {
        Ok(link) => Ok(Link::from(vec![link, event])),
        // Linux before 5.15 has no such link: the event itself is then the attachment.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            sys::ioctl(event.as_fd(), SET_BPF, i64::from(program.as_raw_fd()))?;
            sys::ioctl(event.as_fd(), ENABLE, 0)?;
            Ok(Link::from(vec![event]))
        }
        Err(error) => Err(error),
    }
}
