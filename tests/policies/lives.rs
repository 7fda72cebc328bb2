//! Lives of policies: killed, forgotten, not confirmed, pinned; and places that go.

use crate::setting::{BpfFolder, SERVER, Setting, at, figure};
use serde_json::{Value, json};
use skep_tests::workload::Ending;
use skep_tests::{machine, privileged};
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

/// A program or map of a process.
struct Held {
    kind: &'static str,
    id: String,
}

impl Held {
    /// What a process has open, without what bpftool is not there to look for.
    fn by(pid: u32) -> Vec<Held> {
        let folder = format!("/proc/{pid}/fdinfo");
        let files = std::fs::read_dir(folder).expect("it runs").flatten();
        let texts: Vec<String> = files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
        let of = |kind, key: &str| {
            let ids = texts.iter().flat_map(|text| text.lines()).filter_map(|line| line.strip_prefix(key));
            ids.map(|id| Held { kind, id: id.trim().to_owned() }).collect::<Vec<_>>()
        };
        let found = [of("prog", "prog_id:"), of("map", "map_id:")];
        assert!(found.iter().all(|some| !some.is_empty()), "it holds programs and maps: {texts:?}");
        found.into_iter().flatten().filter(|one| one.is_there()).collect()
    }

    fn is_there(&self) -> bool {
        let mut show = std::process::Command::new("bpftool");
        show.args([self.kind, "show", "id", &self.id]).output().is_ok_and(|output| output.status.success())
    }
}

#[test]
fn policy_killed_while_it_enforces_leaves_nothing() {
    privileged!();
    let setting = Setting::new();
    for place in ["xdp:to_a", "tc:to_a"] {
        let run = setting.apply(place, &nothing(), &["--enforce"]);
        assert!(!setting.reaches(SERVER[0], 4711), "{place}");
        let held = Held::by(run.pid());
        let since = Instant::now();
        let output = run.signal(libc::SIGKILL).end();
        assert_eq!(output.status, None, "{output}");
        setting.until("traffic flows again", || setting.reaches(SERVER[0], 4711) && setting.reaches(SERVER[1], 4711));
        println!("{place}: traffic flows {:?} after SIGKILL", since.elapsed());
        assert!(since.elapsed() < Duration::from_secs(1), "{place} {:?}", since.elapsed());
        assert_eq!(attached(&setting), "", "{place}");
        setting.until("programs and maps are gone", || held.iter().all(|held| !held.is_there()));
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
        let _ending = Ending(&is_over);
        work();
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
fn policy_keeps_its_time_in_a_time_namespace() {
    privileged!();
    let setting = Setting::new();
    let rules = setting.rules("rules.json", &nothing());
    // A clock that stands far off what programs read, either way. None may stand before the machine's start.
    let back = machine::seconds_up() / 2;
    for shift in ["86400".to_owned(), format!("-{back}")] {
        let net = format!("--net={}", setting.server.file().display());
        let skep = skep_tests::skep::binary().display().to_string();
        let front = ["--time", "--monotonic", &shift, "nsenter", &net, &skep, "policy", "apply", "tc:to_a"];
        let words = [&front[..], &["--rules", &rules, "--enforce", "--ttl", "2s"]].concat();
        let skep = skep_tests::Skep::at(std::path::Path::new("unshare"), &words);
        let skep = skep.environment("SKEP_POLICY_FOLDER", &setting.folder.display().to_string());
        let mut run = None;
        let came = arrivals(&setting, || {
            std::thread::sleep(Duration::from_millis(200));
            run = Some(skep.environment("SSH_CONNECTION", "").start().attached());
            std::thread::sleep(Duration::from_secs(3));
        });
        let (gap, _) = gap(&came);
        println!("enforced for {gap:?} of 2 s, with a clock that is {shift} s off");
        assert!(gap.abs_diff(Duration::from_secs(2)) < EXACT, "{shift} {gap:?}");
        run.expect("it was started").end().ok();
    }
}

#[test]
fn policy_of_others_stays_where_it_is() {
    privileged!();
    let setting = Setting::new();
    let others = setting.folder.join("others").display().to_string();
    let rules = setting.rules("others.json", &nothing());
    let second = |place: &str, more: &[&str]| {
        let arguments = [&["apply", place, "--rules", &rules], more].concat();
        setting.policy(&arguments).environment("SKEP_POLICY_FOLDER", &others)
    };
    let run = setting.apply("xdp:to_a", &nothing(), &[]);
    let before = attached(&setting);
    let refused = second("xdp:to_a", &["--enforce"]).run().status_is(1);
    assert!(refused.err.contains("`to_a` has an XDP program already: "), "{refused}");
    assert_eq!(attached(&setting), before);
    run.interrupt().ok();
    // At tc there is room for both, and each is told of the other.
    let run = setting.apply("tc:to_a", &nothing(), &[]);
    let other = second("tc:to_a", &["--enforce", "--format", "json"]).start().attached();
    assert!(!setting.reaches(SERVER[0], 4711));
    let output = other.interrupt().ok();
    assert!(output.err.contains("`tc:to_a` has other programs, which stay: TcIngress "), "{output}");
    setting.until("what the other dropped passes", || setting.reaches(SERVER[0], 4711));
    assert!(figure(&setting.status("tc:to_a"), "(no rule)", "ingress", "would_drop") > 0);
    run.interrupt().ok();
}

#[test]
fn policy_of_more_names_than_there_is_room_for_leaves_the_old_one_be() {
    privileged!();
    let setting = Setting::new();
    let named = |count: u32| {
        let rule = |n: u32| json!({ "name": format!("rule {n}"), "action": "deny", "services": [format!("udp/{}", 4_000 + n)] });
        json!({ "ingress": { "rules": (0..count).map(rule).collect::<Vec<_>>() } })
    };
    let run = setting.apply("tc:to_a", &named(3), &["--enforce"]);
    let rules = setting.rules("many.json", &named(500));
    let refused = setting.policy(&["swap", "tc:to_a", "--rules", &rules]).run().status_is(1);
    assert!(refused.err.contains("rules by name, with those of earlier policies, and room for "), "{refused}");
    setting.send(4_002, 7, "tc:to_a", "rule 2", "dropped");
    assert!(setting.reaches(SERVER[0], 4_003), "the new rules hold nowhere");
    run.interrupt().ok();
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
