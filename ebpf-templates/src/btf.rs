//! BTF: the kernel's compact type format, read in place. Objects hold a few hundred types, the kernel some 100,000, so
//! only the offsets are indexed; a type is decoded when it is looked at.
//!
//! Source: Documentation/bpf/btf.rst.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A type's number within its BTF; 0 is `void`.
pub type Id = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Void,
    Int,
    Pointer,
    Array,
    Struct,
    Union,
    Enum,
    Forward,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Function,
    Prototype,
    Variable,
    Section,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
}

impl Kind {
    fn from_number(number: u32) -> Option<Kind> {
        use Kind::*;
        Some(match number {
            1 => Int,
            2 => Pointer,
            3 => Array,
            4 => Struct,
            5 => Union,
            6 => Enum,
            7 => Forward,
            8 => Typedef,
            9 => Volatile,
            10 => Const,
            11 => Restrict,
            12 => Function,
            13 => Prototype,
            14 => Variable,
            15 => Section,
            16 => Float,
            17 => DeclTag,
            18 => TypeTag,
            19 => Enum64,
            _ => return None,
        })
    }
}

/// What is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed BTF: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// One member of a structure or a union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    pub name: &'a str,
    pub id: Id,
    /// From the structure's start, in bits.
    pub bit_offset: u32,
    /// Width in bits of a bit-field, 0 for a plain member.
    pub bit_width: u32,
}

/// A decl tag: a text on a declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag<'a> {
    pub text: &'a str,
    pub target: Id,
    /// Number of the member or argument it stands on; `None`: on the whole declaration.
    pub component: Option<u32>,
}

/// The first type of this kind with this name, without an index of all types: for one look into the kernel's 5 MB.
pub fn find_in(bytes: &[u8], kind: Kind, name: &str) -> Option<Id> {
    if word(bytes, 0)? & 0xffff != 0xeb9f {
        return None;
    }
    let start = word(bytes, 4)? as usize;
    let part = |at: usize| bytes.get(start + word(bytes, at)? as usize..)?.get(..word(bytes, at + 4)? as usize);
    let (types, strings) = (part(8)?, part(16)?);
    let wanted = position(strings, name)?;
    let (mut at, mut id) = (0, 1);
    while at < types.len() {
        let info = word(types, at + 4)?;
        if word(types, at)? == wanted && Kind::from_number(info >> 24 & 31) == Some(kind) {
            return Some(id);
        }
        at += 12 + tail(info)?;
        id += 1;
    }
    None
}

/// Where a string section has this text.
fn position(strings: &[u8], text: &str) -> Option<u32> {
    // Every string stands between two NULs.
    let wanted = format!("\0{text}\0");
    Some(memchr::memmem::find(strings, wanted.as_bytes())? as u32 + 1)
}

/// Bytes of a type behind its first twelve; `None` for a kind that is not known.
fn tail(info: u32) -> Option<usize> {
    let count = (info & 0xffff) as usize;
    Some(match info >> 24 & 31 {
        1 | 14 | 17 => 4,
        3 => 12,
        4 | 5 | 15 | 19 => 12 * count,
        6 | 13 => 8 * count,
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

/// Parsed type information; borrows or owns its bytes.
pub struct Btf<'a> {
    types: Cow<'a, [u8]>,
    strings: Cow<'a, [u8]>,
    /// Where type `first + n` begins in `types`; of a base, entry 0 stands for void.
    offsets: Vec<u32>,
    /// What a module's types build on: theirs are numbered behind it, their strings too.
    base: Option<Arc<Btf<'a>>>,
    first: Id,
    first_string: u32,
}

impl<'a> Btf<'a> {
    /// Indexes a `.BTF` section or /sys/kernel/btf/vmlinux.
    ///
    /// # Errors
    /// The bytes are no BTF, or a record runs over the end.
    pub fn parse(bytes: Cow<'a, [u8]>) -> Result<Btf<'a>, Malformed> {
        Btf::parse_with(bytes, None)
    }

    /// Indexes a module's own types, /sys/kernel/btf/MODULE, on top of the kernel's.
    ///
    /// # Errors
    /// As [`Btf::parse`].
    pub fn parse_split(bytes: Cow<'a, [u8]>, base: Arc<Btf<'a>>) -> Result<Btf<'a>, Malformed> {
        Btf::parse_with(bytes, Some(base))
    }

    fn parse_with(bytes: Cow<'a, [u8]>, base: Option<Arc<Btf<'a>>>) -> Result<Btf<'a>, Malformed> {
        let header = |at: usize| word(&bytes, at).ok_or(Malformed("header is cut"));
        if header(0)? & 0xffff != 0xeb9f {
            return Err(Malformed("magic number"));
        }
        let start = header(4)? as usize;
        let part = |offset: u32, length: u32| {
            let from = start.checked_add(offset as usize)?;
            Some(from..from.checked_add(length as usize)?)
        };
        let types = part(header(8)?, header(12)?).ok_or(Malformed("type section"))?;
        let strings = part(header(16)?, header(20)?).ok_or(Malformed("string section"))?;
        let (types, strings) = match bytes {
            Cow::Borrowed(bytes) => (bytes.get(types).map(Cow::Borrowed), bytes.get(strings).map(Cow::Borrowed)),
            Cow::Owned(bytes) => (
                bytes.get(types).map(|part| Cow::Owned(part.to_vec())),
                bytes.get(strings).map(|part| Cow::Owned(part.to_vec())),
            ),
        };
        let (Some(types), Some(strings)) = (types, strings) else { return Err(Malformed("file is cut")) };
        let (first, first_string) = match &base {
            Some(base) => (base.end(), base.first_string + base.strings.len() as u32),
            None => (0, 0),
        };
        let mut offsets = if base.is_some() { Vec::new() } else { vec![0] };
        let mut at = 0;
        while at < types.len() {
            offsets.push(at as u32);
            let info = word(&types, at + 4).ok_or(Malformed("type is cut"))?;
            at += 12 + tail(info).ok_or(Malformed("unknown kind of type"))?;
        }
        if at != types.len() {
            return Err(Malformed("last type is cut"));
        }
        Ok(Btf { types, strings, offsets, base, first, first_string })
    }

    fn end(&self) -> Id {
        self.first + self.offsets.len() as Id
    }

    /// Every type's number, `void` and those of the base left out.
    pub fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        self.first.max(1)..self.end()
    }

    /// The first type of this kind with this name, the base's included.
    pub fn find(&self, kind: Kind, name: &str) -> Option<Id> {
        self.find_own(kind, name).or_else(|| self.base.as_ref()?.find(kind, name))
    }

    /// The first type of this kind with this name that is not the base's.
    pub fn find_own(&self, kind: Kind, name: &str) -> Option<Id> {
        // Every string is there once: numbers are compared, not texts.
        let own = position(&self.strings, name).map(|at| at + self.first_string);
        let bases = self.base.as_ref().and_then(|base| position(&base.strings, name));
        let named = |id: &Id| self.word(*id, 0).is_some_and(|at| Some(at) == own || Some(at) == bases);
        self.ids().find(|id| named(id) && self.kind(*id) == kind)
    }

    pub fn kind(&self, id: Id) -> Kind {
        if id == 0 {
            return Kind::Void;
        }
        self.word(id, 4).and_then(|info| Kind::from_number(info >> 24 & 31)).unwrap_or(Kind::Void)
    }

    /// Empty where a type has none.
    pub fn name(&self, id: Id) -> &str {
        if id == 0 {
            return "void";
        }
        self.string(self.word(id, 0).unwrap_or(0))
    }

    /// The type that a pointer, typedef, qualifier, variable or function refers to, or a tag stands on.
    pub fn target(&self, id: Id) -> Id {
        match self.kind(id) {
            Kind::Array => self.word(id, 12).unwrap_or(0),
            Kind::Void | Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Float => 0,
            _ => self.word(id, 8).unwrap_or(0),
        }
    }

    /// Behind typedefs, qualifiers and type tags.
    pub fn plain(&self, mut id: Id) -> Id {
        // A chain longer than this is a loop in malformed input.
        for _ in 0..64 {
            match self.kind(id) {
                Kind::Typedef | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => id = self.target(id),
                _ => break,
            }
        }
        id
    }

    /// Bytes that a value of this type takes; `None` for functions and incomplete types.
    pub fn size(&self, id: Id) -> Option<usize> {
        self.size_within(id, 16)
    }

    fn size_within(&self, id: Id, depth: usize) -> Option<usize> {
        let id = self.plain(id);
        match self.kind(id) {
            Kind::Pointer => Some(8),
            Kind::Array if depth > 0 => {
                self.size_within(self.target(id), depth - 1)?.checked_mul(self.array_length(id)?)
            }
            Kind::Variable if depth > 0 => self.size_within(self.target(id), depth - 1),
            Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Float | Kind::Section => {
                self.word(id, 8).map(|size| size as usize)
            }
            _ => None,
        }
    }

    /// Is this integer or enumeration signed?
    pub fn signed(&self, id: Id) -> bool {
        let id = self.plain(id);
        match self.kind(id) {
            Kind::Int => self.word(id, 12).is_some_and(|encoding| encoding >> 24 & 1 != 0),
            Kind::Enum | Kind::Enum64 => self.word(id, 4).is_some_and(|info| info >> 31 != 0),
            _ => false,
        }
    }

    /// Is this the C type `_Bool`?
    pub fn boolean(&self, id: Id) -> bool {
        let id = self.plain(id);
        self.kind(id) == Kind::Int && self.word(id, 12).is_some_and(|encoding| encoding >> 24 & 4 != 0)
    }

    /// Elements of an array type.
    pub fn array_length(&self, id: Id) -> Option<usize> {
        (self.kind(id) == Kind::Array).then(|| self.word(id, 20).map(|n| n as usize))?
    }

    /// Members of a structure or a union, in their order.
    pub fn members(&self, id: Id) -> Vec<Member<'_>> {
        if !matches!(self.kind(id), Kind::Struct | Kind::Union) {
            return Vec::new();
        }
        let bit_fields = self.word(id, 4).is_some_and(|info| info >> 31 != 0);
        let member = |n: usize| {
            let offset = self.word(id, 12 + 12 * n + 8)?;
            Some(Member {
                name: self.string(self.word(id, 12 + 12 * n)?),
                id: self.word(id, 12 + 12 * n + 4)?,
                bit_offset: if bit_fields { offset & 0xff_ffff } else { offset },
                bit_width: if bit_fields { offset >> 24 } else { 0 },
            })
        };
        (0..self.count(id)).map_while(member).collect()
    }

    /// Names and values of an enumeration.
    pub fn enumerators(&self, id: Id) -> Vec<(&str, i64)> {
        let signed = self.signed(id);
        let one = |n: usize| match self.kind(id) {
            Kind::Enum => {
                let value = self.word(id, 12 + 8 * n + 4)?;
                let value = if signed { i64::from(value as i32) } else { i64::from(value) };
                Some((self.string(self.word(id, 12 + 8 * n)?), value))
            }
            Kind::Enum64 => {
                let (low, high) = (self.word(id, 12 + 12 * n + 4)?, self.word(id, 12 + 12 * n + 8)?);
                Some((self.string(self.word(id, 12 + 12 * n)?), (u64::from(high) << 32 | u64::from(low)) as i64))
            }
            _ => None,
        };
        (0..self.count(id)).map_while(one).collect()
    }

    /// Does an incomplete type stand for a union?
    pub fn forward_is_union(&self, id: Id) -> bool {
        self.kind(id) == Kind::Forward && self.word(id, 4).is_some_and(|info| info >> 31 != 0)
    }

    /// Names and types of a prototype's arguments.
    pub fn arguments(&self, id: Id) -> Vec<(&str, Id)> {
        if self.kind(id) != Kind::Prototype {
            return Vec::new();
        }
        let argument = |n: usize| Some((self.string(self.word(id, 12 + 8 * n)?), self.word(id, 12 + 8 * n + 4)?));
        (0..self.count(id)).map_while(argument).collect()
    }

    /// Variables of a section: their types' numbers. Offsets are left out: they are 0 before linking.
    pub fn section_variables(&self, id: Id) -> Vec<Id> {
        if self.kind(id) != Kind::Section {
            return Vec::new();
        }
        (0..self.count(id)).map_while(|n| self.word(id, 12 + 12 * n)).collect()
    }

    /// Every decl tag.
    pub fn tags(&self) -> impl Iterator<Item = Tag<'_>> {
        self.ids().filter(|id| self.kind(*id) == Kind::DeclTag).map(|id| Tag {
            text: self.name(id),
            target: self.target(id),
            component: self.word(id, 12).filter(|n| *n != u32::MAX),
        })
    }

    /// The text at an offset of the string section; empty if it is out of range or not UTF-8.
    pub fn string(&self, offset: u32) -> &str {
        let Some(offset) = offset.checked_sub(self.first_string) else {
            return self.base.as_ref().map_or("", |base| base.string(offset));
        };
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(0);
        std::str::from_utf8(&rest[..end]).unwrap_or_default()
    }

    fn count(&self, id: Id) -> usize {
        self.word(id, 4).unwrap_or(0) as usize & 0xffff
    }

    fn word(&self, id: Id, at: usize) -> Option<u32> {
        if id == 0 {
            return None;
        }
        match id.checked_sub(self.first) {
            Some(own) => word(&self.types, *self.offsets.get(own as usize)? as usize + at),
            None => self.base.as_ref()?.word(id, at),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes([four[0], four[1], four[2], four[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_or_foreign_bytes_are_refused_without_a_panic() {
        assert!(Btf::parse(Cow::Borrowed(&[])).is_err());
        assert!(Btf::parse(Cow::Borrowed(b"\x7fELF....................")).is_err());
        let mut header = vec![0x9f, 0xeb, 1, 0, 24, 0, 0, 0];
        for value in [0u32, 12, 12, 4] {
            header.extend(value.to_ne_bytes());
        }
        assert!(Btf::parse(Cow::Borrowed(&header)).is_err(), "sections behind the end");
    }

    #[test]
    fn kernel_types_are_found_by_name() {
        let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            return println!("skipped: this kernel has no BTF");
        };
        let btf = Btf::parse(Cow::Owned(bytes)).unwrap();
        let task = btf.find(Kind::Struct, "task_struct").unwrap();
        let comm = *btf.members(task).iter().find(|member| member.name == "comm").unwrap();
        assert_eq!((btf.size(comm.id), comm.bit_width), (Some(16), 0));
        let bytes = std::fs::read("/sys/kernel/btf/vmlinux").unwrap();
        assert_eq!(find_in(&bytes, Kind::Struct, "task_struct"), Some(task));
        assert_eq!(find_in(&bytes, Kind::Struct, "no_such_struct"), None);
    }
}
