//! Notes of USDT probes and their arguments.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_runtime::fuzz::run("usdt_notes", bytes));
