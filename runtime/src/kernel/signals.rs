//! Signals that ask the process to end, noted where a script that computes can see them at once.

use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};

/// The last one that came and was not taken; 0 for none. A process has its signals once, so this is no part of a run.
static PENDING: AtomicI32 = AtomicI32::new(0);

/// Notes SIGINT, SIGTERM and SIGHUP from now on, for as long as the process lives.
///
/// # Errors
/// The kernel's.
pub fn watch() -> io::Result<()> {
    static WATCHED: Once = Once::new();
    let mut outcome = Ok(());
    WATCHED.call_once(|| {
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            // SAFETY: the handler does nothing but store a number, which is allowed in a signal handler.
            let registered =
                unsafe { signal_hook_registry::register(signal, move || PENDING.store(signal, Ordering::Relaxed)) };
            if let Err(error) = registered {
                outcome = Err(error);
            }
        }
    });
    outcome
}

/// Is there one that nobody took?
pub fn pending() -> bool {
    PENDING.load(Ordering::Relaxed) != 0
}

/// The one that waits, and goes on to wait.
pub fn waiting() -> Option<i32> {
    Some(PENDING.load(Ordering::Relaxed)).filter(|signal| *signal != 0)
}

/// The one that waits; it is then over.
pub fn take() -> Option<i32> {
    Some(PENDING.swap(0, Ordering::Relaxed)).filter(|signal| *signal != 0)
}

/// The exit status after a signal: Ctrl-C is the usual way to end a run; a request to terminate is passed on.
pub fn status(signal: i32) -> i32 {
    if signal == libc::SIGINT { 0 } else { 128 + signal }
}
