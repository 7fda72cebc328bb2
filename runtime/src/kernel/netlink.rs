//! Route netlink, as much as attaching to packets takes: filters and qdiscs, and what XDP program an interface has.
//!
//! A socket belongs to the network namespace of the thread that opens it. Source: include/uapi/linux/rtnetlink.h, rtnetlink(7).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

pub const NEW_LINK: u16 = 16;
pub const GET_LINK: u16 = 18;
pub const GET_ADDRESS: u16 = 22;
pub const NEW_QDISC: u16 = 36;
pub const DELETE_QDISC: u16 = 37;
pub const NEW_FILTER: u16 = 44;
pub const DELETE_FILTER: u16 = 45;
pub const GET_FILTER: u16 = 46;

/// Flags of a request.
pub const EXCLUSIVE: u16 = 0x200;
pub const CREATE: u16 = 0x400;
/// The kernel tells what it made of the request.
pub const ECHO: u16 = 0x8;
pub const DUMP: u16 = 0x300;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;

const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `struct nlmsghdr`, `struct nlattr`.
const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;

/// A request being built: the fixed part, then attributes.
#[derive(Debug)]
pub struct Request {
    kind: u16,
    flags: u16,
    body: Vec<u8>,
}

impl Request {
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Request {
        Request { kind, flags, body: fixed.to_vec() }
    }

    /// Appends an attribute, padded to four bytes.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Request {
        self.body.extend(attribute(kind, value));
        self
    }
}

/// One attribute, with its header and padding.
pub fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = (ATTRIBUTE + value.len()) as u16;
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// What the kernel answered: its kind, and its body from the fixed part on.
#[derive(Clone, Debug)]
pub struct Answer {
    pub kind: u16,
    pub body: Vec<u8>,
}

impl Answer {
    /// A word of the fixed part.
    pub fn word(&self, at: usize) -> u32 {
        self.body.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_ne_bytes)
    }

    /// The value of the first attribute of this kind behind `fixed` bytes.
    pub fn attribute(&self, fixed: usize, kind: u16) -> Option<&[u8]> {
        find(self.body.get(fixed..)?, kind)
    }
}

/// The value of the first attribute of this kind. The two high bits of a kind are flags.
pub fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    while attributes.len() >= ATTRIBUTE {
        let length = usize::from(u16::from_ne_bytes([attributes[0], attributes[1]]));
        let found = u16::from_ne_bytes([attributes[2], attributes[3]]) & 0x3fff;
        let value = attributes.get(ATTRIBUTE..length)?;
        if found == kind {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    None
}

/// An open socket.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

impl Netlink {
    /// In this thread's network namespace.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open() -> io::Result<Netlink> {
        // SAFETY: the call takes integers alone.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it, and nobody else has it.
        Ok(Netlink(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Sends a request, and gives all that the kernel says before its acknowledgement.
    ///
    /// # Errors
    /// The kernel's answer to the request.
    pub fn ask(&self, request: Request) -> io::Result<Vec<Answer>> {
        let dump = request.flags & DUMP == DUMP;
        let flags = request.flags | REQUEST | if dump { 0 } else { ACKNOWLEDGE };
        let mut message = ((HEADER + request.body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(request.kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([0; 8]);
        message.extend(request.body);
        // SAFETY: as many bytes as said.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut answers = Vec::new();
        while !self.receive(&mut answers)? {}
        Ok(answers)
    }

    /// Reads one datagram; is the answer complete?
    fn receive(&self, answers: &mut Vec<Answer>) -> io::Result<bool> {
        let mut bytes = vec![0u8; 64 << 10];
        // SAFETY: the kernel writes at most as many bytes as said.
        let length = unsafe { libc::recv(self.0.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if length < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut rest = bytes.get(..length as usize).unwrap_or_default();
        while rest.len() >= HEADER {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            let Some(body) = rest.get(HEADER..length) else { break };
            match kind {
                DONE => return Ok(true),
                ERROR => {
                    let code = body.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
                    return if code == 0 { Ok(true) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => answers.push(Answer { kind, body: body.to_vec() }),
            }
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_behind_padded_ones() {
        let bytes = [attribute(1, b"clsact\0"), attribute(2, &[7; 5]), attribute(0x8003, &[1, 2, 3, 4])].concat();
        assert_eq!(find(&bytes, 1), Some(&b"clsact\0"[..]));
        assert_eq!(find(&bytes, 3), Some(&[1, 2, 3, 4][..]));
        assert_eq!(find(&bytes, 4), None);
    }

    #[test]
    fn truncated_attributes_end_the_search() {
        let bytes = attribute(1, &[7; 8]);
        for length in 0..bytes.len() {
            assert_eq!(find(&bytes[..length], 1), None);
        }
    }
}
