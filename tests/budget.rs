//! The overhead budget: a run that takes little is left alone, one that takes too much is attached a part of the time,
//! and one that no part is small enough for ends.

use skep_tests::pty::Terminal;
use skep_tests::skep::Running;
use skep_tests::{Skep, privileged};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What is probed: once a microsecond or so.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn skep_budget_probed(n: u64) -> u64 {
    black_box(n).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(7)
}

/// A thread that calls it as fast as it can, and what that takes.
struct Caller {
    over: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    nanos: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Caller {
    fn start() -> Caller {
        let (over, calls, nanos) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let (own_over, own_calls, own_nanos) = (over.clone(), calls.clone(), nanos.clone());
        let thread = std::thread::spawn(move || {
            let mut sum = 0u64;
            while !own_over.load(Ordering::Relaxed) {
                for n in 0..1000 {
                    sum = sum.wrapping_add(skep_budget_probed(n));
                    // The work between two calls: some 0.9 us.
                    for step in 0..450u64 {
                        sum = black_box(sum.rotate_left(3) ^ step);
                    }
                }
                own_calls.fetch_add(1000, Ordering::Relaxed);
                own_nanos.store(thread_time(), Ordering::Relaxed);
            }
            black_box(sum);
        });
        Caller { over, calls, nanos, thread: Some(thread) }
    }

    /// CPU time of a call, in nanoseconds, over this time; of its own thread, so that others on the machine do not count.
    fn cost(&self, time: Duration) -> f64 {
        let read = || (self.calls.load(Ordering::Relaxed), self.nanos.load(Ordering::Relaxed));
        let before = read();
        std::thread::sleep(time);
        let after = read();
        (after.1 - before.1) as f64 / (after.0 - before.0).max(1) as f64
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}

fn thread_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills the one structure that it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A skep that watches the caller, for so many seconds.
fn watching(budget: &str, seconds: u32) -> Running {
    let own = std::env::current_exe().expect("it is a file");
    let script = format!("probe(\"uprobe:{}:skep_budget_probed\").count()", own.display());
    let (time, pid) = (format!("{seconds}s"), std::process::id().to_string());
    Skep::new(&["-e", &script, "--pid", &pid, "--for", &time, "--max-overhead", budget]).start().attached()
}

/// The workload gets its time back within two seconds, and is told what it is that was counted.
#[test]
fn what_takes_too_much_is_attached_a_part_of_the_time() {
    privileged!();
    let caller = Caller::start();
    let _warm = caller.cost(Duration::from_millis(300));
    let before = caller.cost(Duration::from_secs(1));
    let dear = watching("off", 2);
    std::thread::sleep(Duration::from_millis(700));
    let unkept = caller.cost(Duration::from_millis(800));
    dear.end();
    let kept = watching("1%", 6);
    std::thread::sleep(Duration::from_secs(2));
    let after = caller.cost(Duration::from_secs(3));
    let output = kept.end();
    let behind = caller.cost(Duration::from_secs(1));
    // Machines change their speed meanwhile: what the calls took at their slowest is nobody's fault.
    let base = before.max(behind);
    println!("{before:.1} ns a call, {unkept:.1} watched, {after:.1} within 1 %, {behind:.1} again\n{output}");
    assert!(unkept > 1.4 * base, "it is too cheap to tell anything");
    // Nine tenths of what watching takes, at least: other work on the machine moves all of these.
    assert!(after - base < 0.1 * (unkept - base), "{after:.1} of {base:.1} ns");
    assert!(output.err.contains(" of a processor, its budget is 1 % (--max-overhead): attached "), "{output}");
    assert!(output.err.contains(" % of the time, "), "{output}");
}

#[test]
fn plan_tells_what_a_run_would_cost() {
    privileged!();
    let caller = Caller::start();
    let own = std::env::current_exe().expect("it is a file");
    let probe = format!("probe(\"uprobe:{}:skep_budget_probed\")", own.display());
    let before = caller.calls.load(Ordering::Relaxed);
    let since = Instant::now();
    let planned = |script: &str| {
        let words = ["--format", "json", "plan", "--measure", "-e", script, "--pid", &std::process::id().to_string()];
        Skep::new(&words).run().ok().objects("plan")
    };
    let plan = planned(&format!("{probe}.count(); {probe}.filter(arg0 == 7).fields(arg0)"));
    // All of its calls while it ran: those that were watched are among them.
    let calls = caller.calls.load(Ordering::Relaxed) + 1000 - before;
    let of = |entry: usize, name: &str| plan[entry]["cost"][name].as_f64().unwrap_or(-1.0);
    for entry in [0, 1] {
        assert!(of(entry, "hits") > 100.0 && of(entry, "hits") <= calls as f64, "{calls} calls: {plan:?}");
        assert!(of(entry, "measured_ns") >= 20e6 && of(entry, "measured_ns") < since.elapsed().as_nanos() as f64);
        let share = (of(entry, "programs_ns") + of(entry, "reach_ns")) / of(entry, "measured_ns");
        assert!(share > 0.0 && (of(entry, "share") - share).abs() < 1e-9, "{plan:?}");
    }
    // One of a thousand calls passes the filter. The two are not read in the same moment.
    let (passed, hits) = (of(1, "events") * 1000.0, of(1, "hits"));
    assert!(plan[0]["cost"]["events"].is_null() && (passed - hits).abs() <= hits / 2.0 + 3000.0, "{plan:?}");
    // What runs once has no rate.
    assert!(planned("probe(\"iter:task\").count()")[0]["cost"].is_null());
}

#[test]
fn what_takes_little_is_left_alone() {
    privileged!();
    let script = "probe(\"tracepoint:syscalls:sys_enter_getpgid\").count()";
    let output = Skep::on("getpgid 1009", script).arguments(&["--max-overhead", "50%", "--strict"]).run().ok();
    assert_eq!(output.table(0)["rows"][0]["value"], 1009, "{output}");
    assert_eq!(output.trust("attached_ns"), output.trust("lasted_ns"), "{output}");
    assert!(output.trust("kernel_ns") > 0, "{output}");
}

/// Counting would go on for a minute.
#[test]
fn what_no_part_is_small_enough_for_ends() {
    privileged!();
    let _caller = Caller::start();
    let _built = skep_tests::skep::binary();
    let began = Instant::now();
    let output = watching("0.0001%", 60).end();
    assert!(began.elapsed() < Duration::from_secs(30), "{output}");
    assert!(output.err.contains("detached for good"), "{output}");
}

#[test]
fn budget_that_is_none_is_refused() {
    let output = Skep::new(&["-e", "1", "--max-overhead", "much"]).run();
    assert_eq!(output.status, Some(2), "{output}");
    assert!(output.err.contains("a share of one processor is such as 1%"), "{output}");
}

#[test]
fn run_is_refused_that_asks_for_more_than_it_may_have() {
    privileged!();
    let output = Skep::new(&["-e", "probe(\"uprobe:libc:str*\").count()", "--max-probes", "61"]).run();
    assert_eq!(output.status, Some(1), "{output}");
    assert!(output.err.contains("error: `uprobe:libc:str*` comes to "), "{output}");
    assert!(output.err.contains(" attach points, more than 61\n"), "{output}");
    let script = "probe(\"interval:s:1\").by(nsecs).entries(1000003).count().run(\"10ms\")";
    let output = Skep::new(&["-e", script, "--max-memory", "8M"]).run();
    assert_eq!(output.status, Some(1), "{output}");
    assert!(output.err.contains(" of the kernel's memory, more than 8.00MiB"), "{output}");
    Skep::new(&["-e", script]).run().ok();
}

#[test]
fn script_that_hoards_memory_ends() {
    // One text may have 16 MiB.
    let some = |n: u32| format!("let text{n} = \"x\"; for n in 0..23 {{ text{n} += text{n}; }}");
    let script: String = (0..13).map(some).collect();
    let script = format!("{script} let n = 0; loop {{ n += 1; }}");
    let output = Skep::new(&["-e", &script, "--max-memory", "64M"]).run();
    assert_eq!(output.status, Some(1), "{output}");
    assert!(output.err.contains("of memory, more than --max-memory lets it"), "{output}");
}

#[test]
fn run_ends_after_so_many_events() {
    privileged!();
    let script = "probe(\"tracepoint:syscalls:sys_enter_getpgid\").fields(pid)";
    let output = Skep::on("getpgid 1009 sleep 500", script).arguments(&["--max-events", "7"]).run().ok();
    assert_eq!((output.objects("event").len(), output.trust("delivered")), (7, 7), "{output}");
    assert_eq!((output.trust("seen"), output.trust("limited"), output.trust("lost")), (1009, 1002, 0), "{output}");
}

#[test]
fn recordings_are_of_every_event() {
    let script = "probe(\"interval:ms:100\").fields(cpu)";
    let output = Skep::new(&["record", "-o", "/nonexistent/skep", "-e", script, "--max-events", "7"]).run();
    assert_eq!(output.status, Some(1), "{output}");
    assert!(output.err.contains("`--max-events` is not for recordings"), "{output}");
}

#[test]
fn everything_ends_with_its_time_to_live() {
    privileged!();
    let began = Instant::now();
    let output = Skep::new(&["-e", "probe(\"interval:ms:100\").count()", "--ttl", "1s"]).run();
    assert_eq!(output.status, Some(143), "{output}");
    assert!(output.out.contains("count: "), "{output}");
    assert!(began.elapsed() < Duration::from_secs(20), "{output}");
}

#[test]
fn hot_attach_points_have_a_budget_and_are_asked_about() {
    privileged!();
    let script = "probe(\"tracepoint:kmem:kmem_cache_free\").count()";
    let output = Skep::new(&["-e", script, "--for", "100ms"]).run().ok();
    assert!(output.err.trim_end().ends_with(" of a processor"), "{output}");
    let mut terminal = Terminal::start(&["-e", script, "--for", "100ms"]);
    terminal.until("is hit so often that every program feels it. attach? [y/N] ");
    terminal.line("n");
    terminal.until("`tracepoint:kmem:kmem_cache_free` is not attached");
}
