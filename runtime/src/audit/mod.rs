//! The audit log: who ran what, where it was attached, what it cost and found. Lines of JSON, each with the hash of the
//! one before it, so that a line that was altered, taken out or moved is found. docs/audit.md is for whoever reads it.

pub mod entry;
pub mod log;
pub mod run;
pub mod runs;
pub mod verify;
pub mod who;

#[cfg(test)]
mod tests;
