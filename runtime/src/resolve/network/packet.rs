//! Packets: `skb(args.skb)`. The headers are read where the kernel has noted them; of extension headers of IPv6 none is
//! passed, and of a fragment but the first there are no ports.

use super::Members;
use super::address::mapped;
use super::place::{Missing, Start};
use super::trees::{binary, choose, is, load, network_order, only, plus};
use crate::aggregate::column::Show;
use crate::network::names;
use crate::network::protocol::Protocol;
use crate::resolve::members::bytes_at;
use crate::resolve::scope::Typed;
use crate::slot::ir::{Arithmetic, Int, Size, Test};

pub const MEMBERS: Members = &[
    ("family", "`AF_INET` or `AF_INET6`; `AF_UNSPEC` of what is no IP packet"),
    ("saddr", "address that it comes from"),
    ("daddr", "address that it goes to"),
    ("sport", "port that it comes from (TCP, UDP, SCTP)"),
    ("dport", "port that it goes to"),
    ("protocol", "`tcp`, `udp`, `icmp`, …"),
    ("flags", "of TCP: FIN 1, SYN 2, RST 4, PSH 8, ACK 16"),
    ("len", "bytes of the packet, as far as it is unwrapped or wrapped up by now"),
    ("ifname", "name of the interface; empty where there is none yet, or no more"),
    ("netns", "number of the network namespace that the interface is in"),
];

const IFNAMSIZ: u16 = 16;

/// # Errors
/// The member that this kernel has not.
pub fn member(skb: &Start, name: &str) -> Result<Typed, Missing> {
    Ok(match name {
        "len" => Typed::int(skb.number("len")?),
        "netns" => Typed::int(skb.number("dev.nd_net.net.ns.inum")?),
        "ifname" => {
            // Without a device this is a small address, which cannot be read: an empty text.
            let (place, _) = skb.find("dev.name")?;
            Typed::Text { text: bytes_at(place, IFNAMSIZ), size: IFNAMSIZ }
        }
        "family" => {
            let family = only(is(version(), 6), Int::Constant(10));
            let family = choose(is(version(), 4), Int::Constant(2), family);
            Typed::shown(with_header(skb, family)?, Show::Enum(names::families()))
        }
        "saddr" => ends(skb, 12, 8)?,
        "daddr" => ends(skb, 16, 24)?,
        "protocol" => Typed::shown(with_header(skb, protocol())?, Show::Enum(names::protocols())),
        "flags" => {
            let tcp = vec![is(protocol(), Protocol::TCP.0.into()), is_first()];
            let flags = load(binary(Arithmetic::Add, header(), length()), 13, Size::B1);
            Typed::int(with_header(skb, only(Test::And(tcp), flags))?)
        }
        "sport" => port(skb, 0)?,
        _ => port(skb, 2)?,
    })
}

/// The value of an expression over the address of the IP header, `Bound(0)`.
fn with_header(skb: &Start, body: Int) -> Result<Int, Missing> {
    let header = binary(Arithmetic::Add, skb.number("head")?, skb.number("network_header")?);
    Ok(Int::Let { value: Box::new(header), body: Box::new(body) })
}

fn header() -> Int {
    Int::Bound(0)
}

fn version() -> Int {
    binary(Arithmetic::ShiftRight, load(header(), 0, Size::B1), Int::Constant(4))
}

/// Of the IP header.
fn length() -> Int {
    let words = binary(Arithmetic::And, load(header(), 0, Size::B1), Int::Constant(15));
    let v4 = binary(Arithmetic::ShiftLeft, words, Int::Constant(2));
    choose(is(version(), 4), v4, Int::Constant(40))
}

fn protocol() -> Int {
    let v6 = only(is(version(), 6), load(header(), 6, Size::B1));
    choose(is(version(), 4), load(header(), 9, Size::B1), v6)
}

/// Zero where it is no IP packet.
fn ends(skb: &Start, v4: i32, v6: i32) -> Result<Typed, Missing> {
    let word = |at| only(is(version(), 6), load(header(), at, Size::B8));
    let low = choose(is(version(), 4), mapped(load(header(), v4, Size::B4)), word(v6 + 8));
    Ok(Typed::Address { high: with_header(skb, word(v6))?, low: with_header(skb, low)? })
}

/// Not a later fragment: those have no header of their protocol.
fn is_first() -> Test {
    let offset = binary(Arithmetic::And, network_order(load(header(), 6, Size::B2)), Int::Constant(0x1fff));
    Test::Or(vec![is(version(), 6), is(offset, 0)])
}

fn port(skb: &Start, at: u64) -> Result<Typed, Missing> {
    let with_ports = [Protocol::TCP, Protocol::UDP, Protocol::SCTP].map(|known| is(protocol(), known.0.into()));
    let place = binary(Arithmetic::Add, header(), length());
    let port = network_order(load(plus(place, at), 0, Size::B2));
    let test = Test::And(vec![Test::Or(with_ports.into()), is_first()]);
    Ok(Typed::int(with_header(skb, only(test, port))?))
}
