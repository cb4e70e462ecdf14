//! Hands libFuzzer's bytes to the checks of `payload.rs`.
#![no_main]

#[path = "../payload.rs"]
mod payload;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| payload::check(bytes));
