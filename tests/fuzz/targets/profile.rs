//! Folded stacks and pprof profiles.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_runtime::fuzz::run("profile", bytes));
