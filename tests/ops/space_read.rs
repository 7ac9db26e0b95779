//! What reading images tells of their space: it is what a rebase that gives up what lies below would give up, and an
//! estimate of compressing that holds.

use std::fs;
use std::sync::Arc;

use proptest::prelude::*;
use qanopy::host::RealHost;
use qanopy::image::{self, Chain, Keys, NoProgress};
use qanopy::ops::{self, Context, SavingKind, SpaceCache, SpaceQuery, SpaceReport};

use super::space::{of, query};
use crate::support::chains::{Shape, trees};
use crate::support::{self, own_code, planning, qemu};

fn read(context: &Context) -> SpaceReport {
    let known = SpaceCache::default();
    let query = SpaceQuery {
        reads: true,
        estimates_compressing: true,
        ..query(&known)
    };
    ops::space(context, &query).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn what_equals_what_lies_below_is_what_deduping_gives_up(tree in trees(Shape { layers: 4, ..Shape::default() })) {
        if support::qemu().is_none() {
            return Ok(());
        }
        let home = tempfile::tempdir().unwrap();
        tree.build(home.path());
        let report = read(&own_code::context(&own_code::real_host(), home.path()));
        // From above: what lies below an image is what it was.
        for index in (0..tree.layers.len()).rev() {
            let path = home.path().join(tree.name(index));
            let told = of(&report, &path).read.clone().unwrap().unwrap().equal;
            prop_assert!(told.data <= told.bytes);
            if tree.layers[index].parent.is_none() {
                prop_assert_eq!(told.bytes, 0);
                continue;
            }
            let chain = Chain::open(&RealHost, &path, None, &|_| true).unwrap();
            let (below, keys) = (chain.below(), Keys::none());
            let given_up = image::dedupe(&RealHost, &path, &below, &keys, &NoProgress).unwrap();
            prop_assert_eq!(told.bytes, given_up, "{}", index);
        }
    }
}

#[test]
fn a_layer_that_repeats_its_base_is_deduped_and_frees_what_was_said() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (dir, tools) = (dir.path(), qemu.within(dir.path()));
    tools.img(&["create", "-q", "-f", "qcow2", "base", "16M"]);
    tools.io("base", &["write -P 1 0 8M"]);
    tools.img(&[
        "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", "base", "leaf",
    ]);
    tools.io(
        "leaf",
        &["write -P 1 0 4M", "write -P 2 4M 1M", "write -z 8M 1M"],
    );
    let context = planning::context(Arc::new(RealHost), dir);
    let leaf = dir.join("leaf");
    // Nothing is read that nobody asked for.
    let unread = ops::space(&context, &query(&SpaceCache::default())).unwrap();
    assert_eq!(of(&unread, &leaf).read, None);
    let found = read(&context);
    let equal = of(&found, &leaf).read.clone().unwrap().unwrap().equal;
    assert_eq!((equal.bytes, equal.data), (5 << 20, 4 << 20));
    let saving = found
        .savings
        .iter()
        .find(|one| one.kind == SavingKind::Dedupe)
        .unwrap();
    assert_eq!(saving.frees, 4 << 20);
    let blocks = || std::os::unix::fs::MetadataExt::blocks(&fs::metadata(&leaf).unwrap()) * 512;
    let before = blocks();
    planning::execute_request(&context, &saving.request).unwrap();
    // The filesystem may need a block more for its map of a file with holes, and counts that as the file's.
    let freed = before - blocks();
    assert!(freed.abs_diff(saving.frees) <= 16 << 10, "{freed}");
}

#[test]
fn what_compressing_would_give_back_is_told_within_a_tenth() {
    let Some(qemu) = qemu() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (dir, tools) = (dir.path(), qemu.within(dir.path()));
    // A quarter of it is noise, the rest words.
    let words = b"the quick brown fox jumps over the lazy dog; "
        .iter()
        .copied()
        .cycle();
    let mut bytes: Vec<u8> = words.take(48 << 20).collect();
    let mut state = 1_u64;
    for byte in bytes.iter_mut().skip(36 << 20) {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        *byte = state.to_be_bytes()[0];
    }
    fs::write(dir.join("raw"), &bytes).unwrap();
    tools.img(&["convert", "-f", "raw", "-O", "qcow2", "raw", "disk"]);
    tools.img(&[
        "convert",
        "-c",
        "-f",
        "raw",
        "-O",
        "qcow2",
        "-o",
        "compression_type=zstd",
        "raw",
        "packed",
    ]);
    let found = read(&planning::context(Arc::new(RealHost), dir));
    let told = of(&found, &dir.join("disk"))
        .read
        .clone()
        .unwrap()
        .unwrap()
        .compressible;
    assert_eq!(told.data, 48 << 20);
    assert!(told.read <= 17 << 20, "{}", told.read);
    let len = |name: &str| fs::metadata(dir.join(name)).unwrap().len();
    let real = len("disk") - len("packed");
    assert!(
        told.saves.abs_diff(real) < real / 10,
        "{} {real}",
        told.saves
    );
    // What is compressed is no data that could be.
    let packed = of(&found, &dir.join("packed"))
        .read
        .clone()
        .unwrap()
        .unwrap()
        .compressible;
    assert!(
        packed.data < 13 << 20 && packed.saves < 1 << 20,
        "{packed:?}"
    );
}
