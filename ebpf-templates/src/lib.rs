//! The templates: BPF objects compiled ahead of time, found by name, described by their own ELF and BTF.
//!
//! Nothing here needs privilege. [`catalog::Catalog`] finds templates, [`manifest::Manifest`] says what one offers,
//! [`btf::Btf`] reads the type information of an object or of the running kernel.

pub mod btf;
pub mod catalog;
pub mod manifest;
