//! The doctor: what of skep works on this machine, found out by doing it; no version number is trusted.
//!
//! [`sources::examine`] takes each source the way of a script's run: prepared, loaded, attached, hit, read, detached.
//! Without privilege it says so, and still gives the machine's facts.

pub mod features;
pub mod machine;
pub mod report;
pub mod sources;
pub mod trial;
pub mod units;
