//! Random typed expressions: the verifier takes them, or the script is refused first. Needs CAP_BPF and CAP_PERFMON.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_runtime::fuzz::run("expression", bytes));
