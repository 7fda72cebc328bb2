//! Units of fields: how a number of that unit is shown.

use crate::aggregate::column::{Enumeration, Show, StackShow};
use crate::network::{codes, names};
use crate::points::packets;
use crate::resolve::DEEPEST;
use crate::types::{KernelTypes, Type};
use skep_templates::btf::Kind;

/// How a field with this unit is shown.
pub fn show(unit: &str, types: &KernelTypes) -> Show {
    let chain = |user| Show::Stack(StackShow { user, depth: DEEPEST });
    match unit {
        "kstack" => chain(false),
        "ustack" => chain(true),
        "dev" => Show::Device,
        "signal" => Show::Signal,
        "errno" => Show::Errno,
        "syscall" => Show::Syscall,
        "cgroup" => Show::Cgroup,
        "uid" => Show::User,
        "addr" | "hex" => Show::Hex,
        "ksym" => Show::KernelSymbol,
        "tcp_state" => Show::Enum(names::tcp_states()),
        "protocol" => Show::Enum(names::protocols()),
        _ => match unit.strip_prefix("enum:") {
            Some(name) => enumeration(name, types).unwrap_or(Show::Decimal),
            None => packets::show(unit).or_else(|| codes::of(unit).map(Show::Enum)).unwrap_or(Show::Decimal),
        },
    }
}

/// An enumeration of the running kernel, without what all of its names begin with: `SKB_DROP_REASON_NO_SOCKET` is
/// `NO_SOCKET`. `None`: this kernel has none of that name, and numbers stay numbers.
fn enumeration(name: &str, types: &KernelTypes) -> Option<Show> {
    let found = [Kind::Enum, Kind::Enum64].into_iter().find_map(|kind| types.find(kind, name))?;
    Some(Show::Enum(Enumeration::shared(name, short(&found))))
}

fn short(of: &Type) -> Vec<(String, i64)> {
    let prefix = format!("{}_", of.name().to_ascii_uppercase());
    let cut = |name: &str| name.strip_prefix(&prefix).unwrap_or(name).to_owned();
    of.enumerators().into_iter().map(|(name, value)| (cut(name), value)).collect()
}
