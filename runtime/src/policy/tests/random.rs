//! Random rules and packets, the same on every run. Few different values, so that much overlaps.

use crate::network::cidr::Cidr;
use crate::network::protocol::Protocol;
use crate::policy::rules::{Action, Direction, Packet, Peers, Prefix, Rule, Service, Side};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub struct Random(pub u64);

pub const PROTOCOLS: [Protocol; 6] =
    [Protocol::TCP, Protocol::UDP, Protocol::ICMP, Protocol::ICMPV6, Protocol::SCTP, Protocol(89)];

impl Random {
    /// Source: Vigna, splitmix64.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn one_of<T: Clone>(&mut self, choice: &[T]) -> T {
        choice[self.below(choice.len() as u64) as usize].clone()
    }

    /// Any address.
    pub fn address(&mut self, is_v4: bool) -> IpAddr {
        if is_v4 {
            Ipv4Addr::from(self.next() as u32).into()
        } else {
            Ipv6Addr::from(u128::from(self.next()) << 64 | u128::from(self.next())).into()
        }
    }

    /// One of few, with long common prefixes.
    pub fn near_address(&mut self) -> IpAddr {
        let low = self.one_of(&[0u64, 1, 2, 3, 0x100, 0x101, 0x8000, 0xffff]);
        if self.below(2) == 0 {
            let high = self.one_of(&[0x0a00_0000, 0x0a01_0000, 0xffff_0000, 0]);
            Ipv4Addr::from(high | low as u32).into()
        } else {
            let high = self.one_of(&[0xfd00, 0xfd00_0000_0001 << 16, 0x2001_0db8_0000_0001, u64::MAX]);
            Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)).into()
        }
    }

    pub fn cidr(&mut self) -> Cidr {
        let address = self.near_address();
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let length = match self.below(4) {
            0 => longest - self.below(12),
            1 => longest,
            _ => self.below(longest + 1),
        };
        Cidr::of(address, length as u8).expect("the family has such a length")
    }

    fn prefix(&mut self) -> Prefix {
        let cidr = self.cidr();
        let except = (0..self.below(3)).map(|_| self.cidr()).filter(|except| cidr.covers(*except)).collect();
        Prefix { cidr, except }
    }

    fn service(&mut self) -> Service {
        let protocol = self.one_of(&PROTOCOLS);
        let first = self.port();
        let ports = match self.below(4) {
            0 => Service::EVERY_PORT,
            1 => first..=first,
            2 => first..=first.saturating_add(self.below(300) as u16),
            _ => first..=u16::MAX,
        };
        Service { protocol, ports }
    }

    pub fn port(&mut self) -> u16 {
        self.one_of(&[0, 1, 8, 80, 128, 133, 135, 443, 1000, 8080, 32768, 65534, 65535])
    }

    pub fn rule(&mut self, number: u64) -> Rule {
        let peers = match self.below(5) {
            0 => Peers::Any,
            _ => Peers::Prefixes((0..self.below(5)).map(|_| self.prefix()).collect()),
        };
        Rule {
            name: format!("rule {number}").into(),
            action: self.one_of(&[Action::Allow, Action::Deny]),
            tier: self.below(3) as u32,
            peers,
            services: (0..self.one_of(&[0, 1, 1, 2, 5])).map(|_| self.service()).collect(),
            rate: None,
        }
    }

    pub fn side(&mut self) -> Side {
        let otherwise = self.one_of(&[Action::Allow, Action::Deny]);
        let count = self.one_of(&[0, 1, 3, 10, 40]);
        Side { otherwise, rules: (0..count).map(|number| self.rule(number)).collect() }
    }

    pub fn packet(&mut self, direction: Direction) -> Packet {
        let peer = match self.below(4) {
            0 => {
                let is_v4 = self.below(2) == 0;
                self.address(is_v4)
            }
            _ => self.near_address(),
        };
        let mut protocol = self.one_of(&PROTOCOLS);
        if self.below(10) == 0 {
            protocol = Protocol(self.next() as u8);
        }
        let port = match self.below(8) {
            0 => None,
            1 => Some(self.next() as u16),
            _ => Some(self.port().wrapping_add(self.below(3) as u16).wrapping_sub(1)),
        };
        Packet { direction, peer, protocol, port }
    }

    /// As in a list of addresses to deny: one prefix of a usual length, IPv4 and IPv6 in turn.
    pub fn listed(&mut self, number: u64) -> Rule {
        let (address, length) = match number % 2 {
            0 => (self.address(true), self.one_of(&[16, 20, 24, 24, 32, 32])),
            _ => (self.address(false), self.one_of(&[32, 48, 48, 56, 64, 128])),
        };
        let cidr = Cidr::of(address, length).expect("the family has such a length");
        let peers = Peers::Prefixes(vec![cidr.into()]);
        Rule { name: "list".into(), action: Action::Deny, tier: 0, peers, services: Vec::new(), rate: None }
    }
}
