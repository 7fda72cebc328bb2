//! Every entry of a map, as batches. Of a map that does not fit one, the kernel copies the next while we look at the last.

use super::sys::{self, Command, MapBatch, bpf};
use std::io;
use std::sync::mpsc;

/// Entries of a batch. A bucket of a hash that does not fit is ENOSPC: begin with room for most, and grow.
const ROOM: usize = 4096;
/// Of the thread that reads ahead.
const STACK: usize = 64 << 10;

/// Where in a map we are.
#[derive(Clone)]
pub struct Batches {
    map: u32,
    key_size: usize,
    value_size: usize,
    room: usize,
    /// What the kernel gave to find the next batch by; none before the first.
    token: Option<Vec<u8>>,
}

/// Keys and values, one behind the other.
#[derive(Default)]
struct Batch {
    keys: Vec<u8>,
    values: Vec<u8>,
    count: usize,
    is_last: bool,
}

impl Batches {
    /// Of a map by its descriptor, which stays open; `value_size` is that of all CPUs' values, where each has its own.
    pub fn of(map: u32, key_size: usize, value_size: usize, entries: usize) -> Batches {
        Batches { map, key_size, value_size, room: entries.clamp(1, ROOM), token: None }
    }

    /// Shows every entry, on this thread.
    ///
    /// # Errors
    /// The kernel's: `EINVAL`, `EOPNOTSUPP` or `ENOTSUPP`, before anything is shown, where it has no batches of such maps.
    pub fn each(mut self, mut show: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
        let (key_size, value_size) = (self.key_size, self.value_size);
        let mut look = |batch: &Batch| {
            let both = batch.keys.chunks_exact(key_size).zip(batch.values.chunks_exact(value_size));
            both.take(batch.count).for_each(|(key, value)| show(key, value));
        };
        let mut batch = Batch::default();
        self.read(&mut batch)?;
        look(&batch);
        if batch.is_last {
            return Ok(());
        }
        let mut ahead = self.clone();
        std::thread::scope(|scope| {
            let ((filled, batches), (back, empty)) = (mpsc::channel(), mpsc::channel::<Batch>());
            let read = move || {
                for mut batch in empty {
                    let read = ahead.read(&mut batch).map(|()| batch);
                    let ends = read.as_ref().map_or(true, |batch| batch.is_last);
                    if filled.send(read).is_err() || ends {
                        break;
                    }
                }
            };
            if std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, read).is_err() {
                // No thread is to be had: one after the other.
                while !batch.is_last {
                    self.read(&mut batch)?;
                    look(&batch);
                }
                return Ok(());
            }
            // Two that go round: the one that is filled, the one that is looked at. Who has come to the end takes no more.
            let _ended = (back.send(batch), back.send(Batch::default()));
            for read in batches {
                let batch = read?;
                look(&batch);
                let _ended = back.send(batch);
            }
            Ok(())
        })
    }

    fn read(&mut self, into: &mut Batch) -> io::Result<()> {
        // The kernel's is 4 bytes for a hash, and a key for others.
        let mut next = vec![0; self.key_size.max(8)];
        loop {
            into.keys.resize(self.room * self.key_size, 0);
            into.values.resize(self.room * self.value_size, 0);
            let mut attributes = MapBatch {
                in_batch: self.token.as_ref().map_or(0, |token| sys::address(token)),
                out_batch: sys::address_mut(&mut next),
                keys: sys::address_mut(&mut into.keys),
                values: sys::address_mut(&mut into.values),
                count: self.room as u32,
                map_fd: self.map,
                ..Default::default()
            };
            into.is_last = match bpf(Command::MapLookupBatch, &mut attributes) {
                Ok(_) => false,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                    self.room *= 2;
                    continue;
                }
                Err(error) => return Err(error),
            };
            into.count = attributes.count as usize;
            self.token = Some(next);
            return Ok(());
        }
    }
}
