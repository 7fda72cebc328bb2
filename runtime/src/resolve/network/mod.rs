//! Sockets, packets and addresses of the kernel: `sock(args.sk).dport`, `skb(args.skb).saddr`, `sockaddr(args.uservaddr).port`.

mod address;
mod packet;
mod place;
mod sockaddr;
mod socket;
mod tcpdump;
mod trees;

pub use address::{in_cidr, is_address};
pub use tcpdump::tcpdump;

use super::scope::{Arguments, Scope, Typed};
use crate::aggregate::column::Show;
use crate::diagnostic::{Diagnostic, nearest};
use crate::expr::{Expr, Function};
use crate::network::names;
use crate::slot::ir::{Current, Int};
use place::Start;

/// Members of what a decoder gives, with what they are.
type Members = &'static [(&'static str, &'static str)];

/// `None`: it decodes nothing.
pub fn members_of(decoder: Function) -> Option<Members> {
    match decoder {
        Function::Sock => Some(socket::MEMBERS),
        Function::Skb => Some(packet::MEMBERS),
        Function::Sockaddr => Some(sockaddr::MEMBERS),
        _ => None,
    }
}

/// `sock(args.sk).dport`
///
/// # Errors
/// A script diagnostic: no such member, or what is decoded is none; a machine diagnostic: this kernel's types do not say.
pub fn member(decoder: Function, of: &Expr, name: &str, expr: &Expr, scope: &Scope) -> Result<Typed, Diagnostic> {
    let members = members_of(decoder).unwrap_or_default();
    if members.iter().all(|(known, _)| *known != name) {
        let error =
            Diagnostic::script(format!("`{}()` has no member `{name}`", decoder.name())).span(name).at(expr.position);
        let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
        return Err(match nearest(name, names.iter().copied()) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("it has {}", names.join(", "))),
        });
    }
    if scope.arguments == Arguments::Unchecked || scope.types.is_none() {
        // Plans only: nobody knows where it lies.
        super::resolve(of, scope)?;
        let unknown = Int::Current(Current::Nsecs);
        return Ok(match name {
            "saddr" | "daddr" | "addr" => Typed::Address { high: unknown.clone(), low: unknown },
            "family" => Typed::shown(unknown, Show::Enum(names::families())),
            "state" => Typed::shown(unknown, Show::Enum(names::tcp_states())),
            "protocol" => Typed::shown(unknown, Show::Enum(names::protocols())),
            _ => Typed::int(unknown),
        });
    }
    let at = |error: Diagnostic| error.span(of.to_string()).at(expr.position);
    let read = match decoder {
        Function::Sock => socket::member(&Start::socket(of, scope).map_err(at)?, name),
        Function::Skb => packet::member(&Start::packet(of, scope).map_err(at)?, name),
        _ => return Ok(sockaddr::member(sockaddr::place(of, scope).map_err(at)?, name)),
    };
    read.map_err(|missing| {
        Diagnostic::machine(format!("`{expr}` is not to be had: this kernel's types have no `{missing}`"))
            .at(expr.position)
    })
}

/// A decoder without a member.
pub fn whole(decoder: Function, of: &Expr, expr: &Expr) -> Diagnostic {
    let names: Vec<&str> = members_of(decoder).unwrap_or_default().iter().map(|(name, _)| *name).collect();
    Diagnostic::script(format!("`{expr}` is no value of its own; name one of its members"))
        .help(format!("{}({of}).{}   (it has {})", decoder.name(), names[1], names.join(", ")))
        .at(expr.position)
}
