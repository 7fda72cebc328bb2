//! Prefixes of addresses: `10.0.0.0/8`, `fd00::/8`, and a bare address for itself alone.

use crate::diagnostic::Diagnostic;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// All addresses of one family that share their first `length` bits. The other bits of `address` are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

impl Cidr {
    pub const ALL_V4: Cidr = Cidr { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), length: 0 };
    pub const ALL_V6: Cidr = Cidr { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), length: 0 };

    /// The prefix that holds `address`; `None` where the family has no such length.
    pub fn of(address: IpAddr, length: u8) -> Option<Cidr> {
        if length > width(address) {
            return None;
        }
        let address = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                IpAddr::V4((u32::from(address) & mask).into())
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                IpAddr::V6((u128::from(address) & mask).into())
            }
        };
        Some(Cidr { address, length })
    }

    /// One address alone.
    pub fn host(address: IpAddr) -> Cidr {
        Cidr { address, length: width(address) }
    }

    pub fn address(self) -> IpAddr {
        self.address
    }

    pub fn length(self) -> u8 {
        self.length
    }

    pub fn is_v4(self) -> bool {
        self.address.is_ipv4()
    }

    pub fn is_host(self) -> bool {
        self.length == width(self.address)
    }

    /// The address in network order; of IPv4 the first four bytes, the rest zero.
    pub fn octets(self) -> [u8; 16] {
        let mut octets = [0; 16];
        match self.address {
            IpAddr::V4(address) => octets[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => octets = address.octets(),
        }
        octets
    }

    pub fn contains(self, address: IpAddr) -> bool {
        Cidr::of(address, self.length).is_some_and(|prefix| prefix == self)
    }

    /// Does it hold all of `other`?
    pub fn covers(self, other: Cidr) -> bool {
        self.length <= other.length && self.contains(other.address)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Cidr {
    type Err = Diagnostic;

    /// # Errors
    /// A script diagnostic: no address, no such length, or bits set behind the prefix (with the masked form as help).
    fn from_str(text: &str) -> Result<Cidr, Diagnostic> {
        let wrong = |message: String| Diagnostic::script(message).span(text);
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let address: IpAddr = address
            .parse()
            .map_err(|_| wrong(format!("`{text}` is no address or prefix")).help("10.0.0.0/8, 10.1.2.3 or fd00::/8"))?;
        let Some(length) = length else { return Ok(Cidr::host(address)) };
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let cidr = length.parse().ok().filter(|_| digits).and_then(|length| Cidr::of(address, length));
        let Some(cidr) = cidr else {
            let width = width(address);
            return Err(
                wrong(format!("`{text}` has no prefix length of its family")).help(format!("{address}/{width}"))
            );
        };
        if cidr.address != address {
            return Err(wrong(format!("`{text}` has bits set behind its prefix")).help(cidr.to_string()));
        }
        Ok(cidr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> (String, Option<String>) {
        let error = text.parse::<Cidr>().expect_err("it is wrong");
        (error.message.clone(), error.help.clone())
    }

    #[test]
    fn prefix_prints_as_it_is_written() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "10.1.2.3/32", "fd00::/8", "::/0", "2001:db8::1/128"] {
            assert_eq!(text.parse::<Cidr>().expect("it is right").to_string(), text);
        }
        assert_eq!("10.1.2.3".parse::<Cidr>().expect("it is right").to_string(), "10.1.2.3/32");
    }

    #[test]
    fn host_bits_are_refused_with_the_masked_form() {
        let (message, help) = error("10.1.2.3/8");
        assert_eq!(message, "`10.1.2.3/8` has bits set behind its prefix");
        assert_eq!(help.as_deref(), Some("10.0.0.0/8"));
        assert_eq!(error("fd00::1/8").1.as_deref(), Some("fd00::/8"));
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for text in
            ["", "10.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "::/129", "eth0", "10.0.0.0/8/8"]
        {
            error(text);
        }
    }

    #[test]
    fn prefixes_hold_their_own_family_only() {
        let ten: Cidr = "10.0.0.0/8".parse().expect("it is right");
        assert!(ten.contains(Ipv4Addr::new(10, 255, 0, 1).into()) && !ten.contains(Ipv4Addr::new(11, 0, 0, 1).into()));
        assert!(
            !Cidr::ALL_V4.contains(Ipv6Addr::LOCALHOST.into()) && Cidr::ALL_V6.contains(Ipv6Addr::LOCALHOST.into())
        );
        assert!(ten.covers("10.1.0.0/16".parse().expect("it is right")) && !ten.covers(Cidr::ALL_V4));
    }
}
