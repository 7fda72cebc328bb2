//! What this process may do, and where it may leave a file.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

/// Numbers of include/uapi/linux/capability.h.
const CAPABILITIES: [(&str, u32); 5] =
    [("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21), ("CAP_SYS_RESOURCE", 24), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];

/// Those of `wanted` that this process lacks. CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON too.
pub fn missing(wanted: &[&'static str]) -> Vec<&'static str> {
    let effective = effective();
    let has = |name: &str| {
        CAPABILITIES.iter().any(|(known, bit)| {
            (*known == name || (*known == "CAP_SYS_ADMIN" && matches!(name, "CAP_BPF" | "CAP_PERFMON")))
                && effective >> bit & 1 != 0
        })
    };
    wanted.iter().copied().filter(|name| !has(name)).collect()
}

/// For tests: are they without these? Says so; where SKEP_PRIVILEGED=1 promises them, that is a failure.
#[cfg(test)]
pub fn skips(wanted: &[&'static str]) -> bool {
    let missing = missing(wanted);
    let promised = std::env::var_os("SKEP_PRIVILEGED").is_some_and(|value| value == "1");
    assert!(missing.is_empty() || !promised, "SKEP_PRIVILEGED=1, but {} is missing", missing.join(", "));
    if !missing.is_empty() {
        println!("skipped: needs {}", missing.join(", "));
    }
    !missing.is_empty()
}

fn effective() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok()).unwrap_or(0)
}

/// Saves details for a bug report or an expert into a new file of the temporary folder that only this user can read.
///
/// # Errors
/// The file cannot be written.
pub fn save_details(name: &str, text: &[u8]) -> io::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("{name}-{}.log", std::process::id()));
    // Not through a link that somebody else put there.
    let flags = libc::O_NOFOLLOW;
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).custom_flags(flags).open(&path)?;
    file.write_all(text)?;
    Ok(path)
}
