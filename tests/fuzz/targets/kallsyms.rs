//! /proc/kallsyms and the list of functions that can be traced.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_runtime::fuzz::run("kallsyms", bytes));
