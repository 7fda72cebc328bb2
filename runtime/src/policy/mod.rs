//! Which packets may pass: rules, what they mean, and where they are enforced.

pub mod rules;
