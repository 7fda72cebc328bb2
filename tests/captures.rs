//! `skep capture` and filters of tcpdump in the kernel: what is kept is what was sent, byte by byte and exactly counted;
//! what passes is what passes tcpdump.

use serde_json::Value;
use skep_tests::frames::{self, IPV4, IPV6, SCTP, TCP, UDP, Wire, ethernet, ipv4, ipv6, tagged, tcp, udp};
use skep_tests::network::Namespace;
use skep_tests::skep::{Running, binary};
use skep_tests::{Output, Skep, privileged};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Every frame of ours comes from here.
const OURS: &str = "ether src 02:00:00:00:00:09";

/// Two namespaces, joined: `a` sends, `b` receives.
fn joined() -> (Namespace, Namespace) {
    let (a, b) = (Namespace::new(), Namespace::new());
    Namespace::pair(&a, &b, "10.9.0.1/24", "10.9.0.2/24");
    (a, b)
}

fn send(from: &Namespace, frames: &[(Vec<u8>, usize)]) {
    from.inside(|| {
        let wire = Wire::out_of("to_b");
        for (frame, times) in frames {
            (0..*times).for_each(|_| assert!(wire.send(frame), "the interface takes it"));
        }
    });
}

/// A file that is gone at the end.
struct File(PathBuf);

impl File {
    fn new() -> File {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("skep-capture-{}-{}.pcapng", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        File(std::env::temp_dir().join(name))
    }

    fn name(&self) -> &str {
        self.0.to_str().expect("it is text")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// A packet of a file.
#[derive(Debug, PartialEq)]
struct Packet {
    /// Nanoseconds.
    time: u64,
    length: usize,
    data: Vec<u8>,
}

/// The packets of a file that pass a filter, as tcpdump reads them.
#[track_caller]
fn packets(file: &Path, filter: &str) -> Vec<Packet> {
    let words = ["-O", "--time-stamp-precision=nano", "-r", file.to_str().expect("it is text"), "-w", "-", filter];
    let output = Command::new("tcpdump").args(words).output().expect("tcpdump starts");
    assert!(output.status.success(), "`{filter}`: {}", String::from_utf8_lossy(&output.stderr));
    let word = |at: usize| u32::from_ne_bytes(output.stdout[at..at + 4].try_into().expect("four bytes"));
    assert_eq!(word(0), 0xa1b2_3c4d, "times are nanoseconds");
    let (mut at, mut packets) = (24, Vec::new());
    while at < output.stdout.len() {
        let kept = word(at + 8) as usize;
        packets.push(Packet {
            time: u64::from(word(at)) * 1_000_000_000 + u64::from(word(at + 4)),
            length: word(at + 12) as usize,
            data: output.stdout[at + 16..at + 16 + kept].to_vec(),
        });
        at += 16 + kept;
    }
    packets
}

/// What tshark says of a file, which it must read without a warning.
#[track_caller]
fn tshark(file: &Path, words: &[&str]) -> String {
    let output = Command::new("tshark").arg("-r").arg(file).args(words).output().expect("tshark starts");
    let said = String::from_utf8_lossy(&output.stderr);
    let warnings: Vec<&str> = said.lines().filter(|line| !line.starts_with("Running as user")).collect();
    assert!(output.status.success() && warnings.is_empty(), "{said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `skep capture`, begun.
#[track_caller]
fn capture(inside: &Namespace, words: &[&str]) -> Running {
    Skep::new(&["--format", "json", "capture"]).arguments(words).in_network(inside).start().attached()
}

/// Seen is filtered, limited, kept and lost.
#[track_caller]
fn assert_accounted(output: &Output) {
    let of = |count: &str| output.trust(count);
    let all = of("filtered") + of("limited") + of("delivered") + of("counted") + of("lost");
    assert_eq!(of("seen"), all, "{output}");
}

/// Some of everything, each a prime number of times.
fn assorted() -> Vec<(Vec<u8>, usize)> {
    let fragment =
        |offset: u16, content: &[u8]| [&[UDP, 0][..], &offset.to_be_bytes(), &[0, 0, 0, 7], content].concat();
    let (web, dns) = (tcp(1009, 80, 2, b"GET / HTTP/1.1\r\n"), udp(1013, 53, &[7; 24]));
    vec![
        (ethernet(IPV4, &ipv4(TCP, 0, &[], &web)), 23),
        (ethernet(IPV4, &ipv4(TCP, 0, &[1; 8], &tcp(80, 1009, 0x12, &[]))), 29),
        (ethernet(IPV4, &ipv4(UDP, 0, &[], &dns)), 31),
        (ethernet(IPV4, &ipv4(UDP, 0x2000, &[], &dns)), 7),
        (ethernet(IPV4, &ipv4(UDP, 4, &[], &dns)), 11),
        (ethernet(IPV4, &ipv4(SCTP, 0, &[], &udp(1031, 80, &[0; 16]))), 13),
        (ethernet(IPV4, &ipv4(1, 0, &[], &frames::icmp(8, 0))), 37),
        (ethernet(IPV6, &ipv6(TCP, &tcp(1019, 443, 0x11, b"skep"))), 41),
        (ethernet(IPV6, &ipv6(UDP, &dns)), 43),
        (ethernet(IPV6, &ipv6(44, &fragment(1, &dns))), 5),
        (ethernet(IPV6, &ipv6(0, &frames::extension(TCP, 1, &web))), 3),
        (ethernet(IPV6, &ipv6(58, &[135, 0, 0, 0, 0, 0, 0, 0])), 17),
        (tagged(&[(0x8100, 7)], IPV4, &ipv4(TCP, 0, &[], &web)), 19),
        (tagged(&[(0x8100, 0xe009)], IPV6, &ipv6(UDP, &dns)), 47),
        (tagged(&[(0x88a8, 7), (0x8100, 9)], IPV4, &ipv4(UDP, 0, &[], &dns)), 53),
        (ethernet(0x88cc, &[9; 60]), 2),
    ]
}

#[test]
fn packets_of_the_file_are_those_that_were_sent() {
    privileged!();
    let sent = assorted();
    let total: usize = sent.iter().map(|(_, times)| times).sum();
    for (way, hook) in [("ingress", ""), ("egress", ""), ("ingress", "--xdp")] {
        let ((a, b), file) = (joined(), File::new());
        let (inside, interface) = if way == "ingress" { (&b, "to_a") } else { (&a, "to_b") };
        let words = ["-i", interface, "-w", file.name(), "--direction", way, OURS, hook];
        // Words behind the filter's first would be its own.
        let (filter, options) = (words[6], [&words[..6], &words[7..]].concat());
        let options: Vec<&str> = options.into_iter().filter(|word| !word.is_empty()).chain([filter]).collect();
        let run = capture(inside, &options);
        send(&a, &sent);
        let output = run.interrupt().ok();
        assert_accounted(&output);
        assert_eq!((output.trust("delivered"), output.trust("lost")), (total as u64, 0), "{output}");
        let found = packets(&file.0, "");
        for (frame, times) in &sent {
            let same = found.iter().filter(|packet| packet.data == *frame && packet.length == frame.len()).count();
            assert_eq!(same, *times, "{way} {hook}: {frame:02x?}");
        }
        assert_eq!(found.len(), total);
        assert!(found.windows(2).all(|pair| pair[0].time < pair[1].time), "times increase");
        assert!(found.iter().any(|packet| packet.time % 1000 != 0), "times are of nanoseconds");
        let fields =
            tshark(&file.0, &["-T", "fields", "-e", "frame.interface_name", "-e", "frame.packet_flags_direction"]);
        let direction = if way == "ingress" { "0x00000001" } else { "0x00000002" };
        let line = format!("{interface}\t{direction}");
        assert!(fields.lines().all(|found| found == line), "{}", fields.lines().next().unwrap_or_default());
        assert_eq!(fields.lines().count(), total);
    }
}

#[test]
fn filters_pass_in_the_kernel_what_tcpdump_passes() {
    privileged!();
    let filters = [
        "tcp port 80",
        "port 53",
        "udp dst port 53 and ip6",
        "vlan",
        "vlan 7 and tcp",
        "vlan and ip6 and port 53",
        "vlan 7 and vlan 9",
        "not vlan and ip",
        "host 10.9.0.1 and not tcp",
        "dst net fd00:9::/64",
        "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
        "ip[6:2] & 0x1fff != 0",
        "icmp or icmp6",
        "icmp6[0] = 135",
        "less 60",
        "len > 78 and len < 120",
        "ether[12:4] & 0xffff0fff = 0x81000009",
        "ether[14:2] & 0xfff = 7",
        "ether[10:4] = 0x00098100",
        "ether[15:2] = 0x0986 or ether[13:1] = 0",
        "ether proto 0x88a8 or ether proto 0x88cc",
        "ip proto 132 or ip6[6] = 0",
        "(vlan 9 and ip6) or udp",
        "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420",
    ];
    let sent = assorted();
    let ((a, b), file) = (joined(), File::new());
    let run = capture(&b, &["-i", "to_a", "--direction", "ingress", "-w", file.name(), OURS]);
    send(&a, &sent);
    run.interrupt().ok();
    for hook in ["tc:to_a:ingress", "tc:to_b:egress", "xdp:to_a"] {
        let inside = if hook.contains("to_a") { &b } else { &a };
        for filters in filters.chunks(8) {
            let columns: Vec<String> =
                filters.iter().enumerate().map(|(n, filter)| format!("f{n}: tcpdump({filter:?})")).collect();
            let columns = columns.join(", ");
            let script = format!("probe({hook:?}).filter(tcpdump({OURS:?})).by(#{{ {columns} }}).count()");
            let run = Skep::script(&script).in_network(inside).start().attached();
            send(&a, &sent);
            let output = run.interrupt().ok();
            for (n, filter) in filters.iter().enumerate() {
                let rows = output.table(0)["rows"].as_array().cloned().unwrap_or_default();
                let passed = |row: &&Value| row["key"][format!("f{n}")] == 1;
                let count: u64 = rows.iter().filter(passed).filter_map(|row| row["value"].as_u64()).sum();
                assert_eq!(count, packets(&file.0, filter).len() as u64, "{hook}, `{filter}`: {output}");
            }
        }
    }
}

#[test]
fn only_what_passes_the_filter_is_kept_and_the_rest_is_counted() {
    privileged!();
    let (a, b) = joined();
    let file = File::new();
    let run = capture(&b, &["-i", "to_a", "-w", file.name(), "tcp", "dst", "port", "80"]);
    send(&a, &assorted());
    let output = run.interrupt().ok();
    assert_accounted(&output);
    assert_eq!(output.trust("delivered"), 23, "{output}");
    assert_eq!(packets(&file.0, "").len(), 23);
    let counts = Command::new("capinfos").arg(file.name()).output().expect("it comes with tshark");
    assert!(counts.status.success(), "{counts:?}");
}

#[test]
fn long_packets_are_cut_and_their_length_is_kept() {
    privileged!();
    let (a, b) = joined();
    for namespace in [(&a, "to_b"), (&b, "to_a")] {
        namespace.0.run(&format!("ip link set {} mtu 9000", namespace.1));
    }
    let sizes = [100usize, 472, 1400, 8900];
    let frame = |size: usize| ethernet(IPV4, &ipv4(UDP, 0, &[], &udp(1009, 53, &vec![7; size - 42])));
    let sent: Vec<(Vec<u8>, usize)> = sizes.map(|size| (frame(size), 5)).into();
    for (snaplen, hook) in [(96usize, "tc"), (1000, "tc"), (65535, "tc"), (200, "xdp")] {
        // A frame of XDP is one page at most.
        let sent: Vec<_> = sent.iter().filter(|(frame, _)| hook == "tc" || frame.len() < 3000).cloned().collect();
        if hook == "xdp" {
            a.run("ip link set to_b mtu 1500");
            b.run("ip link set to_a mtu 1500");
        }
        let file = File::new();
        let script = format!(
            "template(\"capture\", #{{ interface: \"to_a\", hook: {hook:?}, snaplen: {snaplen} }}).filter(tcpdump({OURS:?})).pcapng({:?})",
            file.name()
        );
        let run = Skep::script(&script).in_network(&b).start().attached();
        send(&a, &sent);
        let output = run.interrupt().ok();
        assert_eq!((output.trust("delivered"), output.trust("lost")), (5 * sent.len() as u64, 0), "{output}");
        for (packet, (frame, _)) in packets(&file.0, "").iter().zip(sent.iter().flat_map(|one| [one; 5])) {
            assert_eq!(packet.length, frame.len(), "{snaplen}");
            assert_eq!(packet.data, frame[..frame.len().min(snaplen)], "{snaplen}");
        }
        assert_eq!(tshark(&file.0, &[]).lines().count(), 5 * sent.len());
    }
}

/// As many frames as the interface takes, until there are enough or the time is over. How many it took.
fn flood(from: &Namespace, frame: &[u8], most: usize, longest: Duration) -> (usize, Duration) {
    from.inside(|| {
        let (wire, since) = (Wire::out_of("to_b"), Instant::now());
        let mut sent = 0;
        while sent < most && since.elapsed() < longest {
            sent += wire.send_many(frame, (most - sent).min(256));
        }
        (sent, since.elapsed())
    })
}

#[test]
fn every_packet_of_a_flood_is_kept_or_counted_as_lost() {
    privileged!();
    const MOST: usize = 300_007;
    let frame = ethernet(IPV4, &ipv4(UDP, 0, &[], &udp(1009, 53, &[7; 18])));
    for ring in ["64K", "8M"] {
        let ((a, _b), file) = (joined(), File::new());
        let words = ["-i", "to_b", "--direction", "egress", "-w", file.name(), "--ring", ring, OURS];
        let run = capture(&a, &words);
        let (sent, took) = flood(&a, &frame, MOST, Duration::from_secs(20));
        let output = run.interrupt().ok();
        let rate = sent as f64 / took.as_secs_f64();
        println!("ring {ring}: {sent} sent at {rate:.0} a second, {}", output.err.lines().last().unwrap_or_default());
        assert_accounted(&output);
        assert_eq!(output.trust("seen") - output.trust("filtered"), sent as u64, "{output}");
        assert_eq!(output.trust("delivered") + output.trust("lost"), sent as u64, "{output}");
        assert!(ring == "8M" || output.trust("lost") > 0, "the flood is too slow: {output}");
        assert_eq!(packets(&file.0, "udp port 53").len() as u64, output.trust("delivered"), "{output}");
    }
}

#[test]
fn every_flow_of_a_flood_is_delivered_or_counted_as_lost() {
    privileged!();
    let frame = ethernet(IPV4, &ipv4(UDP, 0, &[], &udp(1009, 53, &[7; 18])));
    let (a, _b) = joined();
    let script = format!(
        r#"template("flows", #{{ interface: "to_b", direction: "egress" }}).filter(tcpdump({OURS:?})).fields(saddr, dport, len);
           probe("tc:to_b:egress").filter(ttl == {}).count();"#,
        frames::TTL
    );
    let run = Skep::script(&script).arguments(&["--ring", "64K"]).in_network(&a).start().attached();
    let (sent, _) = flood(&a, &frame, 100_003, Duration::from_secs(20));
    let output = run.interrupt().ok();
    let counted = output.table(0)["rows"][0]["value"].clone();
    assert_eq!(counted, sent as u64);
    assert_eq!(output.trust("delivered") + output.trust("lost_ring"), sent as u64, "{}", output.err);
    assert_accounted(&output);
}

#[test]
fn rate_is_kept_and_what_is_beyond_it_is_counted() {
    privileged!();
    const BURST: Duration = Duration::from_millis(300);
    let frame = ethernet(IPV4, &ipv4(UDP, 0, &[], &udp(1009, 53, &[7; 18])));
    let ((a, _b), file) = (joined(), File::new());
    let limits = ["--rate", "1000", "--burst", "300"];
    let words = [&["-i", "to_b", "--direction", "egress", "-w", file.name()], &limits[..], &[OURS]].concat();
    let run = capture(&a, &words);
    // What a burst makes up for is not lost when a busy machine keeps us from sending; what is longer is.
    let (sent, took, lost) = a.inside(|| {
        let (wire, since) = (Wire::out_of("to_b"), Instant::now());
        let (mut sent, mut lost, mut last) = (0, Duration::ZERO, since);
        while since.elapsed() < Duration::from_secs(2) {
            sent += wire.send_many(&frame, 32);
            lost += last.elapsed().saturating_sub(BURST);
            last = Instant::now();
        }
        (sent, since.elapsed(), lost)
    });
    let output = run.interrupt().ok();
    assert_accounted(&output);
    let kept = output.trust("delivered");
    let (least, most) = (1000.0 * (took + BURST - lost).as_secs_f64(), 1000.0 * (took + BURST).as_secs_f64());
    println!("{kept} of {sent} kept in {took:?}, {lost:?} of it without packets");
    assert!((0.95 * least..=1.05 * most).contains(&(kept as f64)), "{kept}, not {least} to {most}: {output}");
    assert_eq!(output.trust("limited"), sent as u64 - kept - output.trust("lost"), "{output}");
    assert_eq!(packets(&file.0, "").len() as u64, kept);
}

#[test]
fn run_ends_when_there_are_enough() {
    privileged!();
    let ((a, b), file) = (joined(), File::new());
    let run = capture(&b, &["-i", "to_a", "-w", file.name(), "--count", "7", OURS]);
    send(&a, &[(ethernet(IPV4, &ipv4(UDP, 0, &[], &udp(1009, 53, b"skep"))), 1009)]);
    let output = run.end().ok();
    assert_accounted(&output);
    assert_eq!((output.trust("delivered"), packets(&file.0, "").len()), (7, 7), "{output}");
}

#[test]
fn packets_are_lines_where_no_file_is_named() {
    privileged!();
    // `and` and `or` bind alike, from the left.
    let (a, b) = joined();
    let run =
        Skep::new(&["capture", "-i", "to_a", "udp port 53 or tcp port 80 and ip"]).in_network(&b).start().attached();
    send(&a, &assorted());
    let output = run.interrupt().ok();
    let lines = |what: &str| output.out.lines().filter(|line| line.ends_with(what)).count();
    let web = "10.9.0.1:1009 (unknown) <> 10.9.0.2:80 (unknown) from-network TRACED (TCP Flags: SYN)";
    assert_eq!((lines(web), output.out.lines().count()), (23, 23 + 29 + 31 + 7), "{output}");
    assert!(output.err.contains(", 90 delivered, 0 lost"), "{output}");
}

#[test]
fn standard_output_takes_the_file() {
    privileged!();
    let ((a, b), file) = (joined(), File::new());
    let line = format!("exec {} capture -i to_a -w - {OURS} > {}", binary().display(), file.name());
    let run = Skep::at(Path::new("/bin/sh"), &["-c", &line]).in_network(&b).start().attached();
    send(&a, &[(ethernet(IPV4, &ipv4(UDP, 0, &[], &udp(1009, 53, b"skep"))), 101)]);
    run.interrupt().ok();
    assert_eq!((packets(&file.0, "").len(), tshark(&file.0, &[]).lines().count()), (101, 101));
}

#[test]
fn template_loads_with_every_output_and_parameter() {
    privileged!();
    let network = Namespace::new();
    let mut chains: Vec<String> = ["sum", "avg", "min", "max", "stats", "hist", "quantiles"]
        .map(|kind| format!(".by(direction).{kind}(len)"))
        .into();
    chains.extend(
        [
            ".count()",
            ".lhist(captured, 0, 2000, 100)",
            ".by(interface, direction, time, cpu).count()",
            ".by(interface, direction, cpu).heavy(len)",
            ".fields(time, len, captured, interface, direction)",
            ".filter(tcpdump(\"vlan 7 and tcp port 80\") or not(len > 7)).fields(len, tcpdump(\"ip\")).each(|e| print(e))",
            ".packets()",
            ".filter(direction == \"egress\").packets().first(7)",
        ]
        .map(str::to_owned),
    );
    for settings in ["", ", snaplen: 64", ", rate: 7", ", rate: 1_000_000, burst: 3, direction: \"egress\""] {
        let template = format!("template(\"capture\", #{{ interface: \"lo\"{settings} }})");
        for some in chains.chunks(7) {
            let script: String = some.iter().map(|chain| format!("{template}{chain}.quiet();\n")).collect();
            Skep::new(&["-e", &format!("{script}run(\"10ms\");")]).in_network(&network).run().ok();
        }
    }
    for chain in [&chains[5], &chains[13]] {
        let script = format!("template(\"capture\", #{{ interface: \"lo\", hook: \"xdp\" }}){chain}.run(\"10ms\");");
        Skep::new(&["-e", &script]).in_network(&network).run().ok();
    }
}

#[test]
fn wrong_captures_are_errors() {
    privileged!();
    let (a, _b) = joined();
    a.run("ip tuntap add dev tun0 mode tun");
    for (words, message) in [
        (
            &["-i", "to_b", "tcp", "prot", "80"][..],
            "error: a filter does not go on with `prot`\n --> filter:1:5\n  |\n1 | tcp prot 80\n  |     ^^^^\n  = help: tcp port 80",
        ),
        (&["-i", "nowhere0"], "error: no interface `nowhere0`\n  = help: it has "),
        (
            &["-i", "to_b", "-w", "/nowhere/out.pcapng"],
            "error: failed to write `/nowhere/out.pcapng`: no such file or directory",
        ),
        (&["-i", "tun0"], "error: packets of `tun0` have no headers of Ethernet"),
        (&["-i", "to_b", "--xdp", "--direction", "egress"], "error: XDP meets packets that come in alone"),
    ] {
        let output = Skep::new(&["capture"]).arguments(words).in_network(&a).run().status_is(1);
        assert!(output.err.starts_with(message), "{output}");
    }
    for (script, message) in [
        (
            r#"probe("tc:to_b").filter(tcpdump("port http")).count()"#,
            "error: `http` is no port; names are not looked up",
        ),
        (r#"probe("cgroup_skb:/").filter(tcpdump("ip")).count()"#, "error: `cgroup_skb:/"),
        (r#"probe("tc:tun0").filter(tcpdump("ip")).count()"#, "error: `tc:tun0:ingress` meets no frames"),
        (r#"probe("tc:to_b").pcapng("a.pcapng")"#, "error: `pcapng` is about packets themselves"),
        (r#"template("capture").count()"#, "error: packets of which interface?"),
    ] {
        let output = Skep::new(&["-e", script]).in_network(&a).run().status_is(1);
        assert!(output.err.starts_with(message), "{output}");
    }
}
