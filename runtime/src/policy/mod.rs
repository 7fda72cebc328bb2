//! Which packets may pass: rules, what they mean, and where they are enforced.
//!
//! ```text
//! YAML ─► yaml, fields ─► kubernetes, cilium, native ─► model ─► resolve (with the inventory) ─► rules ─► verdict
//!                         suite: which of them                   check: what its author should know, and the tests
//!
//! rules ─► tables ─────────────────► enforcer ─► holder, control ─► status
//!          ranges trie ports          programs    mode, TTL,        denial ─► flows: single packets, as Hubble has them
//!          pure: what a lookup reads  and maps    confirm, roll-back
//!
//! resolve ─► site: where it holds ─► rollout: a holder for each; exchange: other rules for those at work
//! ```

pub mod check;
pub mod cilium;
mod comparison;
pub mod control;
mod covers;
pub mod denial;
pub mod enforcer;
pub mod exchange;
pub mod fields;
pub mod flows;
pub mod form;
pub mod guard;
pub mod holder;
pub mod inventory;
pub mod kubernetes;
pub mod labels;
pub mod life;
pub mod metadata;
pub mod model;
pub mod native;
mod outside;
pub mod pinned;
pub mod place;
mod places;
pub mod ports;
pub mod probe;
pub mod programs;
pub mod ranges;
pub mod resolve;
pub mod rollout;
pub mod rules;
pub mod site;
pub mod status;
pub mod suggest;
pub mod suite;
pub mod tables;
pub mod trie;
pub mod verdict;
pub mod yaml;

#[cfg(test)]
mod tests;
