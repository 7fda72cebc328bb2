//! Policies that outlive their process, for a time: their links are files of a BPF file system. Programs stop to enforce by
//! themselves when the time is over; a process that waits for that removes the files, or else the next skep that runs.

use super::control;
use super::holder::Holder;
use crate::diagnostic::Diagnostic;
use crate::kernel::load::text;
use crate::kernel::sys;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where BPF file systems are mounted, unless this variable says otherwise.
const FOLDER: &str = "/sys/fs/bpf";
const VARIABLE: &str = "SKEP_BPF_FOLDER";

fn folder() -> PathBuf {
    let root = std::env::var_os(VARIABLE).map_or_else(|| FOLDER.into(), PathBuf::from);
    root.join("skep_policy")
}

/// The name of a place's files: the socket's, with a letter for what such a file system does not take.
fn name(place: &str) -> String {
    let path = control::path(place);
    path.file_stem().map(|stem| stem.to_string_lossy().replace(['.', ':'], "_")).unwrap_or_default()
}

/// What is known of a pinned policy; it lies beside the sockets.
fn record(place: &str) -> PathBuf {
    control::path(place).with_extension("pinned")
}

/// Pins a holder's policy, and starts the process that removes it in time.
///
/// # Errors
/// A machine diagnostic: no BPF file system is mounted, or the kernel's reason.
pub fn keep(holder: &mut Holder) -> Result<PathBuf, Diagnostic> {
    let status = holder.status()?;
    let place = status["place"].as_str().unwrap_or_default().to_owned();
    let left = Duration::from_millis(status["ttl_ms"].as_u64().unwrap_or(0));
    let pins = folder().join(name(&place));
    let until = sys::monotonic().saturating_add(left.as_nanos() as u64);
    let record_of = json!({ "place": place, "mode": status["mode"], "until": until, "pins": pins, "boot": boot() });
    let failed = |error: io::Error| {
        // What is pinned already must not stay.
        let _partly = fs::remove_dir_all(&pins);
        let error = text(&error);
        Diagnostic::machine(format!("failed to pin below `{}`: {error}", folder().display()))
            .help(format!("mount -t bpf bpf {FOLDER}"))
    };
    fs::create_dir_all(&pins).map_err(failed)?;
    fs::write(record(&place), record_of.to_string()).map_err(failed)?;
    for (number, enforcer) in holder.enforcers_mut().enumerate() {
        let pins = if number == 0 { pins.clone() } else { pins.join("staged") };
        fs::create_dir_all(&pins).and_then(|()| enforcer.pin(&pins)).map_err(failed)?;
    }
    watch(&pins, &record(&place), left).map_err(failed)?;
    Ok(pins)
}

/// A process of its own session that waits, then removes: a shell, which needs nothing of ours to be there still.
fn watch(pins: &Path, record: &Path, left: Duration) -> io::Result<()> {
    // A little later than the programs' own deadline, so that nothing is cut short.
    let seconds = format!("{:.3}", left.as_secs_f64() + 0.05);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "sleep \"$1\"; rm -rf \"$2\" \"$3\"", "skep-policy-watchdog", &seconds]).arg(pins).arg(record);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    shell.spawn().map(|_| ())
}

/// Changes with every start of the machine: what a file says of time is of its own start.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

fn records() -> Vec<(PathBuf, Value)> {
    let probe = record("x");
    let files = probe.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let paths =
        files.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ending| ending == "pinned"));
    paths
        .filter_map(|path| Some((path.clone(), serde_json::from_str(&fs::read_to_string(&path).ok()?).ok()?)))
        .collect()
}

/// Removes what should be gone by now.
pub fn clean_up() {
    for (path, record) in records() {
        let is_over = record["until"].as_u64().is_none_or(|until| until <= sys::monotonic());
        if is_over || record["boot"] != boot().as_str() {
            unpin(&path, &record);
        }
    }
}

fn unpin(path: &Path, record: &Value) {
    // Both may be gone already; what stays is found again by the next one.
    if let Some(pins) = record["pins"].as_str() {
        let _gone = fs::remove_dir_all(pins);
    }
    let _gone = fs::remove_file(path);
}

/// Removes the policy that is pinned at a place. Says whether there was one.
///
/// # Errors
/// A machine diagnostic: it cannot be removed.
pub fn remove(place: &str) -> Result<bool, Diagnostic> {
    let path = record(place);
    let Some((_, found)) = records().into_iter().find(|(one, _)| *one == path) else { return Ok(false) };
    let pins = PathBuf::from(found["pins"].as_str().unwrap_or_default());
    match fs::remove_dir_all(&pins) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let error = text(&error);
            Err(Diagnostic::machine(format!("failed to remove `{}`: {error}", pins.display())).help("run it with sudo"))
        }
        _ => {
            unpin(&path, &found);
            Ok(true)
        }
    }
}

/// What is known of the policy that is pinned at a place.
pub fn status(place: &str) -> Option<Value> {
    let path = record(place);
    records().into_iter().find(|(one, _)| *one == path).map(|(_, found)| shown(&found))
}

/// The same of all.
pub fn all() -> Vec<Value> {
    records().iter().map(|(_, found)| shown(found)).collect()
}

fn shown(record: &Value) -> Value {
    let left = record["until"].as_u64().unwrap_or(0).saturating_sub(sys::monotonic()) / 1_000_000;
    json!({ "place": record["place"], "mode": record["mode"], "pinned": record["pins"], "ttl_ms": left, "rules": [] })
}
