//! Parts of packet headers that have a spelling of their own: hardware addresses, flags of TCP.

use crate::diagnostic::Diagnostic;
use crate::network::message::{Reader, Spelled, Value};
use serde_json::{Map, Value as Json};
use std::fmt;
use std::str::FromStr;

/// A hardware address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl FromStr for Mac {
    type Err = ();

    fn from_str(text: &str) -> Result<Mac, ()> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or(())?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| ())?;
        }
        if parts.next().is_none() { Ok(Mac(octets)) } else { Err(()) }
    }
}

impl Spelled for Mac {
    const WHAT: &str = "a hardware address";
}

/// Flags of a TCP header, in its bits: FIN is the lowest, NS (the ninth) the highest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpFlags(pub u16);

impl TcpFlags {
    pub const FIN: TcpFlags = TcpFlags(1);
    pub const SYN: TcpFlags = TcpFlags(2);
    pub const RST: TcpFlags = TcpFlags(4);
    pub const ACK: TcpFlags = TcpFlags(16);
    /// By their bits.
    pub const NAMES: [&str; 9] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "NS"];

    /// By name, in any case.
    pub fn named(name: &str) -> Option<TcpFlags> {
        let bit = TcpFlags::NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
        Some(TcpFlags(1 << bit))
    }

    /// Are all of `flags` set?
    pub fn has(self, flags: TcpFlags) -> bool {
        self.0 & flags.0 == flags.0
    }

    fn names(self) -> impl Iterator<Item = &'static str> {
        TcpFlags::NAMES.into_iter().enumerate().filter(move |(bit, _)| self.0 & 1 << bit != 0).map(|(_, name)| name)
    }
}

impl Value for TcpFlags {
    fn is_zero(&self) -> bool {
        self.0 == 0
    }

    fn json(&self) -> Json {
        self.names().map(|name| (name.to_owned(), Json::Bool(true))).collect::<Map<_, _>>().into()
    }

    fn read(json: Json, reader: &mut Reader) -> Result<Self, Diagnostic> {
        let mut flags = TcpFlags::default();
        for (key, value) in reader.object(json)? {
            match TcpFlags::NAMES.iter().position(|name| *name == key) {
                Some(bit) if bool::read(value, reader)? => flags.0 |= 1 << bit,
                Some(_) => {}
                None => reader.unknown(&key),
            }
        }
        Ok(flags)
    }

    fn has(path: &[&str]) -> bool {
        matches!(path, []) || matches!(path, [name] if TcpFlags::NAMES.contains(name))
    }
}
