//! Paths as our programs send them, answers of netlink.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_runtime::fuzz::run("kernel_record", bytes));
