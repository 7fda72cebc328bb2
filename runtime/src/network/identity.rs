//! Identities: the numbers that stand for who a peer is. The reserved ones are Cilium's; ours are stable, so that two
//! runs, or two nodes with the same labels, call the same thing by the same number. Pure.

use crate::network::cidr::Cidr;
use std::collections::HashMap;
use std::fmt;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity(pub u32);

/// By their numbers.
const RESERVED: [&str; 12] = [
    "unknown",
    "host",
    "world",
    "unmanaged",
    "health",
    "init",
    "remote-node",
    "kube-apiserver",
    "ingress",
    "world-ipv4",
    "world-ipv6",
    "encrypted-overlay",
];
/// Below are those that Cilium reserves.
const FIRST: u32 = 256;
/// From here on they stand for prefixes.
const CIDRS: u32 = 1 << 24;

impl Identity {
    pub const HOST: Identity = Identity(1);
    pub const WORLD: Identity = Identity(2);
    pub const REMOTE_NODE: Identity = Identity(6);
    pub const KUBE_APISERVER: Identity = Identity(7);

    /// `world`; `None`: it has a number only.
    pub fn name(self) -> Option<&'static str> {
        RESERVED.get(self.0 as usize).copied()
    }

    /// By name or number.
    pub fn named(text: &str) -> Option<Identity> {
        let reserved = RESERVED.iter().position(|name| *name == text.trim_start_matches("reserved:"));
        reserved.map(|number| Identity(number as u32)).or_else(|| text.parse().ok().map(Identity))
    }

    pub fn names() -> impl Iterator<Item = &'static str> {
        RESERVED.into_iter()
    }

    /// Of what has these labels, in any order.
    pub fn of_labels(labels: &[String]) -> Identity {
        let mut labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        labels.sort_unstable();
        if let [label] = labels.as_slice()
            && let Some(reserved) = label.strip_prefix("reserved:").and_then(Identity::named)
        {
            return reserved;
        }
        Identity(FIRST + fnv1a(labels.join(";").as_bytes()) % (CIDRS - FIRST))
    }
}

/// As compact output shows it: `(world)`, `(ID:4711)`.
impl fmt::Display for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(out, "({name})"),
            None => write!(out, "(ID:{})", self.0),
        }
    }
}

/// Numbers of prefixes, in the order in which they came up.
#[derive(Debug, Default)]
pub struct Prefixes(HashMap<Cidr, u32>);

impl Prefixes {
    pub fn identity(&mut self, prefix: Cidr) -> Identity {
        let next = CIDRS + 1 + self.0.len() as u32;
        Identity(*self.0.entry(prefix).or_insert(next))
    }
}

/// Source: Fowler, Noll, Vo; 32 bits, variant 1a.
pub fn fnv1a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_in_any_order_are_one_identity_and_reserved_ones_keep_their_number() {
        let of =
            |labels: &[&str]| Identity::of_labels(&labels.iter().map(|label| label.to_string()).collect::<Vec<_>>());
        assert_eq!(of(&["k8s:app=web", "k8s:tier=a"]), of(&["k8s:tier=a", "k8s:app=web"]));
        assert_ne!(of(&["k8s:app=web"]), of(&["k8s:app=wed"]));
        assert!((FIRST..CIDRS).contains(&of(&["k8s:app=web"]).0));
        assert_eq!(of(&["reserved:kube-apiserver"]), Identity::KUBE_APISERVER);
    }

    #[test]
    fn prefixes_are_numbered_as_they_come() {
        let mut prefixes = Prefixes::default();
        let prefix = |text: &str| text.parse::<Cidr>().expect("it is one");
        assert_eq!(prefixes.identity(prefix("10.0.0.0/8")), Identity(16_777_217));
        assert_eq!(prefixes.identity(prefix("fd00::/8")), Identity(16_777_218));
        assert_eq!(prefixes.identity(prefix("10.0.0.0/8")), Identity(16_777_217));
    }

    #[test]
    fn known_hashes_come_out() {
        assert_eq!((fnv1a(b""), fnv1a(b"a"), fnv1a(b"foobar")), (0x811c_9dc5, 0xe40c_292c, 0xbf9c_f968));
    }
}
