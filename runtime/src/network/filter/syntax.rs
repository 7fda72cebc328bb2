//! The grammar of filters: conditions joined by `and` and `or`, which bind alike and from the left, as in pcap-filter(7).

use super::Fault;
use super::arithmetic::comparison;
use super::check::{Check, Value};
use super::lexer::{Cursor, number};
use super::primitives::{
    self, ARP, ICMP, ICMP6, IP, IP6, Layout, RARP, SCTP, TCP, UDP, WITH_PORTS, Way, is_prefix, mac, partial,
};
use crate::slot::ir::Comparison;
use std::net::IpAddr;

/// Parentheses in parentheses.
pub const DEEPEST: usize = 64;
pub const TOO_DEEP: &str = "a filter is nested too deeply";

/// What an address or a number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A host, as nothing else was said.
    Unsaid,
    Host,
    Net,
    Port,
    Ports,
    Protocol,
}

/// Words in front of an address or a number; those that come next without any have the same.
#[derive(Clone, Copy, Debug)]
struct Head<'a> {
    of: Option<&'a str>,
    way: Way,
    what: What,
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    layout: Layout,
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

/// Names of what packets are.
const KINDS: [&str; 17] = [
    "ether", "link", "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "esp", "ah", "pim",
    "vrrp", "carp",
];

const PROTOCOLS: [(&str, u8); 11] = [
    ("icmp", ICMP),
    ("igmp", 2),
    ("tcp", TCP),
    ("udp", UDP),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", ICMP6),
    ("pim", 103),
    ("vrrp", 112),
    ("carp", 112),
    ("sctp", SCTP),
];

const ETHER_TYPES: [(&str, u16); 4] = [("ip", IP), ("ip6", IP6), ("arp", ARP), ("rarp", RARP)];

fn find<T: Copy>(list: &[(&str, T)], name: &str) -> Option<T> {
    list.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

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
            return Ok(inner.not());
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

    /// `tcp src port`; `None`: there are no such words.
    fn head(&mut self) -> Result<Option<Head<'a>>, Fault> {
        let mut head = Head { of: None, way: Way::Either, what: What::Unsaid };
        let name = self.cursor.peek_name();
        if KINDS.contains(&name) {
            self.cursor.pass(name);
            head.of = Some(name);
        }
        let way = self.way();
        head.way = way.unwrap_or_default();
        let whats = [
            ("host", What::Host),
            ("net", What::Net),
            ("portrange", What::Ports),
            ("port", What::Port),
            ("proto", What::Protocol),
        ];
        let what = whats.into_iter().find(|(word, _)| self.cursor.takes(word));
        if let Some((word, what)) = what {
            if what == What::Protocol && way.is_some() {
                return Err(self.cursor.fault(format!("`{word}` has no direction")));
            }
            head.what = what;
        }
        Ok((head.of.is_some() || way.is_some() || what.is_some()).then_some(head))
    }

    fn way(&mut self) -> Option<Way> {
        for (word, other, way) in [("src", "dst", Way::Source), ("dst", "src", Way::Destination)] {
            if !self.cursor.takes(word) {
                continue;
            }
            for (joint, both) in [("or", Way::Either), ("and", Way::Both)] {
                let mut ahead = self.cursor;
                if ahead.takes(joint) && ahead.takes(other) {
                    self.cursor = ahead;
                    return Some(both);
                }
            }
            return Some(way);
        }
        None
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
            self.id(head)?.not()
        } else if self.cursor.takes_sign("(") {
            let all = self.list(|parser| parser.id(head))?;
            self.closed()?;
            all
        } else {
            let word = self.cursor.peek_id();
            let mut place = self.cursor;
            let check = self.one(head, word).map_err(|(message, help)| Fault { help, ..place.fault(message) })?;
            check
        };
        self.depth -= 1;
        Ok(check)
    }

    /// What one address or number of a head tests.
    fn one(&mut self, head: Head<'a>, word: &'a str) -> Result<Check, (String, Option<String>)> {
        let wrong = |message: String, help: &str| Err((message, Some(help.to_owned())));
        if word.is_empty() {
            let shown = self.cursor.shown();
            return Err((format!("an address or a number is missing, here is {shown}"), None));
        }
        self.cursor.pass(word);
        let modified = |what: &str| (format!("`{}` has no {what}", head.of.unwrap_or_default()), None);
        match head.what {
            What::Unsaid | What::Host => {
                if let Some("ether" | "link") = head.of {
                    return match octets(word) {
                        Some(octets) => Ok(mac(head.way, octets)),
                        None => wrong(format!("`{word}` is no address of Ethernet"), "ether host 02:00:00:00:00:01"),
                    };
                }
                let Ok(address) = word.parse::<IpAddr>() else {
                    return match word {
                        _ if octets(word).is_some() => {
                            wrong(format!("`{word}` is an address of Ethernet"), &format!("ether host {word}"))
                        }
                        _ if word.contains('/') => wrong(format!("`{word}` is a net"), &format!("net {word}")),
                        _ => wrong(format!("`{word}` is no address; names are not looked up"), "host 10.0.0.1"),
                    };
                };
                let length = if address.is_ipv4() { 32 } else { 128 };
                self.of_kind(head, address, length).ok_or_else(|| modified("such addresses"))
            }
            What::Net => {
                let (address, length) = self.net(word)?;
                if !is_prefix(address, length) {
                    return Err((format!("`{word}` has bits behind its prefix of {length}"), None));
                }
                self.of_kind(head, address, length).ok_or_else(|| modified("such addresses"))
            }
            What::Port | What::Ports => {
                let port = |text: &str| number(text).and_then(|port| u16::try_from(port).ok());
                let ends = match (head.what, word.split_once('-')) {
                    (What::Ports, Some((first, last))) => port(first).zip(port(last)),
                    (What::Port, _) => port(word).map(|port| (port, port)),
                    _ => None,
                };
                let Some((one, other)) = ends else {
                    return match head.what {
                        What::Ports => wrong(format!("`{word}` is no range of ports"), "portrange 8000-8999"),
                        _ => wrong(format!("`{word}` is no port; names are not looked up"), "port 80"),
                    };
                };
                let protocols = match head.of {
                    None => WITH_PORTS.to_vec(),
                    Some(of) => match find(&PROTOCOLS, of).filter(|one| WITH_PORTS.contains(one)) {
                        Some(protocol) => vec![protocol],
                        None => return Err(modified("ports")),
                    },
                };
                Ok(self.layout.ports(&protocols, head.way, one.min(other), one.max(other)))
            }
            What::Protocol => self.protocol(head.of, word),
        }
    }

    fn of_kind(&self, head: Head<'a>, address: IpAddr, length: u8) -> Option<Check> {
        match (head.of, address) {
            (None, _) => Some(self.layout.any_net(head.way, address, length)),
            (Some("ip6"), IpAddr::V6(_)) => Some(self.layout.net(IP6, head.way, address, length)),
            (Some(of @ ("ip" | "arp" | "rarp")), IpAddr::V4(_)) => {
                Some(self.layout.net(find(&ETHER_TYPES, of)?, head.way, address, length))
            }
            _ => None,
        }
    }

    /// `10.0.0.0/8`, `10.1`, `10.0.0.0 mask 255.0.0.0`, `fd00::/8`.
    fn net(&mut self, word: &str) -> Result<(IpAddr, u8), (String, Option<String>)> {
        let wrong = || (format!("`{word}` is no net; names are not looked up"), Some("net 10.0.0.0/8".to_owned()));
        if let Some((address, length)) = word.split_once('/') {
            let length = length.parse::<u8>().map_err(|_| wrong())?;
            let address = match address.parse::<IpAddr>() {
                Ok(address) => address,
                Err(_) => partial(address).ok_or_else(wrong)?.0.into(),
            };
            let longest = if address.is_ipv4() { 32 } else { 128 };
            return if length <= longest { Ok((address, length)) } else { Err(wrong()) };
        }
        if let Ok(address @ IpAddr::V6(_)) = word.parse() {
            return Ok((address, 128));
        }
        let (address, length) = partial(word).ok_or_else(wrong)?;
        if !self.cursor.takes("mask") {
            return Ok((address.into(), length));
        }
        let mask = self.cursor.peek_id();
        let bits = partial(mask).map(|(mask, _)| mask.to_bits());
        self.cursor.pass(mask);
        match bits.filter(|bits| bits.leading_ones() == bits.count_ones()) {
            Some(bits) => Ok((address.into(), bits.leading_ones() as u8)),
            None => Err((format!("`{mask}` is no mask of a prefix"), Some("net 10.0.0.0 mask 255.0.0.0".to_owned()))),
        }
    }

    /// `ip proto 6`, `ether proto \arp`.
    fn protocol(&self, of: Option<&str>, word: &str) -> Result<Check, (String, Option<String>)> {
        let name = word.strip_prefix('\\').unwrap_or(word);
        let unknown = || (format!("`{word}` is no protocol that a filter knows"), Some("ip proto 47".to_owned()));
        if let Some("ether" | "link") = of {
            let kind = find(&ETHER_TYPES, name).or_else(|| number(name).and_then(|kind| u16::try_from(kind).ok()));
            // Smaller ones are lengths, and what follows is another format.
            return kind.filter(|kind| *kind >= 0x600).map(|kind| self.layout.carries(kind)).ok_or_else(unknown);
        }
        let protocol = find(&PROTOCOLS, name).or_else(|| number(name).and_then(|one| u8::try_from(one).ok()));
        let protocol = protocol.ok_or_else(unknown)?;
        match of {
            None => Ok(self.layout.protocol(protocol)),
            Some("ip") => Ok(self.layout.ip_protocol(protocol)),
            Some("ip6") => Ok(self.layout.ip6_protocol(protocol)),
            Some(other) => Err((format!("`{other}` carries no protocols"), Some("ip proto 47".to_owned()))),
        }
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

/// `02:00:00:00:00:01`, also with dashes or dots.
fn octets(text: &str) -> Option<[u8; 6]> {
    let parts: Vec<u8> =
        text.split([':', '-', '.']).map(|part| u8::from_str_radix(part, 16).ok()).collect::<Option<_>>()?;
    parts.try_into().ok()
}

fn looks_like_address(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit()) || word.contains(':')
}
