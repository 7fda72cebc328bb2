//! Reports: one renderer a file, from values to text or JSON. Each writes to what it is given; no privilege.

pub mod baseline;
pub mod columns;
pub mod csv;
pub mod document;
pub mod finding;
pub mod graph;
pub mod histogram;
pub mod json;
pub mod packets;
pub mod plan;
pub mod policy;
pub mod printf;
pub mod profile;
pub mod rules;
pub mod stacks;
pub mod summary;
pub mod text;
pub mod units;
