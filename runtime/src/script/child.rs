//! The command of `-c` once it was let go: its end is told to the run that there is, and kept for the next one.

use crate::diagnostic::Diagnostic;
use crate::pump::Happening;
use crate::threads;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc::{Sender, WeakSender};

/// What is known of the command; before it was let go, nothing.
#[derive(Clone, Default)]
pub struct CommandEnd(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    running: Option<u32>,
    ended: bool,
    /// Weak: a run that is over for another reason does not wait for the command.
    run: Option<WeakSender<Happening>>,
}

impl CommandEnd {
    /// Waits for it, in a thread of its own.
    ///
    /// # Errors
    /// There is none to be had.
    pub fn of(&self, mut child: Child) -> Result<(), Diagnostic> {
        self.with(|known| known.running = Some(child.id()));
        let own = self.clone();
        threads::start(move || {
            // Its status is nobody's: it ended, however it did.
            let _status = child.wait();
            let run = own.with(|known| {
                (known.running, known.ended) = (None, true);
                known.run.take()
            });
            if let Some(run) = run.and_then(|run| run.upgrade()) {
                // The run may be over by then.
                let _gone = run.blocking_send(Happening::CommandEnded);
            }
        })?;
        Ok(())
    }

    /// Tells this run from now on. What came before, nobody is told: [`CommandEnd::has_come`] has it.
    pub fn tell(&self, run: &Sender<Happening>) {
        self.with(|known| known.run = Some(run.downgrade()));
    }

    pub fn has_come(&self) -> bool {
        self.with(|known| known.ended)
    }

    /// The command's process, while it runs.
    pub fn still_runs(&self) -> Option<u32> {
        self.with(|known| known.running)
    }

    fn with<T>(&self, what: impl FnOnce(&mut Known) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
