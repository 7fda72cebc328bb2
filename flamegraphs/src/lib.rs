//! Flame graphs: stacks with values, and what people read them with. Pure; nothing is measured here.
//!
//! ```text
//! what measures ─► Profile ─┬─► fold       text, one stack a line ─► Profile
//!                           ├─► svg, diff  a graph of one run, of two runs
//! ```

pub mod diff;
mod error;
pub mod fold;
mod palette;
pub mod profile;
pub mod svg;
pub mod unit;

pub use error::Error;
