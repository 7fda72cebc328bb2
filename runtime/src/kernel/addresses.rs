//! The IP addresses of this thread's network namespace. No privilege.

use crate::kernel::netlink::{self, Netlink, Request};
use std::io;
use std::net::IpAddr;

/// Bytes of `struct ifaddrmsg`. Source: include/uapi/linux/if_addr.h.
const MESSAGE: usize = 8;
const ADDRESS: u16 = 1;
/// Where it is not the same: our end, not the peer's.
const LOCAL: u16 = 2;

/// All of them, of both families.
///
/// # Errors
/// The kernel's.
pub fn own() -> io::Result<Vec<IpAddr>> {
    let answers = Netlink::open()?.ask(Request::new(netlink::GET_ADDRESS, netlink::DUMP, &[0; MESSAGE]))?;
    let address = |answer: &netlink::Answer| {
        let bytes = answer.attribute(MESSAGE, LOCAL).or_else(|| answer.attribute(MESSAGE, ADDRESS))?;
        match *bytes {
            [a, b, c, d] => Some(IpAddr::from([a, b, c, d])),
            _ => Some(IpAddr::from(*bytes.first_chunk::<16>()?)),
        }
    };
    Ok(answers.iter().filter_map(address).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_its_address() {
        let addresses = own().expect("anybody may ask");
        assert!(addresses.contains(&IpAddr::from([127, 0, 0, 1])), "{addresses:?}");
    }
}
