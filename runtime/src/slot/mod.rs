//! Slots: the functions of a template whose bodies the runtime writes before the template is loaded.

mod arithmetic;
pub mod assembler;
mod branch;
mod column;
pub mod compile;
pub mod facts;
pub mod fold;
mod frame;
mod int;
pub mod ir;
pub mod listing;
mod packet;
mod path;
pub mod stack;
mod text;

#[cfg(test)]
pub(crate) mod tests;
