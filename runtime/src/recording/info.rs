//! What a recording is, for `skep replay --info`: machine, script, chains, and how much of what is in it.

use super::file::Ending;
use super::frame::{Frame, Run};
use super::header::Header;
use super::player::open;
use crate::diagnostic::Diagnostic;
use crate::kernel::ring;
use crate::network::time::{Layout, Time};
use crate::pump::Happening;
use crate::report::units::{bytes, duration, grouped};
use serde_json::{Value as Json, json};
use std::fmt::Write;
use std::path::Path;

/// Bytes of what chains ask for: more is shown to nobody.
const ROOM: usize = 4 << 20;

pub struct Info {
    header: Header,
    minor: u16,
    size: u64,
    /// Of each chain its run, from 1, and what it asks for.
    chains: Vec<(usize, Vec<String>)>,
    events: u64,
    tables: u64,
    lost: u64,
    nanos: u64,
    /// `None`: it is whole.
    missing: Option<String>,
}

impl Info {
    /// Reads all of a recording.
    ///
    /// # Errors
    /// As [`open`].
    pub fn of(path: &Path) -> Result<Info, Diagnostic> {
        let (header, mut frames) = open(path)?;
        let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let (minor, chains) = (frames.minor, Vec::new());
        let mut info = Info { header, minor, size, chains, events: 0, tables: 0, lost: 0, nanos: 0, missing: None };
        let (mut whole, mut run, mut room) = (false, 0, ROOM);
        while let Some((nanos, frame)) = frames.next_frame() {
            info.nanos = nanos;
            match frame {
                Frame::Run(Run { entries }) => {
                    run += 1;
                    for entry in entries {
                        room =
                            room.saturating_sub(32 + entry.identity.iter().map(|part| 32 + part.len()).sum::<usize>());
                        info.chains.extend((room > 0).then_some((run, entry.identity)));
                    }
                }
                Frame::Happened(Happening::Events(batch)) => info.events += ring::records(&batch).count() as u64,
                Frame::Table(table) => info.tables += u64::from(!table.more),
                Frame::Closed(closed) => {
                    let lost = closed.trust.iter().fold(0u64, |sum, trust| sum.saturating_add(trust.lost()));
                    info.lost = info.lost.saturating_add(lost);
                }
                Frame::Stopped(why) => info.missing = Some(format!("it stops early: {why}")),
                Frame::End(_) => whole = true,
                _ => {}
            }
        }
        if !whole {
            let why = match frames.ending() {
                Some(Ending::Damaged) => "it is damaged there".to_owned(),
                Some(Ending::Failed(error)) => format!("it cannot be read there: {error}"),
                Some(Ending::Unknown(kind)) => format!("frames of kind {kind} follow, which only a later skep reads"),
                _ => "it is cut short there".to_owned(),
            };
            info.missing = Some(why);
        }
        Ok(info)
    }

    /// Is something missing?
    pub fn is_whole(&self) -> bool {
        self.missing.is_none()
    }

    fn began(&self) -> String {
        Time(self.header.began).text(Layout::Rfc3339)
    }

    pub fn text(&self) -> String {
        let Header { script, words, machine, merged, .. } = &self.header;
        let mut out = String::new();
        // Writing to a string cannot fail.
        let mut line = |label: &str, text: String| {
            let _infallible = writeln!(out, "{label:<9}{}", crate::report::units::escape(&text));
        };
        line("script", [std::slice::from_ref(&script.name), words.as_slice()].concat().join(" "));
        line("began", format!("{}, took {}", self.began(), duration(self.nanos.into())));
        let cpus = format!("{} CPU{}", machine.cpus, if machine.cpus == 1 { "" } else { "s" });
        line("kernel", format!("{} {}, {cpus}, {}", machine.kernel, machine.arch, machine.version));
        line("types", if machine.btf.is_empty() { "none".into() } else { format!("BTF {}", machine.btf) });
        let right = if machine.synchronised { "synchronised" } else { "not synchronised" };
        let error = duration(machine.error.into());
        line("clock", format!("{}, {right}, events within {error} of the time of day", machine.clocksource));
        line("by", format!("skep {}, format {}.{}", machine.skep, super::file::MAJOR, self.minor));
        if *merged > 1 {
            line("merged", format!("of {merged} recordings"));
        }
        for (run, identity) in &self.chains {
            let parts: Vec<&str> = identity.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
            line(&format!("run {run}"), parts.join(" . "));
        }
        line("events", format!("{}, {} lost", grouped(self.events), grouped(self.lost)));
        line("tables", grouped(self.tables));
        line("size", bytes(self.size));
        if let Some(missing) = &self.missing {
            line("missing", format!("what follows: {missing}"));
        }
        out
    }

    pub fn json(&self) -> Json {
        let runs = self.chains.chunk_by(|one, next| one.0 == next.0);
        let runs: Vec<Vec<_>> = runs.map(|run| run.iter().map(|(_, identity)| identity).collect()).collect();
        let mut header = self.header.json();
        if let Some(members) = header.as_object_mut() {
            members.remove("little_endian");
        }
        json!({
            "v": 1, "type": "recording", "format": [super::file::MAJOR, self.minor], "header": header,
            "runs": runs, "events": self.events, "tables": self.tables,
            "lost": self.lost, "nanos": self.nanos, "bytes": self.size, "missing": self.missing,
        })
    }
}
