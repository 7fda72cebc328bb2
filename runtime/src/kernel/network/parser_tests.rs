//! The parser of packet.bpf.h against one of the test's own, on random packets, whole, cut and spoilt: the same answer for
//! each, from XDP as from tc. Layout: `struct parsed` of tests/fixtures/templates/parsed.bpf.c.

use super::{Hook, Interface};
use crate::kernel::load::{self, Loaded, Request};
use crate::kernel::privilege;
use crate::kernel::sys;
use std::collections::HashMap;
use std::os::fd::AsFd;

const OBJECT: &[u8] = include_bytes!("../../../../tests/fixtures/templates/parsed.bpf.o");

/// What is compared.
#[derive(Clone, Debug, Default, PartialEq)]
struct Packet {
    addresses: [u8; 32],
    family: u8,
    protocol: u8,
    ports: Option<(u16, u16)>,
    cut: bool,
    fragment: u8,
    ttl: u8,
    flags: u8,
    tags: Vec<u16>,
    offsets: [u16; 3],
}

impl Packet {
    /// From `struct packet`.
    fn read(bytes: &[u8]) -> Packet {
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let tags = [word(48), word(50)];
        Packet {
            addresses: bytes[..32].try_into().expect("32 bytes"),
            family: bytes[34],
            protocol: bytes[35],
            ports: (bytes[40] != 0).then(|| (word(36), word(38))),
            cut: bytes[41] != 0,
            fragment: bytes[42],
            ttl: bytes[43],
            flags: bytes[45],
            tags: tags[..bytes[46].into()].to_vec(),
            offsets: [word(64), word(66), word(68)],
        }
    }

    /// From a frame of Ethernet; `None` in the middle: it ends there.
    fn of_ethernet(data: &[u8], start: usize) -> Packet {
        let mut packet = Packet::default();
        packet.cut = packet.ethernet(data, start).is_none();
        packet
    }

    fn ethernet(&mut self, data: &[u8], start: usize) -> Option<()> {
        data.get(start..start + 14)?;
        let mut at = start + 14;
        let mut kind = word(data, start + 12)?;
        while matches!(kind, 0x8100 | 0x88a8) && self.tags.len() < 2 {
            data.get(at..at + 4)?;
            self.tags.push(word(data, at)? & 0xfff);
            kind = word(data, at + 2)?;
            at += 4;
        }
        self.network(kind, data, at)
    }

    fn network(&mut self, kind: u16, data: &[u8], at: usize) -> Option<()> {
        self.offsets = [at as u16; 3];
        match kind {
            0x800 => self.ipv4(data, at),
            0x86dd => self.ipv6(data, at),
            _ => Some(()),
        }
    }

    fn ipv4(&mut self, data: &[u8], at: usize) -> Option<()> {
        let header = data.get(at..at + 20)?;
        let length = usize::from(header[0] & 15) * 4;
        if header[0] >> 4 != 4 || length < 20 {
            return None;
        }
        (self.family, self.ttl, self.protocol) = (4, header[8], header[9]);
        self.addresses[..4].copy_from_slice(&header[12..16]);
        self.addresses[16..20].copy_from_slice(&header[16..20]);
        let fragment = word(header, 6)?;
        self.fragment = if fragment & 0x1fff != 0 { 2 } else { u8::from(fragment & 0x2000 != 0) };
        self.transport(data, at + length)
    }

    fn ipv6(&mut self, data: &[u8], at: usize) -> Option<()> {
        let header = data.get(at..at + 40)?;
        if header[0] >> 4 != 6 {
            return None;
        }
        (self.family, self.protocol, self.ttl) = (6, header[6], header[7]);
        self.addresses.copy_from_slice(&header[8..40]);
        let mut at = at + 40;
        for passed in 0.. {
            if !matches!(self.protocol, 0 | 43 | 44 | 51 | 60) {
                break;
            }
            let extension = data.get(at..at + 8).filter(|_| passed < 4)?;
            let kind = std::mem::replace(&mut self.protocol, extension[0]);
            at += match kind {
                44 => 8,
                51 => 4 * (usize::from(extension[1]) + 2),
                _ => 8 * (usize::from(extension[1]) + 1),
            };
            match word(extension, 2)? {
                offset if kind == 44 && offset & 0xfff8 != 0 => {
                    self.fragment = 2;
                    break;
                }
                offset if kind == 44 && offset & 1 != 0 => self.fragment = 1,
                _ => {}
            }
        }
        self.transport(data, at)
    }

    fn transport(&mut self, data: &[u8], at: usize) -> Option<()> {
        self.offsets[1..].fill(at as u16);
        let rest = data.get(at..).unwrap_or_default();
        let least = match self.protocol {
            _ if self.fragment == 2 => return Some(()),
            6 => 20,
            17 | 132 => 4,
            1 | 58 => 8,
            _ => return Some(()),
        };
        let header = rest.get(..least)?;
        let ports = (word(header, 0)?, word(header, 2)?);
        let mut length = match self.protocol {
            17 | 1 | 58 => 8,
            132 => 12,
            _ => 0,
        };
        self.ports = Some(if matches!(self.protocol, 1 | 58) { (0, header[0].into()) } else { ports });
        if self.protocol == 6 {
            length = u16::from(header[12] >> 4) * 4;
            self.flags = header[13];
        }
        self.offsets[2] += length;
        (self.protocol != 6 || length >= 20).then_some(())
    }

    /// The packet in a tunnel.
    fn inner(&self, data: &[u8]) -> Option<(u32, Packet)> {
        let port = self.ports.filter(|_| self.protocol == 17 && !self.cut)?.1;
        let at = usize::from(self.offsets[2]);
        let header = data.get(at..at + 8).filter(|_| matches!(port, 4789 | 6081))?;
        let vni = u32::from_be_bytes([0, header[4], header[5], header[6]]);
        if port == 4789 {
            return (header[0] & 8 != 0).then(|| (vni, Packet::of_ethernet(data, at + 8)));
        }
        let at = at + 8 + 4 * usize::from(header[0] & 63);
        if header[0] >> 6 != 0 {
            return None;
        }
        let kind = word(header, 2)?;
        let mut packet = Packet::default();
        let done = if kind == 0x6558 { packet.ethernet(data, at) } else { packet.network(kind, data, at) };
        packet.cut = done.is_none();
        Some((vni, packet))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

/// xorshift64*
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }

    fn frame(&mut self, deep: bool) -> Vec<u8> {
        let mut frame = self.bytes(12);
        for _ in 0..self.one(&[0, 0, 0, 1, 2, 3]) {
            frame.extend(self.one(&[[0x81, 0], [0x88, 0xa8]]));
            frame.extend(self.bytes(2));
        }
        let ipv6 = self.below(2) == 1;
        frame.extend(if self.below(16) == 0 {
            [8, 6]
        } else if ipv6 {
            [0x86, 0xdd]
        } else {
            [8, 0]
        });
        let protocol = self.one(&[6u8, 17, 17, 17, 132, 1, 58, 89]);
        if ipv6 {
            self.ipv6(protocol, &mut frame)
        } else {
            self.ipv4(protocol, &mut frame)
        }
        let port = self.one(&[80u16, 4789, 6081]).to_be_bytes();
        let mut header = self.bytes(20);
        header[2..4].copy_from_slice(&port);
        header[12] = self.one(&[0x50, 0x50, 0x60, 0x40]);
        header.truncate(if protocol == 17 { 8 } else { 20 });
        frame.extend(header);
        if deep {
            let words = self.below(3) as u8;
            frame.extend([self.one(&[8, 8, words]), 0]);
            frame.extend(self.one(&[[0x65, 0x58], [0x65, 0x58], [8, 0], [0x86, 0xdd]]));
            frame.extend(self.bytes(4));
            let options = 4 * usize::from(words) * self.below(2);
            frame.extend(self.bytes(options));
            frame.extend(self.frame(false));
        }
        frame
    }

    fn ipv4(&mut self, protocol: u8, frame: &mut Vec<u8>) {
        let options = 4 * self.one(&[0, 0, 1, 10]);
        let mut header = self.bytes(20 + options);
        header[0] = 0x40 | (header.len() / 4) as u8;
        let fragment = self.one(&[0u16, 0, 0, 0x4000, 0x2000, 0x2007, 9]);
        header[6..8].copy_from_slice(&fragment.to_be_bytes());
        header[9] = protocol;
        frame.extend(header);
    }

    fn ipv6(&mut self, protocol: u8, frame: &mut Vec<u8>) {
        let chain: Vec<u8> = (0..self.one(&[0, 0, 1, 2, 3, 4, 5])).map(|_| self.one(&[0, 43, 44, 51, 60])).collect();
        let mut header = self.bytes(40);
        (header[0], header[6]) = (0x60, *chain.first().unwrap_or(&protocol));
        frame.extend(header);
        for (n, kind) in chain.iter().enumerate() {
            let units = self.below(3) as u8;
            let length = match kind {
                44 => 8,
                51 => 4 * (usize::from(units) + 2),
                _ => 8 * (usize::from(units) + 1),
            };
            let mut extension = self.bytes(length);
            (extension[0], extension[1]) = (*chain.get(n + 1).unwrap_or(&protocol), units);
            if *kind == 44 {
                extension[2..4].copy_from_slice(&self.one(&[0u16, 1, 1, 8, 9]).to_be_bytes());
            }
            frame.extend(extension);
        }
    }
}

fn loaded() -> Loaded {
    let programs = [("of_xdp", Hook::Xdp), ("of_tc", Hook::TcIngress)];
    load::load(Request {
        template: "parsed",
        object: OBJECT,
        constants: &[],
        slots: &[],
        programs: &programs.map(|(name, hook)| (name.to_owned(), hook.program_kind())),
        module_types: None,
        maps: HashMap::new(),
    })
    .unwrap_or_else(|error| panic!("{}", error.message))
}

#[test]
fn parser_reads_random_packets_as_a_plain_one_does() {
    if privilege::skips(&["CAP_BPF", "CAP_NET_ADMIN"]) {
        return;
    }
    assert!(Interface::all().is_ok_and(|all| !all.is_empty()));
    let loaded = loaded();
    let mut random = Random(0x5eed);
    let (mut whole, mut tunnels) = (0, 0);
    for round in 0..12_000 {
        let deep = random.below(2) == 0;
        let mut frame = random.frame(deep);
        if random.below(3) == 0 {
            frame.truncate(random.below(frame.len() + 1));
        }
        for _ in 0..random.one(&[0, 0, 1, 2]) {
            let (at, to) = (random.below(frame.len().max(1)), random.below(256) as u8);
            frame.iter_mut().skip(at).take(1).for_each(|byte| *byte = to);
        }
        // What the kernel takes for a packet.
        frame.resize(frame.len().max(14), 0);
        let outer = Packet::of_ethernet(&frame, 0);
        let inner = outer.inner(&frame);
        whole += usize::from(!outer.cut);
        tunnels += usize::from(inner.is_some());
        for (n, program) in loaded.programs.iter().enumerate() {
            // Behind a tag that it takes off, an skb has no place for the rest: that is for real packets to test.
            if n == 1 && (!outer.tags.is_empty() || sys::refused_as_buffer(&frame)) {
                continue;
            }
            sys::test_run(program.as_fd(), &frame, 1).expect("it runs");
            let kept = loaded.maps["result"].lookup(&0u32.to_ne_bytes()).expect("it is read").expect("it is there");
            assert_eq!(Packet::read(&kept), outer, "round {round}, program {n}: {frame:02x?}");
            let word = |at: usize| u32::from_ne_bytes(kept[at..at + 4].try_into().expect("four bytes"));
            let found = (word(148) != 0).then(|| (word(144), Packet::read(&kept[72..])));
            assert_eq!(found, inner, "round {round}, program {n}: {frame:02x?}");
        }
    }
    assert!(whole > 3000 && tunnels > 300, "{whole} whole, {tunnels} tunnels: the packets are good for something");
}
