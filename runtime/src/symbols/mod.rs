//! Symbols: addresses of stacks -> functions, with the reason where there is none.

pub mod careful;
mod files;
pub(crate) mod image;
mod kernel;
pub(crate) mod mappings;
pub(crate) mod perf_map;
mod processes;
mod ranges;
pub mod reason;
pub(crate) mod records;
mod resolver;
pub mod service;
#[cfg(test)]
mod tests;
mod vdso;
mod watch;
