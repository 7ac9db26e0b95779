//! What we read of an image is byte for byte what qemu-img reads of it.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests fail the test.

mod support;

use proptest::prelude::*;
use support::chains::{Shape, trees};
use support::oracle;

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_trees_are_what_qemu_can_read(tree in trees(Shape::default())) {
        if support::qemu().is_none() {
            return Ok(());
        }
        let dir = tempfile::tempdir().unwrap();
        tree.build(dir.path());
        for (index, name) in tree.names().iter().enumerate() {
            let view = oracle::guest_view(&dir.path().join(name), Some(tree.layers[index].format()));
            prop_assert!(view.is_ok(), "{name}: {view:?}\n{tree}");
            if tree.layers[index].format() == "qcow2" {
                let verdict = oracle::check(&dir.path().join(name));
                prop_assert!(verdict.is_clean(), "{name}: {verdict:?}\n{tree}");
            }
        }
    }
}
