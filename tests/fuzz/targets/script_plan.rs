//! Any text as a script, down to its plan.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_runtime::fuzz::run("script_plan", bytes));
