//! `cargo xtask vm`: kernels of several Debian releases as emulated guests, and the table of what works on which.
//!
//! ```text
//! command   arguments -> one guest, or the matrix
//!   kernels          which there are, and the modules that guests load
//!   fetch            a kernel, an emulator
//!     apt cache        signed packages; hashed folders outside the tree
//!     payload modules  vmlinux out of its bzImage; modules in load order
//!   binaries         skep, the agent (tests/src/bin/guest-agent), tests: static
//!   guest            boots a command, gives its status
//!     image cpio       initramfs, root disk
//!     qemu             the machine
//!   matrix table     tests on every kernel -> docs/kernel-matrix.md
//! ```
//! A guest that crashes is a bug, of the kernel, of QEMU or of ours: nothing is tried twice.

mod apt;
mod binaries;
mod cache;
mod command;
mod cpio;
mod fetch;
mod guest;
mod image;
mod kernels;
mod matrix;
mod modules;
mod payload;
mod qemu;
mod table;
mod tool;

pub use command::{USAGE, run};
