//! Unwind tables of one ELF file: `.eh_frame`, which survives `strip`, and the index beside it.

use super::frame::{Cfa, Computed, Row, Rule};
use super::registers::Registers;
use crate::symbols::careful::careful;
use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, EndianSlice, FrameDescriptionEntry, LittleEndian, ParsedEhFrameHdr,
    RegisterRule, UnwindContext, UnwindExpression, UnwindSection,
};
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, SectionHeader};
use object::{Endianness, ReadRef};
use std::collections::HashMap;
use std::rc::Rc;

/// Those of the largest browsers have 20 MB.
const LONGEST: u64 = 256 << 20;
/// Rows that are kept; then it starts anew.
const KEPT: usize = 1 << 16;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The tables, and what was asked of them.
pub struct Tables {
    frames: Vec<u8>,
    index: Vec<u8>,
    bases: BaseAddresses,
    known: HashMap<u64, Option<Rc<Row>>>,
    context: Box<UnwindContext<usize>>,
}

impl Tables {
    /// `None`: it has none, or a damaged header.
    pub fn read<'data>(data: impl ReadRef<'data>) -> Option<Tables> {
        let header = FileHeader64::<Endianness>::parse(data).ok()?;
        let endian = header.endian().ok()?;
        let sections = header.sections(endian, data).ok()?;
        let find = |name: &[u8]| {
            let (_, section) = sections.section_by_name(endian, name)?;
            let short = section.sh_size(endian) <= LONGEST;
            Some((section.sh_addr(endian), short.then(|| section.data(endian, data).ok()).flatten()?))
        };
        let (address, frames) = find(b".eh_frame")?;
        let mut bases = BaseAddresses::default().set_eh_frame(address);
        let index = find(b".eh_frame_hdr").map(|(address, index)| {
            bases = bases.clone().set_eh_frame_hdr(address);
            index.to_vec()
        });
        if let Some((_, text)) = sections.section_by_name(endian, b".text") {
            bases = bases.set_text(text.sh_addr(endian));
        }
        let (known, context) = Default::default();
        Some(Tables { frames: frames.to_vec(), index: index.unwrap_or_default(), bases, known, context })
    }

    /// The sections themselves, and where they are.
    #[cfg(any(test, feature = "fuzz"))]
    pub fn of(frames: Vec<u8>, index: Vec<u8>, frames_at: u64, index_at: u64) -> Tables {
        let bases = BaseAddresses::default().set_eh_frame(frames_at).set_eh_frame_hdr(index_at);
        let (known, context) = Default::default();
        Tables { frames, index, bases, known, context }
    }

    /// What they say of an address of the file's own.
    pub fn row(&mut self, address: u64) -> Option<Rc<Row>> {
        if let Some(known) = self.known.get(&address) {
            return known.clone();
        }
        // gimli's arithmetic wraps on damaged tables, which panics in debug builds.
        let found = careful(|| self.find(address));
        if found.is_none() {
            *self.context = UnwindContext::default();
        }
        let row = found.flatten().map(Rc::new);
        if self.known.len() >= KEPT {
            self.known.clear();
        }
        self.known.insert(address, row.clone());
        row
    }

    fn find(&mut self, address: u64) -> Option<Row> {
        let mut frames = EhFrame::new(&self.frames, LittleEndian);
        frames.set_address_size(8);
        let index = EhFrameHdr::new(&self.index, LittleEndian).parse(&self.bases, 8).ok();
        let entry = entry(index.as_ref(), &frames, &self.bases, address)?;
        let found = entry.unwind_info_for_address(&frames, &self.bases, &mut self.context, address).ok()?;
        let computed = |expression: &UnwindExpression<usize>| {
            let code = expression.get(&frames).ok()?;
            Some(Computed { code: code.0.slice().into(), encoding: entry.cie().encoding() })
        };
        let cfa = match found.cfa() {
            CfaRule::RegisterAndOffset { register, offset } => Cfa::Register(Registers::place(register.0)?, *offset),
            CfaRule::Expression(expression) => Cfa::Computed(computed(expression)?),
        };
        let mut rules = Vec::new();
        for (register, rule) in found.registers() {
            // Of vector registers no frame depends.
            let Some(place) = Registers::place(register.0) else { continue };
            let rule = match rule {
                RegisterRule::Undefined => Rule::Undefined,
                RegisterRule::Offset(offset) => Rule::Saved(*offset),
                RegisterRule::ValOffset(offset) => Rule::Offset(*offset),
                RegisterRule::Register(other) => Rule::Register(Registers::place(other.0)?),
                RegisterRule::Expression(expression) => Rule::SavedAt(computed(expression)?),
                RegisterRule::ValExpression(expression) => Rule::Computed(computed(expression)?),
                _ => continue,
            };
            rules.push((place, rule));
        }
        let back = Registers::place(entry.cie().return_address_register().0)?;
        Some(Row { cfa, rules, back, signal: entry.is_signal_trampoline() })
    }
}

/// By the index where there is one; else by looking through all of them.
fn entry<'a>(
    index: Option<&ParsedEhFrameHdr<Slice<'a>>>,
    frames: &EhFrame<Slice<'a>>,
    bases: &BaseAddresses,
    address: u64,
) -> Option<FrameDescriptionEntry<Slice<'a>>> {
    match index.and_then(ParsedEhFrameHdr::table) {
        Some(table) => table.fde_for_address(frames, bases, address, EhFrame::cie_from_offset).ok(),
        None => frames.fde_for_address(bases, address, EhFrame::cie_from_offset).ok(),
    }
}
