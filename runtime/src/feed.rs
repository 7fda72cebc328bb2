//! The feed: what a run hears of and what it counts, from the kernel or from a recording. Scripts see no difference.

use crate::aggregate::table::{Spec, Table};
use crate::budget::keeper::Account;
use crate::budget::meter::Programs;
use crate::kernel::cost::Cost;
use crate::pump::{Happening, Pump};
use crate::recording::frame::Closed;
use crate::recording::player::Player;
use crate::recording::recorder::Recorder;
use crate::session::{self, Session};
use crate::stacks::Stacks;
use crate::trust::Trust;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// What a run is told, one thing after the other.
pub enum Happenings {
    Live { pump: Pump, recorder: Option<Rc<Recorder>>, lag: Lag },
    Recorded(Rc<Player>),
}

/// How late events are: from when they were read until the script, or the output, is done with them.
#[derive(Default)]
pub struct Lag {
    /// When the batch was read that is in hand.
    read: Option<Instant>,
    longest: Duration,
}

impl Lag {
    /// Whoever asks for the next one is done with the last.
    fn done(&mut self) {
        let late = self.read.take().map(|read| read.elapsed());
        self.longest = late.map_or(self.longest, |late| late.max(self.longest));
    }

    fn begins(&mut self, happening: Option<&Happening>, pump: &Pump) {
        self.read = happening.filter(|one| matches!(one, Happening::Events(_))).and_then(|_| pump.arrived());
    }
}

impl Happenings {
    /// How late the latest events were so far; of a recording nobody knows.
    pub fn lag(&self) -> Duration {
        match self {
            Happenings::Live { lag, .. } => lag.longest,
            Happenings::Recorded(_) => Duration::ZERO,
        }
    }

    /// The next one; `None`: there is none any more. `idle` is called where that takes a while, and says whether to
    /// wait at all.
    pub fn next(&mut self, idle: impl FnOnce() -> bool) -> Option<Happening> {
        match self {
            Happenings::Live { pump, recorder, lag } => {
                lag.done();
                let happening = match pump.happenings.try_recv() {
                    Ok(happening) => Some(happening),
                    Err(_) if idle() => pump.happenings.blocking_recv(),
                    Err(_) => None,
                };
                lag.begins(happening.as_ref(), pump);
                kept(recorder.as_deref(), happening)
            }
            Happenings::Recorded(player) => player.happened(|| {
                idle();
            }),
        }
    }

    /// As [`Happenings::next`], for those who wait for others too.
    pub fn poll(&mut self, task: &mut Context<'_>) -> Poll<Option<Happening>> {
        match self {
            Happenings::Live { pump, recorder, lag } => {
                lag.done();
                pump.happenings.poll_recv(task).map(|happening| {
                    lag.begins(happening.as_ref(), pump);
                    kept(recorder.as_deref(), happening)
                })
            }
            Happenings::Recorded(player) => Poll::Ready(player.happened(|| {})),
        }
    }

    /// Asks for what is left: [`Happenings::next`] then comes to an end.
    pub fn finish(&mut self) {
        if let Happenings::Live { pump, recorder, .. } = self {
            if let Some(recorder) = recorder {
                recorder.finishing();
            }
            pump.finish();
        }
    }
}

fn kept(recorder: Option<&Recorder>, happening: Option<Happening>) -> Option<Happening> {
    // What a run took is of this machine, and of this time.
    if let (Some(recorder), Some(happening)) = (recorder, &happening)
        && !matches!(happening, Happening::Said(_))
    {
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
                Ok(Some(session::table(spec, &entries, session.stacks())))
            }
            Values::Recorded { player, specs, stacks } => {
                let spec = specs.get(n).and_then(Option::as_ref);
                Ok(spec.map(|spec| session::table(spec, &player.table(n), stacks.as_deref())))
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

    /// What is attached, if anything stays so.
    pub fn attached(&self) -> Option<Programs> {
        match self {
            Values::Live { session, .. } => session.attached(),
            Values::Recorded { .. } => None,
        }
    }

    /// What the programs cost so far, while the kernel counts it.
    pub fn cost(&self) -> Cost {
        match self {
            Values::Live { session, .. } => session.cost(),
            Values::Recorded { .. } => Cost::default(),
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
        account: Option<Account>,
    ) -> io::Result<Closed> {
        let (session, recorder) = match self {
            Values::Live { session, recorder } => (session, recorder),
            Values::Recorded { player, .. } => return Ok(player.closed()),
        };
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let mut trust = (0..entries).map(|n| session.trust(n)).collect::<io::Result<Vec<Trust>>>()?;
        // What all entries took together stands with the first.
        if let (Some(first), Some(took)) = (trust.first_mut(), account) {
            let Account { lasted, attached, kernel, here } = took;
            *first = Trust { lasted, attached, in_kernel: kernel, here, ..*first };
        }
        let closed = Closed {
            began: nanos(began.duration_since(UNIX_EPOCH).unwrap_or_default()),
            took: nanos(took),
            trust,
            frames: session.frames(),
            left_out,
        };
        if let Some(recorder) = recorder {
            recorder.closed(&closed);
        }
        Ok(closed)
    }
}
