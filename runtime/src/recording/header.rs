//! The header: what was recorded, when, and on which machine. JSON, so that later versions may add to it.

use super::file::crc;
use crate::kernel::clock;
use crate::library::Script;
use serde_json::{Value as Json, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// The kind of its frame, the first of a file.
pub const HEADER: u8 = 0;

#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    pub script: Script,
    /// Parameters of the script, as they were given.
    pub words: Vec<String>,
    /// There was a command of `-c`.
    pub command: bool,
    /// Nanoseconds since 1970 when the recording began.
    pub began: u64,
    pub machine: Machine,
    /// Names of the fields of templates that are not in every skep.
    pub fields: Vec<String>,
    /// How many recordings were merged into this one; 1 as a rule.
    pub merged: u64,
}

/// What is known of the machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machine {
    /// Release and version, as uname(1) prints them.
    pub kernel: String,
    pub version: String,
    pub arch: String,
    pub cpus: u64,
    /// Checksum (crc32) of /sys/kernel/btf/vmlinux, in hexadecimal; empty where there is none.
    pub btf: String,
    pub clocksource: String,
    /// Does something keep the time of day right?
    pub synchronised: bool,
    /// What is added to an event's time to have nanoseconds since 1970, and how far off that may be.
    pub offset: u64,
    pub error: u64,
    pub skep: String,
}

impl Machine {
    /// This one.
    pub fn here() -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let btf = std::fs::read("/sys/kernel/btf/vmlinux").map(|btf| format!("{:08x}", crc(&btf)));
        let offset = clock::Offset::sample();
        Machine {
            kernel: read("/proc/sys/kernel/osrelease"),
            version: read("/proc/sys/kernel/version"),
            arch: std::env::consts::ARCH.to_owned(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from) as u64,
            btf: btf.unwrap_or_default(),
            clocksource: read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            synchronised: clock::is_synchronised(),
            offset: offset.day(0),
            error: u64::try_from(offset.error.as_nanos()).unwrap_or(u64::MAX),
            skep: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

impl Header {
    /// Of a recording that begins now.
    pub fn new(script: &Script, words: &[String], command: bool, fields: Vec<String>) -> Header {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Header {
            script: script.clone(),
            words: words.to_vec(),
            command,
            began: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
            machine: Machine::here(),
            fields,
            merged: 1,
        }
    }

    pub fn json(&self) -> Json {
        let Machine { kernel, version, arch, cpus, btf, clocksource, synchronised, offset, error, skep } =
            &self.machine;
        json!({
            "skep": skep, "kernel": kernel, "version": version, "arch": arch, "cpus": cpus, "btf": btf,
            "clock": { "source": clocksource, "synchronised": synchronised, "offset": offset, "error": error },
            "began": self.began, "merged": self.merged, "little_endian": cfg!(target_endian = "little"),
            "script": { "name": self.script.name, "text": self.script.text }, "words": self.words,
            "command": self.command, "fields": self.fields,
        })
    }

    /// `None`: it is none of ours.
    pub fn read(bytes: &[u8]) -> Option<Header> {
        let json: Json = serde_json::from_slice(bytes).ok()?;
        let text = |of: &Json, name: &str| of.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        let number = |of: &Json, name: &str| of.get(name).and_then(Json::as_u64).unwrap_or_default();
        let flag = |of: &Json, name: &str| of.get(name).and_then(Json::as_bool).unwrap_or_default();
        let list = |name: &str| -> Vec<String> {
            let all = json.get(name).and_then(Json::as_array).into_iter().flatten();
            all.filter_map(|one| one.as_str().map(str::to_owned)).collect()
        };
        // Records and keys are as the machine has them.
        if flag(&json, "little_endian") != cfg!(target_endian = "little") {
            return None;
        }
        let (script, clock) = (json.get("script")?, json.get("clock")?);
        Some(Header {
            script: Script { name: text(script, "name"), text: text(script, "text").into() },
            words: list("words"),
            command: flag(&json, "command"),
            began: number(&json, "began"),
            machine: Machine {
                kernel: text(&json, "kernel"),
                version: text(&json, "version"),
                arch: text(&json, "arch"),
                cpus: number(&json, "cpus"),
                btf: text(&json, "btf"),
                clocksource: text(clock, "source"),
                synchronised: flag(clock, "synchronised"),
                offset: number(clock, "offset"),
                error: number(clock, "error"),
                skep: text(&json, "skep"),
            },
            fields: list("fields"),
            merged: number(&json, "merged").max(1),
        })
    }
}
