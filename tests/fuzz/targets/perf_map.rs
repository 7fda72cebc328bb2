//! Names that run times give the code that they write.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_runtime::fuzz::run("perf_map", bytes));
