//! Which packets may pass: rules, what they mean, and where they are enforced.
//!
//! ```text
//! rules ─► tables ─────────────────► enforce ─► holder, control ─► status
//!          ranges trie ports          programs    mode, TTL,
//!          pure: what a lookup reads  and maps    confirm, roll-back
//! ```

pub mod control;
pub mod enforcer;
pub mod form;
pub mod guard;
pub mod holder;
pub mod life;
pub mod pinned;
pub mod place;
pub mod ports;
pub mod programs;
pub mod ranges;
pub mod rules;
pub mod status;
pub mod tables;
pub mod trie;

#[cfg(test)]
mod tests;
