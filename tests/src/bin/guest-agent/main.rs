//! The first process of an emulated guest (`cargo xtask vm`): makes a usable machine of it, runs one command, reports its
//! exit status, and switches the machine off.
//!
//! The initramfs holds /job: `arguments` and `environment` (words that end in NUL), `modules/`, and `root` where a disk
//! holds the root folder. The command's outputs go to the virtio ports "out" and "err", reports to the last serial line:
//! `WARN …`, `EXIT status`.

mod mounts;
mod report;

use report::Report;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// As shells say it.
const NO_SUCH_COMMAND: u8 = 127;
const BY_SIGNAL: i32 = 128;

fn main() {
    assert_eq!(std::process::id(), 1, "the agent is the first process of a guest, and of nothing else");
    mounts::kernel_files();
    let mut report = Report::open();
    load_modules(&mut report);
    let (arguments, environment) = (words("/job/arguments"), words("/job/environment"));
    if let Ok(device) = fs::read_to_string("/job/root") {
        report.check("root", mounts::root_from(device.trim()));
    }
    mounts::rest(&mut report);
    report.check("loopback", loopback_up());
    report.check("limits", raise_limits());
    let status = run(&arguments, &environment);
    report.exit(status)
}

/// In the order of their names; the host has put what a module needs before it.
fn load_modules(report: &mut Report) {
    let mut files: Vec<PathBuf> =
        fs::read_dir("/job/modules").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        report.check(&file.display().to_string(), load_module(&file));
    }
}

fn load_module(file: &Path) -> io::Result<()> {
    let file = File::open(file)?;
    // SAFETY: a descriptor of our own, and an empty text of parameters.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn words(file: &str) -> Vec<Vec<u8>> {
    let bytes = fs::read(file).unwrap_or_default();
    let mut words: Vec<Vec<u8>> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    words.pop();
    words
}

fn loopback_up() -> io::Result<()> {
    // SAFETY: an all-zero ifreq is valid; the kernel reads a name and flags from it.
    let result = unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        let result = libc::ioctl(socket, libc::SIOCSIFFLAGS, &request);
        libc::close(socket);
        result
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Linux 5.10 charges BPF maps to the limit of locked memory.
fn raise_limits() -> io::Result<()> {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    let files = libc::rlimit { rlim_cur: 65536, rlim_max: 65536 };
    // SAFETY: reads two limits of ours.
    let results =
        unsafe { [libc::setrlimit(libc::RLIMIT_MEMLOCK, &unlimited), libc::setrlimit(libc::RLIMIT_NOFILE, &files)] };
    if results == [0, 0] { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs the command in a session of its own; nobody's children are ours to wait for.
fn run(arguments: &[Vec<u8>], environment: &[Vec<u8>]) -> u8 {
    let port = |name: &str| report::port(name).unwrap_or_else(|| panic!("no virtio port `{name}`"));
    let (out, mut err) = (port("out"), port("err"));
    let text = |word: &[u8]| OsStr::from_bytes(word).to_owned();
    let mut command = Command::new(arguments.first().map(|word| text(word)).unwrap_or_default());
    command.args(arguments.iter().skip(1).map(|word| text(word))).env_clear();
    for word in environment {
        let at = word.iter().position(|byte| *byte == b'=').unwrap_or(word.len());
        command.env(text(&word[..at]), text(word.get(at + 1..).unwrap_or_default()));
    }
    command.stdin(Stdio::null()).stdout(out).stderr(err.try_clone().map_or_else(|_| Stdio::null(), Stdio::from));
    // SAFETY: setsid touches no memory.
    unsafe { command.pre_exec(|| if libc::setsid() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }) };
    match command.spawn() {
        Ok(child) => wait_for(child.id() as i32),
        Err(error) => {
            let name = command.get_program().to_string_lossy();
            let _written = writeln!(err, "guest-agent: failed to run `{name}`: {error}");
            NO_SUCH_COMMAND
        }
    }
}

fn wait_for(child: i32) -> u8 {
    let mut status = 0;
    // SAFETY: the status goes to our own variable.
    while unsafe { libc::wait(&mut status) } != child {}
    let code = if libc::WIFSIGNALED(status) { BY_SIGNAL + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
    u8::try_from(code).unwrap_or(u8::MAX)
}
