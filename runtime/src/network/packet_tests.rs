use super::*;

/// A frame from its headers; lengths are filled in.
#[derive(Clone)]
pub struct Frame(pub Vec<u8>);

impl Frame {
    fn ethernet(ether_type: u16) -> Frame {
        let mut bytes = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        bytes.extend(ether_type.to_be_bytes());
        Frame(bytes)
    }

    fn with(mut self, bytes: &[u8]) -> Frame {
        self.0.extend(bytes);
        self
    }

    fn tag(self, vlan: u16, ether_type: u16) -> Frame {
        self.with(&(vlan | 0xe000).to_be_bytes()).with(&ether_type.to_be_bytes())
    }

    fn ipv4(self, protocol: u8, place: u16, data: &[u8]) -> Frame {
        let total = 20 + data.len() as u16;
        let header =
            [0x45, 0, (total >> 8) as u8, total as u8, 0, 7, (place >> 8) as u8, place as u8, 64, protocol, 0, 0];
        self.with(&header).with(&[10, 9, 0, 2, 10, 9, 0, 3]).with(data)
    }

    fn ipv6(self, next: u8, data: &[u8]) -> Frame {
        let length = data.len() as u16;
        let address = |last: u8| [&[0xfd][..], &[0; 14], &[last]].concat();
        let header = [0x60, 0, 0, 0, (length >> 8) as u8, length as u8, next, 64];
        self.with(&header).with(&address(2)).with(&address(3)).with(data)
    }
}

fn tcp(flags: u16) -> Vec<u8> {
    let mut header =
        vec![0xa1, 0x12, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x60 | (flags >> 8) as u8, flags as u8, 0, 0, 0, 0, 0, 0];
    header.extend([1, 1, 1, 1]);
    header.extend(b"hello");
    header
}

fn udp(port: u16, data: &[u8]) -> Vec<u8> {
    let length = (8 + data.len() as u16).to_be_bytes();
    [&[0x14, 0xe9], &port.to_be_bytes()[..], &length, &[0, 0], data].concat()
}

fn payload<'a>(frame: &'a Frame, packet: &Packet) -> &'a [u8] {
    &frame.0[packet.payload.clone()]
}

#[test]
fn tcp_in_two_tags_has_addresses_ports_flags_and_data() {
    let frame = Frame::ethernet(QINQ).tag(7, VLAN).tag(42, IPV4).ipv4(6, 0x4000, &tcp(0x112)).with(&[0; 9]);
    let packet = parse(&frame.0, Link::Ethernet);
    assert_eq!(packet.vlans, [7, 42]);
    assert_eq!(packet.l4, Some(Layer4::Tcp(Tcp { source_port: 41234, destination_port: 80, flags: TcpFlags(0x112) })));
    assert_eq!((packet.fault, payload(&frame, &packet)), (None, &b"hello"[..]));
    let flow = packet.flow();
    assert_eq!(flow.summary, "TCP Flags: SYN, ACK, NS");
    assert_eq!(flow.source_address().map(|ip| ip.to_string()).as_deref(), Some("10.9.0.2"));
    let ethernet = flow.ethernet.expect("it is a frame");
    assert_eq!(ethernet.source.0.map(|mac| mac.to_string()).as_deref(), Some("02:00:00:00:00:01"));
}

#[test]
fn extension_headers_are_walked_to_the_protocol() {
    // Hop by hop of 16 bytes, authentication of 12, destination options of 8.
    let hop = [51, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let authentication = [60, 1, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1];
    let options = [17, 0, 1, 4, 0, 0, 0, 0];
    let data = [&hop[..], &authentication, &options, &udp(53, b"?")].concat();
    let frame = Frame::ethernet(IPV6).ipv6(0, &data);
    let packet = parse(&frame.0, Link::Ethernet);
    assert_eq!(packet.l4, Some(Layer4::Udp(Ports { source_port: 5353, destination_port: 53 })));
    assert_eq!((packet.fault, payload(&frame, &packet)), (None, &b"?"[..]));

    let deep = [[60, 0, 1, 4, 0, 0, 0, 0]; EXTENSIONS + 1].concat();
    let packet = parse(&Frame::ethernet(IPV6).ipv6(60, &deep).0, Link::Ethernet);
    assert_eq!((packet.fault, packet.l4), (Some(Fault::TooDeep), None));
}

#[test]
fn ports_are_those_of_the_first_fragment_only() {
    let first = parse(&Frame::ethernet(IPV4).ipv4(17, 0x2000, &udp(53, b"")).0, Link::Ethernet);
    assert!(first.l4.is_some());
    assert_eq!(first.ip.and_then(|ip| ip.fragment), Some(Fragment { id: 7, offset: 0, more: true }));
    let later = parse(&Frame::ethernet(IPV4).ipv4(17, 0x0001, &udp(53, b"")).0, Link::Ethernet);
    assert_eq!((later.l4, later.fault), (None, None));
    assert_eq!(later.ip.and_then(|ip| ip.fragment), Some(Fragment { id: 7, offset: 8, more: false }));
    let fragment = |place: [u8; 2]| [&[17, 0][..], &place, &[0, 0, 0, 9], &udp(53, b"")].concat();
    let later = parse(&Frame::ethernet(IPV6).ipv6(44, &fragment([0, 0x10])).0, Link::Ethernet);
    assert_eq!(
        later.ip.map(|ip| (ip.protocol, ip.fragment)),
        Some((Protocol::UDP, Some(Fragment { id: 9, offset: 16, more: false })))
    );
    assert_eq!(later.l4, None);
    let atomic = parse(&Frame::ethernet(IPV6).ipv6(44, &fragment([0, 0])).0, Link::Ethernet);
    assert!(atomic.l4.is_some() && atomic.ip.is_some_and(|ip| ip.fragment.is_none()));
}

#[test]
fn inner_headers_of_tunnels_are_the_packets_own() {
    let inner = Frame::ethernet(IPV6).ipv6(58, &[128, 0, 0, 0]).0;
    for port in VXLAN_PORTS {
        let vxlan = [&[8, 0, 0, 0, 0, 1, 0x2c, 0][..], &inner].concat();
        let packet = parse(&Frame::ethernet(IPV4).ipv4(17, 0, &udp(port, &vxlan)).0, Link::Ethernet);
        assert_eq!(packet.l4, Some(Layer4::Icmpv6(Icmp { kind: 128, code: 0 })));
        let tunnel = packet.tunnel.expect("it is in one");
        assert_eq!((tunnel.protocol, tunnel.vni), (TunnelProtocol::Vxlan, 300));
        assert_eq!(tunnel.ip.and_then(|ip| ip.source.0).map(|ip| ip.to_string()).as_deref(), Some("10.9.0.2"));
    }
    // With an option of 8 bytes, and an IP header right behind it.
    let option = [1, 2, 3, 1, 0, 0, 0, 0];
    let inner = Frame(Vec::new()).ipv4(1, 0, &[8, 0, 0, 0]).0;
    let geneve = [&[2, 0, 8, 0, 0, 1, 0x2c, 0][..], &option, &inner].concat();
    let packet = parse(&Frame::ethernet(IPV6).ipv6(17, &udp(GENEVE_PORT, &geneve)).0, Link::Ethernet);
    assert_eq!(packet.flow().summary, "ICMPv4 EchoRequest");
    assert_eq!(packet.tunnel.map(|tunnel| tunnel.protocol), Some(TunnelProtocol::Geneve));
    // What merely goes to such a port is itself.
    let packet = parse(&Frame::ethernet(IPV4).ipv4(17, 0, &udp(4789, b"short")).0, Link::Ethernet);
    assert_eq!((packet.flow().summary.as_str(), packet.tunnel), ("UDP", None));
}

#[test]
fn other_protocols_have_their_members() {
    let summary = |protocol: u8, data: &[u8]| {
        parse(&Frame::ethernet(IPV4).ipv4(protocol, 0, data).0, Link::Ethernet).flow().summary
    };
    assert_eq!(summary(132, &[0; 12]), "SCTP");
    assert_eq!(summary(2, &[0x16, 0, 0, 0, 224, 0, 0, 22]), "IGMP");
    assert_eq!(summary(112, &[0x31, 5, 100, 1, 0, 0, 0, 0]), "VRRP");
    assert_eq!(summary(1, &[3, 3, 0, 0]), "ICMPv4 DestinationUnreachable(Port)");
    assert_eq!(summary(89, &[0; 20]), "");
    let arp = parse(&Frame::ethernet(0x0806).with(&[0; 28]).0, Link::Ethernet);
    assert_eq!((arp.ip, arp.fault, arp.ether_type), (None, None, Some(0x0806)));
    let raw = parse(&Frame(Vec::new()).ipv4(6, 0, &tcp(2)).0, Link::Raw);
    assert_eq!((raw.flow().summary.as_str(), raw.ethernet), ("TCP Flags: SYN", None));
}

#[test]
fn broken_headers_are_told_and_what_came_before_is_kept() {
    let frame = Frame::ethernet(IPV4).ipv4(6, 0, &tcp(2)).0;
    let cut = parse(&frame[..14 + 20 + 19], Link::Ethernet);
    assert_eq!((cut.fault, cut.l4.is_none(), cut.ip.is_some()), (Some(Fault::Truncated), true, true));
    let mut wrong = frame.clone();
    wrong[14] = 0x44;
    assert_eq!(parse(&wrong, Link::Ethernet).fault, Some(Fault::Malformed));
    wrong[14] = 0x65;
    assert_eq!(parse(&wrong, Link::Ethernet).fault, Some(Fault::Malformed));
    let mut wrong = frame.clone();
    wrong[17] = 19;
    wrong[16] = 0;
    assert_eq!(parse(&wrong, Link::Ethernet).fault, Some(Fault::Malformed));
    assert_eq!(parse(&[], Link::Raw).fault, Some(Fault::Truncated));
    let tagged = Frame::ethernet(VLAN).tag(1, VLAN).tag(2, VLAN).tag(3, VLAN).tag(4, IPV4);
    assert_eq!(parse(&tagged.0, Link::Ethernet).fault, Some(Fault::TooDeep));
}

/// Xorshift, from a fixed seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

#[test]
fn no_bytes_make_it_panic() {
    let geneve =
        [&[2, 0, 0x65, 0x58, 0, 1, 0x2c, 0][..], &[0; 8], &Frame::ethernet(IPV4).ipv4(6, 0, &tcp(2)).0].concat();
    let vxlan =
        [&[8, 0, 0, 0, 0, 1, 0x2c, 0][..], &Frame::ethernet(IPV6).ipv6(0, &[17, 0, 0, 0, 0, 0, 0, 0]).0].concat();
    let seeds = [
        Frame::ethernet(QINQ).tag(7, VLAN).tag(42, IPV4).ipv4(6, 0, &tcp(2)).0,
        Frame::ethernet(IPV4).ipv4(17, 0, &udp(4789, &vxlan)).0,
        Frame::ethernet(IPV6).ipv6(17, &udp(GENEVE_PORT, &geneve)).0,
        Frame::ethernet(IPV6).ipv6(60, &[[60, 0, 1, 4, 0, 0, 0, 0]; 6].concat()).0,
    ];
    let mut random = Random(0x5eed);
    for round in 0..200_000 {
        let mut frame = if round % 4 == 0 {
            (0..random.below(120)).map(|_| random.next() as u8).collect()
        } else {
            seeds[random.below(seeds.len())].clone()
        };
        for _ in 0..random.below(6) {
            if let Some(at) = frame.len().checked_sub(1).map(|last| random.below(last + 1)) {
                frame[at] = random.next() as u8;
            }
        }
        frame.truncate(random.below(frame.len() + 1).max(frame.len() / 2));
        for link in [Link::Ethernet, Link::Raw] {
            let packet = parse(&frame, link);
            assert!(packet.payload.start <= packet.payload.end && packet.payload.end <= frame.len());
            // A prefix says nothing that the whole frame does not.
            let cut = parse(&frame[..frame.len() / 2], link);
            assert!(
                cut.ip.is_none()
                    || cut.tunnel != packet.tunnel
                    || cut.ip.map(|ip| ip.source) == packet.ip.map(|ip| ip.source)
            );
            packet.flow();
        }
    }
}
