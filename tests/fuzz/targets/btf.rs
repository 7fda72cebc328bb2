//! Types of a kernel or a module, as BTF holds them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_runtime::fuzz::run("btf", bytes));
