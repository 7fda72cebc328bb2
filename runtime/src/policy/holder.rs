//! The holder: a policy in the foreground, at work for as long as this process lives. Answers its control socket, keeps its
//! times, and says when its place is gone.

use super::control::{self, Control, Request};
use super::denial::{Denial, Denials};
use super::enforcer::{Enforcer, Options};
use super::form;
use super::guard;
use super::life::{Life, Step};
use super::pinned;
use super::place::Place;
use super::rules::Rules;
use super::status;
use crate::diagnostic::Diagnostic;
use crate::kernel::{signals, sys};
use crate::threads;
use serde_json::{Value, json};
use skep_templates::catalog::Catalog;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::Duration;

/// What is asked of a new policy.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Whom it is about, beside its place.
    pub name: String,
    pub rules: Rules,
    /// Of what `rules` let pass, what these deny is counted, whatever is enforced.
    pub staged: Option<Rules>,
    pub ttl: Option<Duration>,
    /// Never dropped.
    pub guarded: BTreeSet<IpAddr>,
    pub options: Options,
    /// Who wants to see some of what is denied; what does not fit into the channel is not seen.
    pub denials: Option<SyncSender<Denial>>,
    /// Once set, it ends.
    pub over: Arc<AtomicBool>,
}

/// Signals are looked at so often, places less.
const PULSE: Duration = Duration::from_millis(50);
const PULSES_PER_PLACE: u32 = 10;

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Signal(i32),
    RolledBack,
    TimeToLive,
    /// Whoever had it put in place has seen enough.
    Over,
}

/// A policy at work.
pub struct Holder {
    name: String,
    enforcer: Enforcer,
    staged: Option<Enforcer>,
    life: Life,
    guarded: BTreeSet<IpAddr>,
    requests: Receiver<(Request, UnixStream)>,
    tell: fn(&str),
    /// Of `enforcer` and `staged`, in this order.
    denials: Vec<Denials>,
    wanted: Option<SyncSender<Denial>>,
    over: Arc<AtomicBool>,
    _control: Control,
}

impl Holder {
    /// Puts a policy in place, as an audit. `tell` gets what happens by itself.
    ///
    /// # Errors
    /// As [`Enforcer::audit`] and [`Control::open`].
    pub fn start(place: Place, wish: Wish, catalog: &Catalog, tell: fn(&str)) -> Result<Holder, Diagnostic> {
        let control = Control::open(&place.to_string())?;
        if !pinned::meant(&place.to_string()).is_empty() {
            let error = Diagnostic::machine(format!("a policy is pinned at `{place}` already"));
            let called = if wish.name.is_empty() { place.to_string() } else { wish.name };
            return Err(error.help(format!("skep policy rollback {called}")));
        }
        let failed = |error: std::io::Error| {
            let error = crate::kernel::load::text(&error);
            Diagnostic::machine(format!("failed to watch for requests: {error}"))
        };
        signals::watch().map_err(failed)?;
        let listener = control.listener().map_err(failed)?;
        let (requested, requests) = mpsc::channel();
        // It ends with the process: nobody else can unblock an accept().
        threads::start(move || {
            for stream in listener.incoming().flatten() {
                let requested = requested.clone();
                // Who says nothing holds nobody up; whom no thread is left for, gets no answer.
                let _none = threads::start(move || {
                    if let Some(request) = control::receive(&stream) {
                        // Without a holder there is no policy.
                        let _ended = requested.send((request, stream));
                    }
                });
            }
        })?;
        for other in place.others() {
            tell(&format!("`{place}` has other programs, which stay: {other}"));
        }
        let put = |place: Place, rules: &Rules, options: Options| {
            let rules = guard::guarded(rules.clone(), &wish.guarded);
            Enforcer::audit(place, &rules, options, catalog)
        };
        // First, since who comes later sees packets earlier: what is dropped anyway is not counted here.
        let staged = match &wish.staged {
            Some(Rules { .. }) if matches!(place, Place::Xdp(_)) => {
                let message = format!("`{place}` has room for one program, and a staged policy needs a second");
                return Err(Diagnostic::script(message).help("at: tc"));
            }
            // What passes is told once.
            Some(rules) => {
                let options = Options { shows_passing: false, ..wish.options };
                Some(put(Place::find(&place.to_string())?, rules, options)?)
            }
            None => None,
        };
        let enforcer = put(place, &wish.rules, wish.options)?;
        let life = Life::new(wish.rules, sys::monotonic(), wish.ttl);
        let (name, guarded, over, wanted) = (wish.name, wish.guarded, wish.over, wish.denials);
        let mut denials = Vec::new();
        if wanted.is_some() {
            for (at, enforcer) in std::iter::once(&enforcer).chain(&staged).enumerate() {
                denials.push(Denials::of(enforcer, &name, at > 0).map_err(failed)?);
            }
        }
        Ok(Holder { name, enforcer, staged, life, guarded, requests, tell, denials, wanted, over, _control: control })
    }

    /// Denials are enforced from now on; only for so long, unless it is confirmed.
    ///
    /// # Errors
    /// The kernel's.
    pub fn enforce(&mut self, within: Option<Duration>) -> Result<(), Diagnostic> {
        self.life.enforce(sys::monotonic(), within);
        self.settle(&Step::Hold { swap: false })
    }

    /// All that is at work here.
    pub fn enforcers_mut(&mut self) -> impl Iterator<Item = &mut Enforcer> {
        std::iter::once(&mut self.enforcer).chain(&mut self.staged)
    }

    /// What there is to know, as `skep policy status` shows it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn status(&self) -> Result<Value, Diagnostic> {
        let mut status = status::of(&self.enforcer, &self.life, &self.guarded)?;
        if !self.name.is_empty() {
            status["name"] = self.name.as_str().into();
        }
        if let Some(staged) = &self.staged {
            status["staged"] = status::rules(&staged.counts()?).into();
        }
        Ok(status)
    }

    /// Holds it until it ends: by a request, a signal (which goes on to wait for who takes it), its time to live, or because its place is gone.
    ///
    /// # Errors
    /// The place is gone, or the kernel refuses what a request asks for while nothing else would be safe.
    pub fn hold(&mut self) -> Result<End, Diagnostic> {
        let end = self.wait();
        self.show_denials();
        end
    }

    fn wait(&mut self) -> Result<End, Diagnostic> {
        let mut pulses = 0u32;
        loop {
            let now = sys::monotonic();
            if let Some(step) = self.life.pass(now) {
                if step == Step::End {
                    return Ok(End::TimeToLive);
                }
                self.settle(&step)?;
                (self.tell)(&format!("`{}` was not confirmed in time: gone back one step", self.enforcer.place()));
                continue;
            }
            if let Some(signal) = signals::waiting() {
                return Ok(End::Signal(signal));
            }
            if self.over.load(Ordering::Relaxed) {
                return Ok(End::Over);
            }
            self.show_denials();
            pulses = pulses.wrapping_add(1);
            if pulses.is_multiple_of(PULSES_PER_PLACE) && !self.enforcer.place().exists() {
                let place = self.enforcer.place();
                return Err(Diagnostic::machine(format!("`{place}` is gone, and its policy with it")));
            }
            let until_next = self.life.next().map(|next| Duration::from_nanos(next.saturating_sub(now)));
            match self.requests.recv_timeout(until_next.unwrap_or(PULSE).min(PULSE)) {
                Ok((request, stream)) => {
                    let done = self.serve(request);
                    let ends = self.life.state().is_none();
                    control::answer(&stream, done);
                    if ends {
                        return Ok(End::RolledBack);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(PULSE),
            }
        }
    }

    fn show_denials(&mut self) {
        let Some(wanted) = &self.wanted else { return };
        let enforcers = std::iter::once(&self.enforcer).chain(&self.staged);
        for (denials, enforcer) in self.denials.iter_mut().zip(enforcers) {
            // Who falls behind sees fewer of them.
            denials.take(enforcer).into_iter().for_each(|denial| drop(wanted.try_send(denial)));
        }
    }

    fn serve(&mut self, request: Request) -> Result<Value, Diagnostic> {
        let now = sys::monotonic();
        match request {
            Request::Status => return self.status(),
            Request::Enforce { within } => self.enforce(within)?,
            Request::Confirm => {
                if !self.life.confirm() {
                    return Err(Diagnostic::machine("nothing waits for a confirmation").help("skep policy status"));
                }
                self.settle(&Step::Hold { swap: false })?;
            }
            Request::Rollback { all } => {
                let mut step = self.life.roll_back();
                while all && step != Step::End {
                    step = self.life.roll_back();
                }
                self.settle(&step)?;
            }
            Request::Swap { rules, within } => {
                let rules = form::rules(&rules)?;
                self.enforcer.swap(&guard::guarded(rules.clone(), &self.guarded))?;
                self.life.swap(rules, now, within);
                self.settle(&Step::Hold { swap: false })?;
            }
        }
        Ok(json!({ "done": true, "steps": self.life.steps() }))
    }

    /// Makes the kernel do what the life says.
    fn settle(&mut self, step: &Step) -> Result<(), Diagnostic> {
        if let (Step::Hold { swap: true }, Some(state)) = (step, self.life.state()) {
            self.enforcer.swap(&guard::guarded(state.rules.clone(), &self.guarded))?;
        }
        self.enforcer.enforce_until(self.life.enforced_until())
    }
}
