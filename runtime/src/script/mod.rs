//! Scripts: Rhai's limits, the functions and values that skep adds, and the run loop between them and the kernel.

pub mod arguments;
pub mod child;
mod csv;
pub mod engine;
pub mod errors;
pub mod event;
pub mod fields;
pub mod functions;
pub mod graphs;
pub mod habits;
pub mod host;
pub mod missing;
pub mod modules;
pub mod names;
pub mod output;
mod packets;
pub mod params;
pub mod probe;
pub mod reference;
pub mod run;
mod settings;
mod spans;
pub mod unsigned;
pub mod values;
pub mod written;
