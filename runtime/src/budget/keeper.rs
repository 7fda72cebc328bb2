//! The keeper: holds a run within its budget, from a thread of its own, however busy the script is.
//!
//! Each turn takes a second. While the run takes less than its budget, it is measured for the first part of a turn. When
//! it takes more, its programs are attached only for such a part of each turn that the whole is within the budget: what
//! is counted then is a sample in time. What is too dear even so is detached for good.

use super::meter::{Meter, Programs, Taken, locked, nanos};
use super::{Budget, Kept, percent};
use crate::confine::capabilities;
use crate::diagnostic::Diagnostic;
use crate::kernel::sys;
use crate::session::attached::{Attached, drop_together};
use std::cell::Cell;
use std::io;
use std::sync::MutexGuard;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const TURN: Duration = Duration::from_secs(1);
/// How long is measured of a turn in which everything is attached; of the first one, so that what is far too dear ends
/// soon.
const LOOK: Duration = Duration::from_millis(50);
const FIRST_LOOK: Duration = Duration::from_millis(20);
/// To attach for less is not worth its while.
const LEAST: Duration = Duration::from_millis(2);
/// Of a second. What would be attached for less is seen so seldom (2 ms in 20 s) that it tells nothing.
const WORTHLESS: Duration = Duration::from_micros(100);
/// Of the budget: for what is attached; for attaching and detaching, which makes turns longer; the rest for what is not
/// measured.
const AIM: f64 = 0.5;
const SWITCHING: f64 = 0.3;
const LONGEST: Duration = Duration::from_secs(10);
/// So many turns above the budget, one after the other, end the run.
const PATIENCE: u32 = 5;

/// What a run took until it was over, and for how long it was attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Since the programs were attached, in nanoseconds, and how much of it they really were.
    pub lasted: u64,
    pub attached: u64,
    pub kernel: u64,
    pub here: u64,
}

/// What the keeper has to say.
#[derive(Clone, Debug)]
pub enum Word {
    /// A line for the user.
    Tell(String),
    /// Everything is detached for good, and this is why.
    Over(String),
}

/// A thread that keeps a budget; dropping it ends the keeping.
pub struct Keeper {
    stop: mpsc::Sender<()>,
    thread: Option<JoinHandle<Account>>,
}

impl Keeper {
    /// Keeps `programs`, which are attached, within `budget`. `say` is called from the thread; `false`: there is no room for
    /// it now.
    ///
    /// # Errors
    /// The kernel does not count what programs cost.
    pub fn start(programs: Programs, kept: Kept, say: impl Fn(Word) -> bool + Send + 'static) -> io::Result<Keeper> {
        let first = Meter::start(&programs)?;
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("skep-budget".into()).spawn(move || {
            capabilities::lower(capabilities::OF_THE_KEEPER, true);
            let (began, here) = (Instant::now(), sys::cpu_time());
            let mut keeping = Keeping {
                programs,
                budget: kept.budget,
                tolerates: kept.tolerates,
                stopped,
                over: Cell::new(false),
                say,
                share: 1.0,
                above: 0,
                length: TURN,
                switching: 0,
                away: 0,
                kernel: 0,
            };
            keeping.run(first);
            let lasted = nanos(began.elapsed());
            Account {
                lasted,
                attached: lasted.saturating_sub(keeping.away),
                kernel: keeping.kernel,
                here: sys::cpu_time().saturating_sub(here),
            }
        })?;
        Ok(Keeper { stop, thread: Some(thread) })
    }

    /// Ends the keeping: programs stay as they are.
    pub fn finish(mut self) -> Account {
        self.join()
    }

    fn join(&mut self) -> Account {
        // It may have ended by itself.
        let _over = self.stop.send(());
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.join();
    }
}

struct Keeping<S> {
    programs: Programs,
    budget: Budget,
    /// So many turns more may be above it before anything is done.
    tolerates: u32,
    stopped: mpsc::Receiver<()>,
    /// The keeping is.
    over: Cell<bool>,
    say: S,
    /// Of each turn, that programs are attached.
    share: f64,
    /// Turns above the budget so far, one after the other.
    above: u32,
    /// How long a turn is now, and the CPU time that attaching took in the last one.
    length: Duration,
    switching: u64,
    /// Nanoseconds that programs were detached so far, and those that they took.
    away: u64,
    kernel: u64,
}

impl<S: Fn(Word) -> bool> Keeping<S> {
    fn run(&mut self, first: Meter) {
        let mut meter = Some(first);
        let mut look = FIRST_LOOK;
        loop {
            let (turn, here) = (Instant::now(), sys::cpu_time());
            let whole = self.share >= 1.0;
            let attached = if whole { look } else { self.length.mul_f64(self.share).max(LEAST) };
            look = LOOK;
            let Some(meter) = meter.take().or_else(|| Meter::start(&self.programs).ok()) else {
                return self.end("the kernel counts no longer what programs cost (--max-overhead)");
            };
            let mut over = self.wait(attached);
            let taken = meter.read(&self.programs);
            drop(meter);
            let mut next = self.next(taken);
            if whole && next < 1.0 && self.tolerates > 0 {
                (self.tolerates, next) = (self.tolerates - 1, 1.0);
            }
            if over || next >= 1.0 {
                // The rest of the turn is as its beginning, as far as we know.
                over = over || self.wait(TURN.saturating_sub(turn.elapsed()));
                let times = nanos(turn.elapsed()) as f64 / taken.time.max(1) as f64;
                self.kernel += (taken.kernel as f64 * times) as u64;
                self.share = next;
                match over {
                    true => return,
                    false => continue,
                }
            }
            self.detach();
            self.kernel += taken.kernel;
            if TURN.mul_f64(next) < WORTHLESS {
                return self.give_up(&taken);
            }
            if whole {
                self.say_sampled(&taken, next);
            }
            self.share = next;
            let switching = self.switching + sys::cpu_time().saturating_sub(here).saturating_sub(taken.here);
            let affordable = Duration::from_nanos((switching as f64 / (SWITCHING * self.budget.share())) as u64);
            // A part that is shorter than the least makes the turn longer, too.
            self.length = TURN.max(affordable.min(LONGEST)).max(LEAST.div_f64(next));
            let over = self.wait(self.length.saturating_sub(turn.elapsed()));
            self.away += nanos(turn.elapsed()).saturating_sub(taken.time);
            if over {
                return;
            }
            let took = taken.kernel + sys::cpu_time().saturating_sub(here);
            let average = took as f64 / nanos(turn.elapsed()).max(1) as f64;
            self.above = if average > self.budget.share() { self.above + 1 } else { 0 };
            if self.above >= PATIENCE {
                return self.give_up(&taken);
            }
            let here = sys::cpu_time();
            if let Err(reason) = self.attach() {
                return self.end(&reason.message);
            }
            self.switching = sys::cpu_time().saturating_sub(here);
        }
    }

    /// What part of a turn may be attached, by what was just measured; it doubles at most.
    fn next(&self, taken: Taken) -> f64 {
        let aim = self.budget.share() * AIM / taken.share().max(1e-9);
        match self.share >= 1.0 && taken.share() <= self.budget.share() {
            true => 1.0,
            false => aim.min(self.share * 2.0).min(1.0),
        }
    }

    fn say_sampled(&self, taken: &Taken, part: f64) {
        let (share, budget, part) = (percent(taken.share()), self.budget, percent(part));
        self.tell(Word::Tell(format!(
            "warning: this takes {share} of a processor, its budget is {budget} (--max-overhead): attached {part} of the time \
             from now on, what is counted is a sample"
        )));
    }

    fn give_up(&self, taken: &Taken) {
        let (share, budget) = (percent(taken.share()), self.budget);
        self.end(&format!(
            "this takes {share} of a processor while it is attached, and even a part of the time is too much for its budget of \
             {budget} (--max-overhead)"
        ));
    }

    /// Nothing stays attached, some of an entry's programs neither.
    fn end(&self, why: &str) {
        self.detach();
        self.tell(Word::Over(format!("warning: detached for good: {why}")));
    }

    fn locked(&self) -> impl Iterator<Item = MutexGuard<'_, Attached>> {
        self.programs.iter().map(|one| locked(one))
    }

    fn detach(&self) {
        drop_together(self.locked().flat_map(|mut one| one.take_links()).collect());
    }

    fn attach(&self) -> Result<(), Diagnostic> {
        self.locked().try_for_each(|mut one| one.put_back())
    }

    /// Whoever is told may be busy, and may end the keeping meanwhile.
    fn tell(&self, word: Word) {
        while !(self.say)(word.clone()) && !self.wait(LEAST) {}
    }

    /// Is the keeping over before this time has passed?
    fn wait(&self, time: Duration) -> bool {
        let over = self.over.get() || !matches!(self.stopped.recv_timeout(time), Err(RecvTimeoutError::Timeout));
        self.over.set(over);
        over
    }
}
