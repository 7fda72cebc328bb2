//! Flame graphs: stacks with values, and what people read them with. Pure; nothing is measured here.
//!
//! ```text
//! what measures ─► Profile ─┬─► fold       text, one stack a line ─► Profile
//!                           ├─► svg, diff  a graph of one run, of two runs
//!                           ├─► pprof      for `go tool pprof`, Pyroscope ─► Profile
//!                           ├─► speedscope for speedscope.app
//!                           └─► summary    the functions at the top, for a terminal
//! ```
//! [`mod@format`] chooses one by a file's name; `push`, behind the feature `pyroscope`, sends one to a server.

pub mod diff;
mod error;
pub mod fold;
pub mod format;
mod palette;
pub mod pprof;
pub mod profile;
#[cfg(feature = "pyroscope")]
pub mod push;
pub mod sign;
pub mod speedscope;
pub mod summary;
pub mod svg;
pub mod unit;

pub use error::Error;
