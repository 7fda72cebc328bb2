//! The raw material of [`super::elf`]: segments, build id and function symbols of an ELF file of either class.

use std::collections::HashSet;
use std::ops::Range;

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym};
use object::read::{ReadRef, StringTable};
use object::{Endianness, FileKind, read};

use super::elf::{Function, Machine};
use super::reader::Reader;

/// A part of the file that is mapped executable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub address: u64,
    pub file_offset: u64,
    pub size: u64,
}

/// What the headers say.
#[derive(Debug)]
pub(crate) struct Layout {
    pub machine: Machine,
    pub go: bool,
    pub build_id: Option<Vec<u8>>,
    pub segments: Vec<Segment>,
    /// Addresses of the stubs through which other files' functions are called (`.plt`): no symbol covers them.
    pub stubs: Vec<Range<u64>>,
}

/// One defined function symbol; its `file_offset` is not known before [`select`].
pub(super) struct Symbol {
    function: Function,
    ifunc: bool,
    /// An old version of the name, kept for programs linked long ago.
    superseded: bool,
}

type Data<'data> = &'data Reader;

/// Programs have one or two of them; whatever a header says, each symbol is looked for in all.
pub(super) const MOST_SEGMENTS: usize = 64;

/// Reads headers and notes alone.
pub(crate) fn layout(data: Data) -> read::Result<Layout> {
    match FileKind::parse(data)? {
        FileKind::Elf32 => Ok(layout_class::<FileHeader32<Endianness>>(data)?.0),
        _ => Ok(layout_class::<FileHeader64<Endianness>>(data)?.0),
    }
}

/// Reads headers and symbols; the flag says that the full table (`.symtab`) is there.
pub(super) fn parse(data: Data) -> read::Result<(Layout, Vec<Symbol>, bool)> {
    match FileKind::parse(data)? {
        FileKind::Elf32 => parse_class::<FileHeader32<Endianness>>(data),
        _ => parse_class::<FileHeader64<Endianness>>(data),
    }
}

fn parse_class<H: FileHeader<Endian = Endianness>>(data: Data) -> read::Result<(Layout, Vec<Symbol>, bool)> {
    let (layout, endian, sections) = layout_class::<H>(data)?;
    let mut symbols = Vec::new();
    let full = table::<H>(endian, data, &sections, elf::SHT_SYMTAB, &mut symbols)?;
    table::<H>(endian, data, &sections, elf::SHT_DYNSYM, &mut symbols)?;
    Ok((layout, symbols, full))
}

type Sections<'data, H> = SectionTable<'data, H, Data<'data>>;

fn layout_class<'data, H: FileHeader<Endian = Endianness>>(
    data: Data<'data>,
) -> read::Result<(Layout, Endianness, Sections<'data, H>)> {
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let length = data.len().unwrap_or(0);
    let mut segments = Vec::new();
    let mut build_id = None;
    for part in header.program_headers(endian, data)? {
        if part.p_type(endian) == elf::PT_LOAD && part.p_flags(endian).contains(elf::PF_X) {
            let (file_offset, size) = part.file_range(endian);
            let address: u64 = part.p_vaddr(endian).into();
            // A damaged header may claim more than the file has; below, sums of the three are formed freely.
            let size = size.min(length.saturating_sub(file_offset));
            if address.checked_add(size).is_some() && segments.len() < MOST_SEGMENTS {
                segments.push(Segment { address, file_offset, size });
            }
        }
        if let Ok(Some(mut notes)) = part.notes(endian, data) {
            while let Ok(Some(note)) = notes.next() {
                if note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID {
                    build_id = Some(note.desc().to_vec());
                }
            }
        }
    }
    let go_section = |name: &[u8]| sections.section_by_name(endian, name).is_some();
    let go = go_section(b".go.buildinfo") || go_section(b".note.go.buildid");
    let machine = match header.e_machine(endian) {
        elf::EM_X86_64 => Machine::X86_64,
        elf::EM_AARCH64 => Machine::Aarch64,
        other => Machine::Other(other.0),
    };
    let named = |section: &&H::SectionHeader| {
        sections.section_name(endian, section).is_ok_and(|name| name.starts_with(b".plt"))
    };
    let range = |section: &H::SectionHeader| {
        let start: u64 = section.sh_addr(endian).into();
        start..start.saturating_add(section.sh_size(endian).into())
    };
    let stubs = sections.iter().filter(named).map(range).collect();
    Ok((Layout { machine, go, build_id, segments, stubs }, endian, sections))
}

/// Appends the functions of one symbol table; `false` if the file has no such table.
fn table<'data, H: FileHeader<Endian = Endianness>>(
    endian: Endianness,
    data: Data<'data>,
    sections: &Sections<'data, H>,
    kind: elf::SectionType,
    out: &mut Vec<Symbol>,
) -> read::Result<bool> {
    let Some((_, section)) = sections.enumerate().find(|(_, section)| section.sh_type(endian) == kind) else {
        return Ok(false);
    };
    let symbols = section.data_as_array::<H::Sym, _>(endian, data)?;
    if symbols.is_empty() {
        return Ok(false);
    }
    // All names at once: read one by one from a file, each would be a system call.
    let text = sections.section(section.link(endian))?.data(endian, data)?;
    let strings = StringTable::new(text, 0, text.len() as u64);
    let versions = match kind {
        elf::SHT_DYNSYM => sections.gnu_versym(endian, data)?.map(|(versions, _)| versions),
        _ => None,
    };
    for (index, symbol) in symbols.iter().enumerate() {
        let ifunc = symbol.st_type() == elf::STT_GNU_IFUNC;
        let address: u64 = symbol.st_value(endian).into();
        if !(ifunc || symbol.st_type() == elf::STT_FUNC) || symbol.is_undefined(endian) || address == 0 {
            continue;
        }
        let Ok(Ok(full_name)) = symbol.name(endian, strings).map(std::str::from_utf8) else {
            continue;
        };
        let (name, version) = full_name.split_once('@').map_or((full_name, None), |(n, v)| (n, Some(v)));
        let hidden = versions.and_then(|all| all.get(index)).is_some_and(|v| v.0.get(endian).is_hidden());
        out.push(Symbol {
            function: Function {
                name: name.to_owned(),
                address,
                file_offset: 0,
                size: symbol.st_size(endian).into(),
                global: symbol.st_bind() != elf::STB_LOCAL,
            },
            ifunc,
            superseded: hidden || version.is_some_and(|v| !v.starts_with('@')),
        });
    }
    Ok(true)
}

/// Symbols of all tables -> functions that can be probed, by address and name, and the names of IFUNCs.
pub(super) fn select(symbols: Vec<Symbol>, segments: &[Segment]) -> (Vec<Function>, Vec<String>) {
    let current: HashSet<String> = symbols.iter().filter(|s| !s.superseded).map(|s| s.function.name.clone()).collect();
    let (mut functions, mut ifuncs) = (Vec::new(), Vec::new());
    for Symbol { mut function, ifunc, superseded } in symbols {
        if superseded && current.contains(&function.name) {
            continue;
        }
        if ifunc {
            ifuncs.push(function.name);
        } else if let Some(file_offset) = file_offset(segments, function.address) {
            function.file_offset = file_offset;
            functions.push(function);
        }
    }
    // Of two entries for one function the exported, larger one is kept.
    functions.sort_by(|a, b| {
        let rank = |f: &Function| (!f.global, u64::MAX - f.size);
        (a.address, &a.name, rank(a)).cmp(&(b.address, &b.name, rank(b)))
    });
    functions.dedup_by(|b, a| (a.address, &a.name) == (b.address, &b.name));
    size_up(&mut functions, segments);
    (functions, ifuncs)
}

/// Gives functions without a size the room up to the next one, and cuts all at the end of their segment.
fn size_up(functions: &mut [Function], segments: &[Segment]) {
    let mut next = u64::MAX;
    let mut here = u64::MAX;
    for function in functions.iter_mut().rev() {
        if function.address != here {
            (next, here) = (here, function.address);
        }
        let segment = segments.iter().find(|s| s.holds(here));
        let end = segment.map_or(here, |s| s.address + s.size);
        if function.size == 0 {
            function.size = next.min(end) - here;
        }
        function.size = function.size.min(end - here);
    }
}

impl Segment {
    pub fn holds(&self, address: u64) -> bool {
        (self.address..self.address + self.size).contains(&address)
    }
}

/// Where a virtual address lies in the file; `None` outside the code.
pub(super) fn file_offset(segments: &[Segment], address: u64) -> Option<u64> {
    let segment = segments.iter().find(|segment| segment.holds(address))?;
    Some(segment.file_offset + (address - segment.address))
}
