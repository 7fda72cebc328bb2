//! What passes is what passes tcpdump, which is asked; errors say where.

mod frames;

use super::{Fault, Filter, lower};
use crate::kernel::load::load_bare;
use crate::kernel::network::Hook;
use crate::kernel::{privilege, sys};
use crate::network::pcapng::{Frame, Writer};
use crate::network::time::Time;
use crate::slot::compile;
use frames::Random;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;

const FRAMES: usize = 997;

/// Filters as people write them, each kind of word in them.
const FILTERS: &[&str] = &[
    "",
    "ip",
    "ip6",
    "arp",
    "rarp",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "igmp",
    "esp or ah or pim or vrrp",
    "not ip",
    "! tcp && udp",
    "tcp or udp and not icmp",
    "host 10.9.0.1",
    "src host 10.9.0.1",
    "dst 10.9.0.2",
    "src or dst 10.9.0.3",
    "src and dst host 10.9.0.1",
    "host 10.9.0.1 or 10.9.0.3",
    "host (10.9.0.1 or 10.9.0.3) and not 10.9.0.2",
    "host not 10.9.0.1",
    "ip host 10.9.0.1",
    "arp host 10.9.0.2",
    "rarp src host 10.9.0.2",
    "host fd00:9::1",
    "ip6 src host fd00:9::2",
    "net 10.9.0.0/16",
    "net 10.9",
    "src net 10",
    "dst net 10.9.0.0/30",
    "net 10.9.0.0 mask 255.255.255.254",
    "net 0.0.0.0/0",
    "net fd00:9::/32",
    "net ::/0",
    "ip6 dst net fd00:9::/127",
    "port 80",
    "src port 80",
    "dst port 443",
    "src and dst port 53",
    "tcp port 80",
    "udp port 53 or 443",
    "tcp dst port 80 or 443 and host 10.9.0.1",
    "sctp port 80",
    "port 80 or 443",
    "port (80 or 443) and tcp",
    "tcp src port not 80",
    "portrange 53-80",
    "udp dst portrange 400-500",
    "portrange 90-80",
    "proto 6",
    "ip proto 17",
    "ip proto \\tcp",
    "ip6 proto 6",
    "ether proto 0x88cc",
    "ether proto \\arp",
    "ether host 02:00:00:00:00:09",
    "ether src 2:0:0:0:0:9",
    "ether dst ff:ff:ff:ff:ff:ff",
    "broadcast",
    "ether multicast",
    "ip multicast",
    "ip6 multicast",
    "vlan",
    "vlan 7",
    "vlan and ip",
    "vlan 7 and tcp port 80",
    "not vlan and ip",
    "vlan and vlan 9",
    "(vlan 7 or ip) and tcp",
    "port 53 or vlan and port 80",
    "less 80",
    "greater 80",
    "len > 100 and len < 200",
    "len - 5 > 60",
    "len = 60 or len == 64 or len != 70 and ip",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
    "tcp[13] = 2",
    "tcp[tcpflags] & tcp-ack = 0",
    "not tcp[13] & 1 = 1",
    "tcp[-1] = 0",
    "tcp[2:2] = 80",
    "tcp[(tcp[12] & 0xf0) >> 2] = 71",
    "tcp[((tcp[12:1] & 0xf0) >> 2):4] = 0x47455420",
    "udp[4:2] > 30",
    "icmp[icmptype] = icmp-echo or icmp[0] = icmp-unreach",
    "icmp6[icmp6type] = icmp6-neighborsolicit or icmp6[0] == 128",
    "ip[0] & 0xf != 5",
    "ip[6:2] & 0x1fff != 0",
    "ip[6] & 0x20 = 0x20",
    "ip[2:2] - ((ip[0] & 0xf) << 2) > 40",
    "ip[ip[0] & 0xf] > 100",
    "ip[8] % 4 = 1",
    "ip[8] * 16777216 = 0x4d000000",
    "ip6[6] = 44",
    "ip6[4:2] + 40 > 80",
    "arp[6:2] = 1",
    "ether[0] & 1 = 0",
    "ether[12:4] = 0x08004500",
    "ether[60] = 0 or tcp",
    "ip[200] = 7",
    "not ip[200] = 7",
    "(tcp[12] >> 4) ^ 3 = 6",
    "ip[1] = 7 | 2 & 4",
    "0x800 = ether[12:2]",
];

/// Which frames tcpdump lets pass, with its optimizer or without: that reads in another order, or not at all, which shows
/// in frames that end between two addresses.
#[track_caller]
fn by_tcpdump(capture: &Path, filter: &str, optimizer: bool) -> Vec<bool> {
    let mut command = Command::new("tcpdump");
    command.args(if optimizer { &[][..] } else { &["-O"] });
    let output = command.args(["-r", &capture.display().to_string(), "-w", "-", filter]).output();
    let output = output.expect("tcpdump starts");
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("rejects all packets") {
        return vec![false; FRAMES];
    }
    assert!(output.status.success(), "`{filter}`: {said}");
    let word = |at: usize| u32::from_ne_bytes(output.stdout[at..at + 4].try_into().expect("four bytes")) as usize;
    let (mut at, mut passed) = (24, vec![false; FRAMES]);
    while at < output.stdout.len() {
        passed[word(at + 4)] = true;
        at += 16 + word(at + 8);
    }
    passed
}

fn has_tcpdump() -> bool {
    let there = Command::new("tcpdump").arg("--version").output().is_ok();
    if !there {
        println!("skipped: needs tcpdump");
        assert!(std::env::var_os("SKEP_PRIVILEGED").is_none(), "CI has it");
    }
    there
}

#[test]
fn frames_pass_as_they_pass_tcpdump() {
    if !has_tcpdump() {
        return;
    }
    let mut random = Random::new(0x5eed);
    let frames: Vec<(Vec<u8>, u32)> = (0..FRAMES).map(|_| random.frame()).collect();
    let path = std::env::temp_dir().join(format!("skep-frames-{}.pcapng", std::process::id()));
    let mut writer = Writer::new(std::fs::File::create(&path).expect("a file"), "").expect("it is written");
    for (n, (data, length)) in frames.iter().enumerate() {
        let (data, time) = (data.clone(), Time(n as u64 * 1000));
        let frame = Frame { interface: "eth0".into(), time, data, length: *length, ..Frame::default() };
        writer.packet(&frame).expect("it is written");
    }
    writer.end(|_| 0).expect("it is written");
    let (mut passed, mut disputed) = (0, 0);
    let joined: Vec<String> = (0..200).map(|_| random.joined(FILTERS)).collect();
    for filter in FILTERS.iter().copied().chain(joined.iter().map(String::as_str)) {
        let known = Filter::parse(filter).unwrap_or_else(|fault| panic!("`{filter}`: {fault:?}"));
        let (plain, optimized) = (by_tcpdump(&path, filter, false), by_tcpdump(&path, filter, true));
        for (n, (data, length)) in frames.iter().enumerate() {
            let ours = known.passes(data, *length);
            assert!(ours == plain[n] || ours == optimized[n], "`{filter}`: {ours} for frame {n}: {data:02x?}");
            passed += usize::from(ours);
            disputed += usize::from(plain[n] != optimized[n]);
        }
    }
    assert!(disputed < 3_000, "{disputed}");
    std::fs::remove_file(&path).expect("it is there");
    // Neither all nor none.
    assert!((10_000..280_000).contains(&passed), "{passed}");
}

/// The same in the kernel, of frames and of buffers: each is given all of a frame.
#[test]
fn frames_pass_in_the_kernel_as_they_do_here() {
    if privilege::skips(&["CAP_BPF", "CAP_NET_ADMIN"]) {
        return;
    }
    let mut random = Random::new(0x5eed2);
    let mut frames: Vec<Vec<u8>> = (0..FRAMES).map(|_| random.frame().0).collect();
    // What the kernel takes for a frame.
    frames.iter_mut().for_each(|frame| frame.resize(frame.len().max(14), 0));
    let joined: Vec<String> = (0..100).map(|_| random.joined(FILTERS)).collect();
    let mut passed = 0;
    for filter in FILTERS.iter().copied().chain(joined.iter().map(String::as_str)) {
        let known = Filter::parse(filter).unwrap_or_else(|fault| panic!("`{filter}`: {fault:?}"));
        for hook in [Hook::Xdp, Hook::TcIngress] {
            let test = lower(known.check(), hook.packets().expect("it meets frames"));
            let code = compile::filter(&test).unwrap_or_else(|error| panic!("`{filter}`: {error}"));
            let program = load_bare(hook.program_kind(), &code).unwrap_or_else(|error| {
                panic!("`{filter}`, {hook:?}: {error}\n{}", crate::slot::listing::listing(&code))
            });
            for frame in &frames {
                if hook == Hook::TcIngress && sys::refused_as_buffer(frame) {
                    continue;
                }
                let (status, _) = sys::test_run(program.as_fd(), frame, 1).expect("it runs");
                let ours = known.passes(frame, frame.len() as u32);
                assert_eq!(status != 0, ours, "`{filter}`, {hook:?}: {frame:02x?}");
                passed += usize::from(ours);
            }
        }
    }
    assert!(passed > 10_000, "{passed}");
}

#[track_caller]
fn fault(filter: &str) -> (String, &str, Option<String>) {
    match Filter::parse(filter) {
        Err(Fault { message, from, to, help }) => (message, &filter[from..to], help),
        Ok(known) => panic!("`{filter}` is {known:?}"),
    }
}

#[test]
fn faults_say_where_and_what_helps() {
    for (filter, message, at, help) in [
        ("tcp prot 80", "a filter does not go on with `prot`", "prot", "tcp port 80 and not host 10.0.0.1"),
        ("port http", "`http` is no port; names are not looked up", "http", "port 80"),
        ("tcp port 70000", "`70000` is no port; names are not looked up", "70000", "port 80"),
        (
            "host www.example.org",
            "`www.example.org` is no address; names are not looked up",
            "www.example.org",
            "host 10.0.0.1",
        ),
        ("host 10.0.0.0/8", "`10.0.0.0/8` is a net", "10.0.0.0/8", "net 10.0.0.0/8"),
        ("10.0.0.1", "`10.0.0.1` is no word of a filter", "10.0.0.1", "host 10.0.0.1"),
        ("80", "`80` is no word of a filter", "80", "port 80"),
        (
            "outbound and tcp",
            "the direction is no part of a frame",
            "outbound",
            "--direction egress, or .filter(direction == \"egress\")",
        ),
        ("tcp[13] & 2", "a number is compared, and here is the end", "", "tcp[13] & 2 != 0"),
        ("ip[6:3] = 1", "a filter reads 1, 2 or 4 bytes", "3", "ip[6:2]"),
        ("ip[0] / 0 = 1", "nothing can be divided by 0", "0", ""),
        ("tcp[0] << tcp[1] = 3", "a filter shifts by plain numbers only", "tcp", "tcp[12] >> 2 > 20"),
        ("net 10.1.2.3/8", "`10.1.2.3/8` has bits behind its prefix of 8", "10.1.2.3/8", ""),
        ("(tcp or udp", "a parenthesis is not closed", "", ""),
        ("host", "an address or a number is missing, here is the end", "", ""),
        (
            "mpls",
            "`mpls` is no word of a filter",
            "mpls",
            "words are those of pcap-filter(7): host, net, port, portrange, tcp, vlan, less, …",
        ),
        ("tcp host 10.0.0.1", "`tcp` has no such addresses", "10.0.0.1", ""),
        ("icmp port 7", "`icmp` has no ports", "7", ""),
        ("ether[ip[0]] = 1", "bytes of the frame itself have plain numbers", "ip", "ether[20]"),
        ("portrange 7", "`7` is no range of ports", "7", "portrange 8000-8999"),
    ] {
        let help = (!help.is_empty()).then(|| help.to_owned());
        assert_eq!(fault(filter), (message.to_owned(), at, help), "{filter}");
    }
}

#[test]
fn no_text_panics() {
    let mut random = Random::new(0xbad);
    for _ in 0..200_000 {
        let _any = Filter::parse(&random.words());
    }
    for deep in ["(", "not ", "ip[", "- ", "host (", "(len + ", "ip and ip or "] {
        assert!(Filter::parse(&deep.repeat(100_000)).is_err(), "{deep}");
    }
}
