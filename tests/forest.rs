//! Everything a user's disk holds is listed, with the right parent, state and sizes; whatever is
//! broken is a row with a plain sentence.
#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests fail the test.

mod support;

use std::path::Path;

use support::forests::{self, Described, Reading};
use support::oracle;

/// Every sample forest, built in a folder of its own.
fn samples(dir: &Path) -> Vec<(&'static str, Vec<Described>)> {
    vec![
        ("seed", forests::seed(&dir.join("seed"))),
        ("fedora", forests::fedora(&dir.join("fedora"))),
        ("no-format", forests::no_format(&dir.join("no-format"))),
        ("kinds", forests::kinds(&dir.join("kinds"))),
        ("broken", forests::broken(&dir.join("broken"))),
    ]
}

#[test]
fn the_sample_forests_are_what_their_tables_say() {
    if support::qemu().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (folder, rows) in samples(dir.path()) {
        for row in rows {
            let image = dir.path().join(folder).join(row.path);
            let is_loop = row.flags.contains("loop");
            // qemu-img runs out of file descriptors on a loop, slowly.
            if !is_loop {
                let readable = oracle::guest_view(&image, None).is_ok();
                let expected = row.reading != Reading::Neither
                    || matches!(row.format, "vmdk")
                    || ["zeros.qcow2", "empty.qcow2"].contains(&row.path);
                assert_eq!(readable, expected, "{}", row.path);
            }
            if let (Some(size), Some(info)) = (row.virtual_size, oracle::info(&image)) {
                assert_eq!(
                    info["virtual-size"].as_u64(),
                    Some(size.next_multiple_of(512)),
                    "{}",
                    row.path
                );
                assert_eq!(info["format"].as_str(), Some(row.format), "{}", row.path);
            }
        }
    }
}
