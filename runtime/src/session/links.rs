//! Links: programs put on the places that they watch.

use crate::diagnostic::Diagnostic;
use crate::kernel::attach::{self, Link, Uprobe, UserPlace};
use crate::kernel::{load, perf, sys};
use crate::points::Mechanism;
use crate::prepare::{Attach, Load, Program};
use crate::session::packets;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// All attachments of a program.
///
/// # Errors
/// A machine diagnostic that names the place.
pub fn attach(program: &Program, fd: &OwnedFd) -> Result<Vec<Link>, Diagnostic> {
    if program.load == Load::UprobeMulti {
        return attach_many(program, fd);
    }
    // One raw tracepoint stands for all system calls of the program.
    if let Some(Attach { mechanism: Mechanism::Syscall { enter, .. }, shown, .. }) = program.attach.first() {
        let name = if *enter { "sys_enter" } else { "sys_exit" };
        let link = match program.load {
            Load::TracepointPrototype(_) => attach::tracing(fd.as_fd(), load::TRACE_RAW_TP, 0),
            _ => attach::raw_tracepoint(fd.as_fd(), name, 0),
        };
        return Ok(vec![link.map_err(|error| failed(shown, &error))?]);
    }
    if let Load::Packets(hook) = program.load {
        return program.attach.iter().map(|one| packets::attach(hook, one, fd)).collect();
    }
    program.attach.iter().map(|one| attach_one(program, one, fd).map_err(|error| failed(&one.shown, &error))).collect()
}

pub fn attach_one(program: &Program, one: &Attach, fd: &OwnedFd) -> io::Result<Link> {
    // A cookie that nobody asks for would only exclude older kernels.
    let cookie = if one.by_cookie { one.cookie } else { 0 };
    match &one.mechanism {
        Mechanism::Tracepoint { id } => attach::tracepoint(fd.as_fd(), *id, cookie),
        Mechanism::RawTracepoint { name } => match program.load {
            Load::TracepointPrototype(_) => attach::tracing(fd.as_fd(), load::TRACE_RAW_TP, cookie),
            _ => attach::raw_tracepoint(fd.as_fd(), name, cookie),
        },
        Mechanism::Uprobe { path, offset, semaphore, returns, pid } => {
            let place = UserPlace { offset: *offset, semaphore: *semaphore, cookie };
            attach::uprobe(fd.as_fd(), &Uprobe { path, returns: *returns, pid: *pid }, place)
        }
        Mechanism::Iterator { .. } => attach::iterator(fd.as_fd()),
        Mechanism::Kprobe { function, offset, returns, .. } => {
            attach::kprobe(fd.as_fd(), function.as_deref(), *offset, *returns, cookie)
        }
        Mechanism::Trampoline { returns, .. } => {
            attach::tracing(fd.as_fd(), if *returns { load::TRACE_FEXIT } else { load::TRACE_FENTRY }, 0)
        }
        Mechanism::Perf { kind, config, every, one_cpu } => {
            let mut cpus = sys::online_cpus()?;
            if *one_cpu {
                cpus.truncate(1);
            }
            attach::perf_event(fd.as_fd(), perf::attributes(*kind, *config, *every), &cpus, cookie)
        }
        Mechanism::Syscall { .. } => Err(io::Error::other("system calls are attached together")),
        Mechanism::Packets { .. } => Err(io::Error::other("programs for packets are loaded as such")),
    }
}

/// One link for all functions of a binary.
fn attach_many(program: &Program, fd: &OwnedFd) -> Result<Vec<Link>, Diagnostic> {
    let mut binaries: Vec<(Uprobe<'_>, Vec<UserPlace>)> = Vec::new();
    for one in &program.attach {
        let Mechanism::Uprobe { path, offset, semaphore, returns, pid } = &one.mechanism else { continue };
        let place = UserPlace { offset: *offset, semaphore: *semaphore, cookie: one.cookie };
        match binaries.iter_mut().find(|(uprobe, _)| uprobe.path == path && uprobe.returns == *returns) {
            Some((_, places)) => places.push(place),
            None => binaries.push((Uprobe { path, returns: *returns, pid: *pid }, vec![place])),
        }
    }
    let link = |(uprobe, places): (Uprobe<'_>, Vec<UserPlace>)| {
        let shown = match program.attach.as_slice() {
            [one] => one.shown.clone(),
            _ => uprobe.path.display().to_string(),
        };
        attach::uprobe_multi(fd.as_fd(), &uprobe, &places).map_err(|error| failed(&shown, &error))
    };
    binaries.into_iter().map(link).collect()
}

pub fn failed(place: &str, error: &io::Error) -> Diagnostic {
    let message = format!("failed to attach to `{place}`");
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::EOPNOTSUPP) if place.starts_with("hardware:") => Diagnostic::machine(format!(
            "{message}: this machine has no such counter (virtual machines often have none)"
        ))
        .help("software:cpu-clock counts time instead"),
        // Source: kernel/events/uprobes.c, __uprobe_register().
        Some(libc::EINVAL) if place.starts_with("usdt:") => {
            Diagnostic::machine(format!("{message}: somebody watches this place without its semaphore"))
                .help("watch it by its usdt name alone, not by its address too")
        }
        Some(libc::EILSEQ) => Diagnostic::script(format!("{message}: no instruction begins there"))
            .help("objdump -d vmlinux shows where they begin"),
        Some(libc::EADDRNOTAVAIL) => {
            Diagnostic::script(format!("{message}: several functions of this kernel are called that"))
                .help("grep its name in /proc/kallsyms, and probe one by its address: kprobe:0x…")
        }
        Some(libc::ENOENT) => Diagnostic::machine(format!("{message}: this kernel has no such place"))
            .help(format!("skep list '{place}'")),
        Some(libc::EPERM | libc::EACCES) => {
            Diagnostic::machine(format!("{message}: the kernel does not allow it")).help("skep doctor")
        }
        Some(libc::EMFILE) => Diagnostic::machine(format!("{message}: no file descriptor is left"))
            .help("ulimit -n 65536, or a narrower glob"),
        _ => Diagnostic::machine(format!("{message}: {}", load::text(error))),
    }
}
