//! `cargo xtask vm`: kernels of several Debian releases as emulated guests, and the table of what works on which.
//!
//! ```text
//! command   arguments -> one guest, the matrix, or the comparison
//!   kernels          which there are, and the modules that guests load
//!   fetch            a kernel, an emulator
//!     apt cache        signed packages; hashed folders outside the tree
//!     payload modules  vmlinux out of its bzImage; modules in load order
//!   binaries         skep, the agent (tests/src/bin/guest-agent), tests: static
//!   guest            boots a command, gives its status
//!     image cpio       initramfs, root disk
//!     qemu             the machine
//!   runs             a guest's job on several kernels, two at a time
//!   matrix table     tests on every kernel -> the first part of docs/kernel-matrix.md
//!   compare          skep and bpftrace on the same workloads -> its second part
//!     bpftrace         a root folder that has it
//!     counts           what both print, as numbers by key or bucket
//!   document         both parts
//! ```
//! A guest that crashes is a bug, of the kernel, of QEMU or of ours: nothing is tried twice.

mod apt;
mod binaries;
mod bpftrace;
mod cache;
mod command;
mod compare;
mod counts;
mod cpio;
mod document;
mod fetch;
mod guest;
mod image;
mod kernels;
mod matrix;
mod modules;
mod payload;
mod qemu;
mod runs;
mod table;
mod tool;

pub use command::{USAGE, run};
