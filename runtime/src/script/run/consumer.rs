//! What happens to one chain's events: a closure, a format, columns, packets.

use crate::baseline::series::Streamed;
use crate::diagnostic::Diagnostic;
use crate::kernel::network::Interface;
use crate::plan::{Output, Then};
use crate::points::Mechanism;
use crate::prepare::Prepared;
use crate::report::packets::Packets;
use crate::report::{columns, printf};
use crate::script::aside::Aside;
use crate::script::event::Schema;
use crate::script::host::{Chain, Closure, Host};
use crate::script::output::Format;
use crate::stacks::Stacks;
use crate::template::packets::Place;
use std::cell::Cell;
use std::rc::Rc;

/// What happens to one chain's events.
pub(super) struct Consumer {
    pub(super) each: Option<Closure>,
    pub(super) format: Option<printf::Format>,
    pub(super) schema: Rc<Schema>,
    pub(super) widths: Vec<usize>,
    pub(super) headed: Cell<bool>,
    pub(super) delivered: u64,
    /// Those that were one too many.
    pub(super) beyond: u64,
    /// Its records are samples that the session counts.
    pub(super) counts: bool,
    /// Where a called script's events are printed.
    pub(super) aside: Option<Aside>,
    /// The latencies among its columns, where somebody keeps them.
    pub(super) streamed: Option<Streamed>,
    /// Its records are shown, each as a line.
    pub(super) prints: bool,
    /// Its records are packets.
    pub(super) packets: Option<Packets>,
}

impl Consumer {
    pub(super) fn new(
        chain: &Chain,
        prepared: &Prepared,
        host: &Host,
        stacks: Option<&Rc<Stacks>>,
    ) -> Result<Consumer, Diagnostic> {
        let (names, form) = (&host.names, host.output.borrow().format);
        let style = host.output.borrow().style();
        let packets = match &chain.entry.output {
            Output::Stream { then: Then::Packets(wish), .. } if form == Format::Csv && wish.file.is_none() => {
                let error = Diagnostic::script("packets are lines or JSON, not CSV").help("--format json");
                return Err(error.at(chain.entry.position));
            }
            Output::Stream { then: Then::Packets(wish), .. } => Some(
                Packets::new(wish, &interfaces(prepared), form == Format::Json, style.colour)
                    .map_err(|error| error.at(chain.entry.position))?,
            ),
            _ => None,
        };
        let format = match &chain.entry.output {
            Output::Stream { then: Then::Printf(text), .. } => printf::Format::parse(text).ok(),
            _ => None,
        };
        let prints = matches!(&chain.entry.output, Output::Stream { then: Then::Print | Then::Printf(_), .. });
        let schema = Rc::new(Schema::new(prepared.columns.clone(), names.clone(), stacks.cloned()));
        let widths = columns::streamed(&schema.columns, style.width);
        Ok(Consumer {
            each: chain.each.clone(),
            format,
            schema,
            widths,
            headed: Cell::new(false),
            delivered: 0,
            beyond: 0,
            counts: prepared.copies.is_some(),
            aside: chain.aside(),
            streamed: if host.measured.borrow().is_some() { Streamed::of(&chain.entry) } else { None },
            prints,
            packets,
        })
    }
}

/// The interfaces whose packets a chain meets.
fn interfaces(prepared: &Prepared) -> Vec<Interface> {
    let attached =
        prepared.units.iter().flat_map(|unit| &unit.programs).flat_map(|program| &program.attach).filter_map(
            |attach| match &attach.mechanism {
                Mechanism::Packets { place: Place::Interface(interface), .. } => Some(interface.clone()),
                _ => None,
            },
        );
    let mut all: Vec<Interface> = attached.collect();
    all.sort_by_key(|interface| interface.index);
    all.dedup();
    all
}
