//! The feed: what a run hears of and what it counts, from the kernel or from a recording. Scripts see no difference.

use crate::aggregate::table::{Spec, Table};
use crate::pump::{Happening, Pump};
use crate::recording::frame::Closed;
use crate::recording::player::Player;
use crate::recording::recorder::Recorder;
use crate::session::{self, Session};
use crate::stacks::Stacks;
use crate::trust::Trust;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a run is told, one thing after the other.
pub enum Happenings {
    Live { pump: Pump, recorder: Option<Rc<Recorder>> },
    Recorded(Rc<Player>),
}

impl Happenings {
    /// The next one; `None`: there is none any more. `idle` is called where that takes a while.
    pub fn next(&mut self, idle: impl FnOnce()) -> Option<Happening> {
        match self {
            Happenings::Live { pump, recorder } => {
                let happening = match pump.happenings.try_recv() {
                    Ok(happening) => Some(happening),
                    Err(_) => {
                        idle();
                        pump.happenings.blocking_recv()
                    }
                };
                kept(recorder.as_deref(), happening)
            }
            Happenings::Recorded(player) => player.happened(idle),
        }
    }

    /// As [`Happenings::next`], for those who wait for others too.
    pub fn poll(&mut self, task: &mut Context<'_>) -> Poll<Option<Happening>> {
        match self {
            Happenings::Live { pump, recorder } => {
                pump.happenings.poll_recv(task).map(|happening| kept(recorder.as_deref(), happening))
            }
            Happenings::Recorded(player) => Poll::Ready(player.happened(|| {})),
        }
    }

    /// Asks for what is left: [`Happenings::next`] then comes to an end.
    pub fn finish(&mut self) {
        if let Happenings::Live { pump, recorder } = self {
            if let Some(recorder) = recorder {
                recorder.finishing();
            }
            pump.finish();
        }
    }
}

fn kept(recorder: Option<&Recorder>, happening: Option<Happening>) -> Option<Happening> {
    if let (Some(recorder), Some(happening)) = (recorder, &happening) {
        recorder.happened(happening);
    }
    happening
}

/// What the entries of a run count.
pub enum Values {
    Live { session: Session, recorder: Option<Rc<Recorder>> },
    Recorded { player: Rc<Player>, specs: Vec<Option<Spec>>, stacks: Option<Rc<Stacks>> },
}

impl Values {
    /// What entry `n` has aggregated so far; `None` for streams.
    ///
    /// # Errors
    /// The kernel's.
    pub fn table(&self, n: usize) -> io::Result<Option<Table>> {
        match self {
            Values::Live { session, recorder: None } => session.table(n),
            Values::Live { session, recorder: Some(recorder) } => {
                let Some((spec, entries)) = session.entries(n)? else { return Ok(None) };
                recorder.table(n, &entries);
                Ok(Some(session::table(spec, entries, session.stacks())))
            }
            Values::Recorded { player, specs, stacks } => {
                let spec = specs.get(n).and_then(Option::as_ref);
                Ok(spec.map(|spec| session::table(spec, player.table(n), stacks.as_deref())))
            }
        }
    }

    /// Counters of entry `n`; while a recording is replayed they are not known.
    ///
    /// # Errors
    /// The kernel's.
    pub fn trust(&self, n: usize) -> io::Result<Trust> {
        match self {
            Values::Live { session, .. } => session.trust(n),
            Values::Recorded { .. } => Ok(Trust::default()),
        }
    }

    /// Takes records of entry `n` that are samples; those of a recording were taken then.
    pub fn take(&self, n: usize, records: &[&[u8]]) {
        if let Values::Live { session, .. } = self {
            session.take(n, records);
        }
    }

    /// Begins entry `n` anew.
    ///
    /// # Errors
    /// The kernel's.
    pub fn clear(&self, n: usize) -> io::Result<()> {
        match self {
            Values::Live { session, .. } => session.clear(n),
            Values::Recorded { player, .. } => {
                player.clear(n);
                Ok(())
            }
        }
    }

    pub fn detach(&mut self) {
        if let Values::Live { session, .. } = self {
            session.detach();
        }
    }

    /// The programs that are loaded.
    pub fn programs(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Values::Live { session, .. } => session.programs().collect(),
            Values::Recorded { .. } => Vec::new(),
        }
    }

    /// What is known at the end of a run of `entries`, behind their tables.
    ///
    /// # Errors
    /// The kernel's.
    pub fn close(
        &self,
        entries: usize,
        began: SystemTime,
        took: Duration,
        left_out: Option<u64>,
    ) -> io::Result<Closed> {
        let (session, recorder) = match self {
            Values::Live { session, recorder } => (session, recorder),
            Values::Recorded { player, .. } => return Ok(player.closed()),
        };
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let closed = Closed {
            began: nanos(began.duration_since(UNIX_EPOCH).unwrap_or_default()),
            took: nanos(took),
            trust: (0..entries).map(|n| session.trust(n)).collect::<io::Result<_>>()?,
            frames: session.frames(),
            left_out,
        };
        if let Some(recorder) = recorder {
            recorder.closed(&closed);
        }
        Ok(closed)
    }
}
