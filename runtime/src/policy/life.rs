//! A policy's life: audit, enforcement for so long unless it is confirmed, other rules, and every step back. Knows what time
//! it is by what it is told, so that tests need not wait.

use super::rules::Rules;
use std::time::Duration;

/// Nanoseconds on the clock of [`crate::kernel::sys::monotonic`].
pub type Time = u64;

/// What holds: these rules, enforced or only counted.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub rules: Rules,
    pub is_enforced: bool,
}

/// What is to be done after a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// This state holds now; `swap` says whether its rules are others than before.
    Hold { swap: bool },
    /// Everything passes, and nothing is left of it.
    End,
}

/// States in which it was, the last of which holds.
#[derive(Clone, Debug)]
pub struct Life {
    states: Vec<State>,
    /// When the last step is taken back.
    unconfirmed_until: Option<Time>,
    ends_at: Option<Time>,
}

impl Life {
    /// Begins as an audit.
    pub fn new(rules: Rules, now: Time, ttl: Option<Duration>) -> Life {
        let states = vec![State { rules, is_enforced: false }];
        Life { states, unconfirmed_until: None, ends_at: ttl.map(|ttl| after(now, ttl)) }
    }

    pub fn state(&self) -> Option<&State> {
        self.states.last()
    }

    /// Steps that can be taken back before nothing is left.
    pub fn steps(&self) -> usize {
        self.states.len()
    }

    pub fn ends_at(&self) -> Option<Time> {
        self.ends_at
    }

    pub fn unconfirmed_until(&self) -> Option<Time> {
        self.unconfirmed_until
    }

    /// Denials are enforced; taken back by itself after `within` unless confirmed.
    pub fn enforce(&mut self, now: Time, within: Option<Duration>) {
        let Some(state) = self.state().cloned() else { return };
        // Once more while it is enforced anyway: only how long it may stay unconfirmed is new.
        if !state.is_enforced {
            self.states.push(State { is_enforced: true, ..state });
        }
        self.unconfirmed_until = within.map(|within| after(now, within));
    }

    /// Other rules, in the same mode.
    pub fn swap(&mut self, rules: Rules, now: Time, within: Option<Duration>) {
        let is_enforced = self.state().is_some_and(|state| state.is_enforced);
        self.states.push(State { rules, is_enforced });
        self.unconfirmed_until = within.map(|within| after(now, within));
    }

    /// What holds is wanted. Says whether that was in question.
    pub fn confirm(&mut self) -> bool {
        self.unconfirmed_until.take().is_some()
    }

    /// One step back; from the first, to nothing.
    pub fn roll_back(&mut self) -> Step {
        self.unconfirmed_until = None;
        let left = self.states.pop();
        match (left, self.state()) {
            (Some(left), Some(state)) => Step::Hold { swap: left.rules != state.rules },
            _ => Step::End,
        }
    }

    /// What time itself brings.
    pub fn pass(&mut self, now: Time) -> Option<Step> {
        if self.ends_at.is_some_and(|end| now >= end) {
            self.states.clear();
            return Some(Step::End);
        }
        self.unconfirmed_until.filter(|until| now >= *until).map(|_| self.roll_back())
    }

    /// Until when programs are to enforce by themselves; 0: not at all. No longer than it may stay unconfirmed, unless what
    /// it goes back to is enforced too.
    pub fn enforced_until(&self) -> Time {
        let [.., last] = self.states.as_slice() else { return 0 };
        if !last.is_enforced {
            return 0;
        }
        let before = self.states.len().checked_sub(2).is_some_and(|at| self.states[at].is_enforced);
        let unconfirmed = self.unconfirmed_until.filter(|_| !before);
        [unconfirmed, self.ends_at].into_iter().flatten().min().unwrap_or(super::enforcer::FOR_EVER)
    }

    /// When something happens by itself next.
    pub fn next(&self) -> Option<Time> {
        [self.unconfirmed_until, self.ends_at].into_iter().flatten().min()
    }
}

fn after(now: Time, time: Duration) -> Time {
    now.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rules::{Action, Side};

    const SECOND: Duration = Duration::from_secs(1);

    fn rules(otherwise: Action) -> Rules {
        Rules { ingress: Side { otherwise, rules: Vec::new() }, egress: Side::default() }
    }

    #[test]
    fn enforcement_that_nobody_confirms_goes_back_to_the_audit() {
        let mut life = Life::new(rules(Action::Deny), 0, None);
        assert_eq!(life.enforced_until(), 0);
        life.enforce(100, Some(SECOND));
        assert_eq!(life.enforced_until(), 1_000_000_100);
        assert_eq!(life.pass(1_000_000_099), None);
        assert_eq!(life.pass(1_000_000_100), Some(Step::Hold { swap: false }));
        assert_eq!((life.enforced_until(), life.steps()), (0, 1));
    }

    #[test]
    fn enforcement_that_is_confirmed_ends_with_its_time_to_live() {
        let mut life = Life::new(rules(Action::Deny), 0, Some(5 * SECOND));
        life.enforce(0, Some(SECOND));
        assert!(life.confirm() && !life.confirm());
        assert_eq!(life.enforced_until(), 5_000_000_000);
        assert_eq!(life.pass(5_000_000_000), Some(Step::End));
        assert_eq!(life.enforced_until(), 0);
    }

    #[test]
    fn rules_that_nobody_confirms_give_way_to_those_before() {
        let mut life = Life::new(rules(Action::Deny), 0, None);
        life.enforce(0, None);
        life.swap(rules(Action::Allow), 0, Some(SECOND));
        // What it goes back to is enforced: no gap may come between.
        assert_eq!(life.enforced_until(), u64::MAX);
        assert_eq!(life.pass(1_000_000_000), Some(Step::Hold { swap: true }));
        assert_eq!(life.state().map(|state| state.rules.clone()), Some(rules(Action::Deny)));
        assert_eq!(life.roll_back(), Step::Hold { swap: false });
        assert_eq!(life.roll_back(), Step::End);
    }
}
