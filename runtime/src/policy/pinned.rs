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

/// A folder for the files of a place: named as its socket is, with a letter for what such a file system does not take, and
/// like none that was there before.
fn name(place: &str, until: u64) -> String {
    let path = control::path(place);
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().replace(['.', ':'], "_"));
    format!("{}-{until}", stem.unwrap_or_default())
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
    let until = sys::monotonic().saturating_add(left.as_nanos() as u64);
    let pins = folder().join(name(&place, until));
    let record_of = json!({
        "place": place, "name": status["name"], "mode": status["mode"], "until": until, "pins": pins, "boot": boot(),
    });
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

/// What a watchdog does: it waits, ends early if somebody else has removed the files, and removes them; the record only if
/// it is not another policy's by now.
const WATCHDOG: &str = r#"
sleep "$1"; left=$2
while [ "$left" -gt 0 ] && [ -d "$3" ]; do sleep 5; left=$((left - 1)); done
rm -rf "$3"; grep -qsF "$3" "$4" && rm -f "$4"
"#;
const SLICE: u64 = 5;

/// A process of its own group: a shell, which needs nothing of ours to be there still.
fn watch(pins: &Path, record: &Path, left: Duration) -> io::Result<()> {
    // A little later than the programs' own deadline, so that nothing is cut short.
    let left = left + Duration::from_millis(50);
    let slices = left.as_secs() / SLICE;
    let first = format!("{:.3}", (left - Duration::from_secs(SLICE * slices)).as_secs_f64());
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", WATCHDOG, "skep-policy-watchdog", &first, &slices.to_string()]).arg(pins).arg(record);
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    shell.spawn().map(|_| ())
}

/// Changes with every start of the machine: what a file says of time is of its own start.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// A policy that is pinned, by what is known of it.
pub struct Pinned {
    path: PathBuf,
    record: Value,
}

fn all() -> Vec<Pinned> {
    let probe = record("x");
    let files = probe.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let paths =
        files.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ending| ending == "pinned"));
    paths
        .filter_map(|path| {
            let record = serde_json::from_str(&fs::read_to_string(&path).ok()?).ok()?;
            Some(Pinned { path, record })
        })
        .collect()
}

/// Removes what should be gone by now.
pub fn clean_up() {
    for pinned in all() {
        let is_over = pinned.record["until"].as_u64().is_none_or(|until| until <= sys::monotonic());
        if is_over || pinned.record["boot"] != boot().as_str() {
            // What stays is found again by the next one.
            let _stays = pinned.remove();
        }
    }
}

/// Those that a word means, as [`control::meant`] has it: a place of this network namespace, an endpoint, or `all`.
pub fn meant(word: &str) -> Vec<Pinned> {
    let own = record(word);
    all().into_iter().filter(|one| word == "all" || one.path == own || one.record["name"] == word).collect()
}

impl Pinned {
    /// # Errors
    /// A machine diagnostic: it cannot be removed.
    pub fn remove(&self) -> Result<(), Diagnostic> {
        let pins = PathBuf::from(self.record["pins"].as_str().unwrap_or_default());
        match fs::remove_dir_all(&pins) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let error = text(&error);
                let message = format!("failed to remove `{}`: {error}", pins.display());
                Err(Diagnostic::machine(message).help("run it with sudo"))
            }
            _ => {
                // Its watchdog may have been faster.
                let _gone = fs::remove_file(&self.path);
                Ok(())
            }
        }
    }

    pub fn place(&self) -> &str {
        self.record["place"].as_str().unwrap_or_default()
    }

    /// As much of a status as there is without the process that has its counters.
    pub fn status(&self) -> Value {
        let Pinned { record, .. } = self;
        let left = record["until"].as_u64().unwrap_or(0).saturating_sub(sys::monotonic()) / 1_000_000;
        let mut status = json!({ "place": record["place"], "mode": record["mode"], "pinned": record["pins"], "ttl_ms": left, "rules": [] });
        if !record["name"].is_null() {
            status["name"] = record["name"].clone();
        }
        status
    }
}
