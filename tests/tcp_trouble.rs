//! Trouble of TCP between namespaces of a test's own: accept queues that are full, segments that are sent again, connections
//! that are reset. What the scripts say of it is what the kernel counts there.

use serde_json::{Value, json};
use skep_tests::machine::here;
use skep_tests::skep::Running;
use skep_tests::{Namespace, Output, Skep, privileged};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

const SERVER: &str = "10.9.0.2";
const PORT: u16 = 4711;

/// Longer than anything that is done here: a run is interrupted.
const TIME: &str = "10m";

struct Link {
    client: Namespace,
    server: Namespace,
}

impl Link {
    fn new() -> Link {
        let link = Link { client: Namespace::new(), server: Namespace::new() };
        Namespace::pair(&link.client, &link.server, "10.9.0.1/24", "10.9.0.2/24");
        link
    }

    /// With room for so many connections, and one more.
    fn listen(&self, port: u16, room: i32) -> TcpListener {
        let listener = self.server.inside(|| TcpListener::bind((SERVER, port)).expect("the port is free"));
        // SAFETY: changes the socket's own number.
        assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), room) }, 0);
        listener
    }

    fn connect(&self, patience: Duration) -> std::io::Result<TcpStream> {
        let to: SocketAddr = (SERVER.parse::<std::net::IpAddr>().expect("an address"), PORT).into();
        self.client.inside(|| TcpStream::connect_timeout(&to, patience))
    }
}

/// A counter of /proc/net/netstat.
fn extended(namespace: &Namespace, name: &str) -> u64 {
    let text = namespace.inside(|| std::fs::read_to_string("/proc/thread-self/net/netstat").expect("/proc is mounted"));
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut both = names.split(' ').zip(values.split(' '));
    both.find(|(one, _)| *one == name).expect("there is such a counter").1.parse().expect("it is a number")
}

/// It has had its first look when it prints.
fn queues(network: &Namespace) -> Running {
    let run = Skep::new(&["--format", "json", "run", "acceptq"]).in_network(network);
    run.start().printed("accept queue full 0 times")
}

/// The finding that says `part`.
#[track_caller]
fn finding(output: &Output, part: &str) -> Value {
    let all = output.objects("finding");
    let found = all.into_iter().find(|one| one["text"].as_str().is_some_and(|text| text.contains(part)));
    found.unwrap_or_else(|| panic!("no finding says `{part}`\n{output}"))
}

fn trouble(network: &Namespace) -> Running {
    Skep::new(&["--format", "json", "run", "tcp-trouble", "--time", TIME]).in_network(network).start().attached()
}

#[test]
fn full_accept_queue_is_told_with_its_listener_and_whose_it_is() {
    privileged!();
    let link = Link::new();
    let (_full, _idle) = (link.listen(PORT, 3), link.listen(PORT + 1, 3));
    let runs = [queues(&link.server), trouble(&link.server)];
    let before = extended(&link.server, "ListenDrops");
    let taken: Vec<TcpStream> = (0..4).map(|_| link.connect(Duration::from_secs(30)).expect("there is room")).collect();
    for _ in 0..23 {
        link.connect(Duration::from_millis(100)).expect_err("there is no room");
    }
    let dropped = extended(&link.server, "ListenDrops") - before;
    assert!(dropped >= 23, "a SYN each, and what is sent again: {dropped}");
    let [queues, runbook] = runs.map(Running::interrupt);
    drop(taken);
    let rows: Vec<Vec<String>> = queues.texts().iter().map(|line| words(line)).filter(|row| row[1] == "4").collect();
    let [row] = rows.as_slice() else { panic!("one listener turned connections away\n{queues}") };
    let own = std::process::id().to_string();
    let ends = [PORT.to_string(), SERVER.to_owned()];
    assert_eq!(
        (&row[..4], &row[row.len() - 2..]),
        (&[dropped.to_string(), "4".into(), "3".into(), own][..], &ends[..])
    );
    let found = finding(&runbook, "an accept queue was full");
    assert_eq!(found["evidence"]["connections not taken"], json!(dropped), "{runbook}");
    assert_eq!(found["evidence"]["accept queue full"], json!(dropped), "{runbook}");
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn segments_that_are_sent_again_are_found() {
    privileged!();
    let link = Link::new();
    let object = here("fixtures/network/lossy.bpf.o").display().to_string();
    link.server.run("tc qdisc add dev to_a clsact");
    link.server.run(&format!("tc filter add dev to_a ingress bpf direct-action object-file {object} section tc"));
    let listener = link.listen(PORT, 128);
    let before = link.client.tcp_counter("RetransSegs");
    let run = trouble(&link.client);
    for _ in 0..5 {
        let mut here = link.connect(Duration::from_secs(30)).expect("it comes through");
        let (mut there, _) = listener.accept().expect("it is accepted");
        let reader = std::thread::spawn(move || there.read_to_end(&mut Vec::new()).expect("it is received"));
        here.write_all(&vec![b'a'; 200_003]).expect("it is sent");
        here.shutdown(Shutdown::Write).expect("its side ends");
        assert_eq!(reader.join().expect("it reads"), 200_003);
    }
    let output = run.interrupt();
    let again = link.client.tcp_counter("RetransSegs") - before;
    println!("{again} segments sent again");
    assert!(again >= 20, "the link loses: {again}");
    let found = finding(&output, "of TCP segments are sent again");
    let (counters, table) = (&found["evidence"][0], &found["evidence"][1]);
    assert_eq!((&found["level"], &counters["sent again"]), (&json!("warn"), &json!(again)), "{output}");
    let rows = table["rows"].as_array().cloned().unwrap_or_default();
    let own = |row: &&Value| row["key"]["daddr"] == SERVER && row["key"]["dport"] == PORT;
    assert!(rows.iter().any(|row| own(&row)), "{output}");
}

#[test]
fn connections_that_are_reset_are_found() {
    privileged!();
    let link = Link::new();
    let listener = link.listen(PORT, 128);
    let run = trouble(&link.client);
    let before = link.client.tcp_counter("EstabResets");
    // Ten a second are told of: a run that takes ten seconds, too.
    for _ in 0..101 {
        let mut here = link.connect(Duration::from_secs(30)).expect("there is room");
        let (there, _) = listener.accept().expect("it is accepted");
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: reads one structure.
        let set = unsafe {
            let option = (&raw const at_once).cast();
            libc::setsockopt(there.as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, option, size_of_val(&at_once) as u32)
        };
        assert_eq!(set, 0);
        drop(there);
        here.read(&mut [0]).expect_err("it is reset");
    }
    let output = run.interrupt();
    assert_eq!(link.client.tcp_counter("EstabResets") - before, 101);
    let found = finding(&output, "TCP connections are reset a second");
    assert_eq!(found["evidence"]["connections reset"], json!(101), "{output}");
}
