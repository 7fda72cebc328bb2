//! USDT: probes that a program's author put into it. A path in; out come, from the notes of its `.note.stapsdt` section,
//! the sites of its probes with their *file offsets*. Needs only leave to read the file.
//!
//! Source of the format: systemtap's wiki, UserSpaceProbeImplementation; `<sys/sdt.h>` writes it.

use std::collections::HashMap;
use std::path::Path;

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable, Sym};
use object::read::{ReadRef, StringTable};
use object::{Endian, Endianness, FileKind, read};

use super::elf::Machine;
use super::files::{require_elf, unreadable};
use super::reader::{self, Reader};
use super::symbols::{MOST_SEGMENTS, Segment, file_offset};
use super::usdt_argument::{self, Argument, Operand};
use crate::diagnostic::Diagnostic;

/// One place in the code that a probe stands for; an inlined function has several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub provider: String,
    pub name: String,
    /// Virtual, as the file's headers place it.
    pub address: u64,
    /// What a uprobe takes.
    pub file_offset: u64,
    /// File offset of the counter that is not zero while somebody watches; 0: the probe has none.
    pub semaphore: u64,
    pub arguments: Vec<Argument>,
}

const OWNER: &[u8] = b"stapsdt";
const NOTES: &[u8] = b".note.stapsdt";
const BASE: &[u8] = b".stapsdt.base";
/// `NT_STAPSDT`: the only version of the notes that there ever was.
const VERSION: u32 = 3;

/// The sites of a file, by provider, name and place. Sites whose code is not in the file are left out.
///
/// # Errors
/// A diagnostic for a file that is missing, unreadable, no ELF file, or a damaged one.
pub fn sites(path: &Path) -> Result<Vec<Site>, Diagnostic> {
    require_elf(path)?;
    let file = reader::open(path).map_err(|error| unreadable(path, &error))?;
    let data = Reader::new(file);
    let damaged = |error| Diagnostic::machine(format!("`{}` is a damaged ELF file: {error}", path.display()));
    let found = match FileKind::parse(&data).map_err(damaged)? {
        FileKind::Elf32 => parse::<FileHeader32<Endianness>>(&data),
        _ => parse::<FileHeader64<Endianness>>(&data),
    };
    let mut sites = found.map_err(damaged)?;
    sites.sort_by(|a, b| (&a.provider, &a.name, a.file_offset).cmp(&(&b.provider, &b.name, b.file_offset)));
    sites.dedup();
    Ok(sites)
}

type Data<'data> = &'data Reader;

fn parse<H: FileHeader<Endian = Endianness>>(data: Data) -> read::Result<Vec<Site>> {
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let Some((_, notes)) = sections.section_by_name(endian, NOTES) else { return Ok(Vec::new()) };
    // A prelinked file has moved since its notes were written; this section, which they name the old place of, with it.
    let base = sections.section_by_name(endian, BASE).map(|(_, section)| section.sh_addr(endian).into());
    let mut segments = Vec::new();
    let length = data.len().unwrap_or(0);
    for part in header.program_headers(endian, data)? {
        let (file_offset, size) = part.file_range(endian);
        let address: u64 = part.p_vaddr(endian).into();
        // A damaged header may claim more than the file has.
        let size = size.min(length.saturating_sub(file_offset));
        if part.p_type(endian) == elf::PT_LOAD && address.checked_add(size).is_some() && segments.len() < MOST_SEGMENTS
        {
            segments.push(Segment { address, file_offset, size });
        }
    }
    let machine = match header.e_machine(endian) {
        elf::EM_X86_64 | elf::EM_386 => Machine::X86_64,
        elf::EM_AARCH64 => Machine::Aarch64,
        other => Machine::Other(other.0),
    };
    let mut sites = Vec::new();
    let Some(mut notes) = notes.notes(endian, data)? else { return Ok(sites) };
    while let Some(note) = notes.next()? {
        if note.name() != OWNER || note.n_type(endian).0 != VERSION {
            continue;
        }
        let width = if header.is_type_64() { 8 } else { 4 };
        let site = described(note.desc(), endian, width, base, &segments);
        sites.extend(site.map(|(site, text)| Site { arguments: usdt_argument::parse(text, machine), ..site }));
    }
    find_symbols::<H>(endian, data, &sections, &mut sites);
    Ok(sites)
}

/// One note's description, and what it says of the arguments; `None` where it makes no sense.
pub(crate) fn described<'data>(
    description: &'data [u8],
    endian: Endianness,
    width: usize,
    base: Option<u64>,
    segments: &[Segment],
) -> Option<(Site, &'data str)> {
    let (addresses, texts) = description.split_at_checked(3 * width)?;
    let word = |bytes: &[u8]| -> Option<u64> {
        Some(match width {
            8 => endian.read_u64(bytes.try_into().ok()?),
            _ => endian.read_u32(bytes.try_into().ok()?).into(),
        })
    };
    let mut words = addresses.chunks_exact(width).map(word);
    let (address, written_base, semaphore) = (words.next()??, words.next()??, words.next()??);
    let moved = base.map_or(0, |base| base.wrapping_sub(written_base));
    let address = address.wrapping_add(moved);
    let semaphore = match semaphore {
        0 => 0,
        semaphore => file_offset(segments, semaphore.wrapping_add(moved))?,
    };
    let mut texts = texts.split(|byte| *byte == 0).map(|text| std::str::from_utf8(text).ok());
    let (provider, name) = (texts.next()??.to_owned(), texts.next()??.to_owned());
    let arguments = texts.next().flatten().unwrap_or_default();
    let file_offset = file_offset(segments, address)?;
    Some((Site { provider, name, address, file_offset, semaphore, arguments: Vec::new() }, arguments))
}

/// Gives operands that name a variable its distance from their site; the symbol tables are read only for these.
fn find_symbols<'data, H: FileHeader<Endian = Endianness>>(
    endian: Endianness,
    data: Data<'data>,
    sections: &SectionTable<'data, H, Data<'data>>,
    sites: &mut [Site],
) {
    let named = |site: &Site| site.arguments.iter().any(|one| matches!(one.operand, Ok(Operand::Variable { .. })));
    if !sites.iter().any(named) {
        return;
    }
    let mut addresses: HashMap<&[u8], u64> = HashMap::new();
    for kind in [elf::SHT_SYMTAB, elf::SHT_DYNSYM] {
        let Ok(table) = sections.symbols(endian, data, kind) else { continue };
        // All names at once: read one by one from a file, each would be a system call.
        let strings = sections.section(table.string_section()).and_then(|section| section.data(endian, data));
        let Ok(text) = strings else { continue };
        let strings = StringTable::new(text, 0, text.len() as u64);
        for symbol in table.iter().filter(|symbol| !symbol.is_undefined(endian)) {
            if let Ok(name) = symbol.name(endian, strings) {
                addresses.entry(name).or_insert_with(|| symbol.st_value(endian).into());
            }
        }
    }
    for site in sites {
        let address = site.address;
        for argument in &mut site.arguments {
            let Ok(Operand::Variable { symbol, distance }) = &mut argument.operand else { continue };
            let found = addresses.get(symbol.as_bytes()).map(|found| found.wrapping_sub(address) as i64);
            match found.and_then(|found| found.checked_add(*distance)) {
                Some(found) => *distance = found,
                None => argument.operand = Err(format!("the file has no symbol `{symbol}`")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENTS: [Segment; 2] = [
        Segment { address: 0x1000, file_offset: 0x1000, size: 0x1000 },
        Segment { address: 0x4000, file_offset: 0x3000, size: 0x100 },
    ];

    fn description(words: [u64; 3], texts: &str) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).chain(texts.bytes()).collect()
    }

    fn read(description: &[u8], base: Option<u64>) -> Option<(Site, &str)> {
        described(description, Endianness::Little, 8, base, &SEGMENTS)
    }

    #[test]
    fn code_and_semaphore_become_file_offsets() {
        let note = description([0x1253, 0x2008, 0x403c], "skep\0numbers\0-4@%eax 8@%rdi\0");
        let (site, arguments) = read(&note, Some(0x2008)).unwrap();
        assert_eq!((site.address, site.file_offset, site.semaphore), (0x1253, 0x1253, 0x303c));
        assert_eq!((site.provider.as_str(), site.name.as_str(), arguments), ("skep", "numbers", "-4@%eax 8@%rdi"));
    }

    #[test]
    fn file_that_was_moved_since_is_followed_by_its_base() {
        let note = description([0x253, 0x1008, 0x303c], "a\0b\0\0");
        let (site, arguments) = read(&note, Some(0x2008)).unwrap();
        assert_eq!((site.file_offset, site.semaphore, arguments), (0x1253, 0x303c, ""));
        // Code that is not in the file.
        assert!(read(&note, None).is_none());
    }

    #[test]
    fn file_of_32_bits_has_shorter_addresses() {
        let words = [0x1253u32, 0x2008, 0].iter().flat_map(|word| word.to_le_bytes());
        let note: Vec<u8> = words.chain(*b"a\0b\0-4@%eax\0").collect();
        let (site, arguments) = described(&note, Endianness::Little, 4, None, &SEGMENTS).unwrap();
        assert_eq!((site.file_offset, site.semaphore, arguments), (0x1253, 0, "-4@%eax"));
    }

    #[test]
    fn cut_notes_are_left_out_and_never_panic() {
        let note = description([0x1253, 0x2008, 0x403c], "skep\0numbers\0-4@%eax\0");
        let shortest = 24 + "skep\0".len();
        (0..shortest).for_each(|length| assert!(read(&note[..length], None).is_none(), "{length}"));
        (shortest..note.len()).for_each(|length| assert!(read(&note[..length], None).is_some(), "{length}"));
        assert!(read(&description([0x1253, 0, 0], "\u{fe}\0\0\0"), None).is_some());
        assert!(read(&description([u64::MAX, 1, u64::MAX], "a\0b\0\0"), Some(0)).is_none());
    }
}
