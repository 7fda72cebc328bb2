//! Live: flows of this machine as they are seen: what is asked for becomes entries of a plan, their records become flows.
//! Packets where they pass, from the template `flows`; those that the kernel throws away, from the template `drops`.

pub mod asked;
pub mod neighbours;
pub mod pushdown;
mod rows;
pub mod source;
