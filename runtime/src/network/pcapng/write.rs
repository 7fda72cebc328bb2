//! Writing: a section, its interfaces as they come up, packets, and at the end how many were lost.

use super::{Frame, INTERFACE, MAGIC, PACKET, SECTION, STATISTICS, option, padding};
use crate::network::flow::Direction;
use crate::network::packet::Link;
use crate::network::time::Time;
use std::io::{self, Write};

/// Writes blocks as they come.
pub struct Writer<W> {
    out: W,
    interfaces: Vec<Interface>,
}

struct Interface {
    name: String,
    link: Link,
    received: u64,
    first: Time,
    last: Time,
}

/// What became of the packets of a whole capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub received: u64,
    pub dropped: u64,
    /// The filter let them pass.
    pub passed: u64,
    /// They are in the file.
    pub delivered: u64,
}

/// The body of a block: what is fixed, then options.
struct Block(Vec<u8>);

impl Block {
    fn option(&mut self, code: u16, value: &[u8]) {
        // A longer text is cut; nobody writes one.
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.0.extend(code.to_ne_bytes());
        self.0.extend((value.len() as u16).to_ne_bytes());
        self.padded(value);
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
        self.0.extend(&[0; 3][..padding(bytes.len())]);
    }

    fn time(time: Time) -> [u8; 8] {
        let (high, low) = ((time.0 >> 32) as u32, time.0 as u32);
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&high.to_ne_bytes());
        bytes[4..].copy_from_slice(&low.to_ne_bytes());
        bytes
    }

    fn write(mut self, kind: u32, out: &mut impl Write) -> io::Result<()> {
        self.option(option::END, &[]);
        let length = (self.0.len() as u32 + 12).to_ne_bytes();
        out.write_all(&kind.to_ne_bytes())?;
        out.write_all(&length)?;
        out.write_all(&self.0)?;
        out.write_all(&length)
    }
}

impl<W: Write> Writer<W> {
    /// Begins a file; `comment` is where it says how exact its times are.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W, comment: &str) -> io::Result<Writer<W>> {
        let mut block = Block(Vec::new());
        block.0.extend(MAGIC.to_ne_bytes());
        block.0.extend(1u16.to_ne_bytes());
        block.0.extend(0u16.to_ne_bytes());
        // How long the section is, nobody knows yet.
        block.0.extend(u64::MAX.to_ne_bytes());
        if !comment.is_empty() {
            block.option(option::COMMENT, comment.as_bytes());
        }
        block.option(option::SECTION_HARDWARE, std::env::consts::ARCH.as_bytes());
        block.option(option::SECTION_SYSTEM, b"Linux");
        block.option(option::SECTION_APPLICATION, concat!("skep ", env!("CARGO_PKG_VERSION")).as_bytes());
        block.write(SECTION, &mut out)?;
        Ok(Writer { out, interfaces: Vec::new() })
    }

    /// # Errors
    /// Those of `out`.
    pub fn packet(&mut self, frame: &Frame) -> io::Result<()> {
        let id = self.interface(frame)?;
        let interface = &mut self.interfaces[id];
        if interface.received == 0 {
            interface.first = frame.time;
        }
        interface.received += 1;
        interface.last = interface.last.max(frame.time);
        let mut block = Block(Vec::with_capacity(frame.data.len() + 96));
        block.0.extend((id as u32).to_ne_bytes());
        block.0.extend(Block::time(frame.time));
        block.0.extend((frame.data.len() as u32).to_ne_bytes());
        block.0.extend(frame.length.max(frame.data.len() as u32).to_ne_bytes());
        block.padded(&frame.data);
        for comment in &frame.comments {
            block.option(option::COMMENT, comment.as_bytes());
        }
        let direction: u32 = match frame.direction {
            Direction::Unknown => 0,
            Direction::Ingress => 1,
            Direction::Egress => 2,
        };
        block.option(option::PACKET_FLAGS, &direction.to_ne_bytes());
        block.write(PACKET, &mut self.out)
    }

    /// What was written so far is to be seen.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The number of a frame's interface, which is written down when it comes up first.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn interface(&mut self, frame: &Frame) -> io::Result<usize> {
        let same = |known: &Interface| known.name == frame.interface && known.link == frame.link;
        if let Some(id) = self.interfaces.iter().position(same) {
            return Ok(id);
        }
        let mut block = Block(Vec::new());
        let link: u16 = match frame.link {
            Link::Ethernet => 1,
            Link::Raw => 101,
        };
        block.0.extend(link.to_ne_bytes());
        block.0.extend(0u16.to_ne_bytes());
        // Whatever length there is.
        block.0.extend(0u32.to_ne_bytes());
        if !frame.interface.is_empty() {
            block.option(option::INTERFACE_NAME, frame.interface.as_bytes());
        }
        // Without it readers take microseconds.
        block.option(option::INTERFACE_RESOLUTION, &[9]);
        block.write(INTERFACE, &mut self.out)?;
        let (name, link, time) = (frame.interface.clone(), frame.link, frame.time);
        self.interfaces.push(Interface { name, link, received: 0, first: time, last: time });
        Ok(self.interfaces.len() - 1)
    }

    /// Ends the file with the counts of the whole capture. Of several interfaces nobody knows whose they are: they stand with
    /// the first.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn end_counted(mut self, counts: &Counts) -> io::Result<W> {
        if let Some(interface) = self.interfaces.first() {
            let mut block = Block(Vec::new());
            block.0.extend(0u32.to_ne_bytes());
            block.0.extend(Block::time(interface.last));
            let several = if self.interfaces.len() > 1 { " on all interfaces together" } else { "" };
            let limited = counts.passed.saturating_sub(counts.delivered + counts.dropped);
            let comment = format!(
                "{} seen{several}, {} filtered, {} kept, {limited} limited, {} lost",
                counts.received,
                counts.received.saturating_sub(counts.passed),
                counts.delivered,
                counts.dropped
            );
            block.option(option::COMMENT, comment.as_bytes());
            block.option(option::STATISTICS_START, &Block::time(interface.first));
            block.option(option::STATISTICS_END, &Block::time(interface.last));
            block.option(option::STATISTICS_RECEIVED, &counts.received.to_ne_bytes());
            block.option(option::STATISTICS_DROPPED, &counts.dropped.to_ne_bytes());
            block.option(option::STATISTICS_PASSED, &counts.passed.to_ne_bytes());
            block.option(option::STATISTICS_DELIVERED, &counts.delivered.to_ne_bytes());
            block.write(STATISTICS, &mut self.out)?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    /// Ends the file; `dropped` tells for an interface how many of its packets are not in it.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn end(mut self, mut dropped: impl FnMut(&str) -> u64) -> io::Result<W> {
        for (id, interface) in self.interfaces.iter().enumerate() {
            let lost = dropped(&interface.name);
            let mut block = Block(Vec::new());
            block.0.extend((id as u32).to_ne_bytes());
            block.0.extend(Block::time(interface.last));
            block.option(option::STATISTICS_START, &Block::time(interface.first));
            block.option(option::STATISTICS_END, &Block::time(interface.last));
            block.option(option::STATISTICS_RECEIVED, &(interface.received + lost).to_ne_bytes());
            block.option(option::STATISTICS_DROPPED, &lost.to_ne_bytes());
            block.write(STATISTICS, &mut self.out)?;
        }
        self.out.flush()?;
        Ok(self.out)
    }
}
