//! The walk: from one sample's registers to the root of its stack, or as far as it is known.

use super::frame::{Row, by_frame_pointer};
use super::sample::Sample;
use crate::symbols::reason;
use std::rc::Rc;

/// Functions of one chain; as many as the kernel would follow at most (kernel.perf_event_max_stack).
const DEEPEST: usize = 1024;

/// A call chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Walked {
    /// Innermost first; all others are return addresses, one byte behind what was interrupted included.
    pub addresses: Vec<u64>,
    /// Why it ends before its root; `None`: it is complete.
    pub end: Option<&'static str>,
}

/// Walks. `code` tells what unwind tables say of an address, `None` where they say nothing, and where no code is, why.
pub fn walk(sample: &Sample, mut code: impl FnMut(u64) -> Result<Option<Rc<Row>>, &'static str>) -> Walked {
    let mut here = sample.registers;
    let mut walked = Walked { addresses: vec![here.ip()], end: None };
    if here.is_narrow() {
        walked.end = Some(reason::NARROW);
        return walked;
    }
    // A return address may be the first one behind its function: what stands in front of it made the call.
    let mut called = false;
    let mut guessed = false;
    while walked.addresses.len() < DEEPEST {
        let row = match code(here.ip().saturating_sub(called.into())) {
            Ok(row) => row,
            Err(_) if guessed => {
                // What the frame pointer led to is no code: it was none.
                walked.addresses.pop();
                walked.end = Some(reason::NO_TABLES);
                return walked;
            }
            Err(why) => {
                walked.end = Some(why);
                return walked;
            }
        };
        let signal = row.as_ref().is_some_and(|row| row.signal);
        let caller = match &row {
            Some(row) if called && row.is_leaf() => Err(reason::TABLES_DAMAGED),
            Some(row) => row.caller(&here, &sample.stack),
            None => by_frame_pointer(&here, &sample.stack),
        };
        let caller = match caller {
            Ok(Some(caller)) => caller,
            Ok(None) => return walked,
            Err(why) => {
                walked.end = Some(why);
                return walked;
            }
        };
        // A signal may have come while another stack was in use.
        if !signal && (caller.sp() < here.sp() || caller.sp() == here.sp() && called) {
            walked.end = Some(reason::TABLES_DAMAGED);
            return walked;
        }
        (here, called, guessed) = (caller, !signal, row.is_none());
        walked.addresses.push(here.ip().saturating_add(signal.into()));
    }
    walked.end = Some(reason::TOO_DEEP);
    walked
}
