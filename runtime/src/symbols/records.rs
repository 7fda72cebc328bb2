//! Records of perf on processes: bytes -> what happened. Pure.
//! Source: include/uapi/linux/perf_event.h, enum perf_event_type. Each ends in `sample_id`: pid, tid, time.

use super::files::Identity;
use super::mappings::{self, Inode};
use std::ops::Range;

/// What happened, and when.
#[derive(Debug, PartialEq, Eq)]
pub struct Record {
    pub time: u64,
    pub event: Event,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    Fork {
        pid: u32,
        parent: u32,
    },
    /// Another program in the same process: nothing is mapped any more.
    Exec {
        pid: u32,
    },
    Map {
        pid: u32,
        mapped: Box<Mapped>,
    },
    Exit {
        pid: u32,
    },
    /// So many records found no room.
    Lost(u64),
}

/// One new executable mapping.
#[derive(Debug, PartialEq, Eq)]
pub struct Mapped {
    pub range: Range<u64>,
    pub file_offset: u64,
    pub identity: Identity,
    pub path: String,
    pub deleted: bool,
}

/// The records of a ring's bytes, but those that say nothing of processes' code.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = Record> {
    let mut rest = bytes;
    let raw = std::iter::from_fn(move || {
        let size = usize::from(u16::from_ne_bytes(rest.get(6..8)?.try_into().ok()?));
        let record = rest.get(..size).filter(|record| record.len() >= 8)?;
        rest = &rest[size..];
        Some(record)
    });
    raw.filter_map(record)
}

fn record(bytes: &[u8]) -> Option<Record> {
    const LOST: u32 = 2;
    const COMM: u32 = 3;
    const EXIT: u32 = 4;
    const FORK: u32 = 7;
    const MMAP2: u32 = 10;
    const COMM_EXEC: u16 = 1 << 13;
    let (body, time) = bytes.split_last_chunk::<8>()?;
    let time = u64::from_ne_bytes(*time);
    let misc = u16::from_ne_bytes(*body.get(4..)?.first_chunk()?);
    let pid = word(body, 8)?;
    let event = match word(body, 0)? {
        LOST => Event::Lost(long(body, 16)?),
        COMM if misc & COMM_EXEC != 0 => Event::Exec { pid },
        // pid, parent's pid, tid, parent's tid: other threads than the first are no processes.
        FORK if pid == word(body, 16)? => Event::Fork { pid, parent: word(body, 12)? },
        EXIT if pid == word(body, 16)? => Event::Exit { pid },
        MMAP2 => Event::Map { pid, mapped: Box::new(mapped(body, misc)?) },
        _ => return None,
    };
    Some(Record { time, event })
}

fn mapped(body: &[u8], misc: u16) -> Option<Mapped> {
    const BUILD_ID: u16 = 1 << 14;
    let (start, length, file_offset) = (long(body, 16)?, long(body, 24)?, long(body, 32)?);
    let identity = if misc & BUILD_ID != 0 {
        let length = usize::from(*body.get(40)?).min(20);
        Identity::BuildId(body.get(44..44 + length)?.to_vec())
    } else {
        let device = u64::from(word(body, 40)?) << 20 | u64::from(word(body, 44)?);
        Identity::Inode(Inode { device, inode: long(body, 48)? })
    };
    let name = body.get(72..)?.split(|byte| *byte == 0).next()?;
    let (path, deleted) = mappings::path(&String::from_utf8_lossy(name));
    Some(Mapped { range: start..start.checked_add(length)?, file_offset, identity, path, deleted })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(kind: u32, misc: u16, body: &[u8], time: u64) -> Vec<u8> {
        let size = 8 + body.len() + 16;
        let header = [&kind.to_ne_bytes()[..], &misc.to_ne_bytes(), &(size as u16).to_ne_bytes()].concat();
        [&header[..], body, &[0; 8], &time.to_ne_bytes()].concat()
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn processes_are_told_from_threads_and_new_programs_from_new_names() {
        let bytes = [
            raw(7, 0, &words(&[5, 4, 5, 4, 0, 0]), 10),
            raw(7, 0, &words(&[5, 5, 6, 5, 0, 0]), 11),
            raw(3, 0, &words(&[5, 5, 0, 0]), 12),
            raw(3, 1 << 13, &words(&[5, 5, 0, 0]), 13),
            raw(4, 0, &words(&[5, 4, 5, 4, 0, 0]), 14),
            raw(2, 0, &words(&[0, 0, 23, 0]), 15),
            vec![7, 0, 0, 0],
        ]
        .concat();
        let found: Vec<_> = records(&bytes).map(|record| (record.time, record.event)).collect();
        let expected = [
            (10, Event::Fork { pid: 5, parent: 4 }),
            (13, Event::Exec { pid: 5 }),
            (14, Event::Exit { pid: 5 }),
            (15, Event::Lost(23)),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn mapping_names_its_file_by_inode_or_build_id() {
        let mut body = words(&[5, 5, 0x1000, 0, 0x2000, 0, 0x400, 0, 1, 2, 77, 0, 0, 0, 5, 2]);
        body.extend_from_slice(b"/tmp/a b (deleted)\0\0\0\0\0\0");
        let mapped = |misc| match records(&raw(10, misc, &body, 1)).next().map(|record| record.event) {
            Some(Event::Map { pid: 5, mapped }) => *mapped,
            other => panic!("{other:?}"),
        };
        let inode = mapped(0);
        assert_eq!((inode.range, inode.file_offset), (0x1000..0x3000, 0x400));
        assert_eq!((inode.path.as_str(), inode.deleted), ("/tmp/a b", true));
        assert_eq!(inode.identity, Identity::Inode(Inode { device: 1 << 20 | 2, inode: 77 }));
        assert_eq!(mapped(1 << 14).identity, Identity::BuildId(vec![2]));
    }
}
