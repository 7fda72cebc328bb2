//! `skep observe` on what happens: flows of known workloads, in networks of the tests' own, exactly.

use serde_json::Value;
use skep_tests::frames::{self, IPV4, IPV6, SCTP, TCP, UDP, Wire, ethernet, ipv4, ipv6, tagged, tcp, udp};
use skep_tests::machine::Folder;
use skep_tests::network::Namespace;
use skep_tests::skep::Running;
use skep_tests::{Cgroup, Output, Skep, hubble, privileged};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};

/// Two namespaces, joined: `a` is the client, `b` is looked at.
fn joined() -> (Namespace, Namespace) {
    let (a, b) = (Namespace::new(), Namespace::new());
    Namespace::pair(&a, &b, "10.9.0.1/24", "10.9.0.2/24");
    (a, b)
}

#[track_caller]
fn observe(network: &Namespace, words: &[&str]) -> Running {
    Skep::new(&["observe"]).arguments(words).in_network(network).start().attached()
}

/// Frames out of `a`, each so many times.
fn send(from: &Namespace, frames: &[(Vec<u8>, usize)]) {
    from.inside(|| {
        let wire = Wire::out_of("to_b");
        for (frame, times) in frames {
            (0..*times).for_each(|_| assert!(wire.send(frame), "the interface takes it"));
        }
    });
}

/// A datagram from port 1009 to 53, as a frame for everybody: nobody answers it.
fn datagram() -> Vec<u8> {
    ethernet(IPV4, &ipv4(UDP, 0, &[], &udp(1009, 53, b"skep")))
}

/// Datagrams that are sent by a socket, from a port of its own.
fn datagrams(from: &Namespace, count: usize, to: &str) {
    let socket = from.inside(|| UdpSocket::bind("10.9.0.1:1009").expect("the port is free"));
    for _ in 0..count {
        // Nobody listens: the second one hears of it.
        let _refused = socket.send_to(b"skep", to);
    }
}

/// Connections on which a question is answered, one after the other.
fn connections(a: &Namespace, b: &Namespace, count: usize) {
    let server = b.inside(|| TcpListener::bind("10.9.0.2:80").expect("the port is free"));
    let client = || {
        for _ in 0..count {
            let mut stream = a.inside(|| TcpStream::connect("10.9.0.2:80").expect("it listens"));
            stream.write_all(b"?").expect("it goes");
            assert_eq!(stream.read(&mut [0; 8]).expect("it comes"), 1);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(client);
        for _ in 0..count {
            let (mut stream, _) = server.accept().expect("somebody comes");
            assert_eq!(stream.read(&mut [0; 8]).expect("it comes"), 1);
            stream.write_all(b"!").expect("it goes");
            // The client ends it.
            let _end = stream.read(&mut [0; 8]);
        }
    });
}

/// The flows of JSON lines, all of them as protobuf would write them.
#[track_caller]
fn flows(output: &Output) -> Vec<Value> {
    if let Some(count) = hubble::decode(&output.out) {
        assert_eq!(count, output.out.lines().count());
    }
    output.json().into_iter().filter(|line| line["flow"].is_object()).map(|line| line["flow"].clone()).collect()
}

fn count(flows: &[Value], is: impl Fn(&Value) -> bool) -> usize {
    flows.iter().filter(|flow| is(flow)).count()
}

/// The counts of the trust line: seen, filtered, delivered, lost.
#[track_caller]
fn trust(output: &Output) -> [u64; 4] {
    let line = output.err.lines().find(|line| line.starts_with("trust: ")).unwrap_or_else(|| panic!("{output}"));
    ["seen", "filtered", "delivered", "lost"].map(|word| {
        let part = line["trust: ".len()..].split(", ").find(|part| part.split(' ').nth(1) == Some(word));
        let number = part.and_then(|part| part.split(' ').next()).map(|number| number.replace(',', ""));
        number.map_or(0, |number| number.parse().unwrap_or_else(|_| panic!("{line}")))
    })
}

#[test]
fn every_form_and_hook_shows_each_datagram() {
    privileged!();
    let (a, b) = joined();
    let folder = Folder::new();
    let file = |name: &str| folder.0.join(name).display().to_string();
    let words = ["-i", "to_a", "--drops", "never", "--from-ip", "10.9.0.1", "--to-port", "53"];
    let forms: &[&[&str]] = &[
        &["-o", "compact"],
        &["-o", "compact", "--hook", "xdp"],
        &["-o", "table"],
        &["-o", "dict", "--numeric", "--direction", "ingress"],
        &["-o", "json", "--metrics", &file("flows.prom"), "--map", &file("map.dot")],
        &["-o", "summary", "--map", &file("map.html")],
        &["-o", "compact", "--last", "5"],
        &["--summary", "--direction", "egress"],
    ];
    let runs: Vec<Running> = forms.iter().map(|form| observe(&b, &[&words[..], form].concat())).collect();
    let first = observe(&b, &[&words[..], &["--first", "3"]].concat());
    send(&a, &[(datagram(), 23)]);
    let first = first.end().ok();
    assert_eq!(first.out.lines().count(), 3, "{first}");
    let ends: Vec<Output> = runs.into_iter().map(|run| run.interrupt().ok()).collect();
    let line = "10.9.0.1:1009 (world) -> 10.9.0.2:53 (host) from-network TRACED (UDP)";
    for (form, output) in forms.iter().zip(&ends).take(2) {
        assert_eq!(output.out.lines().filter(|one| one.ends_with(line)).count(), 23, "{form:?}: {output}");
        assert_eq!(trust(output)[2..], [23, 0], "{output}");
        assert!(output.err.ends_with("\n23 flows (23 TRACED), 0 events lost\n"), "{output}");
    }
    assert_eq!(ends[2].out.lines().count(), 1 + 23, "{}", ends[2]);
    assert_eq!(ends[3].out.matches("SOURCE: 10.9.0.1:1009\n").count(), 23, "{}", ends[3]);
    let told = flows(&ends[4]);
    assert_eq!(count(&told, |flow| flow["interface"]["name"] == "to_a" && flow["is_reply"] == false), 23);
    let metrics = std::fs::read_to_string(file("flows.prom")).expect("it was written");
    assert!(
        metrics.lines().any(|line| line.contains("hubble_flows_processed_total{") && line.ends_with(" 23")),
        "{metrics}"
    );
    let map = std::fs::read_to_string(file("map.dot")).expect("it was written");
    assert!(map.contains("23 events"), "{map}");
    assert!(std::fs::read_to_string(file("map.html")).is_ok_and(|page| page.contains("23 events")));
    assert!(ends[5].out.contains("10.9.0.1  10.9.0.2  UDP 53     23"), "{}", ends[5]);
    assert_eq!(ends[6].out.lines().count(), 5, "{}", ends[6]);
    assert_eq!(ends[7].out, "\n0 flows\n", "{}", ends[7]);
}

#[test]
fn connections_have_clients_and_answers() {
    privileged!();
    let (a, b) = joined();
    let folder = Folder::new();
    let map = folder.0.join("map.prom").display().to_string();
    let run = observe(&b, &["-o", "json", "--port", "80"]);
    let summary = observe(&b, &["-o", "summary", "--port", "80", "--map", &map]);
    connections(&a, &b, 7);
    // The last acknowledgement, and that nobody waits for.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let (output, summary) = (run.interrupt().ok(), summary.interrupt().ok());
    let flows = flows(&output);
    let has = |flow: &Value, flag: &str| flow["l4"]["TCP"]["flags"][flag] == true;
    let syn = |flow: &Value| has(flow, "SYN");
    assert_eq!(count(&flows, |flow| syn(flow) && !has(flow, "ACK") && flow["is_reply"] == false), 7, "{output}");
    assert_eq!(count(&flows, |flow| syn(flow) && has(flow, "ACK") && flow["is_reply"] == true), 7, "{output}");
    assert_eq!(count(&flows, |flow| has(flow, "FIN")), 14, "{output}");
    let of_client = |flow: &Value| flow["IP"]["source"] == "10.9.0.1";
    assert_eq!(count(&flows, |flow| of_client(flow) == (flow["is_reply"] == false)), flows.len(), "{output}");
    assert_eq!(count(&flows, |flow| of_client(flow) == (flow["traffic_direction"] == "INGRESS")), flows.len());
    let world = |flow: &Value| flow["source"]["labels"][0] == "reserved:world";
    assert_eq!(count(&flows, |flow| of_client(flow) == world(flow)), flows.len(), "{output}");
    let row = |head: &str| {
        let mut lines = summary.out.lines().skip_while(|line| !line.starts_with("client") || !line.contains(head));
        lines.nth(1).map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).unwrap_or_default()
    };
    let (packets, number) = (row("flows"), flows.len().to_string());
    assert_eq!(packets, ["10.9.0.1", "10.9.0.2", "TCP", "80", number.as_str(), "7", "0"], "{summary}");
    let ended = row("ended");
    assert_eq!(ended[..8], ["10.9.0.1", "10.9.0.2", "TCP", "80", "7", "7B", "7B", "0"], "{summary}");
    assert!(ended[8].parse::<f64>().is_ok_and(|time| time < 1000.0), "{summary}");
    assert!(std::fs::read_to_string(&map).is_ok_and(|text| text.contains("10.9.0.1")), "{summary}");
}

#[test]
fn drops_have_the_kernels_reason_and_ciliums_where_both_mean_the_same() {
    privileged!();
    let (a, b) = joined();
    b.run("nft add table ip skep");
    b.run("nft add chain ip skep in { type filter hook input priority 0 ; }");
    b.run("nft add rule ip skep in udp dport 4711 drop");
    let runs = [&["-o", "json", "--ip", "10.9.0.1"][..], &["--verdict", "DROPPED", "--to-ip", "10.9.0.2"]];
    let [all, drops] = runs.map(|words| observe(&b, words));
    datagrams(&a, 11, "10.9.0.2:9999");
    datagrams(&a, 13, "10.9.0.2:4711");
    for _ in 0..5 {
        a.inside(|| TcpStream::connect("10.9.0.2:4799").expect_err("nobody listens"));
    }
    let (all, drops) = (all.interrupt().ok(), drops.interrupt().ok());
    let flows = flows(&all);
    let dropped = |reason: &str, kernel: &str, port: u16, protocol: &str| {
        count(&flows, |flow| {
            flow["verdict"] == "DROPPED"
                && flow["drop_reason_desc"].as_str().unwrap_or_default() == reason
                && flow["extensions"]["value"]["skb_drop_reason"] == kernel
                && flow["l4"][protocol]["destination_port"] == port
                && flow["traffic_direction"] == "INGRESS"
                && flow["interface"]["name"] == "to_a"
        })
    };
    assert_eq!(dropped("", "NO_SOCKET", 9999, "UDP"), 11, "{all}");
    assert_eq!(dropped("POLICY_DENIED", "NETFILTER_DROP", 4711, "UDP"), 13, "{all}");
    assert_eq!(dropped("", "NO_SOCKET", 4799, "TCP"), 5, "{all}");
    let port = |flow: &Value| flow["l4"]["UDP"]["destination_port"].as_u64();
    let passed = |flow: &Value| flow["verdict"] == "TRACED" && matches!(port(flow), Some(4711 | 9999));
    assert_eq!(count(&flows, passed), 11 + 13, "{all}");
    // What cannot be wanted is not looked at.
    assert!(!drops.err.contains("`flows`") && drops.err.contains("`drops`"), "{drops}");
    assert_eq!(drops.out.lines().count(), 11 + 13 + 5, "{drops}");
    assert_eq!(drops.out.matches(" Policy denied DROPPED (UDP)").count(), 13, "{drops}");
    assert_eq!(drops.out.matches(" NO_SOCKET DROPPED (TCP Flags: SYN)").count(), 5, "{drops}");
    assert!(drops.err.ends_with("29 flows (29 DROPPED), 0 events lost\n"), "{drops}");
}

#[test]
fn filters_pass_the_same_in_the_kernel_as_here() {
    privileged!();
    let (a, b) = joined();
    let inner = ethernet(IPV6, &ipv6(TCP, &tcp(1019, 443, 2, &[])));
    let outer = |content: &[u8]| ethernet(IPV4, &ipv4(UDP, 0, &[], content));
    let bare = ipv4(UDP, 0, &[], &udp(1031, 53, b"skep"));
    let frames = [
        (ethernet(IPV4, &ipv4(TCP, 0, &[], &tcp(1009, 443, 2, &[]))), 3),
        (ethernet(IPV4, &ipv4(TCP, 0, &[], &tcp(443, 1009, 0x10, &[]))), 5),
        (datagram(), 7),
        (ethernet(IPV6, &ipv6(TCP, &tcp(1019, 443, 2, &[]))), 11),
        (ethernet(IPV6, &ipv6(UDP, &udp(1021, 53, &[]))), 13),
        (ethernet(IPV4, &ipv4(SCTP, 0, &[], &udp(1031, 36412, &[0; 16]))), 2),
        (ethernet(IPV4, &ipv4(UDP, 4, &[], &udp(1009, 53, &[7; 24]))), 17),
        (outer(&frames::vxlan(4711, &inner)), 19),
        (outer(&frames::geneve(7, 0, IPV4, &bare)), 23),
        (ethernet(0x88b5, &[7; 46]), 29),
        (tagged(&[(0x8100, 7)], IPV4, &ipv4(TCP, 0, &[], &tcp(1009, 80, 2, &[]))), 31),
    ];
    let filters: &[(&[&str], bool)] = &[
        (&["--port", "443"], true),
        (&["--ip", "10.9.0.1"], true),
        (&["--to-ip", "fd00:9::/64", "--protocol", "tcp"], true),
        (&["--not", "--port", "443"], true),
        (&["--not", "--ip", "0.0.0.0/0"], true),
        (&["-6"], true),
        (&["--ip-version", "none"], false),
        (&["--not", "--protocol", "udp"], true),
        (&["--tcp-flags", "SYN", "--traffic-direction", "ingress"], true),
        (&["--port", "50-500", "--not", "--from-port", "1009"], true),
        (&["--denylist", r#"{"protocol":["tcp"],"ip_version":["IPv6"]}"#], true),
        (&["--allowlist", r#"{"protocol":["sctp"]}{"source_port":["1031"]}"#], true),
        (&["--protocol", "icmpv4"], true),
        (&["--to-identity", "host"], false),
    ];
    let words = ["-i", "to_a", "--direction", "ingress", "--drops", "never", "-o", "json"];
    let all = observe(&b, &words);
    let runs: Vec<Running> = filters.iter().map(|(filter, _)| observe(&b, &[&words[..], filter].concat())).collect();
    send(&a, &frames);
    // What the kernels ask each other is none of it.
    let ours = |text: &str| text.lines().filter(|line| !line.contains("ICMPv6")).count();
    let all = all.interrupt().ok();
    assert_eq!(ours(&all.out), frames.iter().map(|(_, times)| times).sum::<usize>(), "{all}");
    flows(&all);
    let folder = Folder::new();
    let file = folder.file("all.json", &all.out);
    for ((filter, in_kernel), run) in filters.iter().zip(runs) {
        let live = run.interrupt().ok();
        let here = Skep::new(&["observe", "--input-file", &file, "-o", "json"]).arguments(filter).run().ok();
        assert_eq!(ours(&live.out), ours(&here.out), "{filter:?}: {live}");
        assert_eq!(live.err.contains("in kernel"), *in_kernel, "{live}");
        let [seen, filtered, delivered, lost] = trust(&live);
        assert_eq!((seen - filtered, lost), (delivered, 0), "{live}");
        // All that was asked for was asked in the kernel.
        if *in_kernel {
            assert_eq!(delivered as usize, live.out.lines().count(), "{filter:?}: {live}");
        }
    }
}

#[test]
fn inventory_names_both_ends() {
    privileged!();
    let (a, b) = joined();
    let folder = Folder::new();
    let client = a.file().display().to_string();
    let inventory = folder.file(
        "endpoints.yaml",
        &format!(
            "endpoints:\n- {{name: cart, namespace: shop, labels: {{app: cart}}, match: {{netns: {client}}}}}\n\
             - {{name: web, namespace: shop, labels: {{app: web}}, match: {{ip: 10.9.0.2}}}}\n"
        ),
    );
    let words = ["--inventory", &inventory, "--drops", "never", "--to-port", "53"];
    let runs = [&["--from-pod", "shop/cart"][..], &["-l", "app=web", "-o", "json"], &["--from-label", "app=web"]];
    let [pods, labels, none] = runs.map(|filter| observe(&b, &[&words[..], filter].concat()));
    send(&a, &[(datagram(), 13)]);
    let [pods, labels, none] = [pods, labels, none].map(|run| run.interrupt().ok());
    assert_eq!(pods.out.lines().count(), 13, "{pods}");
    assert!(pods.out.contains(": shop/cart:1009 (ID:") && pods.out.contains("-> shop/web:53 (ID:"), "{pods}");
    let flows = flows(&labels);
    assert_eq!(count(&flows, |flow| flow["destination"]["labels"][0] == "k8s:app=web"), 13, "{labels}");
    assert_eq!(none.out, "", "{none}");
    let broken = folder.file("broken.yaml", "endpoints:\n- {name: web, match: {ip: 10.9.0.300}}\n");
    let output = Skep::new(&["observe", "--inventory", &broken]).in_network(&b).run().status_is(1);
    assert!(
        output.err.starts_with("error: `10.9.0.300` is no address\n --> ") && output.err.contains(":2:27"),
        "{output}"
    );
}

#[test]
fn sockets_of_a_cgroup_are_its_own() {
    privileged!();
    let (a, b) = joined();
    let group = Cgroup::new();
    let path = group.0.display().to_string();
    let run = observe(&a, &["--cgroup", &path, "-o", "json", "--to-port", "9999"]);
    // Python is not everywhere; a shell that moves itself is.
    let line =
        format!("echo $$ > {path}/cgroup.procs; for n in 1 2 3 4 5; do echo skep > /dev/udp/10.9.0.2/9999; done");
    let mut shell = a.command("bash");
    assert!(shell.args(["-c", &line]).stderr(std::process::Stdio::null()).status().is_ok());
    datagrams(&a, 7, "10.9.0.2:9999");
    let output = run.interrupt().ok();
    let flows = flows(&output);
    assert!(output.err.contains("`flows` to 2 attach points") && !output.err.contains("`drops`"), "{output}");
    let number = std::fs::metadata(&group.0).map(|folder| std::os::unix::fs::MetadataExt::ino(&folder));
    let number = number.expect("it is there").to_string();
    assert_eq!(count(&flows, |flow| flow["cgroup_id"] == number.as_str()), 5, "{output}");
    assert_eq!(flows.len(), 5, "{output}");
    drop(b);
}

#[test]
fn flood_is_seen_or_counted_as_lost() {
    privileged!();
    const SENT: usize = 100_003;
    let (a, b) = joined();
    let words = ["-i", "to_a", "--direction", "ingress", "--drops", "never", "--to-port", "53", "--ring", "64K"];
    let run = observe(&b, &[&words[..], &["-o", "json"]].concat());
    let strict = observe(&b, &[&words[..], &["-o", "summary", "--strict"]].concat());
    send(&a, &[(datagram(), SENT)]);
    let output = run.interrupt().ok();
    let flows = output.out.lines().filter(|line| line.starts_with("{\"flow\":{")).count();
    let lines: Vec<&str> = output.out.lines().filter(|line| line.starts_with("{\"lost_events\":{")).collect();
    let lost: usize = lines
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).expect("it is JSON"))
        .map(|line| line["lost_events"]["num_events_lost"].as_str().and_then(|count| count.parse().ok()).unwrap_or(0))
        .sum();
    let [seen, filtered, delivered, of_trust] = trust(&output);
    assert_eq!(flows + lost, SENT, "{} {}", output.line, output.err);
    assert_eq!((seen - filtered, delivered, of_trust), (SENT as u64, flows as u64, lost as u64), "{}", output.err);
    assert!(lost > 0, "64 KiB hold fewer: {}", output.err);
    let some: Vec<&str> = output.out.lines().take(499).chain(lines).collect();
    hubble::decode(&some.join("\n"));
    strict.interrupt().status_is(3);
}

#[test]
fn run_ends_when_every_interface_is_gone() {
    privileged!();
    let (a, b) = joined();
    let run = observe(&b, &["-i", "to_a", "--to-port", "53"]);
    send(&a, &[(datagram(), 7)]);
    let run = run.printed("TRACED");
    a.run("ip link del to_b");
    let output = run.end().ok();
    assert!(output.err.contains("\ninterface `to_a` is gone\n"), "{output}");
    assert_eq!(output.out.matches(" TRACED ").count(), 7, "{output}");
}

#[test]
fn runs_end_at_their_time() {
    privileged!();
    let (_a, b) = joined();
    for words in [&["--for", "100ms"][..], &["--until", "2500-01-01T00:00:00Z", "--for", "100ms"]] {
        let output = Skep::new(&["observe", "-i", "lo"]).arguments(words).in_network(&b).run().ok();
        assert!(output.err.contains("; for 100ms\n") || output.err.contains("; for 100 ms\n"), "{output}");
    }
    let terminated = observe(&b, &["-i", "lo"]).signal(libc::SIGTERM).end().status_is(128 + libc::SIGTERM);
    assert!(terminated.err.contains("trust: "), "{terminated}");
}

#[test]
fn wishes_that_this_machine_cannot_meet_are_errors_with_a_way_out() {
    privileged!();
    let (_a, b) = joined();
    let cases: &[(&[&str], &str)] = &[
        (&["-i", "eth77"], "error: no interface `eth77`\n  = help: it has lo, to_a\n"),
        (&["-i", "veth*"], "error: no interface matches `veth*`\n  = help: it has lo, to_a\n"),
        (
            &["-i", "lo", "--cgroup", "/"],
            "error: packets are those of interfaces or those of a cgroup's sockets, not both\n  = help: -i lo, or --cgroup /\n",
        ),
        (&["--cgroup", "/no/such"], "error: no control group `/no/such`: no such file or directory\n"),
        (
            &["--hook", "xdp", "--direction", "egress"],
            "error: XDP meets packets that come in alone\n  = help: --hook tc\n",
        ),
        (
            &["--verdict", "FORWARDED"],
            "error: no flow of this machine can be what these filters want\n  = help: what passes an interface is TRACED or \
             DROPPED, of type trace or drop\n",
        ),
        (&["-t", "l7"], "error: no flow of this machine can be what these filters want\n"),
        (&["--until", "5m"], "error: `--until` is over, and flows of this machine are those from now on\n"),
        (&["--pcapng", "a.pcapng"], "error: flows of this machine hold no packets, only captures do\n"),
        (&["--summary", "-o", "json"], "error: a summary is for people, and would end up among the JSON\n"),
        (&["--drops", "always", "--cgroup", "/x"], "error: which cgroup a packet belonged to"),
        (&["--pid", "1"], "error: events of template `flows` are about other tasks than the current one\n"),
        (&["-i", "lo", "--input-file", "a"], "error: the argument "),
        (&["--inventory", "/nonexistent"], "error: failed to read `/nonexistent`: no such file or directory\n"),
    ];
    for (words, message) in cases {
        let output = Skep::new(&["observe"]).arguments(words).in_network(&b).run();
        assert!(output.status != Some(0) && output.err.starts_with(message), "{output}");
    }
}
