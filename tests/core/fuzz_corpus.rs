//! Replays what the fuzzer found worth keeping: every input of `tests/fuzz/corpus` through the
//! function of its target. Exploring further is `cargo fuzz`'s work; see `tests/fuzz/README.md`.
#![allow(clippy::print_stdout)] // Helpers of tests: what they say and cast is known.

use std::fs;
use std::path::Path;

#[path = "../fuzz/exercise/mod.rs"]
mod exercise;

/// Runs `target` on each of its inputs. One that never ends shows as a test that never ends.
fn replay(name: &str, target: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(name);
    let mut inputs: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} has no inputs", dir.display());
    for input in inputs {
        // Shown when the test fails: the last one named is the one.
        println!("{}", input.display());
        target(&fs::read(&input).unwrap());
    }
}

#[test]
fn headers_found_by_the_fuzzer_do_no_harm() {
    replay("header", exercise::header);
}

#[test]
fn tables_found_by_the_fuzzer_do_no_harm() {
    replay("tables", exercise::tables);
}

#[test]
fn snapshot_tables_found_by_the_fuzzer_do_no_harm() {
    replay("snapshots", exercise::snapshots);
}

#[test]
fn bitmap_directories_found_by_the_fuzzer_do_no_harm() {
    replay("bitmaps", exercise::bitmaps);
}

#[test]
fn compressed_clusters_found_by_the_fuzzer_do_no_harm() {
    replay("compressed", exercise::compressed);
}

#[test]
fn whole_images_found_by_the_fuzzer_do_no_harm() {
    replay("image", exercise::image);
}

#[test]
fn images_found_by_the_fuzzer_stay_clean_when_they_are_written() {
    replay("write", exercise::write);
}
