//! Lines of flows, in Hubble's form.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_runtime::fuzz::run("flows", bytes));
