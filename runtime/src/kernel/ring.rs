//! The ring buffer between programs and us: aya's reader on our own map.

use super::map::{self, Map, Shape};
use super::sys;
use aya::maps::{MapData, RingBuf};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use tokio::io::unix::AsyncFd;

/// The reading end.
pub struct Ring {
    ring: RingBuf<MapData>,
}

impl Ring {
    /// Makes the map; `bytes` is rounded up to a power of two of at least a page.
    ///
    /// # Errors
    /// The kernel's: no privilege, no memory.
    pub fn create(bytes: u64) -> io::Result<Map> {
        let bytes = bytes.clamp(4096, 1 << 30).next_power_of_two() as u32;
        Map::create("events", Shape { map_type: map::RINGBUF, key_size: 0, value_size: 0, max_entries: bytes })
    }

    /// Opens the reading end of such a map.
    ///
    /// # Errors
    /// The map cannot be mapped into memory.
    pub fn open(map: &Map) -> io::Result<Ring> {
        let data = MapData::from_fd(map.as_fd().try_clone_to_owned()?).map_err(io::Error::other)?;
        let map = aya::maps::Map::from_map_data(data).map_err(io::Error::other)?;
        Ok(Ring { ring: RingBuf::try_from(map).map_err(io::Error::other)? })
    }

    /// Copies pending records into `batch`, each behind its length as a `u32` and rounded up to 8 bytes, until `batch`
    /// is about to grow beyond `room` bytes. Says how many came.
    pub fn read(&mut self, batch: &mut Vec<u8>, room: usize) -> usize {
        let mut count = 0;
        while batch.len() < room
            && let Some(record) = self.ring.next()
        {
            pack(&record, batch);
            count += 1;
        }
        count
    }
}

impl Ring {
    /// What tokio waits on: ready when programs woke the reader. Within a tokio runtime only.
    ///
    /// # Errors
    /// No file descriptor is left, or the runtime has no I/O driver.
    pub fn watch(&self) -> io::Result<AsyncFd<OwnedFd>> {
        // SAFETY: the ring has it open. tokio owns a duplicate.
        sys::ready(unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }.try_clone_to_owned()?)
    }
}

/// Adds a record to a batch.
pub fn pack(record: &[u8], batch: &mut Vec<u8>) {
    batch.extend_from_slice(&(record.len() as u64).to_ne_bytes());
    batch.extend_from_slice(record);
    batch.resize(batch.len().next_multiple_of(8), 0);
}

/// The records of a batch that [`pack`] made. One that is cut short, as in a damaged recording, ends it.
pub fn records(batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = batch;
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_first_chunk()?;
        let record = behind.get(..usize::try_from(u64::from_ne_bytes(*length)).ok()?)?;
        rest = behind.get(record.len().next_multiple_of(8)..).unwrap_or_default();
        Some(record)
    })
}
