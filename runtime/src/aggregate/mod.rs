//! Aggregations: what the per-CPU maps of a template hold, added up into values. Pure; no privilege.

pub mod bucket;
pub mod cell;
pub mod column;
pub mod histogram;
pub mod path;
pub mod table;

pub use cell::{Kind, Measure};
pub use column::{ColumnType, Names, Value};
pub use histogram::Histogram;
pub use table::{Row, Spec, Table};
