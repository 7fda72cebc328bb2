//! Denials: packets that a policy dropped, or would have dropped, for whoever wants to see some of them; if that is asked
//! for, those that begin something and pass, too. Programs send at most one a rule and tick of the clock on each CPU; how
//! many there were, counters know.

use super::enforcer::Enforcer;
use super::place::Place;
use super::rules::Direction;
use super::tables::Verdict;
use crate::kernel::network::Interface;
use crate::kernel::ring::{self, Ring};
use crate::network::flow::TcpFlags;
use crate::network::protocol::Protocol;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

/// One packet, or one call that would have sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Nanoseconds on the clock of [`crate::kernel::sys::monotonic`], to a tick.
    pub time: u64,
    pub met: Arc<Met>,
    pub rule: Arc<str>,
    pub direction: Direction,
    pub outcome: Outcome,
    /// Of a call: no address and no port yet.
    pub source: IpAddr,
    pub destination: IpAddr,
    pub protocol: Protocol,
    pub source_port: u16,
    /// The destination's, or the type of ICMP.
    pub port: Option<u16>,
    pub flags: TcpFlags,
    pub bytes: u32,
}

/// Where packets are met.
#[derive(Debug, PartialEq, Eq)]
pub struct Met {
    /// Whose policy it is, as [`super::holder::Wish::name`] has it; else the place's own name.
    pub name: String,
    pub place: String,
    /// By staged policies, which only count.
    pub staged: bool,
    pub interface: Option<Interface>,
    /// Its number, where the place is one; else 0.
    pub cgroup: u64,
}

/// In the template's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Dropped,
    WouldDrop,
    /// The call failed in its packet's place.
    Refused,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Dropped => "dropped",
            Outcome::WouldDrop => "would drop",
            Outcome::Refused => "refused",
        }
    }
}

/// The reading end of a policy's denials.
pub struct Denials {
    ring: Ring,
    met: Arc<Met>,
}

/// Bytes of a batch.
const BATCH: usize = 64 << 10;

impl Denials {
    /// # Errors
    /// The kernel's.
    pub fn of(enforcer: &Enforcer, name: &str, staged: bool) -> io::Result<Denials> {
        let place = enforcer.place();
        let (interface, cgroup) = match place {
            Place::Xdp(interface) | Place::Tc(interface) | Place::Veth(interface) => (Some(interface.clone()), 0),
            // What the kernel calls a cgroup's number is its folder's.
            Place::Cgroup(folder, _) => (None, folder.metadata()?.ino()),
        };
        let place = place.to_string();
        let name = if name.is_empty() { place.clone() } else { name.to_owned() };
        let met = Met { name, place, staged, interface, cgroup };
        Ok(Denials { ring: Ring::open(enforcer.denials())?, met: Arc::new(met) })
    }

    /// Those that came since, with the names that their rules have now.
    pub fn take(&mut self, enforcer: &Enforcer) -> Vec<Denial> {
        let mut batch = Vec::new();
        self.ring.read(&mut batch, BATCH);
        ring::records(&batch).filter_map(|record| read(record, &self.met, enforcer)).collect()
    }
}

/// A `struct sample` of policy.bpf.c.
fn read(record: &[u8], met: &Arc<Met>, enforcer: &Enforcer) -> Option<Denial> {
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
    let outcomes = [Outcome::Passed, Outcome::Dropped, Outcome::WouldDrop, Outcome::Refused];
    Some(Denial {
        time: word(0)?,
        met: met.clone(),
        rule: enforcer.rule(Verdict(half(40)?).counter())?.clone(),
        direction: if leaves { Direction::Egress } else { Direction::Ingress },
        outcome: *outcomes.get(usize::from(*record.get(57)?))?,
        source,
        destination,
        protocol: Protocol(*record.get(54)?),
        port: if flag(58)? { Some(short(52)?) } else { None },
        source_port: short(if leaves { 50 } else { 48 })?,
        flags: TcpFlags(u16::from(*record.get(59)?)),
        bytes: half(44)?,
    })
}
