//! skep's runtime: from a script to values.
//!
//! ```text
//! script ─► plan ─► points, resolve, prepare ─► kernel::load, attach ─► session ─► pump ─► closures, tables ─► report
//!           pure    which template, which code     verified, linked       maps, ring buffer
//! ```
//!
//! [`script::engine::Runner`] runs a script, [`interactive::console::Console`] one line after another; everything up to
//! [`prepare`] needs no privilege and no kernel.

pub mod aggregate;
pub mod attach_point;
pub mod audit;
pub mod baseline;
pub mod binary;
pub mod budget;
pub mod confine;
pub mod diagnostic;
pub mod doctor;
pub mod expr;
pub mod feed;
pub mod following;
#[doc(hidden)]
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod glob;
pub mod helper;
pub mod interactive;
pub mod kernel;
pub mod library;
pub mod listing;
pub mod live;
pub mod machine;
pub mod membership;
pub mod network;
pub mod node;
pub mod permit;
pub mod plan;
pub mod points;
pub mod policy;
pub mod prepare;
pub mod pump;
pub mod recording;
pub mod report;
pub mod resolve;
pub mod script;
pub mod session;
pub mod slot;
pub mod span;
pub mod stacks;
pub mod symbols;
pub mod template;
pub mod threads;
pub mod trust;
pub mod types;
pub mod unwind;
