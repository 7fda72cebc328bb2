//! The helper: runs scripts for people without privilege, as far as their permits go. docs/privileges.md has the threats
//! that it is made against.
//!
//! ```text
//! skep run (anybody) ─► client ─ socket ─► server: who is it, permit, ceilings ─► order ─► skep (a process of its own,
//!                          ◄── frames ──     log: a line for what was asked               the user's uid, few
//!                                            and a line for how it ended                  capabilities): gate, run
//! ```

pub mod connection;
pub mod frames;
pub mod log;
pub mod order;
pub mod request;
pub mod server;

/// Where the helper listens, unless it is told otherwise.
pub const SOCKET: &str = "/run/skep/helper.sock";
