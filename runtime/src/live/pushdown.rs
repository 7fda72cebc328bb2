//! Pushdown: what of filters the kernel can test, as an expression over a template's fields. What passes it is asked once
//! more here, so an expression may pass too much, and never too little. Pure.

use crate::diagnostic::Diagnostic;
use crate::expr::{Expr, Function, Node, Operator};
use crate::network::cidr::Cidr;
use crate::network::flow::{Direction, IpVersion, TcpFlags, Verdict, event};
use crate::network::hubble::filter::ports;
use crate::network::hubble::flow_filter::FlowFilter;
use crate::network::protocol::Protocol;
use std::ops::RangeInclusive;

/// What events are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of the template `flows`.
    Packet,
    /// Of the template `drops`.
    Drop,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Pushed {
    /// No event of this kind can be wanted.
    Never,
    Always,
    When(Expr),
}

/// What allows and denies come to for events of one kind.
///
/// # Errors
/// A script diagnostic: an address or a port that is none.
pub fn pushed(allow: &[FlowFilter], deny: &[FlowFilter], kind: Kind) -> Result<Pushed, Diagnostic> {
    let read =
        |filters: &[FlowFilter]| filters.iter().map(|one| Conditions::of(one, kind)).collect::<Result<Vec<_>, _>>();
    let (wanted, unwanted) = (read(allow)?, read(deny)?);
    let possible: Vec<Conditions> = wanted.into_iter().filter(|one| !one.never).collect();
    if possible.is_empty() && !allow.is_empty() {
        return Ok(Pushed::Never);
    }
    // A filter that tests nothing here passes everything here.
    let any: Option<Vec<Expr>> = possible.into_iter().map(|one| all(one.tests)).collect();
    let mut tests: Vec<Expr> = any.and_then(|any| join(Operator::Or, any)).into_iter().collect();
    for one in unwanted.into_iter().filter(|one| !one.never && one.exact) {
        match all(one.tests) {
            Some(test) => tests.push(Expr::new(Node::Not(test), None)),
            None => return Ok(Pushed::Never),
        }
    }
    Ok(all(tests).map_or(Pushed::Always, Pushed::When))
}

fn join(operator: Operator, parts: Vec<Expr>) -> Option<Expr> {
    parts.into_iter().reduce(|left, right| Expr::binary(operator, left, right))
}

fn all(parts: Vec<Expr>) -> Option<Expr> {
    join(Operator::And, parts)
}

fn any(parts: Vec<Expr>) -> Option<Expr> {
    join(Operator::Or, parts)
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::and(Some(left), right)
}

fn is(name: &str, value: u64) -> Expr {
    Expr::binary(Operator::Equal, Expr::name(name), Expr::int(value.into()))
}

fn within(name: &str, prefix: Cidr) -> Expr {
    let arguments = vec![Expr::name(name), Expr::new(Node::Text(prefix.to_string()), None)];
    Expr::new(Node::Call(Function::InCidr, arguments), None)
}

fn between(name: &str, range: &RangeInclusive<u16>) -> Expr {
    let bound = |operator, value: u16| Expr::binary(operator, Expr::name(name), Expr::int(value.into()));
    if range.start() == range.end() {
        return is(name, (*range.start()).into());
    }
    and(bound(Operator::GreaterOrEqual, *range.start()), bound(Operator::LessOrEqual, *range.end()))
}

/// One filter, as far as the kernel can test it.
struct Conditions {
    kind: Kind,
    tests: Vec<Expr>,
    /// Are the tests all that it asks for? Then what passes them is what it wants.
    exact: bool,
    never: bool,
}

/// Names of an end's fields: of the packet, and of the one in a tunnel.
struct End<'a> {
    address: [&'a str; 2],
    port: [&'a str; 2],
}

const SOURCE: End<'_> = End { address: ["saddr", "inner_saddr"], port: ["sport", "inner_sport"] };
const DESTINATION: End<'_> = End { address: ["daddr", "inner_daddr"], port: ["dport", "inner_dport"] };

impl Conditions {
    fn of(filter: &FlowFilter, kind: Kind) -> Result<Conditions, Diagnostic> {
        let mut own = Conditions { kind, tests: Vec::new(), exact: true, never: false };
        own.addresses(&filter.source_ip, &SOURCE)?;
        own.addresses(&filter.destination_ip, &DESTINATION)?;
        own.ports(&filter.source_port, &SOURCE)?;
        own.ports(&filter.destination_port, &DESTINATION)?;
        own.protocols(&filter.protocol);
        own.versions(&filter.ip_version);
        own.flags(&filter.tcp_flags);
        own.directions(&filter.traffic_direction);
        own.interfaces(filter);
        own.events(filter);
        // Whatever else it asks for, is asked here.
        let known = FlowFilter {
            source_ip: Vec::new(),
            destination_ip: Vec::new(),
            source_port: Vec::new(),
            destination_port: Vec::new(),
            protocol: Vec::new(),
            ip_version: Vec::new(),
            tcp_flags: Vec::new(),
            traffic_direction: Vec::new(),
            interface: Vec::new(),
            verdict: Vec::new(),
            event_type: Vec::new(),
            ..filter.clone()
        };
        own.exact &= known == FlowFilter::default();
        Ok(own)
    }

    /// That any of them holds; none of none, where there were some: it can never hold.
    fn push(&mut self, asked: bool, alternatives: Vec<Expr>) {
        match any(alternatives) {
            Some(test) => self.tests.push(test),
            None => self.never |= asked,
        }
    }

    /// Of the packet that a flow is about: the inner one of a tunnel.
    fn inner(&self, outer: Expr, inner: Expr) -> Expr {
        match self.kind {
            Kind::Packet => {
                let whole = and(is("tunnel", 0), outer);
                Expr::binary(Operator::Or, whole, and(is("tunnel", 1), inner))
            }
            Kind::Drop => outer,
        }
    }

    fn addresses(&mut self, texts: &[String], end: &End<'_>) -> Result<(), Diagnostic> {
        let mut tests = Vec::new();
        for text in texts {
            let prefix: Cidr = text.parse()?;
            let outer = within(end.address[0], prefix);
            // What is no packet of IP has zeros for addresses.
            let outer = if self.kind == Kind::Packet { and(not_zero("family"), outer) } else { outer };
            tests.push(self.inner(outer, within(end.address[1], prefix)));
        }
        self.exact &= self.kind == Kind::Packet || texts.is_empty();
        self.push(!texts.is_empty(), tests);
        Ok(())
    }

    fn ports(&mut self, texts: &[String], end: &End<'_>) -> Result<(), Diagnostic> {
        let mut tests = Vec::new();
        for text in texts {
            let range = ports(text)?;
            let outer = between(end.port[0], &range);
            tests.push(self.inner(outer, between(end.port[1], &range)));
            // Where there are no ports, they are zero.
            self.exact &= *range.start() > 0 && self.kind == Kind::Packet;
        }
        self.push(!texts.is_empty(), tests);
        Ok(())
    }

    fn protocols(&mut self, names: &[String]) {
        let mut tests = Vec::new();
        for name in names {
            let of = |protocol: Protocol| {
                let outer = is("protocol", protocol.0.into());
                // Later fragments show nothing of their protocol.
                let outer = if self.kind == Kind::Packet { and(before("fragment", 2), outer) } else { outer };
                self.inner(outer, is("inner_protocol", protocol.0.into()))
            };
            match name.to_ascii_lowercase().as_str() {
                "tcp" => tests.push(of(Protocol::TCP)),
                "udp" => tests.push(of(Protocol::UDP)),
                "sctp" => tests.push(of(Protocol::SCTP)),
                "icmpv4" => tests.push(of(Protocol::ICMP)),
                "icmpv6" => tests.push(of(Protocol::ICMPV6)),
                "icmp" => tests.extend([of(Protocol::ICMP), of(Protocol::ICMPV6)]),
                // What packets hold is not looked into.
                _ => {}
            }
        }
        self.exact &= self.kind == Kind::Packet || names.is_empty();
        self.push(!names.is_empty(), tests);
    }

    fn versions(&mut self, versions: &[IpVersion]) {
        if self.kind == Kind::Drop || versions.contains(&IpVersion::NotUsed) {
            self.exact &= versions.is_empty();
            return;
        }
        let of = |version: &IpVersion| {
            let (family, prefix) = if *version == IpVersion::V4 { (4, Cidr::ALL_V4) } else { (6, Cidr::ALL_V6) };
            self.inner(is("family", family), within("inner_saddr", prefix))
        };
        let tests = versions.iter().map(of).collect();
        self.push(!versions.is_empty(), tests);
    }

    fn flags(&mut self, wanted: &[TcpFlags]) {
        if self.kind == Kind::Drop {
            // Those of a packet without a header as yet are not known: it is no matter for the kernel.
            self.exact &= wanted.is_empty();
            return;
        }
        let bits = |flags: &TcpFlags| u8::try_from(flags.0).ok();
        let test = |bits: u8| {
            let set = Expr::binary(Operator::BitAnd, Expr::name("tcp_flags"), Expr::int(bits.into()));
            let set = Expr::binary(Operator::Equal, set, Expr::int(bits.into()));
            and(and(is("tunnel", 0), not_zero("tcp_flags")), set)
        };
        let tests = wanted.iter().filter_map(bits).map(test).collect();
        self.push(!wanted.is_empty(), tests);
    }

    fn directions(&mut self, wanted: &[Direction]) {
        if self.kind == Kind::Drop {
            self.exact &= wanted.is_empty();
            return;
        }
        let number = |direction: &Direction| match direction {
            Direction::Ingress => Some(0),
            Direction::Egress => Some(1),
            Direction::Unknown => None,
        };
        let tests = wanted.iter().filter_map(number).map(|number| is("direction", number)).collect();
        self.push(!wanted.is_empty(), tests);
    }

    fn interfaces(&mut self, filter: &FlowFilter) {
        let wanted = &filter.interface;
        let named: Vec<&str> = wanted.iter().map(|one| one.name.as_str()).filter(|name| !name.is_empty()).collect();
        // Names of interfaces that are not there cannot be compared with; numbers nobody gives.
        if self.kind == Kind::Packet || named.len() < wanted.len() {
            self.exact &= wanted.is_empty();
            return;
        }
        let is = |name: &&str| {
            let name = Expr::new(Node::Text((*name).to_owned()), None);
            Expr::binary(Operator::Equal, Expr::name("ifname"), name)
        };
        let tests = named.iter().map(is).collect();
        self.exact &= wanted.iter().all(|one| one.index == 0);
        self.push(!wanted.is_empty(), tests);
    }

    /// What all events of the kind are.
    fn events(&mut self, filter: &FlowFilter) {
        let (verdict, number) = match self.kind {
            Kind::Packet => (Verdict::Traced, event::TRACE),
            Kind::Drop => (Verdict::Dropped, event::DROP),
        };
        self.never |= !filter.verdict.is_empty() && !filter.verdict.contains(&verdict);
        let types = &filter.event_type;
        self.never |= !types.is_empty() && !types.iter().any(|one| one.kind == 0 || one.kind == number);
        self.exact &= types.iter().all(|one| !one.match_sub_kind);
        let of_drops = !filter.drop_reason_desc.is_empty();
        self.never |= of_drops && self.kind == Kind::Packet;
    }
}

fn not_zero(name: &str) -> Expr {
    Expr::binary(Operator::NotEqual, Expr::name(name), Expr::int(0))
}

fn before(name: &str, end: i128) -> Expr {
    Expr::binary(Operator::Less, Expr::name(name), Expr::int(end))
}
