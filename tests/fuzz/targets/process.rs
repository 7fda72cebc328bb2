//! What /proc, perf and container runtimes say of processes.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_runtime::fuzz::run("process", bytes));
