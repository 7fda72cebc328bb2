//! The loop that serves what runs in the background, until somebody asks for something.

use super::jobs::{Job, Jobs, Timer, sparkline, what};
use super::request::Request;
use super::screen::{Keys, PATIENCE, Screen};
use crate::diagnostic::Diagnostic;
use crate::kernel::signals;
use crate::plan::Output;
use crate::pump::Happening;
use crate::report::units;
use crate::script::host::{Fallible, Host, State, raise};
use crate::script::run::{self, Running};
use rhai::{Dynamic, EvalAltResult, NativeCallContext};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;

/// Without a line for so long everything is detached.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// How often keys are looked for while something is watched.
const KEYS: Duration = Duration::from_millis(50);

/// What a session has besides its script.
pub struct Interactive {
    pub jobs: Jobs,
    pub screen: Rc<Screen>,
    requests: RefCell<UnboundedReceiver<Request>>,
    /// Requests that came while the foreground was busy.
    waiting: RefCell<VecDeque<Request>>,
    runtime: tokio::runtime::Runtime,
    /// SIGINT, SIGTERM, SIGHUP.
    signals: RefCell<[Signal; 3]>,
    /// Everything is detached when nobody typed for so long; `None`: never.
    pub ttl: Cell<Option<Duration>>,
    /// When the last line came.
    pub asked: Cell<Instant>,
    /// The line that is evaluated now, from 1.
    pub line: Cell<usize>,
    /// Closures of jobs are being called.
    calling: Cell<bool>,
    /// What went wrong in the background: of which line, and what.
    pub failures: RefCell<Vec<(usize, Box<EvalAltResult>)>>,
    /// The line looked at the values of what runs.
    pub looked: Cell<bool>,
    /// The line changed a chain that runs, and said so.
    pub changed: Cell<bool>,
    /// The line called a function that is for sessions only.
    pub played: Cell<bool>,
    /// Tables that a front end wants again and again: of which job, how often, and when next.
    subscribed: RefCell<Vec<(Rc<Job>, Duration, Instant)>>,
}

/// Why the loop ended.
pub enum Ended {
    Request(Request),
    /// Something in the background failed; [`Interactive::failures`] has it.
    Failed,
    /// The job that was waited for is over.
    Job,
    /// It took as long as was asked for.
    Time,
    Key,
    Interrupted,
    /// The terminal is gone, or somebody asked the process to end; with the exit status.
    Leave(i32),
}

/// What the loop is to end for, besides signals.
#[derive(Clone, Copy)]
pub enum Until<'a> {
    Request,
    Job(&'a Rc<Job>),
    Time(Instant, Option<&'a dyn Keys>),
}

enum Next {
    Request(Request),
    Signal(i32),
    Job(Rc<Job>, Option<Happening>),
    Timer(Rc<Timer>),
    Tick,
}

impl Interactive {
    /// # Errors
    /// No epoll instance is to be had, or signals cannot be handled.
    pub fn new(screen: Rc<Screen>, requests: UnboundedReceiver<Request>) -> io::Result<Interactive> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        signals::watch()?;
        let signals = {
            let _inside = runtime.enter();
            let [interrupt, terminate, hangup] =
                [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
            [interrupt?, terminate?, hangup?]
        };
        Ok(Interactive {
            jobs: Jobs::default(),
            screen,
            requests: RefCell::new(requests),
            waiting: RefCell::default(),
            runtime,
            signals: RefCell::new(signals),
            ttl: Cell::new(Some(IDLE)),
            asked: Cell::new(Instant::now()),
            line: Cell::new(0),
            calling: Cell::new(false),
            failures: RefCell::default(),
            looked: Cell::new(false),
            changed: Cell::new(false),
            played: Cell::new(false),
            subscribed: RefCell::default(),
        })
    }

    /// Serves jobs and timers until what is waited for comes.
    ///
    /// # Errors
    /// What a closure of the job that is waited for fails with.
    pub fn serve(&self, context: &NativeCallContext, host: &Rc<Host>, until: Until<'_>) -> Fallible<Ended> {
        loop {
            if matches!(until, Until::Request) {
                if !self.failures.borrow().is_empty() {
                    return Ok(Ended::Failed);
                }
                if let Some(request) = self.waiting.borrow_mut().pop_front() {
                    return Ok(Ended::Request(request));
                }
            }
            host.output.borrow_mut().flush();
            match self.next(until) {
                Next::Request(request) => self.waiting.borrow_mut().push_back(request),
                Next::Signal(libc::SIGINT) => {
                    signals::take();
                    if !matches!(until, Until::Request) {
                        return Ok(Ended::Interrupted);
                    }
                }
                Next::Signal(signal) => return Ok(Ended::Leave(signals::status(signal))),
                Next::Tick => {
                    self.screen.tick();
                    self.publish(host);
                    self.check_ttl(context, host);
                }
                Next::Timer(timer) => self.tick(context, host, &timer),
                Next::Job(job, happening) => {
                    let awaited = matches!(until, Until::Job(one) if Rc::ptr_eq(one, &job));
                    match self.happened(context, host, &job, happening) {
                        Err(error) if awaited => return Err(error),
                        Err(error) => {
                            self.failures.borrow_mut().push((job.line, error));
                            job.stop.set(true);
                        }
                        Ok(true) if awaited => return Ok(Ended::Job),
                        Ok(true) => job.stop.set(true),
                        Ok(false) => {}
                    }
                }
            }
            // `exit()` in a closure ends its own job, so that a look at the others goes on.
            self.reap(context, host);
            match until {
                Until::Time(time, _) if Instant::now() >= time => return Ok(Ended::Time),
                Until::Time(_, Some(keys)) if keys.pressed() => return Ok(Ended::Key),
                _ => {}
            }
        }
    }

    /// Whatever happens first; requests and signals before events, so that a flood of those delays nobody.
    fn next(&self, until: Until<'_>) -> Next {
        let timers = self.jobs.timers.borrow().clone();
        let jobs = self.jobs.list.borrow().clone();
        let due = timers.iter().min_by_key(|timer| timer.next.get()).cloned();
        let now = Instant::now();
        let mut wake = now + Duration::from_secs(1);
        if self.screen.waits() {
            wake = now + PATIENCE;
        }
        if let Until::Time(time, keys) = until {
            wake = wake.min(time).min(keys.map_or(wake, |_| now + KEYS));
        }
        for (_, _, next) in self.subscribed.borrow().iter() {
            wake = wake.min(*next);
        }
        let mut requests = self.requests.borrow_mut();
        let mut signals = self.signals.borrow_mut();
        self.runtime.block_on(async {
            let sleep = tokio::time::sleep_until(wake.into());
            let timer = tokio::time::sleep_until(due.as_ref().map_or(wake, |timer| timer.next.get()).into());
            tokio::pin!(sleep, timer);
            let numbers = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];
            poll_fn(|task| {
                for (signal, number) in signals.iter_mut().zip(numbers) {
                    if signal.poll_recv(task).is_ready() {
                        return Poll::Ready(Next::Signal(number));
                    }
                }
                match requests.poll_recv(task) {
                    Poll::Ready(Some(request)) => return Poll::Ready(Next::Request(request)),
                    // Every front end is gone.
                    Poll::Ready(None) => return Poll::Ready(Next::Signal(libc::SIGHUP)),
                    Poll::Pending => {}
                }
                if let (Some(due), true) = (&due, timer.as_mut().poll(task).is_ready()) {
                    return Poll::Ready(Next::Timer(due.clone()));
                }
                if sleep.as_mut().poll(task).is_ready() {
                    return Poll::Ready(Next::Tick);
                }
                for job in &jobs {
                    if let Poll::Ready(happening) = job.running.happenings.borrow_mut().poll(task) {
                        return Poll::Ready(Next::Job(job.clone(), happening));
                    }
                }
                Poll::Pending
            })
            .await
        })
    }

    /// `true`: the job is over.
    fn happened(
        &self,
        context: &NativeCallContext,
        host: &Rc<Host>,
        job: &Rc<Job>,
        happening: Option<Happening>,
    ) -> Fallible<bool> {
        host.computes();
        match happening {
            Some(Happening::Events(batch)) => {
                self.calling.set(true);
                let delivered = job.running.deliver(context, host, &batch);
                self.calling.set(false);
                delivered?;
                // `exit()` of a closure.
                Ok(host.exit.take().is_some() || job.running.is_enough())
            }
            Some(Happening::Deadline) | None => Ok(true),
            Some(Happening::Said(line)) => {
                host.tell(&line);
                Ok(false)
            }
            Some(Happening::ProcessEnded) => {
                host.output.borrow_mut().tell("the process has ended");
                Ok(true)
            }
            Some(
                Happening::Signal
                | Happening::Tick(_)
                | Happening::CommandEnded
                | Happening::Denied
                | Happening::PoliciesEnded,
            ) => Ok(false),
        }
    }

    fn tick(&self, context: &NativeCallContext, host: &Rc<Host>, timer: &Rc<Timer>) {
        let now = Instant::now();
        // Ticks that nobody had time for are left out.
        timer.next.set((timer.next.get() + timer.period).max(now));
        self.calling.set(true);
        let called = run::call(context, host, &timer.closure, []);
        self.calling.set(false);
        match called {
            Err(error) => {
                self.failures.borrow_mut().push((timer.line, error));
                timer.stop.set(true);
            }
            Ok(_) if host.exit.take().is_some() => timer.stop.set(true),
            Ok(value) => {
                let number = value.as_float().ok().or(value.as_int().ok().map(|int| int as f64));
                let Some(number) = number else { return };
                let mut history = timer.history.borrow_mut();
                history.push(number);
                let width = 40.min(self.screen.size().map_or(40, |(columns, _)| columns / 2));
                let excess = history.len().saturating_sub(width);
                history.drain(..excess);
                host.output.borrow_mut().print(&format!("{} {value}", sparkline(&history, width)));
            }
        }
    }

    /// Closes jobs that are to end.
    fn reap(&self, context: &NativeCallContext, host: &Rc<Host>) {
        let over: Vec<Rc<Job>> = self.jobs.list.borrow().iter().filter(|job| job.stop.get()).cloned().collect();
        for job in over {
            if let Err(error) = self.close(context, host, &job) {
                self.failures.borrow_mut().push((job.line, error));
            }
        }
        let timers = self.jobs.timers.borrow_mut().extract_if(.., |timer| timer.stop.get()).collect::<Vec<_>>();
        for timer in timers {
            host.output.borrow_mut().tell(&format!("job {} ended", timer.number));
        }
    }

    /// Detaches a job, and says how complete its result is.
    ///
    /// # Errors
    /// As [`Running::close`].
    pub fn close(&self, context: &NativeCallContext, host: &Rc<Host>, job: &Rc<Job>) -> Fallible<()> {
        self.jobs.list.borrow_mut().retain(|one| !Rc::ptr_eq(one, job));
        self.calling.set(true);
        let closed = job.running.close(context, host);
        self.calling.set(false);
        let trust = closed?;
        host.output.borrow_mut().trust_of(&format!("job {} ended; ", job.number), &trust);
        Ok(())
    }

    fn check_ttl(&self, context: &NativeCallContext, host: &Rc<Host>) {
        let Some(ttl) = self.ttl.get() else { return };
        if self.jobs.is_empty() || self.asked.get().elapsed() < ttl {
            return;
        }
        let time = units::duration(ttl.as_nanos() as i128);
        host.output
            .borrow_mut()
            .tell(&format!("nothing was typed for {time}: everything is detached (:ttl changes that)"));
        self.stop_all();
        self.reap(context, host);
    }

    /// From now on the table of a job is shown again and again, as long as it runs.
    ///
    /// # Errors
    /// There is no such job.
    pub fn subscribe(&self, job: usize, every: Duration) -> Result<(), Diagnostic> {
        let found = self.jobs.list.borrow().iter().find(|one| one.number == job).cloned();
        let found = found.ok_or_else(|| no_job(&job.to_string(), &self.jobs))?;
        self.subscribed.borrow_mut().push((found, every, Instant::now() + every));
        Ok(())
    }

    fn publish(&self, host: &Rc<Host>) {
        let mut subscribed = self.subscribed.borrow_mut();
        subscribed.retain(|(job, ..)| self.jobs.list.borrow().iter().any(|one| Rc::ptr_eq(one, job)));
        for (job, every, next) in subscribed.iter_mut().filter(|(_, _, next)| *next <= Instant::now()) {
            *next = Instant::now() + *every;
            for chain in &job.running.active.chains {
                if let Ok(Some(table)) = host.table(*chain) {
                    host.output.borrow_mut().table(&table, &host.names);
                }
            }
        }
    }

    /// In the middle of closures of jobs, which cannot wait for others?
    pub fn is_calling(&self) -> bool {
        self.calling.get()
    }

    /// Puts a chain that was changed into the kernel in place of its job; the new one is there before the old one goes.
    ///
    /// # Errors
    /// As [`Running::start`]; the old job goes on then.
    pub fn replace(&self, context: &NativeCallContext, host: &Rc<Host>, chain: usize, job: &Rc<Job>) -> Fallible<()> {
        let until = format!("job {}", job.number);
        let running = match Running::start(host, vec![chain], None, Some(&until)) {
            Ok(running) => running,
            Err(diagnostic) => return raise(diagnostic, context.call_position()),
        };
        self.close(context, host, job)?;
        let chain = &mut host.chains.borrow_mut()[chain];
        (chain.state, chain.table) = (State::Running, None);
        self.add(job.number, running, job.what.clone());
        Ok(())
    }

    pub fn stop_all(&self) {
        self.jobs.list.borrow().iter().for_each(|job| job.stop.set(true));
        self.jobs.timers.borrow().iter().for_each(|timer| timer.stop.set(true));
    }

    /// Ends what was asked to.
    pub fn settle(&self, context: &NativeCallContext, host: &Rc<Host>) {
        self.reap(context, host);
    }

    /// Starts whatever is whole and waits: chains that aggregate or stream, and timers.
    ///
    /// # Errors
    /// The first that cannot be attached; it is given up.
    pub fn start(&self, host: &Rc<Host>) -> Result<Vec<usize>, Diagnostic> {
        self.start_timers(host);
        let whole = |chain: &crate::script::host::Chain| {
            chain.state == State::Waiting && !matches!(chain.entry.output, Output::None)
        };
        let chains: Vec<usize> =
            host.chains.borrow().iter().enumerate().filter_map(|(n, chain)| whole(chain).then_some(n)).collect();
        for chain in &chains {
            let number = self.jobs.next();
            let what = what(&host.chains.borrow()[*chain].entry);
            match Running::start(host, vec![*chain], None, Some(&format!("job {number}"))) {
                Ok(running) => self.add(number, running, what),
                Err(diagnostic) => {
                    let position = {
                        let chain = &mut host.chains.borrow_mut()[*chain];
                        chain.state = State::Done;
                        chain.entry.position
                    };
                    return Err(diagnostic.at(position));
                }
            };
        }
        Ok(chains)
    }

    fn start_timers(&self, host: &Rc<Host>) {
        for (period, closure) in host.timers.take() {
            let next = Cell::new(Instant::now() + period);
            let line = self.line.get();
            let number = self.jobs.next();
            let timer =
                Timer { number, period, next, closure, stop: Cell::default(), line, history: RefCell::default() };
            host.output
                .borrow_mut()
                .tell(&format!("every {}; job {number}", units::duration(period.as_nanos() as i128)));
            self.jobs.timers.borrow_mut().push(Rc::new(timer));
        }
    }

    fn add(&self, number: usize, running: Running, what: String) -> Rc<Job> {
        let job = Rc::new(Job { number, running, what, stop: Cell::default(), line: self.line.get() });
        self.jobs.list.borrow_mut().push(job.clone());
        job
    }

    /// `run`: chains in the foreground, until their time is over or Ctrl-C. Jobs go on meanwhile.
    ///
    /// # Errors
    /// A chain that runs already, what attaching and closures fail with.
    pub fn foreground(
        &self,
        context: &NativeCallContext,
        host: &Rc<Host>,
        chains: Vec<usize>,
        time: Option<Duration>,
    ) -> Fallible<()> {
        let position = context.call_position();
        if self.calling.get() {
            return raise(run::inside_a_run(), position);
        }
        if let Some(job) = chains.iter().find_map(|chain| self.jobs.of_chain(*chain)) {
            let error = Diagnostic::script(format!("this chain runs already, as job {}", job.number));
            return raise(
                error.help(format!(".value() has what it counted so far; :stop {} ends it", job.number)),
                position,
            );
        }
        self.start_timers(host);
        host.ran.set(true);
        let what = chains.iter().map(|chain| what(&host.chains.borrow()[*chain].entry)).collect::<Vec<_>>().join("; ");
        if host.ended.get().is_some() {
            // Ctrl-C ended the run before this one: the line is over.
            return Err(Box::new(EvalAltResult::ErrorTerminated(Dynamic::UNIT, position)));
        }
        let waiting = chains.clone();
        let running = match Running::start(host, chains, time, None) {
            Ok(running) => running,
            Err(diagnostic) => {
                waiting.iter().for_each(|chain| host.chains.borrow_mut()[*chain].state = State::Done);
                return raise(diagnostic, position);
            }
        };
        let job = self.add(0, running, what);
        let ended = self.serve(context, host, Until::Job(&job));
        self.jobs.list.borrow_mut().retain(|one| !Rc::ptr_eq(one, &job));
        self.calling.set(true);
        let closed = job.running.close(context, host);
        self.calling.set(false);
        host.computes();
        let ended = ended?;
        let trust = closed?;
        host.output.borrow_mut().trust_of("", &trust);
        match ended {
            Ended::Leave(status) => {
                host.ended.set(Some(status));
                Err(Box::new(EvalAltResult::ErrorTerminated(Dynamic::UNIT, position)))
            }
            Ended::Interrupted => {
                host.ended.set(Some(0));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// A job that is not there, with those that are.
pub fn no_job(wrong: &str, jobs: &Jobs) -> Diagnostic {
    let numbers: Vec<String> = jobs.numbers().iter().map(ToString::to_string).collect();
    let error = Diagnostic::script(format!("there is no job `{wrong}`")).nowhere();
    match numbers.is_empty() {
        true => error.help("nothing runs; a chain with .count(), .hist(…) or .each(…) does"),
        false => error.help(format!("one of {}, or all", numbers.join(", "))),
    }
}
