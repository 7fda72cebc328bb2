//! Unwinding: call chains of code without frame pointers, from copies of its stack and what compilers leave about frames
//! (`.eh_frame`). docs/stacks.md says what it costs and where it ends.
//!
//! gimli reads the tables; what walks is ours: it reads memory in expressions, so that chains go through signal handlers,
//! keeps all registers, and bounds every loop, since the tables are as trustworthy as the programs that are looked at.

pub mod chains;
pub mod frame;
mod registers;
pub mod sample;
pub mod samples;
pub mod tables;
#[cfg(test)]
mod tests;
pub mod walk;
pub mod way;
