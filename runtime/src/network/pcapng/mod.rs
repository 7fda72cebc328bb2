//! pcapng: captured packets in a file that Wireshark's tools read. Times are nanoseconds; a packet says which way it went
//! and, in its comment, which flow it belongs to and what became of it.
//!
//! Source: IETF draft-ietf-opsawg-pcapng.

pub mod read;
pub mod write;

use crate::network::drop_reason::DropReason;
use crate::network::flow::{Direction, Flow, Verdict};
use crate::network::message::Value;
use crate::network::packet::Link;
use crate::network::time::Time;

pub use read::Reader;
pub use write::{Counts, Writer};

/// A packet as it was captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Empty: not known.
    pub interface: String,
    pub link: Link,
    pub time: Time,
    /// The beginning of the packet, or all of it.
    pub data: Vec<u8>,
    /// Of the whole packet.
    pub length: u32,
    pub direction: Direction,
    pub comments: Vec<String>,
}

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;
/// As the writer's machine puts it; the other way round, as one of the other byte order does.
const MAGIC: u32 = 0x1a2b_3c4d;

/// Options of all blocks, and of some.
mod option {
    pub const END: u16 = 0;
    pub const COMMENT: u16 = 1;
    pub const SECTION_HARDWARE: u16 = 2;
    pub const SECTION_SYSTEM: u16 = 3;
    pub const SECTION_APPLICATION: u16 = 4;
    pub const INTERFACE_NAME: u16 = 2;
    pub const INTERFACE_RESOLUTION: u16 = 9;
    pub const INTERFACE_OFFSET: u16 = 14;
    pub const PACKET_FLAGS: u16 = 2;
    pub const STATISTICS_START: u16 = 2;
    pub const STATISTICS_END: u16 = 3;
    pub const STATISTICS_RECEIVED: u16 = 4;
    pub const STATISTICS_DROPPED: u16 = 5;
    pub const STATISTICS_PASSED: u16 = 6;
    pub const STATISTICS_DELIVERED: u16 = 8;
}

/// Is this the beginning of such a file?
pub fn is_one(start: &[u8]) -> bool {
    start.starts_with(&SECTION.to_ne_bytes())
}

/// What joins a packet with its flow: `uuid=… verdict=DROPPED reason=POLICY_DENY`.
pub fn comment(flow: &Flow) -> Option<String> {
    let mut parts = Vec::new();
    if !flow.uuid.is_empty() {
        parts.push(format!("uuid={}", flow.uuid));
    }
    if flow.verdict != Verdict::Unknown {
        parts.push(format!("verdict={}", flow.verdict.name()));
    }
    if let Some(reason) = flow.drop_reason_desc.name().filter(|_| !flow.drop_reason_desc.is_zero()) {
        parts.push(format!("reason={reason}"));
    }
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// Takes back what [`comment`] says of a flow.
pub fn apply(comment: &str, flow: &mut Flow) {
    for part in comment.split_whitespace() {
        match part.split_once('=') {
            Some(("uuid", uuid)) => flow.uuid = uuid.to_owned(),
            Some(("verdict", name)) => flow.verdict = Verdict::named(name).unwrap_or(flow.verdict),
            Some(("reason", name)) => {
                if let Some(reason) = DropReason::named(name) {
                    (flow.drop_reason, flow.drop_reason_desc) = (reason.0, reason);
                }
            }
            _ => {}
        }
    }
}

fn padding(length: usize) -> usize {
    length.wrapping_neg() % 4
}

#[cfg(test)]
mod tests;
