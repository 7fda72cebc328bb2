//! Sockets, packets and addresses of any source: `sock()`, `skb()`, `sockaddr()` and `in_cidr()`.

use serde_json::json;
use skep_tests::machine::here;
use skep_tests::{Namespace, Output, Skep, golden, privileged};
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

fn planned(fixture: &str, script: &str) -> Output {
    let types = here("fixtures/types").join(fixture).display().to_string();
    Skep::new(&["plan", "--btf", &types, "-e", script]).as_nobody().run()
}

#[test]
fn decoders_are_planned_from_types_alone() {
    let script = r#"
        let sent = "rawtracepoint:sent";
        probe(sent).filter(sock(args.sk).dport == 443 and sock(args.sk).state == "ESTABLISHED").by(sock(args.sk).daddr).count();
        probe(sent).filter(in_cidr(sock(args.socket).saddr, "10.0.0.0/8")).by(sock(args.file.private_data).netns).count();
        probe(sent).filter(skb(args.skb).protocol == "udp" and skb(args.skb).daddr == "fd00::1").sum(skb(args.skb).len);
        probe(sent).fields(skb(args.skb).ifname, skb(args.skb).sport, sockaddr(args.file.private_data).port, sock(args.skb.sk).family);
    "#;
    golden("sockets/plans", &planned("sockets.o", script).ok().out);
    // What a kernel without IPv6 lacks is not read.
    planned("sockets-v4.o", script).ok();
}

#[test]
fn what_is_wrong_with_a_decoder_is_said_at_it() {
    let cases = [
        "sock(args.sk).prot",
        "sock(args.sk).colour",
        "sock(args.sk)",
        "skb(args.skb)",
        "sock(args.skb).dport",
        "skb(args.sk).dport",
        "sock(args.file).dport",
        "sock(comm).dport",
        "sock(args.sk).tx",
        "sockaddr(comm).port",
        "in_cidr(args.sk, \"10.0.0.0/8\")",
        "in_cidr(sock(args.sk).dport, \"10.0.0.0/8\")",
        "in_cidr(sock(args.sk).daddr, \"10.1.0.0/8\")",
        "in_cidr(sock(args.sk).daddr, \"home\")",
        "sock(args.sk).daddr == \"10.0.0.0/8\"",
        "sock(args.sk).daddr == \"localhost\"",
        "sock(args.sk).daddr == 7",
        "sock(args.sk).daddr > \"10.0.0.1\"",
        "sock(args.sk).daddr",
        "sock(args.sk).state == \"ESTABLISHD\"",
        "sock(args.sk).state == \"OPEN\"",
        "sock(args.sk).family == \"inet\"",
        "skb(args.skb).protocol == \"http\"",
    ];
    let mut text = String::new();
    for case in cases {
        let script = format!("probe(\"rawtracepoint:sent\").filter({case}).count();");
        let output = planned("sockets.o", &script).status_is(1);
        assert!(output.err.starts_with("error: ") && output.out.is_empty(), "{output}");
        text += &output.err;
        text.push('\n');
    }
    golden("sockets/errors", &text);
}

const PORT: u16 = 4711;

fn link() -> (Namespace, Namespace) {
    let (client, server) = (Namespace::new(), Namespace::new());
    Namespace::pair(&client, &server, "10.9.0.1/24", "10.9.0.2/24");
    (client, server)
}

/// Connects so many times to each address; where from.
fn connect(client: &Namespace, server: &Namespace, to: &[(&str, usize)]) -> BTreeSet<u16> {
    let listener = server.inside(|| TcpListener::bind(("::", PORT)).expect("a listener"));
    let mut ports = BTreeSet::new();
    for (to, count) in to {
        let to = SocketAddr::new(to.parse().expect("an address"), PORT);
        for _ in 0..*count {
            let here = client.inside(|| TcpStream::connect(to).expect("a connection"));
            ports.insert(here.local_addr().expect("it has one").port());
            drop(listener.accept().expect("it is accepted"));
        }
    }
    ports
}

/// Runs a script that has NETNS for the client's namespace while `work` is done.
#[track_caller]
fn watched(script: &str, netns: &Namespace, work: impl FnOnce()) -> Output {
    let run = Skep::script(&script.replace("NETNS", &netns.number().to_string())).start().attached();
    work();
    run.interrupt().ok()
}

#[test]
fn sockets_say_what_their_owners_know() {
    privileged!();
    let (client, server) = link();
    let script = r#"
        let sk = sock(args.sk);
        let change = probe("rawtracepoint:inet_sock_set_state")
            .filter(sk.netns == NETNS and sk.state == "SYN_SENT");
        change.by(sk.family, sk.saddr, sk.sport, sk.daddr, sk.dport, sk.protocol).count();
    "#;
    let mut ports = BTreeSet::new();
    let to = [("10.9.0.2", 13), ("fd00:9::2", 10)];
    let output = watched(script, &client, || ports = connect(&client, &server, &to));
    let (mut seen, mut of_v6) = (BTreeSet::new(), 0);
    for (key, count) in output.rows() {
        let words: Vec<&str> = key.split(' ').collect();
        let [family, from, port, to, "4711", "tcp"] = words.as_slice() else { panic!("{key}\n{output}") };
        let v6 = *family == "AF_INET6";
        let wanted = if v6 { ("fd00:9::1", "fd00:9::2") } else { ("10.9.0.1", "10.9.0.2") };
        assert_eq!(((*from, *to), count), (wanted, json!(1)), "{output}");
        seen.insert(port.parse::<u16>().expect("it is a number"));
        of_v6 += usize::from(v6);
    }
    assert_eq!((seen, of_v6), (ports, 10), "{output}");
}

#[test]
fn addresses_of_every_kind_are_held_against_prefixes() {
    privileged!();
    let (client, server) = link();
    // Each is the number of connections for which it holds: 13 of IPv4, 7 of IPv4 by an IPv6 socket, 3 of IPv6.
    let raw = [
        ("in_cidr(sk.daddr, \"10.9.0.0/24\")", 20),
        ("in_cidr(sk.daddr, \"10.9.0.2\")", 20),
        ("in_cidr(sk.saddr, \"10.9.0.1\")", 20),
        ("in_cidr(sk.daddr, \"10.9.0.0/31\")", 0),
        ("in_cidr(sk.daddr, \"0.0.0.0/0\")", 20),
        ("in_cidr(sk.daddr, \"fd00::/8\")", 3),
        ("in_cidr(sk.daddr, \"::/0\")", 3),
        ("in_cidr(sk.daddr, \"fd00:9::2\")", 3),
        ("in_cidr(sk.daddr, \"fd00:9::/127\")", 0),
        ("in_cidr(sk.daddr, \"::ffff:10.9.0.0/120\")", 20),
        ("sk.daddr == \"10.9.0.2\"", 20),
        ("sk.daddr != \"10.9.0.2\"", 3),
        ("sk.daddr == \"fd00:9::2\"", 3),
        ("sk.daddr == sk.daddr", 23),
        ("sk.daddr == sk.saddr", 0),
        ("sk.family == \"AF_INET\"", 13),
    ];
    let record = [
        ("in_cidr(ntop(args.daddr_v6), \"10.9.0.0/24\")", 20),
        ("in_cidr(ntop(args.daddr), \"10.9.0.0/24\")", 20),
        ("in_cidr(args.daddr_v6, \"fd00::/8\")", 3),
        ("ntop(args.daddr_v6) == \"fd00:9::2\"", 3),
        ("sock(args.skaddr).daddr == \"10.9.0.2\"", 20),
    ];
    let mut script = "let sk = sock(args.sk);\n".to_owned();
    for (test, _) in raw {
        script += "probe(\"rawtracepoint:inet_sock_set_state\").filter(sk.netns == NETNS and sk.state == \"SYN_SENT\" ";
        script += &format!("and {test}).count();\n");
    }
    for (test, _) in record {
        script += "probe(\"tracepoint:sock:inet_sock_set_state\").filter(args.oldstate == 2 and ";
        script += &format!("sock(args.skaddr).netns == NETNS and {test}).count();\n");
    }
    for (test, _) in [("in_cidr(daddr, \"10.0.0.0/8\")", 0), ("in_cidr(daddr, \"fd00::/8\")", 0)] {
        script += &format!("template(\"tcp_connect\", #{{ netns: NETNS }}).filter({test}).count();\n");
    }
    let to = [("10.9.0.2", 13), ("::ffff:10.9.0.2", 7), ("fd00:9::2", 3)];
    let output = watched(&script, &client, || drop(connect(&client, &server, &to)));
    let of_template = [("template's field, IPv4", 20), ("template's field, IPv6", 3)];
    for (n, (test, wanted)) in raw.into_iter().chain(record).chain(of_template).enumerate() {
        let rows = output.table(n)["rows"].clone();
        assert_eq!(rows[0]["value"].as_u64().unwrap_or(0), wanted, "{test}\n{output}");
    }
}

#[test]
fn packets_say_what_was_sent() {
    privileged!();
    let (client, server) = link();
    let script = r#"
        let skb = skb(args.skb);
        let out = "rawtracepoint:net_dev_start_xmit";
        probe(out).filter(skb.netns == NETNS and skb.protocol == "udp")
            .by(skb.family, skb.saddr, skb.daddr, skb.sport, skb.dport, skb.ifname).sum(skb.len);
        probe(out).filter(skb.netns == NETNS and skb.protocol == "tcp" and skb.flags == 2).by(skb.dport).count();
        probe(out).filter(skb.netns == NETNS and skb.dport == 4712 and in_cidr(skb.daddr, "fd00::/8")).count();
    "#;
    let receiver = server.inside(|| UdpSocket::bind(("::", 4712)).expect("a socket"));
    let output = watched(script, &client, || {
        for (own, to) in [("10.9.0.1", "10.9.0.2"), ("fd00:9::1", "fd00:9::2")] {
            let socket = client.inside(|| UdpSocket::bind((own, 4713)).expect("a socket"));
            (0..23).for_each(|_| assert_eq!(socket.send_to(b"elevenbytes", (to, 4712)).expect("it is sent"), 11));
            // The first of them wait until the other end's address is found.
            (0..23).for_each(|_| assert_eq!(receiver.recv(&mut [0; 64]).expect("it is received"), 11));
        }
        connect(&client, &server, &[("10.9.0.2", 17)]);
    });
    let rows = output.table(0)["rows"].as_array().cloned().unwrap_or_default();
    // With the headers of Ethernet, IP and UDP.
    for (family, from, to, length) in [
        ("AF_INET", "10.9.0.1", "10.9.0.2", 14 + 20 + 8 + 11),
        ("AF_INET6", "fd00:9::1", "fd00:9::2", 14 + 40 + 8 + 11),
    ] {
        let key =
            json!({ "family": family, "saddr": from, "daddr": to, "sport": 4713, "dport": 4712, "ifname": "to_b" });
        assert!(rows.contains(&json!({ "key": key, "value": 23 * length })), "{output}");
    }
    assert_eq!(output.table(1)["rows"], json!([{ "key": { "dport": 4711 }, "value": 17 }]), "{output}");
    assert_eq!(output.table(2)["rows"][0]["value"], 23, "{output}");
}

#[test]
fn addresses_of_a_process_are_read_from_its_memory() {
    privileged!();
    let (client, server) = link();
    let script = r#"
        let to = sockaddr(args.uservaddr);
        probe("tracepoint:syscalls:sys_enter_connect").filter(pid == OWN and to.port == 4711).by(to.family, to.addr, to.port).count();
    "#;
    let script = script.replace("OWN", &std::process::id().to_string());
    let to = [("10.9.0.2", 13), ("fd00:9::2", 10)];
    let output = watched(&script, &client, || drop(connect(&client, &server, &to)));
    assert!(output.row("AF_INET 10.9.0.2 4711").as_u64() >= Some(13), "{output}");
    assert!(output.row("AF_INET6 fd00:9::2 4711").as_u64() >= Some(10), "{output}");
}
