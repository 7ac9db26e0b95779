//! What we read of an image is byte for byte what qemu-img reads of it.

use crate::support;

use proptest::prelude::*;
use proptest::sample::Index;
use qanopy::host::RealHost;
use qanopy::image::{Chain, Format};
use support::chains::{Shape, trees};
use support::forests::{self, Reading};
use support::{checker, oracle, own_code};

#[test]
fn every_sample_that_qemu_reads_reads_the_same_here() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (folder, rows) in forests::all(dir.path()) {
        for row in rows {
            let image = dir.path().join(folder).join(row.path);
            let format = (row.format != "raw").then_some(row.format);
            match row.reading {
                Reading::Both => {
                    let theirs = oracle::guest_view(&image, None).unwrap();
                    let ours = own_code::view(&image, format.or(Some("raw")));
                    let ours = ours.unwrap_or_else(|why| panic!("{}: {why}", row.path));
                    // A raw file that ends inside a sector: QEMU shows the whole sector.
                    let ours = ours.resized(ours.len.next_multiple_of(512));
                    assert!(ours == theirs, "{}: {}", row.path, ours.explain(&theirs));
                }
                Reading::QemuOnly | Reading::Neither if row.format == "qcow2" => {
                    let refused = own_code::view(&image, format);
                    assert!(refused.is_err(), "{} was read: {refused:?}", row.path);
                }
                Reading::QemuOnly | Reading::Neither => {}
            }
        }
    }
}

#[test]
fn a_refusal_to_read_is_one_line_that_names_the_file() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    forests::broken(dir.path());
    for name in [
        "orphan.qcow2",
        "lost-its-base.qcow2",
        "a.qcow2",
        "self.qcow2",
        "future.qcow2",
        "short-header.qcow2",
        "zeros.qcow2",
        "empty.qcow2",
        "dangling.qcow2",
    ] {
        let said = own_code::view(&dir.path().join(name), Some("qcow2")).unwrap_err();
        assert!(!said.chars().any(char::is_control), "{name}: {said:?}");
        assert!(said.contains(".qcow2"), "{name}: {said}");
    }
}

/// `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    ProptestConfig {
        cases: asked.map_or(40, |cases| cases.parse().unwrap()),
        failure_persistence: None,
        max_shrink_iters: 60,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_trees_read_as_qemu_reads_them(
        tree in trees(Shape::default()),
        pieces in prop::collection::vec((any::<Index>(), 1..200_000_usize), 8),
    ) {
        if support::qemu().is_none() {
            return Ok(());
        }
        let dir = tempfile::tempdir().unwrap();
        tree.build(dir.path());
        for (index, name) in tree.names().iter().enumerate() {
            let image = dir.path().join(name);
            let format = tree.layers[index].format();
            let theirs = oracle::guest_view(&image, Some(format));
            prop_assert!(theirs.is_ok(), "{name}: {theirs:?}\n{tree}");
            let theirs = theirs.unwrap();
            let ours = own_code::view(&image, Some(format));
            prop_assert!(ours.is_ok(), "{name}: {ours:?}\n{tree}");
            let ours = ours.unwrap();
            let ours = ours.resized(ours.len.next_multiple_of(512));
            prop_assert!(ours == theirs, "{name}: {}\n{tree}", ours.explain(&theirs));
            if format == "qcow2" {
                let theirs = oracle::check(&image);
                let counted = checker::check(&image);
                prop_assert!(theirs.is_clean(), "{name}: {theirs:?}\n{tree}");
                prop_assert!(counted.is_clean(), "{name}: {counted:?}\n{tree}");
            }
        }
        // Any piece of the whole is what a read of the piece alone gives.
        let top = tree.layers.len() - 1;
        let format = Format::from_name(tree.layers[top].format());
        let chain = Chain::open(&RealHost, &dir.path().join(tree.name(top)), Some(&format), &|_| true)
            .unwrap();
        let size = usize::try_from(chain.virtual_size()).unwrap();
        let mut whole = vec![0; size];
        chain.read_at(&mut whole, 0).unwrap();
        for (at, len) in pieces {
            let at = at.index(size);
            let mut piece = vec![0x55; len];
            chain.read_at(&mut piece, at as u64).unwrap();
            let inside = len.min(size - at);
            prop_assert!(piece[..inside] == whole[at..at + inside], "{at} +{len}\n{tree}");
            prop_assert!(piece[inside..].iter().all(|&b| b == 0), "past the end\n{tree}");
        }
    }
}
