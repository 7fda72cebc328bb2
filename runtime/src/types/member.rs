//! Members by name, those of anonymous structures and unions among their owner's.

use super::{Room, Type};
use crate::diagnostic::nearest;

/// Where a member lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub of: Type,
    /// From the start of the structure that was searched.
    pub bit_offset: u64,
    /// Width in bits of a bit-field, 0 for a plain member.
    pub bit_width: u32,
}

/// Structures nest less deeply than this.
const DEEPEST: usize = 16;

impl Type {
    /// The member of a structure or union with this name.
    pub fn member(&self, name: &str) -> Option<Found> {
        self.member_within(name, DEEPEST, &Room::new())
    }

    fn member_within(&self, name: &str, depth: usize, room: &Room) -> Option<Found> {
        let members = self.btf.members(self.btf.plain(self.id));
        if !room.take(members.len()) {
            return None;
        }
        if let Some(found) = members.iter().find(|member| member.name == name) {
            let of = self.with(found.id);
            return Some(Found { of, bit_offset: found.bit_offset.into(), bit_width: found.bit_width });
        }
        let unnamed = members.iter().filter(|member| member.name.is_empty() && depth > 0);
        unnamed.into_iter().find_map(|member| {
            let inner = self.with(member.id).member_within(name, depth - 1, room)?;
            Some(Found { bit_offset: inner.bit_offset + u64::from(member.bit_offset), ..inner })
        })
    }

    /// Every name that [`Type::member`] finds.
    pub fn member_names(&self) -> Vec<String> {
        self.names_within(DEEPEST, &Room::new())
    }

    fn names_within(&self, depth: usize, room: &Room) -> Vec<String> {
        let members = self.btf.members(self.btf.plain(self.id));
        if !room.take(members.len()) {
            return Vec::new();
        }
        let names = members.iter().flat_map(|member| match member.name {
            "" if depth > 0 => self.with(member.id).names_within(depth - 1, room),
            name => vec![name.to_owned()],
        });
        names.filter(|name| !name.is_empty()).collect()
    }

    /// The member whose name is nearest to `name`.
    pub fn near(&self, name: &str) -> Option<String> {
        let names = self.member_names();
        nearest(name, names.iter().map(String::as_str)).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_templates::btf::Btf;
    use std::sync::Arc;

    /// `struct { the same; the same; }`, and a function that takes itself twice: with sixteen levels, some 65,000 of each.
    #[test]
    fn types_that_hold_themselves_twice_are_told_in_bounded_time() {
        const STRUCT: u32 = 4 << 24 | 7;
        const PROTOTYPE: u32 = 13 << 24 | 7;
        let structure = [&[0, STRUCT, 8][..], &[0, 1, 0].repeat(7)].concat();
        let prototype = [&[0, PROTOTYPE, 2][..], &[0, 2].repeat(7)].concat();
        let types = [structure, prototype].concat();
        let header = [0x1_eb9f, 24, 0, 4 * types.len() as u32, 4 * types.len() as u32, 1];
        let mut bytes: Vec<u8> = header.iter().chain(&types).flat_map(|word| word.to_le_bytes()).collect();
        bytes.push(0);
        let btf = Arc::new(Btf::parse(bytes.into()).expect("it is well-formed"));
        let structure = Type::new(&btf, 1);
        assert_eq!((structure.member("a"), structure.member_names().len()), (None, 0));
        assert!(structure.definition().contains('…'));
        assert!(Type::new(&btf, 2).declare("f").contains('…'));
    }
}
