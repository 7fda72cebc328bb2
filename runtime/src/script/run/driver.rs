//! The loop of a run: what happens, one after the other, until it is over.

use super::{Running, call};
use crate::diagnostic::Diagnostic;
use crate::feed::Happenings;
use crate::pump::{Happening, INTERVAL, LAST};
use crate::script::held::Held;
use crate::script::host::{Fallible, Host, raise};
use rhai::NativeCallContext;
use std::rc::Rc;

pub(super) struct Driver<'a> {
    pub(super) context: &'a NativeCallContext<'a>,
    pub(super) host: &'a Rc<Host>,
    pub(super) running: Running,
    pub(super) held: Option<Held>,
}

impl Driver<'_> {
    /// Everything is attached: policies that ask for it enforce, and the command is let go.
    pub(super) fn begin(&mut self) -> Result<(), Diagnostic> {
        // What is recorded has no command and no policies.
        let Happenings::Live { pump, .. } = self.running.happenings.get_mut() else { return Ok(()) };
        let sender = pump.sender();
        if let Some(held) = &mut self.held {
            held.hold(self.host, sender)?;
        }
        self.host.command_end.tell(sender);
        if let Some(release) = self.host.command.borrow_mut().as_mut().and_then(|command| command.release.take()) {
            let child = release().map_err(|error| Diagnostic::script(error.to_string()).nowhere())?;
            self.host.command_end.of(child)?;
        }
        Ok(())
    }

    /// Until the time is over, a signal comes, the command ends, or the script says so.
    pub(super) fn drive(&mut self) -> Fallible<()> {
        // What came while programs were loaded has woken nobody.
        if self.host.is_ended() {
            return Ok(());
        }
        loop {
            // Nothing waits: time to show what was written so far. Where that fails, nothing is worth waiting for.
            let idle = || {
                let mut output = self.host.output.borrow_mut();
                output.flush();
                !output.closed()
            };
            let Some(happening) = self.running.happenings.get_mut().next(idle) else { return Ok(()) };
            self.host.computes();
            if let Some(error) = self.host.too_large() {
                return raise(error, self.context.call_position());
            }
            match happening {
                Happening::Events(batch) => self.running.deliver(self.context, self.host, &batch)?,
                Happening::Tick(which @ (INTERVAL | LAST)) => {
                    let is_last = self.interval(which == LAST);
                    if is_last.or_else(|error| raise(error, self.context.call_position()))? {
                        return Ok(());
                    }
                }
                Happening::Tick(n) => {
                    let timer = self.host.timers.borrow().get(n).map(|(_, closure)| closure.clone());
                    match timer {
                        Some(closure) => drop(call(self.context, self.host, &closure, Vec::new())?),
                        None if self.host.settings.progress => self.progress(),
                        None => {}
                    }
                }
                Happening::Deadline => return Ok(()),
                Happening::Said(line) => self.host.output.borrow_mut().tell(&line),
                Happening::ProcessEnded => {
                    self.host.output.borrow_mut().progress("");
                    self.host.output.borrow_mut().tell("the process has ended");
                    return Ok(());
                }
                Happening::Signal | Happening::CommandEnded => {
                    self.host.is_ended();
                    return Ok(());
                }
                // Below: where the channel is full, this is not said.
                Happening::Denied => {}
                Happening::PoliciesEnded => {
                    // By a signal perhaps, which they see too.
                    if self.host.is_ended() || self.running.active.chains.is_empty() {
                        return Ok(());
                    }
                }
            }
            if let Some(held) = &self.held {
                held.denied(self.context, self.host)?;
            }
            if self.host.exit.get().is_some() || self.host.output.borrow().closed() || self.running.is_enough() {
                return Ok(());
            }
            if let Some(recorder) = self.host.tape.recorder().filter(|recorder| recorder.is_full()) {
                self.running.stop_recording(self.context, self.host, recorder)?;
            }
        }
    }

    /// Shows what an interval has. Was it the last?
    fn interval(&self, is_last: bool) -> Result<bool, Diagnostic> {
        // Another script of a recording may have none.
        let Some(intervals) = self.host.intervals()? else { return Ok(false) };
        self.running.interval(self.host)?;
        let over = self.running.intervals.get() + 1;
        self.running.intervals.set(over);
        let is_last = is_last || intervals.count.is_some_and(|count| over >= count);
        if is_last {
            self.running.all_shown(self.host);
        }
        Ok(is_last)
    }

    /// How far the run is, on the terminal's last line.
    fn progress(&self) {
        let Running { active, began, .. } = &self.running;
        let session = active.session.borrow();
        // What cannot be read now is read at the end, and an error then.
        let counters = (0..active.chains.len()).filter_map(|n| session.trust(n).ok());
        let passed: u64 = counters.map(|trust| trust.seen - trust.filtered).sum();
        let time = crate::report::units::duration(began.1.elapsed().as_nanos() as i128);
        self.host.output.borrow_mut().progress(&format!("{time}: {} events", crate::report::units::grouped(passed)));
    }
}
