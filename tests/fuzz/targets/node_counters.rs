//! Files of /proc that count.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_runtime::fuzz::run("node_counters", bytes));
