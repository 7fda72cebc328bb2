//! Symbols: addresses of stacks -> functions, with the reason where there is none.

pub mod careful;
mod files;
mod image;
mod kernel;
mod mappings;
mod perf_map;
mod processes;
mod ranges;
pub mod reason;
mod records;
mod resolver;
pub mod service;
#[cfg(test)]
mod tests;
mod vdso;
mod watch;
