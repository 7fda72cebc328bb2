//! Rules and requests over a socket, baselines.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_runtime::fuzz::run("policy_json", bytes));
