//! Policies at work for as long as a run lasts, beside its chains. They are put in place first, as audits, and taken back
//! last; who enforces does so from when everything is attached.

use super::host::{Fallible, Host, State};
use super::policies::{Said, What};
use super::run::call;
use crate::diagnostic::Diagnostic;
use crate::permit::gate::Gate;
use crate::policy::check::Checked;
use crate::policy::denial::Denial;
use crate::policy::inventory::Inventory;
use crate::policy::model::{Mode, Policy};
use crate::policy::resolve::resolve;
use crate::policy::rollout::{self, Ended, Past, Rollout};
use crate::policy::site::{Site, sites, stage_audits};
use crate::policy::{guard, pinned};
use crate::pump::Happening;
use crate::report::units;
use crate::threads;
use rhai::{Dynamic, Map, NativeCallContext};
use serde_json::{Value as Json, json};
use std::collections::{BTreeSet, VecDeque};
use std::io::Write;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::Sender;

/// Denials that wait for the script; what comes while so many do is not shown.
const WAITING: usize = 1024;

type Outcomes = Vec<Past>;

/// Policies of one run.
pub struct Held {
    numbers: Vec<usize>,
    mode: Mode,
    ttl: Option<Duration>,
    over: Arc<AtomicBool>,
    /// Until they are held.
    rollout: Option<(Rollout, Receiver<Denial>)>,
    outcomes: Option<Receiver<Outcomes>>,
    waiting: Waiting,
    /// Fills it, until no policy is left.
    listener: Option<JoinHandle<()>>,
}

/// What was denied, and no closure has seen yet.
#[derive(Clone, Default)]
struct Waiting(Arc<Mutex<VecDeque<Denial>>>);

impl Waiting {
    fn locked(&self) -> MutexGuard<'_, VecDeque<Denial>> {
        // Whoever panicked beside it has left a list.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who falls behind sees fewer of them.
    fn add(&self, denial: Denial) {
        let mut waiting = self.locked();
        if waiting.len() < WAITING {
            waiting.push_back(denial);
        }
    }
}

impl Held {
    /// Puts policies in place, all or none; as audits.
    ///
    /// # Errors
    /// As [`Rollout::start`], and what is wrong with the policies together.
    pub fn start(host: &Host, numbers: Vec<usize>, time: Option<Duration>) -> Result<Held, Diagnostic> {
        host.gate.get().map_or(Ok(()), Gate::policies)?;
        let said = host.policies.borrow();
        let wanted: Vec<&Said> = numbers.iter().map(|number| &said[*number]).collect();
        let sites = sites_of(&wanted)?;
        host.audited(|| noted(&wanted, &sites))?;
        pinned::clean_up();
        let mut guarded: BTreeSet<_> = wanted.iter().flat_map(|said| &said.guarded).copied().collect();
        guarded.extend(guard::session());
        let over = Arc::new(AtomicBool::new(false));
        let (denials, seen) = sync_channel(WAITING);
        let ttl = [time, host.settings.longest].into_iter().flatten().min();
        let wish = rollout::Wish {
            enforce: wanted.iter().any(|said| said.enforces),
            confirm_within: wanted.iter().filter_map(|said| said.confirm_within).min(),
            // So that it holds to the time even if this process is stopped.
            ttl,
            guarded,
            denials: wanted.iter().any(|said| said.each.is_some()).then_some(denials),
            over: over.clone(),
            ..rollout::Wish::default()
        };
        let talk = host.output.borrow().talk;
        let rollout = Rollout::start(sites, &wish, &host.settings.catalog, if talk { tell } else { |_| {} })?;
        let mode = if wish.enforce { Mode::Enforce } else { Mode::Audit };
        drop(said);
        let places: Vec<String> = rollout.places().map(|(_, place)| place.to_owned()).collect();
        for number in &numbers {
            let said = &mut host.policies.borrow_mut()[*number];
            (said.state, said.places) = (State::Running, places.clone());
        }
        Ok(Held {
            numbers,
            mode,
            ttl,
            over,
            rollout: Some((rollout, seen)),
            outcomes: None,
            waiting: Waiting::default(),
            listener: None,
        })
    }

    /// Enforces what asks for it, and says so. `run` is told of denials, and when no policy is left.
    ///
    /// # Errors
    /// No thread is to be had for it: the policies are gone then.
    pub fn hold(&mut self, host: &Host, run: &Sender<Happening>) -> Result<(), Diagnostic> {
        let Some((mut rollout, seen)) = self.rollout.take() else { return Ok(()) };
        rollout.enforce();
        let places: Vec<String> = rollout.places().map(|(_, place)| format!("`{place}`")).collect();
        let time = |ttl: Duration| format!("for {}", units::duration(ttl.as_nanos() as i128));
        let until = self.ttl.map_or("Ctrl-C to end".to_owned(), time);
        let mode = self.mode.name();
        host.output.borrow_mut().tell(&format!("attached: {mode}s {}; {until}", places.join(", ")));
        // Weak: a run that is over for another reason does not wait for them.
        let (told, run) = (run.downgrade(), run.downgrade());
        let waiting = self.waiting.clone();
        self.listener = Some(threads::start(move || {
            for denial in seen {
                waiting.add(denial);
                // The run may be over by now, or have so much to do that it looks by itself.
                let _gone = told.upgrade().map(|run| run.try_send(Happening::Denied));
            }
        })?);
        let (ended, outcomes) = sync_channel(1);
        threads::start(move || {
            // First, since a run that waits for them listens to nothing else.
            let _over = ended.send(rollout.hold());
            if let Some(run) = run.upgrade() {
                let _gone = run.blocking_send(Happening::PoliciesEnded);
            }
        })?;
        self.outcomes = Some(outcomes);
        Ok(())
    }

    /// Takes back what is still in place, and keeps what it has done. What was denied until then is handed on.
    ///
    /// # Errors
    /// What a closure fails with; and the first that did not end as it should: its place is gone.
    pub fn end(mut self, context: &NativeCallContext, host: &Host) -> (Fallible<()>, Result<(), Diagnostic>) {
        let ended = self.take_back(host);
        // It ends with the policies.
        let _panicked = self.listener.take().map(JoinHandle::join);
        (self.denied(context, host), ended)
    }

    fn take_back(&mut self, host: &Host) -> Result<(), Diagnostic> {
        self.over.store(true, Ordering::Relaxed);
        // Those that nobody holds go with the rollout.
        drop(self.rollout.take());
        let outcomes = match self.outcomes.take() {
            Some(outcomes) => outcomes.recv().map_err(|_| Diagnostic::bug("the thread that holds policies ended"))?,
            None => Vec::new(),
        };
        let (mut done, mut failed): (Vec<Json>, _) = (Vec::new(), Ok(()));
        for Past { ended, .. } in outcomes {
            match ended {
                Ok(Ended::Over(_, mut status)) => {
                    // It is over, which everybody knows: what it was until then is of interest.
                    if status["mode"] == "ended" {
                        status["mode"] = self.mode.name().into();
                    }
                    (status["ttl_ms"], status["confirm_within_ms"]) = (Json::Null, Json::Null);
                    done.push(status);
                }
                Ok(Ended::Pinned(_)) => {}
                Err(error) => failed = failed.and(Err(error)),
            }
        }
        let done = Rc::new(done);
        for number in &self.numbers {
            let said = &mut host.policies.borrow_mut()[*number];
            (said.state, said.done) = (State::Done, Some(done.clone()));
        }
        failed
    }

    /// Hands denials to whoever asked for them.
    ///
    /// # Errors
    /// What a closure fails with.
    pub fn denied(&self, context: &NativeCallContext, host: &Host) -> Fallible<()> {
        let waiting = std::mem::take(&mut *self.waiting.locked());
        for (denial, number) in
            waiting.iter().flat_map(|denial| self.numbers.iter().map(move |number| (denial, number)))
        {
            let closure = host.policies.borrow()[*number].each.clone();
            if let Some(closure) = closure.filter(|_| host.exit.get().is_none()) {
                drop(call(context, host, &closure, [value(denial)])?);
            }
        }
        Ok(())
    }
}

/// Where policies are to be put, and what holds there: those of the script together, those of files by themselves.
///
/// # Errors
/// A script diagnostic: policies that say nothing, or that ask for different points of one place.
pub fn sites_of(wanted: &[&Said]) -> Result<Vec<Site>, Diagnostic> {
    let mut policies: Vec<Policy> = Vec::new();
    let mut found = Vec::new();
    for said in wanted {
        match &said.what {
            What::Draft(draft) => policies.push(Said::policy(draft).map_err(|error| error.at(said.position))?),
            What::Files(checked) => found.extend(sites(checked)?),
        }
    }
    if wanted.iter().any(|said| said.enforces) {
        stage_audits(&mut policies);
    }
    let first = wanted.first().and_then(|said| said.position);
    let resolution = resolve(&policies, &Inventory::default()).map_err(|fault| fault.diagnostic.at(first))?;
    found.extend(sites(&Checked { policies, resolution, ..Checked::default() }).map_err(|error| error.at(first))?);
    Ok(found)
}

/// What is put in place, as the audit log has it.
fn noted(wanted: &[&Said], sites: &[Site]) -> Json {
    let enforces = wanted.iter().any(|said| said.enforces);
    let mode = if enforces { Mode::Enforce } else { Mode::Audit };
    sites.iter().map(|site| json!({ "what": format!("policy at {}", site.name), "mode": mode.name() })).collect()
}

/// A denial as a closure gets it.
fn value(denial: &Denial) -> Dynamic {
    let text = |text: String| Dynamic::from(text);
    let entries: [(&str, Dynamic); 9] = [
        ("place", text(denial.met.place.clone())),
        ("rule", text(denial.rule.to_string())),
        ("direction", text(denial.direction.name().to_owned())),
        ("verdict", text(denial.outcome.name().to_owned())),
        ("src", text(denial.source.to_string())),
        ("dst", text(denial.destination.to_string())),
        ("proto", text(denial.protocol.to_string())),
        ("port", denial.port.map_or(Dynamic::UNIT, |port| i64::from(port).into())),
        ("bytes", i64::from(denial.bytes).into()),
    ];
    entries.into_iter().map(|(name, value)| (name.into(), value)).collect::<Map>().into()
}

fn tell(line: &str) {
    // Standard error may be closed; then nobody wants to know.
    let _nobody = writeln!(std::io::stderr(), "{line}");
}
