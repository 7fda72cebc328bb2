//! Maps whose sizes are known only at run time. aya's typed maps want them when compiling.

use super::batch::Batches;
use super::sys::{self, Command, MapBatch, MapCreate, MapElement, MapFreeze, bpf, bpf_fd};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

pub const HASH: u32 = 1;
pub const ARRAY: u32 = 2;
pub const PROG_ARRAY: u32 = 3;
pub const PERCPU_HASH: u32 = 5;
pub const PERCPU_ARRAY: u32 = 6;
pub const STACK_TRACE: u32 = 7;
pub const LRU_HASH: u32 = 9;
pub const LRU_PERCPU_HASH: u32 = 10;
pub const RINGBUF: u32 = 27;

/// Entries are allocated when they are inserted.
const NO_PREALLOCATION: u32 = 1;

/// The kernel's own "not supported", which libc does not name.
const ENOTSUPP: i32 = 524;

/// Programs may only read it; with the freeze, its content is constant to the verifier.
const READ_ONLY_TO_PROGRAMS: u32 = 1 << 7;

/// What a map is made of; sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub map_type: u32,
    pub key_size: u32,
    /// 0 for ring buffers.
    pub value_size: u32,
    pub max_entries: u32,
}

impl Shape {
    pub fn is_per_cpu(self) -> bool {
        matches!(self.map_type, PERCPU_HASH | PERCPU_ARRAY | LRU_PERCPU_HASH)
    }

    /// Bytes that the kernel sets aside for it, roughly: entries with the kernel's own headers.
    pub fn memory(self, cpus: usize) -> u64 {
        let value = u64::from(self.value_size).next_multiple_of(8) * if self.is_per_cpu() { cpus as u64 } else { 1 };
        match self.map_type {
            RINGBUF => u64::from(self.max_entries),
            ARRAY | PERCPU_ARRAY => u64::from(self.max_entries) * value,
            _ => u64::from(self.max_entries) * (48 + 16 + u64::from(self.key_size).next_multiple_of(8) + value),
        }
    }
}

/// A map in the kernel; gone when dropped, once no program uses it.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    pub shape: Shape,
}

impl Map {
    /// # Errors
    /// The kernel's: no privilege, no memory, an impossible shape.
    pub fn create(name: &str, shape: Shape) -> io::Result<Map> {
        Self::create_with(name, shape, 0)
    }

    /// A table whose entries are allocated as they come, where the kernel can do that in every context (Linux 6.1):
    /// setting 10,000 of them aside takes about 10 ms.
    ///
    /// # Errors
    /// As [`Map::create`].
    pub fn create_sparse(name: &str, shape: Shape) -> io::Result<Map> {
        let lazy = matches!(shape.map_type, HASH | PERCPU_HASH) && sys::kernel_release() >= (6, 1);
        Self::create_with(name, shape, if lazy { NO_PREALLOCATION } else { 0 })
    }

    /// With flags of `bpf(2)`, as prefix tries want them.
    ///
    /// # Errors
    /// As [`Map::create`].
    pub fn create_with(name: &str, shape: Shape, map_flags: u32) -> io::Result<Map> {
        let mut attributes = MapCreate {
            map_type: shape.map_type,
            key_size: shape.key_size,
            value_size: shape.value_size,
            max_entries: shape.max_entries,
            map_flags,
            map_name: sys::object_name(name),
            ..Default::default()
        };
        Ok(Map { fd: bpf_fd(Command::MapCreate, &mut attributes)?, shape })
    }

    /// A one-entry array that holds a section of constants, frozen: the verifier then knows the values.
    ///
    /// # Errors
    /// As [`Map::create`].
    pub fn constants(name: &str, data: &[u8]) -> io::Result<Map> {
        let map = Self::section(name, data, READ_ONLY_TO_PROGRAMS)?;
        bpf(Command::MapFreeze, &mut MapFreeze { map_fd: map.number() })?;
        Ok(map)
    }

    /// A one-entry array that holds a section of variables.
    ///
    /// # Errors
    /// As [`Map::create`].
    pub fn variables(name: &str, data: &[u8]) -> io::Result<Map> {
        Self::section(name, data, 0)
    }

    fn section(name: &str, data: &[u8], flags: u32) -> io::Result<Map> {
        let shape = Shape { map_type: ARRAY, key_size: 4, value_size: data.len() as u32, max_entries: 1 };
        let map = Self::create_with(name, shape, flags)?;
        map.update(&0u32.to_ne_bytes(), data)?;
        Ok(map)
    }

    /// # Errors
    /// The kernel's; `key` and `value` must have the shape's sizes.
    pub fn update(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let mut attributes = self.element(key);
        attributes.value = sys::address(value);
        self.check(key.len() == self.shape.key_size as usize && value.len() >= self.value_len()?)?;
        bpf(Command::MapUpdate, &mut attributes).map(|_| ())
    }

    /// Sets the first entries of an array, whose values stand in `values` one behind the other: 100,000 in a few ms.
    ///
    /// # Errors
    /// The kernel's; the array has fewer entries.
    pub fn fill(&self, values: &[u8]) -> io::Result<()> {
        let count = values.len() / self.value_len()?.max(1);
        self.check(self.shape.map_type == ARRAY && count <= self.shape.max_entries as usize)?;
        if count == 0 {
            return Ok(());
        }
        let keys: Vec<u32> = (0..count as u32).collect();
        let mut attributes = MapBatch {
            keys: sys::address(&keys),
            values: sys::address(values),
            count: count as u32,
            map_fd: self.number(),
            ..Default::default()
        };
        bpf(Command::MapUpdateBatch, &mut attributes).map(|_| ())
    }

    /// The value of a key; for per-CPU maps every possible CPU's, one behind the other, each rounded up to 8 bytes.
    ///
    /// # Errors
    /// The kernel's.
    pub fn lookup(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        self.check(key.len() == self.shape.key_size as usize)?;
        let mut value = vec![0; self.value_len()?];
        let mut attributes = self.element(key);
        attributes.value = sys::address_mut(&mut value);
        match bpf(Command::MapLookup, &mut attributes) {
            Ok(_) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// # Errors
    /// The kernel's; a missing key is none.
    pub fn delete(&self, key: &[u8]) -> io::Result<()> {
        self.check(key.len() == self.shape.key_size as usize)?;
        match bpf(Command::MapDelete, &mut self.element(key)) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            _ => Ok(()),
        }
    }

    /// Every entry, (key, value as in [`Map::lookup`]).
    ///
    /// # Errors
    /// The kernel's.
    pub fn entries(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut entries = Vec::new();
        self.each(|key, value| entries.push((key.to_vec(), value.to_vec())))?;
        Ok(entries)
    }

    /// Shows every entry of [`Map::entries`], where it is: in batches where the kernel can (6 to 8 times as fast).
    ///
    /// # Errors
    /// The kernel's.
    pub fn each(&self, mut show: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        let mut shown = false;
        let (key_size, entries) = (self.shape.key_size as usize, self.shape.max_entries as usize);
        let batches = Batches::of(self.number(), key_size, self.value_len()?, entries);
        let read = batches.each(|key, value| {
            shown = true;
            show(key, value);
        });
        match read {
            Err(error)
                if !shown && matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP)) =>
            {
                self.one_by_one(show)
            }
            other => other,
        }
    }

    fn one_by_one(&self, mut show: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        let mut key: Option<Vec<u8>> = None;
        // A map that programs write to while we walk may send us round again: no more steps than it has room.
        for _ in 0..=self.shape.max_entries {
            let mut next = vec![0; self.shape.key_size as usize];
            let mut attributes = self.element(key.as_deref().unwrap_or_default());
            if key.is_none() {
                attributes.key = 0;
            }
            attributes.value = sys::address_mut(&mut next);
            match bpf(Command::MapGetNextKey, &mut attributes) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => break,
                Err(error) => return Err(error),
                Ok(_) => {}
            }
            if let Some(value) = self.lookup(&next)? {
                show(&next, &value);
            }
            key = Some(next);
        }
        Ok(())
    }

    /// Takes every entry out; arrays keep theirs, with zeros.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear(&self) -> io::Result<()> {
        let zeros = vec![0; self.value_len()?];
        for (key, _) in self.entries()? {
            match self.shape.map_type {
                ARRAY | PERCPU_ARRAY => self.update(&key, &zeros)?,
                _ => self.delete(&key)?,
            }
        }
        Ok(())
    }

    /// As [`BorrowedFd`], for calls that take the number.
    pub fn number(&self) -> u32 {
        self.fd.as_raw_fd() as u32
    }

    /// A second handle on the same map.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn try_clone(&self) -> io::Result<Map> {
        Ok(Map { fd: self.fd.try_clone()?, shape: self.shape })
    }

    fn element(&self, key: &[u8]) -> MapElement {
        MapElement { map_fd: self.number(), key: sys::address(key), ..Default::default() }
    }

    fn value_len(&self) -> io::Result<usize> {
        let one = self.shape.value_size as usize;
        Ok(if self.shape.is_per_cpu() { one.next_multiple_of(8) * sys::possible_cpus()? } else { one })
    }

    // The kernel reads and writes as many bytes as the map's sizes say, whatever our slices hold.
    fn check(&self, fits: bool) -> io::Result<()> {
        if fits { Ok(()) } else { Err(io::Error::other("key or value of another size than the map's")) }
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
