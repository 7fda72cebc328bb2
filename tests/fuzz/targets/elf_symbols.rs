//! Programs and libraries: symbols, code, frames.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| skep_runtime::fuzz::run("elf_symbols", bytes));
