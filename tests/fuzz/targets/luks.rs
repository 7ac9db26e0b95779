//! Explores `exercise::guest`, the target `luks`.
#![no_main]

#[path = "../exercise/mod.rs"]
#[allow(dead_code)] // Every target uses one of its functions.
mod exercise;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    exercise::guest::run(exercise::guest::target("luks"), data);
});
