//! What happens to one chain's events: a closure, a format, columns, packets.

use crate::aggregate::column::{BytesShow, ColumnKind, ColumnType, Show};
use crate::diagnostic::Diagnostic;
use crate::kernel::network::Interface;
use crate::plan::{Output, Then};
use crate::points::Mechanism;
use crate::prepare::Prepared;
use crate::report::packets::Packets;
use crate::report::printf::Format;
use crate::script::event::Schema;
use crate::script::host::{Chain, Closure, Host};
use crate::script::output;
use crate::stacks::Stacks;
use crate::template::packets::Place;
use std::cell::Cell;
use std::rc::Rc;

/// What happens to one chain's events.
pub(super) struct Consumer {
    pub(super) each: Option<Closure>,
    pub(super) format: Option<Format>,
    pub(super) schema: Rc<Schema>,
    pub(super) widths: Vec<usize>,
    pub(super) headed: Cell<bool>,
    pub(super) delivered: u64,
    /// Its records are samples that the session counts.
    pub(super) counts: bool,
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
        let (names, json) = (&host.names, host.output.borrow().format == output::Format::Json);
        let colour = host.output.borrow().style().colour;
        let packets = match &chain.entry.output {
            Output::Stream { then: Then::Packets(wish), .. } => Some(
                Packets::new(wish, &interfaces(prepared), json, colour)
                    .map_err(|error| error.at(chain.entry.position))?,
            ),
            _ => None,
        };
        let format = match &chain.entry.output {
            Output::Stream { then: Then::Printf(text), .. } => Format::parse(text).ok(),
            _ => None,
        };
        let schema = Rc::new(Schema::new(prepared.columns.clone(), names.clone(), stacks.cloned()));
        let widths = schema.columns.iter().map(width).collect();
        Ok(Consumer {
            each: chain.each.clone(),
            format,
            schema,
            widths,
            headed: Cell::new(false),
            delivered: 0,
            counts: prepared.copies.is_some(),
            packets,
        })
    }
}

/// How wide a streamed column is: its widest value is not known yet.
fn width(column: &ColumnType) -> usize {
    let usual = match column.kind {
        ColumnKind::Int { .. } if column.name == "nsecs" => 15,
        ColumnKind::Int { show: Show::Hex, .. } => 18,
        ColumnKind::Int { show: Show::Probe, .. } => 22,
        ColumnKind::Int { .. } => 7,
        ColumnKind::Text { size } => usize::from(size).min(16),
        ColumnKind::Bytes { show: BytesShow::UserSymbol, .. } => 22,
        ColumnKind::Bytes { .. } => 15,
        ColumnKind::Path { .. } | ColumnKind::Called(_) => 32,
    };
    usual.max(column.name.chars().count())
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
