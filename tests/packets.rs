//! Packets as sources: what is told of each is what was sent, at every hook, counted exactly.

use serde_json::json;
use skep_tests::frames::{self, IPV4, IPV6, SCTP, TCP, UDP, Wire, ethernet, ipv4, ipv6, tagged, tcp, udp};
use skep_tests::network::Namespace;
use skep_tests::{Output, Skep, privileged};

/// Two namespaces, joined: `a` sends, `b` receives.
fn joined() -> (Namespace, Namespace) {
    let (a, b) = (Namespace::new(), Namespace::new());
    Namespace::pair(&a, &b, "10.9.0.1/24", "10.9.0.2/24");
    (a, b)
}

/// A run on what `b` receives, while `a` sends every frame so many times.
#[track_caller]
fn received(script: &str, frames: &[(Vec<u8>, usize)]) -> Output {
    let (a, b) = joined();
    let run = Skep::script(script).in_network(&b).start().attached();
    send(&a, frames);
    run.interrupt().ok()
}

fn send(from: &Namespace, frames: &[(Vec<u8>, usize)]) {
    from.inside(|| {
        let wire = Wire::out_of("to_b");
        for (frame, times) in frames {
            (0..*times).for_each(|_| assert!(wire.send(frame), "the interface takes it"));
        }
    });
}

/// The rows of a run that counts our frames by some fields, at each hook that receives.
#[track_caller]
fn counted(keys: &str, frames: &[(Vec<u8>, usize)], rows: &[(&str, u64)]) {
    for hook in ["tc:to_a:ingress", "xdp:to_a"] {
        let script = format!("probe({hook:?}).filter(ttl == {}).by({keys}).count()", frames::TTL);
        let output = received(&script, frames);
        let mut found = output.rows();
        let mut wanted: Vec<_> = rows.iter().map(|(key, count)| ((*key).to_owned(), json!(count))).collect();
        found.sort_by_key(|(key, _)| key.clone());
        wanted.sort_by_key(|(key, _)| key.clone());
        assert_eq!(found, wanted, "{hook}: {output}");
    }
}

#[test]
fn addresses_ports_and_protocols_are_those_that_were_sent() {
    privileged!();
    let frames = [
        (ethernet(IPV4, &ipv4(TCP, 0, &[], &tcp(1009, 80, 2, &[]))), 23),
        (ethernet(IPV4, &ipv4(UDP, 0, &[1; 8], &udp(1013, 53, b"skep"))), 29),
        (ethernet(IPV6, &ipv6(TCP, &tcp(1019, 443, 0x12, b"skep"))), 31),
        (ethernet(IPV6, &ipv6(UDP, &udp(1021, 53, &[]))), 37),
        (ethernet(IPV4, &ipv4(SCTP, 0, &[], &udp(1031, 36412, &[0; 16]))), 41),
        (ethernet(IPV4, &ipv4(1, 0, &[], &frames::icmp(8, 3))), 43),
    ];
    counted(
        "saddr, sport, daddr, dport, protocol, tcp_flags",
        &frames,
        &[
            ("10.9.0.1 1009 10.9.0.2 80 tcp SYN", 23),
            ("10.9.0.1 1013 10.9.0.2 53 udp 0", 29),
            ("fd00:9::1 1019 fd00:9::2 443 tcp SYN,ACK", 31),
            ("fd00:9::1 1021 fd00:9::2 53 udp 0", 37),
            ("10.9.0.1 1031 10.9.0.2 36412 sctp 0", 41),
            ("10.9.0.1 0 10.9.0.2 0 icmp 0", 43),
        ],
    );
    counted("family, ether_type, icmp_type, icmp_code", &frames[4..], &[("ipv4 ipv4 0 0", 41), ("ipv4 ipv4 8 3", 43)]);
    counted(
        "seq, ack, window, smac, dmac",
        &frames[..1],
        &[("16909060 84281096 4096 02:00:00:00:00:09 ff:ff:ff:ff:ff:ff", 23)],
    );
}

#[test]
fn lengths_and_payloads_are_those_that_were_sent() {
    privileged!();
    let frames = [
        (ethernet(IPV4, &ipv4(UDP, 0, &[1; 4], &udp(1009, 53, &[7; 100]))), 7),
        (ethernet(IPV4, &ipv4(TCP, 0, &[], &tcp(1009, 80, 16, &[7; 1000]))), 5),
        (ethernet(IPV6, &ipv6(60, &frames::extension(UDP, 3, &udp(1009, 53, &[7; 11])))), 3),
        // Padded to the least that Ethernet takes.
        (ethernet(IPV4, &[ipv4(TCP, 0, &[], &tcp(1009, 80, 16, &[])), vec![0; 6]].concat()), 2),
    ];
    counted("len, payload", &frames, &[("146 100", 7), ("1054 1000", 5), ("97 11", 3), ("60 0", 2)]);
}

#[test]
fn extension_headers_are_passed_and_fragments_told_apart() {
    privileged!();
    let datagram = udp(1009, 53, &[7; 24]);
    let fragment = |offset: u16, content: &[u8]| {
        let mut header = vec![UDP, 0];
        header.extend(offset.to_be_bytes());
        header.extend([0, 0, 0, 7]);
        [&header, content].concat()
    };
    let frames = [
        (ethernet(IPV4, &ipv4(UDP, 0x2000, &[], &datagram)), 23),
        (ethernet(IPV4, &ipv4(UDP, 4, &[], &datagram)), 29),
        (ethernet(IPV4, &ipv4(UDP, 0x4000, &[], &datagram)), 31),
        (ethernet(IPV6, &ipv6(44, &fragment(1, &datagram))), 37),
        (ethernet(IPV6, &ipv6(44, &fragment(9, &datagram))), 41),
        (ethernet(IPV6, &ipv6(0, &frames::extension(43, 1, &frames::extension(44, 3, &fragment(0, &datagram))))), 43),
    ];
    counted(
        "family, protocol, dport, fragment, malformed",
        &frames,
        &[
            ("ipv4 udp 53 first 0", 23),
            ("ipv4 udp 0 later 0", 29),
            ("ipv4 udp 53 whole 0", 31),
            ("ipv6 udp 53 first 0", 37),
            ("ipv6 udp 0 later 0", 41),
            ("ipv6 udp 53 whole 0", 43),
        ],
    );
}

#[test]
fn tags_of_virtual_networks_are_passed() {
    privileged!();
    let content = ipv4(TCP, 0, &[], &tcp(1009, 80, 2, &[]));
    let frames = [
        (tagged(&[(0x8100, 7)], IPV4, &content), 23),
        (tagged(&[(0x88a8, 4094), (0x8100, 0xe011)], IPV4, &content), 29),
        (ethernet(IPV4, &content), 31),
    ];
    counted("tags, vlan, inner_vlan, dport", &frames, &[("1 7 0 80", 23), ("2 4094 17 80", 29), ("0 0 0 80", 31)]);
}

#[test]
fn packets_in_tunnels_are_read() {
    privileged!();
    let inner = ethernet(IPV6, &ipv6(TCP, &tcp(1019, 443, 2, &[])));
    let outer = |content: &[u8]| ethernet(IPV4, &ipv4(UDP, 0, &[], content));
    let bare = ipv4(UDP, 0, &[], &udp(1031, 53, b"skep"));
    let frames = [
        (outer(&frames::vxlan(4711, &inner)), 23),
        (outer(&frames::geneve(0xf_ffff, 3, 0x6558, &inner)), 29),
        (outer(&frames::geneve(7, 0, IPV4, &bare)), 31),
        (outer(&udp(5555, 53, &[8; 64])), 37),
    ];
    counted(
        "tunnel, vni, inner_saddr, inner_sport, inner_dport, inner_protocol, dport",
        &frames,
        &[
            ("1 4711 fd00:9::1 1019 443 tcp 4789", 23),
            ("1 1048575 fd00:9::1 1019 443 tcp 6081", 29),
            ("1 7 10.9.0.1 1031 53 udp 6081", 31),
            ("0 0 :: 0 0 0 53", 37),
        ],
    );
}

#[test]
fn filters_and_names_decide_in_the_kernel() {
    privileged!();
    let frames = [
        (ethernet(IPV4, &ipv4(TCP, 0, &[], &tcp(1009, 443, 2, &[]))), 23),
        (ethernet(IPV4, &ipv4(TCP, 0, &[], &tcp(1009, 443, 0x10, &[]))), 29),
        (ethernet(IPV4, &ipv4(UDP, 0, &[], &udp(1009, 443, &[]))), 31),
        (ethernet(IPV6, &ipv6(TCP, &tcp(1009, 443, 2, &[]))), 37),
    ];
    for (filter, count) in [
        ("protocol == \"tcp\" and dport == 443", 23 + 29 + 37),
        ("protocol == \"tcp\" and (tcp_flags & SYN) != 0", 23 + 37),
        ("saddr == \"10.9.0.1\"", 23 + 29 + 31),
        ("saddr == \"fd00:9::1\" and direction == \"ingress\"", 37),
        ("in_cidr(daddr, \"10.9.0.0/16\") and interface == \"to_a\"", 23 + 29 + 31),
        ("family == \"ipv6\"", 37),
        ("dport in 400..500 and tcp_flags == \"ACK\"", 29),
    ] {
        let script = format!("probe(\"tc:to_a:ingress\").filter(ttl == {} and {filter}).count()", frames::TTL);
        let output = received(&script, &frames);
        assert_eq!(output.value(), count, "{filter}: {output}");
    }
}

#[test]
fn both_directions_of_every_interface_are_met_unless_one_is_said() {
    privileged!();
    let (a, _b) = joined();
    let frame = ethernet(IPV4, &ipv4(UDP, 0, &[], &udp(1009, 53, b"skep")));
    let by = |hook: &str| {
        let script = format!("{hook}.filter(ttl == {}).by(interface, direction).count()", frames::TTL);
        let run = Skep::script(&script).in_network(&a).start().attached();
        send(&a, &[(frame.clone(), 23)]);
        run.interrupt().ok().rows()
    };
    let leaves = [("to_b egress".to_owned(), json!(23))];
    for hook in [
        r#"probe("tc:to_b")"#,
        r#"probe("tc:to_*,lo")"#,
        r#"probe("tc:to_b:egress")"#,
        r#"template("flows", #{ interface: "to_b" })"#,
        r#"template("flows", #{ interface: "*", direction: "egress" })"#,
    ] {
        assert_eq!(by(hook), leaves, "{hook}");
    }
    for hook in [r#"probe("tc:to_b:ingress")"#, r#"template("flows", #{ interface: "to_b", hook: "xdp" })"#] {
        assert_eq!(by(hook), [], "{hook}");
    }
}
