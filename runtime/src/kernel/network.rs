//! Attaching to packets: XDP, tc (links where the kernel has them, else [`clsact`]), and control groups. Needs
//! CAP_NET_ADMIN. Programs of others stay: none is ever replaced.

use super::clsact::{self, Stub};
use super::load::{self, ProgramKind, text};
use super::netlink::{self, Netlink, Request};
use super::sys::{self, Command, LinkUpdate, ObjectInfo, PacketLink, Pin, ProgramQuery, bpf, bpf_fd};
use crate::diagnostic::Diagnostic;
use crate::slot::ir::Packets;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// Where a program meets packets, or the calls that send them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    Xdp,
    TcIngress,
    TcEgress,
    CgroupIngress,
    CgroupEgress,
    Connect4,
    Connect6,
    Sendmsg4,
    Sendmsg6,
}

impl Hook {
    /// Number of `enum bpf_attach_type`.
    pub fn attach_type(self) -> u32 {
        match self {
            Hook::CgroupIngress => 0,
            Hook::CgroupEgress => 1,
            Hook::Connect4 => 10,
            Hook::Connect6 => 11,
            Hook::Sendmsg4 => 14,
            Hook::Sendmsg6 => 15,
            Hook::Xdp => 37,
            Hook::TcIngress => 46,
            Hook::TcEgress => 47,
        }
    }

    /// What a program must be loaded as.
    pub fn program_kind(self) -> ProgramKind {
        let (prog_type, expected_attach_type) = match self {
            Hook::Xdp => (load::XDP, 0),
            // Filters and links take the same program.
            Hook::TcIngress | Hook::TcEgress => (load::SCHED_CLS, 0),
            Hook::CgroupIngress | Hook::CgroupEgress => (load::CGROUP_SKB, self.attach_type()),
            Hook::Connect4 | Hook::Connect6 | Hook::Sendmsg4 | Hook::Sendmsg6 => {
                (load::CGROUP_SOCK_ADDR, self.attach_type())
            }
        };
        ProgramKind { prog_type, expected_attach_type, attach_btf_id: 0 }
    }

    /// How its programs have whole frames; `None` where they have none.
    pub fn packets(self) -> Option<Packets> {
        match self {
            Hook::Xdp => Some(Packets::Frames),
            Hook::TcIngress | Hook::TcEgress => Some(Packets::Buffers),
            _ => None,
        }
    }

    fn is_tc(self) -> bool {
        matches!(self, Hook::TcIngress | Hook::TcEgress)
    }
}

/// Where in the network stack an XDP program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver where it can, else generic.
    #[default]
    Any,
    /// In the driver, before the kernel makes a buffer of the packet.
    Native,
    /// On any interface, after that.
    Generic,
}

/// How a tc program is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TcWay {
    /// A link from Linux 6.6 on, else a filter.
    #[default]
    Any,
    Link,
    Filter,
}

/// An interface of this thread's network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub name: String,
    pub index: u32,
    /// Packets have headers of Ethernet there.
    pub ethernet: bool,
}

impl Interface {
    /// # Errors
    /// A script diagnostic: there is none of that name; with those that there are.
    pub fn named(name: &str) -> Result<Interface, Diagnostic> {
        let all = Interface::all().map_err(|error| {
            Diagnostic::machine(format!("failed to list this machine's interfaces: {}", text(&error)))
        })?;
        if let Some(found) = all.iter().find(|interface| interface.name == name) {
            return Ok(found.clone());
        }
        let names: Vec<&str> = all.iter().map(|interface| interface.name.as_str()).collect();
        Err(Diagnostic::script(format!("no interface `{name}`"))
            .span(name)
            .help(format!("it has {}", names.join(", "))))
    }

    /// All of them, in the order of their index.
    ///
    /// # Errors
    /// The kernel's.
    pub fn all() -> io::Result<Vec<Interface>> {
        const IFLA_IFNAME: u16 = 3;
        let links = Netlink::open()?.ask(Request::new(netlink::GET_LINK, netlink::DUMP, &link_message(0)))?;
        let interface = |link: &netlink::Answer| {
            let name = link.attribute(LINK_MESSAGE, IFLA_IFNAME)?.strip_suffix(b"\0")?;
            let [_, _, kind @ ..] = link.word(0).to_ne_bytes();
            let ethernet = matches!(u16::from_ne_bytes(kind), libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK);
            Some(Interface { name: String::from_utf8_lossy(name).into_owned(), index: link.word(4), ethernet })
        };
        let mut all: Vec<Interface> = links.iter().filter_map(interface).collect();
        all.sort_by_key(|interface| interface.index);
        Ok(all)
    }

    /// The XDP programs that run on it, whoever attached them.
    ///
    /// # Errors
    /// The kernel's; `ENODEV`: it is gone.
    pub fn xdp_programs(&self) -> io::Result<Vec<u32>> {
        const IFLA_XDP: u16 = 43;
        /// One program; or up to one of the driver, one generic, one of the hardware.
        const PROGRAM_IDS: [u16; 4] = [4, 5, 6, 7];
        let links = Netlink::open()?.ask(Request::new(netlink::GET_LINK, 0, &link_message(self.index)))?;
        let xdp = links.first().and_then(|link| link.attribute(LINK_MESSAGE, IFLA_XDP)).unwrap_or_default();
        let id = |kind| netlink::find(xdp, kind)?.try_into().ok().map(u32::from_ne_bytes).filter(|id| *id != 0);
        let mut ids: Vec<u32> = PROGRAM_IDS.into_iter().filter_map(id).collect();
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }
}

/// Bytes of `struct ifinfomsg`.
const LINK_MESSAGE: usize = 16;

fn link_message(index: u32) -> [u8; LINK_MESSAGE] {
    let mut bytes = [0; LINK_MESSAGE];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes
}

/// What a program is attached to.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    Interface(&'a Interface),
    /// A folder of cgroup v2, and what it is called.
    Cgroup(&'a File, &'a str),
}

impl Target<'_> {
    fn name(&self) -> &str {
        match self {
            Target::Interface(interface) => &interface.name,
            Target::Cgroup(_, path) => path,
        }
    }

    fn number(&self) -> u32 {
        match self {
            Target::Interface(interface) => interface.index,
            Target::Cgroup(folder, _) => folder.as_raw_fd() as u32,
        }
    }
}

/// A program at work. Drop it, and it is detached; so does the kernel when this process dies, however it dies.
#[derive(Debug)]
pub struct Attachment(Held);

#[derive(Debug)]
enum Held {
    Link(OwnedFd),
    Filter(Box<Stub>),
}

impl Attachment {
    /// XDP. Others' programs stay: an interface has room for one.
    ///
    /// # Errors
    /// A machine diagnostic: another program is there; no such mode here; the interface is gone.
    pub fn xdp(program: BorrowedFd<'_>, interface: &Interface, mode: XdpMode) -> Result<Attachment, Diagnostic> {
        let flags = match mode {
            XdpMode::Any => 0,
            XdpMode::Generic => 2,
            XdpMode::Native => 4,
        };
        let target = Target::Interface(interface);
        link(program, Hook::Xdp, target, flags).map_err(|error| refused_xdp(interface, mode, &error))
    }

    /// tc, before all other programs of the interface.
    ///
    /// # Errors
    /// A machine diagnostic: the interface is gone, or the kernel's reason.
    pub fn tc(
        program: BorrowedFd<'_>,
        interface: &Interface,
        egress: bool,
        way: TcWay,
    ) -> Result<Attachment, Diagnostic> {
        const BEFORE: u32 = 1 << 3;
        let hook = if egress { Hook::TcEgress } else { Hook::TcIngress };
        let target = Target::Interface(interface);
        let filter = way == TcWay::Filter || way == TcWay::Any && clsact::is_needed();
        let attached = if filter {
            Stub::attach(program, interface.index, egress).map(|stub| Attachment(Held::Filter(Box::new(stub))))
        } else {
            link(program, hook, target, BEFORE)
        };
        attached.map_err(|error| refused(hook, target, &error))
    }

    /// All processes of a control group and of those below it.
    ///
    /// # Errors
    /// A machine diagnostic: another program there lets none beside it.
    pub fn cgroup(program: BorrowedFd<'_>, hook: Hook, folder: &File, path: &str) -> Result<Attachment, Diagnostic> {
        let target = Target::Cgroup(folder, path);
        link(program, hook, target, 0).map_err(|error| refused(hook, target, &error))
    }

    /// Exchanges the program at once: each packet sees the old or the new one, and none sees neither.
    ///
    /// # Errors
    /// The kernel's; `ENOLINK`: the interface or cgroup is gone.
    pub fn replace(&self, program: BorrowedFd<'_>) -> io::Result<()> {
        match &self.0 {
            Held::Filter(stub) => stub.replace(program),
            Held::Link(link) => {
                let (link_fd, prog_fd) = (link.as_raw_fd() as u32, program.as_raw_fd() as u32);
                let mut attributes = LinkUpdate { link_fd, prog_fd, ..Default::default() };
                bpf(Command::LinkUpdate, &mut attributes).map(|_| ())
            }
        }
    }

    /// Keeps it attached as long as the file at `path` (in a BPF file system) exists, beyond this process.
    ///
    /// # Errors
    /// The kernel's.
    pub fn pin(&mut self, path: &Path) -> io::Result<()> {
        match &mut self.0 {
            Held::Link(link) => pin(link.as_fd(), path),
            Held::Filter(stub) => {
                pin(stub.map().as_fd(), path)?;
                stub.stay();
                Ok(())
            }
        }
    }

    /// The link's descriptor; `None` for a filter.
    pub fn link(&self) -> Option<BorrowedFd<'_>> {
        match &self.0 {
            Held::Link(link) => Some(link.as_fd()),
            Held::Filter(_) => None,
        }
    }
}

fn link(program: BorrowedFd<'_>, hook: Hook, target: Target<'_>, flags: u32) -> io::Result<Attachment> {
    let mut attributes = PacketLink {
        prog_fd: program.as_raw_fd() as u32,
        target: target.number(),
        attach_type: hook.attach_type(),
        flags,
        ..Default::default()
    };
    Ok(Attachment(Held::Link(bpf_fd(Command::LinkCreate, &mut attributes)?)))
}

/// Gives a map, program or link a name in a BPF file system, which keeps it.
///
/// # Errors
/// The kernel's; `EEXIST`.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    let mut attributes = Pin { path: path.as_ptr() as u64, fd: object.as_raw_fd() as u32, flags: 0 };
    bpf(Command::Pin, &mut attributes).map(|_| ())
}

/// What [`pin`] has named.
///
/// # Errors
/// The kernel's.
pub fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    bpf_fd(Command::OpenPinned, &mut Pin { path: path.as_ptr() as u64, ..Default::default() })
}

/// Ids of the programs at a hook, in the order in which they run; for a cgroup only its own. Filters of tc are not among
/// them.
///
/// # Errors
/// The kernel's.
pub fn attached_programs(hook: Hook, target: Target<'_>) -> io::Result<Vec<u32>> {
    match target {
        Target::Interface(interface) if hook == Hook::Xdp => return interface.xdp_programs(),
        _ if hook.is_tc() && clsact::is_needed() => return Ok(Vec::new()),
        _ => {}
    }
    let mut ids = vec![0u32; 64];
    let mut attributes = ProgramQuery {
        target: target.number(),
        attach_type: hook.attach_type(),
        prog_ids: sys::address_mut(&mut ids),
        count: ids.len() as u32,
        ..Default::default()
    };
    match bpf(Command::ProgramQuery, &mut attributes) {
        Ok(_) => {}
        // More than a cgroup takes (64) do not come.
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => attributes.count = ids.len() as u32,
        Err(error) => return Err(error),
    }
    ids.truncate(attributes.count as usize);
    Ok(ids)
}

/// A program of anybody's, by its number.
///
/// # Errors
/// The kernel's: it is gone, or CAP_SYS_ADMIN is missing.
pub fn program(id: u32) -> io::Result<OwnedFd> {
    bpf_fd(Command::ProgramById, &mut sys::ById { id, ..Default::default() })
}

/// The name of a loaded program; `None` where it is gone or this process may not ask.
pub fn program_name(id: u32) -> Option<String> {
    /// `struct bpf_prog_info` up to `name`.
    const NAME_AT: usize = 64;
    let fd = program(id).ok()?;
    let mut info = [0u8; NAME_AT + 16];
    let info_len = info.len() as u32;
    let mut asked = ObjectInfo { fd: fd.as_raw_fd() as u32, info_len, info: sys::address_mut(&mut info) };
    bpf(Command::ObjectInfo, &mut asked).ok()?;
    let name = info[NAME_AT..].split(|byte| *byte == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(name).into_owned())
}

/// `17 (xdp_filter)`
fn named(id: u32) -> String {
    program_name(id).filter(|name| !name.is_empty()).map_or(id.to_string(), |name| format!("{id} ({name})"))
}

fn refused_xdp(interface: &Interface, mode: XdpMode, error: &io::Error) -> Diagnostic {
    let name = &interface.name;
    match error.raw_os_error() {
        // The other mode's program is EEXIST.
        Some(libc::EBUSY | libc::EEXIST) => {
            let others: Vec<String> = interface.xdp_programs().unwrap_or_default().into_iter().map(named).collect();
            let which = if others.is_empty() { "another".into() } else { others.join(", ") };
            Diagnostic::machine(format!("`{name}` has an XDP program already: {which}"))
                .span(name)
                .label("skep replaces no program of others")
                .help(format!("tc:{name}, or whose it is: bpftool net show dev {name}"))
        }
        Some(libc::EOPNOTSUPP) if mode == XdpMode::Native => {
            Diagnostic::machine(format!("the driver of `{name}` runs no XDP programs"))
                .span(name)
                .help("mode: \"generic\" works on every interface, later in the stack")
        }
        _ => refused(Hook::Xdp, Target::Interface(interface), error),
    }
}

fn refused(hook: Hook, target: Target<'_>, error: &io::Error) -> Diagnostic {
    let name = target.name();
    let missing = super::privilege::missing(&["CAP_NET_ADMIN"]);
    let message = format!("failed to attach to `{name}`");
    let error = match (error.raw_os_error(), target) {
        (Some(libc::EPERM | libc::EACCES), _) if !missing.is_empty() => {
            Diagnostic::machine(format!("{message}: CAP_NET_ADMIN is missing")).help("run it with sudo")
        }
        (Some(libc::EPERM), Target::Cgroup(..)) => {
            let ids = attached_programs(hook, target).unwrap_or_default();
            let others: Vec<String> = ids.into_iter().map(named).collect();
            let which = if others.is_empty() { String::new() } else { format!(": {}", others.join(", ")) };
            Diagnostic::machine(format!("{message}: a program there or above lets none beside it{which}"))
                .help(format!("bpftool cgroup tree {name}"))
        }
        (Some(libc::ENODEV | libc::EINVAL), Target::Interface(interface))
            if Interface::named(name).ok().as_ref() != Some(interface) =>
        {
            Diagnostic::machine(format!("{message}: the interface is gone"))
        }
        (Some(libc::EEXIST), Target::Interface(_)) => {
            Diagnostic::machine(format!("{message}: another qdisc stands where clsact would"))
                .help(format!("tc qdisc show dev {name}"))
        }
        _ => Diagnostic::machine(format!("{message}: {}", text(error))),
    };
    error.span(name)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod capture_tests;
#[cfg(test)]
mod parser_tests;
