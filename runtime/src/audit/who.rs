//! Who: the user, the one that logged in, the terminal and its other end, and the machine, as far as /proc tells.

use crate::policy::guard;
use serde_json::{Map, Value as Json, json};
use std::fs;

/// What the kernel says of a login that was none.
const NO_LOGIN: u32 = u32::MAX;

/// The process that runs this, and whose it is.
pub fn who() -> Map<String, Json> {
    let me = Process::of(std::process::id());
    let parent = me.as_ref().and_then(|me| Process::of(me.parent));
    // SAFETY: asks for a number; cannot fail.
    let uid = unsafe { libc::getuid() };
    let login = read("/proc/self/loginuid").parse().ok().filter(|login| *login != NO_LOGIN);
    let who = json!({
        "uid": uid,
        "user": name(uid),
        "login_uid": login,
        "login": login.and_then(name),
        "tty": me.as_ref().and_then(|me| terminal(me.terminal)),
        "peers": guard::session(),
    });
    let process = json!({
        "pid": std::process::id(),
        "started": me.map(|me| me.started),
        "parent": parent.map(|parent| json!({ "pid": parent.pid, "comm": parent.comm })),
    });
    let host = json!({
        "name": read("/proc/sys/kernel/hostname"),
        "kernel": read("/proc/sys/kernel/osrelease"),
        "boot": read("/proc/sys/kernel/random/boot_id"),
    });
    Map::from_iter([("who".to_owned(), who), ("process".to_owned(), process), ("host".to_owned(), host)])
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The name of a user, as /etc/passwd has it.
fn name(uid: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut words = line.split(':');
        let (name, id) = (words.next()?, words.nth(1)?);
        (id.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// What /proc/PID/stat says. Source: proc_pid_stat(5).
pub struct Process {
    pub pid: u32,
    pub comm: String,
    pub parent: u32,
    terminal: u32,
    /// In ticks since the machine was started: with the number, this names a process of this boot.
    pub started: u64,
}

impl Process {
    pub fn of(pid: u32) -> Option<Process> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat);
        // A name may hold anything, a bracket too.
        let (front, behind) = stat.rsplit_once(')')?;
        let words: Vec<&str> = behind.split_whitespace().collect();
        Some(Process {
            pid,
            comm: front.split_once('(')?.1.to_owned(),
            parent: words.get(1)?.parse().ok()?,
            terminal: words.get(4)?.parse().unwrap_or(0),
            started: words.get(19)?.parse().ok()?,
        })
    }
}

/// A device number as the terminal's name. Source: Documentation/admin-guide/devices.txt.
fn terminal(device: u32) -> Option<String> {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    match (major, minor) {
        (0, 0) => None,
        (4, 0..64) => Some(format!("tty{minor}")),
        (4, _) => Some(format!("ttyS{}", minor - 64)),
        (136..=143, _) => Some(format!("pts/{}", (major - 136) * 256 + minor)),
        _ => Some(format!("{major}:{minor}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_have_the_names_of_their_files() {
        let found = [0, 0x0401, 0x0440, 0x8803, 0x8903].map(terminal);
        let names = ["tty1", "ttyS0", "pts/3", "pts/259"].map(|name| Some(name.to_owned()));
        assert_eq!(found, [None, names[0].clone(), names[1].clone(), names[2].clone(), names[3].clone()]);
    }

    #[test]
    fn own_process_is_told_by_its_number_and_its_start() {
        let me = Process::of(std::process::id()).expect("it runs");
        assert_eq!(me.parent, std::os::unix::process::parent_id());
        assert!(me.started > 0);
        assert!(Process::of(u32::MAX).is_none());
    }

    #[test]
    fn user_has_the_name_of_its_number() {
        assert_eq!(name(0).as_deref(), Some("root"));
        assert_eq!(name(NO_LOGIN), None);
    }
}
