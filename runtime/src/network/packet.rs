//! Packets: the headers of a frame, from its bytes. Whatever the bytes are, it ends with what is known and what is wrong.
//!
//! It is what captures are read with, and what the parser in our BPF programs is tested against: a header counts if all
//! of its fixed part is there. Sources: RFC 791, 8200, 9293, 768, 9260, 792, 4443, 7348, 8926, IEEE 802.1Q.

use crate::network::flow::{
    Ethernet, Flow, FlowType, Icmp, Igmp, Ip, IpVersion, Layer4, Mac, Ports, Tcp, TcpFlags, Tunnel, TunnelProtocol,
    Vrrp,
};
use crate::network::message::Text;
use crate::network::protocol::Protocol;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// What a frame begins with. The numbers are those of pcap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Link {
    #[default]
    Ethernet,
    /// An IP header.
    Raw,
}

/// Ports that VXLAN is expected at: IANA's, and what Linux takes by default.
pub const VXLAN_PORTS: [u16; 2] = [4789, 8472];
pub const GENEVE_PORT: u16 = 6081;
/// Tags in a row: Q-in-Q, and one more.
const TAGS: usize = 3;
/// IPv6 extension headers in a row.
pub const EXTENSIONS: usize = 8;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;
/// A whole frame, in Geneve.
const BRIDGED: u16 = 0x6558;

/// Headers of a frame; of one in a tunnel, those of the inner frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Packet {
    pub ethernet: Option<(Mac, Mac)>,
    /// Tags, outer first; priority bits are cut off.
    pub vlans: Vec<u16>,
    /// Of what the link or the last tag says.
    pub ether_type: Option<u16>,
    pub ip: Option<IpHeader>,
    /// Of the first fragment, or of a whole packet.
    pub l4: Option<Layer4>,
    pub tunnel: Option<Tunnel>,
    /// Where in the frame the data behind the headers is.
    pub payload: Range<usize>,
    pub fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeader {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// What follows the last extension header.
    pub protocol: Protocol,
    pub fragment: Option<Fragment>,
    pub ttl: u8,
    /// Of header and data, as the header says.
    pub length: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    pub id: u32,
    /// Bytes before it; 0: the first one.
    pub offset: u32,
    pub more: bool,
}

/// Why a packet was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The frame ends inside of a header.
    Truncated,
    /// A length or a version that cannot be.
    Malformed,
    /// More tags or extension headers than anybody needs.
    TooDeep,
}

/// Reads a frame.
pub fn parse(frame: &[u8], link: Link) -> Packet {
    let mut packet = headers(frame, link, 0);
    if let Some((tunnel, inner)) = encapsulated(&packet, frame)
        && (inner.ip.is_some() || inner.ether_type.is_some())
    {
        packet = inner;
        packet.tunnel = Some(tunnel);
    }
    packet
}

/// Bytes that are read one after the other.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    frame: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], Fault> {
        let bytes = self.frame.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).ok_or(Fault::Truncated)?;
        self.at += N;
        Ok(bytes)
    }

    fn skip(&mut self, count: usize) -> Result<(), Fault> {
        self.at = self.at.checked_add(count).filter(|at| *at <= self.frame.len()).ok_or(Fault::Truncated)?;
        Ok(())
    }
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Headers from `start` on, no tunnels.
fn headers(frame: &[u8], link: Link, start: usize) -> Packet {
    let mut packet = Packet::default();
    let mut cursor = Cursor { frame, at: start };
    if let Err(fault) = read(&mut packet, &mut cursor, link) {
        packet.fault = Some(fault);
    }
    // Behind what an IP header counts there is padding.
    let end = if packet.payload.end == 0 { frame.len() } else { packet.payload.end };
    packet.payload = cursor.at.min(end)..end;
    packet
}

fn read(packet: &mut Packet, cursor: &mut Cursor, link: Link) -> Result<(), Fault> {
    let ether_type = match link {
        Link::Ethernet => Some(ethernet(packet, cursor)?),
        Link::Raw => None,
    };
    let version = cursor.frame.get(cursor.at).map(|byte| byte >> 4);
    match (ether_type, version) {
        (Some(IPV4) | None, Some(4)) => ipv4(packet, cursor)?,
        (Some(IPV6) | None, Some(6)) => ipv6(packet, cursor)?,
        (Some(IPV4 | IPV6) | None, None) => return Err(Fault::Truncated),
        (Some(IPV4 | IPV6) | None, Some(_)) => return Err(Fault::Malformed),
        (Some(_), _) => return Ok(()),
    }
    let Some(ip) = packet.ip else { return Ok(()) };
    if ip.fragment.is_none_or(|fragment| fragment.offset == 0) {
        packet.l4 = layer4(ip, cursor)?;
    }
    Ok(())
}

fn ethernet(packet: &mut Packet, cursor: &mut Cursor) -> Result<u16, Fault> {
    let header = cursor.take::<14>()?;
    let mac = |at: usize| header[at..].first_chunk::<6>().map_or_else(Mac::default, |octets| Mac(*octets));
    packet.ethernet = Some((mac(6), mac(0)));
    let mut ether_type = short(header, 12);
    while ether_type == VLAN || ether_type == QINQ {
        if packet.vlans.len() == TAGS {
            return Err(Fault::TooDeep);
        }
        let tag = cursor.take::<4>()?;
        packet.vlans.push(short(tag, 0) & 0x0fff);
        ether_type = short(tag, 2);
    }
    packet.ether_type = Some(ether_type);
    Ok(ether_type)
}

fn ipv4(packet: &mut Packet, cursor: &mut Cursor) -> Result<(), Fault> {
    let start = cursor.at;
    let header = cursor.take::<20>()?;
    let size = usize::from(header[0] & 0x0f) * 4;
    let total = usize::from(short(header, 2));
    // Zero stands for a length that the card fills in: what the sender's own host sees of large segments.
    if size < 20 || total != 0 && total < size {
        return Err(Fault::Malformed);
    }
    let (flags, id) = (short(header, 6), u32::from(short(header, 4)));
    let fragment = Fragment { id, offset: u32::from(flags & 0x1fff) * 8, more: flags & 0x2000 != 0 };
    let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    packet.ip = Some(IpHeader {
        source: address(12).into(),
        destination: address(16).into(),
        protocol: Protocol(header[9]),
        fragment: (fragment.offset != 0 || fragment.more).then_some(fragment),
        ttl: header[8],
        length: total as u32,
    });
    if total != 0 {
        packet.payload.end = cursor.frame.len().min(start + total);
    }
    cursor.skip(size - 20)
}

fn ipv6(packet: &mut Packet, cursor: &mut Cursor) -> Result<(), Fault> {
    let header = cursor.take::<40>()?;
    let address = |at: usize| header[at..].first_chunk::<16>().map_or(Ipv6Addr::UNSPECIFIED, |a| Ipv6Addr::from(*a));
    let length = usize::from(short(header, 4));
    let mut ip = IpHeader {
        source: address(8).into(),
        destination: address(24).into(),
        protocol: Protocol(header[6]),
        fragment: None,
        ttl: header[7],
        length: length as u32 + 40,
    };
    packet.ip = Some(ip);
    // Zero: a jumbogram, or a length that the card fills in.
    if length != 0 {
        packet.payload.end = cursor.frame.len().min(cursor.at + length);
    }
    let mut walked = Ok(());
    for passed in 0.. {
        let size = match ip.protocol.0 {
            // Hop by hop, routing, destination options, mobility, HIP, shim6: their length is in units of 8 bytes.
            0 | 43 | 60 | 135 | 139 | 140 => 8,
            // Authentication: in units of 4.
            51 => 4,
            44 => 0,
            _ => break,
        };
        if passed == EXTENSIONS {
            walked = Err(Fault::TooDeep);
            break;
        }
        let extension = match cursor.take::<8>() {
            Ok(extension) => extension,
            Err(fault) => {
                walked = Err(fault);
                break;
            }
        };
        ip.protocol = Protocol(extension[0]);
        walked = match size {
            0 => {
                let (id, place) = ([extension[4], extension[5], extension[6], extension[7]], short(extension, 2));
                let fragment =
                    Fragment { id: u32::from_be_bytes(id), offset: u32::from(place & 0xfff8), more: place & 1 != 0 };
                // An atomic fragment is a whole packet.
                ip.fragment = (fragment.offset != 0 || fragment.more).then_some(fragment);
                Ok(())
            }
            8 => cursor.skip(usize::from(extension[1]) * 8),
            _ => cursor.skip(usize::from(extension[1]) * 4),
        };
        if walked.is_err() || ip.fragment.is_some_and(|fragment| fragment.offset != 0) {
            break;
        }
    }
    packet.ip = Some(ip);
    walked
}

fn layer4(ip: IpHeader, cursor: &mut Cursor) -> Result<Option<Layer4>, Fault> {
    Ok(Some(match ip.protocol {
        Protocol::TCP => {
            let header = cursor.take::<20>()?;
            let size = usize::from(header[12] >> 4) * 4;
            let flags = TcpFlags(u16::from(header[12] & 1) << 8 | u16::from(header[13]));
            let tcp = Tcp { source_port: short(header, 0), destination_port: short(header, 2), flags };
            // A wrong length spoils the options only.
            let _options = cursor.skip(size.saturating_sub(20));
            Layer4::Tcp(tcp)
        }
        Protocol::UDP => Layer4::Udp(ports(cursor.take::<8>()?)),
        Protocol::SCTP => Layer4::Sctp(ports(cursor.take::<12>()?)),
        Protocol::ICMP => {
            let header = cursor.take::<4>()?;
            Layer4::Icmpv4(Icmp { kind: header[0], code: header[1] })
        }
        Protocol::ICMPV6 => {
            let header = cursor.take::<4>()?;
            Layer4::Icmpv6(Icmp { kind: header[0], code: header[1] })
        }
        Protocol::IGMP => {
            let header = cursor.take::<8>()?;
            let group = Ipv4Addr::new(header[4], header[5], header[6], header[7]);
            Layer4::Igmp(Igmp { kind: header[0], group_address: Text(Some(group.into())) })
        }
        Protocol::VRRP => {
            let header = cursor.take::<8>()?;
            Layer4::Vrrp(Vrrp { kind: header[0] & 0x0f, vrid: header[1], priority: header[2] })
        }
        _ => return Ok(None),
    }))
}

fn ports(header: &[u8]) -> Ports {
    Ports { source_port: short(header, 0), destination_port: short(header, 2) }
}

/// The frame in the data of a packet to a tunnel's port, and the headers around it.
fn encapsulated(packet: &Packet, frame: &[u8]) -> Option<(Tunnel, Packet)> {
    let Some(Layer4::Udp(Ports { destination_port, .. })) = &packet.l4 else { return None };
    if packet.ip?.fragment.is_some() {
        return None;
    }
    let mut cursor = Cursor { frame: frame.get(..packet.payload.end)?, at: packet.payload.start };
    let (protocol, link, vni) = if VXLAN_PORTS.contains(destination_port) {
        let header = cursor.take::<8>().ok()?;
        // The one flag says that the network's number is there.
        if header[0] & 0x08 == 0 {
            return None;
        }
        (TunnelProtocol::Vxlan, Link::Ethernet, [0, header[4], header[5], header[6]])
    } else if *destination_port == GENEVE_PORT {
        let header = cursor.take::<8>().ok()?;
        let link = match short(header, 2) {
            BRIDGED => Link::Ethernet,
            IPV4 | IPV6 => Link::Raw,
            _ => return None,
        };
        if header[0] >> 6 != 0 {
            return None;
        }
        cursor.skip(usize::from(header[0] & 0x3f) * 4).ok()?;
        (TunnelProtocol::Geneve, link, [0, header[4], header[5], header[6]])
    } else {
        return None;
    };
    let tunnel = Tunnel { protocol, ip: packet.ip.map(Ip::from), l4: packet.l4.clone(), vni: u32::from_be_bytes(vni) };
    Some((tunnel, headers(cursor.frame, link, cursor.at)))
}

impl From<IpHeader> for Ip {
    fn from(header: IpHeader) -> Ip {
        let version = if header.source.is_ipv4() { IpVersion::V4 } else { IpVersion::V6 };
        let address = |address| Text(Some(address));
        Ip { source: address(header.source), destination: address(header.destination), version, ..Ip::default() }
    }
}

impl Packet {
    /// A flow with what the packet itself says; who, where and whether it passed is for others to add.
    pub fn flow(&self) -> Flow {
        let ethernet = self
            .ethernet
            .map(|(source, destination)| Ethernet { source: Text(Some(source)), destination: Text(Some(destination)) });
        let mut flow = Flow {
            ethernet,
            ip: self.ip.map(Ip::from),
            l4: self.l4.clone(),
            tunnel: self.tunnel.clone(),
            kind: FlowType::L3L4,
            ..Flow::default()
        };
        flow.summary = flow.summarize();
        flow
    }
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
