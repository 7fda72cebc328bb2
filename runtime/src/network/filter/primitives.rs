//! What the words of a filter test, byte by byte: the same as libpcap's compiler for Ethernet, in the same order, so that
//! frames which end early pass or do not pass as they do there.

use super::check::{Check, Value};
use crate::slot::ir::{Arithmetic, Comparison, Size};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which end of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    Source,
    Destination,
    #[default]
    Either,
    Both,
}

pub const IP: u16 = 0x0800;
pub const ARP: u16 = 0x0806;
pub const RARP: u16 = 0x8035;
pub const IP6: u16 = 0x86dd;
const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
pub const ICMP6: u8 = 58;
pub const SCTP: u8 = 132;
/// Those that have ports.
pub const WITH_PORTS: [u8; 3] = [SCTP, TCP, UDP];

/// Where things lie in the frame: `vlan` moves them for all that comes behind it.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// The type of what comes next.
    kind: u32,
    /// The network's header.
    pub network: u32,
}

impl Default for Layout {
    fn default() -> Layout {
        Layout { kind: 12, network: 14 }
    }
}

fn at_either(way: Way, test: impl Fn(bool) -> Check) -> Check {
    match way {
        Way::Source => test(true),
        Way::Destination => test(false),
        Way::Either => Check::Or(vec![test(true), test(false)]),
        Way::Both => Check::And(vec![test(true), test(false)]),
    }
}

/// A MAC address: its end first.
pub fn mac(way: Way, mac: [u8; 6]) -> Check {
    let [a, b, rest @ ..] = mac;
    at_either(way, |source| {
        let base = if source { 6 } else { 0 };
        Check::And(vec![
            Check::equal(Value::load(base + 2, Size::B4), u32::from_be_bytes(rest)),
            Check::equal(Value::load(base, Size::B2), u16::from_be_bytes([a, b]).into()),
        ])
    })
}

pub fn multicast() -> Check {
    Check::compare(Comparison::NotEqual, Value::load(0, Size::B1).and(1), 0)
}

impl Layout {
    /// Ethernet says that this is inside.
    pub fn carries(self, kind: u16) -> Check {
        Check::equal(Value::load(self.kind, Size::B2), kind.into())
    }

    /// A tag, of this number if one is given; what follows lies behind it.
    pub fn vlan(&mut self, number: Option<u32>) -> Check {
        let tagged = Check::Or(TAGS.map(|kind| self.carries(kind)).into());
        let here = Value::load(self.network, Size::B2).and(0x0fff);
        self.kind += 4;
        self.network += 4;
        match number {
            None => tagged,
            Some(number) => Check::And(vec![tagged, Check::equal(here, number)]),
        }
    }

    fn byte(self, at: u32) -> Value {
        Value::load(self.network + at, Size::B1)
    }

    pub fn ip_protocol(self, protocol: u8) -> Check {
        Check::And(vec![self.carries(IP), Check::equal(self.byte(9), protocol.into())])
    }

    /// Next to the header, or behind the header of a fragment.
    pub fn ip6_protocol(self, protocol: u8) -> Check {
        let fragment = vec![Check::equal(self.byte(6), FRAGMENT.into()), Check::equal(self.byte(40), protocol.into())];
        let either = Check::Or(vec![Check::equal(self.byte(6), protocol.into()), Check::And(fragment)]);
        Check::And(vec![self.carries(IP6), either])
    }

    pub fn protocol(self, protocol: u8) -> Check {
        Check::Or(vec![self.ip6_protocol(protocol), self.ip_protocol(protocol)])
    }

    pub fn ip_multicast(self) -> Check {
        let group = Check::compare(Comparison::GreaterOrEqual, self.byte(16), 224);
        Check::And(vec![self.carries(IP), group])
    }

    pub fn ip6_multicast(self) -> Check {
        Check::And(vec![self.carries(IP6), Check::equal(self.byte(24), 255)])
    }

    /// Addresses of a prefix in packets of one kind: IPv4, IPv6, or those that ARP speaks of.
    pub fn net(self, kind: u16, way: Way, address: IpAddr, length: u8) -> Check {
        let (source, destination) = match kind {
            IP => (12, 16),
            IP6 => (8, 24),
            _ => (14, 24),
        };
        let end = |source_end: bool| {
            let base = self.network + if source_end { source } else { destination };
            match address {
                IpAddr::V4(address) => words(base, &[address.to_bits()], length),
                IpAddr::V6(address) => {
                    let bits = address.to_bits();
                    words(base, &[96, 64, 32, 0].map(|shift| (bits >> shift) as u32), length)
                }
            }
        };
        Check::And(vec![self.carries(kind), at_either(way, end)])
    }

    /// The same in whatever packets have such addresses.
    pub fn any_net(self, way: Way, address: IpAddr, length: u8) -> Check {
        match address {
            IpAddr::V6(_) => self.net(IP6, way, address, length),
            IpAddr::V4(_) => Check::Or([IP, ARP, RARP].map(|kind| self.net(kind, way, address, length)).into()),
        }
    }

    /// Ports from the first to the last; never of a later fragment, which has none.
    pub fn ports(self, protocols: &[u8], way: Way, first: u16, last: u16) -> Check {
        let within = |port: Value| match first == last {
            true => Check::equal(port, first.into()),
            false => Check::And(vec![
                Check::compare(Comparison::GreaterOrEqual, port.clone(), first.into()),
                Check::compare(Comparison::LessOrEqual, port, last.into()),
            ]),
        };
        let ip6 = |protocol: &u8| {
            let port = |source| within(Value::load(self.network + if source { 40 } else { 42 }, Size::B2));
            Check::And(vec![Check::equal(self.byte(6), (*protocol).into()), at_either(way, port)])
        };
        let ip = |protocol: &u8| {
            let port = |source| within(self.carried(Value::Number(if source { 0 } else { 2 }), Size::B2));
            let protocol = Check::equal(self.byte(9), (*protocol).into());
            Check::And(vec![protocol, self.is_first(), at_either(way, port)])
        };
        let of = |kind, ports: Vec<Check>| Check::And(vec![self.carries(kind), Check::Or(ports)]);
        Check::Or(vec![of(IP6, protocols.iter().map(ip6).collect()), of(IP, protocols.iter().map(ip).collect())])
    }

    /// Not a later fragment of IPv4.
    pub fn is_first(self) -> Check {
        Check::equal(Value::load(self.network + 6, Size::B2).and(0x1fff), 0)
    }

    /// A number in what IPv4 carries, so many bytes behind its header.
    pub fn carried(self, index: Value, size: Size) -> Value {
        let words = Value::binary(Arithmetic::And, self.byte(0), Value::Number(15));
        let header = Value::binary(Arithmetic::Multiply, words, Value::Number(4));
        match index {
            Value::Number(at) if at < 1 << 16 => {
                Value::Load { base: self.network + at, index: Some(Box::new(header)), size }
            }
            index => {
                let behind = Value::binary(Arithmetic::Add, header, index);
                Value::Load { base: self.network, index: Some(Box::new(behind)), size }
            }
        }
    }
}

/// The first `length` bits of the words at `base`.
fn words(base: u32, words: &[u32], length: u8) -> Check {
    let mut checks = Vec::new();
    for (n, word) in words.iter().enumerate() {
        let bits = u32::from(length).saturating_sub(32 * n as u32).min(32);
        if bits > 0 {
            let mask = u32::MAX << (32 - bits);
            checks.push(Check::equal(Value::load(base + 4 * n as u32, Size::B4).and(mask), word & mask));
        }
    }
    Check::And(checks)
}

/// `10`, `10.1`, `10.1.2.3` and how many bits of it are written.
pub fn partial(text: &str) -> Option<(Ipv4Addr, u8)> {
    let parts: Vec<u8> = text.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let mut octets = [0; 4];
    octets.get_mut(..parts.len())?.copy_from_slice(&parts);
    Some((octets.into(), 8 * parts.len() as u8))
}

/// Is nothing set behind the prefix?
pub fn is_prefix(address: IpAddr, length: u8) -> bool {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_shl(length.into()).unwrap_or(0) == 0,
        IpAddr::V6(address) => Ipv6Addr::to_bits(address).checked_shl(length.into()).unwrap_or(0) == 0,
    }
}
