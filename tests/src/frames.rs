//! Frames of Ethernet, made byte by byte, and sent as they are. Whoever reads them finds every field that was asked for.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

pub const IPV4: u16 = 0x800;
pub const IPV6: u16 = 0x86dd;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const SCTP: u8 = 132;

/// Time to live of all of them: what tells them from what the kernel sends by itself.
pub const TTL: u8 = 77;

pub fn ethernet(kind: u16, content: &[u8]) -> Vec<u8> {
    let (to, from) = ([0xff; 6], [2, 0, 0, 0, 0, 9]);
    [&to[..], &from, &kind.to_be_bytes(), content].concat()
}

/// An Ethernet frame with tags, the outermost first: (type, number).
pub fn tagged(tags: &[(u16, u16)], kind: u16, content: &[u8]) -> Vec<u8> {
    let mut inner = (kind, content.to_vec());
    for (tag, number) in tags.iter().rev() {
        let header = [number.to_be_bytes(), inner.0.to_be_bytes()].concat();
        inner = (*tag, [header, inner.1].concat());
    }
    ethernet(inner.0, &inner.1)
}

/// 10.9.0.1 to 10.9.0.2, with options of whole words; `fragment`: the flags and offset of the header.
pub fn ipv4(protocol: u8, fragment: u16, options: &[u8], content: &[u8]) -> Vec<u8> {
    let length = 20 + options.len();
    let mut header = vec![0x40 | (length / 4) as u8, 0];
    header.extend(((length + content.len()) as u16).to_be_bytes());
    header.extend([0, 7]);
    header.extend(fragment.to_be_bytes());
    header.extend([TTL, protocol, 0, 0, 10, 9, 0, 1, 10, 9, 0, 2]);
    header.extend(options);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&header, content].concat()
}

/// fd00:9::1 to fd00:9::2. `content` begins with the extension headers, if there are any.
pub fn ipv6(next: u8, content: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend((content.len() as u16).to_be_bytes());
    header.extend([next, TTL]);
    for last in [1, 2] {
        header.extend([0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    [&header, content].concat()
}

/// An extension header of `8 * words` bytes.
pub fn extension(next: u8, words: u8, content: &[u8]) -> Vec<u8> {
    let mut header = vec![next, words - 1];
    header.resize(8 * usize::from(words), 0);
    [&header, content].concat()
}

pub fn udp(from: u16, to: u16, content: &[u8]) -> Vec<u8> {
    let length = 8 + content.len() as u16;
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &length.to_be_bytes(), &[0, 0], content].concat()
}

pub fn tcp(from: u16, to: u16, flags: u8, content: &[u8]) -> Vec<u8> {
    let ports = [from.to_be_bytes(), to.to_be_bytes()].concat();
    let numbers = [0x0102_0304u32.to_be_bytes(), 0x0506_0708u32.to_be_bytes()].concat();
    [&ports[..], &numbers, &[0x50, flags], &4096u16.to_be_bytes(), &[0; 4], content].concat()
}

pub fn icmp(kind: u8, code: u8) -> Vec<u8> {
    vec![kind, code, 0, 0, 0, 0, 0, 0]
}

/// In a datagram to port 4789.
pub fn vxlan(network: u32, frame: &[u8]) -> Vec<u8> {
    udp(5555, 4789, &[&[8, 0, 0, 0][..], &(network << 8).to_be_bytes(), frame].concat())
}

/// In a datagram to port 6081, with options of so many words.
pub fn geneve(network: u32, words: u8, kind: u16, content: &[u8]) -> Vec<u8> {
    let header = [&[words, 0][..], &kind.to_be_bytes(), &(network << 8).to_be_bytes()].concat();
    udp(5555, 6081, &[&header, &vec![0; 4 * usize::from(words)], content].concat())
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// A socket that sends frames out of an interface of this thread's namespace, or sees those that come in.
pub struct Wire(OwnedFd);

impl Wire {
    #[track_caller]
    pub fn out_of(interface: &str) -> Wire {
        Wire::at(interface, 0)
    }

    #[track_caller]
    pub fn into(interface: &str) -> Wire {
        Wire::at(interface, libc::ETH_P_ALL as u16)
    }

    #[track_caller]
    fn at(interface: &str, protocol: u16) -> Wire {
        let name = std::ffi::CString::new(interface).expect("no NUL");
        // SAFETY: plain calls; the address is zeroed and as long as said.
        unsafe {
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
            assert!(fd >= 0, "{}", io::Error::last_os_error());
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = protocol.to_be();
            address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
            let bound = libc::bind(fd, (&raw const address).cast(), size_of_val(&address) as u32);
            assert!(address.sll_ifindex > 0 && bound == 0, "{interface}: {}", io::Error::last_os_error());
            Wire(OwnedFd::from_raw_fd(fd))
        }
    }

    /// Sends the same frame again and again, by one call of the kernel; how many did the interface take?
    pub fn send_many(&self, frame: &[u8], times: usize) -> usize {
        let mut content = libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() };
        // SAFETY: zeros are a header without an address.
        let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
        (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (&raw mut content, 1);
        let mut messages = vec![message; times];
        // SAFETY: as many headers as said, of one frame that is only read.
        let sent = unsafe { libc::sendmmsg(self.0.as_raw_fd(), messages.as_mut_ptr(), times as u32, 0) };
        usize::try_from(sent).unwrap_or(0)
    }

    /// Waits until this frame was seen so many times, 10 s at most.
    #[track_caller]
    pub fn see(&self, frame: &[u8], times: usize) {
        let (mut bytes, mut seen, since) = ([0u8; 2048], 0, Instant::now());
        while seen < times {
            // SAFETY: a buffer of our own, as long as said.
            let length =
                unsafe { libc::recv(self.0.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT) };
            match usize::try_from(length) {
                Ok(length) => seen += usize::from(bytes[..length] == *frame),
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
            assert!(since.elapsed() < Duration::from_secs(10), "{seen} of {times} frames came");
        }
    }

    /// Sends one; did the interface take it?
    pub fn send(&self, frame: &[u8]) -> bool {
        // SAFETY: as many bytes as said.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        sent == frame.len() as isize
    }
}
