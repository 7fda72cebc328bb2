//! Symbols: addresses of stacks -> functions, with the reason where there is none.

mod files;
mod image;
mod kernel;
mod mappings;
mod perf_map;
mod processes;
mod ranges;
pub mod reason;
pub mod resolver;
#[cfg(test)]
mod tests;
mod vdso;
