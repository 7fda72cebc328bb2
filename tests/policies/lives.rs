//! Lives of policies: killed, forgotten, not confirmed, pinned; and places that go.

use crate::setting::{BpfFolder, SERVER, Setting, at, figure};
use serde_json::{Value, json};
use skep_tests::privileged;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn nothing() -> Value {
    json!({ "ingress": { "otherwise": "deny" } })
}

/// What is attached to the server's interface.
fn attached(setting: &Setting) -> String {
    let show = |program: &str, words: &[&str]| {
        let output = setting.server.command(program).args(words).output().expect("iproute2 is there");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let link = show("ip", &["-d", "link", "show", "to_a"]);
    let link: Vec<&str> = link.lines().filter(|line| line.contains("prog/") || line.contains("tcx")).collect();
    link.join("\n") + &show("tc", &["qdisc", "show", "dev", "to_a", "clsact"])
}

#[test]
fn policy_killed_while_it_enforces_leaves_nothing() {
    privileged!();
    let setting = Setting::new();
    for place in ["xdp:to_a", "tc:to_a"] {
        let run = setting.apply(place, &nothing(), &["--enforce"]);
        assert!(!setting.reaches(SERVER[0], 4711), "{place}");
        let since = Instant::now();
        let output = run.signal(libc::SIGKILL).end();
        assert_eq!(output.status, None, "{output}");
        setting.until("traffic flows again", || setting.reaches(SERVER[0], 4711) && setting.reaches(SERVER[1], 4711));
        println!("{place}: traffic flows {:?} after SIGKILL", since.elapsed());
        assert!(since.elapsed() < Duration::from_secs(1), "{place} {:?}", since.elapsed());
        assert_eq!(attached(&setting), "", "{place}");
        // Its socket is left, and is no policy.
        let status = setting.policy(&["status"]).run().ok();
        assert_eq!(status.out, "no policy is at work\n", "{status}");
    }
}

/// Sends without a pause; says when datagrams came, in order.
fn arrivals(setting: &Setting, work: impl FnOnce()) -> Vec<Instant> {
    let receiver = setting.server.inside(|| UdpSocket::bind(at(SERVER[0], 4711))).expect("the port is free");
    let sender = setting.client.inside(|| UdpSocket::bind("10.9.0.1:0")).expect("any port");
    receiver.set_read_timeout(Some(Duration::from_millis(20))).expect("it can have one");
    let (is_over, mut came) = (AtomicBool::new(false), Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let _refused = sender.send_to(b"skep", at(SERVER[0], 4711));
            }
        });
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                if receiver.recv(&mut [0; 8]).is_ok() {
                    came.push(Instant::now());
                }
            }
        });
        work();
        is_over.store(true, Ordering::Relaxed);
    });
    came
}

/// The longest time without any.
fn gap(came: &[Instant]) -> (Duration, Instant) {
    let gaps = came.windows(2).map(|pair| (pair[1] - pair[0], pair[1]));
    gaps.max_by_key(|(gap, _)| *gap).expect("some came before and after")
}

const EXACT: Duration = Duration::from_millis(500);

#[test]
fn policy_not_confirmed_in_time_goes_back_by_itself_under_load() {
    privileged!();
    let setting = Setting::new();
    let within = Duration::from_millis(1_500);
    let run = setting.apply("tc:to_a", &nothing(), &[]);
    let came = arrivals(&setting, || {
        std::thread::sleep(Duration::from_millis(300));
        setting.policy(&["enforce", "tc:to_a", "--confirm-within", "1500ms"]).run().ok();
        std::thread::sleep(within + Duration::from_secs(1));
    });
    let (gap, _) = gap(&came);
    println!("enforced for {gap:?}, of {within:?}");
    assert!(gap.abs_diff(within) < EXACT, "{gap:?}");
    let status = setting.status("tc:to_a");
    assert_eq!((status["mode"].as_str(), status["steps"].as_u64()), (Some("audit"), Some(1)), "{status}");
    let output = run.interrupt().ok();
    assert!(output.err.contains("not confirmed in time"), "{output}");
}

#[test]
fn policy_ends_with_its_time_to_live_under_load_even_if_its_process_is_stopped() {
    privileged!();
    let setting = Setting::new();
    for is_stopped in [false, true] {
        let mut run = None;
        let since = Instant::now();
        let came = arrivals(&setting, || {
            std::thread::sleep(Duration::from_millis(200));
            let started = setting.apply("xdp:to_a", &nothing(), &["--enforce", "--ttl", "2s"]);
            if is_stopped {
                // SAFETY: stops our own child, which is continued below.
                assert_eq!(unsafe { libc::kill(started.pid() as i32, libc::SIGSTOP) }, 0);
            }
            run = Some(started);
            std::thread::sleep(Duration::from_secs(3));
        });
        let (gap, _) = gap(&came);
        println!("enforced for {gap:?} of 2 s, {:?} in all", since.elapsed());
        assert!(gap.abs_diff(Duration::from_secs(2)) < EXACT, "{is_stopped} {gap:?}");
        let run = run.expect("it was started").signal(libc::SIGCONT);
        run.end().ok();
    }
}

#[test]
fn policy_confirmed_stays_and_goes_back_step_by_step() {
    privileged!();
    let setting = Setting::new();
    let run = setting.apply("tc:to_a", &nothing(), &[]);
    setting.policy(&["confirm", "tc:to_a"]).run().status_is(1);
    setting.policy(&["enforce", "tc:to_a", "--confirm-within", "1s"]).run().ok();
    setting.policy(&["confirm", "tc:to_a"]).run().ok();
    std::thread::sleep(Duration::from_millis(1_200));
    assert!(!setting.reaches(SERVER[0], 4711));
    let rules = json!({ "ingress": { "otherwise": "deny", "rules": [{ "name": "in", "action": "allow", "services": ["udp"] }] } });
    let rules = setting.rules("other.json", &rules);
    setting.policy(&["swap", "tc:to_a", "--rules", &rules]).run().ok();
    assert!(setting.reaches(SERVER[0], 4711));
    setting.policy(&["rollback", "tc:to_a"]).run().ok();
    assert!(!setting.reaches(SERVER[0], 4711));
    setting.policy(&["rollback", "tc:to_a"]).run().ok();
    assert!(setting.reaches(SERVER[0], 4711));
    assert_eq!(setting.status("tc:to_a")["mode"], "audit");
    setting.policy(&["rollback", "tc:to_a"]).run().ok();
    run.end().ok();
    let gone = setting.policy(&["status", "tc:to_a"]).run().status_is(1);
    assert!(gone.err.contains("no policy is at work at `tc:to_a`"), "{gone}");
}

#[test]
fn policy_second_one_at_a_place_is_refused() {
    privileged!();
    let setting = Setting::new();
    let run = setting.apply("tc:to_a", &nothing(), &[]);
    let rules = setting.rules("second.json", &nothing());
    let refused = setting.policy(&["apply", "tc:to_a", "--rules", &rules]).run().status_is(1);
    assert!(refused.err.contains("a policy is at work at `tc:to_a` already"), "{refused}");
    run.interrupt().ok();
}

#[test]
fn policy_whose_interface_goes_says_so() {
    privileged!();
    let setting = Setting::new();
    for place in ["tc:to_a", "xdp:to_a"] {
        if place.starts_with("xdp") {
            skep_tests::Namespace::pair(&setting.client, &setting.server, "10.9.0.1/24", "10.9.0.2/24");
        }
        let run = setting.apply(place, &nothing(), &["--enforce"]);
        setting.server.run("ip link del to_a");
        let output = run.end().status_is(1);
        assert!(output.err.contains(&format!("`{place}` is gone, and its policy with it")), "{output}");
    }
}

#[test]
fn policy_never_drops_the_peer_of_its_session_unless_told_twice() {
    privileged!();
    let setting = Setting::new();
    let rules = setting.rules("rules.json", &nothing());
    let start = |more: &[&str]| {
        let arguments = [&["apply", "tc:to_a", "--rules", &rules, "--enforce"], more].concat();
        let skep = setting.policy(&arguments).environment("SSH_CONNECTION", "10.9.0.1 51234 10.9.0.2 22");
        skep.start().attached()
    };
    let run = start(&[]);
    assert!(setting.reaches(SERVER[0], 4711) && !setting.reaches(SERVER[1], 4711));
    let status = setting.status("tc:to_a");
    assert!(figure(&status, "(guard)", "ingress", "passed") > 0, "{status}");
    run.interrupt().ok();
    let run = start(&["--guard", "fd00:9::1"]);
    assert!(setting.reaches(SERVER[0], 4711) && setting.reaches(SERVER[1], 4711));
    run.interrupt().ok();
    setting.policy(&["apply", "tc:to_a", "--rules", &rules, "--no-guard"]).run().status_is(2);
    let run = start(&["--no-guard", "--yes-lock-me-out"]);
    assert!(!setting.reaches(SERVER[0], 4711));
    run.interrupt().ok();
}

#[test]
fn policy_pinned_outlives_its_process_and_ends_in_time() {
    privileged!();
    let setting = Setting::new();
    let bpf = BpfFolder::new(&setting);
    let policy = |words: &[&str]| bpf.used(setting.policy(words));
    let rules = setting.rules("rules.json", &nothing());
    for (place, is_rolled_back) in [("xdp:to_a", false), ("tc:to_a", true)] {
        let apply = ["apply", place, "--rules", &rules, "--enforce", "--pin", "--ttl", "4s"];
        let since = Instant::now();
        policy(&apply).run().ok();
        assert!(!setting.reaches(SERVER[0], 4711), "{place}");
        let status = policy(&["status", place, "--format", "json"]).run().ok();
        assert_eq!(status.json()[0]["mode"], "enforce");
        if is_rolled_back {
            policy(&["rollback", place]).run().ok();
        }
        // The kernel takes its time to let go of a link whose file is removed: some milliseconds.
        setting.until("it is over", || setting.reaches(SERVER[0], 4711));
        println!("{place}: traffic flows {:?} after the start", since.elapsed());
        assert!(is_rolled_back || since.elapsed() > Duration::from_millis(3_500));
        setting.until("nothing is left", || attached(&setting).is_empty());
    }
}
