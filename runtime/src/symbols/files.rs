//! The files that code is mapped from, and a way to each that outlives its name and the process.
//!
//! A file is opened when it is first seen: after its process is gone, the name may lead elsewhere (another mount namespace,
//! an upgrade) or nowhere. Needs the privilege to look into other processes (CAP_SYS_PTRACE) only where the name does not do.

use super::image::{Image, Place};
use super::mappings::Inode;
use super::reason;
use crate::binary::reader::{self, Reader};
use crate::binary::symbols::{self, Layout};
use std::collections::HashMap;
use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Of files that a name still leads to, this many are held open.
const HELD: usize = 256;
/// Of others as many again: there is no other way to them.
const HELD_WITHOUT_NAME: usize = 2 * HELD;

/// How the kernel tells files apart: by inode, or, in records that carry it instead, by build id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    Inode(Inode),
    BuildId(Vec<u8>),
}

/// A process that has the file mapped, and where.
#[derive(Clone, Debug)]
pub struct Whose {
    pub pid: u32,
    pub range: Range<u64>,
}

/// Every file that was seen, each once; a number names it.
#[derive(Default)]
pub struct Files {
    all: Vec<BinaryFile>,
    known: HashMap<Identity, usize>,
    held: usize,
}

struct BinaryFile {
    path: String,
    way: Way,
    image: Option<Image>,
}

enum Way {
    Held(File),
    /// Still there when it was seen; it must be the same when it is read.
    Named(Identity),
    /// For this reason there is none.
    Gone(&'static str),
}

impl Files {
    /// The number of a file, from now on. `path` as its process calls it.
    pub fn seen(&mut self, identity: Identity, path: &str, deleted: bool, whose: &Whose) -> usize {
        if let Some(number) = self.known.get(&identity) {
            return *number;
        }
        let named = if deleted { Err(reason::GONE) } else { open(path, &identity) };
        let (opened, limit) = match named {
            Ok(file) => (Ok(file), HELD),
            Err(first) => (open_in_process(path, deleted, &identity, whose).ok_or(first), HELD_WITHOUT_NAME),
        };
        // The same file by its other identity.
        let inode = opened.as_ref().ok().and_then(|file| file.metadata().ok()).map(|data| inode(&data));
        let alias = inode.and_then(|inode| self.known.get(&Identity::Inode(inode)).copied());
        let number = alias.unwrap_or(self.all.len());
        if alias.is_none() {
            let way = match opened {
                Ok(file) if self.held < limit => {
                    self.held += 1;
                    Way::Held(file)
                }
                Ok(_) if limit == HELD => Way::Named(identity.clone()),
                Ok(_) => Way::Gone(reason::TOO_MANY_FILES),
                Err(reason) => Way::Gone(reason),
            };
            self.all.push(BinaryFile { path: path.to_owned(), way, image: None });
            self.known.extend(inode.map(|inode| (Identity::Inode(inode), number)));
        }
        self.known.insert(identity, number);
        number
    }

    /// As its process calls it.
    pub fn path(&self, number: usize) -> &str {
        self.all.get(number).map_or("", |file| &file.path)
    }

    /// What the file holds, read when first asked for. With `inlines`, its debug information too.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn image(&mut self, number: usize, inlines: bool) -> Result<&mut Image, &'static str> {
        let BinaryFile { path, way, image } = self.all.get_mut(number).ok_or(reason::GONE)?;
        if image.is_none() {
            let file = match std::mem::replace(way, Way::Gone(reason::GONE)) {
                Way::Held(file) => Ok(file),
                Way::Named(identity) => open(path, &identity),
                Way::Gone(reason) => Err(reason),
            };
            // Its process may live elsewhere: what lies beside the file counts only where the name means the same here.
            let place = file.map(|file| Place { beside: same(Path::new(path.as_str()), &file), file, path });
            match place.and_then(|place| Image::open(place, inlines)) {
                Ok(opened) => *image = Some(opened),
                Err(reason) => {
                    *way = Way::Gone(reason);
                    return Err(reason);
                }
            }
        }
        image.as_mut().ok_or(reason::GONE)
    }
}

/// The file of that name, if it is the one that is meant.
fn open(path: &str, identity: &Identity) -> Result<File, &'static str> {
    // Devices and pipes are asked first: opening one may wait, or do something.
    let data = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => reason::UNREADABLE,
        _ => reason::GONE,
    })?;
    if !data.is_file() {
        return Err(reason::NO_ELF);
    }
    let file = reader::open(Path::new(path)).map_err(|_| reason::UNREADABLE)?;
    if is(&file, identity) { Ok(file) } else { Err(reason::REPLACED) }
}

/// The file as a living process has it: through the mapping itself, or the name in its own root.
fn open_in_process(path: &str, deleted: bool, identity: &Identity, whose: &Whose) -> Option<File> {
    let Whose { pid, range } = whose;
    let mapped = format!("/proc/{pid}/map_files/{:x}-{:x}", range.start, range.end);
    let file =
        || fs::metadata(&mapped).ok().filter(fs::Metadata::is_file).and_then(|_| reader::open(Path::new(&mapped)).ok());
    // Some file systems (btrfs) show another device here than in the mapping: the link is to be believed.
    let same = |file: &File| match identity {
        Identity::Inode(wanted) => file.metadata().is_ok_and(|data| data.ino() == wanted.inode),
        Identity::BuildId(_) => is(file, identity),
    };
    file()
        .filter(same)
        .or_else(|| (!deleted).then(|| open(&format!("/proc/{pid}/root{path}"), identity).ok()).flatten())
}

fn is(file: &File, identity: &Identity) -> bool {
    match identity {
        Identity::Inode(wanted) => file.metadata().is_ok_and(|data| inode(&data) == *wanted),
        Identity::BuildId(wanted) => layout(file).is_ok_and(|layout| layout.build_id.as_ref() == Some(wanted)),
    }
}

fn same(path: &Path, file: &File) -> bool {
    let of = |data: fs::Metadata| (data.dev(), data.ino());
    fs::metadata(path).map(of).ok().is_some_and(|named| file.metadata().map(of).is_ok_and(|held| held == named))
}

pub(super) fn inode(data: &fs::Metadata) -> Inode {
    let device = u64::from(libc::major(data.dev())) << 20 | u64::from(libc::minor(data.dev()));
    Inode { device, inode: data.ino() }
}

/// Headers and notes of an ELF file.
///
/// # Errors
/// It is none, or a damaged one.
pub fn layout(file: &File) -> Result<Layout, &'static str> {
    let file = file.try_clone().map_err(|_| reason::UNREADABLE)?;
    let mut start = [0; 4];
    let elf = std::os::unix::fs::FileExt::read_at(&file, &mut start, 0).is_ok_and(|_| start == *b"\x7fELF");
    if !elf {
        return Err(reason::NO_ELF);
    }
    symbols::layout(&Reader::new(file)).map_err(|_| reason::DAMAGED)
}
