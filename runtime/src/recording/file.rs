//! The file: a magic number, a version, and blocks. A block is compressed and has a checksum; frames lie within one.
//!
//! ```text
//! "skep-rec" u16 major u16 minor         all numbers little-endian
//! block      u32 stored u32 raw u32 crc  the next `stored` bytes are deflate for `raw` bytes; crc32 of the stored ones
//! frame      u8 kind, time, length       both as in wire.rs; nanoseconds since the recording began; then `length` bytes
//! ```

use super::frame::{Frame, Unread};
use super::wire::{Reader, Writer};
use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

pub const MAGIC: &[u8; 8] = b"skep-rec";
/// A reader of one major version reads all of its minor versions: see docs/recordings.md.
pub const MAJOR: u16 = 1;
pub const MINOR: u16 = 0;

/// A block is closed when it has so many bytes: enough to compress well, few enough to lose when the machine dies.
const BLOCK: usize = 256 << 10;
/// No block is larger: a batch of records and a part of a table fit with room to spare.
const LARGEST: usize = 4 << 20;
/// Blocks that may wait to be compressed.
const WAITING: usize = 4;
/// Magic number and version.
pub const BEGIN: u64 = 12;

/// Writes blocks, which a thread of its own compresses.
pub struct Blocks {
    pending: Writer,
    scratch: Writer,
    waiting: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<io::Result<()>>>,
    written: Arc<AtomicU64>,
    /// Bytes that were handed over, and those of them that are in the file.
    raw: u64,
    done: Arc<AtomicU64>,
}

impl Blocks {
    /// Begins a file.
    ///
    /// # Errors
    /// It cannot be written, or there is no thread.
    pub fn create(mut file: impl Write + Send + 'static) -> io::Result<Blocks> {
        file.write_all(MAGIC)?;
        file.write_all(&MAJOR.to_le_bytes())?;
        file.write_all(&MINOR.to_le_bytes())?;
        let written = Arc::new(AtomicU64::new(BEGIN));
        let (waiting, blocks) = sync_channel::<Vec<u8>>(WAITING);
        let done = Arc::new(AtomicU64::new(0));
        let (counter, counted) = (written.clone(), done.clone());
        let thread = std::thread::Builder::new().name("recording".into()).spawn(move || {
            let mut file = BufWriter::new(file);
            for raw in blocks {
                let length = write_block(&mut file, &raw)?;
                // Whoever reads what a crash left needs whole blocks.
                file.flush()?;
                counter.fetch_add(length, Ordering::Relaxed);
                counted.fetch_add(raw.len() as u64, Ordering::Relaxed);
            }
            file.flush()
        })?;
        let (pending, scratch) = Default::default();
        Ok(Blocks { pending, scratch, waiting: Some(waiting), thread: Some(thread), written, raw: 0, done })
    }

    /// Adds one frame: its kind is what `write` gives.
    pub fn put(&mut self, nanos: u64, write: impl FnOnce(&mut Writer) -> u8) {
        self.scratch.0.clear();
        let kind = write(&mut self.scratch);
        self.pending.byte(kind);
        self.pending.number(nanos);
        self.pending.bytes(&self.scratch.0);
        if self.pending.0.len() >= BLOCK {
            self.close_block();
        }
    }

    /// Closes the block: what is in it survives from here on.
    pub fn close_block(&mut self) {
        if self.pending.0.is_empty() {
            return;
        }
        let block = std::mem::replace(&mut self.pending.0, Vec::with_capacity(BLOCK + (BLOCK >> 2)));
        self.raw += block.len() as u64;
        if let Some(waiting) = &self.waiting
            && waiting.send(block).is_err()
        {
            // The thread ended at an error, which `finish` gives.
            self.waiting = None;
        }
    }

    /// Can it be written no more?
    pub fn is_broken(&self) -> bool {
        self.waiting.is_none()
    }

    /// Bytes of the file so far, about: what waits counts as if it could not be compressed.
    pub fn length(&self) -> u64 {
        let waiting = self.raw() - self.done.load(Ordering::Relaxed);
        self.written.load(Ordering::Relaxed) + waiting
    }

    /// Bytes before they were compressed.
    pub fn raw(&self) -> u64 {
        self.raw + self.pending.0.len() as u64
    }

    /// Writes what is left, and gives the file's length.
    ///
    /// # Errors
    /// The first one that there was.
    pub fn finish(&mut self) -> io::Result<u64> {
        self.close_block();
        self.waiting = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome?,
            Some(Err(_)) => return Err(io::Error::other("the thread that writes it died")),
            None => {}
        }
        Ok(self.written.load(Ordering::Relaxed))
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        let _told_before = self.finish();
    }
}

pub(crate) fn write_block(file: &mut impl Write, raw: &[u8]) -> io::Result<u64> {
    // The fastest: a recording must cost little, and records are much alike.
    let mut deflate = Compress::new(Compression::fast(), false);
    let mut stored = Vec::with_capacity(raw.len() + (raw.len() >> 3) + 64);
    while deflate.compress_vec(&raw[deflate.total_in() as usize..], &mut stored, FlushCompress::Finish)?
        != Status::StreamEnd
    {
        stored.reserve(raw.len().max(64));
    }
    for number in [stored.len() as u32, raw.len() as u32, crc(&stored)] {
        file.write_all(&number.to_le_bytes())?;
    }
    file.write_all(&stored)?;
    Ok(12 + stored.len() as u64)
}

/// The checksum of gzip.
pub fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Why there is nothing more to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It was read to its end.
    Whole,
    /// It ends where something should follow.
    Cut,
    Damaged,
    /// A later skep wrote what only it reads.
    Unknown(u8),
    Failed(String),
}

/// What is no recording at all, or none for this skep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    NoRecording,
    Later { major: u16, minor: u16 },
    Failed(String),
}

/// Reads frames one after the other.
pub struct Frames {
    file: BufReader<Box<dyn Read>>,
    block: Vec<u8>,
    stored: Vec<u8>,
    at: usize,
    ending: Option<Ending>,
    pub minor: u16,
}

impl Frames {
    /// # Errors
    /// The file cannot be opened, or is no recording for this skep.
    pub fn open(path: &std::path::Path) -> Result<Frames, Refused> {
        let file = File::open(path).map_err(|error| Refused::Failed(crate::kernel::load::text(&error)))?;
        Frames::new(Box::new(file))
    }

    /// # Errors
    /// As [`Frames::open`].
    pub fn new(file: Box<dyn Read>) -> Result<Frames, Refused> {
        let mut file = BufReader::with_capacity(64 << 10, file);
        let mut begin = [0; BEGIN as usize];
        match file.read_exact(&mut begin) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(Refused::NoRecording),
            Err(error) => return Err(Refused::Failed(crate::kernel::load::text(&error))),
        }
        if !begin.starts_with(MAGIC) {
            return Err(Refused::NoRecording);
        }
        let word = |at: usize| u16::from_le_bytes([begin[at], begin[at + 1]]);
        let (major, minor) = (word(8), word(10));
        if major != MAJOR {
            return Err(Refused::Later { major, minor });
        }
        Ok(Frames { file, block: Vec::new(), stored: Vec::new(), at: 0, ending: None, minor })
    }

    /// The next frame with its time; `None` at the end, which [`Frames::ending`] then says more about.
    pub fn next_frame(&mut self) -> Option<(u64, Frame)> {
        loop {
            let (nanos, kind, bytes) = self.next_raw()?;
            match Frame::read(kind, &self.block[bytes]) {
                Ok(Some(frame)) => return Some((nanos, frame)),
                Ok(None) => {}
                Err(Unread::Damaged) => return self.end(Ending::Damaged),
                Err(Unread::Unknown(kind)) => return self.end(Ending::Unknown(kind)),
            }
        }
    }

    /// The first frame, if it is of this kind.
    pub fn first(&mut self, kind: u8) -> Option<&[u8]> {
        let (_, found, bytes) = self.next_raw()?;
        (found == kind).then(|| &self.block[bytes])
    }

    /// What came behind the last frame; before it, nothing.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    fn next_raw(&mut self) -> Option<(u64, u8, std::ops::Range<usize>)> {
        if self.ending.is_some() {
            return None;
        }
        while self.at >= self.block.len() {
            if let Err(ending) = self.next_block() {
                return self.end(ending);
            }
        }
        let mut from = Reader(&self.block[self.at..]);
        let frame = (|| {
            let (kind, nanos) = (from.byte()?, from.number()?);
            let length = from.bytes()?.len();
            Some((kind, nanos, length))
        })();
        let Some((kind, nanos, length)) = frame else { return self.end(Ending::Damaged) };
        let end = self.block.len() - from.0.len();
        self.at = end;
        Some((nanos, kind, end - length..end))
    }

    fn end<T>(&mut self, ending: Ending) -> Option<T> {
        self.ending = Some(ending);
        None
    }

    fn next_block(&mut self) -> Result<(), Ending> {
        let mut head = [0; 12];
        match self.file.read(&mut head[..1]) {
            Ok(0) => return Err(Ending::Whole),
            Ok(_) => read(&mut self.file, &mut head[1..])?,
            Err(error) => return Err(Ending::Failed(crate::kernel::load::text(&error))),
        }
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (stored, raw, sum) = (word(0) as usize, word(4) as usize, word(8));
        if stored > LARGEST || raw > LARGEST || raw == 0 {
            return Err(Ending::Damaged);
        }
        self.stored.resize(stored, 0);
        read(&mut self.file, &mut self.stored)?;
        if crc(&self.stored) != sum {
            return Err(Ending::Damaged);
        }
        self.block.resize(raw, 0);
        self.at = 0;
        let mut inflate = Decompress::new(false);
        let outcome = inflate.decompress(&self.stored, &mut self.block, FlushDecompress::Finish);
        match outcome {
            Ok(Status::StreamEnd) if inflate.total_out() == raw as u64 => Ok(()),
            _ => Err(Ending::Damaged),
        }
    }
}

fn read(file: &mut impl Read, into: &mut [u8]) -> Result<(), Ending> {
    file.read_exact(into).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Ending::Cut,
        _ => Ending::Failed(crate::kernel::load::text(&error)),
    })
}
