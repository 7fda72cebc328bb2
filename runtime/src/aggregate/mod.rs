//! Aggregations: what the per-CPU maps of a template hold, added up into values. Pure; no privilege.

pub mod bucket;
pub mod builder;
pub mod cell;
pub mod column;
pub mod entries;
pub mod heavy;
pub mod histogram;
pub mod near;
mod order;
pub mod path;
pub mod table;

pub use builder::Builder;
pub use cell::{Kind, Measure};
pub use column::{ColumnType, Names, Value};
pub use entries::Entries;
pub use histogram::Histogram;
pub use table::{Row, Spec, Table};
