//! Threads: where none is to be had (a limit of memory or of processes), that is an error like others, and no panic.

use crate::diagnostic::Diagnostic;
use crate::kernel::load;
use std::io;
use std::thread::{self, Builder, JoinHandle};

/// Why none is to be had.
pub fn failed(error: io::Error) -> Diagnostic {
    Diagnostic::machine(format!("failed to start a thread: {}", load::text(&error)))
}

/// One that goes on beside this one.
///
/// # Errors
/// There is none to be had; what it was to do is dropped.
pub fn start<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, Diagnostic> {
    Builder::new().spawn(run).map_err(failed)
}

/// What one comes to that may leave this namespace: it ends there.
///
/// # Errors
/// There is none to be had; what `run` fails with.
pub fn aside<T: Send>(run: impl FnOnce() -> Result<T, Diagnostic> + Send) -> Result<T, Diagnostic> {
    thread::scope(|scope| {
        let thread = Builder::new().spawn_scoped(scope, run).map_err(failed)?;
        thread.join().unwrap_or_else(|_| Err(Diagnostic::bug("a thread ended early")))
    })
}
