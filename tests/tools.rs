//! Scripts that stand for tools of BCC and bpftrace, on workloads of known size: programs with OpenSSL, pieces of memory,
//! files, sockets, locks.

use serde_json::{Value, json};
use skep_tests::machine::{Folder, here, program};
use skep_tests::workload::line;
use skep_tests::{Cgroup, Namespace, Output, Skep, Workload, c, privileged};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};

/// A script while a command does its work.
#[track_caller]
fn ran(script: &str, arguments: &[&str], command: &str) -> Output {
    let output = Skep::new(&["--format", "json", "run", script, "-c", command]).arguments(arguments).run().ok();
    assert_eq!(output.trust("lost"), 0, "{output}");
    output
}

/// Words of the first line that holds this.
#[track_caller]
fn words(output: &Output, part: &str) -> Vec<String> {
    let texts = output.texts();
    let line = texts.iter().find(|text| text.contains(part)).unwrap_or_else(|| panic!("no `{part}`\n{output}"));
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn calls_of_openssl_are_told_and_timed() {
    privileged!();
    let Some(python) = program("python3") else { return };
    let command = format!("{} {} 23", python.display(), here("workloads/tls.py").display());
    let output = ran("sslsnoop", &[], &command);
    for call in ["SSL_write_ex", "SSL_read_ex"] {
        let done = output.texts().iter().filter(|text| text.contains(call) && text.ends_with(" 1")).count();
        assert_eq!(done, 23, "{call}\n{output}");
    }
    let output = ran("sslsnoop", &["--handshakes", "true"], &command);
    let ended = |result: &str| output.texts().iter().filter(|text| text.ends_with(result)).count();
    assert!(ended(" 1") >= 2 && ended(" -1") >= 2, "both ends wait for each other first\n{output}");
    let output = ran("ssllatency", &[], &command);
    for call in ["SSL_write_ex", "SSL_read_ex"] {
        assert_eq!(words(&output, call)[1], "23", "{output}");
    }
}

#[test]
fn memory_that_is_not_given_back_is_told_by_its_chain() {
    privileged!();
    let folder = Folder::new();
    let source = include_str!("workloads/leak.c");
    let leak = c::program(&folder.0.display().to_string(), "leak", source, c::FRAMES);
    let output = ran("memleak", &[], &leak.display().to_string());
    let texts: Vec<String> = output.texts().iter().map(|text| text.trim().to_owned()).collect();
    for (bytes, pieces, function) in [("98.6KiB", 101, "leaks"), ("27.3KiB", 7, "grows"), ("6.73KiB", 23, "clears")] {
        let at = texts.iter().position(|text| *text == format!("{bytes} in {pieces} pieces"));
        let at = at.unwrap_or_else(|| panic!("no {bytes} of {function}\n{output}"));
        assert_eq!(texts[at + 2], function, "{output}");
    }
    assert!(!texts.iter().any(|text| text == "is_tidy"), "{output}");
}

#[test]
fn files_are_told_with_the_bytes_that_calls_moved() {
    privileged!();
    let folder = Folder::new();
    let file = folder.0.join("blocks").display().to_string();
    std::fs::write(&file, vec![b'x'; 128 * 4096]).expect("there is room");
    let output = ran("filetop", &[], &line(&format!("block 23 {file}")));
    assert_eq!(words(&output, &file)[1..], ["pread64", "23", "94208", &file], "{output}");
    // /dev/zero is no file.
    let output = ran("filetop", &[], &line("read 29 4241"));
    assert!(!output.texts().iter().any(|text| text.contains("/dev/zero")), "{output}");
    let output = ran("filetop", &["--all", "true"], &line("read 29 4241"));
    assert_eq!(words(&output, "/dev/zero")[1..4], ["read", "29", "122989"], "{output}");
}

#[test]
fn sockets_that_begin_to_listen_are_told_with_their_port() {
    privileged!();
    let output = ran("solisten", &[], &line("bind 41"));
    let events = output.objects("event");
    let own = |event: &&Value| event["fields"]["saddr"] == "127.0.0.1" && event["fields"]["sport"] != 0;
    assert_eq!((events.iter().filter(own).count(), events.len()), (41, 41), "{output}");
}

#[test]
fn data_waits_until_it_is_read() {
    privileged!();
    let network = Namespace::new();
    let run = Skep::new(&["--format", "json", "run", "tcppktlat", "--port", "4711"]).in_network(&network);
    let run = run.start().attached();
    network.inside(|| {
        let listener = TcpListener::bind("127.0.0.1:4711").expect("the port is free");
        let mut client = TcpStream::connect("127.0.0.1:4711").expect("somebody listens");
        let (mut server, _) = listener.accept().expect("somebody connects");
        for _ in 0..101 {
            client.write_all(b"question").expect("it is sent");
            server.read_exact(&mut [0; 8]).expect("it is received");
        }
    });
    let output = run.interrupt().ok();
    assert_eq!(output.value()["n"], 101, "{output}");
}

#[test]
fn heaviest_processes_are_told_by_events_bytes_and_time() {
    privileged!();
    let weight = |by: &str, comm: &str, verbs: &str| {
        let output = ran("heavyhitters", &["--by", by, "--top", "1000"], &line(verbs));
        let rows = output.table(0)["rows"].as_array().cloned().unwrap_or_default();
        let row = rows.iter().find(|row| row["key"]["comm"] == comm).unwrap_or_else(|| panic!("no {comm}\n{output}"));
        row["value"].as_u64().expect("a number")
    };
    // What its start takes is the same each time.
    let name = "skep-workload";
    assert_eq!(weight("events", name, "getpgid 1009") - weight("events", name, "getpgid 2"), 1007);
    assert_eq!(weight("bytes", name, "read 31 4241") - weight("bytes", name, "read 2 4241"), 29 * 4241);
    let spun = weight("cpu", "spins", "name spins spin 503");
    assert!((10_000_000..=600_000_000).contains(&spun), "{spun} ns of 503 ms, on a machine that others use too");
}

#[test]
fn heaviest_flows_are_told_by_packets_and_bytes() {
    privileged!();
    let (a, b) = (Namespace::new(), Namespace::new());
    Namespace::pair(&a, &b, "10.9.0.1/24", "10.9.0.2/24");
    for (by, weight) in [("packets", 1), ("bytes", 14 + 20 + 8 + 101)] {
        let run =
            Skep::new(&["--format", "json", "run", "heavyflows", "--interface", "to_a", "--by", by, "--top", "3"]);
        let run = run.in_network(&b).start().attached();
        a.inside(|| {
            for (port, datagrams) in [(4711, 211), (4713, 101), (4715, 23)] {
                let socket = UdpSocket::bind(("10.9.0.1", port)).expect("the port is free");
                for _ in 0..datagrams {
                    assert_eq!(socket.send_to(&[b'x'; 101], ("10.9.0.2", 9)).expect("it is sent"), 101);
                }
            }
        });
        let output = run.interrupt().ok();
        let row = |sport: u64, datagrams: u64| {
            let key =
                json!({ "protocol": "udp", "saddr": "10.9.0.1", "sport": sport, "daddr": "10.9.0.2", "dport": 9 });
            json!({ "key": key, "value": datagrams * weight })
        };
        assert_eq!(output.table(0)["rows"], json!([row(4711, 211), row(4713, 101), row(4715, 23)]), "{output}");
        assert_eq!(output.table(0)["lack"], 0, "{output}");
    }
}

#[test]
fn locks_that_are_waited_for_have_their_chain() {
    privileged!();
    let folder = Folder::new();
    let file = folder.file("shared", "");
    let run = Skep::new(&["--format", "json", "run", "klockstat", "--top", "1000"]).start().attached();
    // A file takes one writer at a time.
    std::thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                let mut file = std::fs::OpenOptions::new().write(true).open(&file).expect("it is there");
                (0..401).for_each(|_| file.write_all(&[b'x'; 65536]).expect("there is room"));
            });
        }
    });
    let output = run.interrupt().ok();
    let rows = output.table(0)["rows"].as_array().cloned().unwrap_or_default();
    let waits = |row: &&Value| row["key"]["kstack"].to_string().contains("down_write");
    let waited: u64 = rows.iter().filter(waits).filter_map(|row| row["value"]["n"].as_u64()).sum();
    assert!(waited > 0, "{output}");
}

/// Two networks; connections of the first to a server in the second, at addresses that nobody else uses.
#[track_caller]
fn connected(script: &[&str]) -> Output {
    let (a, b) = (Namespace::new(), Namespace::new());
    Namespace::pair(&a, &b, "198.51.100.1/24", "198.51.100.2/24");
    b.run("ip addr add 10.57.0.2/24 dev to_a");
    a.run("ip addr add 10.57.0.1/24 dev to_b");
    let run = Skep::new(&["--format", "json", "run"]).arguments(script).start().attached();
    let listener = b.inside(|| TcpListener::bind("0.0.0.0:4711").expect("the port is free"));
    a.inside(|| {
        for (address, times) in [("198.51.100.2:4711", 23), ("10.57.0.2:4711", 29)] {
            for _ in 0..times {
                drop(TcpStream::connect(address).expect("somebody listens"));
                drop(listener.accept().expect("somebody connects"));
            }
        }
    });
    run.interrupt().ok()
}

#[test]
fn connections_to_where_none_are_expected_are_told() {
    privileged!();
    let output = connected(&["egress", "--allow", "10.0.0.0/8,127.0.0.0/8"]);
    let to = |address: &str| output.objects("event").iter().filter(|event| event["fields"]["daddr"] == address).count();
    assert_eq!((to("198.51.100.2"), to("10.57.0.2")), (23, 0), "{output}");
}

#[test]
fn peers_are_told_once() {
    privileged!();
    let output = connected(&["newpeers"]);
    for (way, address) in [("to", "198.51.100.2"), ("from", "198.51.100.1"), ("to", "10.57.0.2"), ("from", "10.57.0.1")]
    {
        let texts = output.texts();
        let told =
            texts.iter().filter(|text| text.contains(&format!(" {way} ")) && text.contains(&format!(" {address} ")));
        assert_eq!(told.count(), 1, "{way} {address}\n{output}");
    }
}

#[test]
fn tasks_that_keep_a_processor_are_told() {
    privileged!();
    let run = Skep::new(&["--format", "json", "run", "cpubursts", "--ms", "17"]).start().attached();
    Workload::stopped("starve 23 19").go();
    let output = run.interrupt().ok();
    let events = output.objects("event");
    let bursts = events.iter().filter(|event| event["fields"]["comm"] == "tyrant").count();
    // Threads of the kernel that are still more urgent may cut one short.
    assert!((19..=23).contains(&bursts), "{bursts}\n{output}");
}

#[test]
fn life_of_a_control_group_is_told() {
    privileged!();
    let run = Skep::new(&["--format", "json", "run", "cgroupevents"]).start().attached();
    let group = Cgroup::new();
    let path = group.0.file_name().expect("it has a name").to_string_lossy().into_owned();
    Workload::stopped(&format!("join {}", group.0.display())).go();
    drop(group);
    let output = run.interrupt().ok();
    let told = |event: &str| {
        let texts = output.texts();
        texts.iter().filter(|text| text.contains(&format!(" {event} ")) && text.contains(&path)).count()
    };
    assert_eq!(["made", "entered", "removed"].map(told), [1, 1, 1], "{output}");
}
