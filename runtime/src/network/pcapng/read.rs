//! Reading: packets of a file, whoever wrote it, in either byte order and with any resolution of its times.

use super::{Frame, INTERFACE, MAGIC, PACKET, SECTION, SIMPLE_PACKET, STATISTICS, option, padding};
use crate::diagnostic::Diagnostic;
use crate::network::flow::Direction;
use crate::network::packet::Link;
use crate::network::time::Time;
use std::io::{self, Read};

/// A block is never longer; a file that says so is broken.
const LONGEST: usize = 64 << 20;

/// Reads packets one by one.
pub struct Reader<R> {
    input: R,
    interfaces: Vec<Interface>,
    swapped: bool,
    at: u64,
    /// Packets that the file's statistics say it lacks.
    pub dropped: u64,
    /// Packets of links that we do not know.
    pub skipped: u64,
}

struct Interface {
    name: String,
    /// `None`: of a kind that we do not know.
    link: Option<Link>,
    resolution: u8,
    /// Seconds that are added to every time.
    offset: i64,
}

/// The body of a block, read from its beginning.
struct Body<'a> {
    bytes: &'a [u8],
    swapped: bool,
}

impl<'a> Body<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn short(&mut self) -> Option<u16> {
        let value = u16::from_ne_bytes(*self.take(2)?.first_chunk()?);
        Some(if self.swapped { value.swap_bytes() } else { value })
    }

    fn word(&mut self) -> Option<u32> {
        let value = u32::from_ne_bytes(*self.take(4)?.first_chunk()?);
        Some(if self.swapped { value.swap_bytes() } else { value })
    }

    fn long(&mut self) -> Option<u64> {
        let value = u64::from_ne_bytes(*self.take(8)?.first_chunk()?);
        Some(if self.swapped { value.swap_bytes() } else { value })
    }

    fn padded(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.take(count)?;
        self.take(padding(count))?;
        Some(taken)
    }

    fn option(&mut self) -> Option<(u16, Body<'a>)> {
        let (code, length) = (self.short()?, self.short()?);
        let bytes = self.padded(usize::from(length))?;
        (code != option::END).then_some((code, Body { bytes, swapped: self.swapped }))
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes).into_owned()
    }
}

impl<R: Read> Reader<R> {
    pub fn new(input: R) -> Reader<R> {
        Reader { input, interfaces: Vec::new(), swapped: false, at: 0, dropped: 0, skipped: 0 }
    }

    /// The next packet; `None` at the end.
    ///
    /// # Errors
    /// A script diagnostic: not such a file, or broken, with the place; the file cannot be read.
    pub fn packet(&mut self) -> Result<Option<Frame>, Diagnostic> {
        loop {
            let start = self.at;
            let broken = |what: &str| Diagnostic::script(format!("the capture is broken at byte {start}: {what}"));
            let Some((kind, body)) = self.block()? else { return Ok(None) };
            let body = Body { bytes: &body, swapped: self.swapped };
            match kind {
                SECTION => self.interfaces.clear(),
                INTERFACE => {
                    let interface = interface(body).ok_or_else(|| broken("an interface ends too soon"))?;
                    self.interfaces.push(interface);
                }
                PACKET | SIMPLE_PACKET => {
                    let frame = if kind == PACKET { self.enhanced(body) } else { self.simple(body) };
                    match frame.ok_or_else(|| broken("a packet ends too soon, or is of no interface"))? {
                        Some(frame) => return Ok(Some(frame)),
                        None => self.skipped += 1,
                    }
                }
                STATISTICS => self.dropped += statistics(body).unwrap_or(0),
                _ => {}
            }
        }
    }

    /// A block's kind and body; `None` at the end of the file.
    fn block(&mut self) -> Result<Option<(u32, Vec<u8>)>, Diagnostic> {
        let start = self.at;
        let broken = |what: &str| Diagnostic::script(format!("the capture is broken at byte {start}: {what}"));
        let unread = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                Diagnostic::script(format!("the capture ends inside of the block at byte {start}"))
            }
            _ => Diagnostic::machine(format!("failed to read the capture: {}", crate::kernel::load::text(&error))),
        };
        let mut head = [0; 12];
        let mut filled = 0;
        while filled < head.len() {
            match self.input.read(&mut head[filled..]).map_err(unread)? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(unread(io::ErrorKind::UnexpectedEof.into())),
                count => filled += count,
            }
        }
        let word = |at: usize, swapped: bool| {
            let value = u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            if swapped { value.swap_bytes() } else { value }
        };
        if word(0, false) == SECTION {
            self.swapped = match word(8, false) {
                MAGIC => false,
                magic if magic.swap_bytes() == MAGIC => true,
                _ => return Err(broken("a section of no byte order")),
            };
        } else if start == 0 {
            return Err(Diagnostic::script("this is no capture in pcapng").help("editcap -F pcapng FILE NEW"));
        }
        let (kind, length) = (word(0, self.swapped), word(4, self.swapped) as usize);
        if !(12..=LONGEST).contains(&length) || length % 4 != 0 {
            return Err(broken("a block of an impossible length"));
        }
        let mut body = head[8..].to_vec();
        // What a length only claims is not allocated. The shortest block has nothing but its length again, read already.
        let rest = length as u64 - 12;
        let got = self.input.by_ref().take(rest).read_to_end(&mut body).map_err(unread)?;
        if (got as u64) < rest {
            return Err(unread(io::ErrorKind::UnexpectedEof.into()));
        }
        let again = body.split_off(length - 12);
        if again != head[4..8] {
            return Err(broken("a block's two lengths differ"));
        }
        self.at += length as u64;
        Ok(Some((kind, body)))
    }

    fn enhanced(&self, mut body: Body) -> Option<Option<Frame>> {
        let interface = self.interfaces.get(body.word()? as usize)?;
        let (high, low) = (body.word()?, body.word()?);
        let (captured, length) = (body.word()?, body.word()?);
        let data = body.padded(captured as usize)?.to_vec();
        let Some(link) = interface.link else { return Some(None) };
        let time = interface.time(u64::from(high) << 32 | u64::from(low));
        let mut frame = Frame { interface: interface.name.clone(), link, time, data, length, ..Frame::default() };
        while let Some((code, mut value)) = body.option() {
            match code {
                option::COMMENT => frame.comments.push(value.text()),
                option::PACKET_FLAGS => {
                    frame.direction = match value.word().unwrap_or(0) & 3 {
                        1 => Direction::Ingress,
                        2 => Direction::Egress,
                        _ => Direction::Unknown,
                    }
                }
                _ => {}
            }
        }
        Some(Some(frame))
    }

    /// A packet of the first interface, without a time.
    fn simple(&self, mut body: Body) -> Option<Option<Frame>> {
        let interface = self.interfaces.first()?;
        let length = body.word()?;
        let data = body.bytes[..body.bytes.len().min(length as usize)].to_vec();
        let Some(link) = interface.link else { return Some(None) };
        Some(Some(Frame { interface: interface.name.clone(), link, data, length, ..Frame::default() }))
    }
}

fn interface(mut body: Body) -> Option<Interface> {
    let link = match body.short()? {
        1 => Some(Link::Ethernet),
        // Raw, by any of its numbers.
        12 | 14 | 101 | 228 | 229 => Some(Link::Raw),
        _ => None,
    };
    body.take(6)?;
    let mut interface = Interface { name: String::new(), link, resolution: 6, offset: 0 };
    while let Some((code, mut value)) = body.option() {
        match code {
            option::INTERFACE_NAME => interface.name = value.text(),
            option::INTERFACE_RESOLUTION => interface.resolution = *value.bytes.first()?,
            option::INTERFACE_OFFSET => interface.offset = value.long()?.cast_signed(),
            _ => {}
        }
    }
    Some(interface)
}

impl Interface {
    fn time(&self, units: u64) -> Time {
        let units = u128::from(units);
        let exponent = u32::from(self.resolution & 0x7f);
        let nanos = match (self.resolution & 0x80, exponent) {
            (0, 0..=9) => units * 10u128.pow(9 - exponent),
            (0, _) => 10u128.checked_pow(exponent - 9).map_or(0, |divisor| units / divisor),
            _ => (units * 1_000_000_000).checked_shr(exponent).unwrap_or(0),
        };
        let shifted = i128::try_from(nanos).unwrap_or(0) + i128::from(self.offset) * 1_000_000_000;
        Time(u64::try_from(shifted).unwrap_or(0))
    }
}

fn statistics(mut body: Body) -> Option<u64> {
    body.take(12)?;
    while let Some((code, mut value)) = body.option() {
        if code == option::STATISTICS_DROPPED {
            return value.long();
        }
    }
    None
}
