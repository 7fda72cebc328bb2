//! `cargo xtask bench`: what skep costs, next to hand-written C with libbpf and to what others have written and is installed.
//!
//! ```text
//! command   arguments -> areas -> table.md
//!   programs tools           builds tests/bench, finds skep and the tools of others
//!   case cases               the same question to each tool
//!   startup overhead stream flame policy replay budget scale compiler   one area each: cases x tools, round-robin -> rows
//!     turns                    cases x tools, again and again
//!     tracer load flow         a tracer and a load, ended when dropped, and both at once
//!   stats table machine        samples -> medians -> Markdown with goals
//! ```
//! Needs root. Method: CPU time of a pinned load, the base before and after each measurement, tools in turn within every
//! repetition, medians with minimum and maximum; a goal is a ratio of medians.

mod budget;
mod case;
mod cases;
mod command;
mod compiler;
mod flame;
mod flow;
mod load;
mod machine;
mod overhead;
mod places;
mod policy;
mod programs;
mod replay;
mod scale;
mod shares;
mod sinks;
mod startup;
mod stats;
mod stream;
mod table;
mod tools;
mod tracer;
mod turns;

pub use command::{USAGE, run};
