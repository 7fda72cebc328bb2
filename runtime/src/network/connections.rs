//! Connections: who began, of those that were seen lately, and whose sockets are their ends. Pure.

use crate::network::flow::{Direction, Flow, Layer4, TcpFlags};
use std::collections::HashMap;
use std::net::IpAddr;

/// An end with its port.
type End = (IpAddr, u16);

/// Both ends, the lesser one first, and the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    ends: [End; 2],
    protocol: &'static str,
}

/// What is remembered; ends by their place in the key.
#[derive(Clone, Copy, Debug)]
struct Connection {
    client: usize,
    cgroups: [u64; 2],
}

/// As many as are remembered, or twice as many: when there is no more room, those are forgotten that were not met since
/// the last time.
const ROOM: usize = 1 << 16;

/// Those that were seen.
#[derive(Debug, Default)]
pub struct Connections {
    lately: HashMap<Key, Connection>,
    before: HashMap<Key, Connection>,
}

impl Connections {
    /// Says of a flow whether it answers, and whose socket it comes to, as far as that is known. Whose beginning nobody saw
    /// has no known client, except with UDP and SCTP: there the first one who is seen has begun.
    pub fn meet(&mut self, flow: &mut Flow) {
        let Some(l4) = &flow.l4 else { return };
        if let Layer4::Icmpv4(icmp) | Layer4::Icmpv6(icmp) = l4 {
            // Echoes, their answers; all others tell of something, and nobody asked.
            match icmp.kind {
                8 | 128 => flow.answers(false),
                0 | 129 => flow.answers(true),
                _ => {}
            }
            return;
        }
        let (Some(from), Some(to), Some((from_port, to_port))) =
            (flow.source_address(), flow.destination_address(), l4.ports())
        else {
            return;
        };
        let (source, destination) = ((from, from_port), (to, to_port));
        let sends = usize::from(source > destination);
        let ends = if sends == 0 { [source, destination] } else { [destination, source] };
        let key = Key { ends, protocol: l4.name() };
        let begins = match l4 {
            Layer4::Tcp(tcp) if tcp.flags.has(TcpFlags::SYN) => Some(!tcp.flags.has(TcpFlags::ACK)),
            Layer4::Tcp(_) => None,
            _ if self.find(&key).is_none() => Some(true),
            _ => None,
        };
        if let Some(begins) = begins {
            let client = if begins { sends } else { 1 - sends };
            let cgroups = self.find(&key).map_or([0; 2], |known| known.cgroups);
            self.keep(key, Connection { client, cgroups });
        }
        let Some(known) = self.find(&key) else { return };
        let client = known.client;
        match flow.traffic_direction {
            Direction::Egress if flow.cgroup_id != 0 => known.cgroups[sends] = flow.cgroup_id,
            Direction::Ingress if flow.cgroup_id == 0 => flow.cgroup_id = known.cgroups[1 - sends],
            _ => {}
        }
        flow.answers(sends != client);
    }

    fn find(&mut self, key: &Key) -> Option<&mut Connection> {
        if let Some(known) = self.before.remove(key) {
            self.keep(*key, known);
        }
        self.lately.get_mut(key)
    }

    fn keep(&mut self, key: Key, connection: Connection) {
        if self.lately.len() >= ROOM && !self.lately.contains_key(&key) {
            self.before = std::mem::take(&mut self.lately);
        }
        self.lately.insert(key, connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::flow::{Icmp, Ip, IpVersion, Ports, Tcp};
    use crate::network::message::Text;

    fn flow(from: (u8, u16), to: (u8, u16), l4: impl Fn(u16, u16) -> Layer4) -> Flow {
        let address = |last: u8| Text(Some(IpAddr::from([10, 9, 0, last])));
        let ip = Ip { source: address(from.0), destination: address(to.0), version: IpVersion::V4, ..Ip::default() };
        Flow { ip: Some(ip), l4: Some(l4(from.1, to.1)), ..Flow::default() }
    }

    fn tcp(flags: u16) -> impl Fn(u16, u16) -> Layer4 {
        move |from, to| Layer4::Tcp(Tcp { source_port: from, destination_port: to, flags: TcpFlags(flags) })
    }

    fn udp(from: u16, to: u16) -> Layer4 {
        Layer4::Udp(Ports { source_port: from, destination_port: to })
    }

    fn met(known: &mut Connections, mut flow: Flow) -> Option<bool> {
        known.meet(&mut flow);
        flow.is_reply.0
    }

    #[test]
    fn syn_says_who_began_and_nothing_else_does() {
        let mut known = Connections::default();
        let (a, b) = ((1, 80), (2, 443));
        assert_eq!(met(&mut known, flow(a, b, tcp(16))), None);
        assert_eq!(met(&mut known, flow(a, b, tcp(2))), Some(false));
        assert_eq!(met(&mut known, flow(b, a, tcp(18))), Some(true));
        assert_eq!(met(&mut known, flow(b, a, tcp(17))), Some(true));
        // The port is used again, by the other side.
        assert_eq!(met(&mut known, flow(b, a, tcp(2))), Some(false));
        assert_eq!(met(&mut known, flow(a, b, tcp(16))), Some(true));
        // The answer alone was seen.
        assert_eq!(met(&mut known, flow((3, 80), (2, 9000), tcp(18))), Some(true));
        assert_eq!(met(&mut known, flow((2, 9000), (3, 80), tcp(16))), Some(false));
    }

    #[test]
    fn first_datagram_begins_and_echoes_say_it_themselves() {
        let mut known = Connections::default();
        assert_eq!(met(&mut known, flow((2, 5353), (1, 53), udp)), Some(false));
        assert_eq!(met(&mut known, flow((1, 53), (2, 5353), udp)), Some(true));
        for (kind, answers) in [(8, Some(false)), (0, Some(true)), (3, None)] {
            let icmp = |_, _| Layer4::Icmpv4(Icmp { kind, code: 0 });
            assert_eq!(met(&mut known, flow((1, 0), (2, 0), icmp)), answers);
        }
    }

    #[test]
    fn socket_that_sent_is_the_one_that_receives() {
        let mut known = Connections::default();
        let mut out = Flow { cgroup_id: 77, traffic_direction: Direction::Egress, ..flow((1, 9000), (2, 53), udp) };
        known.meet(&mut out);
        let mut back = Flow { traffic_direction: Direction::Ingress, ..flow((2, 53), (1, 9000), udp) };
        known.meet(&mut back);
        assert_eq!((back.cgroup_id, back.is_reply.0), (77, Some(true)));
    }

    #[test]
    fn those_not_met_for_long_are_forgotten() {
        let mut known = Connections::default();
        let of = |n: usize| flow((1, (n & 0xffff) as u16), (2 + (n >> 16) as u8, 53), udp);
        let back = |n: usize| flow((2 + (n >> 16) as u8, 53), (1, (n & 0xffff) as u16), udp);
        for n in 0..3 * ROOM {
            met(&mut known, of(n));
            // This one is met again and again.
            met(&mut known, of(7));
        }
        assert_eq!(met(&mut known, back(7)), Some(true));
        assert_eq!(met(&mut known, back(8)), Some(false), "as if it had never been");
        assert!(known.lately.len() <= ROOM && known.before.len() <= ROOM);
    }
}
