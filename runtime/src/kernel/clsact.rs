//! tc programs where the kernel has no links for them (before Linux 6.6): a filter of the clsact qdisc.
//!
//! Such a filter stays when its process dies. So what is attached is a stub that hands each packet to the program in the
//! only entry of a map: the kernel empties that map when the last process that has it open ends, however it ends, and the
//! stub then passes everything on. Exchanging the program is one write to the map. What stays after SIGKILL is the stub;
//! it does nothing, and `tc qdisc del dev IF clsact` removes it. Source: net/sched/cls_bpf.c,
//! kernel/bpf/arraymap.c (bpf_fd_array_map_clear()).

use super::load::{self, ProgramKind};
use super::map::{self, Map, Shape};
use super::netlink::{self, Netlink, Request, attribute};
use super::sys;
use crate::slot::assembler::Insn;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// TC_H_CLSACT, and the two places below it that filters hang on.
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// `info` of a filter: its priority in the upper half (0: before all that are there), ETH_P_ALL in network order below.
const ALL_PROTOCOLS: u32 = (libc::ETH_P_ALL as u16).to_be() as u32;
/// Bytes of `struct tcmsg`, and where its handle and info stand.
const FIXED: usize = 20;
const HANDLE_AT: usize = 8;
const PARENT_AT: usize = 12;
const INFO_AT: usize = 16;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
/// The program's result is the verdict.
const DIRECT_ACTION: u32 = 1;

/// A stub on one interface, and the map that says what it runs. Drop it, and the filter is gone, and the qdisc too if it
/// was made for it and nobody else has come to use it.
#[derive(Debug)]
pub struct Stub {
    netlink: Netlink,
    programs: Map,
    index: u32,
    parent: u32,
    handle: u32,
    info: u32,
    stays: bool,
    /// Held for its drop.
    _qdisc: Arc<Qdisc>,
}

impl Stub {
    /// Puts `program` before all filters of the interface.
    ///
    /// # Errors
    /// The kernel's; `EEXIST`: another qdisc stands where clsact would.
    pub fn attach(program: BorrowedFd<'_>, index: u32, egress: bool) -> io::Result<Stub> {
        let shape = Shape { map_type: map::PROG_ARRAY, key_size: 4, value_size: 4, max_entries: 1 };
        let programs = Map::create("skep_stub", shape)?;
        let netlink = Netlink::open()?;
        let parent = if egress { EGRESS } else { INGRESS };
        let qdisc = Qdisc::of(index)?;
        let mut stub =
            Stub { netlink, programs, index, parent, handle: 0, info: ALL_PROTOCOLS, stays: false, _qdisc: qdisc };
        // Before the filter is there, so that no packet finds the map empty.
        stub.replace(program)?;
        let code = stub_program(&stub.programs)?;
        let options = [
            attribute(TCA_BPF_FD, &code.as_raw_fd().to_ne_bytes()),
            attribute(TCA_BPF_NAME, b"skep\0"),
            attribute(TCA_BPF_FLAGS, &DIRECT_ACTION.to_ne_bytes()),
        ];
        let flags = netlink::CREATE | netlink::EXCLUSIVE | netlink::ECHO;
        let request = Request::new(netlink::NEW_FILTER, flags, &stub.fixed());
        let request = request.attribute(TCA_KIND, b"bpf\0").attribute(TCA_OPTIONS, &options.concat());
        let answers = stub.netlink.ask(request)?;
        let made = answers.iter().find(|answer| answer.kind == netlink::NEW_FILTER);
        let made = made.ok_or_else(|| io::Error::other("the kernel does not say what filter it made"))?;
        (stub.handle, stub.info) = (made.word(HANDLE_AT), made.word(INFO_AT));
        Ok(stub)
    }

    /// Exchanges the program: each packet sees the old or the new one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn replace(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        self.programs.update(&0u32.to_ne_bytes(), &program.as_raw_fd().to_ne_bytes())
    }

    /// What keeps the program alive. Whoever pins it keeps it attached, once [`Stub::stay`] is called.
    pub fn map(&self) -> &Map {
        &self.programs
    }

    /// Leaves the filter where it is when this is dropped.
    pub fn stay(&mut self) {
        self.stays = true;
    }

    fn fixed(&self) -> [u8; FIXED] {
        fixed(self.index, self.handle, self.parent, self.info)
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        if self.stays {
            return;
        }
        // An interface that is gone has taken its filters along. A filter that was never made has no handle, and a
        // request without one would delete all of them.
        if self.handle != 0 {
            let request = Request::new(netlink::DELETE_FILTER, 0, &self.fixed()).attribute(TCA_KIND, b"bpf\0");
            let _gone = self.netlink.ask(request);
        }
    }
}

/// The clsact qdisc of an interface, shared by all that this process has attached there.
#[derive(Debug)]
struct Qdisc {
    netlink: Netlink,
    index: u32,
    made: bool,
}

impl Qdisc {
    fn of(index: u32) -> io::Result<Arc<Qdisc>> {
        /// By network namespace and interface.
        static SHARED: Mutex<BTreeMap<(u64, u32), Weak<Qdisc>>> = Mutex::new(BTreeMap::new());
        let namespace = fs::metadata("/proc/thread-self/ns/net")?.ino();
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(qdisc) = shared.get(&(namespace, index)).and_then(Weak::upgrade) {
            return Ok(qdisc);
        }
        let netlink = Netlink::open()?;
        let made = make_qdisc(&netlink, index)?;
        let qdisc = Arc::new(Qdisc { netlink, index, made });
        shared.insert((namespace, index), Arc::downgrade(&qdisc));
        Ok(qdisc)
    }
}

impl Drop for Qdisc {
    fn drop(&mut self) {
        let unused = |parent| filters(&self.netlink, self.index, parent).is_ok_and(|found| found.is_empty());
        if self.made && unused(INGRESS) && unused(EGRESS) {
            let fixed = fixed(self.index, CLSACT_HANDLE, CLSACT, 0);
            let _gone = self.netlink.ask(Request::new(netlink::DELETE_QDISC, 0, &fixed));
        }
    }
}

/// Priorities of the filters at a place.
fn filters(netlink: &Netlink, index: u32, parent: u32) -> io::Result<Vec<u32>> {
    let answers = netlink.ask(Request::new(netlink::GET_FILTER, netlink::DUMP, &fixed(index, 0, parent, 0)))?;
    let here = |answer: &&netlink::Answer| answer.kind == netlink::NEW_FILTER && answer.word(PARENT_AT) == parent;
    Ok(answers.iter().filter(here).map(|answer| answer.word(INFO_AT) >> 16).collect())
}

/// Makes sure of a clsact qdisc; did it take one?
fn make_qdisc(netlink: &Netlink, index: u32) -> io::Result<bool> {
    let flags = netlink::CREATE | netlink::EXCLUSIVE;
    let request = Request::new(netlink::NEW_QDISC, flags, &fixed(index, CLSACT_HANDLE, CLSACT, 0));
    match netlink.ask(request.attribute(TCA_KIND, b"clsact\0")) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        Err(error) => Err(error),
    }
}

/// `struct tcmsg`
fn fixed(index: u32, handle: u32, parent: u32, info: u32) -> [u8; FIXED] {
    let mut bytes = [0; FIXED];
    for (to, word) in bytes.chunks_exact_mut(4).zip([0, index, handle, parent, info]) {
        to.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// Hands each packet to the map's program, and passes it on where there is none.
fn stub_program(programs: &Map) -> io::Result<OwnedFd> {
    const TAIL_CALL: i32 = 12;
    const TC_ACT_UNSPEC: i32 = -1;
    // A constant that is a map's descriptor (BPF_PSEUDO_MAP_FD) has source 1.
    let [low, high] = Insn::constant64(2, u64::from(programs.number()));
    let code = [
        Insn { src: 1, ..low },
        high,
        Insn { code: 0xb7, dst: 3, src: 0, off: 0, imm: 0 },
        Insn { code: 0x85, dst: 0, src: 0, off: 0, imm: TAIL_CALL },
        Insn { code: 0xb7, dst: 0, src: 0, off: 0, imm: TC_ACT_UNSPEC },
        Insn::exit(),
    ];
    load::load_bare(ProgramKind { prog_type: load::SCHED_CLS, expected_attach_type: 0, attach_btf_id: 0 }, &code)
}

/// Does this kernel have links for tc (Linux 6.6)?
pub fn is_needed() -> bool {
    sys::kernel_release() < (6, 6)
}
