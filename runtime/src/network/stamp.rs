//! Stamps: what every flow of a live run has besides what was seen: a number of its own, who saw it, and where.

use crate::network::flow::{Emitter, Flow, FlowType, uuid};
use crate::network::message::Value;
use std::fs::File;
use std::io::{self, Read};

/// Random bytes that are fetched at once.
const FETCHED: usize = 4096;

/// Puts stamps on flows.
pub struct Stamp {
    node: String,
    random: File,
    bytes: Vec<u8>,
}

impl Stamp {
    /// Of a node by its name; without one, by that of the host.
    ///
    /// # Errors
    /// The machine has no random numbers.
    pub fn new(node: Option<&str>) -> io::Result<Stamp> {
        let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
        let node = node.map_or_else(host, str::to_owned);
        Ok(Stamp { node, random: File::open("/dev/urandom")?, bytes: Vec::new() })
    }

    pub fn node(&self) -> &str {
        &self.node
    }

    /// Numbers, signs and summarizes a flow.
    ///
    /// # Errors
    /// No more random numbers.
    pub fn put(&mut self, flow: &mut Flow) -> io::Result<()> {
        if self.bytes.len() < 16 {
            self.bytes.resize(FETCHED, 0);
            self.random.read_exact(&mut self.bytes)?;
        }
        let mut number = [0; 16];
        number.copy_from_slice(&self.bytes.split_off(self.bytes.len() - 16));
        flow.uuid = uuid(number);
        flow.emitter = Some(Emitter { name: "Skep".into(), version: env!("CARGO_PKG_VERSION").into() });
        flow.node_name.clone_from(&self.node);
        if flow.kind.is_zero() {
            flow.kind = if flow.l7.is_some() { FlowType::L7 } else { FlowType::L3L4 };
        }
        flow.summary = flow.summarize();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn numbers_differ_and_are_uuids() {
        let mut stamp = Stamp::new(Some("n1")).expect("there are random numbers");
        let mut seen = BTreeSet::new();
        for _ in 0..1009 {
            let mut flow = Flow::default();
            stamp.put(&mut flow).expect("there are random numbers");
            assert_eq!((flow.uuid.len(), &flow.uuid[14..15], flow.node_name.as_str()), (36, "4", "n1"));
            assert!("89ab".contains(&flow.uuid[19..20]));
            seen.insert(flow.uuid);
        }
        assert_eq!(seen.len(), 1009);
    }
}
