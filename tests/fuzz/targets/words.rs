//! Attach points, formats, sizes, times, patterns.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_runtime::fuzz::run("words", bytes));
