//! Denials: packets that a policy dropped, or would have dropped, for whoever wants to see some of them. Programs send at
//! most one a rule and tick of the clock on each CPU; how many there were, counters know.

use super::enforcer::Enforcer;
use super::rules::Direction;
use super::tables::Verdict;
use crate::kernel::ring::{self, Ring};
use crate::network::protocol::Protocol;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// One packet, or one call that would have sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub place: Arc<str>,
    pub rule: Arc<str>,
    pub direction: Direction,
    pub outcome: Outcome,
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: Protocol,
    /// The destination's, or the type of ICMP.
    pub port: Option<u16>,
    pub bytes: u32,
}

/// In the template's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Dropped = 1,
    WouldDrop,
    /// The call failed in its packet's place.
    Refused,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Dropped => "dropped",
            Outcome::WouldDrop => "would drop",
            Outcome::Refused => "refused",
        }
    }
}

/// The reading end of a policy's denials.
pub struct Denials {
    ring: Ring,
    place: Arc<str>,
}

/// Bytes of a batch.
const BATCH: usize = 64 << 10;

impl Denials {
    /// # Errors
    /// The kernel's.
    pub fn of(enforcer: &Enforcer) -> io::Result<Denials> {
        Ok(Denials { ring: Ring::open(enforcer.denials())?, place: enforcer.place().to_string().into() })
    }

    /// Those that came since, with the names that their rules have now.
    pub fn take(&mut self, enforcer: &Enforcer) -> Vec<Denial> {
        let mut batch = Vec::new();
        self.ring.read(&mut batch, BATCH);
        ring::records(&batch).filter_map(|record| read(record, &self.place, enforcer)).collect()
    }
}

/// A `struct sample` of policy.bpf.c.
fn read(record: &[u8], place: &Arc<str>, enforcer: &Enforcer) -> Option<Denial> {
    let word = |at: usize| Some(u64::from_ne_bytes(record.get(at..at + 8)?.try_into().ok()?));
    let half = |at: usize| Some(u32::from_ne_bytes(record.get(at..at + 4)?.try_into().ok()?));
    let short = |at: usize| Some(u16::from_ne_bytes(record.get(at..at + 2)?.try_into().ok()?));
    let flag = |at: usize| record.get(at).map(|byte| *byte != 0);
    let address = |at: usize| {
        let (high, low) = (word(at)?, word(at + 8)?);
        Some(match flag(56)? {
            true => IpAddr::V6(Ipv6Addr::from(u128::from(high) << 64 | u128::from(low))),
            false => IpAddr::V4(Ipv4Addr::from((high >> 32) as u32)),
        })
    };
    let (peer, own, leaves) = (address(8)?, address(24)?, flag(55)?);
    let (source, destination) = if leaves { (own, peer) } else { (peer, own) };
    let outcomes = [Outcome::Dropped, Outcome::WouldDrop, Outcome::Refused];
    Some(Denial {
        place: place.clone(),
        rule: enforcer.rule(Verdict(half(40)?).counter())?.clone(),
        direction: if leaves { Direction::Egress } else { Direction::Ingress },
        outcome: *outcomes.get(usize::from(*record.get(57)?).checked_sub(1)?)?,
        source,
        destination,
        protocol: Protocol(*record.get(54)?),
        port: if flag(58)? { Some(short(52)?) } else { None },
        bytes: half(44)?,
    })
}
