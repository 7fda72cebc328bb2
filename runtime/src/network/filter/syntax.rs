//! The grammar of filters: conditions joined by `and` and `or`, which bind alike and from the left, as in pcap-filter(7).

use super::Fault;
use super::arithmetic::comparison;
use super::check::{Check, Value};
use super::heads::{ETHER_TYPES, Head, PROTOCOLS, What, find, looks_like_address};
use super::lexer::{Cursor, number};
use super::primitives::{self, ICMP6, Layout, Way, mac};
use crate::slot::ir::Comparison;

/// Parentheses in parentheses.
pub const DEEPEST: usize = 64;
pub const TOO_DEEP: &str = "a filter is nested too deeply";

pub struct Parser<'a> {
    pub cursor: Cursor<'a>,
    pub layout: Layout,
    last: Option<Head<'a>>,
    depth: usize,
}

pub fn parse(text: &str) -> Result<Check, Fault> {
    let mut parser = Parser { cursor: Cursor::new(text), layout: Layout::default(), last: None, depth: 0 };
    if parser.cursor.is_over() {
        return Ok(Check::Constant(true));
    }
    let check = parser.conditions()?;
    if !parser.cursor.is_over() {
        let shown = parser.cursor.shown();
        return Err(parser.cursor.fault(format!("a filter does not go on with {shown}")).help(JOINED));
    }
    Ok(check)
}

const JOINED: &str = "tcp port 80 and not host 10.0.0.1";

impl<'a> Parser<'a> {
    fn conditions(&mut self) -> Result<Check, Fault> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.cursor.fault(TOO_DEEP));
        }
        let all = self.list(Self::condition)?;
        self.depth -= 1;
        Ok(all)
    }

    /// Members joined from the left: one list as long as they are joined by the same word.
    fn list(&mut self, member: impl Fn(&mut Self) -> Result<Check, Fault>) -> Result<Check, Fault> {
        let mut all = member(self)?;
        let (mut joined_by, mut changes) = (None, 0);
        loop {
            let all_of = self.cursor.takes("and") || self.cursor.takes_sign("&&");
            if !all_of && !self.cursor.takes("or") && !self.cursor.takes_sign("||") {
                return Ok(all);
            }
            let next = member(self)?;
            all = match all {
                Check::And(mut list) if all_of && joined_by == Some(true) => {
                    list.push(next);
                    Check::And(list)
                }
                Check::Or(mut list) if !all_of && joined_by == Some(false) => {
                    list.push(next);
                    Check::Or(list)
                }
                all if all_of => Check::And(vec![all, next]),
                all => Check::Or(vec![all, next]),
            };
            changes += usize::from(joined_by.replace(all_of) != Some(all_of));
            if changes > DEEPEST {
                return Err(self.cursor.fault(TOO_DEEP));
            }
        }
    }

    fn condition(&mut self) -> Result<Check, Fault> {
        let mut ahead = self.cursor;
        if ahead.takes("not") || ahead.takes_sign("!") && !ahead.takes_sign("=") {
            self.cursor = ahead;
            self.depth += 1;
            if self.depth > DEEPEST {
                return Err(self.cursor.fault(TOO_DEEP));
            }
            let inner = self.condition()?;
            self.depth -= 1;
            return Ok(inner.turned());
        }
        if let Some(check) = comparison(&mut self.cursor, self.layout, self.depth)? {
            self.last = None;
            return Ok(check);
        }
        if self.cursor.takes_sign("(") {
            let inner = self.conditions()?;
            self.closed()?;
            return Ok(inner);
        }
        self.primitive()
    }

    fn closed(&mut self) -> Result<(), Fault> {
        match self.cursor.takes_sign(")") {
            true => Ok(()),
            false => Err(self.cursor.fault("a parenthesis is not closed")),
        }
    }

    fn primitive(&mut self) -> Result<Check, Fault> {
        let (name, inherited) = (self.cursor.peek_name(), self.last.take());
        match name {
            "less" | "greater" => {
                self.cursor.pass(name);
                let op = if name == "less" { Comparison::LessOrEqual } else { Comparison::GreaterOrEqual };
                let length = self.number("a length")?;
                return Ok(Check::compare(op, Value::Length, length));
            }
            "vlan" => {
                self.cursor.pass(name);
                let tagged = !self.cursor.peek_number().is_empty();
                let wanted = if tagged { Some(self.number("a tag's number")?) } else { None };
                return Ok(self.layout.vlan(wanted));
            }
            "broadcast" | "multicast" => {
                self.cursor.pass(name);
                return Ok(if name == "broadcast" {
                    mac(Way::Destination, [0xff; 6])
                } else {
                    primitives::multicast()
                });
            }
            "inbound" | "outbound" => {
                let way = if name == "inbound" { "ingress" } else { "egress" };
                let help = format!("--direction {way}, or .filter(direction == \"{way}\")");
                return Err(self.cursor.fault("the direction is no part of a frame").help(help));
            }
            _ => {}
        }
        let head = self.head()?;
        match (head, inherited) {
            (Some(head), _) => self.with(head),
            // `port 80 or 443`
            (None, Some(head)) if name.is_empty() => self.ids(head),
            (None, Some(head)) if find(&PROTOCOLS, name).is_none() && looks_like_address(self.cursor.peek_id()) => {
                self.ids(head)
            }
            _ => {
                let shown = self.cursor.shown();
                let fault = self.cursor.fault(format!("{shown} is no word of a filter"));
                let id = self.cursor.peek_id();
                Err(match id {
                    "" => fault.help(JOINED),
                    _ if id.parse::<u16>().is_ok() => fault.help(format!("port {id}")),
                    _ if looks_like_address(id) => fault.help(format!("host {id}")),
                    _ => {
                        fault.help("words are those of pcap-filter(7): host, net, port, portrange, tcp, vlan, less, …")
                    }
                })
            }
        }
    }

    /// What follows its words.
    fn with(&mut self, head: Head<'a>) -> Result<Check, Fault> {
        if let (Some(of), What::Unsaid, Way::Either) = (head.of, head.what, head.way) {
            let before = self.cursor;
            for word in ["broadcast", "multicast"] {
                if self.cursor.takes(word) {
                    return match (of, word) {
                        ("ether" | "link", "broadcast") => Ok(mac(Way::Destination, [0xff; 6])),
                        ("ether" | "link", _) => Ok(primitives::multicast()),
                        ("ip", "multicast") => Ok(self.layout.ip_multicast()),
                        ("ip6", "multicast") => Ok(self.layout.ip6_multicast()),
                        _ => {
                            self.cursor = before;
                            Err(self.cursor.fault(format!("a filter does not know `{of} {word}`")))
                        }
                    };
                }
            }
            let id = self.cursor.peek_id();
            // `ip src or dst 10.0.0.1` is no kind alone.
            if id.is_empty() || !looks_like_address(id) {
                return self.kind(of);
            }
        }
        self.ids(head)
    }

    /// A kind of packets alone.
    fn kind(&mut self, of: &str) -> Result<Check, Fault> {
        let layout = self.layout;
        Ok(match of {
            "ether" | "link" => return Err(self.cursor.fault(format!("every frame is of `{of}`; which ones?"))),
            "icmp" | "igmp" | "vrrp" | "carp" => layout.ip_protocol(find(&PROTOCOLS, of).unwrap_or_default()),
            "icmp6" => layout.ip6_protocol(ICMP6),
            _ => match find(&ETHER_TYPES, of) {
                Some(kind) => layout.carries(kind),
                None => layout.protocol(find(&PROTOCOLS, of).unwrap_or_default()),
            },
        })
    }

    /// One address or number, or several in parentheses.
    fn ids(&mut self, head: Head<'a>) -> Result<Check, Fault> {
        let check = self.id(head)?;
        self.last = Some(head);
        Ok(check)
    }

    fn id(&mut self, head: Head<'a>) -> Result<Check, Fault> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.cursor.fault(TOO_DEEP));
        }
        let check = if self.cursor.takes("not") || self.cursor.takes_sign("!") {
            self.id(head)?.turned()
        } else if self.cursor.takes_sign("(") {
            let all = self.list(|parser| parser.id(head))?;
            self.closed()?;
            all
        } else {
            let word = self.cursor.peek_id();
            let mut place = self.cursor;
            self.one(head, word).map_err(|(message, help)| Fault { help, ..place.fault(message) })?
        };
        self.depth -= 1;
        Ok(check)
    }

    fn number(&mut self, what: &str) -> Result<u32, Fault> {
        let word = self.cursor.peek_number();
        match number(word) {
            Some(value) => {
                self.cursor.pass(word);
                Ok(value)
            }
            None => Err(self.cursor.fault(format!("{what} is missing"))),
        }
    }
}
