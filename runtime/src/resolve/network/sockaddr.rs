//! Socket addresses as programs hand them to the kernel: `sockaddr(args.uservaddr)`. Source: include/uapi/linux/in.h, in6.h.

use super::Members;
use super::address::mapped;
use super::trees::{bytes, choose, is, network_order, only, word};
use crate::aggregate::column::Show;
use crate::diagnostic::Diagnostic;
use crate::expr::Expr;
use crate::network::names;
use crate::resolve::members::{behind, memory_of};
use crate::resolve::resolve;
use crate::resolve::scope::{Scope, Typed};
use crate::slot::ir::{Place, Test, Text};

pub const MEMBERS: Members =
    &[("family", "`AF_INET`, `AF_INET6`, `AF_UNIX`, …"), ("addr", "the address"), ("port", "the port")];

pub fn place(of: &Expr, scope: &Scope) -> Result<Place, Diagnostic> {
    match resolve(of, scope)? {
        Typed::Int { int, .. } => Ok(behind(int, memory_of(of, scope))),
        Typed::Pointer { int, stars: 1, memory, .. } => Ok(behind(int, memory)),
        Typed::Object { place, .. } => Ok(place),
        Typed::Bytes { bytes: Text::Context { offset, .. }, .. } => Ok(Place::Context(offset)),
        Typed::Bytes { bytes: Text::Event { offset, .. }, .. } => Ok(Place::Event(offset)),
        other => Err(Diagnostic::script(format!("`{of}` is {}, no `struct sockaddr *`", other.what()))
            .help("sockaddr(args.uservaddr).port")
            .at(of.position)),
    }
}

pub fn member(place: Place, name: &str) -> Typed {
    let family = || bytes(&place, 0, 2);
    let (v4, v6) = (|| is(family(), 2), || is(family(), 10));
    match name {
        "family" => Typed::shown(family(), Show::Enum(names::families())),
        "port" => Typed::int(only(Test::Or(vec![v4(), v6()]), network_order(bytes(&place, 2, 2)))),
        _ => {
            let low = only(v4(), mapped(bytes(&place, 4, 4)));
            Typed::Address { high: only(v6(), word(&place, 8)), low: choose(v6(), word(&place, 16), low) }
        }
    }
}
