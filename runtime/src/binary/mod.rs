//! User binaries: which file a uprobe's first part names, the functions in it, and where in a function the probe goes.

pub mod elf;
mod files;
mod jumps;
pub mod library_cache;
pub mod placement;
pub mod process;
pub(crate) mod reader;
pub(crate) mod symbols;
#[cfg(test)]
mod tests;
pub mod usdt;
pub mod usdt_argument;
