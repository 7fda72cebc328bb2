//! Names: what numbers are called on this machine: attach points, users, cgroups, disks, signals, system calls.

use crate::aggregate::column::{self, Show};
use crate::kernel::{arch, cgroup};
use crate::recording::Tape;
use crate::symbols::service::{Scope, Symbols};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// Looked up when first asked for.
#[derive(Default)]
pub struct Names {
    probes: RefCell<HashMap<u64, String>>,
    cgroups: RefCell<HashMap<u64, String>>,
    users: OnceCell<HashMap<u64, String>>,
    devices: OnceCell<HashMap<u64, String>>,
    /// `None`: no thread was left for it.
    symbols: OnceCell<Option<Rc<Symbols>>>,
    /// Debug information is read too.
    pub inlines: Cell<bool>,
    watched: Cell<bool>,
    /// What this machine answers is written down, or it is not asked.
    pub tape: OnceCell<Tape>,
}

impl Names {
    pub fn add_probes(&self, probes: &HashMap<u64, String>) {
        self.probes.borrow_mut().extend(probes.iter().map(|(id, name)| (*id, name.clone())));
    }

    /// From now on the code of processes is noted as they start: of all, or of one and its children.
    pub fn watch(&self, pid: Option<u32>) {
        if !self.watched.replace(true)
            && let Some(symbols) = self.symbols()
        {
            // Without the privilege, processes that still run when they are shown have their symbols all the same.
            let _unprivileged = symbols.watch(pid.map_or(Scope::Everybody, Scope::Process));
        }
    }

    /// Names for addresses; `None` where no thread is left for it.
    pub fn symbols(&self) -> Option<&Rc<Symbols>> {
        self.symbols.get_or_init(|| Symbols::start(self.inlines.get()).ok().map(Rc::new)).as_ref()
    }
}

impl column::Names for Names {
    fn name(&self, show: &Show, value: u64) -> Option<String> {
        let here = || self.name_here(show, value);
        self.tape.get().map_or_else(here, |tape| tape.name(show, value, here))
    }

    fn user_symbol(&self, pid: u32, address: u64) -> Option<String> {
        let here = || Some(self.symbols()?.user_name(pid, address));
        self.tape.get().map_or_else(here, |tape| tape.user_symbol(pid, address, here))
    }
}

impl Names {
    fn name_here(&self, show: &Show, value: u64) -> Option<String> {
        match show {
            Show::Probe => self.probes.borrow().get(&value).cloned(),
            Show::Syscall => arch::syscall_name(value).map(str::to_owned),
            Show::Signal => signal(value).map(str::to_owned),
            Show::Errno => errno(value as i64).map(str::to_owned),
            Show::User => self.users.get_or_init(users).get(&value).cloned(),
            Show::Device => self.devices.get_or_init(devices).get(&value).cloned(),
            Show::Cgroup => {
                if let Some(name) = self.cgroups.borrow().get(&value) {
                    return Some(name.clone());
                }
                // One walk finds them all, those that came since the last one too.
                let all = cgroup::names();
                let found = all.get(&value).cloned();
                let mut cgroups = self.cgroups.borrow_mut();
                cgroups.extend(all);
                // One that is gone is not searched for again.
                cgroups.entry(value).or_insert_with(|| format!("cgroup {value}"));
                found
            }
            Show::KernelSymbol => self.symbols()?.kernel_name(value),
            Show::Decimal | Show::Hex | Show::Duration | Show::Enum(_) | Show::Stack(_) => None,
        }
    }
}

fn users() -> HashMap<u64, String> {
    let text = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = |line: &str| {
        let mut parts = line.split(':');
        let name = parts.next()?.to_owned();
        Some((parts.nth(1)?.parse().ok()?, name))
    };
    text.lines().filter_map(user).collect()
}

fn devices() -> HashMap<u64, String> {
    let mut devices = HashMap::new();
    for entry in std::fs::read_dir("/sys/class/block").into_iter().flatten().flatten() {
        let number = std::fs::read_to_string(entry.path().join("dev")).unwrap_or_default();
        if let (Some((major, minor)), Ok(name)) = (number.trim().split_once(':'), entry.file_name().into_string())
            && let (Ok(major), Ok(minor)) = (major.parse::<u64>(), minor.parse::<u64>())
        {
            devices.insert(major << 20 | minor, name);
        }
    }
    devices
}

/// Source: signal(7).
pub fn signal(number: u64) -> Option<&'static str> {
    const SIGNALS: [&str; 32] = [
        "0",
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    SIGNALS.get(usize::try_from(number).ok()?).copied()
}

/// Names of the error numbers that operators meet. Source: errno(3).
pub fn errno(number: i64) -> Option<&'static str> {
    const ERRORS: [&str; 41] = [
        "0",
        "EPERM",
        "ENOENT",
        "ESRCH",
        "EINTR",
        "EIO",
        "ENXIO",
        "E2BIG",
        "ENOEXEC",
        "EBADF",
        "ECHILD",
        "EAGAIN",
        "ENOMEM",
        "EACCES",
        "EFAULT",
        "ENOTBLK",
        "EBUSY",
        "EEXIST",
        "EXDEV",
        "ENODEV",
        "ENOTDIR",
        "EISDIR",
        "EINVAL",
        "ENFILE",
        "EMFILE",
        "ENOTTY",
        "ETXTBSY",
        "EFBIG",
        "ENOSPC",
        "ESPIPE",
        "EROFS",
        "EMLINK",
        "EPIPE",
        "EDOM",
        "ERANGE",
        "EDEADLK",
        "ENAMETOOLONG",
        "ENOLCK",
        "ENOSYS",
        "ENOTEMPTY",
        "ELOOP",
    ];
    const NETWORK: [(i64, &str); 8] = [
        (98, "EADDRINUSE"),
        (99, "EADDRNOTAVAIL"),
        (101, "ENETUNREACH"),
        (103, "ECONNABORTED"),
        (104, "ECONNRESET"),
        (110, "ETIMEDOUT"),
        (111, "ECONNREFUSED"),
        (115, "EINPROGRESS"),
    ];
    let number = number.abs();
    let few = usize::try_from(number).ok().and_then(|number| ERRORS.get(number).copied());
    few.or_else(|| NETWORK.iter().find(|(known, _)| *known == number).map(|(_, name)| *name))
}
