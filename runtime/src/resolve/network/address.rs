//! IP addresses in conditions: equal to one, within a prefix. All are compared as 16 bytes, IPv4 mapped into IPv6.

use super::trees::{binary, bytes, is, word};
use crate::aggregate::column::BytesShow;
use crate::diagnostic::Diagnostic;
use crate::expr::Expr;
use crate::network::cidr::Cidr;
use crate::resolve::members::behind;
use crate::resolve::resolve;
use crate::resolve::scope::{Arguments, Scope, Typed};
use crate::slot::ir::{Arithmetic, Int, Place, Test, Text};
use std::net::{IpAddr, Ipv4Addr};

/// The second word of `::ffff:0.0.0.0`.
const MAPPED: u64 = u64::from_le_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);

/// The second word of an IPv4 address, from its four bytes.
pub fn mapped(v4: Int) -> Int {
    binary(Arithmetic::Or, binary(Arithmetic::ShiftLeft, v4, Int::Constant(32)), Int::Constant(MAPPED))
}

/// Is it shown as an IP address?
pub fn is_address(typed: &Typed) -> bool {
    matches!(typed, Typed::Address { .. } | Typed::Bytes { show: BytesShow::Ip, .. })
}

/// `in_cidr(sock(args.sk).daddr, "10.0.0.0/8")`; also what `== "10.1.2.3"` comes to.
///
/// # Errors
/// A script diagnostic: no prefix, or no address.
pub fn in_cidr(address: &Expr, prefix: &str, scope: &Scope) -> Result<Test, Diagnostic> {
    let prefix: Cidr = prefix.parse().map_err(|error: Diagnostic| error.at(address.position))?;
    let typed = resolve(address, scope)?;
    let Some((high, low)) = words(&typed) else {
        if scope.arguments == Arguments::Unchecked || scope.types.is_none() {
            return Ok(Test::Constant(true));
        }
        return Err(Diagnostic::script(format!("`{address}` is {}, no IP address", typed.what()))
            .help("in_cidr(sock(args.sk).daddr, \"10.0.0.0/8\"), in_cidr(ntop(args.daddr), \"10.0.0.0/8\")")
            .at(address.position));
    };
    Ok(within(high, low, prefix))
}

/// The two words of an address, whatever it is kept in.
fn words(typed: &Typed) -> Option<(Int, Int)> {
    let (place, size) = match typed {
        Typed::Address { high, low } => return Some((high.clone(), low.clone())),
        Typed::Bytes { bytes, size, .. } => match bytes {
            Text::Context { offset, .. } => (Place::Context(*offset), *size),
            Text::Event { offset, .. } => (Place::Event(*offset), *size),
            Text::At { pointer, memory } => (behind(pointer.clone(), *memory), *size),
            Text::Comm | Text::DataLocation { .. } => return None,
        },
        Typed::Object { place, of } => (place.clone(), of.size()? as u16),
        _ => return None,
    };
    match size {
        4 => Some((Int::Constant(0), mapped(bytes(&place, 0, 4)))),
        16 => Some((word(&place, 0), word(&place, 8))),
        _ => None,
    }
}

fn within(high: Int, low: Int, prefix: Cidr) -> Test {
    let (address, length) = match prefix.address() {
        IpAddr::V4(address) => (address.to_ipv6_mapped(), 96 + u32::from(prefix.length())),
        IpAddr::V6(address) => (address, prefix.length().into()),
    };
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0).to_be_bytes();
    let octets = address.octets();
    let part = |bytes: &[u8; 16], at: usize| {
        bytes[at..at + 8].iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte))
    };
    let same = |int: Int, mask: u64, value: u64| is(binary(Arithmetic::And, int, Int::Constant(mask)), value);
    let mut tests =
        vec![same(low.clone(), part(&mask, 8), part(&octets, 8)), same(high.clone(), part(&mask, 0), part(&octets, 0))];
    // A short prefix of IPv6, such as ::/0, holds no IPv4 address though those are kept as IPv6.
    let v4 = Cidr::host(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().into());
    if !prefix.is_v4() && prefix.length() < 96 && prefix.covers(v4) {
        let mapped = vec![same(high, u64::MAX, 0), same(low, u32::MAX.into(), MAPPED)];
        tests.push(Test::Not(Box::new(Test::And(mapped))));
    }
    Test::And(tests)
}
