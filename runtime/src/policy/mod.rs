//! Which packets may pass: rules, what they mean, and where they are enforced.
//!
//! ```text
//! YAML ─► yaml, fields ─► kubernetes, cilium, native ─► model ─► resolve (with the inventory) ─► rules
//! ```

pub mod cilium;
pub mod fields;
pub mod inventory;
pub mod kubernetes;
pub mod labels;
pub mod metadata;
pub mod model;
pub mod native;
mod outside;
pub mod resolve;
pub mod rules;
pub mod verdict;
pub mod yaml;
