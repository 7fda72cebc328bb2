//! Names that the kernel's numbers of sockets have, where its types do not say them.

use super::protocol;
use crate::aggregate::column::Enumeration;

/// Source: include/net/tcp_states.h.
const TCP_STATES: [&str; 13] = [
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
    "BOUND_INACTIVE",
];

/// Source: include/linux/socket.h.
const FAMILIES: [(&str, i64); 7] = [
    ("AF_UNSPEC", 0),
    ("AF_UNIX", 1),
    ("AF_INET", 2),
    ("AF_INET6", 10),
    ("AF_NETLINK", 16),
    ("AF_PACKET", 17),
    ("AF_VSOCK", 40),
];

/// States of a TCP connection, from 1 on.
pub fn tcp_states() -> &'static Enumeration {
    let named = TCP_STATES.iter().zip(1..).map(|(name, value)| ((*name).to_owned(), value));
    Enumeration::shared("TCP state", named.collect())
}

pub fn families() -> &'static Enumeration {
    Enumeration::shared("address family", FAMILIES.map(|(name, value)| (name.to_owned(), value)).into())
}

/// Protocols above IP.
pub fn protocols() -> &'static Enumeration {
    let named = protocol::NAMES.iter().map(|(name, protocol)| ((*name).to_owned(), protocol.0.into()));
    Enumeration::shared("protocol of IP", named.collect())
}
