//! Unwind tables, and stacks that are walked with them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_runtime::fuzz::run("unwind", bytes));
