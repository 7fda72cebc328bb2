//! Scripts of the library on TCP connections of the test's own that are reset, that go to and fro, that become none.

use serde_json::{Value, json};
use skep_tests::guest::release;
use skep_tests::skep::Running;
use skep_tests::{Namespace, Output, Skep, privileged};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Longer than anything takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two namespaces, joined, with addresses that nobody else has: some scripts see all networks of the machine.
fn joined_at(subnet: u8) -> (Namespace, Namespace, [String; 2]) {
    let (a, b) = (Namespace::new(), Namespace::new());
    let addresses = [1, 2].map(|host| format!("10.{subnet}.0.{host}"));
    Namespace::pair(&a, &b, &format!("{}/24", addresses[0]), &format!("{}/24", addresses[1]));
    (a, b, addresses)
}

fn started(words: &[&str]) -> Running {
    Skep::new(&["--format", "json", "run"]).arguments(words).start().attached()
}

#[track_caller]
fn ended(run: Running) -> Output {
    let output = run.interrupt().ok();
    assert_eq!(output.trust("lost"), 0, "{output}");
    output
}

/// The rows of which the key has these values, all together.
#[track_caller]
fn sum_of(output: &Output, key: &[(&str, &str)]) -> u64 {
    let rows = output.table(0)["rows"].as_array().cloned().unwrap_or_default();
    let ours = |row: &&Value| key.iter().all(|(column, value)| row["key"][*column] == *value);
    rows.iter().filter(ours).filter_map(|row| row["value"].as_u64()).sum()
}

#[test]
fn tcpreset_has_both_ends_of_each_reset() {
    privileged!();
    let (a, b, [client, server]) = joined_at(62);
    let run = started(&["tcpreset", "--address", "10.62.0.0/24"]);
    let connect = |port: u16| a.inside(|| TcpStream::connect((&*server, port)));
    for _ in 0..23 {
        connect(4711).expect_err("nobody listens");
    }
    let listener = b.inside(|| TcpListener::bind((&*server, 4713)).expect("the port is free"));
    for _ in 0..29 {
        let mut here = connect(4713).expect("it listens");
        reset(&listener.accept().expect("somebody comes").0);
        here.read(&mut [0]).expect_err("it is reset");
    }
    let output = ended(run);
    let of = |kind: &str, own: &str, state: &str| sum_of(&output, &[("kind", kind), ("saddr", own), ("state", state)]);
    assert_eq!((of("received", &client, "SYN_SENT"), of("received", &client, "ESTABLISHED")), (23, 29), "{output}");
    assert_eq!(of("sent", &server, "CLOSE"), 29, "{output}");
    // Who resets what is no connection is told from then on.
    let sent = if release() < (6, 10) { 0 } else { 23 };
    assert_eq!(sum_of(&output, &[("kind", "sent"), ("saddr", &server), ("reason", "NO_SOCKET")]), sent, "{output}");
}

/// Ends a connection at once.
#[track_caller]
fn reset(stream: &TcpStream) {
    let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: reads one structure.
    let set = unsafe {
        let option = (&raw const at_once).cast();
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, option, size_of_val(&at_once) as u32)
    };
    assert_eq!(set, 0);
}

/// Segments that the peer has not acknowledged yet.
fn unacknowledged(stream: &TcpStream) -> u32 {
    // SAFETY: zeros are an answer.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&info) as u32;
    // SAFETY: the kernel writes no more than the length.
    let asked = unsafe {
        let answer = (&raw mut info).cast();
        libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, answer, &mut length)
    };
    assert_eq!(asked, 0);
    info.tcpi_unacked
}

#[test]
fn tcprtt_looks_at_every_segment() {
    privileged!();
    let (a, b, [_, server]) = joined_at(63);
    let listener = b.inside(|| TcpListener::bind((&*server, 4711)).expect("the port is free"));
    let mut here = a.inside(|| TcpStream::connect((&*server, 4711)).expect("it listens"));
    let mut there = listener.accept().expect("somebody comes").0;
    let segments = || a.tcp_counter("InSegs") + b.tcp_counter("InSegs");
    let exchange = |here: &mut TcpStream, there: &mut TcpStream| {
        here.write_all(b"question").expect("it goes");
        there.read_exact(&mut [0; 8]).expect("it comes");
        there.write_all(b"answer").expect("it goes");
        here.read_exact(&mut [0; 6]).expect("it comes");
    };
    let quiet = |here: &TcpStream, there: &TcpStream| {
        let since = Instant::now();
        while unacknowledged(here) + unacknowledged(there) > 0 {
            assert!(since.elapsed() < PATIENCE, "it is never acknowledged");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    for peers in [&[][..], &["--peers", "true"]] {
        quiet(&here, &there);
        let before = segments();
        let run = started(&[&["tcprtt", "--address", "10.63.0.0/24"], peers].concat());
        (0..101).for_each(|_| exchange(&mut here, &mut there));
        quiet(&here, &there);
        let came = segments() - before;
        let output = ended(run);
        assert!(came >= 202, "{came}");
        let rows = output.table(0)["rows"].as_array().cloned().unwrap_or_default();
        let counted: u64 = rows.iter().filter_map(|row| row["value"]["n"].as_u64()).sum();
        assert_eq!(counted, came, "{output}");
        assert_eq!(rows.len(), if peers.is_empty() { 1 } else { 2 }, "{output}");
    }
}

/// With room for so many connections, and one more.
#[track_caller]
fn listen(network: &Namespace, address: (&str, u16), room: i32) -> TcpListener {
    let listener = network.inside(|| TcpListener::bind(address).expect("the port is free"));
    // SAFETY: changes the socket's own number.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), room) }, 0);
    listener
}

#[test]
fn synflood_tells_clients_that_are_silent_from_servers_that_are_slow() {
    privileged!();
    let (a, b, [client, server]) = joined_at(64);
    let _listeners = (listen(&b, (&server, 4711), 128), listen(&b, (&server, 4713), 3));
    let connect = |port: u16, patience: Duration| {
        let to = SocketAddr::new(server.parse().expect("an address"), port);
        a.inside(|| TcpStream::connect_timeout(&to, patience))
    };
    drop(connect(4711, PATIENCE).expect("it listens"));
    b.inside(|| std::fs::write("/proc/sys/net/ipv4/tcp_synack_retries", "2").expect("the network is ours"));
    let run = started(&["synflood"]);
    let before = b.tcp_counter("RetransSegs");
    // What the server answers goes to a card that nobody has; and the client gives up before it asks again.
    b.run(&format!("ip neigh replace {client} lladdr 02:00:00:00:00:77 nud permanent dev to_a"));
    for port in [4711, 4711, 4711, 4711, 4711, 4713, 4713, 4713] {
        connect(port, Duration::from_millis(1)).expect_err("no answer comes");
    }
    // Another client hears it, and fills a queue before its listener asks again.
    a.run("ip addr add 10.64.0.3/24 dev to_b");
    a.run(&format!("ip route add {server}/32 dev to_b src 10.64.0.3"));
    let taken: Vec<_> = (0..4).map(|_| connect(4713, PATIENCE).expect("there is room")).collect();
    let asked_again = || b.tcp_counter("RetransSegs") - before;
    let since = Instant::now();
    while asked_again() < 16 {
        assert!(since.elapsed() < PATIENCE, "{}", asked_again());
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = ended(run);
    drop(taken);
    let again = |sport: u64, full: u64| {
        let rows = output.table(0)["rows"].as_array().cloned().unwrap_or_default();
        let key = json!({ "saddr": server, "sport": sport, "queue_full": full });
        rows.iter().find(|row| row["key"] == key).and_then(|row| row["value"].as_u64()).unwrap_or(0)
    };
    assert_eq!((again(4711, 0), again(4711, 1), asked_again()), (2 * 5, 0, 16), "{output}");
    // A second after the SYN and two after that: where the first came before the queue was full, it is not.
    assert!(again(4713, 0) + again(4713, 1) == 2 * 3 && again(4713, 1) >= 3, "{output}");
}
