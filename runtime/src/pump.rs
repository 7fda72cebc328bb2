//! The pump: one thread with a tokio runtime that waits for everything (events, timers, signals, a child's end) and hands
//! it to the script's thread through one bounded channel.
//!
//! When the script falls behind, the channel fills, the pump stops reading, and the ring buffer fills: the kernel then
//! counts what it has to drop. Nothing is dropped here.

use crate::confine::capabilities;
use crate::kernel::ring::Ring;
use crate::kernel::{signals, sys};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

/// What the script's thread is told.
#[derive(Clone, Debug)]
pub enum Happening {
    /// Records, as [`Ring::read`] packs them.
    Events(Vec<u8>),
    /// Timer number n is due.
    Tick(usize),
    /// The time that `run` was given is over.
    Deadline,
    /// SIGINT, SIGTERM or SIGHUP; `signals` has which.
    Signal,
    /// The command of `-c` ended.
    CommandEnded,
    /// The only process that is looked at ended.
    ProcessEnded,
    /// A policy dropped a packet, or would have: whoever holds it knows more.
    Denied,
    /// No policy of the run is at work any more.
    PoliciesEnded,
    /// A line for whoever started the run: what became of its budget.
    Said(String),
}

/// The timer of intervals, whose number no timer of a script has.
pub const INTERVAL: usize = u32::MAX as usize;
/// The same, of the interval that the run ends with.
pub const LAST: usize = INTERVAL - 1;
/// Batches that may wait for the script's thread.
const CHANNEL: usize = 16;
/// Bytes of a batch: large enough that handing over costs nothing an event, small enough to bound memory.
const BATCH: usize = 256 << 10;
/// How long an event may wait when there are too few of them to wake us: people do not see it, and each look takes two
/// threads out of their sleep and their caches (0.26 us an event at 50,000 a second with 25 ms, 0.20 with 50).
const PATIENCE: Duration = Duration::from_millis(50);

/// What to wait for.
#[derive(Default)]
pub struct Watch {
    pub ring: Option<Ring>,
    pub timers: Vec<Duration>,
    /// Their length, and in which of them the run ends.
    pub intervals: Option<(Duration, Option<u64>)>,
    pub deadline: Option<Duration>,
    /// A process, see pidfd_open(2).
    pub process: Option<OwnedFd>,
}

/// When the batches were read that wait in the channel, the oldest first.
#[derive(Clone, Default)]
struct Arrivals(Arc<Mutex<VecDeque<Instant>>>);

impl Arrivals {
    fn locked(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        // Whoever panicked beside it has left a list of times.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self) {
        let mut times = self.locked();
        times.push_back(Instant::now());
        // More do not wait: nobody asks.
        if times.len() > CHANNEL + 1 {
            times.pop_front();
        }
    }
}

/// A running pump.
pub struct Pump {
    pub happenings: mpsc::Receiver<Happening>,
    arrivals: Arrivals,
    sender: mpsc::Sender<Happening>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Pump {
    /// # Errors
    /// No thread or no epoll instance is to be had.
    pub fn start(watch: Watch) -> io::Result<Pump> {
        let (sender, happenings) = mpsc::channel(CHANNEL);
        let (stop, stopped) = oneshot::channel();
        // The runtime opens six descriptors, and panics where there is none for the last of them.
        drop([UnixStream::pair()?, UnixStream::pair()?, UnixStream::pair()?]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let (out, arrivals) = (sender.clone(), Arrivals::default());
        let read = arrivals.clone();
        // A second SIGINT must find its handler before the first event does: so they are set up here.
        let signals = {
            let _inside = runtime.enter();
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal)
        };
        signals::watch()?;
        let [interrupt, terminate, hangup] = signals;
        let signals = (interrupt?, terminate?, hangup?);
        let thread = std::thread::Builder::new().name("skep-pump".into()).spawn(move || {
            // What it waits for was opened by others.
            capabilities::lower(&[], true);
            runtime.block_on(run(watch, signals, out, stopped, read));
        })?;
        Ok(Pump { happenings, arrivals, sender, stop: Some(stop), thread: Some(thread) })
    }

    /// When the batch was read that has just come out of the channel. Asked once for each.
    pub fn arrived(&self) -> Option<Instant> {
        self.arrivals.locked().pop_front()
    }

    /// For threads that wait for something else, such as a child.
    pub fn sender(&self) -> &mpsc::Sender<Happening> {
        &self.sender
    }

    /// Asks for what is left in the ring buffer; the channel then ends.
    pub fn finish(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It may have ended by itself.
            let _ended = stop.send(());
        }
        // Our own sender would keep the channel open.
        let (closed, _) = mpsc::channel(1);
        self.sender = closed;
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.finish();
        self.happenings.close();
        // Empties the channel, so that a pump that waits to send wakes up.
        while self.happenings.try_recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

type Signals = (tokio::signal::unix::Signal, tokio::signal::unix::Signal, tokio::signal::unix::Signal);

async fn run(
    watch: Watch,
    mut signals: Signals,
    out: mpsc::Sender<Happening>,
    mut stopped: oneshot::Receiver<()>,
    arrivals: Arrivals,
) {
    for (n, period) in watch.timers.into_iter().enumerate() {
        let out = out.clone();
        tokio::spawn(async move {
            let mut timer = tokio::time::interval_at(Instant::now() + period, period);
            timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                timer.tick().await;
                if out.send(Happening::Tick(n)).await.is_err() {
                    break;
                }
            }
        });
    }
    if let Some((period, last)) = watch.intervals {
        tokio::spawn(intervals(period, last, out.clone()));
    }
    let mut ring = watch.ring;
    let ready = ring.as_ref().and_then(|ring| ring.watch().ok());
    // It is ready when the process has ended, and stays so.
    let mut process = watch.process.and_then(|fd| sys::ready(fd).ok());
    let mut poll = tokio::time::interval(PATIENCE);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let far = Duration::from_secs(365 * 86400);
    let deadline = tokio::time::sleep(watch.deadline.unwrap_or(far));
    tokio::pin!(deadline);
    let mut waiting = true;
    // Is as much left in the ring as to make a batch? Of fewer, those that came while others were read, each handful would
    // wake two threads: they wait for the next look.
    let (mut filled, mut usual) = (false, 0);
    loop {
        // Between two batches too, the end of the run comes first: events may come faster than the script takes them, and
        // the ring is never found empty then.
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            _ = signals.0.recv() => if out.send(Happening::Signal).await.is_err() { return },
            _ = signals.1.recv() => if out.send(Happening::Signal).await.is_err() { return },
            _ = signals.2.recv() => if out.send(Happening::Signal).await.is_err() { return },
            () = &mut deadline, if waiting => {
                waiting = false;
                if out.send(Happening::Deadline).await.is_err() { return }
            }
            _ = readable(process.as_ref()), if process.is_some() => {
                process = None;
                if out.send(Happening::ProcessEnded).await.is_err() { return }
            }
            () = tokio::task::yield_now(), if filled => {}
            woken = readable(ready.as_ref()), if !filled && ring.is_some() => filled = woken,
            _ = poll.tick(), if !filled && ring.is_some() => filled = true,
        }
        if filled && let Some(ring) = &mut ring {
            match next_batch(ring, &mut usual) {
                Some(batch) => {
                    filled = batch.len() >= BATCH;
                    arrivals.add();
                    if out.send(Happening::Events(batch)).await.is_err() {
                        return;
                    }
                }
                None => filled = false,
            }
        }
    }
    if let Some(ring) = &mut ring {
        while let Some(batch) = next_batch(ring, &mut usual) {
            arrivals.add();
            if out.send(Happening::Events(batch)).await.is_err() {
                return;
            }
        }
    }
}

/// One that nobody had time for is no interval: the next is as much longer.
async fn intervals(period: Duration, last: Option<u64>, out: mpsc::Sender<Happening>) {
    let began = Instant::now();
    let mut timer = tokio::time::interval_at(began + period, period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let due = timer.tick().await.duration_since(began).as_secs_f64() / period.as_secs_f64();
        let is_last = last.is_some_and(|last| due.round() as u64 >= last);
        if out.send(Happening::Tick(if is_last { LAST } else { INTERVAL })).await.is_err() || is_last {
            break;
        }
    }
}

/// With room for as much as the one before, whose length it learns: it need not grow.
fn next_batch(ring: &mut Ring, usual: &mut usize) -> Option<Vec<u8>> {
    let mut batch = Vec::with_capacity(*usual);
    if ring.read(&mut batch, BATCH) == 0 {
        return None;
    }
    *usual = batch.len() + batch.len() / 8;
    Some(batch)
}

async fn readable(fd: Option<&AsyncFd<OwnedFd>>) -> bool {
    match fd {
        Some(fd) => match fd.readable().await {
            Ok(mut guard) => {
                guard.clear_ready();
                true
            }
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
