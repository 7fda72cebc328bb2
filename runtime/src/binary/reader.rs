//! Files of others, opened and read so that they cannot stop or fill us: they may be pipes, and a file with holes is longer
//! than any memory.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use object::read::{ReadCache, ReadRef};

/// Bytes of headers and tables that are read of one file: the largest browsers have some hundred million.
const MOST: u64 = 1 << 30;

/// Opens a regular file. Anything else is not waited for: a pipe that nobody writes to would be for ever.
///
/// # Errors
/// The kernel's; `InvalidInput` for what is no regular file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// A file that is read by range, up to so many bytes in all.
pub(crate) struct Reader {
    cache: ReadCache<File>,
    left: Cell<u64>,
}

impl Reader {
    pub fn new(file: File) -> Reader {
        Reader { cache: ReadCache::new(file), left: Cell::new(MOST) }
    }
}

impl<'data> ReadRef<'data> for &'data Reader {
    fn len(self) -> Result<u64, ()> {
        self.cache.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'data [u8], ()> {
        // What was read before is counted again: it is little.
        self.left.set(self.left.get().checked_sub(size).ok_or(())?);
        self.cache.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'data [u8], ()> {
        self.cache.read_bytes_at_until(range, delimiter)
    }
}
