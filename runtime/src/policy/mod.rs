//! Which packets may pass: rules, what they mean, and where they are enforced.

pub mod fields;
pub mod inventory;
pub mod labels;
pub mod rules;
pub mod yaml;
