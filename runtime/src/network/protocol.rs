//! Protocols above IP, by the names that policies and reports use.

use std::fmt;

/// A protocol number of the IP header. Source: IANA, protocol numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    pub const ICMP: Protocol = Protocol(1);
    pub const IGMP: Protocol = Protocol(2);
    pub const TCP: Protocol = Protocol(6);
    pub const UDP: Protocol = Protocol(17);
    pub const ICMPV6: Protocol = Protocol(58);
    pub const VRRP: Protocol = Protocol(112);
    pub const SCTP: Protocol = Protocol(132);

    /// By name, in any case, or by number.
    pub fn named(text: &str) -> Option<Protocol> {
        let lower = text.to_ascii_lowercase();
        let known = NAMES.iter().find(|(name, _)| *name == lower).map(|(_, protocol)| *protocol);
        known.or_else(|| {
            text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok().map(Protocol)).flatten()
        })
    }

    /// Do its packets begin with a source and a destination port?
    pub fn has_ports(self) -> bool {
        matches!(self, Protocol::TCP | Protocol::UDP | Protocol::SCTP)
    }

    pub fn is_icmp(self) -> bool {
        matches!(self, Protocol::ICMP | Protocol::ICMPV6)
    }
}

/// The first name of a number is the one it is shown by.
pub const NAMES: &[(&str, Protocol)] = &[
    ("icmp", Protocol::ICMP),
    ("icmpv4", Protocol::ICMP),
    ("igmp", Protocol::IGMP),
    ("tcp", Protocol::TCP),
    ("udp", Protocol::UDP),
    ("icmpv6", Protocol::ICMPV6),
    ("icmp6", Protocol::ICMPV6),
    ("vrrp", Protocol::VRRP),
    ("sctp", Protocol::SCTP),
];

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, protocol)| protocol == self) {
            Some((name, _)) => out.write_str(name),
            None => write!(out, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_read_in_any_case() {
        assert_eq!(Protocol::named("TCP"), Some(Protocol::TCP));
        assert_eq!(Protocol::named("icmpv4").map(|protocol| protocol.to_string()).as_deref(), Some("icmp"));
        assert_eq!(Protocol::named("89").map(|protocol| protocol.to_string()).as_deref(), Some("89"));
        for text in ["", "tpc", "256", "-1"] {
            assert_eq!(Protocol::named(text), None, "{text}");
        }
    }
}
