//! Hands libFuzzer's bytes to the checks of `spool.rs`.
#![no_main]

#[path = "../spool.rs"]
mod spool;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| spool::check(bytes));
