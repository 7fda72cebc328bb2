//! Tests of what a policy does, against [`super::rules::Rules::judge`] and naive oracles.

mod kernel;
pub mod random;
mod tables;
