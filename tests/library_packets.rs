//! Scripts of the library on packets, in networks of the test's own: what was sent is what they count.

use serde_json::{Value, json};
use skep_tests::frames::{IPV4, IPV6, TCP, UDP, Wire, ethernet, ipv4, ipv6, tcp, udp};
use skep_tests::skep::Running;
use skep_tests::watched::sum;
use skep_tests::{Namespace, Output, Skep, privileged};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// Flags of TCP.
const SYN: u8 = 2;
const ACK: u8 = 16;

/// Two namespaces, joined: `a` at 10.9.0.1 sends, `b` at 10.9.0.2 receives.
fn joined() -> (Namespace, Namespace) {
    let (a, b) = (Namespace::new(), Namespace::new());
    Namespace::pair(&a, &b, "10.9.0.1/24", "10.9.0.2/24");
    (a, b)
}

fn in_network(network: &Namespace, words: &[&str]) -> Running {
    Skep::new(&["--format", "json", "run"]).arguments(words).in_network(network).start().attached()
}

/// Frames out of an interface, each so many times. Nobody answers them.
fn send(from: &Namespace, interface: &str, frames: &[(Vec<u8>, usize)]) {
    from.inside(|| {
        let wire = Wire::out_of(interface);
        for (frame, times) in frames {
            (0..*times).for_each(|_| assert!(wire.send(frame), "the interface takes it"));
        }
    });
}

#[track_caller]
fn ended(run: Running) -> Output {
    let output = run.interrupt().ok();
    assert_eq!(output.trust("lost"), 0, "{output}");
    output
}

/// Of 1054, 143 and 73 bytes.
fn talk() -> [(Vec<u8>, usize); 3] {
    [
        (ethernet(IPV4, &ipv4(TCP, 0, &[], &tcp(1009, 80, ACK, &[7; 1000]))), 23),
        (ethernet(IPV4, &ipv4(UDP, 0, &[], &udp(1013, 53, &[7; 101]))), 29),
        (ethernet(IPV6, &ipv6(UDP, &udp(1019, 53, &[7; 11]))), 31),
    ]
}

#[test]
fn toptalkers_sums_up_bytes_of_both_directions() {
    privileged!();
    let (a, b) = joined();
    let run = in_network(&b, &["toptalkers", "--interface", "to_a"]);
    send(&a, "to_b", &talk());
    send(&b, "to_a", &talk()[..1]);
    let output = ended(run);
    for (key, bytes) in [
        ("10.9.0.1 10.9.0.2 tcp ingress", 23 * 1054),
        ("10.9.0.1 10.9.0.2 tcp egress", 23 * 1054),
        ("10.9.0.1 10.9.0.2 udp ingress", 29 * 143),
        ("fd00:9::1 fd00:9::2 udp ingress", 31 * 73),
    ] {
        assert_eq!(output.row(key), bytes, "{key}\n{output}");
    }
    let run = in_network(&b, &["toptalkers", "--interface", "to_a", "--ports", "true", "--direction", "ingress"]);
    send(&a, "to_b", &talk());
    let output = ended(run);
    assert_eq!(output.row("10.9.0.1 1013 10.9.0.2 53 udp ingress"), 29 * 143, "{output}");
}

#[test]
fn packetsize_has_the_lengths_of_what_its_filter_lets_pass() {
    privileged!();
    let (a, b) = joined();
    let run = in_network(&b, &["packetsize", "--interface", "to_a", "--filter", "udp and not port 53"]);
    let datagram = |length: usize| ethernet(IPV4, &ipv4(UDP, 0, &[], &udp(1009, 9, &vec![7; length])));
    send(&a, "to_b", &talk());
    // Of 53, 97, 143 and 1066 bytes.
    send(&a, "to_b", &[(datagram(11), 37), (datagram(55), 41), (datagram(101), 43), (datagram(1024), 47)]);
    let output = ended(run);
    let bucket = |low: u64, count: u64| json!({ "low": low, "high": 2 * low - 1, "count": count });
    let [row] = &output.table(0)["rows"].as_array().cloned().unwrap_or_default()[..] else { panic!("{output}") };
    let buckets = row["value"]["buckets"].as_array().cloned().unwrap_or_default();
    let buckets: Vec<Value> = buckets.into_iter().filter(|bucket| bucket["count"] != 0).collect();
    assert_eq!(buckets, [bucket(32, 37), bucket(64, 41), bucket(128, 43), bucket(1024, 47)], "{output}");
    assert_eq!((&row["key"]["direction"], &row["value"]["n"]), (&json!("ingress"), &json!(37 + 41 + 43 + 47)));
}

#[test]
fn synscan_tells_of_who_tries_many_ports() {
    privileged!();
    let (a, b) = joined();
    let run = in_network(&b, &["synscan", "--interface", "to_a"]);
    let v4 = |port: u16, flags: u8| ethernet(IPV4, &ipv4(TCP, 0, &[], &tcp(1009, port, flags, &[])));
    let v6 = |port: u16| ethernet(IPV6, &ipv6(TCP, &tcp(1009, port, SYN, &[])));
    let scan: Vec<_> = (1..=1009).map(|port| (v4(port, SYN), 1)).collect();
    send(&a, "to_b", &scan);
    // Seven more at one of them; what answers or goes on asks for nothing; nineteen ports are too few.
    send(&a, "to_b", &[(v4(80, SYN), 7), (v4(4711, SYN | ACK), 23), (v4(4713, ACK), 29)]);
    send(&a, "to_b", &(1..=19).map(|port| (v6(port), 2)).collect::<Vec<_>>());
    let output = ended(run);
    let lines: Vec<Vec<String>> =
        output.texts().iter().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
    assert_eq!(lines, [["saddr", "daddr", "ports", "syns"], ["10.9.0.1", "10.9.0.2", "1009", "1016"]], "{output}");
}

/// Datagrams from an address of `from` to one of `to`, and until all of them have come.
#[track_caller]
fn datagrams(from: (&Namespace, &str), to: (&Namespace, &str), count: usize) {
    let receiver = to.0.inside(|| UdpSocket::bind(to.1).expect("the port is free"));
    let sender = from.0.inside(|| UdpSocket::bind((from.1, 0)).expect("any port"));
    receiver.set_read_timeout(Some(Duration::from_secs(10))).expect("it can have one");
    for _ in 0..count {
        sender.send_to(b"skep", to.1).expect("it goes");
        receiver.recv(&mut [0; 8]).expect("it comes");
    }
}

/// Packets that met a rule, and the same end.
#[track_caller]
fn packets(output: &Output, rule: &str, direction: &str, verdict: &str) -> u64 {
    let verdicts = output.objects("verdicts");
    let [verdicts] = &verdicts[..] else { panic!("there is one report\n{output}") };
    let rows = verdicts["rows"].as_array().expect("it has rows");
    let met = |row: &&Value| row["rule"] == rule && row["direction"] == direction && row["verdict"] == verdict;
    rows.iter().filter(met).filter_map(|row| row["packets"].as_u64()).sum()
}

#[test]
fn denywatch_counts_what_it_would_drop() {
    privileged!();
    let (a, b) = joined();
    for address in ["198.51.100.1", "203.0.113.1"] {
        a.run(&format!("ip addr add {address}/24 dev to_b"));
        b.run(&format!("ip route add {address}/32 dev to_a"));
    }
    let run = in_network(&b, &["denywatch", "--interface", "to_a"]);
    for (address, count) in [("10.9.0.1", 101), ("198.51.100.1", 23), ("203.0.113.1", 7)] {
        datagrams((&a, address), (&b, "10.9.0.2:4711"), count);
    }
    let output = run.interrupt().ok();
    let would_drop = |rule: &str| packets(&output, rule, "ingress", "would drop");
    let rules = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"];
    assert_eq!(rules.map(would_drop), [0, 23, 7], "{output}");
    assert_eq!(packets(&output, "198.51.100.0/24", "ingress", "dropped"), 0, "{output}");
    // Its neighbours ask for something themselves.
    assert!((101..113).contains(&packets(&output, "(no rule)", "ingress", "passed")), "{output}");
}

#[test]
fn egresswatch_tells_what_leaves_for_elsewhere() {
    privileged!();
    let (a, b) = joined();
    a.run("ip addr add 198.51.100.1/24 dev to_b");
    b.run("ip addr add 198.51.100.2/24 dev to_a");
    let mut run = in_network(&a, &["egresswatch", "--interface", "to_b"]);
    datagrams((&a, "10.9.0.1"), (&b, "10.9.0.2:4711"), 101);
    // A line each, if they leave one after the other.
    let lines = |run: &Running| run.printed_so_far().matches("198.51.100.1 -> 198.51.100.2 udp 53").count();
    for sent in 1..=7 {
        datagrams((&a, "198.51.100.1"), (&b, "198.51.100.2:53"), 1);
        run.until("a line", |run| lines(run) == sent);
    }
    datagrams((&a, "198.51.100.1"), (&b, "198.51.100.2:123"), 23);
    // What is left at the end is told then.
    let output = run.interrupt().ok();
    assert_eq!(packets(&output, "10.0.0.0/8", "egress", "passed"), 101, "{output}");
    assert_eq!(packets(&output, "(no rule)", "egress", "would drop"), 7 + 23, "{output}");
    let told = |port: &str| output.texts().iter().filter(|line| line.ends_with(port)).count();
    assert!(told("udp 53") == 7 && (1..=23).contains(&told("udp 123")), "{output}");
}

#[test]
fn ratewatch_has_what_is_within_the_limit_and_what_is_beyond() {
    privileged!();
    let (a, b) = joined();
    let run = in_network(&b, &["ratewatch", "--interface", "to_a", "--proto", "udp", "--port", "53", "--rate", "20"]);
    let since = Instant::now();
    datagrams((&a, "10.9.0.1"), (&b, "10.9.0.2:53"), 1009);
    let took = since.elapsed().as_secs_f64();
    datagrams((&a, "10.9.0.1"), (&b, "10.9.0.2:54"), 23);
    let output = run.interrupt().ok();
    let [passed, beyond] = ["passed", "would drop"].map(|end| packets(&output, "udp/53", "ingress", end));
    assert_eq!(passed + beyond, 1009, "{output}");
    // As many as a second has, and what comes in again meanwhile.
    let most = (20.0 + 20.0 * took).ceil() as u64;
    assert!((20..=most).contains(&passed), "{took} s\n{output}");
}

#[test]
fn netdrops_counts_what_nobody_listens_for() {
    privileged!();
    let (a, b) = (Namespace::new(), Namespace::new());
    // It sees all networks of the machine: in this one is nobody else.
    Namespace::pair(&a, &b, "10.61.0.1/24", "10.61.0.2/24");
    let run = in_network(&b, &["netdrops", "--address", "10.61.0.0/24", "--port", "4711", "--top", "1000"]);
    datagrams((&a, "10.61.0.1"), (&b, "10.61.0.2:4713"), 23);
    let sender = a.inside(|| UdpSocket::bind("10.61.0.1:0").expect("any port"));
    for _ in 0..53 {
        sender.send_to(b"skep", "10.61.0.2:4711").expect("it goes");
    }
    let output = ended(run);
    let rows = output.table(0)["rows"].as_array().cloned().unwrap_or_default();
    assert!(rows.iter().all(|row| row["key"]["reason"] == "NO_SOCKET"), "{output}");
    assert_eq!((sum(&output.table(0)), output.trust("counted")), (53, 53), "{output}");
    assert!(output.out.contains("udp4_lib_rcv") || output.out.contains("udp_rcv"), "{output}");
}
