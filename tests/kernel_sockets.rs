//! Sockets and packets on which kernel: decoders, and the templates about connections.
//!
//! In emulated guests only (`cargo xtask vm --matrix`): over `lo`, which is the guest's own.

use serde_json::json;
use skep_tests::guest::{lacks, release};
use skep_tests::{Output, Skep, guest};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Connections of this process to itself over `lo`: both ends send so many bytes, and end in good order.
fn converse(listener: &TcpListener, count: usize, sends: usize, answers: usize) {
    let to = listener.local_addr().expect("it has one");
    for _ in 0..count {
        let mut here = TcpStream::connect(to).expect("a connection");
        let (mut there, _) = listener.accept().expect("it is accepted");
        let mut all = Vec::new();
        here.write_all(&vec![b'a'; sends]).and_then(|()| here.shutdown(Shutdown::Write)).expect("it is sent");
        there.read_to_end(&mut all).and_then(|_| there.write_all(&vec![b'b'; answers])).expect("it is answered");
        drop(there);
        here.read_to_end(&mut all).expect("it is received");
        assert_eq!(all.len(), sends + answers);
    }
}

/// A port of `lo` where nobody listens.
fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    listener.local_addr().expect("it has one")
}

/// Runs a script while `work` is done.
fn watched(script: &str, work: impl FnOnce()) -> Output {
    let run = Skep::script(script).start().attached();
    work();
    run.interrupt().ok()
}

#[test]
fn sockets_and_packets_are_decoded() {
    guest!();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let v6 = TcpListener::bind("[::1]:0").expect("a listener");
    let ports = [&listener, &v6].map(|one| one.local_addr().expect("it has one").port());
    let script = r#"
        let sk = sock(arg0);
        let change = "rawtracepoint:inet_sock_set_state";
        probe(change).filter(sk.state == "SYN_SENT" and sk.dport == V4).by(sk.saddr, sk.daddr, sk.family, sk.protocol).count();
        probe(change).filter(sk.state == "SYN_SENT" and in_cidr(sk.daddr, "::1/128")).by(sk.daddr, sk.dport).count();
        probe(change).filter(sk.state == "LAST_ACK" and sk.dport != 0 and sk.sport == V4).by(sk.tx, sk.rx).count();
        let skb = skb(arg0);
        probe("rawtracepoint:net_dev_start_xmit").filter(skb.dport == V4 and skb.flags == 2)
            .by(skb.saddr, skb.daddr, skb.protocol, skb.ifname).count();
        probe("rawtracepoint:net_dev_start_xmit").filter(skb.dport == V6 and skb.flags == 2).by(skb.daddr, skb.family).count();
        probe("tracepoint:syscalls:sys_enter_connect").filter(sockaddr(args.uservaddr).port == V4)
            .by(sockaddr(args.uservaddr).addr).count();
    "#;
    let script = script.replace("V4", &ports[0].to_string()).replace("V6", &ports[1].to_string());
    let output = watched(&script, || {
        converse(&listener, 23, 1009, 101);
        converse(&v6, 13, 1, 1);
    });
    let row = |n: usize| {
        let table = output.table(n);
        let key = table["rows"][0]["key"].as_object().cloned().unwrap_or_default();
        let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let words: Vec<String> = key.values().map(text).collect();
        (words.join(" "), table["rows"][0]["value"].as_u64())
    };
    let port = ports[1];
    for (n, (key, count)) in [
        ("127.0.0.1 127.0.0.1 AF_INET tcp".to_owned(), 23),
        (format!("::1 {port}"), 13),
        // The peer's end of its stream counts as a byte here.
        ("101 1010".to_owned(), 23),
        ("127.0.0.1 127.0.0.1 tcp lo".to_owned(), 23),
        ("::1 AF_INET6".to_owned(), 13),
        ("127.0.0.1".to_owned(), 23),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(row(n), (key, Some(count)), "table {n}\n{output}");
    }
}

#[test]
fn template_tcp_life_sees_both_ends_of_23_connections() {
    guest!();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().expect("it has one").port();
    let script = format!("template(\"tcp_life\", #{{ port: {port} }}).by(role, tx, rx, task_pid, error).count()");
    let output = watched(&script, || converse(&listener, 23, 1009, 101));
    let own = std::process::id();
    let rows = [(format!("client 1009 101 {own} 0"), json!(23)), (format!("server 101 1009 {own} 0"), json!(23))];
    assert_eq!(output.rows(), rows, "{output}");
}

#[test]
fn template_tcp_connect_names_why_23_fail() {
    guest!();
    let to = closed_port();
    let script = format!("template(\"tcp_connect\", #{{ port: {} }}).by(error, daddr, task_pid).count()", to.port());
    let output = watched(&script, || (0..23).for_each(|_| drop(TcpStream::connect(to).expect_err("nobody listens"))));
    assert_eq!(output.row(&format!("ECONNREFUSED 127.0.0.1 {}", std::process::id())), 23, "{output}");
}

#[test]
fn template_tcp_reset_sees_23_that_come_and_23_that_go() {
    guest!();
    let to = closed_port();
    let script = format!("template(\"tcp_reset\", #{{ port: {} }}).by(kind, reason, state).count()", to.port());
    let output = watched(&script, || (0..23).for_each(|_| drop(TcpStream::connect(to).expect_err("nobody listens"))));
    let rows = output.rows();
    let count = |kind: &str| rows.iter().find(|(key, _)| key.starts_with(kind)).map(|(_, count)| count.clone());
    assert_eq!(count("received"), Some(json!(23)), "{output}");
    match count("sent NO_SOCKET") {
        None if release() < (6, 10) => lacks("those of a closed port are not seen to be sent"),
        sent => assert_eq!(sent, Some(json!(23)), "{output}"),
    }
}

#[test]
fn template_tcp_retransmit_counts_what_the_kernel_counts() {
    guest!();
    // Nobody accepts: the queue is full with the second one, and what comes then is sent again and again.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    // SAFETY: of our own listener; the queue becomes shorter.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let to = listener.local_addr().expect("it has one");
    let script = format!("template(\"tcp_retransmit\", #{{ port: {} }}).by(kind).sum(segments)", to.port());
    let counted = || {
        let text = std::fs::read_to_string("/proc/net/snmp").expect("/proc is mounted");
        let line = text.lines().filter(|line| line.starts_with("Tcp: ")).nth(1).expect("its counters");
        line.split(' ').nth(12).and_then(|word| word.parse::<u64>().ok()).expect("RetransSegs")
    };
    let before = counted();
    let output = watched(&script, || {
        let connect = || TcpStream::connect_timeout(&to, Duration::from_millis(2500));
        let _held: Vec<_> = (0..4).map(|_| connect()).collect();
    });
    let sum: u64 = output.rows().iter().filter_map(|(_, sum)| sum.as_u64()).sum();
    assert!(sum > 0 && output.rows().iter().any(|(kind, _)| kind.starts_with("syn")), "{output}");
    assert_eq!(sum, counted() - before, "{output}");
}

#[test]
fn template_drops_names_the_reason() {
    guest!();
    let to = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let script = format!(
        "template(\"drops\", #{{ port: {} }}).by(reason, location, daddr, ifname, protocol).count()",
        to.port()
    );
    let output = watched(&script, || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        (0..23).for_each(|_| assert_eq!(socket.send_to(b"elevenbytes", to).expect("it is sent"), 11));
    });
    let rows = output.rows();
    let (key, count) = rows.first().unwrap_or_else(|| panic!("no drop\n{output}"));
    assert!(key.contains("udp") && key.ends_with(" 127.0.0.1 lo udp") && *count == 23, "{output}");
    if !key.starts_with("NO_SOCKET ") {
        assert!(release() < (5, 17) && key.starts_with("0 "), "{output}");
        lacks("only where, not why");
    }
}

#[test]
fn template_service_map_sums_what_23_connections_move() {
    guest!();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().expect("it has one").port();
    let chain =
        |value: &str| format!("template(\"service_map\", #{{ port: {port} }}).by(role, server_port).sum({value});\n");
    let script = ["opened", "to_server", "to_client"].map(chain).concat();
    let output = watched(&script, || converse(&listener, 23, 1009, 101));
    for (n, sum) in [23, 23 * 1009, 23 * 101].into_iter().enumerate() {
        for row in 0..2 {
            assert_eq!(output.table(n)["rows"][row]["value"], sum, "{output}");
        }
    }
}
