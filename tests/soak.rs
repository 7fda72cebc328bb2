//! Soak: a script that attaches and detaches again and again, and a run that counts and streams without end, hold no
//! more memory and no more descriptors at the end than at the beginning. Some seconds here; `SKEP_SOAK=10000` attaches as
//! often, and makes 100 million events: docs/reliability.md has the figures of that.

use skep_tests::left::{Held, descriptors};
use skep_tests::skep::binary;
use skep_tests::{Skep, Workload, privileged, workload};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Rounds of the whole, where it is asked for.
fn whole() -> Option<u64> {
    std::env::var("SKEP_SOAK").ok().map(|rounds| rounds.parse().expect("SKEP_SOAK is a number"))
}

/// Without being asked, a test takes about so long.
const SHORT: Duration = Duration::from_secs(20);

/// So many before the first look: allocators and caches fill up once.
const BATCH: u64 = 69;

/// Over more than one round of attaching by each mechanism.
const LOOKS: u32 = 200;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// KiB of memory that are its own.
    memory: u64,
    descriptors: usize,
}

impl Size {
    fn of(pid: u32) -> Size {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
        let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("the kernel tells it");
        let memory = anonymous.trim().trim_end_matches(" kB").parse().expect("it is a number");
        Size { memory, descriptors: descriptors(pid).len() }
    }

    /// Of a process that goes on attaching: the least of many looks, which come at any point of its rounds.
    fn least_of(pid: u32) -> Size {
        let looks = (0..LOOKS).map(|_| {
            std::thread::sleep(Duration::from_millis(2));
            Size::of(pid)
        });
        let least =
            |a: Size, b: Size| Size { memory: a.memory.min(b.memory), descriptors: a.descriptors.min(b.descriptors) };
        looks.reduce(least).expect("there are some")
    }

    /// No more than then, but for what an allocator keeps.
    #[track_caller]
    fn assert_flat(self, then: Size) {
        assert_eq!(self.descriptors, then.descriptors, "descriptors: {then:?} became {self:?}");
        assert!(self.memory <= then.memory + then.memory / 8 + 4096, "memory grows: {then:?} became {self:?}");
    }
}

/// By each mechanism that the host has, in turn, again and again; a line after each batch of rounds.
const TURNS: &str = r#"
    let calls = probe("uprobe:BIN:workload_double").count();
    let named = probe("tracepoint:syscalls:sys_enter_getpgid").by(comm).count();
    let stacks = probe("software:cpu-clock:10000000").by(kstack).count();
    let n = 0;
    loop {
        calls.run("1ms");
        named.run("1ms");
        stacks.run("1ms");
        n += 3;
        if n % BATCH == 0 { print(n); }
    }
"#;

#[test]
fn attaching_again_and_again_holds_no_more_at_the_end() {
    privileged!();
    let workload = Workload::stopped("double 7 stop");
    let script = TURNS.replace("BIN", &workload::path()).replace("BATCH", &BATCH.to_string());
    let mut command = Command::new(binary());
    // Of one process: of all of them it would hold what they run, up to 512 files.
    command.args(["-q", "--max-overhead", "off", "--pid", &workload.pid(), "-e", &script]);
    command.env_remove("SKEP_PATH").env("SKEP_AUDIT", "").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut run = Ended(command.spawn().expect("skep starts"));
    let mut lines = BufReader::new(run.0.stdout.take().expect("it is a pipe")).lines();
    let mut attached = || -> u64 {
        let line = lines.next().expect("the run goes on").expect("it is text");
        line.parse().unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    assert_eq!(attached(), BATCH);
    let (first, since) = (Size::least_of(run.0.id()), Instant::now());
    let mut times = 0;
    while whole().map_or(since.elapsed() < SHORT, |whole| times < whole) {
        times = attached();
    }
    let last = Size::least_of(run.0.id());
    println!("{times} attached and detached in {:?}: {first:?} became {last:?}", since.elapsed());
    last.assert_flat(first);
    // SAFETY: signals our own child, which is not waited for yet.
    assert_eq!(unsafe { libc::kill(run.0.id() as i32, libc::SIGINT) }, 0);
    // What it says last, so that it can.
    lines.for_each(drop);
    assert!(run.0.wait().expect("it is our child").success());
}

/// A test that fails leaves no run behind.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

#[test]
fn events_without_end_are_counted_and_hold_no_memory() {
    privileged!();
    const STREAMED: u64 = 10_007;
    // Of each round all are counted, and the others are streamed to a closure.
    let each: u64 = if whole().is_some() { 10_000_000 } else { 1_000_003 };
    let rounds = 10;
    let verbs = vec![format!("getpgid {each} getppid {STREAMED} stop"); rounds].join(" ");
    let workload = Workload::stopped(&verbs);
    let text = r#"
        probe("tracepoint:syscalls:sys_enter_getpgid").by(comm, nsecs % 7).hist(nsecs % 1009);
        let n = 0;
        probe("tracepoint:syscalls:sys_enter_getppid").fields(comm, nsecs).each(|e| n += 1);
        run();
        print(n);
    "#;
    let run = Skep::script(text).arguments(&["--pid", &workload.pid(), "--max-overhead", "off"]);
    let run = run.environment("SKEP_AUDIT", "").start().attached();
    let held = Held::of(run.pid());
    workload.go_on_within(Duration::from_secs(3600));
    let first = Size::of(run.pid());
    let since = Instant::now();
    for _ in 1..rounds {
        workload.go_on_within(Duration::from_secs(3600));
    }
    let last = Size::of(run.pid());
    let took = since.elapsed();
    let output = run.interrupt().ok();
    println!("{} more events in {took:?}: {first:?} became {last:?}", each * (rounds as u64 - 1));
    last.assert_flat(first);
    let (all, streamed) = (each * rounds as u64, STREAMED * rounds as u64);
    let counts = ["counted", "delivered", "lost", "missed"].map(|name| output.trust(name));
    assert_eq!(counts, [all, streamed, 0, 0], "{output}");
    assert_eq!(output.texts(), [streamed.to_string()], "{output}");
    held.assert_gone();
}
