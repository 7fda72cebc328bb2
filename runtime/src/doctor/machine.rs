//! Facts of the machine: files that say what its kernel has and allows. Reads only; no privilege.

use super::report::Fact;
use super::units as unit_files;
use crate::confine::outputs;
use crate::kernel::{cgroup, privilege, sys};
use crate::report::units;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::path::Path;

const CAPABILITIES: [&str; 5] = ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_NET_ADMIN", "CAP_SYS_RESOURCE"];

/// What a script needs at least.
pub const NEEDED: [&str; 2] = ["CAP_BPF", "CAP_PERFMON"];

/// The release, as `uname -r` prints it.
pub fn release() -> String {
    read("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "unknown".into())
}

/// Everything else. Reading is all it does: tracefs is not mounted by asking.
pub fn facts() -> Vec<Fact> {
    let mounts = read("/proc/self/mounts").unwrap_or_default();
    let fact = |name, value: Value, text: String| Fact { name, value, text };
    let said = |name, text: &str| fact(name, text.into(), text.into());
    let missing = privilege::missing(&CAPABILITIES);
    let present: Vec<&str> = CAPABILITIES.iter().copied().filter(|name| !missing.contains(name)).collect();
    let list = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(" ") };
    vec![
        said("architecture", std::env::consts::ARCH),
        cpus(),
        fact(
            "capabilities",
            json!({ "present": present, "missing": missing }),
            if missing.is_empty() {
                list(&present)
            } else {
                format!("{} (missing: {})", list(&present), list(&missing))
            },
        ),
        namespaces(),
        tracefs(&mounts),
        btf_size(),
        place("bpffs", mount_point(&mounts, "bpf")),
        place("cgroup_v2", cgroup::mount_point().ok().map(|path| path.display().to_string())),
        lockdown(),
        fact_of_file("lsm", "/sys/kernel/security/lsm"),
        sysctl("unprivileged_bpf_disabled", "kernel"),
        sysctl("perf_event_paranoid", "kernel"),
        sysctl("bpf_jit_enable", "net/core"),
        sysctl("kptr_restrict", "kernel"),
        memlock(),
        pressure(),
        kprobe(),
        seccomp(),
        said("landlock", &outputs::state()),
        said("without_sudo", &setcap()),
    ]
}

/// The whole file without its line end.
fn read(path: &str) -> io::Result<String> {
    fs::read_to_string(path).map(|text| text.trim_end().to_owned())
}

/// Why a file could not be read, in words.
fn unread(path: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!("unknown: only root may read {path}"),
        io::ErrorKind::NotFound => format!("unknown: no {path}"),
        _ => format!("unknown: {}", crate::kernel::load::text(error)),
    }
}

fn fact_of_file(name: &'static str, path: &str) -> Fact {
    match read(path) {
        Ok(text) => Fact { name, value: text.as_str().into(), text },
        Err(error) => Fact { name, value: Value::Null, text: unread(path, &error) },
    }
}

fn mount_point(mounts: &str, kind: &str) -> Option<String> {
    let words = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    words.into_iter().find(|words| words.get(2) == Some(&kind)).map(|words| words[1].to_owned())
}

fn place(name: &'static str, path: Option<String>) -> Fact {
    let text = path.clone().unwrap_or_else(|| "not mounted".into());
    Fact { name, value: path.into(), text }
}

fn cpus() -> Fact {
    let online = sys::online_cpus().map(|cpus| cpus.len()).ok();
    let possible = sys::possible_cpus().ok();
    let count = |count: Option<usize>| count.map_or("?".to_owned(), |count| count.to_string());
    let text = format!("{} online, {} possible", count(online), count(possible));
    Fact { name: "cpus", value: json!({ "online": online, "possible": possible }), text }
}

/// Inside a container's namespaces processes have other numbers, and root may be no root.
fn namespaces() -> Fact {
    // The first ones have fixed numbers. Source: include/uapi/linux/nsfs.h, enum init_ns_ino.
    let first = |kind: &str, number: u32| {
        let link = fs::read_link(format!("/proc/self/ns/{kind}")).ok()?;
        Some(link.to_str()? == format!("{kind}:[{number}]"))
    };
    let (pid, user) = (first("pid", 0xefff_fffc), first("user", 0xefff_fffd));
    let text = match (pid, user) {
        (_, Some(false)) => "a user namespace of its own: its capabilities do not allow BPF",
        (Some(false), _) => "a pid namespace of its own: `pid` and `tid` are the numbers there, 0 for tasks of others",
        (Some(true), Some(true)) => "the host's (pid, user)",
        _ => "unknown",
    };
    Fact { name: "namespaces", value: json!({ "host_pid": pid, "host_user": user }), text: text.into() }
}

fn tracefs(mounts: &str) -> Fact {
    let path = mount_point(mounts, "tracefs");
    let read = path.as_ref().map(|path| fs::read_dir(Path::new(path).join("events")));
    let readable = matches!(read, Some(Ok(_)));
    let text = match (&path, read) {
        (Some(path), Some(Ok(_))) => format!("{path}, readable"),
        (Some(path), _) => format!("{path}, not readable by this process"),
        (None, _) => "not mounted (skep mounts it where it may)".into(),
    };
    Fact { name: "tracefs", value: json!({ "path": path, "readable": readable }), text }
}

fn btf_size() -> Fact {
    let size = fs::metadata("/sys/kernel/btf/vmlinux").ok().map(|file| file.len());
    let text = size.map_or("none: a kernel with CONFIG_DEBUG_INFO_BTF=y has it".to_owned(), units::bytes);
    Fact { name: "btf", value: size.into(), text }
}

fn lockdown() -> Fact {
    let fact = fact_of_file("lockdown", "/sys/kernel/security/lockdown");
    // `none [integrity] confidentiality`
    let chosen =
        fact.text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(chosen, _)| chosen.to_owned());
    match chosen.as_deref() {
        Some("confidentiality") => {
            let text = "confidentiality: programs may not read the kernel's memory".into();
            Fact { name: "lockdown", value: "confidentiality".into(), text }
        }
        Some(other) => Fact { name: "lockdown", value: other.into(), text: other.into() },
        None => fact,
    }
}

fn sysctl(name: &'static str, folder: &str) -> Fact {
    let fact = fact_of_file(name, &format!("/proc/sys/{folder}/{name}"));
    match (name, fact.text.parse::<i64>()) {
        ("bpf_jit_enable", Ok(0)) => {
            Fact { name, value: 0.into(), text: "0: programs are interpreted, several times slower".into() }
        }
        (_, Ok(number)) => Fact { value: number.into(), ..fact },
        (_, Err(_)) => fact,
    }
}

/// `Max locked memory         8388608              8388608              bytes`
fn memlock() -> Fact {
    let limits = read("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    let soft = line.and_then(|line| line.split_whitespace().next()).unwrap_or("unknown");
    let (value, text) = match soft.parse::<u64>() {
        Ok(bytes) => (bytes.into(), format!("{} (does not bound BPF maps from Linux 5.11 on)", units::bytes(bytes))),
        Err(_) => (soft.into(), soft.to_owned()),
    };
    Fact { name: "memlock", value, text }
}

fn pressure() -> Fact {
    // The file is there but cannot be read where the kernel was started with psi=0.
    let there = read("/proc/pressure/cpu").is_ok();
    let text = if there { "yes" } else { "no (CONFIG_PSI, psi=1)" };
    Fact { name: "psi", value: there.into(), text: text.into() }
}

/// What a script's process refuses itself takes it.
fn seccomp() -> Fact {
    let there = read("/proc/self/status").is_ok_and(|status| status.contains("\nSeccomp_filters:"));
    let text = if there { "yes" } else { "no (CONFIG_SECCOMP_FILTER): scripts are refused no system call" };
    Fact { name: "seccomp", value: there.into(), text: text.into() }
}

fn setcap() -> String {
    let binary = std::env::current_exe().unwrap_or_else(|_| "skep".into());
    format!("{}; or the helper: skep doctor --units", unit_files::setcap(&binary))
}

fn kprobe() -> Fact {
    let there = Path::new("/sys/bus/event_source/devices/kprobe").exists();
    let text = if there { "in this kernel" } else { "not in this kernel (CONFIG_KPROBE_EVENTS)" };
    Fact { name: "kprobe_events", value: there.into(), text: text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_need_no_privilege_and_have_names_of_their_own() {
        let facts = facts();
        let mut names: Vec<&str> = facts.iter().map(|fact| fact.name).collect();
        assert!(names.len() > 12 && facts.iter().all(|fact| !fact.text.is_empty()));
        names.sort();
        names.dedup();
        assert_eq!(names.len(), facts.len());
    }

    #[test]
    fn mount_point_is_found_by_the_kind_of_file_system() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ntracefs /sys/kernel/tracing tracefs rw 0 0";
        assert_eq!(mount_point(mounts, "tracefs").as_deref(), Some("/sys/kernel/tracing"));
        assert_eq!(mount_point(mounts, "bpf"), None);
    }

    #[test]
    fn sysctl_is_a_number() {
        assert!(sysctl("perf_event_paranoid", "kernel").value.is_i64());
        let missing = sysctl("no_such_sysctl", "kernel");
        assert!(missing.value.is_null() && missing.text.starts_with("unknown"), "{missing:?}");
    }
}
