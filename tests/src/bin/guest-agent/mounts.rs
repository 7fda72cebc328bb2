//! File systems: the kernel's, a root from a disk, and what programs take for granted.

use super::report::Report;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;

/// Needed before anything else works.
pub fn kernel_files() {
    for (what, place) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        // There is nobody to tell yet; what is missing shows at once.
        let _mounted = mount(what, place, what, 0, "");
    }
}

/// The ext4 file system of `device`, below what the initramfs has in /layer, below memory: programs may write everywhere.
pub fn root_from(device: &str) -> io::Result<()> {
    mount("tmpfs", "/top", "tmpfs", 0, "")?;
    for folder in ["/top/disk", "/top/upper", "/top/work", "/top/root"] {
        fs::create_dir(folder)?;
    }
    mount(device, "/top/disk", "ext4", libc::MS_RDONLY, "")?;
    let layers = "lowerdir=/layer:/top/disk,upperdir=/top/upper,workdir=/top/work";
    mount("overlay", "/top/root", "overlay", 0, layers)?;
    for folder in ["dev", "proc", "sys"] {
        mount(&format!("/{folder}"), &format!("/top/root/{folder}"), "", libc::MS_MOVE, "")?;
    }
    std::env::set_current_dir("/top/root")?;
    mount(".", "/", "", libc::MS_MOVE, "")?;
    std::os::unix::fs::chroot(".")?;
    std::env::set_current_dir("/")?;
    mount("tmpfs", "/run", "tmpfs", 0, "mode=755")
}

/// Type and place.
const REST: [(&str, &str); 7] = [
    ("devpts", "/dev/pts"),
    ("tmpfs", "/dev/shm"),
    ("bpf", "/sys/fs/bpf"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("debugfs", "/sys/kernel/debug"),
    ("tracefs", "/sys/kernel/tracing"),
    ("securityfs", "/sys/kernel/security"),
];

/// Everything else that a booted machine has.
pub fn rest(report: &mut Report) {
    for (what, place) in REST {
        report.check(place, mount(what, place, what, 0, ""));
    }
    for (name, to) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
        report.check(name, symlink(format!("/proc/self/fd{to}"), format!("/dev/{name}")));
    }
    report.check("/tmp", fs::create_dir_all("/tmp"));
}

fn mount(what: &str, place: &str, kind: &str, flags: libc::c_ulong, options: &str) -> io::Result<()> {
    // One that cannot be made fails the mount.
    let _made = fs::create_dir_all(place);
    let [what, place, kind, options] = [what, place, kind, options].map(CString::new);
    let (what, place, kind, options) = (what?, place?, kind?, options?);
    // SAFETY: four texts that end in NUL and outlive the call.
    let result = unsafe { libc::mount(what.as_ptr(), place.as_ptr(), kind.as_ptr(), flags, options.as_ptr().cast()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
