//! `cargo xtask fuzz`: the targets of tests/fuzz, each for a while, on stable Rust.

mod build;
mod command;
mod table;
mod target;

pub use command::{USAGE, run};
