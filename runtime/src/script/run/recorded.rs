//! Runs with a recording: their chains as it has them, and what it gets of a live one.

use super::Running;
use super::consumer::Consumer;
use crate::aggregate::column::ColumnType;
use crate::aggregate::table::Table;
use crate::budget::keeper::Account;
use crate::diagnostic::Diagnostic;
use crate::feed::{Happenings, Values};
use crate::following::Following;
use crate::kernel::load::text;
use crate::plan::{Entry, Output, Then};
use crate::prepare::Prepared;
use crate::recording;
use crate::recording::frame::Closed;
use crate::recording::player::Player;
use crate::recording::recorder::{self, Recorder};
use crate::script::host::{Active, Chain, Fallible, Host, State, raise};
use crate::session;
use crate::stacks::Stacks;
use rhai::NativeCallContext;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

impl Running {
    /// The same chains as a recording has them.
    pub(super) fn replay(host: &Rc<Host>, numbers: Vec<usize>, player: &Rc<Player>) -> Result<Running, Diagnostic> {
        let mut chains = host.chains.borrow_mut();
        let entries: Vec<&Entry> = numbers.iter().map(|n| &chains[*n].entry).collect();
        let prepared = player.run(&numbers, &entries)?;
        let has_stacks = prepared.iter().flat_map(|one| &one.columns).any(ColumnType::is_stack);
        let stacks = has_stacks.then(|| Rc::new(Stacks::recorded(player)));
        let spec =
            |(n, (entry, one)): (usize, (&&Entry, &Prepared))| player.counts(n).then(|| session::spec(entry, one));
        let specs = entries.iter().zip(&prepared).enumerate().map(spec).collect();
        let consumer = |(n, one): (&usize, &Prepared)| Consumer::new(&chains[*n], one, host, stacks.as_ref());
        let consumers = numbers.iter().zip(&prepared).map(consumer).collect::<Result<Vec<_>, _>>()?;
        numbers.iter().for_each(|n| chains[*n].state = State::Running);
        player.told().iter().for_each(|line| host.output.borrow_mut().tell(line));
        // It was let go then.
        *host.command.borrow_mut() = None;
        let session = RefCell::new(Values::Recorded { player: player.clone(), specs, stacks });
        let active = Rc::new(Active { session, chains: numbers, prepared });
        host.active.borrow_mut().push(active.clone());
        Ok(Running::new(active, Happenings::Recorded(player.clone()), consumers))
    }

    /// The recording has no more room for events: it gets the values as they are now, the run goes on.
    pub(super) fn stop_recording(&self, context: &NativeCallContext, host: &Host, recorder: &Recorder) -> Fallible<()> {
        if let Err(error) = read(host, &self.active, self.began, None) {
            return raise(error, context.call_position());
        }
        recorder.stop(recorder::FULL);
        let size = crate::report::units::bytes(recorder.limit());
        let line = format!("warning: the recording stops here: it is as large as it may be ({size}; --max-size)");
        host.output.borrow_mut().tell(&line);
        Ok(())
    }
}

/// The values of a run's chains as they are now, and all that is known about them.
///
/// # Errors
/// The kernel's.
pub(super) fn read(
    host: &Host,
    active: &Active,
    began: (SystemTime, Instant),
    account: Option<Account>,
) -> Result<(Vec<Option<Table>>, Closed), Diagnostic> {
    let failed = |error: std::io::Error| Diagnostic::machine(format!("failed to read values: {}", text(&error)));
    let took = began.1.elapsed();
    let session = active.session.borrow();
    let entries = active.chains.len();
    let tables = (0..entries).map(|n| session.table(n)).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if host.tape.recorder().is_some() {
        tables.iter().flatten().for_each(|table| recording::name_all(table, &*host.names));
    }
    let left_out = host.following.borrow().as_ref().map(Following::left_out).transpose().map_err(failed)?;
    let closed = session.close(entries, began.0, took, left_out, account).map_err(failed)?;
    Ok((tables, closed))
}

/// Packets have a file of their own kind.
///
/// # Errors
/// A script diagnostic at the chain that meets them.
pub(super) fn check(chains: &[Chain], numbers: &[usize]) -> Result<(), Diagnostic> {
    let packets = |chain: &&Chain| matches!(chain.entry.output, Output::Stream { then: Then::Packets(_), .. });
    match numbers.iter().map(|n| &chains[*n]).find(packets) {
        Some(chain) => Err(Diagnostic::script("packets are not recorded: what they are written to is a recording")
            .help("skep run SCRIPT, and any reader of pcapng")
            .at(chain.entry.position)),
        None => Ok(()),
    }
}
