//! Tests that run in the emulated guests of `cargo xtask vm --matrix`, a row of docs/kernel-matrix.md each.

use crate::Output;

/// Is this a guest? Says where to run the test where it is not; that is no failure on a machine with all privileges.
pub fn in_guest() -> bool {
    let guest = std::env::var_os("SKEP_VM").is_some();
    if !guest {
        println!("skipped: runs in a guest: cargo xtask vm --matrix");
    }
    guest
}

/// The table shows `no: REASON` for this kernel. A test says so when it has seen that the reason holds, and passes.
pub fn lacks(reason: &str) {
    println!("kernel lacks: {reason}");
}

/// The kernel's version, `(6, 1)`.
pub fn release() -> (u32, u32) {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc is mounted");
    let mut numbers =
        text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().expect("it begins with numbers"));
    (numbers.next().expect("split gives one part"), numbers.next().expect("it has two numbers"))
}

/// A run of which the kernel says that it missed nothing, of a few tries. Since Linux 6.13 a program at a system call may be
/// preempted, and is run for no other call on that processor until it goes on: a guest has one processor, and one so slow
/// that turns end within programs. There, what is run has turns of 100 ms.
#[track_caller]
pub fn heard(run: impl Fn() -> Output) -> Output {
    let _turns = (release() >= (6, 13)).then(LongTurns::begin);
    for _ in 0..61 {
        let output = run();
        if output.status != Some(0) || output.trust("missed") == 0 {
            return output.ok();
        }
        println!("run again: the kernel missed {} calls", output.trust("missed"));
    }
    panic!("the kernel misses calls each time");
}

/// This thread, and what it starts, take turns of `/proc/sys/kernel/sched_rr_timeslice_ms`; all others wait for them.
struct LongTurns;

impl LongTurns {
    fn begin() -> Self {
        schedule(libc::SCHED_RR, 1);
        LongTurns
    }
}

impl Drop for LongTurns {
    fn drop(&mut self) {
        schedule(libc::SCHED_OTHER, 0);
    }
}

#[track_caller]
fn schedule(policy: i32, sched_priority: i32) {
    // SAFETY: the call reads one structure, which lives until it is done; 0 is the calling thread.
    let done = unsafe { libc::sched_setscheduler(0, policy, &libc::sched_param { sched_priority }) };
    assert_eq!(done, 0, "root chooses: {}", std::io::Error::last_os_error());
}
