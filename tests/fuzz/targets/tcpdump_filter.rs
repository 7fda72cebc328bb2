//! Filters of tcpdump's.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_runtime::fuzz::run("tcpdump_filter", bytes));
