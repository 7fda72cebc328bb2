//! Rows: the records of one entry, as flows.

use super::asked::TIME;
use super::neighbours::Neighbours;
use super::pushdown::Kind;
use crate::aggregate::column::{self, ColumnKind, ColumnType, Show, Value};
use crate::kernel::clock::Offset;
use crate::kernel::network::Interface;
use crate::kernel::symbols::Symbols;
use crate::network::flow::Flow;
use crate::network::message::Text;
use crate::network::time::Time;
use crate::network::{columns, dropped};
use std::net::IpAddr;

/// What the numbers of records mean on this machine.
pub struct Meanings {
    pub interfaces: Vec<Interface>,
    pub neighbours: Neighbours,
    /// Of the kernel, where places in its code are asked for.
    pub symbols: Option<Symbols>,
    pub clock: Offset,
}

/// Records of one entry.
pub struct Rows {
    pub kind: Kind,
    columns: Vec<ColumnType>,
    offsets: Vec<usize>,
    /// How many came.
    pub delivered: u64,
    /// How many the kernel had no room for, as far as that was told.
    pub lost: u64,
}

impl Rows {
    pub fn new(kind: Kind, columns: Vec<ColumnType>) -> Rows {
        let offsets = column::offsets(&columns, 0).collect();
        Rows { kind, columns, offsets, delivered: 0, lost: 0 }
    }

    /// The flow of a record, its header left out.
    pub fn flow(&mut self, record: &[u8], meanings: &Meanings) -> Flow {
        self.delivered += 1;
        let bytes = |n: usize| record.get(self.offsets[n]..).unwrap_or_default();
        let values: Vec<Value> =
            self.columns.iter().enumerate().map(|(n, column)| column::decode(column, bytes(n))).collect();
        let place = |name: &str| self.columns.iter().position(|column| column.name == name);
        let value = |name: &str| place(name).map(|n| &values[n]);
        let mut flow = match self.kind {
            Kind::Packet => {
                let named = |index| meanings.interfaces.iter().find(|one| one.index == index);
                columns::flow(value, |index| named(index).map(|one| one.name.clone()))
            }
            Kind::Drop => dropped::flow(value, &Kernel { columns: &self.columns, meanings }),
        };
        let time = value(TIME).and_then(Value::integer).and_then(|time| u64::try_from(time).ok());
        flow.time = Text(time.map(|time| Time(meanings.clock.day(time))));
        flow
    }
}

/// The running kernel's names.
struct Kernel<'a> {
    columns: &'a [ColumnType],
    meanings: &'a Meanings,
}

impl dropped::Names for Kernel<'_> {
    fn reason(&self, number: i64) -> Option<String> {
        let column = self.columns.iter().find(|column| column.name == "reason")?;
        match column.kind {
            ColumnKind::Int { show: Show::Enum(reasons), .. } => reasons.name_of(number).map(str::to_owned),
            _ => None,
        }
    }

    fn location(&self, address: u64) -> Option<String> {
        self.meanings.symbols.as_ref()?.name(address)
    }

    fn index(&self, interface: &str) -> Option<u32> {
        self.meanings.interfaces.iter().find(|one| one.name == interface).map(|one| one.index)
    }

    fn is_local(&self, address: IpAddr) -> bool {
        self.meanings.neighbours.is_local(address)
    }
}
