//! Timers and counters.

use super::{Mechanism, Point, scope};
use crate::attach_point::{self, AttachPoint};
use crate::kernel::perf::{self, Every};
use crate::slot::ir::Memory;

/// A timed source; attach points of other kinds are not given to it.
pub fn point(point: &AttachPoint) -> Point {
    let (kind, config, every, one_cpu, reason) = match point {
        AttachPoint::Interval { unit, count } => {
            let every = attach_point::every(unit, *count).unwrap_or(Every::Hertz(1));
            (perf::SOFTWARE, 0, every, true, "the clock of one processor")
        }
        AttachPoint::Profile { every, .. } => (perf::SOFTWARE, 0, *every, false, "the clock of every processor"),
        AttachPoint::Software { event, period } | AttachPoint::Hardware { event, period } => {
            let software = matches!(point, AttachPoint::Software { .. });
            let kind = if software { perf::SOFTWARE } else { perf::HARDWARE };
            let (config, preset) = perf::event(kind, event).unwrap_or((0, 1));
            (kind, config, Every::Period(period.unwrap_or(preset)), false, "every processor's counter")
        }
        _ => (perf::SOFTWARE, 0, Every::Hertz(1), true, ""),
    };
    let shown = point.to_string();
    let mechanism = Mechanism::Perf { kind, config, every, one_cpu };
    Point { scope: scope(&shown, Memory::User), shown, mechanism, reason: reason.into(), id: 0 }
}
