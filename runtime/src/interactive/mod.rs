//! A session in which somebody types: what a line means, what runs in the background meanwhile, what can be completed.
//!
//! ```text
//! terminal (rustyline) ─┐                     ┌─ lines: Rhai, one scope that lasts
//!                       ├─ Request ─► Console ┼─ commands: `:jobs`, `:save` …
//! `skep repl --json` ───┘     ▲               └─ Interactive: the loop that serves jobs while nobody asks for anything
//!                             └── Screen ◄────── results, events, what is said of them
//! ```
//!
//! One thread owns the engine; front ends send [`request::Request`]s and show what the [`screen::Screen`] is given.

pub mod commands;
pub mod complete;
pub mod console;
mod cost;
pub mod functions;
pub mod jobs;
pub mod knowledge;
pub mod request;
pub mod saved;
pub mod screen;
pub mod serve;
mod show;
pub mod tutorial;
pub mod unfinished;

#[cfg(test)]
mod tests;

pub use serve::Interactive;
