//! Hubble: flows in the forms that Cilium's tools read and print, and the questions that they ask of them. Pure.

pub mod filter;
pub mod flags;
pub mod json;
pub mod metrics;
pub mod pattern;
pub mod printer;
pub mod selector;

pub use json::Response;
