//! Which packets may pass: rules, what they mean, and where they are enforced.
//!
//! ```text
//! rules ─► tables ─────────────────► enforce ─► holder, control ─► status
//!          ranges trie ports          programs    mode, TTL,
//!          pure: what a lookup reads  and maps    confirm, roll-back
//! ```

pub mod enforcer;
pub mod place;
pub mod ports;
pub mod programs;
pub mod ranges;
pub mod rules;
pub mod tables;
pub mod trie;

#[cfg(test)]
mod tests;
