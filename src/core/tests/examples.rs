//! The examples do what they say, on images made here.
#![allow(clippy::unwrap_used)] // Helpers of tests fail the test.

#[path = "../examples/commit.rs"]
mod commit;
#[path = "../examples/map.rs"]
mod map;
#[path = "../examples/repair.rs"]
mod repair;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use qanopy_core::image::Source;
use qanopy_core::{
    Chain, CreateOptions, Format, NoProgress, RealHost, Root, Target, Verdict, create,
};

const SIZE: u64 = 1 << 20;

/// A new image, built on `base` if one is given.
fn new_image(path: &Path, base: Option<&Path>) {
    let mut options = CreateOptions::new(SIZE);
    options.backing = base.map(|base| (base.file_name().unwrap().to_owned(), Format::Qcow2));
    create(&RealHost, path, &options, &NoProgress).unwrap();
}

fn write(path: &Path, at: u64, bytes: &[u8]) {
    let view = Chain::open(&RealHost, path, None, &|_| true).unwrap();
    let mut target = Target::open(
        &RealHost,
        path,
        &Format::Qcow2,
        view,
        Root::Active,
        &NoProgress,
    )
    .unwrap();
    target.begin().unwrap();
    let len = bytes.len() as u64;
    target.write(at, len, Source::Bytes(bytes)).unwrap();
    target.finish().unwrap();
}

fn read(path: &Path, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let chain = Chain::open(&RealHost, path, None, &|_| true).unwrap();
    chain.read_at(&mut bytes, at).unwrap();
    bytes
}

/// A base with ones at 0 and an overlay with twos at 64 KiB.
fn pair(dir: &Path) -> (PathBuf, PathBuf) {
    let [base, overlay] = ["base.qcow2", "overlay.qcow2"].map(|name| dir.join(name));
    new_image(&base, None);
    write(&base, 0, &[1; 65_536]);
    new_image(&overlay, Some(&base));
    write(&overlay, 65_536, &[2; 512]);
    (base, overlay)
}

#[test]
fn a_map_names_the_layer_of_each_run() {
    let dir = tempfile::tempdir().unwrap();
    let (_, overlay) = pair(dir.path());
    let lines = map::map(&overlay).unwrap();
    let starts: Vec<_> = lines
        .iter()
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (words[0], words[2], words[3].rsplit('/').next().unwrap())
        })
        .collect();
    assert_eq!(
        starts,
        [
            ("0x0", "data", "base.qcow2"),
            ("0x10000", "data", "overlay.qcow2"),
            ("0x20000", "nothing", "base.qcow2"),
        ]
    );
}

#[test]
fn a_commit_gives_the_base_what_the_overlay_holds_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (base, overlay) = pair(dir.path());
    let before = read(&overlay, 0, 1 << 20);
    assert_eq!(commit::commit(&overlay).unwrap(), 65_536);
    assert_eq!(read(&base, 0, 1 << 20), before);
    assert_eq!(read(&overlay, 0, 1 << 20), before);
    assert_eq!(
        commit::commit(&base).unwrap_err().kind.kind_name(),
        "backing"
    );
}

#[test]
fn a_repair_mends_a_count_that_is_too_low() {
    let dir = tempfile::tempdir().unwrap();
    let (base, _) = pair(dir.path());
    assert_eq!(
        repair::examine(&base, false).unwrap().verdict(),
        Verdict::Clean
    );
    // The first refcount block says that no cluster is used.
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&base)
        .unwrap();
    let number_at = |offset| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, offset).unwrap();
        u64::from_be_bytes(bytes)
    };
    // Specification: the refcount table's offset is at byte 48 of the header.
    let block = number_at(number_at(48));
    file.write_all_at(&[0; 16], block).unwrap();
    let seen = read(&base, 0, 1 << 20);
    assert_eq!(
        repair::examine(&base, false).unwrap().verdict(),
        Verdict::Corrupt
    );
    assert_eq!(
        repair::examine(&base, true).unwrap().verdict(),
        Verdict::Clean
    );
    assert_eq!(read(&base, 0, 1 << 20), seen);
}
