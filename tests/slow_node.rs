//! `slow-node` finds what is planted, and nothing where nothing is: eight faults, each in a world of its own (control groups
//! and a network), which the run is restricted to, so that other work on the machine is no part of it.
//!
//! SKEP_RUNS=10 does each so many times.

use serde_json::Value;
use skep_tests::{Cgroup, Namespace, Output, Skep, privileged};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a run looks; the kernel adds up pressure every two seconds.
const LOOKS: &str = "5s";
/// How long a fault is there before anybody looks; and how long at most, since a run ends it.
const BEFORE: Duration = Duration::from_millis(2500);
const LASTS: u32 = 600_000;

/// Control groups of one name in all hierarchies that the machine has, and a network.
struct World {
    groups: Vec<(&'static str, Cgroup)>,
    network: Namespace,
}

impl World {
    fn new() -> World {
        let unified = Cgroup::new();
        let name = unified.0.file_name().expect("it has a name").to_owned();
        let mut groups = vec![("", unified)];
        for controller in ["cpu", "memory", "blkio"] {
            let hierarchy = Path::new("/sys/fs/cgroup").join(controller);
            if hierarchy.is_dir() && hierarchy != groups[0].1.0 {
                let folder = hierarchy.join(&name);
                std::fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
                groups.push((controller, Cgroup(folder)));
            }
        }
        World { groups, network: Namespace::new() }
    }

    /// The name of the groups, as `--cgroup` takes it.
    fn name(&self) -> String {
        format!("/{}", self.groups[0].1.0.file_name().expect("it has a name").display())
    }

    /// Sets a limit: by its name in version 1, or in version 2.
    fn limit(&self, controller: &str, [old, new]: [(&str, &str); 2]) {
        let one = self.groups.iter().find(|(name, _)| *name == controller);
        let (folder, (file, value)) = match one {
            Some((_, group)) => (&group.0, old),
            None => (&self.groups[0].1.0, new),
        };
        let file = folder.join(file);
        std::fs::write(&file, value).unwrap_or_else(|error| panic!("{} = {value}: {error}", file.display()));
    }

    /// A workload in this world.
    fn workload(&self, verbs: &str) -> Trouble {
        let joins = self.groups.iter().map(|(_, group)| format!("join {} ", group.0.display())).collect::<String>();
        let words = format!("enter {} {joins}{verbs}", self.network.file().display());
        let mut command = Command::new(skep_tests::workload::path());
        let child = command.args(words.split_whitespace()).stdin(Stdio::null()).spawn().expect("the workload starts");
        Trouble(child)
    }

    /// What `slow-node` finds here.
    fn looked_at(&self) -> Output {
        let netns = self.network.file().display().to_string();
        let (name, began) = (self.name(), Instant::now());
        let arguments = ["--format", "json", "run", "runbooks/slow-node", "--time", LOOKS, "--cgroup", &name];
        let output = Skep::new(&arguments).arguments(&["--netns", &netns]).in_network(&self.network).run();
        assert!(began.elapsed() < Duration::from_secs(60), "it takes less than a minute\n{output}");
        output
    }
}

/// A workload that is gone, with what it started, when this is dropped.
struct Trouble(Child);

impl Drop for Trouble {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// Scripts that found something at `warn` or above, in their order; not what the rest of the machine does to this world.
fn found(output: &Output) -> Vec<String> {
    let outside = |finding: &Value| finding["text"].as_str().is_some_and(|text| text.contains("outside of /skep-"));
    let bad = |finding: &Value| finding["level"] != "info" && !outside(finding);
    let script = |finding: &Value| finding["script"].as_str().unwrap_or_default().to_owned();
    let mut found: Vec<String> = output.objects("finding").iter().filter(|one| bad(one)).map(script).collect();
    found.dedup();
    found
}

fn runs() -> u32 {
    std::env::var("SKEP_RUNS").map_or(1, |runs| runs.parse().expect("SKEP_RUNS is a number"))
}

/// `script` finds something while a workload does `verbs`, and no other does but those that the fault does bring with it.
#[track_caller]
fn planted(script: &str, verbs: &str, limit: impl Fn(&World), brings: &[&str]) {
    privileged!();
    for _ in 0..runs() {
        let world = World::new();
        limit(&world);
        let trouble = world.workload(verbs);
        std::thread::sleep(BEFORE);
        let output = world.looked_at();
        drop(trouble);
        let found = found(&output);
        assert!(found.iter().any(|one| one == script), "{script} finds nothing: {found:?}\n{output}");
        let others: Vec<&String> =
            found.iter().filter(|one| *one != script && !brings.contains(&one.as_str())).collect();
        assert!(others.is_empty(), "{others:?} find something too\n{output}");
        let finding = output.objects("finding").into_iter().find(|one| one["script"] == script).expect("it is there");
        let status = if finding["level"] == "critical" { 20 } else { 10 };
        assert!(output.status >= Some(status), "{output}");
        assert!(finding["next"].as_str().is_some_and(|next| next.starts_with("sudo skep ")), "{finding}");
        assert!(!finding["evidence"].is_null(), "{finding}");
    }
}

/// Number of the disk, not of its partition, that a folder is on.
fn disk_of(folder: &Path) -> String {
    let device = std::fs::metadata(folder).expect("it is there").dev();
    let number = format!("{}:{}", libc::major(device), libc::minor(device));
    let place = format!("/sys/dev/block/{number}");
    let whole =
        if Path::new(&place).join("partition").exists() { format!("{place}/../dev") } else { format!("{place}/dev") };
    let text = std::fs::read_to_string(&whole).unwrap_or_else(|error| panic!("{whole}: {error}"));
    text.trim().to_owned()
}

const NOTHING: fn(&World) = |_| {};

#[test]
fn hog_in_a_cgroup_is_found() {
    // It takes more than others do.
    let heavy = |world: &World| world.limit("cpu", [("cpu.shares", "4096"), ("cpu.weight", "400")]);
    planted("cpu-contention", &format!("hog 7 {LASTS}"), heavy, &[]);
}

#[test]
fn quota_that_stops_a_cgroup_is_found() {
    let quota = |world: &World| {
        if world.groups.iter().any(|(name, _)| *name == "cpu") {
            world.limit("cpu", [("cpu.cfs_period_us", "50000"), ("", "")]);
        }
        world.limit("cpu", [("cpu.cfs_quota_us", "5000"), ("cpu.max", "5000 50000")]);
    };
    // To a task it is the same whether a quota or another task keeps it from running.
    planted("throttling", &format!("hog 1 {LASTS}"), quota, &["cpu-contention"]);
}

#[test]
fn cgroup_without_memory_is_found() {
    let room =
        |world: &World| world.limit("memory", [("memory.limit_in_bytes", "16777216"), ("memory.max", "16777216")]);
    // What is read again comes from a disk, and finding room for it is work.
    planted("memory-pressure", &format!("thrash 40960 {LASTS}"), room, &["slow-disk", "cpu-contention"]);
}

#[test]
fn processes_that_are_killed_for_memory_are_counted() {
    privileged!();
    let world = World::new();
    world.limit("memory", [("memory.limit_in_bytes", "16777216"), ("memory.max", "16777216")]);
    let name = world.name();
    let run = Skep::new(&["--format", "json", "run", "memory-pressure", "--time", "10m", "--cgroup", &name]);
    let run = run.start().attached();
    let mut hungry = world.workload("devour 7 65536");
    assert!(hungry.0.wait().is_ok_and(|status| status.success()), "each is killed");
    let output = run.interrupt().status_is(20);
    let killed = format!("the kernel killed 7 of {name} for want of memory");
    let finding = output.objects("finding").into_iter().find(|finding| finding["text"] == killed.as_str());
    let finding = finding.unwrap_or_else(|| panic!("nothing says `{killed}`\n{output}"));
    assert_eq!((&finding["level"], &finding["evidence"]["oom_kills"]), (&"critical".into(), &7.into()), "{output}");
}

#[test]
fn disk_that_tasks_wait_for_is_found() {
    let folder = skep_tests::machine::Folder::new();
    let (file, disk) = (folder.0.join("blocks"), disk_of(&folder.0));
    // Twenty writes a second is what a disk in trouble does.
    let (old, new) = (format!("{disk} 20"), format!("{disk} wiops=20"));
    let slow = |world: &World| world.limit("blkio", [("blkio.throttle.write_iops_device", &old), ("io.max", &new)]);
    planted("slow-disk", &format!("flush {LASTS} {}", file.display()), slow, &[]);
}

#[test]
fn packets_that_find_no_room_are_found() {
    planted("packet-drops", &format!("overflow {LASTS}"), NOTHING, &[]);
}

#[test]
fn lock_that_threads_wait_for_is_found() {
    planted("lock-contention", &format!("contend 5 {LASTS}"), NOTHING, &[]);
}

#[test]
fn storm_of_forks_is_found() {
    planted("fork-storm", &format!("storm {LASTS}"), NOTHING, &["cpu-contention"]);
}

#[test]
fn names_that_nobody_resolves_are_found() {
    // Each is answered after 20 ms: SERVFAIL.
    planted("dns-failure", "dns udp4 30000 fail.example 1 20", NOTHING, &[]);
}

#[test]
fn queries_that_nobody_answers_are_found() {
    planted("dns-failure", "fork 30000 dns udp4 1 lost.example 1 20", NOTHING, &[]);
}

#[test]
fn healthy_world_is_silent() {
    privileged!();
    for _ in 0..runs() {
        let world = World::new();
        let _idle = world.workload(&format!("nap 97 97 dns udp4 11 www.example 1 50 sleep {LASTS}"));
        let output = world.looked_at().ok();
        assert_eq!(found(&output), [""; 0], "{output}");
        assert_eq!(output.objects("finding").len(), 1, "one says so\n{output}");
    }
}
