//! Exchanges between two actors: a connection, a datagram, an echo; and whether there is an answer.

use crate::stage::Actor;
use skep_tests::workload::Ending;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub struct Exchange<'a> {
    pub from: &'a Actor,
    pub to: &'a Actor,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// As `skep policy check` names it.
    pub protocol: &'a str,
    /// Of ICMP: the type.
    pub port: u16,
    /// How long an answer is waited for.
    pub patience: Duration,
}

/// Whether each of them is answered, all at the same time.
pub fn answered(exchanges: &[Exchange<'_>]) -> Vec<bool> {
    let is_over = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (mut served, mut listeners) = (BTreeSet::new(), Vec::new());
        for Exchange { to, destination, protocol, port, .. } in exchanges {
            let at = SocketAddr::new(*destination, *port);
            match *protocol {
                _ if !served.insert((*protocol, at)) => {}
                // The kernel itself answers who connects.
                "tcp" => listeners.push(to.inside(|| TcpListener::bind(at)).expect("the port is free")),
                "udp" => {
                    let socket = to.inside(|| UdpSocket::bind(at)).expect("the port is free");
                    scope.spawn(move || echo(&socket, is_over));
                }
                _ => {}
            }
        }
        let _ending = Ending(is_over);
        let asking: Vec<_> = exchanges.iter().map(|one| scope.spawn(|| one.is_answered())).collect();
        asking.into_iter().map(|one| one.join().expect("it does not panic")).collect()
    })
}

const PULSE: Duration = Duration::from_millis(20);

fn echo(socket: &UdpSocket, is_over: &AtomicBool) {
    socket.set_read_timeout(Some(PULSE)).expect("it can have one");
    let mut bytes = [0; 64];
    while !is_over.load(Ordering::Relaxed) {
        if let Ok((length, who)) = socket.recv_from(&mut bytes) {
            // What cannot be sent is no answer.
            let _unsent = socket.send_to(&bytes[..length], who);
        }
    }
}

impl Exchange<'_> {
    fn is_answered(&self) -> bool {
        let at = SocketAddr::new(self.destination, self.port);
        match (self.protocol, self.port) {
            ("tcp", _) => self.from.inside(|| TcpStream::connect_timeout(&at, self.patience)).is_ok(),
            ("udp", _) => {
                let socket = self.from.inside(|| UdpSocket::bind((self.source, 0))).expect("any port");
                self.until(&socket, &socket, at, b"skep", |bytes| bytes == b"skep")
            }
            // Echo requests and those for a timestamp, which the kernel answers.
            ("icmp", 8 | 13) => self.icmp(libc::IPPROTO_ICMP, if self.port == 8 { 0 } else { 14 }, self.from),
            ("icmpv6", 128) => self.icmp(libc::IPPROTO_ICMPV6, 129, self.from),
            // Nobody answers that: it is seen to arrive.
            ("icmp", other) => self.icmp(libc::IPPROTO_ICMP, other as u8, self.to),
            ("sctp", _) => self.sctp(),
            (other, _) => panic!("nobody here speaks {other}"),
        }
    }

    /// One of `kind` is waited for at `end`.
    fn icmp(&self, protocol: i32, kind: u8, end: &Actor) -> bool {
        let number = number();
        let mut message = [0; 20];
        message[0] = self.port as u8;
        message[4..6].copy_from_slice(&number);
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum);
        let is_it = |bytes: &[u8]| bytes.len() >= 8 && bytes[0] == kind && bytes[4..6] == number;
        self.until(&self.raw(self.from, protocol), &self.raw(end, protocol), self.far(), &message, is_it)
    }

    /// The ports and a tag: no kernel answers that, not even one that speaks SCTP.
    fn sctp(&self) -> bool {
        let mut message = [0; 16];
        message[..2].copy_from_slice(&number());
        message[2..4].copy_from_slice(&self.port.to_be_bytes());
        let [near, far] = [self.from, self.to].map(|actor| self.raw(actor, libc::IPPROTO_SCTP));
        self.until(&near, &far, self.far(), &message, |bytes| bytes.starts_with(&message))
    }

    /// Where raw sockets send to: what has no port.
    fn far(&self) -> SocketAddr {
        SocketAddr::new(self.destination, 0)
    }

    /// Sends again and again: datagrams may be lost on a busy machine.
    fn until(
        &self,
        near: &UdpSocket,
        end: &UdpSocket,
        at: SocketAddr,
        message: &[u8],
        is_it: impl Fn(&[u8]) -> bool,
    ) -> bool {
        let (since, mut bytes) = (Instant::now(), [0; 256]);
        end.set_read_timeout(Some(PULSE)).expect("it can have one");
        while since.elapsed() < self.patience {
            // What a policy drops at once may be an error here.
            let _dropped = near.send_to(message, at);
            let next = Instant::now() + 5 * PULSE;
            while Instant::now() < next {
                let Ok(length) = end.recv(&mut bytes) else { continue };
                if is_it(self.payload(&bytes[..length])) {
                    return true;
                }
            }
        }
        false
    }

    /// Raw sockets of IPv4 are handed the header, too.
    fn payload<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        match self.protocol {
            "icmp" | "sctp" if self.source.is_ipv4() => bytes.get(20..).unwrap_or_default(),
            _ => bytes,
        }
    }

    fn raw(&self, actor: &Actor, protocol: i32) -> UdpSocket {
        let family = if self.source.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        actor.inside(|| {
            // SAFETY: no memory is passed.
            let socket = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
            assert!(socket >= 0, "{}", std::io::Error::last_os_error());
            // SAFETY: a socket that nobody else has; what is asked of it below holds for raw ones, too.
            unsafe { UdpSocket::from_raw_fd(socket) }
        })
    }
}

/// By which an exchange knows its own packets.
fn number() -> [u8; 2] {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes()
}

/// Source: RFC 1071. The kernel does it for ICMPv6, whose sum is of addresses, too.
fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
}
