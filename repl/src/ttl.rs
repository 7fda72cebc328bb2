//! `--ttl`: the end of everything, whatever it does then.

use std::time::Duration;

/// How long the end may take: a report is printed, programs are detached.
const GRACE: Duration = Duration::from_secs(5);
/// As timeout(1) says that the time was over.
const STATUS: i32 = 124;

/// From now on this process lives so long, and [`GRACE`] for its end. The kernel detaches what is left.
pub fn begin(time: Duration) {
    let end = move || {
        std::thread::sleep(time);
        // SAFETY: a signal to ourselves, which ends a run as it does when somebody else sends it.
        let _sent = unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
        std::thread::sleep(GRACE);
        std::process::exit(STATUS);
    };
    // Without a thread nothing else works either: the first that asks for one says so.
    let _none = std::thread::Builder::new().name("skep-ttl".into()).spawn(end);
}
