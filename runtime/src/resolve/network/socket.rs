//! Sockets: `sock(args.sk)`. The addresses are those of any IP socket; the amounts are TCP's.

use super::Members;
use super::address::mapped;
use super::place::{Missing, Start};
use super::trees::{binary, choose, is, network_order, only, word};
use crate::aggregate::column::Show;
use crate::network::names;
use crate::network::protocol::Protocol;
use crate::resolve::scope::Typed;
use crate::slot::ir::{Arithmetic, Int, Test};

pub const MEMBERS: Members = &[
    ("family", "`AF_INET`, `AF_INET6`, `AF_UNIX`, …"),
    ("saddr", "address of this end"),
    ("daddr", "address of the other end"),
    ("sport", "port of this end"),
    ("dport", "port of the other end"),
    ("state", "of TCP, by name: `ESTABLISHED`, `SYN_SENT`, …"),
    ("protocol", "`tcp`, `udp`, …"),
    ("netns", "number of the network namespace, as in /proc/PID/ns/net"),
    ("tx", "bytes sent so far, each once (TCP)"),
    ("rx", "bytes received so far (TCP); the end of the stream counts as one"),
    ("srtt", "smoothed round-trip time in microseconds (TCP)"),
    ("retransmits", "segments sent again so far (TCP)"),
    ("cgroup", "control group (v2) of who made it"),
];

const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const TIME_WAIT: u64 = 6;
const NEW_SYN_RECV: u64 = 12;

/// # Errors
/// The member that this kernel has not.
pub fn member(sock: &Start, name: &str) -> Result<Typed, Missing> {
    let common = |member: &str| sock.number(&format!("__sk_common.{member}"));
    Ok(match name {
        "family" => Typed::shown(common("skc_family")?, Show::Enum(names::families())),
        "saddr" => address(sock, "skc_rcv_saddr", "skc_v6_rcv_saddr")?,
        "daddr" => address(sock, "skc_daddr", "skc_v6_daddr")?,
        "sport" => {
            // Given back before the connection is said to be closed; a copy stays.
            let kept = network_order(sock.cast("inet_sock")?.number("inet_sport")?);
            Typed::int(choose(is(common("skc_num")?, 0), kept, common("skc_num")?))
        }
        "dport" => Typed::int(network_order(common("skc_dport")?)),
        "state" => Typed::shown(common("skc_state")?, Show::Enum(names::tcp_states())),
        "protocol" => Typed::shown(sock.number("sk_protocol")?, Show::Enum(names::protocols())),
        "netns" => Typed::int(common("skc_net.net.ns.inum")?),
        "cgroup" => Typed::shown(cgroup(sock)?, Show::Cgroup),
        "tx" => {
            let tcp = sock.cast("tcp_sock")?;
            let (sent, again) = (tcp.number("bytes_sent")?, tcp.number("bytes_retrans")?);
            of_tcp(sock, binary(Arithmetic::Subtract, sent, again))?
        }
        "rx" => of_tcp(sock, sock.cast("tcp_sock")?.number("bytes_received")?)?,
        "srtt" => {
            let kept = sock.cast("tcp_sock")?.number("srtt_us")?;
            of_tcp(sock, binary(Arithmetic::ShiftRight, kept, Int::Constant(3)))?
        }
        _ => of_tcp(sock, sock.cast("tcp_sock")?.number("total_retrans")?)?,
    })
}

/// Zeros where it is no IP socket.
fn address(sock: &Start, v4: &str, v6: &str) -> Result<Typed, Missing> {
    let family = sock.number("__sk_common.skc_family")?;
    let v4 = mapped(sock.number(&format!("__sk_common.{v4}"))?);
    let v4 = only(is(family.clone(), AF_INET), v4);
    // A kernel without IPv6 does not have them.
    let Ok((place, _)) = sock.find(&format!("__sk_common.{v6}")) else {
        return Ok(Typed::Address { high: Int::Constant(0), low: v4 });
    };
    let is_v6 = || is(family.clone(), AF_INET6);
    Ok(Typed::Address { high: only(is_v6(), word(&place, 0)), low: choose(is_v6(), word(&place, 8), v4) })
}

/// Zero where the socket is not TCP's, or one of the small ones that stand for a connection before and after its life:
/// behind those lies something else.
fn of_tcp(sock: &Start, value: Int) -> Result<Typed, Missing> {
    let state = sock.number("__sk_common.skc_state")?;
    let small = Test::Or(vec![is(state.clone(), TIME_WAIT), is(state, NEW_SYN_RECV)]);
    let tcp = is(sock.number("sk_protocol")?, Protocol::TCP.0.into());
    let whole = Test::And(vec![Test::Not(Box::new(small)), tcp]);
    Ok(Typed::int(only(whole, value)))
}

fn cgroup(sock: &Start) -> Result<Int, Missing> {
    if sock.has("sk_cgrp_data.cgroup.kn.id") {
        return sock.number("sk_cgrp_data.cgroup.kn.id");
    }
    // Until Linux 5.14 the pointer shares its word with what net_cls and net_prio had: the lowest bit says which it is.
    let word = sock.number("sk_cgrp_data.val")?;
    let pointer = binary(Arithmetic::And, Int::Bound(0), Int::Constant(!3));
    let id = sock.other(pointer, "cgroup")?.number("kn.id")?;
    let is_pointer = is(binary(Arithmetic::And, Int::Bound(0), Int::Constant(1)), 0);
    Ok(Int::Let { value: Box::new(word), body: Box::new(only(is_pointer, id)) })
}
