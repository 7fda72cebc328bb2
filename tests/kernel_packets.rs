//! Packets and policies on which kernel: every hook, captures, and policies through their lives.
//!
//! In emulated guests only (`cargo xtask vm --matrix`), between network namespaces of the guest's own.

use serde_json::{Value, json};
use skep_tests::frames::{self, IPV4, UDP, Wire, ethernet, ipv4, udp};
use skep_tests::guest::{lacks, release};
use skep_tests::setting::{SERVER, Setting, at, figure, last};
use skep_tests::skep::Running;
use skep_tests::{Cgroup, Namespace, Skep, Workload, guest, kernel};
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

/// Two namespaces, joined by `to_b` of the first and `to_a` of the second.
fn joined() -> (Namespace, Namespace) {
    let (a, b) = (Namespace::new(), Namespace::new());
    Namespace::pair(&a, &b, "10.9.0.1/24", "10.9.0.2/24");
    (a, b)
}

/// A datagram as the wire has it.
fn frame() -> Vec<u8> {
    ethernet(IPV4, &ipv4(UDP, 0, &[], &udp(1009, 53, b"a datagram of skep's")))
}

/// From one namespace to the other, where all have come when this returns.
#[track_caller]
fn send(from: (&Namespace, &str), to: (&Namespace, &str), times: usize) {
    let arrivals = to.0.inside(|| Wire::into(to.1));
    from.0.inside(|| {
        let (wire, frame) = (Wire::out_of(from.1), frame());
        (0..times).for_each(|_| assert!(wire.send(&frame), "the interface takes it"));
    });
    arrivals.see(&frame(), times);
}

/// Packets of ours in the run of a script inside of the second namespace, by direction: 23 come, 29 go.
#[track_caller]
fn directions(attach_point: &str) -> Vec<(String, Value)> {
    let (a, b) = joined();
    let script = format!("probe({attach_point:?}).filter(ttl == {}).by(direction).count()", frames::TTL);
    let run = Skep::script(&script).in_network(&b).start().attached();
    send((&a, "to_b"), (&b, "to_a"), 23);
    send((&b, "to_a"), (&a, "to_b"), 29);
    let mut rows = run.interrupt().ok().rows();
    rows.sort_by_key(|(direction, _)| direction.clone());
    rows
}

#[test]
fn packets_are_counted_in_both_directions_at_tc() {
    guest!();
    assert_eq!(directions("tc:to_a"), [("egress".to_owned(), json!(29)), ("ingress".to_owned(), json!(23))]);
}

#[test]
fn packets_are_counted_as_they_come_in_at_xdp() {
    guest!();
    assert_eq!(directions("xdp:to_a"), [("ingress".to_owned(), json!(23))]);
}

#[test]
fn packets_of_a_cgroup_are_counted() {
    guest!();
    let group = Cgroup::new();
    let path = group.0.display().to_string();
    let workload = Workload::stopped(&format!("alone join {path} dns udp4 23 www.example 1 0"));
    let script = format!("probe(\"cgroup_skb:{path}\").filter(dport == 53).by(direction, protocol).count()");
    let run = Skep::script(&script).start().attached();
    workload.go();
    let output = run.interrupt().ok();
    assert_eq!([output.row("egress udp"), output.row("ingress udp")], [23, 23], "{output}");
}

#[test]
fn packets_are_met_at_tc_by_links() {
    guest!();
    let (_a, b) = joined();
    let run = Skep::script(r#"probe("tc:to_a").count()"#).in_network(&b).start().attached();
    let links = kernel::links_of(run.pid());
    run.interrupt().ok();
    match links.iter().filter(|kind| *kind == "tcx").count() {
        0 if release() < (6, 6) => lacks("filters of a clsact qdisc"),
        count => assert_eq!(count, 2, "{links:?}"),
    }
}

#[test]
fn template_capture_keeps_every_byte_of_23_packets() {
    guest!();
    let (a, b) = joined();
    let folder = skep_tests::machine::Folder::new();
    for hook in ["tc", "xdp"] {
        let file = folder.0.join(format!("{hook}.pcapng"));
        let filter = format!("filter(tcpdump(\"udp and src port 1009\")).pcapng({:?})", file.display().to_string());
        let script = format!("template(\"capture\", #{{ interface: \"to_a\", hook: {hook:?} }}).{filter}");
        let run = Skep::script(&script).in_network(&b).start().attached();
        send((&a, "to_b"), (&b, "to_a"), 23);
        run.interrupt().ok();
        let (bytes, frame) = (std::fs::read(file).expect("it was written"), frame());
        let found = bytes.windows(frame.len()).filter(|window| *window == frame).count();
        assert_eq!(found, 23, "{hook}: {} bytes", bytes.len());
    }
}

/// The endpoint's socket, in the cgroup if one is named.
fn receiver(setting: &Setting, cgroup: Option<&Path>) -> UdpSocket {
    let enter = |folder: &Path| std::fs::write(folder.join("cgroup.procs"), "0").expect("this process enters");
    // What a socket belongs to is settled when it is made.
    cgroup.into_iter().for_each(&enter);
    let socket = setting.server.inside(|| UdpSocket::bind(at(SERVER[0], 4711))).expect("the port is free");
    cgroup.and_then(Path::parent).into_iter().for_each(enter);
    socket
}

/// Datagrams that have come since. Linux 5.10 charges a page to the socket for each that XDP has seen: 54 at once are too many.
fn received(socket: &UdpSocket) -> u64 {
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("it can have one");
    let mut count = 0;
    while socket.recv(&mut [0; 8]).is_ok() {
        count += 1;
    }
    count
}

/// Counts first, then drops, then counts again: 23, 29 and 31 datagrams, and what came of them. What no rule is about passes
/// all the while.
#[track_caller]
fn assert_goes_there_and_back(setting: &Setting, place: &str, cgroup: Option<&Path>) {
    let rules = json!({ "ingress": { "rules": [{ "name": "no", "action": "deny", "services": ["udp/4711"] }] } });
    let socket = receiver(setting, cgroup);
    let _servers = setting.serve(80, cgroup);
    let run = setting.apply(place, &rules, &["--format", "json"]);
    setting.send(4711, 23, place, "no", "would drop");
    let audited = received(&socket);
    setting.policy(&["enforce", place]).run().ok();
    setting.send(4711, 29, place, "no", "dropped");
    let enforced = received(&socket);
    setting.until("TCP is answered", || SERVER.iter().all(|address| setting.connects(address, 80)));
    setting.policy(&["rollback", place]).run().ok();
    setting.send(4711, 31, place, "no", "would drop");
    let rolled_back = received(&socket);
    let status = last(&run.interrupt().ok());
    let counted = ["would_drop", "dropped", "passed"].map(|what| figure(&status, "no", "ingress", what));
    assert_eq!((counted, [audited, enforced, rolled_back]), ([23 + 31, 29, 0], [23, 0, 31]), "{place}: {status}");
}

#[test]
fn policy_audits_enforces_and_goes_back_at_tc() {
    guest!();
    assert_goes_there_and_back(&Setting::new(), "tc:to_a", None);
}

#[test]
fn policy_audits_enforces_and_goes_back_at_xdp() {
    guest!();
    assert_goes_there_and_back(&Setting::new(), "xdp:to_a", None);
}

#[test]
fn policy_audits_enforces_and_goes_back_in_a_cgroup() {
    guest!();
    let group = Cgroup::new();
    assert_goes_there_and_back(&Setting::new(), &format!("cgroup:{}", group.0.display()), Some(&group.0));
}

fn nothing_enforced(setting: &Setting, place: &str, more: &[&str]) -> Running {
    let nothing = json!({ "ingress": { "otherwise": "deny" } });
    setting.apply(place, &nothing, &[&["--enforce"], more].concat())
}

#[test]
fn policy_that_is_killed_drops_nothing_any_more() {
    guest!();
    let setting = Setting::new();
    for place in ["xdp:to_a", "tc:to_a"] {
        let run = nothing_enforced(&setting, place, &[]);
        assert!(!setting.reaches(SERVER[0], 4711), "{place}");
        let programs = kernel::programs_of(run.pid());
        run.signal(libc::SIGKILL).end();
        setting.until("traffic flows again", || setting.reaches(SERVER[0], 4711) && setting.reaches(SERVER[1], 4711));
        // A filter of the qdisc stays where there are no links, and lets pass what the policy would have dropped.
        if place.starts_with("xdp") || release() >= (6, 6) {
            kernel::assert_gone(&programs);
        }
    }
}

/// A whole day forwards would end it early, and two days back not at all, if it went by this clock.
#[test]
fn policy_keeps_its_time_while_the_clock_is_set() {
    guest!();
    const TIME: Duration = Duration::from_secs(8);
    // Of a machine where everything takes long, beside which a day is long.
    const SLACK: Duration = Duration::from_secs(2);
    let setting = Setting::new();
    let asked = Instant::now();
    let run = nothing_enforced(&setting, "tc:to_a", &["--ttl", &format!("{}s", TIME.as_secs())]);
    let attached = Instant::now();
    turn_the_clock(1);
    assert!(!setting.reaches(SERVER[0], 4711), "it has ended early");
    turn_the_clock(-2);
    setting.until("it is over", || setting.reaches(SERVER[0], 4711));
    let (most, least) = (asked.elapsed(), attached.elapsed());
    turn_the_clock(1);
    println!("enforced for {least:?} to {most:?} of {TIME:?}");
    assert!(most + SLACK > TIME && least < TIME + SLACK, "{least:?} to {most:?}");
    run.end().ok();
}

/// What a wall clock shows, moved by so many days.
fn turn_the_clock(days: i64) {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes and reads our own variable; the guest's clock is nobody else's.
    unsafe {
        assert_eq!(libc::clock_gettime(libc::CLOCK_REALTIME, &mut time), 0);
        time.tv_sec += days * 86_400;
        assert_eq!(libc::clock_settime(libc::CLOCK_REALTIME, &time), 0, "root sets the clock");
    }
}
