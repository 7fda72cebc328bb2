//! 10,000 rules exchanged while packets flow as fast as they can: every packet is judged by the one set or the other.

use crate::setting::{SERVER, Setting, figure, last};
use serde_json::{Value, json};
use skep_tests::privileged;
use skep_tests::workload::Ending;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ALLOWED: u16 = 4_001;
const DENIED: u16 = 4_002;
/// What the first set allows and the second denies, and the other way round.
const FIRST: u16 = 4_003;
const SECOND: u16 = 4_004;
const SWAPS: u32 = 10;
const ENOUGH: Duration = Duration::from_secs(20);

/// 10,000 rules: those that decide, and others about peers that send nothing.
fn rules(is_first: bool) -> Value {
    let word = |allowed: bool| if allowed { "allow" } else { "deny" };
    let rule = |name: &str, allowed: bool, port: u16| json!({ "name": name, "action": word(allowed), "services": [format!("udp/{port}")], "peers": ["10.9.0.1"] });
    let mut rules = vec![
        rule("allowed", true, ALLOWED),
        rule("denied", false, DENIED),
        rule("first", is_first, FIRST),
        rule("second", !is_first, SECOND),
    ];
    rules.extend((0..9_996u32).map(|number| {
        let peer = format!("172.{}.{}.{}", 16 + (number >> 16), number >> 8 & 255, number & 255);
        json!({ "name": "others", "action": word(number % 2 == 0), "services": ["tcp/80", "udp/53"], "peers": [peer] })
    }));
    json!({ "ingress": { "otherwise": "deny", "rules": rules } })
}

/// Datagrams that the server's UDP was handed.
fn arrived(setting: &Setting) -> u64 {
    let text =
        setting.server.inside(|| std::fs::read_to_string("/proc/thread-self/net/snmp").expect("/proc is mounted"));
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let both = names.split(' ').zip(values.split(' '));
    let counted = both.filter(|(name, _)| ["InDatagrams", "NoPorts", "InErrors"].contains(name));
    counted.map(|(_, value)| value.parse::<u64>().expect("it is a number")).sum()
}

/// Datagrams that never got as far as a program: the client's queue or the server's was full, and says so.
fn lost(setting: &Setting) -> u64 {
    let of = |namespace: &skep_tests::Namespace, interface: &str, column: usize| {
        let text = namespace.inside(|| std::fs::read_to_string("/proc/thread-self/net/dev").expect("/proc is mounted"));
        let line =
            text.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':').map(str::to_owned));
        let line = line.expect("the interface is there");
        line.split_whitespace().nth(column).expect("a column").parse::<u64>().expect("it is a number")
    };
    // Receive: bytes packets errs drop fifo frame compressed multicast; transmit: the same from the ninth on.
    of(&setting.client, "to_b", 11) + of(&setting.server, "to_a", 3)
}

#[test]
fn policy_exchange_under_full_rate_misjudges_no_packet() {
    privileged!();
    let setting = Setting::new();
    for place in ["tc:to_a", "xdp:to_a"] {
        let sets = [true, false].map(|is_first| setting.rules(&format!("{is_first}.json"), &rules(is_first)));
        // Without connections: replies are not what is counted here.
        let start = ["apply", place, "--rules", &sets[0], "--enforce", "--stateless", "--format", "json"];
        let run = setting.policy(&start).start().attached();
        let (before, lost_before) = (arrived(&setting), lost(&setting));
        let sender = setting.client.inside(|| UdpSocket::bind("10.9.0.1:0")).expect("any port");
        let is_over = AtomicBool::new(false);
        let sent = std::thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let mut sent = [0u64; 4];
                while !is_over.load(Ordering::Relaxed) {
                    for (at, port) in [ALLOWED, DENIED, FIRST, SECOND].into_iter().enumerate() {
                        // What the server's ICMP says of closed ports is told once, instead of sending.
                        sent[at] += u64::from(sender.send_to(&[0; 32], (SERVER[0], port)).is_ok());
                    }
                }
                sent
            });
            let ending = Ending(&is_over);
            std::thread::sleep(Duration::from_millis(200));
            let since = Instant::now();
            for swap in 0..SWAPS {
                // Where others use this machine too, each takes seconds. One there and one back there must be.
                if swap >= 2 && since.elapsed() > ENOUGH {
                    break;
                }
                setting.policy(&["swap", place, "--rules", &sets[(swap as usize + 1) % 2]]).run().ok();
            }
            std::thread::sleep(Duration::from_millis(200));
            drop(ending);
            sending.join().expect("it does not panic")
        });
        // What is on its way arrives.
        std::thread::sleep(Duration::from_millis(200));
        let came = arrived(&setting) - before;
        let status = last(&run.interrupt().ok());
        let of = |rule: &str| ["passed", "dropped"].map(|what| figure(&status, rule, "ingress", what));
        let [allowed, denied, first, second] = ["allowed", "denied", "first", "second"].map(of);
        let lost = lost(&setting) - lost_before;
        println!(
            "{place}: sent {sent:?}; passed and dropped: {allowed:?} {denied:?} {first:?} {second:?}; came {came}, lost {lost}"
        );
        // Where both sets agree nothing ever flips; where they differ each packet met one of them; none met neither.
        assert_eq!((allowed[1], denied[0]), (0, 0), "{place}");
        let judged = [allowed, denied, first, second].map(|[passed, dropped]| passed + dropped);
        assert_eq!(judged.iter().sum::<u64>() + lost, sent.iter().sum::<u64>(), "{place}");
        assert!(judged.iter().zip(sent).all(|(judged, sent)| *judged <= sent && sent - judged <= lost), "{place}");
        assert_eq!(came, allowed[0] + first[0] + second[0], "{place}");
        // Both sets held for a time.
        assert!([first, second].iter().flatten().all(|count| *count > 0), "{place}");
        assert_eq!(of("others"), [0, 0]);
    }
}
