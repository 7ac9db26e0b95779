//! Explores `exercise::agent`.
#![no_main]

#[path = "../exercise/mod.rs"]
#[allow(dead_code)] // Every target uses one of its functions.
mod exercise;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exercise::agent(data));
