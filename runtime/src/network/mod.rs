//! What packets are made of, and what is told about them: prefixes, protocols, flows and their formats. Pure; no
//! privilege.

pub mod cidr;
pub mod codes;
pub mod columns;
pub mod connections;
pub mod container;
pub mod digest;
pub mod drop_reason;
pub mod dropped;
pub mod endpoint;
pub mod filter;
pub mod flow;
pub mod hubble;
pub mod identity;
pub mod message;
pub mod names;
pub mod packet;
pub mod pcapng;
pub mod prometheus;
pub mod protocol;
pub mod service_map;
pub mod source;
pub mod stamp;
pub mod summary;
pub mod time;
