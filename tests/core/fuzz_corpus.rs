//! Replays what the fuzzer found worth keeping: every input of `tests/fuzz/corpus` through the
//! function of its target. Exploring further is `cargo fuzz`'s work; see `tests/fuzz/README.md`.
#![allow(clippy::print_stdout)] // Helpers of tests: what they say and cast is known.

use std::fs;
use std::path::Path;

#[path = "../fuzz/exercise/mod.rs"]
mod exercise;

/// Runs `target` on each of its inputs. One that never ends shows as a test that never ends.
fn replay(name: &str, mut target: impl FnMut(&[u8])) {
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

#[test]
fn what_hostile_agents_say_does_no_harm() {
    replay("agent", exercise::agent);
}

/// Disks of guests, forged as the inputs of this target say.
fn replay_guest(name: &str) {
    let target = exercise::guest::target(name);
    let mut most = 0;
    replay(name, |input| {
        most = most.max(exercise::guest::run(target, input))
    });
    println!("at the most {} KiB read of a disk", most >> 10);
}

#[test]
fn forged_ext_filesystems_do_no_harm() {
    replay_guest("ext4");
}

#[test]
fn forged_xfs_filesystems_do_no_harm() {
    replay_guest("xfs");
}

#[test]
fn forged_btrfs_filesystems_do_no_harm() {
    replay_guest("btrfs");
}

#[test]
fn forged_ntfs_filesystems_do_no_harm() {
    replay_guest("ntfs");
}

#[test]
fn forged_fat_filesystems_do_no_harm() {
    replay_guest("fat");
}

#[test]
fn forged_partition_tables_do_no_harm() {
    replay_guest("disk");
}

#[test]
fn forged_volume_groups_do_no_harm() {
    replay_guest("lvm");
}

#[test]
fn forged_headers_of_encrypted_volumes_do_no_harm() {
    replay_guest("luks");
}

#[test]
fn names_of_systems_reach_nobody_with_control_characters() {
    replay("system", exercise::guest::system);
}
