//! Words in front of addresses and numbers, and what those stand for behind them: `tcp src port 80`, `net 10.0.0.0/8`.

use super::Fault;
use super::check::Check;
use super::lexer::number;
use super::primitives::{ARP, ICMP, ICMP6, IP, IP6, RARP, SCTP, TCP, UDP, WITH_PORTS, Way, is_prefix, mac, partial};
use super::syntax::Parser;
use std::net::IpAddr;

/// What is wrong with an address or a number, and what helps.
type Wrong = (String, Option<String>);

/// What an address or a number stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
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
pub struct Head<'a> {
    pub of: Option<&'a str>,
    pub way: Way,
    pub what: What,
}

/// Names of what packets are.
const KINDS: [&str; 17] = [
    "ether", "link", "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "esp", "ah", "pim",
    "vrrp", "carp",
];

pub const PROTOCOLS: [(&str, u8); 11] = [
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

pub const ETHER_TYPES: [(&str, u16); 4] = [("ip", IP), ("ip6", IP6), ("arp", ARP), ("rarp", RARP)];

pub fn find<T: Copy>(list: &[(&str, T)], name: &str) -> Option<T> {
    list.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

impl<'a> Parser<'a> {
    /// `tcp src port`; `None`: there are no such words.
    pub fn head(&mut self) -> Result<Option<Head<'a>>, Fault> {
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

    /// What one address or number of a head tests.
    pub fn one(&mut self, head: Head<'a>, word: &'a str) -> Result<Check, Wrong> {
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
    fn net(&mut self, word: &str) -> Result<(IpAddr, u8), Wrong> {
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
    fn protocol(&self, of: Option<&str>, word: &str) -> Result<Check, Wrong> {
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
}

/// `02:00:00:00:00:01`, also with dashes or dots.
fn octets(text: &str) -> Option<[u8; 6]> {
    let parts: Vec<u8> =
        text.split([':', '-', '.']).map(|part| u8::from_str_radix(part, 16).ok()).collect::<Option<_>>()?;
    parts.try_into().ok()
}

pub fn looks_like_address(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit()) || word.contains(':')
}
