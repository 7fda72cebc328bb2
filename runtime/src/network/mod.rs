//! What packets are made of, and what is told about them: prefixes, protocols, flows and their formats. Pure; no
//! privilege.

pub mod cidr;
pub mod names;
pub mod protocol;
