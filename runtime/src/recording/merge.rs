//! Merging: recordings of the same script, as one. Events come by their time of day; tables add up; timers are those of the
//! first recording.

use super::cursor::Rows;
use super::file::{Blocks, Frames};
use super::frame::{Closed, Entry, Frame, Name, Named, Run, Totals};
use super::header::{HEADER, Header};
use super::player::open;
use super::recorder;
use crate::diagnostic::Diagnostic;
use crate::kernel::load::text;
use crate::kernel::ring;
use crate::pump::Happening;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Bytes of all names and tables, about: recordings are anybody's files.
const ROOM: usize = 1 << 30;

/// One of the recordings.
struct Source {
    path: PathBuf,
    header: Header,
    frames: Frames,
    /// With its time of day.
    next: Option<(u64, Frame)>,
    entries: Vec<Entry>,
    tables: HashMap<u32, Rows>,
    partial: Rows,
    closed: Option<Closed>,
}

struct Merged {
    sources: Vec<Source>,
    blocks: Blocks,
    began: u64,
    last: u64,
    names: HashMap<Named, (usize, Option<String>)>,
    /// Bytes that names and tables may still take.
    room: usize,
    totals: Totals,
}

/// Writes one recording of several.
///
/// # Errors
/// One cannot be read, is cut short, or is of another script; the new one cannot be written.
pub fn merge(files: &[PathBuf], into: &Path) -> Result<Totals, Diagnostic> {
    if let Some(same) = files.iter().find(|file| file.as_path() == into) {
        let error = format!("`{}` would be written while it is read", same.display());
        return Err(Diagnostic::script(error).help("skep record merge A B -o C").nowhere());
    }
    let sources = files.iter().map(|path| Source::open(path)).collect::<Result<Vec<_>, _>>()?;
    let began = sources.iter().map(|source| source.header.began).min().unwrap_or_default();
    let Some(first) = sources.first() else { return Ok(Totals::default()) };
    let merged = sources.iter().fold(0u64, |sum, source| sum.saturating_add(source.header.merged));
    let header = Header { began, merged, ..first.header.clone() };
    let failed =
        |error| Diagnostic::machine(format!("failed to write `{}`: {}", into.display(), text(&error))).nowhere();
    let mut blocks = File::create(into).and_then(Blocks::create).map_err(failed)?;
    blocks.put(0, |out| {
        out.0.extend_from_slice(header.json().to_string().as_bytes());
        HEADER
    });
    let mut merged =
        Merged { sources, blocks, began, last: 0, names: HashMap::new(), room: ROOM, totals: Totals::default() };
    while merged.begin()? {
        merged.run()?;
    }
    let totals = Totals { nanos: merged.last, ..merged.totals };
    merged.put(began, &Frame::End(totals));
    merged.blocks.finish().map_err(failed)?;
    Ok(totals)
}

impl Source {
    fn open(path: &Path) -> Result<Source, Diagnostic> {
        let (header, frames) = open(path)?;
        let (entries, tables, partial) = Default::default();
        let mut source =
            Source { path: path.to_owned(), header, frames, next: None, entries, tables, partial, closed: None };
        source.advance()?;
        Ok(source)
    }

    /// Gives the next frame and reads the one behind it.
    fn take(&mut self) -> Result<Option<(u64, Frame)>, Diagnostic> {
        let taken = self.next.take();
        if !matches!(taken, Some((_, Frame::End(_)))) {
            self.advance()?;
        }
        Ok(taken)
    }

    fn advance(&mut self) -> Result<(), Diagnostic> {
        self.next = self.frames.next_frame().map(|(nanos, frame)| (self.header.began.saturating_add(nanos), frame));
        match self.next {
            Some((_, Frame::Stopped(_))) | None => {
                let error = format!("`{}` has not everything: it cannot be merged", self.path.display());
                Err(Diagnostic::script(error).help("skep replay --info FILE says what is missing").nowhere())
            }
            _ => Ok(()),
        }
    }
}

impl Merged {
    fn put(&mut self, time: u64, frame: &Frame) {
        self.last = self.last.max(time.saturating_sub(self.began));
        self.totals.frames += 1;
        self.blocks.put(self.last, |out| frame.write(out));
    }

    /// Brings all recordings to their next run; `false`: there is none any more.
    fn begin(&mut self) -> Result<bool, Diagnostic> {
        let mut run: Option<Run> = None;
        for n in 0..self.sources.len() {
            let next = loop {
                match self.sources[n].take()? {
                    Some((time, Frame::Run(next))) => break Some((time, next)),
                    Some((_, Frame::End(_))) | None => break None,
                    Some((time, frame)) => self.pass(n, time, frame)?,
                }
            };
            let source = &mut self.sources[n];
            source.tables.clear();
            source.closed = None;
            if let Some((_, next)) = &next {
                source.entries.clone_from(&next.entries);
            }
            match (n, next, &run) {
                (0, Some((time, first)), _) => {
                    self.put(time, &Frame::Run(first.clone()));
                    run = Some(first);
                }
                (0, None, _) => {}
                (_, None, None) => {}
                (_, Some((_, other)), Some(first)) if alike(first, &other) => {}
                _ => return Err(self.unlike(n)),
            }
        }
        Ok(run.is_some())
    }

    /// Names and tables are kept until the end.
    fn take_room(&mut self, n: usize, bytes: usize) -> Result<(), Diagnostic> {
        let error = || format!("`{}` has more names and tables than fit in memory", self.sources[n].path.display());
        self.room = self.room.checked_sub(bytes).ok_or_else(|| Diagnostic::script(error()).nowhere())?;
        Ok(())
    }

    fn unlike(&self, n: usize) -> Diagnostic {
        let (first, other) = (self.sources[0].path.display(), self.sources[n].path.display());
        let error = format!("`{first}` and `{other}` are no recordings of the same script");
        Diagnostic::script(error).help("skep replay --info FILE says what a recording has").nowhere()
    }

    /// One run of all, by time, until the first recording's is closed.
    fn run(&mut self) -> Result<(), Diagnostic> {
        loop {
            let others_go_on = self.sources.iter().skip(1).any(|source| source.closed.is_none());
            let ready = |(n, source): &(usize, &Source)| {
                let waits = matches!(source.next, Some((_, Frame::Finishing | Frame::Closed(_))));
                match n {
                    0 => !(waits && others_go_on),
                    _ => source.closed.is_none(),
                }
            };
            let time = |source: &Source| source.next.as_ref().map_or(u64::MAX, |(time, _)| *time);
            let earliest = self.sources.iter().enumerate().filter(ready).min_by_key(|(_, source)| time(source));
            let Some((n, _)) = earliest else { return Ok(()) };
            match self.sources[n].take()? {
                Some((time, Frame::Closed(closed))) => {
                    self.sources[n].closed = Some(closed);
                    if n == 0 {
                        let closed = self.closed();
                        self.totals.lost += closed.trust.iter().map(|trust| trust.lost()).sum::<u64>();
                        self.put(time, &Frame::Closed(closed));
                        return Ok(());
                    }
                }
                Some((_, Frame::Run(_) | Frame::End(_))) | None => return Err(self.unlike(n)),
                Some((time, frame)) => self.pass(n, time, frame)?,
            }
        }
    }

    /// One frame of one recording.
    fn pass(&mut self, n: usize, time: u64, frame: Frame) -> Result<(), Diagnostic> {
        match frame {
            Frame::Happened(Happening::Events(batch)) => {
                let batch = self.renumbered(n, batch);
                self.totals.events += ring::records(&batch).count() as u64;
                self.put(time, &Frame::Happened(Happening::Events(batch)));
            }
            Frame::Name(name) => self.name(n, time, name)?,
            Frame::Chain(_) => {
                let error =
                    format!("`{}` has call chains: such recordings cannot be merged", self.sources[n].path.display());
                return Err(Diagnostic::script(error)
                    .help("merge folded text: skep flame render a.folded b.folded")
                    .nowhere());
            }
            Frame::Table(table) => {
                let bytes = table.entries.iter().map(|(key, words)| 96 + key.len() + 8 * words.len()).sum();
                self.take_room(n, bytes)?;
                let source = &mut self.sources[n];
                source.partial.extend(table.entries);
                if !table.more {
                    let rows = std::mem::take(&mut source.partial);
                    source.tables.insert(table.n, rows);
                    if n == 0 {
                        let all = self.sources.iter().filter_map(|source| source.tables.get(&table.n));
                        let rows: Rows = all.flatten().cloned().collect();
                        recorder::parts(table.n as usize, &rows, |part| self.put(time, &Frame::Table(part)));
                    }
                }
            }
            // Timers, ends and what was told of the machine: those of the first.
            other if n == 0 => self.put(time, &other),
            _ => {}
        }
        Ok(())
    }

    /// A number has one name in a recording.
    fn name(&mut self, n: usize, time: u64, name: Name) -> Result<(), Diagnostic> {
        let known = self.names.get(&name.of).filter(|(of, known)| *of != n && known.is_some() && name.name.is_some());
        if let Some((of, Some(known))) = known.filter(|(_, known)| *known != name.name) {
            let (first, other) = (self.sources[*of].path.display(), self.sources[n].path.display());
            let error = format!(
                "`{first}` and `{other}` name {} differently, `{known}` and `{}`: they cannot be merged",
                name.of.number,
                name.name.unwrap_or_default()
            );
            return Err(Diagnostic::script(error).nowhere());
        }
        self.take_room(n, 64 + name.name.as_ref().map_or(0, String::len))?;
        self.names.insert(name.of, (n, name.name.clone()));
        self.put(time, &Frame::Name(name));
        Ok(())
    }

    /// A batch with the numbers that the first recording has for its chains.
    fn renumbered(&self, n: usize, batch: Vec<u8>) -> Vec<u8> {
        let (first, own) = (&self.sources[0].entries, &self.sources[n].entries);
        if n == 0 || first.iter().zip(own).all(|(first, own)| first.number == own.number) {
            return batch;
        }
        let mut renumbered = Vec::with_capacity(batch.len());
        for record in ring::records(&batch) {
            let Some((number, rest)) = record.split_first_chunk() else { continue };
            let number = u32::from_ne_bytes(*number);
            if let Some((first, _)) = first.iter().zip(own).find(|(_, own)| own.number == number) {
                ring::pack(&[&first.number.to_ne_bytes(), rest].concat(), &mut renumbered);
            }
        }
        renumbered
    }

    /// What is known of all of them at the end of a run.
    fn closed(&self) -> Closed {
        let all: Vec<&Closed> = self.sources.iter().filter_map(|source| source.closed.as_ref()).collect();
        let began = all.iter().map(|one| one.began).min().unwrap_or_default();
        let end = all.iter().map(|one| one.began.saturating_add(one.took)).max().unwrap_or_default();
        let mut merged = Closed { began, took: end.saturating_sub(began), ..Closed::default() };
        for one in all {
            merged.trust.resize(merged.trust.len().max(one.trust.len()), Default::default());
            merged.trust.iter_mut().zip(&one.trust).for_each(|(sum, trust)| sum.add(trust));
            merged.left_out = merged.left_out.max(one.left_out);
        }
        merged
    }
}

fn alike(first: &Run, other: &Run) -> bool {
    let same = |(first, other): (&Entry, &Entry)| Entry { number: first.number, ..other.clone() } == *first;
    first.entries.len() == other.entries.len() && first.entries.iter().zip(&other.entries).all(same)
}
