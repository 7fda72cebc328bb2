//! Connections of a test's own namespaces: lives, failures, resets, losses and edges, each counted exactly.

use serde_json::{Value, json};
use skep_tests::machine::{Folder, here, program};
use skep_tests::{Namespace, Output, Skep, privileged};
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;

const PORT: u16 = 4711;
/// Nobody listens there.
const CLOSED: u16 = 4799;

/// A client's namespace and a server's, joined.
struct Link {
    client: Namespace,
    server: Namespace,
}

const SERVER: &str = "10.9.0.2";
const SERVER_V6: &str = "fd00:9::2";

impl Link {
    fn new() -> Link {
        let link = Link { client: Namespace::new(), server: Namespace::new() };
        Namespace::pair(&link.client, &link.server, "10.9.0.1/24", "10.9.0.2/24");
        link
    }

    /// Runs a script that has CLIENT and SERVER for the namespaces' numbers, while `work` is done.
    #[track_caller]
    fn watched(&self, script: &str, work: impl FnOnce()) -> Output {
        let script = script
            .replace("CLIENT", &self.client.number().to_string())
            .replace("SERVER", &self.server.number().to_string());
        let run = Skep::script(&script).start().attached();
        work();
        let output = run.interrupt().ok();
        assert_eq!(output.trust("lost"), 0, "{output}");
        output
    }

    fn listen(&self, address: &str) -> TcpListener {
        let address = SocketAddr::new(address.parse::<IpAddr>().expect("an address"), PORT);
        self.server.inside(|| TcpListener::bind(address).expect("a listener"))
    }

    /// `count` connections, one after the other; each end sends, then ends its side, and sees the other's end.
    fn converse(&self, listener: &TcpListener, to: &str, count: usize, sends: usize, answers: usize) {
        let to = SocketAddr::new(to.parse().expect("an address"), PORT);
        for _ in 0..count {
            let mut here = self.client.inside(|| TcpStream::connect(to).expect("a connection"));
            let (mut there, _) = listener.accept().expect("it is accepted");
            let serve = std::thread::spawn(move || {
                let mut all = Vec::new();
                there.read_to_end(&mut all).expect("it is received");
                there.write_all(&vec![b'b'; answers]).expect("it is sent");
                // Another test may be starting a process, which has this socket too for a moment, and would close it last.
                there.shutdown(Shutdown::Write).expect("its side ends");
                all.len()
            });
            here.write_all(&vec![b'a'; sends]).expect("it is sent");
            here.shutdown(Shutdown::Write).expect("its side ends");
            let mut all = Vec::new();
            here.read_to_end(&mut all).expect("it is received");
            assert_eq!((serve.join().expect("it serves"), all.len()), (sends, answers));
        }
    }

    /// Connections that fail.
    fn refused(&self, count: usize) {
        let to: SocketAddr = format!("{SERVER}:{CLOSED}").parse().expect("an address");
        self.client.inside(|| (0..count).for_each(|_| drop(TcpStream::connect(to).expect_err("nobody listens"))));
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

#[test]
fn lives_of_23_connections_have_both_ends_and_exact_bytes() {
    privileged!();
    let link = Link::new();
    for (listen, to) in [("0.0.0.0", SERVER), ("::", SERVER_V6), ("::", "::ffff:10.9.0.2")] {
        let shown = to.trim_start_matches("::ffff:");
        let script = format!(
            r#"
            let life = |netns| template("tcp_life", #{{ netns: netns, port: {PORT} }});
            life.call(CLIENT).by(role, daddr, dport, tx, rx, error, retransmits).count();
            life.call(SERVER).by(role, saddr, sport, tx, rx, error, retransmits).count();
            life.call(SERVER).by(task_pid).count();
            life.call(CLIENT).filter(elapsed > 0 and connect > 0 and srtt > 0 and srtt < 1_000_000_000).by(task_pid).count();
            "#
        );
        let output = link.watched(&script, || {
            let listener = link.listen(listen);
            link.converse(&listener, to, 23, 1009, 101);
        });
        let rows = |n: usize| output.table(n)["rows"].as_array().cloned().unwrap_or_default();
        for (n, role, address, port, tx, rx) in
            [(0, "client", "daddr", "dport", 1009, 101), (1, "server", "saddr", "sport", 101, 1009)]
        {
            let wanted =
                json!({ "role": role, address: shown, port: PORT, "tx": tx, "rx": rx, "error": "0", "retransmits": 0 });
            assert_eq!(rows(n), [json!({ "key": wanted, "value": 23 })], "{output}");
        }
        for n in [2, 3] {
            assert_eq!(rows(n), [json!({ "key": { "task_pid": std::process::id() }, "value": 23 })], "{output}");
        }
    }
}

#[test]
fn lives_are_chosen_by_every_parameter() {
    privileged!();
    let link = Link::new();
    let own = std::process::id();
    let file = link.server.file().display().to_string();
    let settings = [
        (format!("netns: CLIENT, port: {PORT}"), 23),
        (format!("netns: CLIENT, port: {CLOSED}"), 0),
        (format!("netns: \"{file}\""), 23),
        ("netns: CLIENT, address: \"10.9.0.0/24\"".to_owned(), 23),
        ("netns: CLIENT, address: \"10.9.0.2\"".to_owned(), 23),
        ("netns: CLIENT, address: \"10.9.0.3\"".to_owned(), 0),
        ("netns: CLIENT, address: \"fd00::/8\"".to_owned(), 0),
        (format!("netns: SERVER, process: {own}"), 23),
        ("netns: SERVER, process: 1".to_owned(), 0),
        ("netns: SERVER, least: \"1ns\"".to_owned(), 23),
        ("netns: SERVER, least: \"10m\"".to_owned(), 0),
    ];
    let chains = settings.iter().map(|(setting, _)| format!("template(\"tcp_life\", #{{ {setting} }}).count();\n"));
    let output = link.watched(&chains.collect::<String>(), || {
        let listener = link.listen("0.0.0.0");
        link.converse(&listener, SERVER, 23, 7, 11);
    });
    for (n, (setting, wanted)) in settings.iter().enumerate() {
        let rows = output.table(n)["rows"].as_array().cloned().unwrap_or_default();
        assert_eq!(rows.first().map_or(0, |row| number(&row["value"])), *wanted, "{setting}\n{output}");
    }
}

#[test]
fn refused_connections_are_failures_and_resets() {
    privileged!();
    let link = Link::new();
    let script = r#"
        template("tcp_connect", #{ netns: CLIENT }).by(daddr, dport, error).count();
        template("tcp_reset", #{ netns: CLIENT }).by(kind, daddr, dport, state).count();
        template("tcp_reset", #{ netns: SERVER }).by(kind, saddr, sport, reason).count();
        template("tcp_life", #{ netns: CLIENT }).count();
    "#;
    let output = link.watched(script, || link.refused(23));
    let rows = |n: usize| output.table(n)["rows"].as_array().cloned().unwrap_or_default();
    let failed = json!({ "daddr": SERVER, "dport": CLOSED, "error": "ECONNREFUSED" });
    assert_eq!(rows(0), [json!({ "key": failed, "value": 23 })], "{output}");
    let received = json!({ "kind": "received", "daddr": SERVER, "dport": CLOSED, "state": "SYN_SENT" });
    assert_eq!(rows(1), [json!({ "key": received, "value": 23 })], "{output}");
    let sent = json!({ "kind": "sent", "saddr": SERVER, "sport": CLOSED, "reason": "NO_SOCKET" });
    assert_eq!(rows(2), [json!({ "key": sent, "value": 23 })], "{output}");
    assert_eq!(rows(3), Vec::<Value>::new(), "what was never established is no life\n{output}");
}

#[test]
fn datagrams_to_a_closed_port_are_drops_of_a_named_reason() {
    privileged!();
    let link = Link::new();
    let script = r#"
        let drops = template("drops", #{ netns: SERVER });
        drops.by(reason, protocol, saddr, daddr, dport, ifname, size).count();
        template("drops", #{ netns: SERVER }).filter(reason == "NO_SOCKET").by(location).count();
        template("drops", #{ netns: SERVER }).filter(reason == "NO_SOCKET").by(kstack).count();
    "#;
    let output = link.watched(script, || {
        link.client.inside(|| {
            for (own, to) in [("10.9.0.1", SERVER), ("fd00:9::1", SERVER_V6)] {
                let socket = UdpSocket::bind((own, 0)).expect("a socket");
                // Until it is connected nobody tells it that nobody is there.
                let to = SocketAddr::new(to.parse().expect("an address"), CLOSED);
                (0..23).for_each(|_| assert_eq!(socket.send_to(b"elevenbytes", to).expect("it is sent"), 11));
            }
        });
    });
    let rows = output.table(0)["rows"].as_array().cloned().unwrap_or_default();
    for (from, to, size) in [("10.9.0.1", SERVER, 8 + 11), ("fd00:9::1", SERVER_V6, 8 + 11)] {
        let wanted = |row: &&Value| row["key"]["saddr"] == from && row["key"]["reason"] == "NO_SOCKET";
        let row = rows.iter().find(wanted).unwrap_or_else(|| panic!("no drop of {from}\n{output}"));
        let key = &row["key"];
        assert_eq!((&key["daddr"], &key["dport"], &key["protocol"]), (&json!(to), &json!(CLOSED), &json!("udp")));
        assert_eq!((&key["ifname"], &row["value"]), (&json!("to_a"), &json!(23)), "{output}");
        assert!(number(&key["size"]) >= size, "{output}");
    }
    let functions: Vec<String> = output.table(1)["rows"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| row["key"]["location"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert!(functions.len() == 2 && functions.iter().all(|name| name.contains("udp")), "{functions:?}");
    let stack = output.table(2).to_string();
    assert!(stack.contains("udp") && stack.contains("ip_local_deliver"), "{stack}");
}

/// Compiles the link's lossy program; `None` where there is no clang.
fn compiled(into: &Folder) -> Option<Vec<u8>> {
    let (clang, strip) = (program("clang-19")?, program("llvm-strip-19")?);
    let object = into.0.join("lossy.bpf.o");
    let flags = "-target bpf -mcpu=v3 -g -O2 -Wall -Wextra -Werror -fdebug-compilation-dir=. -Iinclude";
    let mut compile = Command::new(clang);
    compile.current_dir(here("../ebpf-templates/bpf")).args(flags.split(' '));
    compile.args(["-c", "../../tests/fixtures/network/lossy.bpf.c", "-o"]).arg(&object);
    assert!(compile.status().is_ok_and(|status| status.success()), "{compile:?}");
    assert!(Command::new(strip).arg("-g").arg(&object).status().is_ok_and(|status| status.success()));
    Some(std::fs::read(object).expect("clang wrote it"))
}

#[test]
fn lossy_link_is_what_its_source_compiles_to() {
    let scratch = Folder::new();
    let Some(compiled) = compiled(&scratch) else { return };
    let object = here("fixtures/network/lossy.bpf.o");
    if std::env::var_os("SKEP_BLESS").is_some_and(|value| value == "1") {
        return std::fs::write(object, compiled).expect("the object can be written");
    }
    assert!(std::fs::read(object).is_ok_and(|bytes| bytes == compiled), "it drifted (SKEP_BLESS=1 rewrites it)");
}

#[test]
fn retransmits_of_a_lossy_link_are_those_that_the_kernel_counts() {
    privileged!();
    let link = Link::new();
    let object = here("fixtures/network/lossy.bpf.o").display().to_string();
    link.server.run("tc qdisc add dev to_a clsact");
    link.server.run(&format!("tc filter add dev to_a ingress bpf direct-action object-file {object} section tc"));
    let script = r#"
        template("tcp_retransmit", #{ netns: CLIENT }).by(kind).sum(segments);
        template("tcp_retransmit", #{ netns: CLIENT, address: "10.9.0.2" }).by(daddr, dport, state).sum(segments);
        template("drops", #{ netns: SERVER }).filter(protocol == "tcp" and reason == "TC_INGRESS").by(dport).count();
        template("tcp_life", #{ netns: CLIENT }).by(role, tx, rx).sum(retransmits);
        template("service_map", #{ netns: CLIENT, every: 0 }).by(client, server, server_port).sum(retransmits);
        template("service_map", #{ netns: CLIENT, every: 0 }).by(client, server, server_port).sum(to_server);
        template("service_map", #{ netns: CLIENT, every: "1ms" }).by(server).sum(opened);
        template("service_map", #{ netns: CLIENT, every: "1ms" }).by(server).sum(to_server);
        template("service_map", #{ netns: CLIENT, every: "1ms" }).by(server).sum(segments);
        template("tcp_life", #{ netns: CLIENT }).by(role).sum(segments);
    "#;
    let (before, all_before) = (link.client.tcp_counter("RetransSegs"), link.client.tcp_counter("OutSegs"));
    let output = link.watched(script, || {
        let listener = link.listen("0.0.0.0");
        link.converse(&listener, SERVER, 23, 30_011, 101);
    });
    let counted = link.client.tcp_counter("RetransSegs") - before;
    // The kernel counts those apart that it sends again.
    let all = counted + link.client.tcp_counter("OutSegs") - all_before;
    let sum = |n: usize| -> u64 {
        output.table(n)["rows"].as_array().into_iter().flatten().map(|row| number(&row["value"])).sum()
    };
    println!("{counted} segments sent again, {} packets lost: {}", sum(2), output.table(0));
    assert!(counted >= 3 && sum(2) >= 3, "the link loses\n{output}");
    for n in [0, 1, 3, 4] {
        assert_eq!(sum(n), counted, "table {n}\n{output}");
    }
    assert_eq!(output.table(3)["rows"][0]["key"], json!({ "role": "client", "tx": 30_011, "rx": 101 }), "{output}");
    assert_eq!([sum(5), sum(6), sum(7)], [23 * 30_011, 23, 23 * 30_011], "{output}");
    // What answers for a connection that is over is no socket any more: an acknowledgement for each FIN that comes again.
    for n in [8, 9] {
        assert!(sum(n) <= all && 100 * sum(n) >= 95 * all, "table {n}: of {all}\n{output}");
    }
}
