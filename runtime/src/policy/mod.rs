//! Which packets may pass: rules, what they mean, and where they are enforced.
//!
//! ```text
//! YAML ─► yaml, fields ─► kubernetes, cilium, native ─► model ─► resolve (with the inventory) ─► rules ─► verdict
//!                         suite: which of them                   check: what its author should know, and the tests
//! ```

pub mod check;
pub mod cilium;
mod covers;
pub mod fields;
pub mod inventory;
pub mod kubernetes;
pub mod labels;
pub mod metadata;
pub mod model;
pub mod native;
mod outside;
pub mod probe;
pub mod resolve;
pub mod rules;
pub mod suite;
pub mod verdict;
pub mod yaml;
