//! Members by name, those of anonymous structures and unions among their owner's.

use super::Type;
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
        self.member_within(name, DEEPEST)
    }

    fn member_within(&self, name: &str, depth: usize) -> Option<Found> {
        let members = self.btf.members(self.btf.plain(self.id));
        if let Some(found) = members.iter().find(|member| member.name == name) {
            let of = self.with(found.id);
            return Some(Found { of, bit_offset: found.bit_offset.into(), bit_width: found.bit_width });
        }
        let unnamed = members.iter().filter(|member| member.name.is_empty() && depth > 0);
        unnamed.into_iter().find_map(|member| {
            let inner = self.with(member.id).member_within(name, depth - 1)?;
            Some(Found { bit_offset: inner.bit_offset + u64::from(member.bit_offset), ..inner })
        })
    }

    /// Every name that [`Type::member`] finds.
    pub fn member_names(&self) -> Vec<String> {
        self.names_within(DEEPEST)
    }

    fn names_within(&self, depth: usize) -> Vec<String> {
        let members = self.btf.members(self.btf.plain(self.id));
        let names = members.iter().flat_map(|member| match member.name {
            "" if depth > 0 => self.with(member.id).names_within(depth - 1),
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
