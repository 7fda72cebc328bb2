//! How a session shows the value of a line.

use crate::report;
use crate::script::host::{Host, State};
use crate::script::probe::Probe;
use crate::script::values::{HistogramValue, RowValue, TableValue};
use rhai::Dynamic;
use std::rc::Rc;

/// Shows a value; says whether there was anything to show. Chains that this line started have said so already.
pub fn value(host: &Rc<Host>, value: &Dynamic, started: &[usize]) -> bool {
    if value.is_unit() {
        return false;
    }
    if let Some(probe) = value.read_lock::<Probe>() {
        return !started.contains(&probe.chain) && chain(host, probe.chain);
    }
    let mut output = host.output.borrow_mut();
    if let Some(table) = value.read_lock::<TableValue>() {
        output.table(&table.table, &host.names);
    } else if let Some(histogram) = value.read_lock::<HistogramValue>() {
        let mut text = Vec::new();
        // A Vec takes whatever is written.
        let _infallible = report::histogram::draw(&mut text, &histogram.histogram, &output.style());
        output.print_as_is(String::from_utf8_lossy(&text).trim_end());
    } else if let Some(list) = value.read_lock::<rhai::Array>().filter(|list| list.iter().any(Dynamic::is::<RowValue>))
    {
        list.iter().for_each(|row| output.print(&row.to_string()));
    } else if value.is_array() || value.is_map() {
        output.print(&format!("{value:?}"));
    } else {
        output.print(&value.to_string());
    }
    true
}

/// What a chain has by now; `false`: it was only said what is missing.
fn chain(host: &Rc<Host>, chain: usize) -> bool {
    let state = host.chains.borrow()[chain].state;
    match host.table(chain) {
        Ok(Some(table)) => {
            host.output.borrow_mut().table(&table, &host.names);
            true
        }
        Ok(None) => {
            let text = match state {
                State::Running => "its events are shown as they come; .stop() ends it",
                State::Waiting => {
                    "nothing is attached yet: say what is wanted of its events: .count(), .hist(…), .each(|e| …)"
                }
                State::Done => "it has no values",
            };
            host.output.borrow_mut().tell(text);
            false
        }
        Err(diagnostic) => {
            host.output.borrow_mut().tell(&diagnostic.to_string());
            false
        }
    }
}
