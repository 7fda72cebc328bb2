//! CO-RE relocations, handed to the kernel as they stand in the object: from Linux 5.17 on it resolves them itself, and
//! nobody has to parse its 6 MB of type information. Source: kernel/bpf/verifier.c, check_core_relo().

use aya_obj::generated::bpf_func_info;
use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use skep_templates::btf::Btf;
use std::borrow::Cow;
use std::collections::HashMap;

/// As the kernel takes it: `struct bpf_core_relo`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// In bytes.
    pub insn_off: u32,
    pub type_id: u32,
    pub access_str_off: u32,
    pub kind: u32,
}

/// The relocations of one object, by the function they lie in, counted from its start.
#[derive(Clone, Debug, Default)]
pub struct Relocations {
    by_function: HashMap<String, Vec<Relocation>>,
}

impl Relocations {
    /// Takes the relocations out of an object: what is left has none. `None` where there are none to begin with.
    pub fn take(object: &mut [u8]) -> Option<Relocations> {
        let (relocations, length_at) = Self::read(object)?;
        object.get_mut(length_at..length_at + 4)?.fill(0);
        Some(relocations)
    }

    fn read(bytes: &[u8]) -> Option<(Relocations, usize)> {
        let file = object::File::parse(bytes).ok()?;
        let btf = Btf::parse(Cow::Borrowed(file.section_by_name(".BTF")?.data().ok()?)).ok()?;
        let section = file.section_by_name(".BTF.ext")?;
        let ext = section.data().ok()?;
        let word = |at: usize| Some(u32::from_ne_bytes(ext.get(at..at + 4)?.try_into().ok()?));
        let header = word(4)? as usize;
        if header < 32 {
            return None;
        }
        let mut at = header + word(24)? as usize;
        let end = at + word(28)? as usize;
        if at == end {
            return None;
        }
        let record = word(at)? as usize;
        // Shorter ones would be read again and again.
        if record < 16 {
            return None;
        }
        at += 4;
        let mut by_section: HashMap<String, Vec<Relocation>> = HashMap::new();
        while at < end {
            let name = btf.string(word(at)?).to_owned();
            let count = word(at + 4)? as usize;
            at += 8;
            let list = by_section.entry(name).or_default();
            for _ in 0..count {
                list.push(Relocation {
                    insn_off: word(at)?,
                    type_id: word(at + 4)?,
                    access_str_off: word(at + 8)?,
                    kind: word(at + 12)?,
                });
                at += record;
            }
        }
        let mut by_function = HashMap::new();
        for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
            let section = file.section_by_index(symbol.section_index()?).ok()?;
            let inside = symbol.address()..symbol.address().saturating_add(symbol.size());
            let list = by_section.get(section.name().ok()?).into_iter().flatten();
            let own = list.filter(|relocation| inside.contains(&u64::from(relocation.insn_off)));
            let own: Vec<Relocation> = own
                .map(|relocation| Relocation { insn_off: relocation.insn_off - symbol.address() as u32, ..*relocation })
                .collect();
            by_function.insert(symbol.name().ok()?.to_owned(), own);
        }
        let (file_offset, _) = section.file_range()?;
        Some((Relocations { by_function }, file_offset as usize + 28))
    }

    /// The relocations of a linked program: its functions lie where `functions` says.
    pub fn of_program(&self, functions: &[bpf_func_info], btf: &Btf<'_>) -> Vec<Relocation> {
        let mut all = Vec::new();
        for function in functions {
            let start = function.insn_off.wrapping_mul(8);
            let own = self.by_function.get(btf.name(function.type_id)).into_iter().flatten();
            all.extend(
                own.map(|relocation| Relocation { insn_off: relocation.insn_off.wrapping_add(start), ..*relocation }),
            );
        }
        all
    }
}
