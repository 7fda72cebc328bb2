//! The kernel layer: every system call, every file of the kernel, and all use of aya. The only place with `unsafe`.

pub mod addresses;
pub mod arch;
pub mod attach;
pub mod btf;
pub mod cgroup;
pub mod clock;
pub mod clsact;
pub mod core_relo;
pub mod cost;
pub mod functions;
pub mod load;
pub mod map;
pub mod missed;
pub mod namespace;
pub mod netlink;
pub mod netns;
pub mod network;
pub mod object;
pub mod perf;
pub mod perf_ring;
pub mod privilege;
pub mod ring;
pub mod signals;
pub mod symbols;
pub mod sys;
pub mod tracefs;
